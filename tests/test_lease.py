"""One run is carried out by one process at a time, and the dead hold nothing. Real processes throughout."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

import bench
from bench.compose import compose
from bench.errors import BusyError
from bench.runs.claim import claim
from bench.runs.identity import resolve
from bench.runs.lease import BUSY, EXECUTION, EXPIRES_SECONDS, Lease, Progress, holder_of
from bench.runs.liveness import PARENT, is_running, process_started
from bench.runs.store import RECORD, Store
from tests.conftest import Study
from tests.test_record import a_record

ROUNDS, RACERS = 25, 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "abc"
    made.mkdir(parents=True)
    return made


def wait_until(happened: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def start_holder(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts processes that hold the run's lease until they are told to end."""
    started: list[subprocess.Popen[str]] = []

    def start(execution_id: str) -> subprocess.Popen[str]:
        code = f"""
import sys
from pathlib import Path
from bench.runs.lease import Lease
lease = Lease.acquire(Path({str(folder)!r}), {execution_id!r})
print("held", flush=True)
sys.stdin.readline()
lease.release()
"""
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def crafted(folder: Path, execution_id: str, age: float, **changes: object) -> Path:
    """A lease of another machine that was last renewed so many seconds ago."""
    path = folder / f"lease-{execution_id}.json"
    holder = {"execution_id": execution_id, "machine": "elsewhere", "process": 1, "process_started": "7",
              "since": "2026-11-22T05:00:00+00:00", "progress": None}  # fmt: skip
    path.write_text(json.dumps(holder | changes))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def race(runs: str, number: int, barrier: Barrier, results: mp.Queue[tuple[int, int, bool]]) -> None:
    """Take part in every round: all want the same run at the same moment."""
    for round_number in range(ROUNDS):
        barrier.wait(60)
        try:
            lease = Lease.acquire(Path(runs) / str(round_number), f"racer{number}")
        except BusyError:
            lease = None
        results.put((round_number, number, lease is not None))
        barrier.wait(60)
        if lease is not None:
            lease.release()


def test_of_processes_that_race_for_a_run_exactly_one_holds_it(tmp_path: Path) -> None:
    for number in range(0, ROUNDS, 2):  # in every other round, somebody who died has left a lease
        (tmp_path / str(number)).mkdir()
        crafted(tmp_path / str(number), "dead", age=EXPIRES_SECONDS + 60)
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=race, args=(str(tmp_path), n, barrier, results)) for n in range(RACERS)]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=120) for _ in range(ROUNDS * RACERS)]
    for racer in racers:
        racer.join(60)
    winners = [[number for there, number, held in outcomes if held and there == here] for here in range(ROUNDS)]
    assert [len(held) for held in winners] == [1] * ROUNDS
    assert list(tmp_path.iterdir()) == [], "nothing is left of leases that were let go"


def test_a_killed_process_holds_nothing_from_that_moment_on(folder: Path, start_holder) -> None:
    process = start_holder("one")
    holder = holder_of(folder)
    assert holder is not None
    assert (holder.execution_id, holder.process, holder.place) == ("one", process.pid, f"process {process.pid}")
    with pytest.raises(BusyError, match=f"run abc {BUSY}, since .* by process {process.pid}: wait for it"):
        Lease.acquire(folder, "two")
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: process_started(process.pid) is None)
    assert Path(f"/proc/{process.pid}").exists() or sys.platform != "linux", (
        "it is still a zombie: nobody waited for it"
    )
    assert holder_of(folder) is None
    Lease.acquire(folder, "two").release()
    assert not folder.exists(), "what the dead one left is gone too"


def test_another_process_of_the_same_number_is_not_the_holder() -> None:
    started = process_started(os.getpid())
    assert started is not None
    assert is_running(os.getpid(), started)
    assert is_running(os.getpid(), started + "1") is False


def test_another_machine_holds_a_run_until_it_has_not_renewed_for_long(folder: Path) -> None:
    crafted(folder, "theirs", age=EXPIRES_SECONDS - 20)
    holder = holder_of(folder)
    assert holder is not None
    assert holder.place == "another machine"
    with pytest.raises(BusyError, match="by another machine"):
        Lease.acquire(folder, "ours")
    crafted(folder, "theirs", age=EXPIRES_SECONDS + 5)
    assert holder_of(folder) is None
    lease = Lease.acquire(folder, "ours")
    crafted(folder, "theirs", age=0)  # the machine was cut off and comes back
    lease.release()
    assert [path.name for path in folder.iterdir()] == ["lease-theirs.json"], "what the living hold is not touched"


def test_a_lease_of_a_later_version_is_honoured_and_a_damaged_one_is_not(folder: Path) -> None:
    path = crafted(folder, "theirs", age=1, colour="red")
    assert holder_of(folder) is not None
    path.write_text(path.read_text()[:40])
    assert holder_of(folder) is None


def test_a_run_takes_over_the_lease_that_its_launcher_holds_for_it(folder: Path, start_holder) -> None:
    lease = Lease.acquire(folder, "one")
    run = start_holder("one")
    holder = holder_of(folder)
    assert holder is not None
    assert (holder.execution_id, holder.process) == ("one", run.pid)
    wait_until(lambda: not lease._thread.is_alive())  # the launcher renews what is no longer its own no more
    lease.release()
    assert holder_of(folder) == holder
    run.kill()
    run.wait()
    assert holder_of(folder) is None
    Lease.acquire(folder, "one").release()  # as when a job is put back into its queue


def test_others_see_how_far_a_run_has_come(folder: Path) -> None:
    lease = Lease.acquire(folder, "one")
    progress = Progress(epoch=2, epochs=8, step=30, steps=120, seconds_left=4.5, accuracy=0.75)
    lease.report(progress)
    wait_until(lambda: (holder := holder_of(folder)) is not None and holder.progress == progress)
    lease.release()
    assert holder_of(folder) is None


def test_a_lease_whose_folder_is_deleted_does_not_bring_it_back(folder: Path) -> None:
    lease = Lease.acquire(folder, "one")
    lease.path.unlink()
    folder.rmdir()
    lease.report(Progress(epoch=1, epochs=1, step=1, steps=1))
    wait_until(lambda: not lease._thread.is_alive())
    lease.release()
    assert not folder.exists()


def test_a_run_that_another_process_carries_out_is_refused_in_one_line(study: Study) -> None:
    options = study.overrides("training.epochs=1")
    resolved, store = resolve(compose(options)), Store(study.results)
    with claim(store, resolved.run_id):
        done = study.command(*options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"bench: run {resolved.run_id} {BUSY}, since " in done.stderr
    assert list(study.results.rglob(RECORD)) == []
    assert bench.run(options).run_id == resolved.run_id, "and may be carried out once that one has let go"


def test_what_another_process_has_finished_meanwhile_is_not_repeated(tmp_path: Path) -> None:
    store, record = Store(tmp_path), a_record(run_id="abc", execution_id="1")
    with claim(store, "abc") as claimed:
        assert claimed.finished is None
    store.write(record)
    with claim(store, "abc") as claimed:
        assert claimed.finished == record
    with claim(store, "abc", again=True) as claimed:
        assert claimed.finished is None


def test_a_launcher_names_the_execution_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setenv(EXECUTION, "20261122T050000-abcdef")
    with claim(store, "abc") as claimed:
        assert claimed.execution_id == "20261122T050000-abcdef"
    store.write(a_record(run_id="abc", execution_id="20261122T050000-abcdef"))
    with claim(store, "abc", again=True) as claimed:
        assert claimed.execution_id != "20261122T050000-abcdef"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_member_whose_sweep_died_before_it_began_does_not_begin(study: Study, monkeypatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setenv(PARENT, str(ended.pid))
    done = study.command(*study.overrides("sweep.member=true"))
    assert (done.returncode, done.stderr) == (130, "bench: interrupted\n")
    assert not study.results.exists()
