"""All datasets together: aggregates, how often one arm beats the other, what rules of thumb would have cost, ranks."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from bench.analysis.across import aggregate, improvement, paired, performance_profile, policies, wins_and_losses
from bench.analysis.pairing import Study
from bench.analysis.ranking import Ranking, rank
from bench.analysis.verdict import Verdict
from bench.report import figures_across
from bench.report.document import Block, Cell, Column, Plot, Prose, Section, Table
from bench.report.frames import Shown, of_frame
from bench.report.headline import headline_runs, margins, pairs_of_arms
from bench.report.numbers import interval_cell, number, number_cell, probability, text_cell
from bench.report.tables import judged

_SEED = 0  # of the bootstrap: the same records give the same page
_MOST_PAIRS = 6  # of arms, in tables that have rows for each


def over_datasets(found: Verdict) -> Section:
    """What holds for all headline datasets as one set."""
    runs = headline_runs(found)
    if runs.empty:
        return Section("datasets", "Over all datasets", (Prose("There is no pair of runs in the headline yet."),))
    arms, compared = found.study.arms, pairs_of_arms(found)[:_MOST_PAIRS]
    blocks: list[Block] = []
    if found.overall:
        caption = "All headline datasets as one fixed set, each with equal weight: {second} minus {first}"
        blocks.append(judged(found.overall, "overall", caption))
    blocks.append(_aggregates(runs, arms))
    blocks += _profile(runs, found.study)
    blocks += [_improvements(runs, compared), _wins(runs, compared, margins(found))]
    blocks += [_policies(runs, *pair, margins(found), number_of) for number_of, pair in enumerate(compared, 1)]
    if len(arms) > 2:
        blocks += _ranking(rank(runs, arms, found.protocol.alpha), found.study.arms)
    return Section("datasets", "Over all datasets", tuple(blocks))


def _aggregates(runs: pd.DataFrame, arms: Sequence[str]) -> Table:
    shown = (
        Shown("Arm", ("arm",)), Shown("n (runs)", ("runs",), 0), Shown("Tasks", ("tasks",), 0),
        Shown("Mean, %", ("mean", "mean_low", "mean_high"), 2),
        Shown("Interquartile mean, %", ("iqm", "iqm_low", "iqm_high"), 2),
    )  # fmt: skip
    caption = "Quality over all runs of the headline, with 95% stratified bootstrap intervals"
    return of_frame("aggregate", caption, aggregate(runs, arms, _SEED), shown)


def _profile(runs: pd.DataFrame, study: Study) -> Iterator[Block]:
    frame = performance_profile(runs, study.arms, _SEED)
    shown = (Shown("Arm", ("arm",)), Shown("Quality, %", ("quality",), 2),
             Shown("Share of runs above", ("share", "low", "high"), 3), Shown("n (runs)", ("runs",), 0))  # fmt: skip
    figure = figures_across.performance_profile(frame, study)
    table = of_frame("profile", "Share of runs above a quality", frame, shown, most=60, folded=True)
    yield Plot(figure, table) if figure else table


def _improvements(runs: pd.DataFrame, compared: Sequence[tuple[str, str]]) -> Table:
    columns = (
        Column("Compared", ("baseline", "alternative"), numeric=False),
        Column("P(second beats first)", ("probability", "low", "high")), Column("Tasks", ("tasks",)),
        Column("n (runs of each)", ("runs",)),
    )  # fmt: skip
    rows = []
    for baseline, alternative in compared:
        chance = improvement(runs, baseline, alternative, _SEED)
        if chance:
            interval = interval_cell(chance.probability, chance.low, chance.high)
            rows.append((_compared(baseline, alternative), interval, number_cell(chance.tasks, 0),
                         number_cell(chance.runs, 0)))  # fmt: skip
    caption = "Probability of improvement: that a run of the second arm beats one of the first on the same task"
    return Table("improvement", caption, columns, tuple(rows))


def _compared(baseline: str, alternative: str) -> Cell:
    return Cell(f"{baseline} → {alternative}", (baseline, alternative))


def _wins(runs: pd.DataFrame, compared: Sequence[tuple[str, str]], limits: Mapping[int, float]) -> Table:
    columns = (
        Column("Compared", ("baseline", "alternative"), numeric=False),
        Column("Task", ("dataset", "embedding"), numeric=False), Column("n (pairs)", ("pairs",)),
        Column("Mean difference, points", ("difference_points",)), Column("Second wins", ("wins",)),
        Column("Tie", ("ties",)), Column("Second loses", ("losses",)),
    )  # fmt: skip
    rows = []
    for baseline, alternative in compared:
        for row in wins_and_losses(paired(runs, baseline, alternative), limits).to_dict("records"):
            task = _task(row)
            counts = (number_cell(int(row[name]), 0) for name in ("wins", "ties", "losses"))
            rows.append((_compared(baseline, alternative), task, number_cell(int(row["pairs"]), 0),
                         number_cell(float(row["difference"]), sign=True), *counts))  # fmt: skip
    return Table(
        "wins", "Wins, ties and losses by mean difference, beyond the margin or within it", columns, tuple(rows)
    )


def _task(row: Mapping[Hashable, object]) -> Cell:
    total = row["scene"] == -1
    text = "All tasks" if total else " · ".join(str(row[name]) for name in ("dataset", "embedding") if row[name])
    return Cell(text, (str(row["dataset"]), str(row["embedding"])))


def _policies(
    runs: pd.DataFrame, baseline: str, alternative: str, limits: Mapping[int, float], number_of: int
) -> Table:
    """What three rules of thumb would have cost and lost."""
    words = {
        "baseline_first": f"{baseline} first: train it, ship it",
        "alternative_first": f"{alternative} first: train it, ship it",
        "run_both": "Run both: ship the better on validation",
    }
    columns = (
        Column("Task", ("dataset", "embedding"), numeric=False), Column("Policy", ("policy",), numeric=False),
        Column("n (pairs)", ("pairs",)), Column("n (time pairs)", ("timed_pairs",)),
        Column("Training, s", ("train_seconds",)), Column("Quality, %", ("quality_percent",)),
        Column("Lost, points", ("loss_points",)), Column("Wrong choice, %", ("wrong_percent",)),
        Column(f"Ships {alternative}, %", ("alternative_percent",)),
    )  # fmt: skip
    rows = tuple(
        (_task(row), Cell(words[row["policy"]], (row["policy"],)), number_cell(row["pairs"], 0),
         number_cell(row["timed_pairs"], 0), number_cell(row["train_seconds"], 1), number_cell(row["quality"]),
         number_cell(row["loss"]), number_cell(100 * row["wrong"], 0), number_cell(100 * row["alternative"], 0))
        for row in _totals_first(policies(runs, baseline, alternative, limits)).to_dict("records")
    )  # fmt: skip
    caption = (
        f"What rules of thumb would have cost and lost, {baseline} or {alternative}. Lost: below the better arm's "
        "mean; wrong: the other arm was better by more than the margin"
    )
    return Table("policies" if number_of == 1 else f"policies_{number_of}", caption, columns, rows)


def _totals_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("scene", key=lambda scene: scene != -1, kind="stable")


def _ranking(ranking: Ranking, arms: Sequence[str]) -> Iterator[Block]:
    """Several arms in order, and which of them cannot be told apart."""
    if not ranking.tasks:
        yield Prose("No task has runs of every arm, so the arms cannot be ranked.")
        return
    rows = tuple(
        (text_cell(arm), number_cell(mean)) for arm, mean in zip(ranking.arms, ranking.mean_ranks, strict=True)
    )
    columns = (Column("Arm", ("arm",), numeric=False), Column("Mean rank", ("mean_rank",)))
    table = Table("ranking", f"Mean rank over {ranking.tasks} tasks, 1 is the best", columns, rows)
    figure = figures_across.critical_difference(ranking, arms)
    yield Plot(figure, replace(table, folded=True)) if figure else table
    cliques = "; ".join(", ".join(clique) for clique in ranking.cliques) or "none"
    yield Prose(
        f"Friedman's test: p = {probability(ranking.friedman_p)}. Nemenyi's critical difference: "
        f"{number(ranking.critical_difference)} ranks. Groups that it does not separate: {cliques}."
    )
