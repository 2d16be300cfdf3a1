"""The verdict as a document: the answer first, then the evidence where people look for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from bench.analysis.decision import UNDECIDED
from bench.analysis.evidence import Evidence
from bench.analysis.verdict import Verdict
from bench.report import background, costs
from bench.report.cells import kernel_words, tone_of
from bench.report.datasets import over_datasets
from bench.report.document import Block, Document, Listing, Plot, Prose, Section, Table
from bench.report.figures import Figure
from bench.report.figures_forest import forest, ratios
from bench.report.figures_seeds import paired_seeds
from bench.report.gradients import gradient_flow
from bench.report.headline import pairs_of_arms
from bench.report.ladder import ladder
from bench.report.looks import looks
from bench.report.numbers import number, plural
from bench.report.question import EVERYTHING, Question
from bench.report.searches import budget
from bench.report.tables import beside, judged, matrix, mcnemar, missing, per_seed, sensitivity

_MOST_MATRICES = 6


def compose_report(found: Verdict, question: Question, records: pd.DataFrame, skipped: Sequence[str] = ()) -> Document:
    """Everything that the page, Markdown and spreadsheets show.

    records: those of the question, as `bench.records` gives them;  skipped: a line for each that could not be read.
    """
    baseline, alternative = pairs_of_arms(found)[0] if found.evidence else ("", "")
    return Document(
        title=_title(found, question),
        sentence=found.sentence,
        certainty=_certainty(found),
        tone=tone_of(found.verdict, baseline, alternative),
        facts=_facts(found, question),
        warnings=tuple(_warnings(found, question, records, skipped)),
        sections=tuple(_sections(found, question, records, skipped)),
    )


def _title(found: Verdict, question: Question) -> str:
    arms = " or ".join(found.study.arms[:4]) or "Nothing to compare"
    of = "all runs" if question.name == EVERYTHING else question.name
    return f"{arms}? Verdict on {of}"


def _certainty(found: Verdict) -> str:
    """How sure the answer is, in a few short sentences."""
    entries = found.headline
    if not entries:
        return "Nothing was judged, so this is no statement about any arm."
    decided = sum(entry.verdict != UNDECIDED for entry in entries)
    n = _range([len(entry.seeds) for entry in entries])
    words = f"How sure: a verdict is given only where the chance of a wrong one is at most {found.protocol.alpha:.0%}. "
    if len(found.overall) == 1 and found.verdict != UNDECIDED:
        words += f"All tasks together are decided; each by itself, {decided} of {len(entries)}"
    else:
        words += f"{decided} of {plural(len(entries), 'headline comparison')} {'is' if decided == 1 else 'are'} decided"
    words += f", on {n} pairs of runs each."
    needed = [e.seeds_needed for e in entries if e.verdict == UNDECIDED and (e.seeds_needed or 0) > len(e.seeds)]
    if needed:
        words += f" Were means and spreads to stay, {_range(needed)} pairs would decide the others."
    return words


def _range(values: Sequence[int | None]) -> str:
    numbers = [value for value in values if value is not None]
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _facts(found: Verdict, question: Question) -> tuple[tuple[str, str], ...]:
    study, judged_at = found.study, found.headline[0].scene if found.headline else None
    scored = sorted({entry.margin for entry in found.headline})
    overall = found.overall[0].time_ratio if found.overall else None
    facts = [
        ("Runs compared", f"{study.runs['run_id'].nunique():,}"),
        ("Headline comparisons", str(len(found.headline))),
        ("Margin, points", " and ".join(f"{margin:g}" for margin in scored) or "n/a"),
    ]
    if judged_at:
        reading = f", {judged_at.pooling} pooling" if judged_at.pooling else ""
        facts.append(("Held equal", f"{judged_at.matching}{reading}"))
    ran = dict.fromkeys(kernel_words(entry) for entry in found.headline)
    if ran:
        facts.append(("Kernel", "; ".join(ran)))
    if overall:
        first, second = found.overall[0].baseline, found.overall[0].alternative
        facts.append((f"Time, {first} over {second}", number(overall.estimate)))
    fixed = "changed since" if found.changed else "stored with the plan" if question.stored else "not fixed ahead"
    return (*facts, ("Protocol", f"{found.protocol.name}, {fixed}"))


def _warnings(found: Verdict, question: Question, records: pd.DataFrame, skipped: Sequence[str]) -> list[str]:
    lines = list(found.warnings)
    if found.changed:
        lines.append(background.standing(found, question, records))
    if skipped:
        lines.append(f"{plural(len(skipped), 'record or plan')} could not be read: see failures and gaps.")
    return lines


def _sections(found: Verdict, question: Question, records: pd.DataFrame, skipped: Sequence[str]) -> list[Section]:
    study, evidence = found.study, found.evidence
    gaps = background.gaps(study, question, records)
    if skipped:
        unread = (Prose("Not read:"), Listing(tuple(skipped[:50])))
        gaps = Section(gaps.key, gaps.title, (*gaps.blocks, *unread))
    parts = [
        _matrix(found),
        Section("forest", "Differences", (*_drawn(forest(found), see="judged"), *_drawn(ratios(found), see="judged"))),
        looks(found),
        Section("seeds", "Seed by seed", tuple(_drawn(paired_seeds(found), per_seed(_headline_first(found))))),
        Section("evidence", "Evidence", _evidence(_headline_first(found))),
        over_datasets(found),
        costs.pareto(found),
        costs.learning(found),
        costs.lengths(found),
        costs.training_size(found),
        ladder(found, records),
        gradient_flow(found, records),
        budget(found),
        _mcnemar(_headline_first(found)),
    ] if evidence else []  # fmt: skip
    closing = [
        gaps,
        background.environment(study, records),
        background.protocol(found, question, records),
        background.commands(question, study, records),
    ]
    return [section for section in (*parts, *closing) if section.blocks]


def _drawn(figure: Figure | None, table: Table | None = None, see: str = "") -> list[Block]:
    """The figure with its table, or the table alone."""
    if figure:
        return [Plot(figure, table, see)]
    return [table] if table else []


def _headline_first(found: Verdict) -> list[Evidence]:
    return sorted(found.evidence, key=lambda entry: not entry.headline)


def _matrix(found: Verdict) -> Section:
    """Verdict words by task and by what is held equal; the primary reading first, then `last`, then the others."""
    readings = Counter(entry.scene.pooling for entry in found.evidence)
    order = sorted(readings, key=lambda pooling: (pooling != found.protocol.pooling, pooling != "last", pooling))
    pairs = pairs_of_arms(found)
    tables = [matrix(found, pair, order, number) for number, pair in enumerate(pairs[:_MOST_MATRICES], 1)]
    words = (
        "Only the first reading at the primary matching is the headline; the other columns describe. "
        "Δ is the mean difference in points, n the number of pairs of runs."
    )
    return Section("verdicts", "Verdict by task", (Prose(words), *tables))


def _evidence(evidence: Sequence[Evidence]) -> tuple[Block, ...]:
    return (judged(evidence), beside(evidence), missing(evidence), sensitivity(evidence))


def _mcnemar(evidence: Sequence[Evidence]) -> Section:
    table = mcnemar(evidence)
    words = (
        "Each pair of runs labelled the same texts. A small p says that these two trained models differ on this test "
        "set; it says nothing of other seeds, and it decides nothing here."
    )
    blocks = (Prose(words), table) if table.rows else (Prose("No pair of runs kept what it labelled correctly."),)
    return Section("mcnemar", "Text by text (McNemar)", blocks)
