"""One W&B run, from its beginning to its end; what is sent is the same under way and afterwards, from a record."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlparse

from bench.config import WandbConfig
from bench.files import make_folder
from bench.runs.record import RunRecord, Status
from bench.tracking.description import Description
from bench.tracking.uploads import supersede, write_run_id

if TYPE_CHECKING:
    from wandb import Settings
    from wandb.sdk.wandb_run import Run

Mode = Literal["online", "offline"]

STEP = "trainer/global_step"  # Lightning's name; the x axis of every curve

_log = logging.getLogger(__name__)
_NOT_SUMMARY = {
    "packages", "test_confusion", "test_correct", "test_by_length", "validation_curve", "kernel_operators",
    "gradient_flow", "config",
}  # fmt: skip


def under_agent() -> bool:
    """Whether a W&B agent started this process; it forces its own run id, and `bench_run_id` carries ours."""
    return "WANDB_SWEEP_ID" in os.environ


def begin(description: Description, results: Path, chosen: WandbConfig) -> Run:
    """Begin a W&B run, or go on with the one of this id: id = run id, group = arm, job type = sweep."""
    import wandb

    make_folder(results / "wandb")
    start = partial(
        wandb.init,
        project=chosen.project,
        entity=chosen.entity,
        dir=str(results),
        id=None if under_agent() else description.run_id,
        name=description.name,
        group=description.group,
        job_type=description.job_type,
        tags=description.tags,
        config=dict(description.config),
        resume="allow",
        settings=_private_settings(),
    )
    try:
        run = start(mode=wandb_mode(chosen))
    except wandb.Error as error:  # logged in, and no way to the server: a tracker does not stop a run
        _log.warning("W&B cannot be reached (%s); this run stays offline", " ".join(str(error).split()))
        wandb.teardown()  # else the id counts as in use
        run = start(mode="offline")
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    folder = Path(run.dir).parent
    write_run_id(folder, description.run_id)
    if run.offline:
        supersede(folder, run.id)
    return run


def log_row(run: Run, metrics: Mapping[str, float], step: int) -> None:
    """One row of the learning curve. W&B's steps only rise: rows that it has already are left out."""
    if step >= run.step:
        run.log({**metrics, STEP: step}, step=step)


def finish(run: Run, record: RunRecord, label_names: Sequence[str]) -> None:
    """Summary, sizes, confusion matrix; then close."""
    import wandb

    for item in fields(record):
        value = getattr(record, item.name)
        if item.name not in _NOT_SUMMARY and value is not None:
            run.summary[item.name] = str(value) if isinstance(value, Status) else value
    if record.test_confusion is not None:
        named = [dict(zip(label_names, counts, strict=True)) for counts in record.test_confusion]
        run.summary["test_confusion"] = dict(zip(label_names, named, strict=True))
        run.log({"test_confusion_table": wandb.Html(confusion_html(record.test_confusion, label_names), inject=False)})
    run.finish(exit_code=0 if record.status is Status.FINISHED else 1)


def _private_settings() -> Settings:
    """No host or user name, no path, no package list, no source, no terminal output."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        init_timeout=30,
    )


def wandb_mode(chosen: WandbConfig) -> Mode:
    """`offline` unless the person is logged in, or says otherwise by the key or by `WANDB_MODE`."""
    named = os.environ.get("WANDB_MODE")
    if chosen.mode != "auto":
        return chosen.mode
    if named in ("online", "offline"):
        return cast(Mode, named)
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def confusion_html(confusion: Sequence[Sequence[int]], label_names: Sequence[str]) -> str:
    """A confusion matrix as a table, shaded by each true class's share. rows: true classes;  columns: predicted.

    Not a `wandb.Table`: those are staged in the user's home folder, and its path would be sent along.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in label_names)
    rows = [f"<tr><th>true, predicted</th>{head}</tr>"]
    for name, counts in zip(label_names, confusion, strict=True):
        cells = [
            f'<td style="text-align:right;background:rgba(31,119,180,{count / max(sum(counts), 1):.2f})">{count}</td>'
            for count in counts
        ]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f'<table style="font-family:sans-serif;border-spacing:2px">{"".join(rows)}</table>'
