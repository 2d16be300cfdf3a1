"""A finished run, loaded for use: its network at the best epoch, and texts in numbers as training saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.config import BenchConfig
from bench.data.batches import Texts
from bench.data.module import kept_in_test
from bench.data.sources import SPLITS
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings
from bench.data.tokens.text import TokenRules, encode_texts
from bench.data.tokens.vocabulary import SPECIAL_WORDS, UNKNOWN
from bench.errors import UserError
from bench.models.encoder import TextClassifier
from bench.runs.rebuilt import rebuilt
from bench.runs.record import RunRecord
from bench.runs.recorded import config_without_files
from bench.runs.store import Store
from bench.runs.weights import check_labels_texts, find_weights, learned_of
from bench.seeds import integer

_BATCH = 256  # texts, as in a run's evaluation
_CHUNK = 4096  # texts whose tokens are in memory at once, and among which batches are made


class Encoded(NamedTuple):
    """Texts as the network reads them. tokens: (texts, time) int64 rows of the embedding table, 0 after a text's end;
    lengths: (texts,) int64, at least 1."""

    tokens: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one text. probability: of `label`, the most probable class;  probabilities: of every class;
    unseen: whether no token that was read has a vector of its own."""

    label: str
    probability: float
    probabilities: dict[str, float]
    unseen: bool


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run. classifier: from rows and lengths to logits, in evaluation mode, with the weights of the best
    epoch;  labels: names of the classes;  vocabulary: the row of each word in the embedding table; every other word has
    row 1, padding row 0;  device: where the classifier is."""

    record: RunRecord
    config: BenchConfig
    classifier: nn.Module
    labels: list[str]
    vocabulary: Mapping[str, int]
    device: torch.device

    @property
    def network(self) -> TextClassifier:
        """The classifier as a network, to be looked into.

        Raises: `UserError` if it is none.
        """
        if not isinstance(self.classifier, TextClassifier):
            raise UserError(
                f"run {self.record.run_id} is of model={self.config.model.cell}, which has no states to look into: "
                "choose a run of another model"
            )
        return self.classifier

    @property
    def precision(self) -> AbstractContextManager[object]:
        """The context of a forward pass, as in training: `hardware.precision`."""
        if self.config.hardware.precision == "32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Texts as training encoded them: cleaned, divided into tokens, cut at `data.max_length`
        (`data.test_max_length`, where that is set).

        A text without a token, empty or of nothing but markup, becomes one unknown word. With `data.shuffle_words`
        every text is put in order as the first of the test split was.
        """
        if not _texts_checked(texts):
            empty = torch.zeros((0, 0), dtype=torch.int64, device=self.device)
            return Encoded(empty, empty.sum(dim=1))
        tokens, lengths = self._divided(texts).texts.padded(np.arange(len(texts)))
        return self._placed(tokens, lengths)

    def tokens(self, text: str) -> list[str]:
        """The tokens that the network reads of a text, one for each step of `encode`; `[""]` where there is none."""
        words, texts = self._divided([text])
        places, _ = replace(texts, vector_rows=np.arange(len(words))).padded(np.arange(1))
        return [words[place] for place in places[0].tolist()]

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Label texts, in their order; the company that a text keeps changes nothing beyond float rounding.

        Raises: `UserError` if the run's task is another one than to classify texts.
        """
        check_labels_texts(self.record)
        chunks = range(0, len(_texts_checked(texts)), _CHUNK)
        return [answer for first in chunks for answer in self._answers(texts[first : first + _CHUNK])]

    def _answers(self, texts: Sequence[str]) -> list[Prediction]:
        probabilities, unseen = self._probabilities(self._divided(texts).texts)
        best = probabilities.argmax(axis=1).tolist()
        return [
            Prediction(self.labels[label], row[label], dict(zip(self.labels, row, strict=True)), new)
            for label, row, new in zip(best, probabilities.tolist(), unseen.tolist(), strict=True)
        ]

    def _probabilities(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(texts, classes) float32;  (texts,) bool, whether no token that was read is known."""
        probabilities = np.empty((len(texts), len(self.labels)), np.float32)
        unseen = np.empty(len(texts), bool)
        order = np.argsort(-texts.lengths, kind="stable")
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            tokens, lengths = texts.padded(rows)
            with torch.inference_mode(), self.precision:
                logits = self.classifier(*self._placed(tokens, lengths))
            probabilities[rows] = logits.float().softmax(dim=1).cpu().numpy()
            unseen[rows] = (tokens <= UNKNOWN).all(axis=1)
        return probabilities, unseen

    def _placed(self, tokens: np.ndarray, lengths: np.ndarray) -> Encoded:
        return Encoded(torch.from_numpy(tokens).to(self.device), torch.from_numpy(lengths).to(self.device))

    def _divided(self, texts: Sequence[str]) -> _Divided:
        data = self.config.data
        encoded = encode_texts(texts, TokenRules.of(data))
        rows = (self.vocabulary.get(word, UNKNOWN) for word in encoded.words)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(encoded.lengths)])
        none = np.zeros(len(texts), np.int64)
        return _Divided(
            encoded.words,
            Texts(
                words=Ragged.of(encoded.ids, offsets),
                vector_rows=np.fromiter(rows, np.int32, len(encoded.words)),
                labels=none,
                names=Strings.of(()),
                max_length=kept_in_test(data),
                truncation=data.truncation,
                numbers=none,
                shuffle_seed=integer(self.config.seed, "words", SPLITS.index("test")) if data.shuffle_words else None,
            ),
        )


class _Divided(NamedTuple):
    """words: the distinct ones;  texts: their tokens, as numbers of those words."""

    words: list[str]
    texts: Texts


def load(store: Store, run: str, device: str = "cpu") -> TrainedRun:
    """A finished run for use.

    Runs recorded before weights carried their vocabulary need their corpus once more, to rebuild it.
    run: its id, the beginning of it, or `latest`;  device: such as cpu, cuda, cuda:1.
    Raises: `UserError`, one line, if there is no such run, it has not finished or kept no weights, they cannot be read
    or do not fit this version, or the device is not there.
    """
    place = _device(device)
    record, path = find_weights(store, run)
    learned = learned_of(record, path)
    config = config_without_files(record)
    classifier = rebuilt(config, record, path, learned).to(place).eval()
    vocabulary = {word: row for row, word in enumerate(learned.words, SPECIAL_WORDS)}
    return TrainedRun(record, config, classifier, list(learned.labels), vocabulary, place)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device={name} cannot be used ({str(error).splitlines()[0]}): leave it out, or device=cpu"
        ) from None
    return device


def _texts_checked(texts: Sequence[str]) -> Sequence[str]:
    """Raises: `TypeError` for a single text, whose characters would be taken for texts."""
    if isinstance(texts, str):
        raise TypeError("a list of texts is wanted, not one text: [text]")
    return texts
