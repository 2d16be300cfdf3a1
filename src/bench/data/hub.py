"""Corpora from the Hugging Face hub, through the stock `datasets` client, kept in the cache in the mirror layout.

`HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HOME` and the proxy variables keep the meaning that the client gives them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bench.config import DataConfig
from bench.data.labels import class_indices, class_names
from bench.data.tables import SPLIT_NAMES, Rows, rows_of
from bench.errors import UserError, did_you_mean
from bench.files import cache_root, folder_atomically

PROBE_SECONDS = 1.5  # how long an unreachable hub may keep a person waiting


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
        raise UserError(f"{folder} is damaged: remove it, then run {_fetch_command(data)}") from None
    if data.hub_id is not None and wanted != _request(data):
        raise UserError(f"{folder} holds another download ({source['hub_id']}): remove it or choose another data.name")
    return source


def why_unreachable(data: DataConfig) -> str | None:
    """Why the hub cannot be asked now, in a few words, within two seconds even where names do not resolve."""
    if _is_set("HF_HUB_OFFLINE") or _is_set("HF_DATASETS_OFFLINE"):
        return None if _in_client_cache(data) else "HF_HUB_OFFLINE is set"
    reasons = ["no answer in time"]

    def probe() -> None:
        reasons.append(_probe(endpoint()))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 0.1)
    return reasons[-1] or None


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def download(data: DataConfig) -> None:
    """Download a corpus and keep it in `cache_folder(data)`, with the commit it came from.

    Raises: `UserError` in one line if the hub does not have it, it cannot be read, or the cache not written.
    """
    revision, tables, hub_names = _load(data)
    agreed = _agreed_names(data, hub_names)
    rows = {
        split: rows_of(table, f"hub {data.hub_id}, {split} split", data.text_column, data.label_column)
        for split, table in tables.items()
    }
    names = class_names(rows["train"], agreed)
    with folder_atomically(cache_folder(data)) as folder:
        for split, part in rows.items():
            labels = class_indices(part, names, declared=agreed is not None)
            _write_split(folder / f"{split}.parquet", split, part, labels)
        source = {"name": data.name, **_request(data), "revision": revision, "label_names": names}
        (folder / "source.json").write_text(json.dumps(source, indent=1) + "\n")


def _load(data: DataConfig) -> tuple[str | None, dict[str, pa.Table], list[str] | None]:
    """The commit, each split's table, and the label names that the hub declares."""
    from datasets import disable_progress_bars, load_dataset
    from huggingface_hub import HfApi, constants

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        revision = data.hub_revision
        if not constants.HF_HUB_OFFLINE:
            revision = HfApi().dataset_info(str(data.hub_id), revision=revision, timeout=10).sha
        loaded = load_dataset(data.hub_id, data.hub_config, revision=revision)
        splits = _choose_splits(data, list(loaded))
        tables = {ours: loaded[theirs].with_format("arrow")[:] for ours, theirs in splits.items()}
    except UserError:
        raise
    except Exception as error:
        raise UserError(_describe(data, error)) from None
    feature = loaded[splits["train"]].features.get(data.label_column)
    return revision or _commit_of(loaded[splits["train"]].info), tables, getattr(feature, "names", None)


def _choose_splits(data: DataConfig, present: Sequence[str]) -> dict[str, str]:
    """Our split names and the hub's: as `data.hub_splits` says, else by the usual names."""
    if data.hub_splits is None:
        chosen = {ours: name for ours, names in SPLIT_NAMES.items() for name in names[::-1] if name in present}
    else:
        chosen = data.hub_splits
    for ours, theirs in {"train": "train", **chosen}.items():
        if ours not in SPLIT_NAMES:
            raise UserError(f"data.hub_splits: unknown split '{ours}': {did_you_mean(ours, SPLIT_NAMES)}")
        if theirs not in present or "train" not in chosen:
            raise UserError(
                f"hub {data.hub_id} has no split '{theirs}' (data.hub_splits): {did_you_mean(theirs, present)}"
            )
    return {ours: chosen[ours] for ours in SPLIT_NAMES if ours in chosen}


def _agreed_names(data: DataConfig, hub_names: list[str] | None) -> list[str] | None:
    """The class names in the hub's order of integers; they may be declared here, there, or in both alike."""
    if hub_names is None or data.labels is None:
        return data.labels or hub_names
    if hub_names != data.labels:
        raise UserError(
            f"hub {data.hub_id} has the classes {hub_names}, data.labels says {data.labels}: mend data.labels"
        )
    return hub_names


def _write_split(path: Path, split: str, rows: Rows, labels: npt.NDArray[np.int64]) -> None:
    ids = rows.ids if rows.ids is not None else pa.array([f"{split}-{row}" for row in range(len(labels))])
    table = pa.table({"text": rows.texts, "label": labels, "id": ids})
    pq.write_table(table, path, compression="zstd")


def _request(data: DataConfig) -> dict[str, object]:
    """What decides a download's content."""
    keys = ("hub_id", "hub_config", "hub_splits", "text_column", "label_column", "labels")
    return {key: getattr(data, key) for key in keys}


def _probe(address: str) -> str:
    """An empty text if the address answers in any way that is not a proxy's refusal, else the reason."""
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "bench"})
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}" if error.code in (407, 502, 503, 504) else ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return str(getattr(reason, "strerror", None) or reason).splitlines()[0]


def _describe(data: DataConfig, error: Exception) -> str:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return f"hub {data.hub_id} has no revision {data.hub_revision}: set data.hub_revision=null for the newest one"
    if isinstance(error, RepositoryNotFoundError):
        return f"{endpoint()} has no dataset '{data.hub_id}' that is open to you: check data.hub_id or log in"
    reason = " ".join(str(error).split())[:200] or "no reason given"
    return f"download of {data.hub_id} failed ({type(error).__name__}: {reason}): run {_fetch_command(data)} again"


def _commit_of(info: Any) -> str | None:
    """The commit in the addresses of the files that an offline client found in its own cache."""
    for address in info.download_checksums or ():
        _, at, rest = str(address).partition("@")
        if at:
            return rest.partition("/")[0]
    return None


def _in_client_cache(data: DataConfig) -> bool:
    """Whether the hub's own client has ever downloaded this dataset here."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or caches).expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return (hub / f"datasets--{str(data.hub_id).replace('/', '--')}").is_dir()


def _fetch_command(data: DataConfig) -> str:
    return f"'python -m bench fetch data={data.name}'"


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
