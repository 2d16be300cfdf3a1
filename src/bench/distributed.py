"""What one process of a distributed run needs to know of the others. torch is imported when it is first needed."""

from __future__ import annotations

import os
from typing import TypeVar

Value = TypeVar("Value")


def gather(value: Value) -> list[Value]:
    """The values of all processes in order of rank, on every process; all of them must ask. Alone: `[value]`."""
    import torch.distributed as processes

    if not (processes.is_available() and processes.is_initialized()):
        return [value]
    values = [value] * processes.get_world_size()
    processes.all_gather_object(values, value)
    return values


def is_first_process() -> bool:
    """Whether this process speaks and writes: false for those that a distributed run started beside it."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("RANK", "0")) == 0
