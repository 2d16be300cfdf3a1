"""Which files of a hub dataset are read: those of its owner, or the hub's own Parquet export of them.

`datasets` no longer runs loading scripts. The hub converts datasets to Parquet on a branch beside the owner's:
CONFIGURATION/SPLIT/0000.parquet, ... (https://huggingface.co/docs/dataset-viewer/parquet).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.config import DataConfig
from bench.errors import UserError, did_you_mean

EXPORT = "refs/convert/parquet"

_FILE = re.compile(r"(?P<config>.+)/(?P<split>\w+)/\d+\.parquet")  # a split that is there in part is `partial-train`


@dataclass(frozen=True)
class Place:
    """revision: a commit;  files: of each split, by the hub's names; None: the client finds them by itself."""

    revision: str | None
    files: Mapping[str, Sequence[str]] | None = None


def find(data: DataConfig) -> Place:
    """Ask the hub for the commit of a dataset, and for the files of the export where the dataset is a loading script.

    Raises: `UserError` if a script has no export, or the export no such configuration; the client's own errors.
    """
    place, names = _ask(data, data.hub_revision)
    if _script(data) not in names:
        exported = "README.md" not in names and any(_FILE.fullmatch(name) for name in names)
        return Place(place.revision, _files(data, names)) if exported else place
    if data.hub_revision is not None:  # of which commit the export was made is not known
        raise UserError(
            f"hub {data.hub_id} is a loading script at the revision {data.hub_revision}, and `datasets` runs none: "
            f"set data.hub_revision to a commit of its branch {EXPORT}, or to null for the newest one"
        )
    place, names = _ask_for_export(data)
    return Place(place.revision, _files(data, names))


def _ask_for_export(data: DataConfig) -> tuple[Place, list[str]]:
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return _ask(data, EXPORT)
    except RevisionNotFoundError:
        raise UserError(
            f"hub {data.hub_id} is a loading script, which `datasets` does not run, and has no branch {EXPORT}: "
            "set BENCH_DATA=DIR or data.path=DIR"
        ) from None


def _ask(data: DataConfig, revision: str | None) -> tuple[Place, list[str]]:
    """The commit that a revision stands for, and the names of its files."""
    from huggingface_hub import HfApi

    answer = HfApi().dataset_info(str(data.hub_id), revision=revision, timeout=10)
    return Place(answer.sha), [file.rfilename for file in answer.siblings or ()]


def _script(data: DataConfig) -> str:
    """What `datasets` takes for a loading script: the file with the dataset's own name."""
    return f"{str(data.hub_id).rpartition('/')[2]}.py"


def _files(data: DataConfig, names: Sequence[str]) -> dict[str, list[str]]:
    """The files of each split of the configuration that is asked for; None: of the only one."""
    found = [match for name in sorted(names) if (match := _FILE.fullmatch(name))]
    configs = sorted({match["config"] for match in found})
    config = configs[0] if data.hub_config is None and len(configs) == 1 else data.hub_config
    if config not in configs:
        lacks = "more than one configuration" if config is None else f"no configuration '{config}'"
        raise UserError(f"hub {data.hub_id} has {lacks} (data.hub_config): {did_you_mean(config or '', configs)}")
    files: dict[str, list[str]] = {}
    for match in found:
        if match["config"] == config:
            files.setdefault(match["split"], []).append(match.string)
    return files
