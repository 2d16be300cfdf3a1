"""`python -m bench fetch data=imdb embedding=glove`: download ahead, for machines that compute without a network.

Several at once with commas: data=imdb,sst2 embedding=glove,navec. Alone, or with --list, it lists what the cache holds:
name, size, checksum, place; --json prints that for scripts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

from bench.compose import compose
from bench.config import DataConfig, EmbeddingConfig
from bench.data.hub import cache_folder
from bench.data.sources import Corpus, open_corpus
from bench.embeddings.lookup import find_vectors
from bench.errors import UserError, did_you_mean
from bench.files import cache_root, without_home
from bench.verbs.cached import Cached, cached
from bench.verbs.sizes import files_below, readable

USAGE = "python -m bench fetch [data=NAME,...] [embedding=NAME,...] [KEY=VALUE ...] | [--list] [--json]"

_FLAGS = ("--list", "--json")
_SHOWN_NAMES = 20


def fetch(arguments: Sequence[str]) -> int:
    """Find or download corpora and vectors, one after the other, or list what is there.

    Raises: `UserError` if one cannot be had; of several, after the others were tried.
    """
    flags = [word for word in arguments if word.startswith("-")]
    overrides = [word for word in arguments if not word.startswith("-")]
    for flag in flags:
        if flag not in _FLAGS:
            raise UserError(f"fetch: unknown flag '{flag}': {did_you_mean(flag, _FLAGS)} ({USAGE})")
    if not overrides:
        _list(as_json="--json" in flags)
        return 0
    if flags:
        raise UserError(f"fetch: {flags[0]} lists what is there already: leave it out, or leave out the rest ({USAGE})")
    _fetch_all(list(_tasks(overrides)))
    return 0


def _tasks(overrides: Sequence[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """What to fetch, by name: every corpus and all the vectors that were mentioned, both where neither was."""
    chosen = {key: _several(overrides, key) for key in ("data", "embedding")}
    rest = [word for word in overrides if word.partition("=")[0] not in chosen]
    mentioned = {word.partition("=")[0].partition(".")[0] for word in overrides} & set(chosen) or set(chosen)
    firsts = [f"{key}={names[0]}" for key, names in chosen.items() if names]
    for name in (chosen["data"] or [""]) if "data" in mentioned else ():
        data = compose(_composed("data", name, firsts, rest)).data
        yield data.name, partial(_corpus, data)
    for name in (chosen["embedding"] or [""]) if "embedding" in mentioned else ():
        embedding = compose(_composed("embedding", name, firsts, rest)).embedding
        yield embedding.name, partial(_vectors, embedding)


def _several(overrides: Sequence[str], key: str) -> list[str]:
    """The names in `key=A,B`."""
    values = [word.partition("=")[2] for word in overrides if word.partition("=")[0] == key]
    return [name for value in values for name in value.split(",")]


def _composed(key: str, name: str, firsts: Sequence[str], rest: Sequence[str]) -> list[str]:
    """The overrides that choose one of several. name: empty for the default."""
    others = [first for first in firsts if first.partition("=")[0] != key]
    return [*others, *([f"{key}={name}"] if name else []), *rest]


def _fetch_all(tasks: Sequence[tuple[str, Callable[[], str]]]) -> None:
    missing = []
    for name, task in tasks:
        try:
            print(task(), flush=True)
        except UserError as error:
            if len(tasks) == 1:
                raise
            print(f"bench: {error}", file=sys.stderr, flush=True)
            missing.append(name)
    if missing:
        raise UserError(f"fetch: {len(missing)} of {len(tasks)} could not be had: {', '.join(missing)}")


def _corpus(data: DataConfig) -> str:
    """One line through a pipe, several on a terminal."""
    return ("\n  " if sys.stdout.isatty() else "; ").join(_describe(data, open_corpus(data)))


def _describe(data: DataConfig, corpus: Corpus) -> Iterator[str]:
    """Lines on a corpus: where it is, what it is, and what is known beforehand of a generated one."""
    sizes = ", ".join(f"{name} {size:,}" for name, size in corpus.sizes.items())
    parts = [f"{corpus.name}: {sizes}", f"from {corpus.origin}", f"revision {corpus.revision or 'none'}"]
    parts.append(f"fingerprint {corpus.fingerprint}")
    folder = cache_folder(data)
    if corpus.origin.startswith("hub "):
        size = sum(size for _, size in files_below(folder))
        parts.append(f"cached in {without_home(str(folder))} ({size / 1e6:.1f} MB)")
    else:
        parts.append("nothing to cache")
    yield "; ".join(parts)
    names = corpus.label_names
    more = f", … {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    kind = "tags" if data.task == "tagging" else "classes"
    yield f"{len(names)} {kind}: {', '.join(names[:_SHOWN_NAMES])}{more}" if names else "labels are numbers"
    if corpus.duplicates is not None:
        yield _duplicates(asdict(corpus.duplicates))
    if data.probe is not None:
        from bench.data.probes import expected

        known = expected(data)
        yield f"accuracy of chance {known.chance:.1%}, of a bag of words {known.bag_of_words:.1%}: {known.note}"


def _duplicates(counts: dict[str, int | None]) -> str:
    """Such as `exact duplicates: 96 within train, 199 within test, 123 in train and test`."""
    found = []
    for key, count in counts.items():
        kind, *splits = key.split("_")
        if count:
            found.append(f"{count:,} {'within' if kind == 'duplicates' else 'in'} {' and '.join(splits)}")
    return f"exact duplicates: {', '.join(found) or 'none'}"


def _vectors(embedding: EmbeddingConfig) -> str:
    file = find_vectors(embedding)
    if file is None:
        how = "drawn at random" if embedding.name == "random" else "trained on the training part of a corpus"
        return f"{embedding.name}: {how}; nothing to fetch"
    where = without_home(str(file.path)) + (f", {file.member}" if file.member else "")
    return (
        f"{embedding.name}: {file.dimension} dimensions; from {file.origin}; {where} "
        f"({readable(file.path.stat().st_size)}); fingerprint {file.fingerprint}"
    )


def _list(*, as_json: bool) -> None:
    found = cached()
    if as_json:
        print(json.dumps([{**asdict(entry), "path": str(entry.path)} for entry in found], indent=1))
    elif not found:
        print(f"nothing is cached in {without_home(str(cache_root()))} yet: {USAGE.partition(' | ')[0]}")
    elif sys.stdout.isatty():
        _table(found)
    else:
        for entry in found:
            parts = (
                entry.kind,
                entry.name,
                str(entry.size),
                entry.checksum or "-",
                entry.source or "-",
                str(entry.path),
            )
            print("\t".join(parts))


def _table(found: Sequence[Cached]) -> None:
    from rich.console import Console
    from rich.table import Table

    root = cache_root()
    total = readable(sum(entry.size for entry in found))
    table = Table("what", "where", title=f"{without_home(str(root))}, {total}", title_justify="left")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("checksum", no_wrap=True)
    if any(entry.source for entry in found):
        table.add_column("from")
    for entry in found:
        source = [entry.source or ""] if len(table.columns) > 4 else []
        where = str(entry.path.relative_to(root))
        table.add_row(entry.kind, where, readable(entry.size), entry.checksum or "", *source)
    Console(highlight=False).print(table)
