"""What a corpus is, remembered from when its files were last read: whoever only needs to know that need not read them.

Beside the files, the answer depends on the keys that say how they are read, and on the sources that read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import remembered
from bench.config import DataConfig
from bench.data.duplicates import Duplicates

_HOW_IT_IS_READ = (
    "name", "task", "probe", "length", "test_length", "size", "probe_seed", "path", "mirror", "package", "hub_id",
    "hub_config", "hub_revision", "hub_splits", "text_column", "label_column", "text_start_column", "labels",
    "deduplicate",
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is remembered of a corpus; see `bench.data.sources.Corpus`. sizes: texts per split."""

    label_names: tuple[str, ...]
    fingerprint: str
    sizes: dict[str, int]
    duplicates: Duplicates
    ids_fingerprint: str


class Memory:
    """What is remembered of the corpus in these files, as they are now."""

    def __init__(self, data: DataConfig, files: Sequence[Path]) -> None:
        """Look at the files. files: none where nothing is to be remembered."""
        sources = remembered.sources_digest(Path(__file__).parent)
        self._memory = remembered.Memory([sources, [getattr(data, name) for name in _HOW_IT_IS_READ]], files)

    def recall(self) -> Known | None:
        """The corpus, if these very files have been read before."""
        tree = self._memory.recall()
        try:
            return None if tree is None else _known(dict(tree))
        except (KeyError, TypeError):
            return None

    def keep(self, known: Known) -> None:
        """Remember; a folder that cannot be written to only costs time."""
        self._memory.keep(asdict(known))

    def forget(self) -> None:
        """The files hold something else after all."""
        self._memory.forget()


def _known(tree: dict[str, object]) -> Known:
    names, sizes, duplicates = tree["label_names"], tree["sizes"], tree["duplicates"]
    if not isinstance(names, list) or not isinstance(sizes, dict) or not isinstance(duplicates, dict):
        raise TypeError("no memory of a corpus")
    known = Duplicates(**duplicates)
    return Known(tuple(names), str(tree["fingerprint"]), sizes, known, str(tree["ids_fingerprint"]))
