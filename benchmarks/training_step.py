"""One training step of a network on one batch (forward, backward, clipping, optimiser), to be timed or weighed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from bench.compose import compose
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.runs.memory import forget_peak, peak_memory


class TrainingStep:
    """Trains a network on texts that are all equally long, by the default recipe at a constant rate.

    tokens: (texts, time);  labels: (texts,);  window: of truncated backpropagation, None for the whole text.
    """

    def __init__(self, network: TextClassifier, tokens: Tensor, labels: Tensor, window: int | None = None) -> None:
        torch.set_flush_denormal(True)  # as in every run: one batch, again and again, has gradients that small soon
        recipe = replace(compose([]).training, schedule="constant", warmup_fraction=0.0, tbptt=window)
        self._module = Classifier(network, recipe, network.output.out_features, 1, 0).train()
        optimizer = self._module.configure_optimizers()
        assert isinstance(optimizer, Optimizer)  # a constant rate needs no schedule beside it
        self._optimizer, self._tokens, self._labels = optimizer, tokens, labels

    def __call__(self, tokens: int | None = None) -> None:
        """One training step, on the first tokens of each text only if so many are given."""
        read = self._tokens[:, :tokens]
        self._optimizer.zero_grad()
        logits = self._module.network(read, torch.full((len(read),), read.shape[1]))
        F.cross_entropy(logits, self._labels).backward()
        self._module.configure_gradient_clipping(self._optimizer)
        self._optimizer.step()


def weight(build: Callable[[], TrainingStep]) -> int:
    """Bytes that one training step needs beside what lay there before: in a fresh process, called once."""
    step = build()
    step(2)  # kernels are loaded, the optimiser has its memory
    gc.collect()
    before = psutil.Process().memory_info().rss
    forget_peak()
    step()
    peak = peak_memory(torch.device("cpu")).peak_host_memory_bytes
    assert peak is not None
    return peak - before
