"""The tuning budget: how each arm was searched, what the best of k trials is worth, and what won."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.analysis.frontier import by_budget
from bench.analysis.pairing import Study
from bench.analysis.trials import Search, Tried, tried
from bench.analysis.verdict import Verdict
from bench.report import figures_cost
from bench.report.document import Block, Listing, Plot, Prose, Section, Table
from bench.report.figures_panels import scene_names, unique
from bench.report.frames import Shown, of_frame
from bench.report.numbers import plural

_TITLE = "Tuning budget"
_TASK = Shown("Task", ("dataset",))


def budget(found: Verdict) -> Section:
    """Validation quality against the number of tuning trials, and the winners' values."""
    search = tried(found.study)
    if search.trials.empty:
        words = "No tuning trials are recorded for these runs, so there is no tuning budget to show."
        return Section("budget", _TITLE, (Prose(words),))
    tasks = unique(scene_names(search.scenes))
    trials = search.trials.assign(dataset=[tasks[int(scene)] for scene in search.trials["scene"]])
    independent = [number for number, how in enumerate(search.searches) if how.independent]
    random = trials["scene"].isin(independent)
    blocks: list[Block] = [
        Prose("Quality here is validation accuracy: trials never read the test split, and take no part in any verdict. "
              "Each arm's winner ran again on the seeds that are compared."),
        Listing(tuple(_said(search.searches, tasks))),
        *_curve(trials[random], found.study, independent=True),
        *_curve(trials[~random], found.study, independent=False),
        _winners(search, tasks),
    ]  # fmt: skip
    return Section("budget", _TITLE, tuple(blocks))


def _said(searches: Sequence[Search], tasks: Sequence[str]) -> list[str]:
    """How each task was searched; tasks of one kind of search together."""
    by_search: dict[Search, list[str]] = {}
    for search, task in zip(searches, tasks, strict=True):
        by_search.setdefault(search, []).append(task)
    return [f"{_how(search)} ({_some(names)})" for search, names in by_search.items()]


def _how(search: Search) -> str:
    """Such as `Random search, 20 trials each, the same draws for every arm, seed 1000, in …`."""
    stopped = {"median": "the median rule", "halving": "successive halving"}.get(search.pruner)
    kind = "Random search" if search.sampler == "random" else "Search by TPE"
    words = f"{kind}, {plural(search.trials, 'trial')} each, "
    words += "the same draws for every arm" if search.sampler == "random" else "each one learning from the earlier"
    if stopped is not None:
        words += f", those that lagged behind stopped early by {stopped}"
    return f"{words}, seed {search.seed}, in {search.space.replace(',', ', ')}"


def _some(names: Sequence[str], most: int = 4) -> str:
    return "; ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _curve(trials: pd.DataFrame, study: Study, *, independent: bool) -> Sequence[Block]:
    """The figure and its table; nothing where there are no such trials."""
    best = by_budget(trials, independent=independent)
    figure = figures_cost.budget(best, study, independent=independent)
    if figure is None:
        return ()
    names = ("quality", "low", "high") if independent else ("quality",)
    what = "Expected best of so many trials, %" if independent else "Best of the first so many trials, %"
    caption = (
        "Expected best validation accuracy of k random trials, with the 10th and 90th percentile of k new draws"
        if independent
        else "Best validation accuracy so far: trials depend on the earlier ones, so it is no expectation"
    )
    shown = (_TASK, Shown("Arm", ("arm",)), Shown("Trials (k)", ("trials",), 0), Shown(what, names, 2))
    name = "budget" if independent else "budget_so_far"
    return (Plot(figure, of_frame(name, caption, best, shown, most=40, folded=True)),)


def _winners(search: Tried, tasks: Sequence[str]) -> Table:
    """What won, and how many trials it won against."""
    winners = search.winners()
    frame = winners.assign(dataset=[tasks[int(scene)] for scene in winners["scene"]])
    shown = (
        _TASK, Shown("Arm", ("arm",)), Shown("n (trials)", ("trials",), 0), Shown("Failed", ("failed",), 0),
        Shown("Stopped early", ("pruned",), 0), Shown("Winner, its number", ("trial",), 0),
        Shown("Validation accuracy, %", ("validation_quality",), 2, scale=100), Shown("Its values", ("values",)),
    )  # fmt: skip
    caption = (
        "The best trial of each arm by validation accuracy (then log loss, then number); a failed trial counts as one, "
        "and draws that repeat an earlier one are not run again"
    )
    return of_frame("winners", caption, frame, shown)
