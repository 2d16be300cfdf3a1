"""Length-bucketed batches, built from flat arrays, and their exact division among processes.

The order of batches depends on the seed, the epoch and the lengths of the texts alone, so every cell sees the same
batches. No text is repeated or lost when several processes share a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from bench.data.splits import IGNORED
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.shuffling import shuffle_words
from bench.data.tokens.strings import Strings
from bench.data.tokens.vocabulary import PADDING
from bench.seeds import generator

_BUCKET_BATCHES = 50  # texts are sorted by length within so many batches: little padding, much variety


class Batch(NamedTuple):
    """Some texts of one split, padded to the longest.

    tokens: (batch, time) int64 vector rows;  lengths, rows: (batch,) int64, rows being positions in the split;
    labels: (batch,) int64 classes or float32 numbers, or (batch, time) int64, the class of each token or `IGNORED`;
    weights: (batch,) float32, of each text's labels in the mean loss, 0 for a text that only fills an empty share.
    """

    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    rows: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Texts:
    """Texts of one split, ready for batching.

    words: ids into the words of the corpus;  vector_rows: (distinct words,) int32, of each of those words;
    labels: (texts,) int64 classes or float32 numbers; if `tagged`, int64 classes of all `words.ids` or `IGNORED`;
    names: an id per text;  max_length: tokens kept per text, `truncation` says which;
    numbers: (texts,) int64, positions in the whole split;  shuffle_seed: where words stand in random order.
    """

    words: Ragged
    vector_rows: np.ndarray
    labels: np.ndarray
    names: Strings
    max_length: int
    truncation: Literal["head", "tail", "both"]
    numbers: np.ndarray
    shuffle_seed: int | None = None
    tagged: bool = False

    def __len__(self) -> int:
        return len(self.words)

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64: tokens per text after truncation."""
        lengths: np.ndarray = np.minimum(self.words.lengths, self.max_length)
        return lengths

    def subset(self, chosen: np.ndarray) -> Texts:
        """Some of the texts, in the given order."""
        return replace(
            self,
            words=self.words.subset(chosen),
            labels=self.labels if self.tagged else self.labels[chosen],
            names=self.names.subset(chosen),
            numbers=self.numbers[chosen],
        )

    def padded(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some of the texts, padded to the longest.

        Returns: (texts, time) int64 vector rows, of the tokens that are kept;  (texts,) int64, how many those are.
        """
        places, lengths = self._places(chosen)
        found = self.vector_rows.take(self.words.ids.take(places, mode="clip"))  # beyond a text's end: of another text
        return self._ordered(found, np.int64(PADDING), chosen, lengths), lengths

    def targets(self, chosen: np.ndarray) -> np.ndarray:
        """The labels of some of the texts: (texts,), or (texts, time) int64, `IGNORED` behind a text's end."""
        if not self.tagged:
            return self.labels[chosen]
        places, lengths = self._places(chosen)
        return self._ordered(self.labels.take(places, mode="clip"), np.int64(IGNORED), chosen, lengths)

    @property
    def judged(self) -> np.ndarray | None:
        """(texts,) int64: how many of a text's tokens that are kept have a label; None where each text has one."""
        if not self.tagged:
            return None
        before = np.concatenate([[0], np.cumsum(self.labels != IGNORED)])
        starts, ends, kept = self.words.starts, self.words.starts + self.words.lengths, self.lengths
        at_start = np.minimum(kept, self._kept_at_start)
        judged: np.ndarray = before[starts + at_start] - before[starts]
        return judged + before[ends] - before[ends - (kept - at_start)]

    def label_counts(self) -> np.ndarray:
        """How often each class occurs among all labels of these texts, those of tokens that are cut off included."""
        if not self.tagged:
            return np.bincount(self.labels)
        pieces = Ragged(self.labels, self.words.starts, self.words.lengths).pieces()
        return np.bincount(np.concatenate([piece[piece != IGNORED] for piece in pieces]))

    @property
    def _kept_at_start(self) -> int:
        """Of a text that is cut, how many of its first tokens are kept; the rest are its last ones."""
        return {"head": self.max_length, "both": (self.max_length + 1) // 2, "tail": 0}[self.truncation]

    def _places(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(texts, time) int64, where in `words.ids` each token stands;  (texts,) int64, how many are kept."""
        whole = self.words.lengths[chosen]
        lengths = np.minimum(whole, self.max_length)
        steps = np.arange(lengths.max())
        places = self.words.starts[chosen][:, None] + steps
        if self.truncation != "head":
            places += (steps >= self._kept_at_start) * (whole - lengths)[:, None]
        return places, lengths

    def _ordered(self, found: np.ndarray, padding: np.int64, chosen: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """What was found of each token, padded behind a text's end, and in random order where that is asked for."""
        values: np.ndarray = np.where(np.arange(found.shape[1]) < lengths[:, None], found, padding)
        if self.shuffle_seed is None:
            return values
        return shuffle_words(values, lengths, self.numbers[chosen], self.shuffle_seed)


class Share(NamedTuple):
    """The rows of one batch that fall to one process, and each row's weight in that process's loss."""

    rows: np.ndarray
    weights: np.ndarray


def share_of(batch: np.ndarray, rank: int, world_size: int, judged: np.ndarray | None = None) -> Share:
    """Every `world_size`-th row of a batch, from `rank` on. judged: how many labels each text has; None: one each.

    Processes average their gradients, so a row's labels weigh `world_size / labels of the batch` each: the average over
    processes is then the mean over the batch also where shares differ in size. A process left without a row gets one
    of weight 0.
    """
    rows = batch[rank::world_size]
    if len(rows) == 0:
        return Share(batch[:1], np.zeros(1, np.float32))
    labels = len(batch) if judged is None else max(int(judged[batch].sum()), 1)
    return Share(rows, np.full(len(rows), world_size / labels, np.float32))


class BatchDataset(Dataset[Batch]):
    """Builds a padded batch from a `Share` of rows."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    def __getitem__(self, share: Share) -> Batch:
        rows, weights = share
        tokens, lengths = self.texts.padded(rows)
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(lengths),
            torch.from_numpy(self.texts.targets(rows)),
            torch.from_numpy(rows),
            torch.from_numpy(weights),
        )


class BucketSampler(Sampler[Share]):
    """Training batches: shuffled, sorted by length within buckets of batches, shuffled again; anew each epoch."""

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        judged: np.ndarray | None = None,
    ) -> None:
        """lengths: (texts,) tokens;  judged: (texts,) labels; None: one each."""
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.judged = judged
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws; Lightning calls this."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Share]:
        for batch in self.batches():  # drawn at the first batch, by when a resumed fit has told its epoch
            yield share_of(batch, self.rank, self.world_size, self.judged)

    def batches(self) -> list[np.ndarray]:
        """All batches of the current epoch, over all processes."""
        random = generator(self.seed, "order", self.epoch)
        order = random.permutation(len(self.lengths))
        bucket = self.batch_size * _BUCKET_BATCHES
        batches = []
        for start in range(0, len(order), bucket):
            rows = order[start : start + bucket]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches += [rows[first : first + self.batch_size] for first in range(0, len(rows), self.batch_size)]
        return [batches[position] for position in random.permutation(len(batches))]


class SortedSampler(Sampler[Share]):
    """Evaluation batches: every text once, longest first, so that memory runs out at once or not at all."""

    def __init__(self, lengths: np.ndarray, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[Share]:
        order = np.argsort(-self.lengths, kind="stable")
        for first in range(0, len(order), self.batch_size):
            yield share_of(order[first : first + self.batch_size], self.rank, self.world_size)
