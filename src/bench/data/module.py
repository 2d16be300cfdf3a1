"""A corpus prepared for one run (vocabulary, validation split, flat arrays) and its Lightning data module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from bench.config import DataConfig
from bench.data.batches import Batch, BatchDataset, BucketSampler, SortedSampler, Texts
from bench.data.sources import Corpus
from bench.data.text import UNKNOWN, Vocabulary, encode_corpus
from bench.errors import UserError
from bench.seeds import generator

_EVALUATION_BATCH = 256
_NESTED = 1  # sub-stream of `split` that shuffles each class for `data.train_fraction`


@dataclass(frozen=True)
class PreparedData:
    """What one run trains, selects and reports on. `test` is None where there is no test split, or none to be read."""

    vocabulary: Vocabulary
    train: Texts
    validation: Texts
    test: Texts | None
    classes: int

    @property
    def train_tokens(self) -> int:
        """Tokens of the training part after truncation."""
        return int(self.train.lengths.sum())

    @property
    def truncated_fraction(self) -> float:
        """Share of training texts that are cut at `data.max_length`."""
        return float(np.mean(self.train.ids.lengths > self.train.max_length))

    @property
    def majority_share(self) -> float:
        """Share of the largest class in the training part."""
        return float(np.bincount(self.train.labels).max() / len(self.train))

    @property
    def unknown_token_fraction(self) -> float:
        """Share of the tokens of the reported split that have no vector of their own."""
        reported = self.test or self.validation
        return float(np.mean(reported.ids.ids == UNKNOWN))


def prepare(corpus: Corpus, data: DataConfig, seed: int) -> PreparedData:
    """Split, choose the vocabulary from the training texts that are used, and turn words into vector rows.

    The validation split is set aside before `data.train_fraction` is drawn: it is whole, and the same for any fraction.
    Raises: `UserError` if the training part is too small to set a validation split aside.
    """
    encoded = encode_corpus(corpus, data)
    texts = {
        name: Texts(encoded.splits[name], split.labels, split.ids, data.max_length)
        for name, split in corpus.splits.items()
        if name != "test" or data.use_test
    }
    train, validation = texts["train"], texts.get("dev")
    if validation is None:
        held_out = stratified_share(train.labels, data.validation_fraction, seed)
        validation, train = train.subset(np.flatnonzero(held_out)), train.subset(np.flatnonzero(~held_out))
    if data.train_fraction < 1:
        train = train.subset(np.flatnonzero(nested_share(train.labels, data.train_fraction, seed)))
    vocabulary = Vocabulary.of(encoded.words, train.ids.ids, data.vocabulary_size, data.minimum_count)

    def encode(part: Texts) -> Texts:
        return Texts(vocabulary.apply(part.ids), part.labels, part.names, part.max_length)

    test = texts.get("test")
    return PreparedData(
        vocabulary=vocabulary,
        train=encode(train),
        validation=encode(validation),
        test=None if test is None else encode(test),
        classes=len(corpus.label_names),
    )


def stratified_share(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Mark a share of each class, drawn by the `split` stream of the seed.

    labels: (texts,) int64. Returns: (texts,) bool, true for the texts set aside, at least one of every class.
    Raises: `UserError` if a class has a single text.
    """
    random = generator(seed, "split")
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise UserError(
                f"class {label} has a single training text, so none can be set aside for validation: "
                "add texts of that class, or a dev file"
            )
        chosen[random.choice(rows, max(1, round(fraction * len(rows))), replace=False)] = True
    return chosen


def nested_share(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Mark a share of each class, drawn by a stream of its own beside the seed's `split`.

    Each class is shuffled once and read from its start, so that a larger share holds all of a smaller one.
    labels: (texts,) int64. Returns: (texts,) bool, true for the texts that are used, at least one of every class.
    """
    random = generator(seed, "split", _NESTED)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        chosen[rows[: max(1, round(fraction * len(rows)))]] = True
    return chosen


class TextDataModule(pl.LightningDataModule):
    """Bucketed training batches and length-sorted evaluation batches, divided among the trainer's processes."""

    def __init__(self, prepared: PreparedData, batch_size: int, seed: int) -> None:
        super().__init__()
        self.prepared = prepared
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training part; `batch_size` texts over all processes together."""
        texts = self.prepared.train
        sampler = BucketSampler(texts.lengths, self.batch_size, self.seed, *self._place())
        return DataLoader(BatchDataset(texts), batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split."""
        return self.evaluation_loader(self.prepared.validation)

    def evaluation_loader(self, texts: Texts) -> DataLoader[Batch]:
        """Batches for one pass over any texts."""
        sampler = SortedSampler(texts.lengths, _EVALUATION_BATCH, *self._place())
        return DataLoader(BatchDataset(texts), batch_size=None, sampler=sampler)

    def _place(self) -> tuple[int, int]:
        """Rank of this process and the number of processes."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
