"""What each token adds to a decision: integrated gradients (Sundararajan, Taly & Yan 2017), computed by captum.

The decision is the log odds of the predicted class, log p/(1 − p): its logit less the log of the sum of the others'
exponentials, so the difference of the two logits where there are two classes. The path goes from as many zero vectors
as the text has tokens, which is what padding looks like, to the word vectors of the text. Attributions are complete:
they sum to the difference of the log odds at the two ends, as far as the integral is exact. Its steps are doubled until
they do, within a tolerance; max pooling and ReLU have kinks, and need more of them than smooth networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.models.reading import Attribution

if TYPE_CHECKING:
    from bench.models.encoder import TextClassifier

STEPS = (32, 64, 128, 256, 512)
_TOKENS_AT_ONCE = 16_384  # of all steps that are computed together, which bounds memory


def attribute(network: TextClassifier, tokens: Tensor) -> Attribution:
    """Attributions of one text's tokens to the class that the network predicts.

    network: in evaluation mode;  tokens: (time,) rows of the embedding table.
    """
    from captum.attr import IntegratedGradients

    vectors = network.embedding.weight.detach()[tokens][None]
    with torch.no_grad():
        target = int(logits_of(network, vectors).argmax())

        def score(given: Tensor) -> float:
            return float(log_odds(logits_of(network, given), target))

        ends = score(vectors), score(torch.zeros_like(vectors))
    method = IntegratedGradients(lambda given: log_odds(logits_of(network, given), target))
    at_once = max(1, _TOKENS_AT_ONCE // len(tokens))
    for steps in STEPS:
        parts = method.attribute(vectors, baselines=0.0, n_steps=steps, internal_batch_size=min(at_once, steps))
        found = Attribution(parts[0].sum(dim=1).detach().cpu().numpy(), target, *ends, steps)
        if found.complete:
            break
    return found


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
