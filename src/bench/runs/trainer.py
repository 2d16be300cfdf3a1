"""What a fit borrows: Lightning's trainer, and torch's and Lightning's global settings for the length of one run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from bench.config import HardwareConfig
from bench.errors import UserError
from bench.processor import usable_cores
from bench.runs.checkpoint import CheckpointFile

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed"}


@contextmanager
def borrowed_torch(hardware: HardwareConfig) -> Iterator[None]:
    """Settings that are global in torch, for the length of one run; the caller's come back afterwards.

    Each process of this machine gets its share of the cores, or as many threads as were asked for. Denormal numbers
    become zero: vanishing gradients would otherwise slow the processor down, not only learning.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(hardware.threads or max(1, usable_cores() // hardware.devices))
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def make_trainer(hardware: HardwareConfig, epochs: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's trainer without what this project does itself: checkpoints, progress, sharding, clipping.

    Raises: `UserError` if the accelerator, or so many devices of it, are not there.
    """
    try:
        return _trainer(hardware, epochs, callbacks)
    except (MisconfigurationException, ValueError) as error:
        asked = f"hardware.accelerator={hardware.accelerator} hardware.devices={hardware.devices}"
        raise UserError(f"{asked}: {' '.join(str(error).split())}; try hardware=auto") from None


def _trainer(hardware: HardwareConfig, epochs: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        strategy=hardware.strategy,
        precision=_PRECISION[hardware.precision],  # type: ignore[arg-type]
        logger=False,
        callbacks=callbacks,
        plugins=[CheckpointFile()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice that does not apply here (workers, logging intervals, batch sizes)."""
    names = ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning.*|lightning_fabric.*|torch\.utils\.data.*")
        warnings.filterwarnings("ignore", message=".*srun.*|.*barrier.*|.*LeafSpec.*")
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
