"""The verdict's evidence as tables: a column is one entry of a list, its title, its spreadsheet keys and its cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean, median

from bench.analysis.evidence import Evidence
from bench.analysis.verdict import Verdict
from bench.report.cells import (
    MATCHINGS,
    METRICS,
    bounds_cell,
    estimate_cell,
    kernel_words,
    mean_cell,
    time_cell,
    tone_of,
    verdict_cell,
)
from bench.report.document import Cell, Column, Table
from bench.report.numbers import number, number_cell, probability_cell, text_cell

Entry = tuple[Column, Callable[[Evidence], Cell]]


def _three(title: str, key: str) -> Column:
    return Column(title, (key, f"{key}_low", f"{key}_high"))


_COMPARED = "Compared"
_SCENE: tuple[Entry, ...] = (
    (Column("Task", ("dataset", "embedding", "others"), numeric=False),
     lambda e: Cell(e.scene.task, (e.scene.dataset, e.scene.embedding, e.scene.others))),
    (Column("Held equal", ("matching",), numeric=False),
     lambda e: Cell(MATCHINGS.get(e.scene.matching, e.scene.matching), (e.scene.matching,))),
    (Column("Pooling", ("pooling",), numeric=False), lambda e: text_cell(e.scene.pooling)),
    (Column(_COMPARED, ("baseline", "alternative"), numeric=False),
     lambda e: Cell(f"{e.baseline} → {e.alternative}", (e.baseline, e.alternative))),
    (Column("n (seeds)", ("seeds",)), lambda e: number_cell(len(e.seeds), 0)),
)  # fmt: skip

_JUDGED: tuple[Entry, ...] = (
    (Column("Verdict", ("verdict", "cheaper"), numeric=False), verdict_cell),
    (_three("Difference, points", "difference_points"), lambda e: estimate_cell(e.difference)),
    (Column("Margin, points", ("margin_points",)), lambda e: number_cell(e.margin)),
    (Column("{first}, %", ("baseline_percent",)), lambda e: mean_cell(e.baseline_quality)),
    (Column("{second}, %", ("alternative_percent",)), lambda e: mean_cell(e.alternative_quality)),
    (_three("Time ratio", "time_ratio"), time_cell),
    (Column("Kernel", ("baseline_kernel", "alternative_kernel"), numeric=False),
     lambda e: Cell(kernel_words(e), e.kernels)),
    (Column("p (alone)", ("p",)), lambda e: probability_cell(e.decision.p)),
    (Column("p (Holm)", ("p_holm",)), lambda e: probability_cell(e.p_holm)),
    (Column("Metric", ("metric",), numeric=False), lambda e: Cell(METRICS.get(e.metric, e.metric), (e.metric,))),
    (Column("Because", ("reason",), numeric=False), lambda e: text_cell(e.held.reason)),
)  # fmt: skip

_TESTS: tuple[Entry, ...] = (
    (Column("SD, points", ("sd_points",)), lambda e: number_cell(e.sd)),
    (_three("Ordinary 95% interval", "plain_points"), lambda e: estimate_cell(e.plain)),
    (Column("One-sided bounds", ("one_sided_low", "one_sided_high")), lambda e: bounds_cell(e.one_sided)),
    (_three("For new test sets", "population_points"), lambda e: estimate_cell(e.population)),
    (Column("TOST p", ("tost_p",)), lambda e: probability_cell(e.tost_p)),
    (Column("P(|Δ| < margin)", ("probability_within",)), lambda e: probability_cell(e.probability_within)),
    (Column("P({second} better)", ("probability_alternative",)), lambda e: probability_cell(e.probability_alternative)),
    (Column("P({first} better)", ("probability_baseline",)), lambda e: probability_cell(e.probability_baseline)),
)  # fmt: skip

_MISSING: tuple[Entry, ...] = (
    (_three("Parameter ratio", "parameter_ratio"), lambda e: estimate_cell(e.parameter_ratio, sign=False)),
    (Column("n (time pairs)", ("time_pairs",)), lambda e: number_cell(e.time_pairs, 0)),
    (Column("n (disturbed)", ("time_pairs_disturbed",)), lambda e: number_cell(e.time_pairs_disturbed, 0)),
    (_three("Time ratio without them", "time_ratio_undisturbed"),
     lambda e: estimate_cell(e.time_ratio_undisturbed, sign=False)),
    (Column("Look", ("look",)), lambda e: number_cell(e.look, 0)),
    (Column("Next look, seeds", ("next_look",)), lambda e: number_cell(e.next_look, 0)),
    (Column("Seeds beyond the look", ("extra_seeds",)), lambda e: number_cell(e.extra_seeds, 0)),
    (Column("Detectable beyond margin, points", ("minimum_detectable_points",)),
     lambda e: number_cell(e.minimum_detectable)),
    (Column("Seeds that would decide", ("seeds_needed",)), lambda e: number_cell(e.seeds_needed, 0)),
    (Column("Verdict", ("verdict", "cheaper"), numeric=False), verdict_cell),
)  # fmt: skip


def _table(name: str, caption: str, entries: Iterable[Evidence], columns: Sequence[Entry], shown: int = 200) -> Table:
    entries = list(entries)
    rows = tuple(tuple(cell(entry) for _, cell in columns) for entry in entries)
    return Table(name, _named(caption, entries), _titled((column for column, _ in columns), entries), rows, shown)


def _titled(columns: Iterable[Column], entries: Sequence[Evidence]) -> tuple[Column, ...]:
    """The columns with the arms' names; which arms are compared needs no column where they are always the same."""
    single = len({(entry.baseline, entry.alternative) for entry in entries}) == 1
    return tuple(
        replace(column, title=_named(column.title, entries), shown=not (single and column.title == _COMPARED))
        for column in columns
    )


def _named(text: str, entries: Sequence[Evidence]) -> str:
    """The text with the two arms put in by name; where several pairs share a table, `first` and `second`."""
    pairs = {(entry.baseline, entry.alternative) for entry in entries}
    first, second = pairs.pop() if len(pairs) == 1 else ("first", "second")
    return text.replace("{first}", first).replace("{second}", second)


_WHAT_WAS_JUDGED = "What was judged. Difference: {second} minus {first}; time ratio: {first} over {second}"


def judged(entries: Iterable[Evidence], name: str = "judged", caption: str = _WHAT_WAS_JUDGED) -> Table:
    """What decided, a row a scene and pair of arms."""
    return _table(name, caption, entries, _SCENE + _JUDGED)


def beside(entries: Iterable[Evidence]) -> Table:
    """Tests and probabilities that describe and never decide."""
    caption = "Beside the verdict: tests and probabilities that describe and never decide (flat prior)"
    return _table("tests", caption, entries, _SCENE + _TESTS)


def missing(entries: Iterable[Evidence]) -> Table:
    """Costs, what could have been detected, and how many more seeds would decide."""
    return _table("needed", "Sizes, looks, and what more seeds would show", entries, _SCENE + _MISSING)


def sensitivity(entries: Sequence[Evidence]) -> Table:
    """The verdict at other margins."""
    margins = sorted({margin for entry in entries for margin in entry.sensitivity})

    def column(margin: float) -> Entry:
        return Column(f"{margin:g} points", (f"margin_{margin:g}",), numeric=False), lambda e: _at_margin(e, margin)

    caption = "The verdict of each row alone, had the margin been another one"
    return _table("sensitivity", caption, entries, (*_SCENE, *map(column, margins)))


def _at_margin(entry: Evidence, margin: float) -> Cell:
    verdict = entry.sensitivity.get(margin)
    tone = tone_of(verdict, entry.baseline, entry.alternative) if verdict else ""
    return text_cell(verdict, tone)


_SEED_COLUMNS = (
    Column("Seed", ("seed",)),
    Column("{first}, %", ("baseline_percent",)),
    Column("{second}, %", ("alternative_percent",)),
    Column("Difference, points", ("difference_points",)),
)


def per_seed(entries: Iterable[Evidence]) -> Table:
    """Every pair of runs that was judged."""
    entries = list(entries)
    scene = _SCENE[:-1]
    titled = _titled((*(column for column, _ in scene), *_SEED_COLUMNS), entries)
    rows = tuple((*(cell(e) for _, cell in scene), *pair) for e in entries for pair in _pairs(e))
    return Table("seeds", "Every pair of runs that was judged", titled, rows, shown=100, folded=True)


def _pairs(entry: Evidence) -> Iterator[tuple[Cell, ...]]:
    """Seed, both qualities and their difference."""
    qualities = zip(entry.baseline_quality, entry.alternative_quality, entry.deltas, strict=True)
    for seed, (first, second, delta) in zip(entry.seeds, qualities, strict=True):
        yield number_cell(seed, 0), number_cell(first), number_cell(second), number_cell(delta, sign=True)


_MCNEMAR: tuple[Entry, ...] = (
    (Column("n (pairs)", ("pairs",)), lambda e: number_cell(len(e.mcnemar_p), 0)),
    (Column("Pairs with p < 0.05", ("pairs_below_0.05",)),
     lambda e: number_cell(sum(p < 0.05 for p in e.mcnemar_p), 0)),
    (Column("Median p", ("median_p",)), lambda e: probability_cell(median(e.mcnemar_p) if e.mcnemar_p else None)),
    (Column("Smallest p", ("smallest_p",)), lambda e: probability_cell(min(e.mcnemar_p, default=None))),
)  # fmt: skip


def mcnemar(entries: Iterable[Evidence]) -> Table:
    """McNemar's mid-p test of each pair of runs, text by text; only scenes whose runs kept their predictions."""
    kept = [entry for entry in entries if entry.mcnemar_p]
    return _table("mcnemar", "McNemar's test (mid-p) of each pair of runs, text by text", kept, _SCENE[:-1] + _MCNEMAR)


def matrix(verdict: Verdict, pair: tuple[str, str], readings: Sequence[str], number_of: int = 1) -> Table:
    """Tasks by what is held equal and how the states are pooled, for one pair of arms. readings: poolings, in order."""
    entries = [e for e in verdict.evidence if (e.baseline, e.alternative) == pair]
    by_place = {(e.scene.task, e.scene.matching, e.scene.pooling): e for e in entries}
    places = [(m, p) for p in readings for m in MATCHINGS if any((e.scene.matching, e.scene.pooling) == (m, p)
                                                                 for e in entries)]  # fmt: skip
    columns = (
        Column("Task", ("task",), numeric=False),
        *(Column(f"{MATCHINGS[m]}, {p} pooling" if p else MATCHINGS[m], (f"{m}_{p}", f"{m}_{p}_cheaper"), numeric=False)
          for m, p in places),
    )  # fmt: skip
    rows = tuple(
        (text_cell(task), *(_place(by_place.get((task, *place))) for place in places))
        for task in dict.fromkeys(e.scene.task for e in entries)
    )
    caption = f"{pair[0]} or {pair[1]}? Verdicts by task, by what is held equal, and by pooling"
    return Table("matrix" if number_of == 1 else f"matrix_{number_of}", caption, columns, rows)


def _place(entry: Evidence | None) -> Cell:
    if entry is None:
        return Cell("not run", (None, None))
    mean = fmean(entry.deltas) if entry.deltas else None
    return verdict_cell(entry, f"n = {len(entry.seeds)}, Δ {number(mean, sign=True)}")
