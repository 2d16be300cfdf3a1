"""W&B's files on this disk, read with W&B's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WANDB = Path(sys.executable).with_name("wandb")


def summary_of(folder: Path) -> dict[str, Any]:
    """State, id, configuration and summary of a run."""
    return dict(json.loads(_inspect(folder, "--summary")))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's learning curve, without W&B's own columns, the speed of the moment and tables."""
    entries = [json.loads(line) for line in _inspect(folder).splitlines()]
    rows = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    return [{name: value for name, value in row.items() if _is_curve(name)} for row in rows]


def _is_curve(name: str) -> bool:
    return not name.startswith("_") and name not in ("tokens_per_second", "test_confusion_table")


def _inspect(folder: Path, *flags: str) -> str:
    command = [WANDB, "leet", "inspect", "--json", *flags, folder]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
