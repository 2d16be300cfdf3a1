"""The W&B workspace of a question: quality, speed, size, accuracy against cost, seed by seed, learning curves.

Runs stand grouped by their W&B group, the arm: bars and curves are means over seeds with their standard deviation.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import WandbConfig
from bench.errors import UserError
from bench.files import write_atomically
from bench.tracking.description import TRIAL
from bench.tracking.wandb_run import STEP, wandb_mode

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import BarPlot, LinePlot, ScatterPlot
    from wandb_workspaces.workspaces import RunsetSettings, Section, Workspace

FILE = "wandb-workspace.json"

# What panels show: names in a run's summary, as `wandb_run.finish` sends them, and how they are called here.
QUALITY = {
    "test_accuracy": "Test accuracy",
    "test_macro_f1": "Test macro F1",
    "validation_accuracy": "Validation accuracy",
    "generalisation_gap": "Generalisation gap",
}
SPEED = {
    "train_seconds": "Training time (s)",
    "tokens_per_second": "Tokens a second",
    "step_milliseconds_p50": "One step, median (ms)",
    "inference_milliseconds_p50": "Labelling one text, median (ms)",
}
SIZE = {
    "parameters_total": "Parameters",
    "parameters_recurrent": "Recurrent parameters",
    "flops_per_token": "FLOPs a token, forward",
    "peak_memory_bytes": "Peak memory (bytes)",
}
COSTS = ("train_seconds", "parameters_total", "inference_milliseconds_p50")
PER_SEED = ("test_accuracy", "validation_accuracy", "train_seconds", "best_epoch")
# Names in a run's history, as `bench.runs.callbacks.LearningCurve` sends them.
CURVES = {
    "validation/accuracy": "Validation accuracy",
    "validation/loss": "Validation loss",
    "validation/macro_f1": "Validation macro F1",
    "train/loss": "Training loss",
    "train/gradient_norm": "Norm of the gradient",
    "train/learning_rate": "Learning rate",
}
_COLUMNS = ("test_accuracy", "validation_accuracy", "train_seconds", "tokens_per_second", "parameters_total")
_NAMES = {**QUALITY, **SPEED, **SIZE, "best_epoch": "Best epoch"}
_MOST_RUNS = 100  # that one panel draws

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """Where a workspace is. path: its specification on this disk;  url: None where it was not saved at W&B."""

    path: Path
    url: str | None


def require_workspaces() -> None:
    """See to it that the library is there before any work begins.

    Raises: `UserError`, one line with the command that installs it.
    """
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        raise UserError(
            "wandb=true builds a workspace with wandb-workspaces, which is not installed; "
            "type: pip install 'recurrent-bench[workspace]'"
        ) from None


def build_workspace(name: str, run_ids: Sequence[str] | None, chosen: WandbConfig) -> Workspace:
    """The workspace of a question. run_ids: the runs that it shows, None for all but the trials of tunings;
    chosen: project and team."""
    from wandb_workspaces.workspaces import Workspace, WorkspaceSettings

    return Workspace(
        entity=chosen.entity or "",
        project=chosen.project,
        name=f"bench {name}",
        sections=_sections(),
        settings=WorkspaceSettings(x_axis=STEP, max_runs=_MOST_RUNS),
        runset_settings=_runs(run_ids),
    )


def publish(workspace: Workspace, path: Path, chosen: WandbConfig) -> Published:
    """Write the specification of a workspace, and save it at W&B unless W&B is offline.

    A workspace that was saved from this file before is brought up to date instead of saved a second time.
    Raises: `UserError` if the file cannot be written.
    """
    url = None
    if wandb_mode(chosen) == "online":
        url = _save(workspace, path)
    view = workspace._to_model()
    text = view.model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Published(path, url)


def _save(workspace: Workspace, path: Path) -> str | None:
    """Save at W&B; None, with a warning, where that cannot be done."""
    import wandb

    try:
        workspace.entity = workspace.entity or str(wandb.Api().default_entity)
        _continue(workspace, path)
        return str(workspace.save().url)  # type: ignore[no-untyped-call]
    except Exception as error:  # of the network, the account, the server: the file is there all the same
        _log.warning("the workspace could not be saved at W&B (%s)", " ".join(f"{error}".split()))
        return None


def _continue(workspace: Workspace, path: Path) -> None:
    """Take over the identity of the workspace that was saved from this file."""
    with suppress(OSError, ValueError, KeyError):
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if (earlier["entity"], earlier["project"]) == (workspace.entity, workspace.project):
            workspace._internal_name, workspace._internal_id = earlier["name"], earlier["id"]


def _runs(run_ids: Sequence[str] | None) -> RunsetSettings:
    """Which runs, grouped by arm; an agent's runs have other ids at W&B, and ours in their configuration."""
    from wandb_workspaces.workspaces import Config, Metric, RunsetSettings, Tags

    chosen = Tags().notin([TRIAL]) if run_ids is None else Config("bench_run_id").isin(sorted(run_ids))
    return RunsetSettings(
        filters=[chosen],
        groupby=[Metric("Group")],
        pinned_columns=[*(f"summary:{name}" for name in _COLUMNS), "config:seed"],
    )


def _sections() -> list[Section]:
    from wandb_workspaces.workspaces import Section

    return [
        Section(name="Quality, by arm", panels=[_bars(name) for name in QUALITY], is_open=True),
        Section(name="Speed, by arm", panels=[_bars(name) for name in SPEED], is_open=True),
        Section(name="Size, by arm", panels=[_bars(name) for name in SIZE], is_open=True),
        Section(name="Accuracy against cost", panels=[_frontier(cost) for cost in COSTS], is_open=True),
        Section(name="Seed by seed", panels=[_seeds(name) for name in PER_SEED], is_open=True),
        Section(name="Learning curves", panels=[_curve(name) for name in CURVES], is_open=True),
    ]


def _bars(name: str) -> BarPlot:
    """A bar an arm: mean and standard deviation over seeds."""
    from wandb_workspaces.reports.v2.interface import BarPlot

    return BarPlot(
        title=_NAMES[name], metrics=[name], groupby="Group", groupby_aggfunc="mean", groupby_rangefunc="stddev",
        max_runs_to_show=_MOST_RUNS, max_bars_to_show=_MOST_RUNS,
    )  # fmt: skip


def _frontier(cost: str) -> ScatterPlot:
    """A point a run; the line is the running maximum of accuracy with growing cost, the Pareto frontier."""
    from wandb_workspaces.reports.v2.interface import ScatterPlot, SummaryMetric

    return ScatterPlot(
        title=f"Test accuracy against {_NAMES[cost][0].lower()}{_NAMES[cost][1:]}",
        x=SummaryMetric(cost), y=SummaryMetric("test_accuracy"), log_x=True, running_ymax=True,
    )  # fmt: skip


def _seeds(name: str) -> ScatterPlot:
    """A point a run over its seed: runs of one seed pair."""
    from wandb_workspaces.reports.v2.interface import Config, ScatterPlot, SummaryMetric

    return ScatterPlot(title=f"{_NAMES[name]}, seed by seed", x=Config("seed"), y=SummaryMetric(name))


def _curve(name: str) -> LinePlot:
    """A line an arm over optimiser steps: mean and standard deviation over seeds."""
    from wandb_workspaces.reports.v2.interface import LinePlot

    return LinePlot(
        title=CURVES[name], x=STEP, y=[name], groupby="Group", groupby_aggfunc="mean", groupby_rangefunc="stddev",
        max_runs_to_show=_MOST_RUNS,
    )  # fmt: skip
