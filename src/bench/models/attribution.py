"""What each token adds to a decision: integrated gradients (Sundararajan, Taly & Yan 2017), computed by captum.

The decision is the log odds of the predicted class, log p/(1 − p): its logit less the log of the sum of the others'
exponentials, so the difference of the two logits where there are two classes. The path goes from as many zero vectors
as the text has tokens, which is what padding looks like, to the word vectors of the text. Attributions are complete:
they sum to the difference of the log odds at the two ends, as far as the integral is exact.

That holds for any part of the path, too, so the part that misses its own difference by most is halved until all of them
together keep to a tolerance. Smooth networks need one part; kinks (max pooling, ReLU) and layer normalisation, which is
steep where all vectors are near zero, need more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bench.models.reading import Attribution, tolerance_of

if TYPE_CHECKING:
    from captum.attr import IntegratedGradients

    from bench.models.encoder import TextClassifier

_STEPS = 32  # of the integral over one part, Gauss-Legendre
_PARTS = 32
_TOKENS_AT_ONCE = 16_384  # of all steps that are computed together, which bounds memory


class _Part(NamedTuple):
    """A part of the path. low, high: multiples of the word vectors;  values: (time,);  missed: by their sum."""

    low: float
    high: float
    values: Tensor
    missed: float


def attribute(network: TextClassifier, tokens: Tensor) -> Attribution:
    """Attributions of one text's tokens to the class that the network predicts.

    network: in evaluation mode;  tokens: (time,) rows of the embedding table.
    """
    from captum.attr import IntegratedGradients

    vectors = network.embedding.weight.detach()[tokens][None]
    with torch.no_grad():
        target = int(logits_of(network, vectors).argmax())
    method = IntegratedGradients(lambda given: log_odds(logits_of(network, given), target))
    baseline, text = _score(method, vectors, 0.0), _score(method, vectors, 1.0)
    parts, computed = [_part(method, vectors, 0.0, 1.0)], 1
    while sum(abs(part.missed) for part in parts) > tolerance_of(text - baseline) and len(parts) < _PARTS:
        worst = max(parts, key=lambda part: abs(part.missed))
        middle = (worst.low + worst.high) / 2
        parts.remove(worst)
        parts += [_part(method, vectors, worst.low, middle), _part(method, vectors, middle, worst.high)]
        computed += 2
    values = torch.stack([part.values for part in parts]).sum(dim=0)
    return Attribution(values.cpu().numpy(), target, text, baseline, computed * _STEPS)


def _part(method: IntegratedGradients, vectors: Tensor, low: float, high: float) -> _Part:
    at_once = min(_STEPS, max(1, _TOKENS_AT_ONCE // vectors.shape[1]))
    found = method.attribute(high * vectors, baselines=low * vectors, n_steps=_STEPS, internal_batch_size=at_once)
    values: Tensor = found[0].detach().sum(dim=1)
    change = _score(method, vectors, high) - _score(method, vectors, low)
    return _Part(low, high, values, float(values.sum()) - change)


@torch.no_grad()
def _score(method: IntegratedGradients, vectors: Tensor, scale: float) -> float:
    """What is attributed, at a point of the path."""
    return float(method.forward_func(scale * vectors))


def log_odds(logits: Tensor, target: int) -> Tensor:
    """Log p/(1 − p) of one class. logits: (batch, classes) → (batch,)."""
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    return logits[:, target] - others.logsumexp(dim=1)


def logits_of(network: TextClassifier, vectors: Tensor) -> Tensor:
    """Logits of texts that are given as vectors, all of one length: the network's own forward pass, with these vectors
    in the place of its table. vectors: (batch, time, features) → (batch, classes)."""
    batch, time, features = vectors.shape
    table = torch.cat([vectors.new_zeros(1, features), vectors.reshape(batch * time, features)])  # row 0 is padding
    rows = torch.arange(1, batch * time + 1, device=vectors.device).view(batch, time)
    lengths = torch.full((batch,), time, device=vectors.device)
    logits: Tensor = torch.func.functional_call(network, {"embedding.weight": table}, (rows, lengths))
    return logits
