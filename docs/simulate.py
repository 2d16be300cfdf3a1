"""Writes the simulated tables of docs/protocol.md: `python docs/simulate.py`, a few minutes; or `… errors savings`.

Studies with a known truth are drawn as records and pass through the functions that judge real ones. Every cell has
random numbers of its own, so that one can be computed again alone: `tests/test_simulation.py` does.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from bench.analysis.decision import Interval, Ladder
from bench.analysis.designs import expected, seeds_of_equal_power
from bench.analysis.evidence import describe
from bench.analysis.pairing import Study, study_of
from bench.analysis.pairs import ladder_of
from bench.analysis.simulation import (
    Noise,
    Outcome,
    Truth,
    by_study,
    climb,
    climb_together,
    first,
    simulate,
    simulate_texts,
    template,
)
from bench.compose import compose

PAGE = Path(__file__).resolve().parent / "protocol.md"
MARK = "<!-- simulated: {} -->\n"  # the table is what follows, up to an empty line
EMPTY = "\n\n"
STUDIES = 2_000  # a cell
CONFIG = compose([])
PROTOCOL = CONFIG.protocol
LADDER = ladder_of(PROTOCOL)
LIKE = template(CONFIG)
FAMILY = (1.0, -1.0, 1.0, 0.0, 2.0)  # effects of five tasks: three at a margin, where errors are most frequent
VERDICTS = ("gru", "lstm", "equivalent", "undecided")
SHAPES: dict[Noise, str] = {
    "heavy": "heavy tails: Student's t, 3 degrees of freedom",
    "skewed": "skewness 1: gamma",
    "very_skewed": "skewness 2: exponential",
}
Rows = Iterator[Sequence[str]]


@lru_cache(maxsize=1)
def draw(truth: Truth) -> tuple[Study, list[Truth]]:
    """Records of so many studies of one truth, sorted out as real ones are."""
    truths = [truth] * STUDIES
    records = simulate(truths, PROTOCOL.looks[-1], LIKE, zlib.crc32(repr(truth).encode()))
    return study_of(records, PROTOCOL), truths


@cache
def outcomes(truth: Truth, give_up: float = 0.0) -> list[Outcome]:
    """How the ladder went."""
    return climb(*draw(truth), PROTOCOL, give_up)


def percent(flags: Sequence[bool]) -> str:
    """A share in percent."""
    return f"{100 * float(np.mean(flags)):.1f}"


def errors() -> Rows:
    """How often it errs, where both cells train equally fast."""
    yield "sd of Δ", "Δ = 0", "Δ = +δ", "Δ = −δ", "time, Δ = 0", "time, Δ = +δ", "time, Δ = −δ", "either, Δ = ±δ"
    spreads = (0.5, 0.8, 1.0, 1.3, 1.6)
    for sd in spreads:
        yield f"{sd:.1f} δ", *error_row(sd)
    yield "all", *error_row(*spreads)


def error_row(*spreads: float) -> list[str]:
    """Wrong on quality, then wrong on time, then either."""
    at = [[found for sd in spreads for found in outcomes(Truth(effect, sd))] for effect in (0.0, 1.0, -1.0)]
    quality = [percent([outcome.wrong for outcome in found]) for found in at]
    time = [percent([outcome.wrong_on_time for outcome in found]) for found in at]
    either = percent([outcome.wrong or outcome.wrong_on_time for outcome in at[1] + at[2]])
    return [*quality, *time, either]


def shapes() -> Rows:
    """How often it errs where differences are not normal; their sd is one margin, and times do not count."""
    yield "differences", "Δ = 0", "Δ = +δ", "Δ = −δ"
    for noise, name in SHAPES.items():
        at = [outcomes(Truth(effect, 1.0, None, noise)) for effect in (0.0, 1.0, -1.0)]
        yield name, *(percent([outcome.wrong for outcome in found]) for found in at)


def verdicts() -> Rows:
    """What comes out at a spread of one margin."""
    yield "true Δ", "true time ratio", "`gru`", "`lstm`", "`equivalent`", "`undecided`", "mean seeds"
    for ratio, effects in ((1.0, (0.0, 0.5, 1.0, 2.0)), (0.85, (-1.0, 0.0, 0.5, 2.0))):
        for effect in effects:
            found = outcomes(Truth(effect, 1.0, ratio))
            names = [outcome.decision.verdict for outcome in found]
            shares = [percent([name == verdict for name in names]) for verdict in VERDICTS]
            yield f"{effect:g} δ".replace("-", "−"), f"{ratio:g}", *shares, f"{np.mean([o.seeds for o in found]):.1f}"


def savings() -> Rows:
    """Mean seeds of the ladder, and as a share of the single look of equal power."""
    effects = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
    yield "sd of Δ", "power at 0", "single look", *(f"Δ = {effect:g} δ" for effect in effects), "`lstm` at 2 δ"
    for sd in (0.8, 1.0, 1.1, 1.3, 1.6):
        yield f"{sd:.1f} δ", *saving_row(sd, effects)


def saving_row(sd: float, effects: Sequence[float]) -> list[str]:
    """One spread. The power is that of 200,000 normal samples: the single look's size hangs on its last digits."""
    power = expected(LADDER, 0.0, sd).equivalent
    single = seeds_of_equal_power(power, sd)
    cells = []
    for effect in effects:
        seeds = float(np.mean([outcome.seeds for outcome in at_equal_time(effect, sd)]))
        cells.append(f"{seeds:.1f} ({100 * seeds / single:.0f}%)")
    found = [outcome.decision.verdict == "lstm" for outcome in at_equal_time(2.0, sd)]
    return [f"{100 * power:.1f}", f"{single:.1f}", *cells, percent(found)]


def at_equal_time(effect: float, sd: float, give_up: float = 0.0) -> list[Outcome]:
    """The ladder at equal wall-clock, where times do not count."""
    return outcomes(Truth(effect, sd, None), give_up)


def giving_up() -> Rows:
    """What the futility rule saves and costs: without it → with it."""
    yield "sd of Δ", "Δ = 0: seeds", "decided", "Δ = δ: seeds", "wrong", "Δ = 2 δ: seeds", "decided"
    for sd in (1.0, 1.3, 1.6):
        cells = []
        for effect in (0.0, 1.0, 2.0):
            ways = [at_equal_time(effect, sd, level) for level in (0.0, 0.1)]
            cells.append(" → ".join(f"{np.mean([outcome.seeds for outcome in way]):.1f}" for way in ways))
            # At the margin every verdict is wrong.
            cells.append(" → ".join(percent([outcome.decided for outcome in way]) for way in ways))
        yield f"{sd:.1f} δ", *cells


def coverage() -> Rows:
    """How often the intervals that a report shows hold the truth."""
    yield "interval", "of", "holds the truth", "promised"
    truth = Truth(1.0, 1.0, 0.85)
    pairs = by_study(draw(truth)[0], PROTOCOL)
    looks = [[describe(first(entry, look), PROTOCOL) for entry in pairs] for look in PROTOCOL.looks]
    last, alpha = looks[-1], PROTOCOL.alpha
    together = [all(holds(e.difference, truth.effect) for e in ladder) for ladder in zip(*looks, strict=True)]
    ratio = [all(holds(e.time_ratio, 0.85) for e in ladder) for ladder in zip(*looks, strict=True)]
    bounds = [(e.one_sided[0] < truth.effect, truth.effect < e.one_sided[1]) for e in last if e.one_sided]
    nominal = f"{100 * (1 - alpha):.1f}"
    yield "repeated, at all looks together", "Δ", percent(together), nominal
    yield "repeated, at all looks together", "time ratio", percent(ratio), nominal
    yield "ordinary, at 20 seeds alone", "Δ", percent([holds(e.plain, truth.effect) for e in last]), nominal
    yield "one-sided, lower bound at 20 seeds", "Δ", percent([lower for lower, _ in bounds]), nominal
    yield "one-sided, upper bound at 20 seeds", "Δ", percent([upper for _, upper in bounds]), nominal
    yield from coverage_of_texts(nominal)


def coverage_of_texts(nominal: str) -> Rows:
    """The same where test sets are drawn anew: 1,000 studies of 20 seeds and 300 texts."""
    records, own = simulate_texts(1.0, LIKE, studies=1_000, seeds=20, texts=300, seed=7)
    described = [describe(pairs, PROTOCOL) for pairs in by_study(study_of(records, PROTOCOL), PROTOCOL)]
    pairs = list(zip(described, own, strict=True))
    yield "ordinary, at 20 seeds alone", "Δ on this test set", percent([holds(e.plain, o) for e, o in pairs]), nominal
    yield "ordinary, at 20 seeds alone", "Δ over all texts", percent([holds(e.plain, 1.0) for e in described]), "—"
    population = [holds(entry.population, 1.0) for entry in described]
    yield "population, at 20 seeds", "Δ over all texts", percent(population), nominal


def holds(interval: Interval | None, value: float) -> bool:
    """Whether an interval holds a value."""
    assert interval is not None
    return interval.low <= value <= interval.high


def families() -> Rows:
    """Five tasks of one sweep, climbing together."""
    yield "true Δ of the five tasks", "each alone", "within the family", "all five together", "mean seeds a task"
    for effects in (FAMILY, (1.0,) * 5, (0.0,) * 5):
        families = [family for part in range(2) for family in climbed_families(effects, part)]
        alone, held, together, seeds = zip(*families, strict=True)
        name = ", ".join(f"{effect:g} δ" for effect in effects).replace("-", "−")
        yield name, percent(alone), percent(held), percent(together), f"{np.mean(seeds):.1f}"


def climbed_families(effects: tuple[float, ...], part: int) -> Iterator[tuple[bool, bool, bool, float]]:
    """Of 500 families each: any task wrong by itself, any with Holm, all tasks together wrong, mean seeds."""
    truths = [Truth(effect, 1.0) for effect in effects] * 500
    study = study_of(simulate(truths, LADDER.looks[-1], LIKE, zlib.crc32(repr((effects, part)).encode())), PROTOCOL)
    alone = np.array([outcome.wrong for outcome in climb(study, truths, PROTOCOL)]).reshape(-1, len(effects))
    overall = Truth(float(np.mean(effects)), 1.0)
    for wrong, (climbed, together) in zip(alone, climb_together(study, truths, PROTOCOL, len(effects)), strict=True):
        held = any(outcome.wrong for outcome in climbed)
        seeds = float(np.mean([outcome.seeds for outcome in climbed]))
        yield bool(wrong.any()), held, overall.is_wrong(together, 1.0), seeds


def ladders() -> Rows:
    """Other looks and other spending, over 200,000 normal samples each: the worst over 0.8 to 1.1 margins of spread."""
    yield "looks", "spending", "Δ = 0", "Δ = 2 δ", "worst of all Δ", "power at 0, sd 1.0 δ", "sd 1.3 δ"
    others = ((5, 10, 15, 20), (5, 8, 11, 14, 17, 20), (5, 9, 12, 15))
    tried = [replace(LADDER, spending=name) for name in ("obrien_fleming", "power3", "power2", "pocock")]
    for ladder in [*tried, *(replace(LADDER, looks=looks) for looks in others)]:
        shares = np.max([costs(ladder, sd) for sd in (0.8, 0.9, 1.0, 1.1)], axis=0)
        powers = [expected(ladder, 0.0, sd).equivalent for sd in (1.0, 1.3)]
        yield ", ".join(map(str, ladder.looks)), ladder.spending, *(f"{share:.0%}" for share in [*shares, *powers])


def costs(ladder: Ladder, sd: float) -> tuple[float, float, float]:
    """Mean seeds as shares of the single look of equal power: at Δ = 0, at 2 δ, and the largest."""
    found = {effect: expected(ladder, effect, sd) for effect in (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0)}
    single = seeds_of_equal_power(found[0.0].equivalent, sd)
    shares = {effect: result.seeds / single for effect, result in found.items()}
    return shares[0.0], shares[2.0], max(shares.values())


TABLES: dict[str, Callable[[], Rows]] = {
    table.__name__: table for table in (errors, shapes, verdicts, savings, ladders, giving_up, coverage, families)
}


def markdown(rows: Rows) -> str:
    """A table; its first row is the heading."""
    heading, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + "---|" * (heading.count("|") - 1), *body])


def main(names: Sequence[str]) -> None:
    """Put tables behind their marks. names: of those to make again; none for all."""
    for name in names or TABLES:
        mark, table = MARK.format(name), markdown(TABLES[name]())
        before, found, rest = PAGE.read_text(encoding="utf-8").partition(mark)
        assert found, f"docs/protocol.md has no place for {name}"
        PAGE.write_text(f"{before}{mark}{table}\n\n{rest.partition(EMPTY)[2]}", encoding="utf-8")
        print(f"{name}\n{table}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
