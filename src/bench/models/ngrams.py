"""A linear classifier of n-grams, weighted by TF-IDF: what logistic regression has learned, over rows of tokens.

An n-gram is a sequence of 1 to N neighbouring tokens, as vector rows: those that a recurrent network reads, so that
words without a vector are one and the same token here, too. Its feature in a text is its count times its inverse
document frequency, ln((1 + texts) / (1 + texts that hold it)) + 1, all features of a text scaled to a Euclidean norm of
1 (what scikit-learn's `TfidfVectorizer` computes). N-grams that no training text holds are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.batches import Batch, BatchDataset, SortedSampler, Texts
from bench.errors import UserError

_BATCH = 512  # texts, sorted by length
_PENDING = 4_000_000  # n-grams that wait to be counted together with the others


class NgramClassifier(nn.Module):
    """From rows of tokens to logits, as `TextClassifier`: padding and company change nothing.

    keys: (features,) int64, the n-grams in order (`ngram_keys`);  inverse_frequency: (features,);
    weight: (outputs, features);  bias: (outputs,). Two classes have a single output z, for the logits (0, z).
    """

    keys: Tensor
    inverse_frequency: Tensor

    def __init__(self, ngrams: int, rows: int, classes: int, features: int) -> None:
        """ngrams: the longest, in tokens;  rows: of the embedding table that tokens are rows of. All weights are zero.

        Raises: `UserError` if there are too many words to number such n-grams.
        """
        super().__init__()
        if rows**ngrams >= 2**63:
            raise UserError(
                f"model.ngrams={ngrams}: {rows:,} words have more such n-grams than 64 bits number; use "
                f"model.ngrams={ngrams - 1} or a smaller data.vocabulary_size"
            )
        self.ngrams, self.rows = ngrams, rows
        outputs = 1 if classes == 2 else classes
        self.register_buffer("keys", torch.zeros(features, dtype=torch.int64))
        self.register_buffer("inverse_frequency", torch.zeros(features))
        self.weight = nn.Parameter(torch.zeros(outputs, features), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (batch, time) rows of the table;  lengths: (batch,) → logits (batch, classes).

        A text of n-grams that are all unknown has the logits of the bias.
        """
        texts, features, values = self.features(tokens, lengths)
        scores = values.new_zeros(len(self.bias), len(tokens))
        scores.index_add_(1, texts, self.weight[:, features].to(values.dtype) * values)
        logits = scores.T + self.bias
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if len(self.bias) == 1 else logits

    def features(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The features that are not zero: (found,) number of the text, number of the feature, value."""
        texts, keys = ngram_keys(tokens, lengths, self.ngrams, self.rows)
        places = torch.searchsorted(self.keys, keys)
        size = len(self.keys)
        known = self.keys[places.clamp(max=size - 1)] == keys
        pairs, counts = torch.unique(texts[known] * size + places[known], return_counts=True)
        texts, features = pairs // size, pairs % size
        values = counts * self.inverse_frequency[features]
        squares = values.new_zeros(len(tokens)).index_add_(0, texts, values.square())
        return texts, features, values / squares.sqrt()[texts]


def ngram_keys(tokens: Tensor, lengths: Tensor, ngrams: int, rows: int) -> tuple[Tensor, Tensor]:
    """All n-grams of some texts: (found,) number of the text, and key: the rows as digits of a number to base `rows`.

    No row of a token is 0 (padding is), so n-grams of different lengths have different keys.
    """
    texts, keys = [], []
    key = torch.zeros_like(tokens)
    for length in range(1, min(ngrams, tokens.shape[1]) + 1):
        last = tokens[:, length - 1 :]
        key = key[:, : last.shape[1]] * rows + last
        ends = torch.arange(length, length + last.shape[1], device=tokens.device)
        inside = ends <= lengths[:, None]
        texts.append(inside.nonzero()[:, 0])
        keys.append(key[inside])
    return torch.cat(texts), torch.cat(keys)


def batches_of(texts: Texts) -> Iterator[Batch]:
    """All texts of a split in batches, the longest first."""
    dataset = BatchDataset(texts)
    return (dataset[share] for share in SortedSampler(texts.lengths, _BATCH))


def count_ngrams(texts: Texts, ngrams: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct n-grams of some texts: (n-grams,) int64 keys in order, and in how many of the texts each stands."""
    pending = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for batch in batches_of(texts):
        pending.append(_frequencies(*ngram_keys(batch.tokens, batch.lengths, ngrams, rows)))
        if sum(len(keys) for keys, _ in pending[1:]) > max(_PENDING, len(pending[0][0])):
            pending = [_added(pending)]
    return _added(pending)


def _frequencies(texts: Tensor, keys: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """As `count_ngrams`, of n-grams as `ngram_keys` gives them."""
    found, texts_of = keys.numpy(), texts.numpy()
    order = np.lexsort((texts_of, found))
    found, texts_of = found[order], texts_of[order]
    new_key = np.append(True, found[1:] != found[:-1])
    new_pair = new_key | np.append(True, texts_of[1:] != texts_of[:-1])
    return found[new_key], np.bincount(np.cumsum(new_key)[new_pair] - 1)


def _added(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies of several sets of texts as one."""
    all_keys, all_counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    keys, places = np.unique(all_keys, return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, places, all_counts)
    return keys, counts


def without_weights(texts: Texts, ngrams: int, minimum_texts: int, rows: int, classes: int) -> NgramClassifier:
    """A classifier that knows the n-grams of the training part and their frequencies, and nothing else yet.

    minimum_texts: in which an n-gram has to stand.
    Raises: `UserError` if none stands in as many, or they cannot be numbered.
    """
    NgramClassifier(ngrams, rows, classes, 0)  # for its error, before anything is counted
    keys, counts = count_ngrams(texts, ngrams, rows)
    kept = counts >= minimum_texts
    if not kept.any():
        raise UserError(
            f"model.minimum_texts={minimum_texts}: no word stands in so many of the {len(texts)} training texts; "
            "use model.minimum_texts=1"
        )
    network = NgramClassifier(ngrams, rows, classes, int(kept.sum()))
    network.keys.copy_(torch.from_numpy(keys[kept]))
    network.inverse_frequency.copy_(torch.from_numpy(np.log((1 + len(texts)) / (1 + counts[kept])) + 1))
    return network
