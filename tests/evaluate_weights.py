"""Evaluates stored weights in as many processes as `hardware.devices` says, also on very few texts.

usage: python -m tests.evaluate_weights WEIGHTS OUT OVERRIDE...   (Lightning starts it again for each further process)
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from bench.compose import compose
from bench.data.module import TextDataModule
from bench.distributed import is_first_process
from bench.models.classifier import Classifier, SplitQuality
from bench.runs.identity import resolve
from bench.runs.trainer import borrowed_torch, quiet_lightning
from bench.runs.training import Fit

SIZES = (1, 2, 3, 17)  # fewer texts than processes, and odd numbers


def evaluate(weights: Path, folder: Path, overrides: list[str]) -> list[SplitQuality]:
    """Quality on the test split, then on its first texts. folder: for what a fit may write."""
    resolved = resolve(compose(overrides))
    config = resolved.config
    with quiet_lightning(), borrowed_torch(config.hardware):
        fit = Fit(resolved, folder)
        fit.network.load_state_dict(load_file(weights))
        module = Classifier(fit.network, config.training, fit.data.classes, planned_steps=1, seed=config.seed)
        batches = TextDataModule(fit.data, config.training.batch_size, config.seed)
        batches.trainer = fit.trainer
        test = fit.data.test
        assert test is not None
        for part in (test, *(test.subset(np.arange(size)) for size in SIZES)):
            fit.trainer.test(module, dataloaders=batches.evaluation_loader(part), verbose=False)
    return [quality for quality, _ in module.tested]


def main() -> None:
    weights, out, *overrides = sys.argv[1:]
    qualities = evaluate(Path(weights), Path(out).parent, overrides)
    if is_first_process():
        Path(out).write_text(json.dumps([asdict(quality) for quality in qualities]))


if __name__ == "__main__":
    main()
