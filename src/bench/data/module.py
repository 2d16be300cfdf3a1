"""A corpus prepared for one run (vocabulary, validation split, flat arrays) and its Lightning data module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from bench.config import DataConfig
from bench.data.batches import Batch, BatchDataset, BucketSampler, SortedSampler, Texts
from bench.data.sources import SPLITS, Corpus
from bench.data.tokens.encoding import EncodedSplit, encode_corpus
from bench.data.tokens.vocabulary import HasVector, Vocabulary
from bench.errors import UserError
from bench.seeds import generator, integer

_EVALUATION_BATCH = 256
_NESTED = 1  # sub-stream of `split` that shuffles each class for `data.train_fraction`


@dataclass(frozen=True)
class PreparedData:
    """What one run trains, selects and reports on. `test` is None where there is no test split, or none to be read.

    classes: 0 where the answer is a number.
    """

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
        return float(np.mean(self.train.words.lengths > self.train.max_length))

    @property
    def majority_share(self) -> float | None:
        """Share of the largest class among the labels of the training part; None where they are numbers."""
        if not self.classes:
            return None
        counts = self.train.label_counts()
        return float(counts.max() / counts.sum())

    @property
    def unknown_token_fraction(self) -> float:
        """Share of the tokens of the reported split, those that are cut off included, without a vector of their own."""
        return self.vocabulary.unknown_fraction((self.test or self.validation).words)


def prepare(corpus: Corpus, data: DataConfig, seed: int, has_vector: HasVector | None = None) -> PreparedData:
    """Split, choose the vocabulary from the training texts that are used, and turn words into vector rows.

    The validation split is set aside before `data.train_fraction` is drawn: it is whole, and the same for any fraction.
    has_vector: words that join the vocabulary although the training texts do not make them (`Vocabulary.of`).
    Raises: `UserError` if the training part is too small to set a validation split aside.
    """
    encoded = encode_corpus(corpus, data)
    train, validation = _training_and_validation(encoded.splits, data, seed)
    words = encoded.splits["train"].tokens.subset(train.rows)
    if data.inputs == "numbers":
        vocabulary = Vocabulary.whole(encoded.words, words)
    else:
        vocabulary = Vocabulary.of(encoded.words, words, data.vocabulary_size, data.minimum_count, has_vector)
    test = _whole("test", encoded.splits) if data.use_test and "test" in encoded.splits else None

    def texts(part: _Part) -> Texts:
        split = encoded.splits[part.split]
        return _texts(part, split, vocabulary, data, seed, _kept(data, split, part.split, trains=part is train))

    return PreparedData(
        vocabulary=vocabulary,
        train=texts(train),
        validation=texts(validation),
        test=None if test is None else texts(test),
        classes=len(corpus.label_names),
    )


class _Part(NamedTuple):
    """Which texts are used for something. rows: positions in the split."""

    split: str
    rows: np.ndarray


def _whole(split: str, splits: Mapping[str, EncodedSplit]) -> _Part:
    return _Part(split, np.arange(len(splits[split].tokens)))


def _training_and_validation(splits: Mapping[str, EncodedSplit], data: DataConfig, seed: int) -> tuple[_Part, _Part]:
    train = np.arange(len(splits["train"].tokens))
    # Only whole texts have classes to stratify by: sentences and numbers are drawn as if of one class.
    labels = splits["train"].labels if data.task == "classification" else np.zeros(len(train), np.int64)
    if "dev" in splits:
        validation = _whole("dev", splits)
    else:
        held_out = stratified_share(labels, data.validation_fraction, seed)
        validation, train = _Part("train", np.flatnonzero(held_out)), np.flatnonzero(~held_out)
    if data.train_fraction < 1:
        train = train[nested_share(labels[train], data.train_fraction, seed)]
    return _Part("train", train), validation


def _kept(data: DataConfig, split: EncodedSplit, name: str, *, trains: bool) -> int:
    """Tokens kept per text. Where words are tagged, all those of a validation or test text are judged."""
    if data.task == "tagging" and not trains:
        return int(split.tokens.lengths.max(initial=1))
    return kept_in_test(data) if name == "test" else data.max_length


def kept_in_test(data: DataConfig) -> int:
    """Tokens kept of a text of the test split, or of a new one."""
    return data.max_length if data.test_max_length is None else data.test_max_length


def _texts(
    part: _Part, split: EncodedSplit, vocabulary: Vocabulary, data: DataConfig, seed: int, max_length: int
) -> Texts:
    labels = split.labels if data.task == "tagging" else split.labels[part.rows]
    return Texts(
        words=split.tokens.subset(part.rows),
        vector_rows=vocabulary.table,
        labels=labels.astype(np.float32) if data.task == "regression" else labels,
        names=split.names.subset(part.rows),
        max_length=max_length,
        truncation=data.truncation,
        numbers=part.rows,
        shuffle_seed=integer(seed, "words", SPLITS.index(part.split)) if data.shuffle_words else None,
        tagged=data.task == "tagging",
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
        sampler = BucketSampler(texts.lengths, self.batch_size, self.seed, *self._place(), judged=texts.judged)
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
