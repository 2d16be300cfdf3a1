"""Which GPUs runs may use, asked of the driver's own tool: torch stays out of the process that plans."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

from bench.processor import torch_uses_gpus

_SECONDS = 30.0  # a driver that sleeps may need several to wake up


def visible_gpus() -> list[str]:
    """The UUIDs of the NVIDIA GPUs (or of their MIG parts) that `CUDA_VISIBLE_DEVICES` lets us see, in its order."""
    return chosen_gpus(_listed(), os.environ.get("CUDA_VISIBLE_DEVICES")) if torch_uses_gpus() else []


def chosen_gpus(listed: str, asked: str | None) -> list[str]:
    """listed: what `nvidia-smi -L` says;  asked: numbers or beginnings of UUIDs; what is unknown hides the rest."""
    gpus: list[list[str]] = []  # of each GPU: its MIG parts, or itself
    for line in listed.splitlines():
        found = re.search(r"UUID: ((GPU|MIG)-[^)]+)\)", line)
        if found and found[2] == "GPU":
            gpus.append([found[1]])
        elif found and gpus:
            gpus[-1] = [*(uuid for uuid in gpus[-1] if uuid.startswith("MIG")), found[1]]
    everything = [uuid for parts in gpus for uuid in parts]
    if asked is None:
        return everything
    chosen: list[str] = []
    for word in (word.strip() for word in asked.split(",")):
        if word.isdigit():
            matching = gpus[int(word)][:1] if int(word) < len(gpus) else []
        else:
            matching = [uuid for uuid in everything if word and uuid.startswith(word)]
        if len(matching) != 1 or matching[0] in chosen:
            break
        chosen += matching
    return chosen


@cache
def _listed() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        return subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
