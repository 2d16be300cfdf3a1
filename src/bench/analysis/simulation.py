"""Simulated studies with a known truth, as records: what the protocol says of them shows how often it errs.

A simulated study is a dataset of its own. Its records have the columns of real ones and pass through the same
functions; only the numbers are drawn. Used by the tests and by `docs/protocol.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray

from bench.analysis.decision import EQUIVALENT, UNDECIDED, Case, Decision, judge_together
from bench.analysis.futility import chance_of_deciding
from bench.analysis.overall import overall_pairs
from bench.analysis.pairing import Study
from bench.analysis.pairs import Pairs, pairs_of
from bench.config import BenchConfig, ProtocolConfig, Scalar
from bench.runs.assemble import public_config
from bench.runs.digest import digest
from bench.runs.index import frame_of
from bench.runs.record import RunRecord, Status
from bench.seeds import generator

ARMS = ("gru", "lstm")
_STARTED = "2026-01-01T00:00:00.000+00:00"
_BASE_QUALITY = 0.85
_SEED_SD = 0.01  # spread that both cells of a seed share: it cancels in the pair
_TIME_SD = 0.05  # of the logarithm of each training time
# Columns that tell simulated records apart.
_FIELDS = (
    "run_id", "execution_id", "seed", "test_accuracy", "train_seconds", "data_fingerprint", "test_texts",
    "test_correct",
)  # fmt: skip
_KEYS = ("data.name", "model.cell", "model.match")

# heavy: Student's t, 3 degrees of freedom;  skewed: gamma, skewness 1;  very_skewed: exponential, skewness 2.
Noise = Literal["normal", "heavy", "skewed", "very_skewed"]
Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any] | ExtensionArray]


@dataclass(frozen=True)
class Truth:
    """What is drawn.

    effect, sd: of the paired differences (LSTM minus GRU), in points;  time_ratio: true one, GRU over LSTM; None at
    equal wall-clock, where times do not count;  noise: the shape of the differences around the effect.
    """

    effect: float
    sd: float
    time_ratio: float | None = 1.0
    noise: Noise = "normal"

    def is_wrong(self, decision: Decision, margin: float) -> bool:
        """Whether the decision's claim on the difference is false; a difference exactly at the margin is not within."""
        if decision.verdict == UNDECIDED:
            return False
        if decision.verdict == EQUIVALENT:
            return abs(self.effect) >= margin
        ahead = self.effect if decision.verdict == "lstm" else -self.effect
        return ahead <= margin if decision.reason.startswith("better") else ahead <= -margin

    def is_wrong_on_time(self, decision: Decision) -> bool:
        """Whether the decision calls a cell faster that is not; equally fast is not faster."""
        faster = decision.cheaper if decision.verdict == EQUIVALENT else decision.verdict
        if self.time_ratio is None or faster not in ARMS or decision.reason.startswith("better"):
            return False
        return self.time_ratio >= 1 if faster == "gru" else self.time_ratio <= 1


def template(config: BenchConfig) -> RunRecord:
    """A finished record without a run. config: whatever composes; its dataset and cell are replaced."""
    return RunRecord(
        run_id="", execution_id="1", pair_key="", arm="", code_version="simulated", hardware_key="simulated",
        status=Status.FINISHED, started_at=_STARTED, finished_at=_STARTED, seed=0, test_accuracy=_BASE_QUALITY,
        test_confusion=[[250, 250], [250, 250]], test_texts=1000, train_texts=5000, classes=2,
        data_fingerprint="simulated", hidden_size_resolved=128, parameters_recurrent=88_320, parameters_total=100_000,
        train_seconds=10.0, validation_accuracy=_BASE_QUALITY,
        config=public_config(config) | {"model.match": "width", "model.hidden_size": 128},
    )  # fmt: skip


def simulate(truths: Sequence[Truth], seeds: int, like: RunRecord, seed: int = 0) -> pd.DataFrame:
    """Records of one study for each truth, both cells, `seeds` seeds each; columns as of `bench.records`.

    like: from `template`;  seed: of the draws. The studies are called `study 0`, `study 1`, ….
    """
    draw = generator(seed, "bootstrap")
    shape = (len(truths), seeds)
    effect, sd = (np.array([getattr(truth, name) for truth in truths])[:, None] for name in ("effect", "sd"))
    ratio = np.array([truth.time_ratio or 1.0 for truth in truths])[:, None]
    gru = _BASE_QUALITY + _SEED_SD * draw.standard_normal(shape)
    noise = np.array([_noise(truth.noise, seeds, draw) for truth in truths])
    lstm = gru + (effect + sd * noise) / 100
    seconds = 10 * np.exp(_TIME_SD * draw.standard_normal((2, *shape)))
    match = np.array([like.config["model.match"] if truth.time_ratio else "time" for truth in truths], object)
    columns = {"model.match": pd.array(np.repeat(match, seeds), "string[pyarrow]")}
    first_arm = _runs(like, "gru", gru, {**columns, "train_seconds": (seconds[0] * ratio).ravel()})
    other_arm = _runs(like, "lstm", lstm, {**columns, "train_seconds": seconds[1].ravel()})
    return pd.concat([first_arm, other_arm], ignore_index=True)


def simulate_texts(
    effect: float, like: RunRecord, *, studies: int, seeds: int, texts: int, seed: int = 0
) -> tuple[pd.DataFrame, Floats]:
    """Studies whose test sets are drawn anew, with what every run says of every text.

    effect: over all texts there could be, in points, 2 at most. Texts differ in difficulty and in which cell they suit.
    Returns: the records, and the effect on each study's own test set, in points.
    """
    draw = generator(seed, "bootstrap")
    hard = draw.uniform(0.25, 0.75, (studies, 1, texts))
    suits = effect / 100 + draw.uniform(-0.2, 0.2, (studies, 1, texts))
    frames = []
    for cell, chance in zip(ARMS, (hard, hard + suits), strict=True):
        moved = chance + draw.uniform(-0.02, 0.02, (studies, seeds, 1))
        correct = draw.random((studies, seeds, texts)) < moved
        bits = [digest(run, np.ones(texts)).test_correct for run in correct.reshape(-1, texts)]
        columns = {"test_correct": pd.array(bits, "string[pyarrow]")}
        frames.append(_runs(replace(like, test_texts=texts), cell, correct.mean(axis=2), columns))
    return pd.concat(frames, ignore_index=True), 100 * suits.mean(axis=(1, 2))


def records_of(table: pd.DataFrame, like: RunRecord) -> Iterator[RunRecord]:
    """The rows of a simulated table as records that can be written. like: what it was simulated with."""
    for row in table[[*_FIELDS, *_KEYS]].astype(object).itertuples(index=False, name=None):
        values: list[Scalar] = [None if value is pd.NA else value for value in row]
        keys = dict(zip(_KEYS, values[len(_FIELDS) :], strict=True))
        fields = dict(zip(_FIELDS, values, strict=False))
        yield replace(like, **fields, config=like.config | keys)  # type: ignore[arg-type]


def _noise(shape: Noise, size: int, draw: np.random.Generator) -> Floats:
    """Draws with mean 0 and standard deviation 1."""
    match shape:
        case "normal":
            return draw.standard_normal(size)
        case "heavy":
            return np.asarray(draw.standard_t(3, size) / np.sqrt(3))
        case "skewed":
            return np.asarray(draw.standard_gamma(4, size) / 2 - 2)
        case "very_skewed":
            return np.asarray(draw.standard_exponential(size) - 1)


def _runs(like: RunRecord, cell: str, quality: Floats, columns: Columns) -> pd.DataFrame:
    """One cell's runs. quality: (studies, seeds), as a fraction of 1."""
    base = frame_of([replace(like, config=like.config | {"model.cell": cell})])
    study, seed = (axis.ravel() for axis in np.indices(quality.shape))
    names = pd.array([f"study {number}" for number in study], "string[pyarrow]")
    ids = pd.array([f"{cell}-{a}-{b}" for a, b in zip(study, seed, strict=True)], "string[pyarrow]")
    drawn: Columns = {
        "run_id": ids, "data.name": names, "data_fingerprint": names, "seed": pd.array(seed, "Int64"),
        "test_accuracy": quality.ravel(), **columns,
    }  # fmt: skip
    repeated = base.loc[base.index.repeat(study.size)]
    return repeated.assign(**{name: pd.Series(values, repeated.index) for name, values in drawn.items()})


@dataclass(frozen=True)
class Outcome:
    """How the ladder went for one study. decision: the last one;  seeds: used when it stopped;  wrong: on the
    difference;  wrong_on_time: calls a cell faster that is not."""

    truth: Truth
    decision: Decision
    seeds: int
    wrong: bool
    wrong_on_time: bool

    @property
    def decided(self) -> bool:
        """Whether the ladder ended with a verdict."""
        return self.decision.verdict != UNDECIDED


def climb(study: Study, truths: Sequence[Truth], protocol: ProtocolConfig, give_up: float = 0.0) -> list[Outcome]:
    """Judge simulated studies look by look, each by itself, until it is decided or at the cap.

    study: of all their records, up to the cap;  give_up: stop where the chance of deciding by the cap is below.
    """
    outcomes = []
    for pairs, truth in zip(by_study(study, protocol), truths, strict=True):
        for look in protocol.looks:
            case = case_at(pairs, look)
            decision = case.decide()
            if decision.verdict != UNDECIDED or (give_up and chance_of_deciding(case) < give_up):
                break
        outcomes.append(_outcome(truth, decision, look, pairs.margin))
    return outcomes


def climb_together(
    study: Study, truths: Sequence[Truth], protocol: ProtocolConfig, tasks: int
) -> list[tuple[list[Outcome], Decision]]:
    """Judge families of so many neighbouring studies, as the evidence ladder does for the tasks of one sweep.

    Verdicts are those that stand in the family (Holm). A task gets more seeds until it has been decided once; what is
    returned is what the last look says of all tasks, with the seeds each one has, and of all of them together.
    """
    everything = by_study(study, protocol)
    families = []
    for start in range(0, len(everything), tasks):
        family, own = everything[start : start + tasks], truths[start : start + tasks]
        seeds, going = [protocol.looks[0]] * tasks, set(range(tasks))
        for upcoming in [*protocol.looks[1:], None]:
            cases = [case_at(pairs, n) for pairs, n in zip(family, seeds, strict=True)]
            judged = [decision for decision, _ in judge_together(cases, protocol.alpha)]
            going &= {task for task, decision in enumerate(judged) if decision.verdict == UNDECIDED}
            if upcoming is None or not going:
                break
            seeds = [upcoming if task in going else n for task, n in enumerate(seeds)]
        ends = zip(own, judged, seeds, family, strict=True)
        outcomes = [_outcome(truth, decision, n, pairs.margin) for truth, decision, n, pairs in ends]
        (together,) = overall_pairs([first(pairs, n) for pairs, n in zip(family, seeds, strict=True)])
        families.append((outcomes, _case(together).decide()))
    return families


def by_study(study: Study, protocol: ProtocolConfig) -> list[Pairs]:
    """The pairs of each simulated study, in the order of the truths."""
    return sorted(pairs_of(study, protocol), key=lambda pairs: int(pairs.scene.dataset.removeprefix("study ")))


def first(pairs: Pairs, seeds: int) -> Pairs:
    """The pairs as they would be had only so many seeds been run."""
    baseline, alternative = ({name: column[:seeds] for name, column in side.items()} for side in pairs.runs)
    return replace(pairs, runs=(baseline, alternative), look=pairs.ladder.look_of(len(baseline["seed"])))


def case_at(pairs: Pairs, seeds: int) -> Case:
    """What comes before the judge at so many seeds; a planned look."""
    return _case(first(pairs, seeds))


def _case(pairs: Pairs) -> Case:
    case = pairs.case()
    assert case is not None, "a planned look has been reached"
    return case


def _outcome(truth: Truth, decision: Decision, seeds: int, margin: float) -> Outcome:
    return Outcome(truth, decision, seeds, truth.is_wrong(decision, margin), truth.is_wrong_on_time(decision))
