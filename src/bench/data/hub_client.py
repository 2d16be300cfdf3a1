"""The Hugging Face hub through its stock client, `datasets`: what it has, in pieces that fit into memory.

`HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HOME` and the proxy variables keep the meaning that the client gives them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import network
from bench.config import DataConfig
from bench.data.hub_export import Place, find
from bench.data.reading.tables import SPLIT_NAMES
from bench.errors import UserError, did_you_mean

_ROWS = 5_000  # in a piece


@dataclass(frozen=True)
class HubDataset:
    """A dataset as the client has brought it; it lies on disk.

    revision: its commit;  splits: by our names;  label_names: of texts or of words, in the order of their numbers, if
    the hub declares them.
    """

    revision: str | None
    splits: Mapping[str, Any]
    label_names: list[str] | None

    def pieces(self, split: str) -> Iterator[pa.Table]:
        """The rows of a split, some thousands at a time."""
        yield from self.splits[split].with_format("arrow").iter(batch_size=_ROWS)


@dataclass(frozen=True)
class Sound:
    """A dataset that has been read through, and can be written down.

    names: its classes;  left_out: rows of each split that are not kept;  write: writes a split, by our name, to a file.
    """

    names: Sequence[str]
    left_out: Mapping[str, int]
    write: Callable[[str, Path], None]


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def why_unreachable(data: DataConfig) -> str | None:
    """Why the hub cannot be asked now, in a few words, within two seconds even where names do not resolve."""
    if _is_set("HF_HUB_OFFLINE") or _is_set("HF_DATASETS_OFFLINE"):
        return None if _in_client_cache(data) else "HF_HUB_OFFLINE is set"
    return network.why_unreachable(endpoint())


def load(data: DataConfig) -> HubDataset:
    """Let the client download a dataset, or find it in the client's own cache.

    Where the dataset is a loading script, the hub's Parquet export is downloaded instead.
    Raises: `UserError` in one line if the hub does not have it or it cannot be read.
    """
    from datasets import disable_progress_bars, load_dataset, logging
    from huggingface_hub import constants

    if not sys.stderr.isatty():
        disable_progress_bars()
    logging.set_verbosity_error()  # what keeps people from a corpus is told in one line
    try:
        place = Place(data.hub_revision) if constants.HF_HUB_OFFLINE else find(data)
        config = data.hub_config if place.files is None else None
        loaded = load_dataset(data.hub_id, config, data_files=place.files, revision=place.revision)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_describe(data, error)) from None
    splits = {ours: loaded[theirs] for ours, theirs in _choose_splits(data, list(loaded)).items()}
    feature = splits["train"].features.get(data.label_column)
    names = getattr(getattr(feature, "feature", feature), "names", None)  # a list's are those of its entries
    return HubDataset(place.revision or _commit_of(splits["train"].info), splits, names)


def fetch_command(data: DataConfig) -> str:
    """What a person types to download a corpus ahead of time."""
    return f"'python -m bench fetch data={data.name}'"


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


def _describe(data: DataConfig, error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return f"hub {data.hub_id} has no revision {data.hub_revision}: set data.hub_revision=null for the newest one"
    if isinstance(error, RepositoryNotFoundError):
        return f"{endpoint()} has no dataset '{data.hub_id}' that is open to you: check data.hub_id or log in"
    if HF_HUB_OFFLINE:
        lacks = f"HF_HUB_OFFLINE is set, and the client's own cache does not serve {data.hub_id} as asked"
        return f"{lacks}: unset it and run {fetch_command(data)}, or set BENCH_DATA=DIR or data.path=DIR"
    reason = " ".join(str(error).split())[:200] or "no reason given"
    return f"download of {data.hub_id} failed ({type(error).__name__}: {reason}): run {fetch_command(data)} again"


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


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
