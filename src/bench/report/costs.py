"""Quality against what it costs: time and weights, learning curves, length of text, training texts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.analysis.frontier import by_length, by_training_size, frontier, learning_curves, length_differences
from bench.analysis.frontier import time_to_target as first_reached
from bench.analysis.pairing import Study
from bench.analysis.verdict import Verdict
from bench.report import figures_cost, figures_where
from bench.report.document import Block, Plot, Prose, Section, Table
from bench.report.figures import Figure
from bench.report.frames import Shown, of_frame
from bench.report.headline import headline_runs, pairs_of_arms

_NO_PAIRS = Prose("There is no pair of runs in the headline yet.")


def pareto(found: Verdict) -> Section:
    """Quality against training time and against recurrent parameters."""
    runs = headline_runs(found)
    if runs.empty:
        return Section("pareto", "Quality against cost", (_NO_PAIRS,))
    seconds = frontier(runs, "train_seconds")
    weights = frontier(runs, "parameters_recurrent")
    blocks = [
        *_plot(figures_cost.pareto(seconds, found.study, "train_seconds"),
               _frontier_table(found.study, "pareto_seconds", seconds, Shown("Training, s", ("cost",), 1))),
        *_plot(figures_cost.pareto(weights, found.study, "parameters_recurrent"),
               _frontier_table(found.study, "pareto_parameters", weights, Shown("Recurrent parameters", ("cost",), 0))),
    ]  # fmt: skip
    return Section("pareto", "Quality against cost", tuple(blocks))


def _frontier_table(study: Study, name: str, frame: pd.DataFrame, cost: Shown) -> Table:
    timed = (Shown("Hardware", ("hardware_key",)),) if (frame["hardware_key"] != "").any() else ()
    shown = (
        *_TASK, *timed, Shown("Arm", ("arm",)), Shown("n (runs)", ("runs",), 0),
        Shown("Quality, %", ("quality", "low", "high"), 2), cost,
        Shown("Another arm is better in both", ("dominated",), words={"True": "yes", "False": "no"}),
    )  # fmt: skip
    return of_frame(name, "Mean quality and mean cost, with 95% intervals over seeds", _named(frame, study), shown)


_TASK = (Shown("Task", ("task",)),)


def _named(frame: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The frame with a column `task`: the name of each scene."""
    return frame.assign(task=[study.scenes[int(scene)].task for scene in frame["scene"]])


def _plot(figure: Figure | None, table: Table) -> Sequence[Block]:
    """A figure with its table; the table alone where there is nothing to draw; nothing where there are no rows."""
    if not table.rows:
        return ()
    return (Plot(figure, table),) if figure else (table,)


def learning(found: Verdict) -> Section:
    """Validation accuracy over wall-clock, and when a target was reached."""
    runs, study = headline_runs(found), found.study
    curves = learning_curves(runs, points=40) if not runs.empty else pd.DataFrame()
    if curves.empty:
        return Section("learning", "Learning curves", (Prose("No run kept its curve."),))
    shown = (
        *_TASK, Shown("Hardware", ("hardware_key",)), Shown("Arm", ("arm",)), Shown("n (seeds)", ("seeds",), 0),
        Shown("Training, s", ("seconds",), 2), Shown("Validation accuracy, % (10th, 90th percentile)",
                                                     ("accuracy", "low", "high"), 2),
    )  # fmt: skip
    caption = "Best validation accuracy so far, over seconds of training"
    table = of_frame("curves", caption, _named(curves, study), shown, most=40, folded=True)
    target = Shown("Target, %", ("target",), 1)
    reached = (
        *_TASK, Shown("Hardware", ("hardware_key",)), Shown("Arm", ("arm",)), Shown("n (runs)", ("runs",), 0), target,
        Shown("Target from", ("target_from",), words={"data": "the data, fixed ahead", "runs": "these runs"}),
        Shown("Reached, %", ("reached",), 0, scale=100), Shown("Seconds, median", ("seconds",), 2),
    )  # fmt: skip
    caption = (
        "Seconds of training until validation accuracy first reached the target; where the data name none, one point "
        "below the weaker arm's best, which describes and proves nothing"
    )
    targets = first_reached(runs)
    times = of_frame("target", caption, _named(targets, study), reached)
    figure = figures_cost.learning_curves(curves, targets, study)
    return Section("learning", "Learning curves", (*_plot(figure, table), times))


def lengths(found: Verdict) -> Section:
    """Accuracy by length of text, the supposed home of the LSTM."""
    runs, study = headline_runs(found), found.study
    frame = by_length(runs) if not runs.empty else pd.DataFrame()
    if frame.empty:
        return Section("length", "Accuracy by length of text", (Prose("No run kept its accuracy by length."),))
    shown = (
        *_TASK, Shown("Longest, tokens", ("longest",), 0), Shown("n (texts)", ("texts",), 0), Shown("Arm", ("arm",)),
        Shown("n (runs)", ("runs",), 0), Shown("Accuracy, %", ("accuracy", "low", "high"), 1),
    )  # fmt: skip
    table = of_frame("length", "Test accuracy by length; intervals are for other texts of this length",
                     _named(frame, study), shown, folded=True)  # fmt: skip
    blocks = [*_plot(figures_where.by_length(frame, study), table)]
    blocks += [
        _length_differences(study, runs, *pair, number) for number, pair in enumerate(pairs_of_arms(found)[:3], 1)
    ]
    return Section("length", "Accuracy by length of text", tuple(blocks))


def _length_differences(study: Study, runs: pd.DataFrame, baseline: str, alternative: str, number: int) -> Table:
    shown = (
        *_TASK, Shown("Longest, tokens", ("longest",), 0), Shown("n (texts)", ("texts",), 0),
        Shown("n (pairs)", ("runs",), 0), Shown("Difference, points", ("difference", "low", "high"), 1),
    )  # fmt: skip
    name = "length_difference" if number == 1 else f"length_difference_{number}"
    caption = f"{alternative} minus {baseline} by length of text, paired by seed, for this test set"
    frame = _named(length_differences(runs, baseline, alternative), study)
    return of_frame(name, caption, frame, shown)


def training_size(found: Verdict) -> Section:
    """Quality against the number of training texts, where data come in several sizes; of the headline's execution."""
    study, shown_of = found.study, {entry.scene.execution for entry in found.headline}
    kept = [number for number, scene in enumerate(study.scenes) if scene.execution in shown_of or not shown_of]
    runs = study.runs[study.runs["scene"].isin(kept)] if kept else study.runs
    frame = by_training_size(runs) if not runs.empty else pd.DataFrame()
    if frame.empty:
        words = "Every dataset was used in one size, so there is nothing to compare here."
        return Section("size", "Quality by training size", (Prose(words),))
    shown = (
        *_TASK, Shown("Training texts", ("train_texts",), 0), Shown("Arm", ("arm",)), Shown("n (runs)", ("runs",), 0),
        Shown("Quality, %", ("quality", "low", "high"), 2),
    )  # fmt: skip
    table = of_frame("size", "Quality by number of training texts, with 95% intervals over seeds", _named(frame, study),
                     shown)  # fmt: skip
    return Section(
        "size", "Quality by training size", tuple(_plot(figures_where.by_training_size(frame, study), table))
    )
