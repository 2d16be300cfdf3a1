"""Mirrors of a run for people: W&B, CSV, TensorBoard. The only importer of wandb.

The record is the truth and these are its mirrors, so nothing here may break a run, and nothing private to a machine
(keys, environment, folders, host and user name) is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.runs.identity import ResolvedRun
    from bench.tracking.trackers import RunTrackers


def open_trackers(resolved: ResolvedRun) -> RunTrackers:
    """Open what `logger=` chose. Lightning is imported now, not before: mirrors made from records do without it.

    Raises: `UserError` if TensorBoard is chosen and not installed.
    """
    from bench.tracking.trackers import RunTrackers

    return RunTrackers(resolved)
