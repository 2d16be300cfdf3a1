"""Pairs of runs of two arms in one scene, as the decision table reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bench.analysis.decision import Case, Ladder, Sample
from bench.analysis.executions import primary_execution
from bench.analysis.pairing import MATCHINGS, Scene, Study
from bench.config import ProtocolConfig

Side = dict[str, np.ndarray]  # columns of `Study.runs`, one element a seed
LARGE_TEST_SET = 7_600  # texts, from which half a point matters
_NUMBERS = ("quality", "train_seconds", "test_texts", "test_tokens", "parameters_recurrent", "timing_disturbed")
_OTHERS = ("seed", "run_id", "hardware_key", "dataset", "test_correct", "kernel")
_QUESTION = ("gru", "lstm")  # where both are there, other cells stand beside the question


@dataclass(frozen=True)
class Pairs:
    """Runs of two arms with the same seed, in the order of seeds.

    runs: of the baseline and of the alternative;  judged: how many of them the look reads;
    look: from 1, 0 before the first;  margin: points;  headline: at the primary matching and reading.
    """

    scene: Scene
    baseline: str
    alternative: str
    metric: str
    margin: float
    headline: bool
    runs: tuple[Side, Side]
    ladder: Ladder
    look: int

    @property
    def seeds(self) -> np.ndarray:
        """Those that both arms have."""
        return self.runs[0]["seed"]

    @property
    def judged(self) -> int:
        """Pairs that the look reads; all of them before the first look, where nothing is judged."""
        return self.ladder.looks[self.look - 1] if self.look else len(self.seeds)

    def deltas(self) -> np.ndarray:
        """Differences in quality, alternative minus baseline, in points, by seed; of all pairs."""
        baseline, alternative = (runs["quality"] for runs in self.runs)
        return np.asarray(100 * (alternative - baseline))

    def timed(self) -> np.ndarray:
        """Which of the judged pairs have times that compare, (judged,) bool: those on one hardware key.

        None at equal wall-clock. Where there are several keys, the one with most pairs counts.
        """
        keys = [runs["hardware_key"][: self.judged] for runs in self.runs]
        same = np.asarray(keys[0] == keys[1], bool)
        if self.scene.matching == "time" or not same.any():
            return np.zeros(len(same), bool)
        names, counts = np.unique(keys[0][same], return_counts=True)
        seconds = [runs["train_seconds"][: self.judged] for runs in self.runs]
        known = (seconds[0] > 0) & (seconds[1] > 0)
        return np.asarray(same & (keys[0] == names[counts.argmax()]) & known)

    def log_times(self) -> np.ndarray:
        """Natural logarithms of baseline's over alternative's training time, of the judged pairs that are `timed`."""
        timed = self.timed()
        baseline, alternative = (runs["train_seconds"][: self.judged][timed] for runs in self.runs)
        return np.asarray(np.log(baseline / alternative))

    def case(self) -> Case | None:
        """What comes before the judge; None before the first look."""
        difference = Sample.of(self.deltas()[: self.judged], self.resolution)
        if not self.look or difference is None:
            return None
        times = Sample.of(self.log_times())
        return Case(self.baseline, self.alternative, difference, times, self.margin, self.ladder, self.look)

    @property
    def resolution(self) -> float:
        """Points that one label of the test split is worth: of a text, or of a token."""
        tokens = self.runs[0].get("test_tokens", np.array([math.nan]))[0]
        labels = float(tokens if tokens > 0 else self.runs[0]["test_texts"][0])
        return 100 / labels if labels > 0 else 0.0


def ladder_of(protocol: ProtocolConfig) -> Ladder:
    """The protocol's looks and alpha."""
    return Ladder(tuple(protocol.looks), protocol.alpha, protocol.spending)


def pairs_of(study: Study, protocol: ProtocolConfig) -> list[Pairs]:
    """Every scene and every two arms that share a seed in it, in the order of scenes."""
    ladder, primary = ladder_of(protocol), (*primary_scene(study, protocol), primary_kernel(study, protocol))
    asked = questions(study.arms)
    found = []
    for number, arms in _by_scene(study.runs):
        scene = study.scenes[number]
        for baseline, alternative in combinations([arm for arm in study.arms if arm in arms], 2):
            runs = _common(arms[baseline], arms[alternative])
            if not len(runs[0]["seed"]):
                continue
            metric = study.metrics[str(runs[0]["dataset"][0])]
            place = (scene.matching, scene.pooling or primary[1], scene.execution)  # without pooling: in any reading
            headline = place == primary and (baseline, alternative) in asked
            look = ladder.look_of(len(runs[0]["seed"]))
            margin = _margin(runs[0], protocol)
            found.append(Pairs(scene, baseline, alternative, metric, margin, headline, runs, ladder, look))
    return found


def questions(arms: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of arms that the headline is about: GRU and LSTM where both are there, else every two."""
    return [_QUESTION] if set(_QUESTION) <= set(arms) else list(combinations(arms, 2))


def primary_scene(study: Study, protocol: ProtocolConfig) -> tuple[str, str]:
    """Matching and pooling of the headline: the protocol's, or what comes nearest to it among what was run."""
    scenes = _asked_scenes(study)
    matchings = {scene.matching for scene in scenes}
    order = (protocol.matching, *MATCHINGS)
    matching = next((name for name in order if name in matchings), protocol.matching)
    readings = {scene.pooling for scene in scenes if scene.matching == matching}
    preferred = (protocol.pooling, *sorted(readings - {"last", ""}), "last", "")
    return matching, next((name for name in preferred if name in readings), protocol.pooling)


def primary_kernel(study: Study, protocol: ProtocolConfig) -> str:
    """The declared execution of the headline, among what was run at its matching and reading."""
    primary = primary_scene(study, protocol)
    scenes = _asked_scenes(study)
    at_primary = [scene for scene in scenes if (scene.matching, scene.pooling or primary[1]) == primary]
    return primary_execution(scene.execution for scene in at_primary)


def _asked_scenes(study: Study) -> list[Scene]:
    """The scenes that hold a pair of the headline; an LSTM of equal width meets a bag of words at equal size too."""
    if len(study.scenes) < 2:
        return list(study.scenes)
    asked, present = questions(study.arms), study.runs.groupby("scene")["arm"].unique()
    found = [study.scenes[int(str(number))] for number, arms in present.items()
             if any({*pair} <= {*arms} for pair in asked)]  # fmt: skip
    return found or list(study.scenes)


def _by_scene(runs: pd.DataFrame) -> Iterator[tuple[int, dict[str, Side]]]:
    """Number of each scene, and its runs by arm, in the order of seeds (`Study.runs` is sorted so)."""
    if runs.empty:
        return
    scenes, arms = runs["scene"].to_numpy(), runs["arm"].to_numpy(object)
    columns: Side = {name: runs[name].to_numpy(float, na_value=math.nan) for name in _NUMBERS if name in runs}
    columns |= {name: runs[name].to_numpy(object) for name in _OTHERS if name in runs}
    starts = np.flatnonzero(np.r_[True, (scenes[1:] != scenes[:-1]) | (arms[1:] != arms[:-1])])
    found: dict[int, dict[str, Side]] = {}
    for start, end in zip(starts, [*starts[1:], len(runs)], strict=True):
        side = {name: column[start:end] for name, column in columns.items()}
        found.setdefault(int(scenes[start]), {})[str(arms[start])] = side
    yield from found.items()


def _common(baseline: Side, alternative: Side) -> tuple[Side, Side]:
    """The runs of both whose seeds the other has too."""
    one, other = baseline["seed"], alternative["seed"]
    if len(one) == len(other) and (one == other).all():
        return baseline, alternative
    _, left, right = np.intersect1d(one.astype(int), other.astype(int), return_indices=True)
    return chosen(baseline, left), chosen(alternative, right)


def chosen(side: Side, rows: np.ndarray) -> Side:
    """Some of a side's runs, by position."""
    return {name: column[rows] for name, column in side.items()}


def _margin(runs: Side, protocol: ProtocolConfig) -> float:
    if protocol.margin is not None:
        return protocol.margin
    return 0.5 if runs["test_texts"][0] >= LARGE_TEST_SET else 1.0
