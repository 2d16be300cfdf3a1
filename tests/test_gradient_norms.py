"""The record says how large gradients were and how often they were clipped, over all steps of the run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.runs.gradient_norms import GradientNorms, GradientSizes
from bench.runs.record import RunRecord
from tests.conftest import Study


def run_of(study: Study, limit: str) -> tuple[RunRecord, np.ndarray]:
    """A run that logs every step, and the norms in its learning curve."""
    record = bench.run(study.overrides(f"training.gradient_clip={limit}", "training.log_every_steps=1"))
    curve = pd.read_parquet(study.results / "runs" / record.run_id / record.execution_id / "curve.parquet")
    return record, curve.loc[curve.split == "train", "gradient_norm"].to_numpy()


def test_all_steps_count_and_the_norm_is_that_before_clipping(study: Study) -> None:
    record, norms = run_of(study, "0.5")
    assert record.steps == len(norms) == 36  # three epochs of 90 texts, 8 a step
    assert record.clipped_fraction == np.mean(norms > 0.5)
    assert 0 < record.clipped_fraction < 1
    assert record.gradient_norm_p50 == np.median(norms)
    assert record.gradient_norm_max == norms.max() > 0.5


@pytest.mark.parametrize(("limit", "clipped"), [("1e-6", 1.0), ("1e6", 0.0), ("null", None)])
def test_what_is_clipped_always_never_or_not_at_all(study: Study, limit: str, clipped: float | None) -> None:
    record, norms = run_of(study, limit)
    assert record.clipped_fraction == clipped
    assert record.gradient_norm_max == norms.max()


def test_a_run_that_goes_on_counts_the_steps_before_it_was_cut_off(study: Study) -> None:
    record, norms = run_of(study, "0.5")
    first, second = GradientNorms(0.5), GradientNorms(0.5)
    first.load_state_dict({"norms": torch.from_numpy(norms.astype(np.float64))})
    second.load_state_dict(first.state_dict())
    assert second.sizes() == GradientSizes(
        clipped_fraction=record.clipped_fraction,
        gradient_norm_p50=record.gradient_norm_p50,
        gradient_norm_max=record.gradient_norm_max,
    )
    assert GradientNorms(0.5).sizes() == GradientSizes()
