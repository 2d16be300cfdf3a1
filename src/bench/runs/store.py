"""Where records live: `RESULTS/runs/<run_id>/<execution_id>/`, one folder an execution.

Every file appears whole or not at all, and `record.json` last: a folder that holds one is complete, and never changes
again. Folders of several machines therefore merge by copying them into one another.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError, did_you_mean
from bench.files import make_folder, write_atomically
from bench.runs import index
from bench.runs.folders import RECORD, RunFolder, run_folder, run_folders
from bench.runs.record import RunRecord, Status

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

CURVE = "curve.parquet"  # a row per evaluation and per N steps
PREDICTIONS = "predictions.parquet"  # a row per text of the evaluated split
WEIGHTS = "weights.safetensors"  # of the best epoch
WEIGHTS_LAST = "weights_last.safetensors"  # of the last epoch, with keep=all
ENDED = (Status.FINISHED, Status.DIVERGED)  # came to an end of its own: no other execution goes on from there

_BESIDE_A_RECORD = (CURVE, PREDICTIONS, WEIGHTS, WEIGHTS_LAST)

_log = logging.getLogger(__name__)

Writer = Callable[[Path], object]


def new_execution_id(started_at: datetime) -> str:
    """A name for one execution that sorts by its start in UTC, such as `20261121T223455-3f9a1c`.

    The first three of the last six digits are the fraction of the second, in 4,096ths; the others are random.
    """
    fraction = started_at.microsecond * 4096 // 1_000_000
    return f"{started_at.astimezone(UTC):%Y%m%dT%H%M%S}-{fraction:03x}{secrets.randbelow(4096):03x}"


class Store:
    """All runs below one results folder."""

    def __init__(self, results: str | Path) -> None:
        self.results = Path(results).expanduser()
        self.runs = self.results / "runs"

    def prepare(self) -> None:
        """Create the folders and try a write, so that a run does not fail at its end.

        Raises: `UserError` if they cannot be created or written to.
        """
        for path in (self.results, self.runs):
            if path.exists() and not path.is_dir():
                raise UserError(f"results={self.results}: {path} is a file, not a folder; choose another results=DIR")
        make_folder(self.runs)
        for path in (self.results, self.runs):
            try:
                with tempfile.TemporaryFile(dir=path, prefix=".probe.") as probe:
                    probe.write(b"1")
            except OSError as error:
                raise UserError(f"cannot write to {path}: {error.strerror}; choose another results=DIR") from None

    def folder(self, run_id: str, execution_id: str) -> Path:
        """Where the files of one execution lie."""
        return self.runs / run_id / execution_id

    def write(
        self,
        record: RunRecord,
        *,
        curve: pa.Table | None = None,
        predictions: pa.Table | None = None,
        weights: Writer | None = None,
        weights_last: Writer | None = None,
    ) -> Path:
        """Write one execution and return its folder; `record.json` comes last.

        weights, weights_last: write the weights of the best and the last epoch to the path they are given.
        Raises: `UserError` if the disk refuses, `ValueError` if the record holds a number that is not finite,
        `FileExistsError` if this execution has a record already.
        """
        text = record.to_json()
        folder = self.folder(record.run_id, record.execution_id)
        if (folder / RECORD).exists():
            raise FileExistsError(f"{folder / RECORD} exists: a record is written once")
        files: dict[str, Writer] = {
            name: _parquet_writer(table)
            for name, table in ((CURVE, curve), (PREDICTIONS, predictions))
            if table is not None
        }
        files |= {name: write for name, write in ((WEIGHTS, weights), (WEIGHTS_LAST, weights_last)) if write}
        files[RECORD] = lambda path: path.write_text(text, encoding="utf-8")
        for name, write in files.items():
            try:
                write_atomically(folder / name, write)
            except OSError as error:
                raise UserError(f"cannot write {folder / name}: {error.strerror or error}") from error
        return folder

    def read(self, run_id: str, execution_id: str) -> RunRecord:
        """The record of one execution.

        Raises: `UserError`, one line that names the file, if it is absent, damaged, or of a newer schema.
        """
        return self._load((run_id, execution_id))[0]

    def executions(self, run_id: str) -> list[RunRecord]:
        """The records of one run, first started first; damaged ones are skipped with one warning each."""
        records = []
        for key in self._recorded(run_folder(str(self.runs / run_id))):
            try:
                records.append(self._load(key)[0])
            except UserError as error:
                _log.warning("skipped %s", error)
        return sorted(records, key=lambda record: (record.started_at, record.execution_id))

    def recorded(self, run_id: str) -> set[str]:
        """The executions of a run that have a record, none of which is read."""
        return set(run_folder(str(self.runs / run_id)).recorded)

    def standing(self, run_id: str) -> RunRecord | None:
        """The record that a run stands for: its first finished execution's, else its latest one's; None without any."""
        executions = self.executions(run_id)
        finished = (record for record in executions if record.status is Status.FINISHED)
        return next(finished, executions[-1] if executions else None)

    def finished(self, run_id: str) -> RunRecord | None:
        """The first finished execution of a run, the one whose quality counts; None where there is none."""
        return next((record for record in self.executions(run_id) if record.status is Status.FINISHED), None)

    def ended(self, run_id: str) -> bool:
        """Whether any execution of a run came to an end of its own."""
        return any(record.status in ENDED for record in self.executions(run_id))

    def find(self, prefix: str) -> RunRecord:
        """The run of this id, or of the only id that starts so: its first finished execution, else its latest.

        Raises: `UserError` if no run or several match, or if the one that does holds no readable record.
        """
        known = sorted(run_folders(self.runs))
        if not known:
            raise UserError(f"no runs in {self.results}: `python -m bench` makes one, results=DIR looks elsewhere")
        matches = [prefix] if prefix in known else [name for name in known if prefix and name.startswith(prefix)]
        if not matches:
            raise UserError(f"no run '{prefix}' in {self.results}: {did_you_mean(prefix, known, most=6)}")
        if len(matches) > 1:
            shown = ", ".join(matches[:6]) + (", …" if len(matches) > 6 else "")
            raise UserError(f"'{prefix}' names {len(matches)} runs, add letters: {shown}")
        record = self.standing(matches[0])
        if record is None:
            raise UserError(f"run {matches[0]} in {self.results} holds no readable record: run it again")
        return record

    def table(self) -> pandas.DataFrame:
        """All records, one row an execution, first started first; columns as in `bench.runs.index.columns`.

        Damaged records, and those of a newer schema, are skipped with one warning each.
        Raises: `UserError` if the results folder does not exist.
        """
        if not self.results.is_dir():
            raise UserError(
                f"no results folder at {self.results}: run `python -m bench` first, or name it: results=DIR"
            )
        found = {
            key: stamp for folder in run_folders(self.runs).values() for key, stamp in self._recorded(folder).items()
        }
        return index.to_frame(index.refresh(self.results / "index.parquet", found, self.row))

    def row(self, key: index.Key) -> index.Row | None:
        """A record's row of the table; None, with a warning, where it is damaged."""
        try:
            return self._load(key)[1]
        except UserError as error:
            _log.warning("skipped %s", error)
            return None

    def _load(self, key: index.Key) -> tuple[RunRecord, index.Row]:
        """A record and its row of the table: a record that fits into no table is damaged."""
        path = self.folder(*key) / RECORD
        try:
            record = RunRecord.from_json(path.read_text(encoding="utf-8"))
            row = index.row_of(record)
        except (OSError, ValueError, TypeError, UserError) as error:
            raise UserError(f"{path}: {' '.join(str(error).split())}") from None
        if (record.run_id, record.execution_id) != key:
            raise UserError(f"{path}: is the record of {record.run_id}/{record.execution_id}, copied to another folder")
        return record, row

    def _recorded(self, folder: RunFolder) -> dict[index.Key, index.Stamp]:
        """The executions of a run that have a record; one that was cut off while it was written is warned of."""
        for name in folder.unrecorded:
            if any((Path(folder.path) / name / file).exists() for file in _BESIDE_A_RECORD):
                _log.warning("skipped %s/%s/%s: missing, still being written or cut off", folder.path, name, RECORD)
        return {(Path(folder.path).name, name): stamp for name, stamp in folder.recorded.items()}


def _parquet_writer(table: pa.Table) -> Writer:
    """A writer of one table as Parquet."""
    import pyarrow.parquet as pq

    return lambda path: pq.write_table(table, path, compression="zstd")
