"""What one scene says of two arms: pairs of runs, intervals, tests, and what more seeds would tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.analysis import statistics
from bench.analysis.decision import UNDECIDED, Case, Decision, Interval, Sample
from bench.analysis.disturbance import disturbed_pairs, undisturbed_time_ratio
from bench.analysis.executions import kernel_names
from bench.analysis.pairing import Scene
from bench.analysis.pairs import Pairs
from bench.config import ProtocolConfig
from bench.runs.digest import correct_texts


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one scene says of two arms. Differences are alternative minus baseline, in points; ratios baseline over
    alternative. None where it could not be computed (one seed has no spread, other hardware no ratio)."""

    scene: Scene
    baseline: str
    alternative: str
    metric: str  # accuracy | macro_f1
    margin: float  # points
    headline: bool  # at the primary matching and reading
    seeds: tuple[int, ...]  # those that paired and were judged
    extra_seeds: int  # paired, beyond the look that was judged: described, not judged
    look: int  # 1 for the first; 0 before it
    next_look: int | None  # seeds at the next planned look; None at the cap
    kernels: tuple[str, str]  # by which the runs of each arm were executed, in words; "" where no record says
    deltas: tuple[float, ...]  # points, by seed
    baseline_quality: tuple[float, ...]  # percent, by seed
    alternative_quality: tuple[float, ...]  # percent, by seed
    sd: float | None  # points, of the deltas
    difference: Interval | None  # repeated interval over the looks: what is judged
    plain: Interval | None  # ordinary interval of a single look: for orientation
    one_sided: tuple[float, float] | None  # one-sided bounds, lower and upper
    population: Interval | None  # for new test sets of this size, not only this one
    time_ratio: Interval | None  # train_seconds, repeated interval
    time_pairs: int  # on one hardware key
    time_pairs_disturbed: int  # of these, with a timing taken while others used the processor
    time_ratio_undisturbed: Interval | None  # as `time_ratio`, without those: describes, decides nothing
    parameter_ratio: Interval | None  # parameters_recurrent
    tost_p: float | None
    probability_within: float | None  # that |Δ| < margin, flat prior
    probability_alternative: float | None  # that Δ > margin
    probability_baseline: float | None  # that Δ < −margin
    mcnemar_p: tuple[float, ...]  # mid-p of each pair of runs
    minimum_detectable: float | None  # points from the margin, at the protocol's power
    seeds_needed: int | None  # in total, were mean and spread to stay; None if more than 10,000 or unknown
    sensitivity: Mapping[float, str]  # margin -> verdict
    decision: Decision  # of this scene alone
    held: Decision  # within the headline's family (Holm); outside of it the same as alone
    p_holm: float | None  # adjusted within the headline; None outside of it

    @property
    def verdict(self) -> str:
        """An arm, `equivalent` or `undecided`: what stands."""
        return self.held.verdict


def describe(pairs: Pairs, protocol: ProtocolConfig) -> Evidence:
    """All that is known of one scene and two arms, its decision alone included."""
    deltas, judged, case = pairs.deltas(), pairs.judged, pairs.case()
    sample = Sample.of(deltas[:judged], pairs.resolution)
    decision = case.decide() if case else too_early(pairs)
    looks = pairs.ladder.looks
    later = [seeds for seeds in looks if seeds > (looks[pairs.look - 1] if pairs.look else 0)]
    return Evidence(
        scene=pairs.scene,
        baseline=pairs.baseline,
        alternative=pairs.alternative,
        metric=pairs.metric,
        margin=pairs.margin,
        headline=pairs.headline,
        seeds=tuple(int(seed) for seed in pairs.seeds[:judged]),
        extra_seeds=len(deltas) - judged,
        look=pairs.look,
        next_look=later[0] if later else None,
        kernels=(_kernels(pairs, 0), _kernels(pairs, 1)),
        deltas=tuple(deltas[:judged].tolist()),
        baseline_quality=tuple((100 * pairs.runs[0]["quality"])[:judged].tolist()),
        alternative_quality=tuple((100 * pairs.runs[1]["quality"])[:judged].tolist()),
        sd=sample.sd if sample else None,
        time_pairs=int(pairs.timed().sum()),
        time_pairs_disturbed=int(disturbed_pairs(pairs).sum()),
        time_ratio_undisturbed=undisturbed_time_ratio(pairs),
        parameter_ratio=_parameter_ratio(pairs),
        mcnemar_p=_mcnemar(pairs),
        sensitivity={margin: _verdict_at(case, margin) for margin in protocol.margins},
        decision=decision,
        held=decision,
        p_holm=None,
        **_intervals(pairs, case, sample, protocol),
        **_tests(pairs, case, sample, protocol),
    )


def too_early(pairs: Pairs) -> Decision:
    """Before the first look nothing is judged."""
    seeds, first = len(pairs.seeds), pairs.ladder.looks[0]
    reason = f"{seeds} seed{'s'[: seeds != 1]} of the {first} that the first look needs"
    return Decision(verdict=UNDECIDED, reason=reason)


def _kernels(pairs: Pairs, side: int) -> str:
    return kernel_names(pairs.runs[side].get("kernel", np.array([]))[: pairs.judged])


def _verdict_at(case: Case | None, margin: float) -> str:
    return replace(case, margin=margin).decide().verdict if case else UNDECIDED


def _intervals(pairs: Pairs, case: Case | None, sample: Sample | None, protocol: ProtocolConfig) -> dict[str, Any]:
    """Repeated, ordinary and one-sided bounds of the difference; the time ratio's; what holds for new test sets."""
    if sample is None:
        return dict.fromkeys(("difference", "plain", "one_sided", "population", "time_ratio"))
    low, high = statistics.t_interval(sample.mean, sample.sd, sample.n, protocol.alpha)
    return {
        "difference": pairs.ladder.interval(sample, pairs.look) if case else None,
        "plain": Interval(estimate=sample.mean, low=low, high=high),
        "one_sided": statistics.one_sided_bounds(sample.mean, sample.sd, sample.n, protocol.alpha),
        "population": _population(pairs, sample, protocol.alpha),
        "time_ratio": _time_ratio(pairs, case),
    }


def _time_ratio(pairs: Pairs, case: Case | None) -> Interval | None:
    if case is None or case.times is None:
        return None
    logs = pairs.ladder.interval(case.times, pairs.look)
    return Interval(estimate=math.exp(logs.estimate), low=math.exp(logs.low), high=math.exp(logs.high))


def _population(pairs: Pairs, sample: Sample, alpha: float) -> Interval | None:
    """For new seeds and new texts; only for accuracy that is a mean over texts: tokens of a text do not come alone."""
    correct = _correctness(pairs)
    by_token = pairs.runs[0].get("test_tokens", np.array([math.nan]))[0] > 0
    if pairs.metric != "accuracy" or correct is None or len(correct[0]) < 2 or by_token:
        return None
    low, high = statistics.population_interval(*correct, alpha)
    return Interval(estimate=sample.mean, low=100 * low, high=100 * high)


def _mcnemar(pairs: Pairs) -> tuple[float, ...]:
    correct = _correctness(pairs)
    return () if correct is None else tuple(test.p for test in statistics.mcnemar_by_seed(*correct))


def _correctness(pairs: Pairs) -> tuple[np.ndarray, np.ndarray] | None:
    """Which texts the judged runs of each arm label correctly, (seeds, texts); None where a record does not tell."""
    sides = [side.get("test_correct", np.array([]))[: pairs.judged] for side in pairs.runs]
    if not all(len(side) and all(isinstance(packed, str) for packed in side) for side in sides):
        return None
    texts = int(pairs.runs[0]["test_texts"][0])
    try:
        baseline, alternative = (np.array([correct_texts(packed, texts) for packed in side]) for side in sides)
    except ValueError:  # not of these texts: a record that was edited
        return None
    return baseline, alternative


def _parameter_ratio(pairs: Pairs) -> Interval | None:
    """Baseline over alternative; its bounds are the smallest and the largest ratio, since counts have no noise."""
    baseline, alternative = (side["parameters_recurrent"][: pairs.judged] for side in pairs.runs)
    ratios = (baseline / alternative)[(baseline > 0) & (alternative > 0)]
    if not len(ratios):
        return None
    return Interval(estimate=float(np.mean(ratios)), low=float(ratios.min()), high=float(ratios.max()))


def _tests(pairs: Pairs, case: Case | None, sample: Sample | None, protocol: ProtocolConfig) -> dict[str, Any]:
    """What is reported and never decides: p-values, probabilities, and what more seeds would tell."""
    if sample is None:
        names = ("tost_p", "probability_within", "probability_alternative", "probability_baseline")
        return dict.fromkeys((*names, "minimum_detectable", "seeds_needed"))
    described = statistics.posterior(sample.mean, sample.sd, sample.n, pairs.margin)
    level = pairs.ladder.nominal(protocol.alpha, max(pairs.look, 1))
    return {
        "tost_p": statistics.tost_p(sample.mean, sample.sd, sample.n, pairs.margin),
        "probability_within": described.within,
        "probability_alternative": described.above,
        "probability_baseline": described.below,
        "minimum_detectable": statistics.minimum_detectable(sample.sd, sample.n, level, protocol.power),
        "seeds_needed": _seeds_needed(pairs, case, sample, protocol),
    }


def _seeds_needed(pairs: Pairs, case: Case | None, sample: Sample, protocol: ProtocolConfig) -> int | None:
    """Seeds in total at which the protocol's power would be reached, were mean and spread to stay as they are.

    The fewest over the verdicts that the mean allows; the last look's nominal level stands for the whole ladder.
    """
    mean, margin = sample.mean, pairs.margin
    level = pairs.ladder.nominal(protocol.alpha, len(pairs.ladder.looks))
    ratio = _time_ratio(pairs, case)
    options = [(mean - margin, math.inf), (-margin - mean, math.inf), (margin - mean, margin + mean)]
    if ratio is not None and ratio.high < 1:
        options.append((margin - mean, math.inf))  # the baseline is faster already: not being worse is enough
    if ratio is not None and ratio.low > 1:
        options.append((margin + mean, math.inf))
    found = [statistics.seeds_needed(one, sample.sd, level, protocol.power, other=other) for one, other in options]
    return min((seeds for seeds in found if seeds is not None), default=None)
