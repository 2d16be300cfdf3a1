"""The texts that a turn trains on: encoded by the program once, the same for all contestants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.compose import compose
from bench.data.module import prepare
from bench.data.sources import open_corpus
from bench.embeddings.table import SPECIAL_ROWS
from bench.errors import UserError
from peers.work import Texts

BUCKET_BATCHES = 50  # of the program's own sampler: texts are sorted by length within so many batches


@dataclass(frozen=True)
class Prepared:
    """rows: of the table of word vectors;  padding_fraction: of the program's batches of these texts."""

    rows: int
    texts: Texts


def write_texts(overrides: list[str], batches: int, folder: Path) -> Prepared:
    """Choose the texts of a turn and write them to `folder`.

    One bucket of 50 batches is drawn, and every so many-th batch of it taken: the program's batches of a turn are
    padded as those of a whole epoch are, and everybody trains on the same texts.
    Raises: `UserError` if there are not so many batches to choose from.
    """
    config = compose(overrides)
    prepared = prepare(open_corpus(config.data), config.data, config.seed)
    train, size = prepared.train, config.training.batch_size
    rows = np.random.default_rng(config.seed).permutation(len(train))[: size * BUCKET_BATCHES]
    rows = rows[np.argsort(train.lengths[rows], kind="stable")]
    whole = rows[: len(rows) // size * size].reshape(-1, size)
    if not 1 <= batches <= len(whole):
        raise UserError(f"--batches {batches}: a turn is of 1 to {len(whole)} batches of {size} texts")
    chosen = whole[np.linspace(0, len(whole) - 1, batches).round().astype(int)].ravel()
    tokens, lengths = train.padded(chosen)
    texts = Texts(
        tokens=[row[:length].astype(np.int32) for row, length in zip(tokens, lengths, strict=True)],
        labels=train.labels[chosen],
        chosen=chosen,
    )
    texts.save(folder)
    return Prepared(rows=SPECIAL_ROWS + len(prepared.vocabulary.words), texts=texts)
