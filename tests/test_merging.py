"""Folders of several machines merge: nothing is lost, nothing is averaged that contradicts itself."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.analysis.merging import without_conflicts
from bench.runs.folders import RECORD
from bench.runs.record import SCHEMA_VERSION, RunRecord
from bench.runs.store import CURVE, Store
from tests.conftest import Study
from tests.test_record import a_record


def merged(into: Path, *others: Path) -> Store:
    """One folder's runs copied into another's, as `cp -r` does."""
    for other in others:
        shutil.copytree(other, into, dirs_exist_ok=True)
    return Store(into)


def together(*folders: Path) -> pd.DataFrame:
    return pd.concat([bench.records(folder) for folder in folders], ignore_index=True)


def ids(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table.run_id, table.execution_id, strict=True))


def a_run(run_id: str, execution_id: str, **fields: object) -> RunRecord:
    config = {"model.cell": "gru", "training.epochs": 3, "hardware.threads": 1}
    changes = {key: fields.pop(key) for key in list(fields) if "." in key}
    return a_record(run_id=run_id, execution_id=execution_id, config={**config, **changes}, **fields)


def two_machines(tmp_path: Path, first: list[RunRecord], second: list[RunRecord]) -> tuple[Path, Path]:
    for name, records in (("one", first), ("two", second)):
        for record in records:
            Store(tmp_path / name).write(record)
    return tmp_path / "one", tmp_path / "two"


def test_two_machines_executions_of_one_run_stand_side_by_side(study: Study) -> None:
    other = study.folder / "other"
    here = bench.run(study.overrides())
    there = bench.run(study.overrides(f"results={other}"))
    lstm = bench.run(study.overrides("model=lstm", f"results={other}"))
    assert here.run_id == there.run_id != lstm.run_id
    assert len(bench.records(study.results)) == 1  # an index is there, and is brought up to date
    both = [(record.run_id, record.execution_id) for record in (here, there, lstm)]
    assert ids(together(study.results, other)) == both
    store = merged(study.results, other)
    table = store.table()
    assert ids(table) == both
    assert without_conflicts(table)[0].equals(table)
    assert without_conflicts(table)[1] == []
    assert [record.execution_id for record in store.executions(here.run_id)] == [execution for _, execution in both[:2]]
    assert store.finished(here.run_id) == here
    assert (store.folder(there.run_id, there.execution_id) / CURVE).is_file()


def test_the_cell_is_part_of_what_a_run_is(study: Study) -> None:
    runs = [bench.run(study.overrides(f"model={cell}", "training.epochs=1")) for cell in ("rnn", "gru", "lstm")]
    assert len({run.run_id for run in runs}) == 3
    assert len({run.pair_key for run in runs}) == 1


def test_one_execution_in_both_folders_is_one_row(tmp_path: Path) -> None:
    shared, own = a_run("r1", "e1", test_accuracy=0.5), a_run("r2", "e1", test_accuracy=0.6)
    one, two = two_machines(tmp_path, [shared], [shared, own])
    table = together(one, two)
    assert len(table) == 3
    kept, reasons = without_conflicts(table)
    assert (ids(kept), reasons) == ([("r1", "e1"), ("r2", "e1")], [])
    assert ids(merged(one, two).table()) == ids(kept)


def test_two_records_of_one_name_and_other_contents_are_both_set_aside(tmp_path: Path) -> None:
    one, two = two_machines(
        tmp_path,
        [a_run("r1", "e1", test_accuracy=0.5), a_run("r2", "e1", test_accuracy=0.6)],
        [a_run("r1", "e1", test_accuracy=0.9, test_log_loss=0.3), a_run("r1", "e2", test_accuracy=0.5)],
    )
    kept, reasons = without_conflicts(together(one, two))
    assert ids(kept) == [("r1", "e2"), ("r2", "e1")]
    assert reasons == [
        "run r1, execution e1: 2 records of this name differ in test_accuracy (0.5, 0.9) and 1 more column; "
        "all set aside: remove the ones that were edited or damaged"
    ]


def test_a_copy_beside_a_contradiction_does_not_vote(tmp_path: Path) -> None:
    true, edited = a_run("r1", "e1", test_accuracy=0.5), a_run("r1", "e1", test_accuracy=0.9)
    one, two = two_machines(tmp_path, [true], [edited])
    kept, reasons = without_conflicts(together(one, one, two))
    assert kept.empty
    assert "3 records of this name differ in test_accuracy (0.5, 0.9)" in reasons[0]


def test_finished_executions_of_one_run_with_other_settings_are_set_aside(tmp_path: Path) -> None:
    one, two = two_machines(
        tmp_path,
        [a_run("r1", "e1"), a_run("r2", "e1")],
        [
            a_run("r1", "e2", **{"training.epochs": 30}),
            a_run("r2", "e2", **{"hardware.threads": 8, "data.path": "~/b"}),
        ],
    )
    kept, reasons = without_conflicts(merged(one, two).table())
    assert ids(kept) == [("r2", "e1"), ("r2", "e2")], "threads and paths are no part of what a run is"
    assert reasons == [
        "run r1: its 2 finished executions differ in training.epochs (3, 30), and one id stands for one configuration; "
        "all set aside: remove the ones that were edited"
    ]


@pytest.mark.parametrize("field", ["code_version", "data_fingerprint", "hidden_size_resolved", "seed"])
def test_what_the_id_is_the_hash_of_may_not_differ_between_its_executions(tmp_path: Path, field: str) -> None:
    values = (1, 2) if field in ("seed", "hidden_size_resolved") else ("a", "b")
    one, two = two_machines(tmp_path, *([a_run("r1", f"e{value}", **{field: value})] for value in values))
    kept, reasons = without_conflicts(together(one, two))
    assert kept.empty
    assert f"differ in {field} ({values[0]}, {values[1]})" in reasons[0]


def test_a_failed_execution_that_knows_less_is_no_contradiction(tmp_path: Path) -> None:
    one, two = two_machines(
        tmp_path,
        [a_run("r1", "e1", status="failed", error_type="OSError")],
        [a_run("r1", "e2", data_fingerprint="abc", hidden_size_resolved=12)],
    )
    kept, reasons = without_conflicts(together(one, two))
    assert (len(kept), reasons) == (2, [])


def test_damaged_half_written_and_newer_records_are_named_and_the_rest_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = two_machines(
        tmp_path, [a_run("r1", "e1")], [a_run("r1", "e2"), a_run("r2", "e1"), a_run("r3", "e1"), a_run("r4", "e1")]
    )
    damaged, newer, half = (Store(two).folder(run, "e1") / RECORD for run in ("r2", "r3", "r4"))
    damaged.write_text(damaged.read_text()[:100])
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema_version": SCHEMA_VERSION + 1}))
    half.unlink()
    (half.parent / CURVE).write_bytes(b"")
    copied = Store(two).folder("r5", "e9") / RECORD
    copied.parent.mkdir(parents=True)
    shutil.copy(Store(two).folder("r1", "e2") / RECORD, copied)
    table = merged(one, two).table()
    assert ids(table) == [("r1", "e1"), ("r1", "e2")]
    for path, reason in (
        (damaged, "not a run record"), (newer, f"newer than {SCHEMA_VERSION}"), (half, "cut off"),
        (copied, "is the record of r1/e2, copied to another folder"),
    ):  # fmt: skip
        moved = str(one / path.relative_to(two))
        (line,) = [message for message in caplog.messages if moved in message]
        assert reason in line


def test_an_index_copied_from_another_machine_misleads_nobody(tmp_path: Path) -> None:
    one, two = two_machines(tmp_path, [a_run("r1", "e1")], [a_run("r2", "e1", test_accuracy=0.7)])
    assert len(bench.records(one)) == len(bench.records(two)) == 1
    store = merged(one, two)  # the other's index.parquet now lies over ours
    assert ids(store.table()) == [("r1", "e1"), ("r2", "e1")]


def test_no_records_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    kept, reasons = without_conflicts(bench.records(tmp_path / "empty"))
    assert (len(kept), reasons) == (0, [])


def test_ten_thousand_rows_take_under_half_a_second(tmp_path: Path) -> None:
    Store(tmp_path).write(a_run("r", "e", test_accuracy=0.5, test_correct="A" * 700))
    row = bench.records(tmp_path)
    half = row.loc[row.index.repeat(5000)].reset_index(drop=True)
    half["run_id"] = pd.array([f"r{number}" for number in range(5000)], dtype=row.run_id.dtype)
    edited = half.assign(test_accuracy=0.75)
    for other, left, lines in ((half, 5000, 0), (edited, 0, 5000)):
        table = pd.concat([half, other], ignore_index=True)
        seconds = []
        for _ in range(3):  # the best of three: others use this machine too
            began = time.process_time()
            kept, reasons = without_conflicts(table)
            seconds.append(time.process_time() - began)
            assert (len(kept), len(reasons)) == (left, lines)
        assert min(seconds) < 0.5, seconds
