"""Checkpoints: an execution that was cut off leaves its last finished epoch, and the next one goes on from there.

`last.ckpt` lies in the execution's folder while it runs, and afterwards where it did not come to its end. It holds
tensors and numbers only: reading one runs no code from it.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer

from bench.data.batches import Batch
from bench.distributed import is_first_process
from bench.errors import UserError
from bench.files import write_atomically
from bench.models.classifier import Classifier
from bench.runs.folders import CHECKPOINT, run_folder
from bench.runs.store import ENDED, Store

_CHOSEN = "BENCH_CHECKPOINT"  # environment variable: what the first process of a distributed run goes on from

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A checkpoint that can be read. epochs: finished in it."""

    path: Path
    execution_id: str
    epochs: int


class Checkpoints(Callback):
    """Writes a checkpoint after each epoch that another one follows, and knows which one the fit went on from."""

    def __init__(self, path: Path, hardware_key: Callable[[], str]) -> None:
        """path: `RUN_ID/EXECUTION_ID/last.ckpt`;  hardware_key: of this process, asked for when training has begun."""
        self.path = path
        self.resumed_from: str | None = None
        self.resumed_epochs: int | None = None
        self._hardware_key = hardware_key
        self._hardware_before: list[str] = []
        self._epochs = 0

    @property
    def on_other_hardware(self) -> bool:
        """Whether a part of the run took place on hardware whose speeds do not compare with these."""
        return any(key != self._hardware_key() for key in self._hardware_before)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Batch, batch_index: int) -> None:
        """Dropout begins with the first batch. Making an iterator over batches takes a number from torch's stream, and
        Lightning makes one before the start of the first epoch, or of the one it goes on with, but after all others."""
        if batch_index == 0:
            assert isinstance(module, Classifier)
            module.on_train_epoch_start()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save, unless this was the last epoch. All processes take part; the first one writes."""
        self._epochs = trainer.current_epoch + 1
        if not trainer.should_stop and self._epochs != trainer.max_epochs:
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Which execution this is, how far it has come, and where."""
        keys = sorted({*self._hardware_before, self._hardware_key()})
        return {
            "run_id": self.path.parent.parent.name,
            "execution_id": self.path.parent.name,
            "epochs": self._epochs,
            "hardware_keys": keys,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember where this fit comes from."""
        self.resumed_from, self.resumed_epochs = state_dict["execution_id"], state_dict["epochs"]
        self._hardware_before = state_dict["hardware_keys"]


class CheckpointFile(CheckpointIO):
    """How Lightning writes and reads a checkpoint: whole or not at all, and as data only."""

    def __init__(self) -> None:
        self._warned = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write one; a disk that refuses costs the checkpoint and not the run."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            write_atomically(Path(path), lambda temporary: temporary.write_bytes(buffer.getbuffer()))
        except (OSError, UserError) as error:
            if not self._warned:
                _log.warning("no checkpoint, so an interruption would lose what is trained: %s", _one_line(error))
            self._warned = True

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one into the host's memory."""
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete one."""
        Path(path).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors in the host's memory. Nothing in it is executed."""
    tree: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return tree


def open_saved(path: Path) -> Saved:
    """A checkpoint of the run whose folder it lies in.

    Raises: `ValueError` if it cannot be read, or is of another run.
    """
    try:
        state = read(path)["callbacks"][Checkpoints.__qualname__]
        saved = Saved(path, str(state["execution_id"]), int(state["epochs"]))
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"it cannot be read, {_one_line(error)}") from error
    if state["run_id"] != path.parent.parent.name:
        raise ValueError(f"it is of run {state['run_id']}, copied to another folder")
    return saved


def find(store: Store, run_id: str) -> Saved | None:
    """The checkpoint that a new execution of a run goes on from: the latest that can be read; None if it starts afresh.

    Only executions that were interrupted, failed, or were killed before they could write a record leave one. One that
    cannot be read is skipped with one warning.
    """
    ended = {record.execution_id for record in store.executions(run_id) if record.status in ENDED}
    for execution_id in run_folder(str(store.runs / run_id)).checkpoints:
        path = store.folder(run_id, execution_id) / CHECKPOINT
        if execution_id in ended:
            continue
        try:
            return open_saved(path)
        except ValueError as error:
            _log.warning("skipped checkpoint %s: %s", path, error)
    return None


def chosen(store: Store, run_id: str) -> Saved | None:
    """As `find`; the processes of a distributed run beside the first one are told what it chose."""
    told = os.environ.get(_CHOSEN)
    if is_first_process() or told is None:
        return find(store, run_id)
    return open_saved(Path(told)) if told else None


@contextmanager
def told_to_others(saved: Saved | None) -> Iterator[None]:
    """While the block lasts, processes that this one starts choose the same checkpoint."""
    if not is_first_process():
        yield
        return
    os.environ[_CHOSEN] = "" if saved is None else str(saved.path)
    try:
        yield
    finally:
        del os.environ[_CHOSEN]


def discard(store: Store, run_id: str) -> None:
    """Delete the checkpoints of all executions of a run, and what is left of executions that wrote nothing else."""
    for folder in (store.runs / run_id).iterdir():
        if folder.is_dir():
            for path in (*folder.glob(CHECKPOINT), *folder.glob(f".{CHECKPOINT}.*.part")):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
