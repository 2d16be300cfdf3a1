"""Looking at a network from outside: which operators execute it, and how long one text takes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.batches import Batch, BatchDataset, Share, Texts
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier

_LATENCY_TEXTS, _LATENCY_WARMUP = 60, 10


class KernelProbe(Callback):
    """Notes the operators that the recurrent layers dispatch, forward and backward, before training begins."""

    def __init__(self) -> None:
        self.operators: list[str] | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Two tokens suffice: the choice of operator does not depend on the length."""
        assert isinstance(module, Classifier)
        encoder = module.network.encoder
        encoder.eval()  # without dropout no random number is drawn
        inputs = torch.zeros((2, 2, module.network.embedding.embedding_dim), device=module.device)
        with _Operators() as seen:
            encoder(inputs, torch.full((2,), 2, device=module.device)).sum().backward()
        encoder.zero_grad(set_to_none=True)
        encoder.train()
        self.operators = sorted(seen.names)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the names of the operators dispatched while it is open, those that merely view a tensor left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not operator.is_view:
            self.names.add(operator.overloadpacket.__name__)
        return operator(*args, **(kwargs or {}))


def inference_milliseconds(network: TextClassifier, texts: Texts, device: torch.device) -> float:
    """The median time to label one text by itself, transfers included, over some texts of a split."""
    dataset = BatchDataset(texts)
    rows = np.linspace(0, len(texts) - 1, min(len(texts), _LATENCY_TEXTS)).astype(np.int64)
    batches = [dataset[Share(rows[i : i + 1], np.ones(1, np.float32))] for i in range(len(rows))]
    network.to(device).eval()
    with torch.inference_mode():
        for batch in batches[:_LATENCY_WARMUP]:
            _label(network, batch, device)
        return float(np.median([_label(network, batch, device) for batch in batches]) * 1e3)


def _label(network: TextClassifier, batch: Batch, device: torch.device) -> float:
    """Seconds from tokens on the host to probabilities on the host."""
    start = time.perf_counter()
    network(batch.tokens.to(device), batch.lengths.to(device)).softmax(dim=1).cpu()
    return time.perf_counter() - start
