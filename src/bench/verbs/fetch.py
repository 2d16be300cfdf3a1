"""`python -m bench fetch data=imdb`: download ahead, for machines that compute without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.compose import compose
from bench.config import DataConfig
from bench.data.hub import cache_folder
from bench.data.sources import Corpus, open_corpus
from bench.embeddings.formats import find_vectors
from bench.files import without_home

USAGE = "python -m bench fetch data=NAME [embedding=NAME ...]"


def fetch(arguments: Sequence[str]) -> int:
    """Find or download the corpus, and find the vectors, that a configuration needs; one line for each.

    Raises: `UserError` if either cannot be had.
    """
    config = compose(arguments)
    print(_describe(config.data, open_corpus(config.data)))
    vectors = find_vectors(config.embedding)
    if vectors is not None:
        where = without_home(str(vectors.path))
        print(f"{config.embedding.name}: {vectors.dimension} dimensions; {where}; fingerprint {vectors.fingerprint}")
    return 0


def _describe(data: DataConfig, corpus: Corpus) -> str:
    sizes = ", ".join(f"{name} {len(split.texts):,}" for name, split in corpus.splits.items())
    parts = [f"{corpus.name}: {sizes}", f"from {corpus.origin}", f"revision {corpus.revision or 'none'}"]
    parts.append(f"fingerprint {corpus.fingerprint}")
    folder = cache_folder(data)
    if corpus.origin.startswith("hub "):
        parts.append(f"cached in {without_home(str(folder))} ({_megabytes(folder):.1f} MB)")
    else:
        parts.append("nothing to cache")
    return "; ".join(parts)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
