"""From a file of weights back to the classifier that they are of."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.config import BenchConfig, Kernel
from bench.data.tokens.vocabulary import SPECIAL_WORDS
from bench.models.encoder import TextClassifier
from bench.models.ngrams import NgramClassifier
from bench.models.sizes import LINEAR
from bench.runs.record import RunRecord
from bench.runs.weights import Learned, damaged


def rebuilt(config: BenchConfig, record: RunRecord, path: Path, learned: Learned) -> nn.Module:
    """The classifier of a run, with the weights that lie at `path`.

    Raises: `UserError` if they cannot be read, or are not those of the run.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise damaged(path, f"cannot be read, {' '.join(str(error).split())}") from None
    build = _linear if config.model.cell == LINEAR else _network
    try:
        classifier = build(config, record, learned, weights)
        classifier.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise damaged(path, f"does not fit the run as this version of the program knows it ({reason})") from None
    return classifier


def _network(config: BenchConfig, record: RunRecord, learned: Learned, weights: dict[str, Tensor]) -> nn.Module:
    vectors = weights["embedding.weight"]
    if len(vectors) != SPECIAL_WORDS + len(learned.words):
        raise KeyError(f"{len(vectors):,} word vectors for {len(learned.words):,} words")
    return TextClassifier(
        config.model,
        record.hidden_size_resolved or config.model.hidden_size,
        vectors,
        trainable_vectors=config.embedding.frozen_epochs is not None,
        classes=len(learned.labels),
        seed=config.seed,
        kernel=next((kernel for kernel in get_args(Kernel) if kernel == record.kernel), "torch"),
    )


def _linear(config: BenchConfig, record: RunRecord, learned: Learned, weights: dict[str, Tensor]) -> nn.Module:
    rows = SPECIAL_WORDS + len(learned.words)
    return NgramClassifier(config.model.ngrams, rows, len(learned.labels), len(weights["keys"]))
