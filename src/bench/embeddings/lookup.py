"""Where word vectors come from: a path, $BENCH_VECTORS, the cache, a package, the official download; first hit wins."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from bench.config import EmbeddingConfig
from bench.embeddings import packages
from bench.embeddings.download import download as fetch_file
from bench.embeddings.inspection import fingerprint_of, layout_of, remembered_sha256
from bench.embeddings.vectors import Kind, VectorFile
from bench.errors import UserError
from bench.files import cache_root, without_home

# Formats that vectors of a name come in: a pattern such as *.bin also matches files of others.
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "glove": ("text", "array"),
    "word2vec": ("text", "word2vec_binary"),
    "fasttext": ("text", "fasttext_binary"),
    "navec": ("navec",),
}
_UNFINISHED = (".part", ".lock", ".json")
_SUFFIXES = (".txt", ".vec", ".bin", ".npy", ".tar", ".zip")  # of vector files, before a compression's own


def find_vectors(embedding: EmbeddingConfig, *, download: bool = True) -> VectorFile | None:
    """The file that `embedding` names; None for random vectors, numbers, and what is trained here. Imports no torch.

    A file of another format than these vectors come in, or of another dimension than `embedding.dimension`, is passed
    over. One that `embedding.path` names may have any format.
    download: whether the official file may be fetched.
    Raises: `UserError`, one line, within three seconds also where nothing can be reached.
    """
    if embedding.name in ("random", "numbers") or embedding.source == "train":
        return None
    if embedding.path is not None:
        return _named(embedding, Path(embedding.path).expanduser())
    passed: list[str] = []
    for path, origin in candidates(embedding):
        if path == _official(embedding):
            _check(embedding, path)
        found = _look(embedding, path, origin)
        if isinstance(found, VectorFile):
            return found
        passed.append(found)
    if download and embedding.url is not None:
        return _downloaded(embedding, passed)
    raise UserError(_miss(embedding, passed))


def vectors_cache(embedding: EmbeddingConfig) -> Path:
    """Where downloaded vectors of this kind are kept."""
    return cache_root() / "vectors-files" / embedding.name


def vectors_folder() -> Path | None:
    """`$BENCH_VECTORS`, None where it is not set.

    Raises: `UserError` if there is no such folder.
    """
    named = os.environ.get("BENCH_VECTORS")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UserError(f"BENCH_VECTORS={named}: no such folder; correct or unset it")
    return folder


def matching_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files in a folder that match a pattern, those of the first pattern first; unfinished downloads left out."""
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [
        path
        for path in dict.fromkeys(found)
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _UNFINISHED
    ]


def candidates(embedding: EmbeddingConfig) -> Iterator[tuple[Path, str]]:
    """Files that are on this machine already, and where they were found, in words; none of them is opened."""
    patterns = embedding.files or []
    folder = vectors_folder()
    for path in matching_files(folder, patterns) if folder is not None else ():
        yield path, f"$BENCH_VECTORS {path.name}"
    official = _official(embedding)
    names = [glob.escape(official.name)] if official is not None else []
    for path in matching_files(vectors_cache(embedding), [*names, *patterns]):
        yield path, f"{'official' if path == official else 'cache'} {path.name}"
    if embedding.package is not None:
        carried = packages.find_in_package(embedding.package)
        if carried is not None:
            yield carried


def _look(embedding: EmbeddingConfig, path: Path, origin: str) -> VectorFile | str:
    """The file, or why it is not the one that was asked for."""
    layout = layout_of(path, embedding)
    if embedding.path is None and layout.kind not in _KINDS[embedding.name]:
        return f"{path.name} is of another format ({layout.kind})"
    if embedding.dimension not in (None, layout.dimension):
        return f"{path.name} holds {layout.dimension}-dimensional vectors"
    return VectorFile(path, layout.dimension, fingerprint_of(path, layout), layout.kind, layout.member, origin)


def _named(embedding: EmbeddingConfig, path: Path) -> VectorFile:
    """The file that `embedding.path` names, or the one in the folder that it names."""
    passed = []
    for file in _inside(embedding, path) if path.is_dir() else [path]:
        found = _look(embedding, file, f"file {file.name}")
        if isinstance(found, VectorFile):
            return found
        passed.append(found)
    raise UserError(_unfit(embedding, passed))


def _inside(embedding: EmbeddingConfig, folder: Path) -> list[Path]:
    matching = matching_files(folder, embedding.files or [])
    if matching:
        return matching
    found = [path for path in matching_files(folder, ["*"]) if set(path.suffixes) & set(_SUFFIXES)]
    if len(found) == 1:
        return found
    names = f" ({', '.join(path.name for path in found[:4])}, …)" if found else ""
    raise UserError(f"embedding.path={folder}: {len(found) or 'no'} vector files in it{names}; name one file")


def _downloaded(embedding: EmbeddingConfig, passed: Sequence[str]) -> VectorFile:
    url, sha256, target = embedding.url, embedding.sha256, _official(embedding)
    assert url is not None
    assert target is not None
    if sha256 is None:
        raise UserError(
            f"embedding.url={url}: a download is checked before it is used: set embedding.sha256 to the SHA-256 "
            "of the file, or download it yourself and set embedding.path=FILE"
        )
    try:
        fetch_file(url, sha256, target)
    except UserError as error:
        raise UserError(_miss(embedding, passed, str(error))) from None
    found = _look(embedding, target, f"official {target.name}")
    if isinstance(found, VectorFile):
        return found
    raise UserError(_unfit(embedding, [*passed, found]))


def _official(embedding: EmbeddingConfig) -> Path | None:
    """Where the official file lies once it was downloaded."""
    if embedding.url is None:
        return None
    return vectors_cache(embedding) / (PurePosixPath(unquote(urlsplit(embedding.url).path)).name or "vectors")


def _check(embedding: EmbeddingConfig, path: Path) -> None:
    if embedding.sha256 is not None and remembered_sha256(path) != embedding.sha256:
        raise UserError(
            f"{without_home(str(path))} is not the file that embedding.sha256 names: remove it, "
            f"then run 'python -m bench fetch embedding={embedding.name}'"
        )


def _unfit(embedding: EmbeddingConfig, passed: Sequence[str]) -> str:
    asked = f"embedding={embedding.name}"
    if embedding.dimension is not None:
        asked = f"embedding.dimension={embedding.dimension}"
    return f"{asked}: {', '.join(passed[:3])}; leave the key out, or choose another file"


def _miss(embedding: EmbeddingConfig, passed: Sequence[str], why_not: str | None = None) -> str:
    """What was looked for, where, and what would get it. why_not: what became of the download."""
    named = os.environ.get("BENCH_VECTORS")
    patterns = " or ".join(embedding.files or [])
    where = [
        f"not in $BENCH_VECTORS={named} ({patterns})" if named else "BENCH_VECTORS is not set",
        f"not in the cache {without_home(str(vectors_cache(embedding)))}",
    ]
    advice = ["set BENCH_VECTORS=DIR or embedding.path=FILE"]
    if embedding.url is not None:
        where += [why_not] if why_not is not None else []
        advice.insert(0, f"run 'python -m bench fetch embedding={embedding.name}' where there is a network")
    if embedding.package is not None and packages.find_in_package(embedding.package) is None:
        where.insert(2, f"the package {embedding.package} is not installed")
        advice.insert(0, f"type: {packages.install_command(embedding.package)}")
    asked = f"embedding={embedding.name}"
    if embedding.dimension is not None:
        asked += f" embedding.dimension={embedding.dimension}"
    if passed:
        where = [*passed[:3], *where[2:]]
    return f"{asked} not found: {'; '.join([*where, ', or '.join(advice)])}"
