"""Looking at a network from outside: which operators execute it, and how fast it labels texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.batches import Batch, BatchDataset, Share, Texts
from bench.models.classifier import Classifier

_LATENCY_TEXTS, _LATENCY_WARMUP = 60, 10
THROUGHPUT_BATCH = 256  # texts
_BATCHES, _ROUNDS, _ROUND_SECONDS = 8, 3, 4.0  # no further round is begun after so many seconds

Precision = Callable[[], AbstractContextManager[object]]  # opens the context of a forward pass, such as autocast's


class KernelProbe(Callback):
    """Notes the operators that the encoder dispatches, forward and backward, before training begins."""

    def __init__(self) -> None:
        self.operators: list[str] | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """As the steps that follow: on their device and in their precision."""
        assert isinstance(module, Classifier)
        network, precision = module.network, trainer.precision_plugin.forward_context
        self.operators = operators_of(network.encoder, network.embedding.embedding_dim, module.device, precision)


def operators_of(
    encoder: nn.Module, input_size: int, device: torch.device, precision: Precision = nullcontext
) -> list[str]:
    """The operators that an encoder dispatches in training, forward and backward, sorted; it is left as it was.

    Those that merely view a tensor are left out, and so is dropout. PyTorch's own go by their name, others carry their
    library's (`bench::native_forward`). An encoder that does nothing to its inputs dispatches nothing. Two tokens
    suffice: the choice of operators does not depend on the length.
    encoder: (batch, time, input_size) and lengths (batch,) → states;  precision: of the forward pass.
    """
    inputs = torch.zeros((2, 2, input_size), device=device, requires_grad=True)
    lengths = torch.full((2,), 2, device=device)
    trained = [inputs, *(weight for weight in encoder.parameters() if weight.requires_grad)]
    seen = _Operators()
    with _training_without_dropout(encoder), torch.enable_grad():
        with precision(), seen:
            states = encoder(inputs, lengths)
        gradient = torch.zeros_like(states)
        with seen:
            torch.autograd.grad(states, trained, gradient, allow_unused=True)
    return sorted(seen.names)


@contextmanager
def _training_without_dropout(encoder: nn.Module) -> Iterator[None]:
    """In training, which cuDNN's backward pass insists on, but without drawing random numbers."""
    modes = {module: module.training for module in encoder.modules()}
    try:
        for module in modes:
            module.training = not isinstance(module, nn.Dropout)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the names of the operators dispatched while it is open, those that merely view a tensor left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not operator.is_view:
            name = operator.overloadpacket.__name__
            self.names.add(name if operator.namespace == "aten" else f"{operator.namespace}::{name}")
        return operator(*args, **(kwargs or {}))


@dataclass(frozen=True, kw_only=True)
class InferenceSpeed:
    """How fast texts are labelled, transfers included; fields as in `RunRecord`."""

    inference_milliseconds_p50: float
    inference_milliseconds_p95: float
    inference_samples_per_second: float


def inference_speed(
    network: nn.Module, texts: Texts, device: torch.device, precision: Precision = nullcontext
) -> InferenceSpeed:
    """Latency and throughput over texts of a split, from tokens on the host to probabilities on the host.

    Latency: of one text by itself, over some of them. Throughput: of batches of 256 texts, sorted by length as
    evaluation does; of each batch the median time over a few rounds counts. precision: of the forward pass.
    """
    network.to(device).eval()
    with torch.inference_mode(), precision():
        singles = single_texts(texts)
        for batch in singles[:_LATENCY_WARMUP]:
            _label(network, batch, device)
        milliseconds = [_label(network, batch, device) * 1e3 for batch in singles]
        return InferenceSpeed(
            inference_milliseconds_p50=float(np.percentile(milliseconds, 50)),
            inference_milliseconds_p95=float(np.percentile(milliseconds, 95)),
            inference_samples_per_second=_samples_per_second(network, full_batches(texts), device),
        )


def single_texts(texts: Texts) -> list[Batch]:
    """Some texts of a split, evenly over it, each by itself."""
    rows = np.linspace(0, len(texts) - 1, min(len(texts), _LATENCY_TEXTS)).astype(np.int64)
    return _batches(texts, rows[:, None])


def full_batches(texts: Texts) -> list[Batch]:
    """Some of the batches of 256 that a split sorted by length falls into, evenly over it, the longest first.

    Where it does not fill its last batch, some texts stand in two, evenly over the split; one of fewer than 256 texts
    is repeated.
    """
    order = np.argsort(-texts.lengths, kind="stable")
    count = -(-len(texts) // THROUGHPUT_BATCH)
    places = np.arange(count * THROUGHPUT_BATCH) * len(texts) // (count * THROUGHPUT_BATCH)
    rows = order[places].reshape(count, THROUGHPUT_BATCH)
    chosen = np.linspace(0, count - 1, min(count, _BATCHES)).round().astype(np.int64)
    return _batches(texts, rows[chosen])


def _batches(texts: Texts, rows: np.ndarray) -> list[Batch]:
    """rows: (batches, texts of each)."""
    dataset = BatchDataset(texts)
    return [dataset[Share(batch, np.ones(len(batch), np.float32))] for batch in rows]


def _samples_per_second(network: nn.Module, batches: list[Batch], device: torch.device) -> float:
    _label(network, batches[0], device)
    rounds: list[list[float]] = []
    begun = time.perf_counter()
    while len(rounds) < _ROUNDS and (not rounds or time.perf_counter() - begun < _ROUND_SECONDS):
        rounds.append([_label(network, batch, device) for batch in batches])
    return len(batches) * THROUGHPUT_BATCH / float(np.median(rounds, axis=0).sum())


def _label(network: nn.Module, batch: Batch, device: torch.device) -> float:
    """Seconds from tokens on the host to probabilities on the host."""
    start = time.perf_counter()
    network(batch.tokens.to(device), batch.lengths.to(device)).float().softmax(dim=1).cpu()
    return time.perf_counter() - start
