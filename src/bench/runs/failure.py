"""How a run failed, as data: a status, a type and one line that says what to try."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

import torch

from bench.config import TrainingConfig
from bench.errors import DivergedError
from bench.files import without_home
from bench.runs.record import Status

# Errors about memory that have no type of their own, in lower case: of the processor, CUDA, cuDNN, cuBLAS and C++.
_NO_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "std::bad_alloc",
    "alloc_failed",
)  # fmt: skip

_LOST_PEER = ("Connection reset by peer", "Connection closed by peer")  # what gloo says in the process that is left


class Interrupted(BaseException):
    """Ctrl-C or a request to terminate; passes through Lightning, which would exit on `KeyboardInterrupt`."""


def describe_failure(error: BaseException, recipe: TrainingConfig) -> dict[str, object]:
    """Status, type and one line of a failure; what to try where that is known."""
    message = " ".join(without_home(str(error)).split()) or "no message"
    status, kind = Status.FAILED, type(error).__name__
    if isinstance(error, Interrupted):
        status, message = Status.INTERRUPTED, f"stopped by {error}"
    elif isinstance(error, DivergedError):
        status = Status.DIVERGED
        clip = "training.gradient_clip=1" if recipe.gradient_clip is None else "a smaller training.gradient_clip"
        message = f"{message}; try training.learning_rate={recipe.learning_rate / 10:g} or {clip}"
    elif any(words in str(error) for words in _LOST_PEER):
        kind, message = "ProcessDied", "another process of this run died: see what it printed, or its system's log"
    elif is_out_of_memory(error):
        kind = "OutOfMemory"
        message = f"memory ran out: {message[:200]}; try a smaller training.batch_size or data.max_length"
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{message} ({Path(frame.filename).name}:{frame.lineno})"
    return {"status": status, "error_type": kind, "error_message": message}


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, on the host or on a device, or that is what this error came from."""
    if error is None:
        return False
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError | ImportError):
        text = str(error).lower()
        if any(words in text for words in _NO_MEMORY):
            return True
    return is_out_of_memory(error.__cause__)
