"""Weights on disk, and beside them what they are of no use without: the words of the table, the names of the classes.

Both lie in one file: safetensors, whose header carries words and names as JSON text under the key `bench`, so that
they are copied and deleted together. Reading it executes nothing. Imports no torch before weights are written.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from bench.errors import UserError
from bench.runs.record import RunRecord, Status
from bench.runs.recorded import config_of
from bench.runs.store import WEIGHTS, Store

if TYPE_CHECKING:
    from torch import Tensor

LATEST = "latest"  # in the place of a run's id: the finished run that kept weights and was started last
_KEY = "bench"  # the only one: the order of several would not be the same in every process
_LONGEST_HEADER = 90_000_000  # bytes; safetensors reads no header above 100 MB


@dataclass(frozen=True)
class Learned:
    """What row and class numbers mean. words[k] has row k + 2 of the embedding table;  labels: names of the classes."""

    words: Sequence[str]
    labels: Sequence[str]


def write_weights(path: Path, weights: Mapping[str, Tensor], learned: Learned) -> None:
    """Write weights and what their numbers mean; a vocabulary too large for a header is left out,
    and rebuilt from the corpus when it is wanted."""
    from safetensors.torch import save_file

    text = json.dumps(asdict(learned), ensure_ascii=False)
    fits = len(text.encode()) <= _LONGEST_HEADER
    tensors = {name: value.contiguous() for name, value in weights.items()}
    save_file(tensors, path, metadata={_KEY: text} if fits else None)


def read_learned(path: Path) -> Learned | None:
    """What the numbers in a file of weights mean; None in one that an earlier version wrote.

    Raises: `UserError` if the file is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as opened:
            text = (opened.metadata() or {}).get(_KEY)
        tree = None if text is None else json.loads(text)
        return None if tree is None else Learned(tree["words"], tree["labels"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from None


def learned_of(record: RunRecord, path: Path) -> Learned:
    """As `read_learned`; for a file that an earlier version wrote, rebuilt from the corpus of the run.

    Raises: `UserError` if the file is damaged, or that corpus is not to be had, or another one by now.
    """
    return read_learned(path) or _from_corpus(record)


def _from_corpus(record: RunRecord) -> Learned:
    from bench.data.module import prepare  # Lightning, which nothing else here needs
    from bench.data.sources import open_corpus

    asked = f"run {record.run_id} is of a version whose weights came without vocabulary, so its corpus is needed"
    try:
        config = config_of(record)
        corpus = open_corpus(config.data)
    except UserError as error:
        raise UserError(f"{asked}: {error}") from None
    if corpus.fingerprint != record.data_fingerprint:
        raise UserError(
            f"{asked}, and that has changed: fingerprint {record.data_fingerprint} recorded, {corpus.fingerprint} "
            f"found ({corpus.origin}); run it again with force=true keep=best"
        )
    prepared = prepare(corpus, config.data, config.seed)
    return Learned(prepared.vocabulary.words, corpus.label_names)


def damaged(path: Path, error: Exception) -> UserError:
    """What is said of a file of weights that cannot be read."""
    return UserError(f"{path} cannot be read, {' '.join(str(error).split())}: run it again with force=true keep=best")


def find_weights(store: Store, run: str) -> tuple[RunRecord, Path]:
    """The first finished execution of a run that kept the weights of its best epoch, and where they lie.

    run: its id, the beginning of it, or `latest`.
    Raises: `UserError` if there is no such run, it has not finished, or no weights of it are left.
    """
    record = _latest(store) if run == LATEST else store.find(run)
    finished = [one for one in store.executions(record.run_id) if one.status is Status.FINISHED]
    if not finished:
        reason = f", {record.error_message}" if record.error_message else ""
        raise UserError(
            f"run {record.run_id} has not finished ({record.status}{reason}): there are no weights to use; "
            "choose another run, or type its command again"
        )
    for one in finished:
        path = store.folder(one.run_id, one.execution_id) / WEIGHTS
        if path.is_file():
            return one, path
    raise UserError(
        f"run {record.run_id} kept no weights: `python -m bench reproduce {record.run_id} keep=best{place_of(store)}` "
        "trains it again and keeps them; a sweep keeps them with keep=best"
    )


def check_labels_texts(record: RunRecord) -> None:
    """Raises: `UserError` if a run was trained for another task than to give each text one of some classes."""
    task, data = (record.config.get(key) for key in ("data.task", "data.name"))
    if task not in (None, "classification"):
        raise UserError(
            f"run {record.run_id} was trained for data.task={task} (data={data}), and predict gives texts a class: "
            "name a run of data.task=classification, such as `python -m bench` makes"
        )


def place_of(store: Store) -> str:
    """What names these results at the end of a command: nothing where they are looked for anyway."""
    return "" if store.results == Path("results") else f" results={shlex.quote(str(store.results))}"


def _latest(store: Store) -> RunRecord:
    """Execution ids sort by start."""
    for path in sorted(store.runs.glob(f"*/*/{WEIGHTS}"), key=lambda path: path.parent.name, reverse=True):
        record = store.standing(path.parent.parent.name)
        if record is not None and record.status is Status.FINISHED:
            return record
    raise UserError(f"no finished run in {store.results} kept its weights: `python -m bench` makes one that does")
