"""Columns of all records as plain lists agree with the table, whatever state the index is in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bench.runs.assemble import record_without_fit
from bench.runs.folders import RECORD, run_folders
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps.status.state import recorded
from tests.conftest import Study
from tests.test_sweeper import plan_of


@pytest.fixture
def store(study: Study) -> Store:
    return Store(study.results)


@pytest.fixture
def record(study: Study) -> RunRecord:
    member = plan_of(study, "seed=0").members[0]
    return record_without_fit(member, datetime.now(UTC), {"status": Status.FINISHED, "wall_seconds": 1.0})


def add(store: Store, record: RunRecord, numbers: range) -> None:
    """Further runs, their ids as numbers and their time as long."""
    for number in numbers:
        made = replace(record, run_id=f"{number:012x}", wall_seconds=float(number))
        folder = store.folder(made.run_id, made.execution_id)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(made.to_json())


def plainly(store: Store) -> dict[object, object]:
    columns = recorded(store)
    return dict(zip(columns["run_id"], columns["wall_seconds"], strict=True))


def as_table(store: Store) -> dict[object, object]:
    table = store.table()
    return dict(zip(table["run_id"], table["wall_seconds"], strict=True))


def test_plain_columns_agree_with_the_table(store: Store, record: RunRecord) -> None:
    add(store, record, range(5))
    assert plainly(store) == {f"{number:012x}": float(number) for number in range(5)}
    assert as_table(store) == plainly(store)
    add(store, record, range(5, 8))
    shutil.rmtree(store.runs / f"{2:012x}")
    changed = store.folder(f"{3:012x}", record.execution_id) / RECORD
    changed.write_text(json.dumps(json.loads(changed.read_text()) | {"wall_seconds": 33.5}))
    expected = {f"{number:012x}": float(number) for number in (0, 1, 3, 4, 5, 6, 7)} | {f"{3:012x}": 33.5}
    assert plainly(store) == expected
    assert as_table(store) == plainly(store) == expected


def test_the_index_is_written_again_only_for_many_records(store: Store, record: RunRecord) -> None:
    path = store.results / "index.parquet"
    add(store, record, range(150))
    assert len(plainly(store)) == 150
    assert not path.exists()
    add(store, record, range(150, 250))
    assert len(plainly(store)) == 250
    written = path.stat().st_mtime_ns
    add(store, record, range(250, 260))
    assert len(plainly(store)) == 260
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:100])
    assert len(plainly(store)) == 260
    assert len(as_table(store)) == 260


def test_an_empty_folder_has_empty_columns(store: Store) -> None:
    assert run_folders(store.runs) == {}
    assert set(map(len, recorded(store).values())) == {0}
