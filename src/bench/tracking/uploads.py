"""What W&B keeps on this disk: a folder a run in `RESULTS/wandb`, and the command that uploads them all.

RESULTS/wandb/[offline-]run-<time>-<W&B id>/   W&B's files, and `bench_run_id.txt` with ours
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(offline-)?run-\d{8}_\d{6}-(.+)")
_RUN_ID = "bench_run_id.txt"


@dataclass(frozen=True)
class WandbFolder:
    """The files of one W&B run. wandb_id: W&B's own, an agent's where there is one;  run_id: ours;
    waiting: whether it is still to be uploaded."""

    path: Path
    wandb_id: str
    run_id: str
    waiting: bool


def wandb_folders(results: Path) -> Iterator[WandbFolder]:
    """Everything in `RESULTS/wandb`, oldest first."""
    found = [(path, _NAME.fullmatch(path.name)) for path in (results / "wandb").glob("*run-*")]
    named = [(path, match) for path, match in found if match is not None]
    for path, match in sorted(named, key=lambda entry: entry[0].name.removeprefix("offline-")):
        offline, wandb_id = match.groups()
        waiting = offline is not None and any(not _marker(file).exists() for file in path.glob("*.wandb"))
        # The name of the second folder begun within a second ends in `-1`; that of the file in it does not.
        wandb_id = next((file.stem.removeprefix("run-") for file in path.glob("run-*.wandb")), wandb_id)
        yield WandbFolder(path, wandb_id, _read_run_id(path) or wandb_id, waiting)


def write_run_id(folder: Path, run_id: str) -> None:
    """Say which of our runs a folder holds."""
    (folder / _RUN_ID).write_text(f"{run_id}\n", encoding="utf-8")


def _read_run_id(folder: Path) -> str | None:
    try:
        return (folder / _RUN_ID).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def supersede(folder: Path, wandb_id: str) -> None:
    """Mark older folders of the same W&B run as uploaded: the latest execution of a run sends its whole curve."""
    for old in wandb_folders(folder.parent.parent):
        if old.waiting and old.wandb_id == wandb_id and old.path.name != folder.name:
            for file in old.path.glob("*.wandb"):
                _marker(file).touch()


def _marker(file: Path) -> Path:
    """The file by which W&B remembers that it has uploaded another one."""
    return file.with_suffix(".wandb.synced")


def sync_one(folder: Path) -> str:
    """What uploads one run."""
    return f"wandb sync {shlex.quote(str(folder))}"


def sync_command(results: Path, runs: Collection[str] | None = None) -> str | None:
    """The one command that uploads everything in `RESULTS/wandb` that is not yet at the server.

    runs: run ids, such as a sweep's.  Returns: None where none of these (of all, if not given) waits for an upload.
    """
    waiting = (folder for folder in wandb_folders(results) if folder.waiting)
    if not any(runs is None or folder.run_id in runs for folder in waiting):
        return None
    return f"wandb sync {shlex.quote(str(results / 'wandb'))}"
