"""How large the gradient was over the steps of a run, and how often clipping made it smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bench.data.batches import Batch
from bench.models.classifier import Classifier
from bench.runs.clock import Outputs


@dataclass(frozen=True, kw_only=True)
class GradientSizes:
    """Fields as in `RunRecord`; None where no step was taken, or nothing is clipped."""

    clipped_fraction: float | None = None
    gradient_norm_p50: float | None = None
    gradient_norm_max: float | None = None


class GradientNorms(Callback):
    """Keeps the norm of each step's whole gradient as it was before clipping, the same in all processes.

    It looks when the clock has marked the end of the step. On a GPU norms stay on the device until an evaluation, for
    which the host waits anyway.
    """

    def __init__(self, limit: float | None) -> None:
        """limit: the norm above which a gradient is clipped, None for no clipping."""
        self._limit = limit
        self._norms: list[float] = []
        self._open: list[Tensor] = []  # of the steps since the last evaluation

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Outputs, batch: Batch, batch_index: int
    ) -> None:
        """One norm a step."""
        assert isinstance(module, Classifier)
        if module.gradient_norm is not None:
            self._open.append(module.gradient_norm.detach())

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take over what lies on the device."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """The norms so far, as a checkpoint holds them."""
        self._close()
        return {"norms": torch.tensor(self._norms, dtype=torch.float64)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._norms = state_dict["norms"].tolist()

    def sizes(self) -> GradientSizes:
        """What the record says of all steps so far, those before a run was cut off included."""
        self._close()
        norms = np.array(self._norms)
        if not len(norms):
            return GradientSizes()
        return GradientSizes(
            clipped_fraction=None if self._limit is None else float(np.mean(norms > self._limit)),
            gradient_norm_p50=float(np.median(norms)),
            gradient_norm_max=float(np.max(norms)),
        )

    def _close(self) -> None:
        if self._open:
            self._norms += torch.stack(self._open).tolist()
            self._open = []
