"""Records appear whole, are found again, and are read as one table whatever happened to some of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config import known_keys
from bench.errors import UserError
from bench.runs.folders import RECORD
from bench.runs.index import columns
from bench.runs.record import Status
from bench.runs.store import CURVE, PREDICTIONS, WEIGHTS, WEIGHTS_LAST, Store, new_execution_id
from tests.test_record import a_record

FOREVER = "lambda path: __import__('time').sleep(60)"


def test_an_execution_is_read_back_with_its_files(tmp_path):
    store = Store(tmp_path)
    record = a_record(run_id="abc", execution_id="1", test_accuracy=0.9, config={"model.cell": "gru"})
    curve, predictions = pa.table({"step": [1, 2]}), pa.table({"label": [0, 1, 1]})
    folder = store.write(
        record,
        curve=curve,
        predictions=predictions,
        weights=lambda path: path.write_bytes(b"best"),
        weights_last=lambda path: path.write_bytes(b"last"),
    )
    assert folder == tmp_path / "runs" / "abc" / "1" == store.folder("abc", "1")
    assert {path.name for path in folder.iterdir()} == {RECORD, CURVE, PREDICTIONS, WEIGHTS, WEIGHTS_LAST}
    assert store.read("abc", "1") == record
    assert pq.read_table(folder / CURVE).equals(curve)
    assert pq.read_table(folder / PREDICTIONS).equals(predictions)
    assert ((folder / WEIGHTS).read_bytes(), (folder / WEIGHTS_LAST).read_bytes()) == (b"best", b"last")


def test_a_record_is_written_once(tmp_path):
    Store(tmp_path).write(a_record(run_id="abc", execution_id="1", test_accuracy=0.9))
    with pytest.raises(FileExistsError):
        Store(tmp_path).write(a_record(run_id="abc", execution_id="1", test_accuracy=0.1))
    assert Store(tmp_path).read("abc", "1").test_accuracy == 0.9


def test_a_record_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        Store(tmp_path).write(a_record(test_accuracy=float("nan")), curve=pa.table({"step": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_an_execution_killed_while_it_is_written_is_no_execution(tmp_path, caplog):
    writer = start_writer(tmp_path, "abc", "1", f"curve=pa.table({{'step': [1]}}), weights={FOREVER}")
    folder = Store(tmp_path).folder("abc", "1")
    wait_until((folder / CURVE).exists)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not (folder / RECORD).exists()
    assert Store(tmp_path).executions("abc") == []
    assert Store(tmp_path).table().empty
    assert all(str(folder / RECORD) in message for message in caplog.messages)
    assert len(caplog.messages) == 2  # one line a reading


def test_executions_sort_by_start_and_the_first_finished_one_counts(tmp_path):
    store = Store(tmp_path)
    for hour, status in ((12, Status.FINISHED), (10, Status.FAILED), (11, Status.FINISHED)):
        started_at = datetime(2026, 11, 21, hour, tzinfo=UTC)
        identity = {"execution_id": new_execution_id(started_at), "started_at": started_at.isoformat()}
        store.write(a_record(run_id="abc", status=status, epochs_run=hour, **identity))
    assert [record.epochs_run for record in store.executions("abc")] == [10, 11, 12]
    assert store.finished("abc").epochs_run == 11
    assert store.find("a").epochs_run == 11
    assert list(store.table()["epochs_run"]) == [10, 11, 12]
    assert store.executions("unknown") == []
    assert store.finished("unknown") is None


@pytest.mark.parametrize("status", Status)
def test_no_execution_goes_on_from_a_run_that_finished_or_diverged(tmp_path, status):
    store = Store(tmp_path)
    assert not store.ended("abc")
    store.write(a_record(run_id="abc", execution_id="1", status=Status.FAILED))
    store.write(a_record(run_id="abc", execution_id="2", status=status))
    assert store.ended("abc") == (status in ("finished", "diverged"))


@given(st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), min_size=2), st.integers(-12, 14))
def test_execution_ids_sort_by_time_in_any_time_zone(times, hours):
    there = timezone(timedelta(hours=hours))
    seconds = sorted({time.replace(microsecond=0, tzinfo=UTC) for time in times})
    ids = [new_execution_id(second.astimezone(there)) for second in seconds]
    assert ids == sorted(ids)


def test_execution_ids_of_one_second_differ_and_sort_by_its_fraction():
    second = datetime(2026, 11, 21, 22, 34, 55, tzinfo=UTC)
    ids = [new_execution_id(second + timedelta(milliseconds=20 * i)) for i in range(50)]
    assert all(each.startswith("20261121T223455-") for each in ids)
    assert ids == sorted(set(ids))


def test_execution_ids_of_one_instant_differ_by_chance():
    now = datetime(2026, 11, 21, 22, 34, 55, tzinfo=UTC)
    assert len({new_execution_id(now) for _ in range(50)}) > 25  # of 4,096 endings


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path):
    store = Store(tmp_path)
    for run_id in ("abc1", "abd2", "ffff"):
        store.write(a_record(run_id=run_id))
    assert store.find("ff").run_id == store.find("ffff").run_id == "ffff"
    with pytest.raises(UserError, match="'ab' names 2 runs, add letters: abc1, abd2"):
        store.find("ab")
    with pytest.raises(UserError, match=r"no run 'fffe' in .*: did you mean 'ffff'"):
        store.find("fffe")
    with pytest.raises(UserError, match=r"no run '../runs'"):
        store.find("../runs")
    with pytest.raises(UserError, match=r"no runs in .*python -m bench"):
        Store(tmp_path / "nowhere").find("ff")


def test_the_table_has_a_column_for_every_field_and_every_key(tmp_path):
    Store(tmp_path).write(a_record(packages={"torch": "2.6"}, config={"model.cell": "gru", "training.epochs": 3}))
    table = Store(tmp_path).table()
    assert list(table.columns) == list(columns())
    of_a_plan = ("protocol.", "duel.", "sweep.claim.", "sweep.parts")
    of_a_run = {key for key in known_keys() if not key.startswith(of_a_plan)}
    assert of_a_run < set(table.columns)
    row = table.iloc[0]
    assert (row["status"], row["model.cell"], row["training.epochs"]) == ("finished", "gru", 3)
    assert row["packages"] == '{"torch": "2.6"}'


def test_column_types_do_not_depend_on_what_the_records_hold(tmp_path):
    Store(tmp_path).prepare()
    empty = Store(tmp_path).table()
    assert empty.empty
    Store(tmp_path).write(a_record(status=Status.FAILED, error_type="OSError", config={"training.epochs": 3}))
    one = Store(tmp_path).table()
    Store(tmp_path).write(a_record(run_id="other", test_accuracy=1, peak_memory_bytes=2**40, train_seconds=1.5))
    pd.testing.assert_series_equal(empty.dtypes, one.dtypes)
    pd.testing.assert_series_equal(empty.dtypes, Store(tmp_path).table().dtypes)
    assert str(empty.dtypes["test_accuracy"]) == "float64"
    assert str(empty.dtypes["peak_memory_bytes"]) == "Int64"
    assert str(empty.dtypes["model.bidirectional"]) == "boolean"


def test_keys_of_another_version_become_columns_of_their_own(tmp_path):
    Store(tmp_path).write(a_record(config={"model.gadget": 3, "model.colour": "red", "model.gone": None}))
    Store(tmp_path).write(a_record(run_id="other", config={"model.gadget": 1.5}))
    table = Store(tmp_path).table()
    assert sorted(table["model.gadget"]) == [1.5, 3]
    assert table["model.colour"].dropna().tolist() == ["red"]
    assert "model.gone" not in table


def test_a_folder_that_does_not_exist_is_an_error_and_not_an_empty_table(tmp_path):
    with pytest.raises(UserError, match=r"no results folder at .*nowhere"):
        Store(tmp_path / "nowhere").table()


def test_the_index_follows_what_is_on_disk(tmp_path):
    store = Store(tmp_path)
    store.write(a_record(run_id="a", test_accuracy=0.1))
    store.write(a_record(run_id="b", test_accuracy=0.2))
    assert list(store.table()["test_accuracy"]) == [0.1, 0.2]
    store.write(a_record(run_id="c", test_accuracy=0.3))
    assert list(store.table()["test_accuracy"]) == [0.1, 0.2, 0.3]
    (store.folder("a", "some execution_id") / RECORD).unlink()
    assert list(store.table()["test_accuracy"]) == [0.2, 0.3]
    record = store.folder("b", "some execution_id") / RECORD
    record.write_text(record.read_text().replace("0.2", "0.25"))
    assert list(store.table()["test_accuracy"]) == [0.25, 0.3]


@pytest.mark.parametrize("content", [None, b"", b"PAR1 nonsense PAR1"])
def test_the_index_can_be_lost_or_damaged(tmp_path, content):
    Store(tmp_path).write(a_record(test_accuracy=0.1))
    before = Store(tmp_path).table()
    index = tmp_path / "index.parquet"
    index.write_bytes(content) if content is not None else index.unlink()
    pd.testing.assert_frame_equal(Store(tmp_path).table(), before)
    pd.testing.assert_frame_equal(Store(tmp_path).table(), before)


def test_an_index_of_other_columns_is_rebuilt(tmp_path):
    Store(tmp_path).write(a_record(test_accuracy=0.1))
    before = Store(tmp_path).table()
    pq.write_table(pa.table({"run_id": ["x"], "execution_id": ["y"]}), tmp_path / "index.parquet")
    pd.testing.assert_frame_equal(Store(tmp_path).table(), before)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[: len(text) // 2], "not a run record"),
        (lambda text: "", "not a run record"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "newer"),
        (lambda text: text.replace('"finished"', '"vanished"'), "vanished"),
        (lambda text: text.replace('"started_at"', '"began_at"'), "started_at"),
        (lambda text: text.replace('"test_accuracy": 0.5', '"test_accuracy": "high"'), "test_accuracy is 'high'"),
        (lambda text: text.replace('"broken"', '"another"'), "copied to another folder"),
    ],
)
def test_a_damaged_record_is_skipped_with_one_line_that_names_it(tmp_path, caplog, change, reason):
    store = Store(tmp_path)
    store.write(a_record(run_id="sound"))
    store.write(a_record(run_id="broken", test_accuracy=0.5))
    path = store.folder("broken", "some execution_id") / RECORD
    path.write_text(change(path.read_text()))
    for _ in range(2):  # an index does not make it silent
        caplog.clear()
        assert list(store.table()["run_id"]) == ["sound"]
        assert len(caplog.messages) == 1
        assert str(path) in caplog.messages[0]
        assert reason in caplog.messages[0]
        assert "\n" not in caplog.messages[0]
    assert store.executions("broken") == []
    with pytest.raises(UserError, match="no readable record"):
        store.find("broken")


def test_results_of_several_machines_merge_by_copying(tmp_path):
    for machine, execution_id in (("one", "1"), ("two", "2")):
        Store(tmp_path / machine).write(a_record(run_id="abc", execution_id=execution_id))
        Store(tmp_path / machine).table()
    subprocess.run(["cp", "-r", f"{tmp_path}/one/.", f"{tmp_path}/two"], check=True)
    assert [record.execution_id for record in Store(tmp_path / "two").executions("abc")] == ["1", "2"]
    assert len(Store(tmp_path / "two").table()) == 2


def test_processes_write_while_another_reads(tmp_path, caplog):
    Store(tmp_path).prepare()
    writers = [start_writer(tmp_path, f"run{number}", "1", "", times=20) for number in range(2)]
    while any(writer.poll() is None for writer in writers):
        Store(tmp_path).table()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(Store(tmp_path).table()) == 40
    assert caplog.messages == []


def test_prepare_creates_the_folders_and_leaves_nothing_else(tmp_path):
    store = Store(tmp_path / "deep" / "results")
    store.prepare()
    store.prepare()
    assert [path.name for path in store.results.iterdir()] == ["runs"]
    assert list(store.runs.iterdir()) == []


@pytest.mark.parametrize("taken", ["results", "results/runs"])
def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, taken):
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("")
    with pytest.raises(UserError, match=f"{taken} is a file, not a folder; choose another results=DIR"):
        Store(tmp_path / "results").prepare()


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*choose another"):
        Store(tmp_path / "file" / "results").prepare()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder that even root cannot write to")
def test_a_folder_that_nobody_can_write_to_is_refused_in_one_line():
    with pytest.raises(UserError, match="cannot write to /proc/") as refusal:
        Store("/proc/self").prepare()
    assert "\n" not in str(refusal.value)


def test_a_folder_that_one_may_only_read_is_refused_by_prepare_and_still_read_by_table():
    with read_only_results() as store:
        with pytest.raises(UserError, match=r"cannot write to .*choose another results=DIR"):
            store.prepare()
        with pytest.raises(UserError, match=r"cannot write .*Permission denied"):
            store.write(a_record(run_id="another"))
        assert len(store.table()) == 1
        assert not (store.results / "index.parquet").exists()


def test_importing_the_store_imports_nothing_heavy():
    code = "import sys, bench.runs.store; print({'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def start_writer(results: Path, run_id: str, execution_id: str, files: str, times: int = 1) -> subprocess.Popen[bytes]:
    """A process of its own that writes `times` records."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import pyarrow as pa
from bench.runs.store import Store
from tests.test_record import a_record
for number in range({times}):
    record = a_record(run_id={run_id!r} + str(number) * ({times} > 1), execution_id={execution_id!r})
    Store({str(results)!r}).write(record, {files})
"""
    return subprocess.Popen([sys.executable, "-c", code])


def wait_until(happened, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextlib.contextmanager
def read_only_results() -> Iterator[Store]:
    """A results folder with one record that the person at the keyboard may read and not change."""
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "results")
        store.write(a_record())
        Path(name).chmod(0o755)
        for path in (store.results, *store.results.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)  # permissions do not bind root
        try:
            yield store
        finally:
            if is_root:
                os.seteuid(0)
            for path in (store.results, *store.results.rglob("*")):
                path.chmod(0o755)
