"""Corpora from the Hugging Face hub, kept in the cache in the mirror layout.

    CACHE/corpora/<name>[-<revision>]/{train,dev,test}.parquet, source.json

A corpus passes through memory in pieces, twice: once to see that it is sound, once to be written down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.config import DataConfig
from bench.data.hub_client import endpoint, fetch_command, load, why_unreachable
from bench.data.hub_sentences import sound_sentences
from bench.data.hub_texts import sound_texts
from bench.errors import UserError
from bench.files import cache_root, folder_atomically

__all__ = ["cache_folder", "download", "endpoint", "read_source", "why_unreachable"]


def cache_folder(data: DataConfig) -> Path:
    """Where a download of this corpus is kept: train, dev, test as Parquet, and `source.json`."""
    suffix = f"-{data.hub_revision[:12]}" if data.hub_revision else ""
    return cache_root() / "corpora" / f"{data.name}{suffix}"


def read_source(data: DataConfig) -> dict[str, Any] | None:
    """What an earlier download wrote into `source.json`; None if there was none.

    Raises: `UserError` if the cached corpus is damaged, or was downloaded from elsewhere than `data` says.
    """
    folder = cache_folder(data)
    if not folder.is_dir():
        return None
    try:
        source: dict[str, Any] = json.loads((folder / "source.json").read_text())
        wanted = {key: source[key] for key in _request(data)}
        source["revision"], source["label_names"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is damaged: remove it, then run {fetch_command(data)}") from None
    if data.hub_id is not None and wanted != _request(data):
        raise UserError(f"{folder} holds another download ({source['hub_id']}): remove it or choose another data.name")
    return source


def download(data: DataConfig) -> None:
    """Download a corpus and keep it in `cache_folder(data)`, with the commit it came from.

    Raises: `UserError` in one line if the hub does not have it, it cannot be read, or the cache not written.
    """
    if data.task == "regression":
        raise UserError(
            f"data.task={data.task}: such corpora are not downloaded from the hub; set BENCH_DATA=DIR or data.path=DIR"
        )
    dataset = load(data)
    sound = sound_sentences(dataset, data) if data.task == "tagging" else sound_texts(dataset, data)
    with folder_atomically(cache_folder(data)) as folder:
        for split in dataset.splits:
            sound.write(split, folder / f"{split}.parquet")
        found = {"revision": dataset.revision, "label_names": sound.names, "left_out": sound.left_out}
        source = {"name": data.name, **_request(data), **found}
        (folder / "source.json").write_text(json.dumps(source, indent=1) + "\n")


def _request(data: DataConfig) -> dict[str, object]:
    """What decides a download's content."""
    keys = ("hub_id", "hub_config", "hub_splits", "text_column", "label_column", "text_start_column", "labels")
    return {key: getattr(data, key) for key in keys}
