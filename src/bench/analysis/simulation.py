"""Simulated studies with a known truth, as records: what the protocol says of them shows how often it errs.

A simulated study is a dataset of its own. Its records have the columns of real ones and pass through the same
functions; only the numbers are drawn. Used by the tests and by `docs/protocol.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from bench.analysis.decision import EQUIVALENT, UNDECIDED, Decision
from bench.analysis.pairing import study_of
from bench.analysis.verdict import judge
from bench.config import BenchConfig, ProtocolConfig
from bench.runs.assemble import public_config
from bench.runs.index import frame_of
from bench.runs.record import RunRecord, Status
from bench.seeds import generator

ARMS = ("gru", "lstm")
_BASE_QUALITY = 0.85
_SEED_SD = 0.01  # spread that both cells of a seed share: it cancels in the pair
_TIME_SD = 0.05  # of the logarithm of each training time


@dataclass(frozen=True)
class Truth:
    """What is drawn. effect, sd: of the paired differences, in points;  time_ratio: true one, GRU over LSTM."""

    effect: float
    sd: float
    time_ratio: float = 1.0

    def is_wrong(self, decision: Decision, margin: float) -> bool:
        """Whether the decision's claim on the difference is false; what it says of time is judged elsewhere."""
        if decision.verdict == UNDECIDED:
            return False
        if decision.verdict == EQUIVALENT:
            return abs(self.effect) >= margin
        ahead = self.effect if decision.verdict == "lstm" else -self.effect
        return ahead <= margin if decision.reason.startswith("better") else ahead <= -margin


def template(config: BenchConfig) -> RunRecord:
    """A finished record without a run. config: whatever composes; its dataset and cell are replaced."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return RunRecord(
        run_id="", execution_id="", pair_key="", arm="", code_version="simulated", hardware_key="simulated",
        status=Status.FINISHED, started_at=now, finished_at=now, seed=0, test_accuracy=_BASE_QUALITY,
        test_confusion=[[250, 250], [250, 250]], test_texts=1000, train_texts=5000, classes=2,
        data_fingerprint="simulated", hidden_size_resolved=128, parameters_recurrent=88_320, parameters_total=100_000,
        train_seconds=10.0, validation_accuracy=_BASE_QUALITY,
        config=public_config(config) | {"model.match": "width", "model.hidden_size": 128},
    )  # fmt: skip


def simulate(truths: Sequence[Truth], seeds: int, like: RunRecord, seed: int = 0) -> pd.DataFrame:
    """Records of one study for each truth, both cells, `seeds` seeds each; columns as of `bench.records`.

    like: from `template`;  seed: of the draws.
    """
    draw = generator(seed, "bootstrap")
    shape = (len(truths), seeds)
    effect, sd, ratio = (np.array([getattr(truth, name) for truth in truths])[:, None]
                         for name in ("effect", "sd", "time_ratio"))  # fmt: skip
    gru = _BASE_QUALITY + _SEED_SD * draw.standard_normal(shape)
    lstm = gru + (effect + sd * draw.standard_normal(shape)) / 100
    seconds = 10 * np.exp(_TIME_SD * draw.standard_normal((2, *shape)))
    study, number = (axis.ravel() for axis in np.indices(shape))
    frames = []
    for cell, quality, times in zip(ARMS, (gru, lstm), (seconds[0] * ratio, seconds[1]), strict=True):
        base = frame_of([replace(like, config=like.config | {"model.cell": cell})])
        frames.append(
            base.loc[base.index.repeat(study.size)].assign(
                **{
                    "run_id": [f"{cell}-{row}-{column}" for row, column in zip(study, number, strict=True)],
                    "execution_id": "1",
                    "data.name": pd.array([f"study {row}" for row in study], "string[pyarrow]"),
                    "data_fingerprint": pd.array([f"study {row}" for row in study], "string[pyarrow]"),
                    "seed": pd.array(number, "Int64"),
                    "test_accuracy": quality.ravel(),
                    "train_seconds": times.ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class Outcome:
    """How the ladder went for one study. seeds: used when it stopped;  decided: False at the cap without a verdict."""

    truth: Truth
    decision: Decision
    seeds: int
    wrong: bool

    @property
    def decided(self) -> bool:
        """Whether the ladder ended with a verdict."""
        return self.decision.verdict != UNDECIDED


def climb(records: pd.DataFrame, truths: Sequence[Truth], protocol: ProtocolConfig) -> list[Outcome]:
    """Judge every study look by look, each by itself, until it is decided or at the cap."""
    outcomes: dict[int, Outcome] = {}
    for look in protocol.looks:
        open_studies = [f"study {row}" for row in range(len(truths)) if row not in outcomes]
        if not open_studies:
            break
        seen = records[(records.seed < look) & records["data.name"].isin(open_studies)]
        for entry in judge(study_of(seen, protocol), protocol):
            row = int(entry.pairs.scene.dataset.removeprefix("study "))
            if entry.alone.verdict != UNDECIDED or look == protocol.looks[-1]:
                margin = entry.pairs.margin
                wrong = truths[row].is_wrong(entry.alone, margin)
                outcomes[row] = Outcome(truths[row], entry.alone, look, wrong)
    return [outcomes[row] for row in range(len(truths))]
