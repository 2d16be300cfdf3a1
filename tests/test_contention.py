"""Who else used the processor: seen where others did, not where we did, and only while the clock ran."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import psutil
import pytest

import bench
from bench.runs.contention import (
    FEWEST_SECONDS,
    LEAST_OTHER,
    MOST_OTHER,
    MOST_OTHER_UNSEEN,
    MOST_STEAL,
    MOST_WAIT,
    Contention,
    ContentionReading,
    is_disturbed,
)
from tests.conftest import ROOT, Study

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads wait, and has affinity")
SPIN = "import time\nend = time.monotonic() + 120\nwhile time.monotonic() < end: pass"
# Pins itself to one core, says that it is ready, works for a second of its own time, and prints what was measured.
PINNED = """
import json, os, sys, time
from dataclasses import asdict
from bench.runs.contention import Contention
os.sched_setaffinity(0, {int(sys.argv[1])})
contention = Contention().start()
end = time.process_time() + 1
while time.process_time() < end: pass
reading = contention.finish()
print(json.dumps([asdict(reading), contention.state_dict()]))
"""


@contextmanager
def strangers(count: int, *command: str) -> Iterator[None]:
    """Busy processes that are no children of ours: the shell that starts each one ends at once."""
    line = '"$@" >/dev/null 2>&1 & echo $!'
    start = ["sh", "-c", line, "sh", *command, sys.executable, "-c", SPIN]
    found = [
        psutil.Process(int(subprocess.run(start, check=True, capture_output=True, text=True).stdout))
        for _ in range(count)
    ]
    try:
        for process in found:
            while process.cpu_times().user < 0.05:  # it has begun
                time.sleep(0.01)
        yield
    finally:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def work(seconds: float) -> None:
    """Use the processor for so long, of this thread's own time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def fractions(reading: ContentionReading) -> dict[str, float | None]:
    return {name: value for name, value in asdict(reading).items() if name.endswith("fraction")}


def test_the_work_of_other_processes_is_seen() -> None:
    with strangers(1):
        contention = Contention().start()
        begun = time.monotonic()
        work(0.3)
        while time.monotonic() - begun < 0.6:
            time.sleep(0.05)
        other = contention.finish().cpu_other_fraction
    assert other is not None
    assert other > MOST_OTHER


def test_own_work_and_that_of_own_children_does_not_count_as_contention() -> None:
    cores = psutil.cpu_count() or 1
    begun, contention = time.monotonic(), Contention().start()
    subprocess.run([sys.executable, "-c", SPIN.replace("monotonic() + 120", "process_time() + 0.6").replace(
        "monotonic", "process_time")], check=True)  # fmt: skip
    reading = contention.finish()
    own = 0.6 / ((time.monotonic() - begun) * cores)
    assert reading.cpu_other_fraction is not None
    assert reading.cpu_other_fraction <= 1 - own + 0.1


def test_what_happens_between_segments_does_not_count() -> None:
    contention = Contention().start()
    work(0.2)
    contention.stop()
    first = contention.state_dict()
    work(0.5)
    assert contention.state_dict() == first
    contention.start()
    contention.stop()
    contention.stop()
    spent = contention.state_dict()
    assert first["elapsed"] <= spent["elapsed"] < first["elapsed"] + 0.5
    assert spent["own"] < first["own"] + 0.5


@LINUX
def test_a_thread_that_shares_its_core_is_seen_to_wait_and_other_cores_do_not_count() -> None:
    core = min(os.sched_getaffinity(0))
    with strangers(1, "taskset", "-c", str(core)):
        done = subprocess.run(
            [sys.executable, "-c", PINNED, str(core)], cwd=ROOT, check=True, capture_output=True, text=True
        )
    reading, spent = json.loads(done.stdout)
    assert reading["cpu_wait_fraction"] > 0.2
    assert reading["cpu_other_fraction"] > 0.2
    watched = sum(value for name, value in spent.items() if name.startswith("cpu."))
    assert watched == pytest.approx(spent["elapsed"], rel=0.2), "one core's time"


@LINUX
def test_a_thread_that_ends_takes_nothing_away() -> None:
    release = threading.Event()
    thread = threading.Thread(target=lambda: (work(0.3), release.wait()))
    thread.start()
    while psutil.Process().cpu_times().user < 0.3:
        time.sleep(0.01)
    contention = Contention().start()
    release.set()
    thread.join()
    work(0.1)
    contention.stop()
    assert contention.state_dict()["ran"] >= 0.09


def test_a_reading_holds_shares_or_nothing() -> None:
    assert set(asdict(Contention().finish()).values()) == {None}, "before the first segment nothing is known"
    contention = Contention().start()
    work(0.1)
    reading = contention.finish()
    assert json.dumps(asdict(reading), allow_nan=False)
    assert all(value is None or 0 <= value <= 1 for value in fractions(reading).values())


def test_a_checkpoint_takes_the_reading_along() -> None:
    contention, resumed = Contention().start(), Contention()
    work(0.1)
    contention.stop()
    resumed.load_state_dict(json.loads(json.dumps(contention.state_dict())))
    assert resumed.reading() == contention.reading()
    resumed.start()
    work(0.1)
    assert resumed.finish() != contention.reading()
    assert resumed.state_dict()["elapsed"] > contention.state_dict()["elapsed"] + 0.09


# -- the rule --------------------------------------------------------------------------------------------------------


def test_the_rule_is_what_the_page_says() -> None:
    def asked(steal: float | None, other: float | None, wait: float | None) -> bool | None:
        reading = ContentionReading(cpu_steal_fraction=steal, cpu_other_fraction=other, cpu_wait_fraction=wait)
        assert is_disturbed(reading, FEWEST_SECONDS / 2) is None, "too short to tell"
        return is_disturbed(reading, FEWEST_SECONDS)

    assert asked(None, None, None) is None
    assert asked(0.0, 0.0, 0.0) is False
    assert asked(MOST_STEAL, MOST_OTHER, MOST_WAIT) is False
    assert asked(MOST_STEAL + 0.001, 0.0, 0.0) is True
    assert asked(0.0, MOST_OTHER + 0.001, 0.0) is True
    assert asked(0.0, LEAST_OTHER + 0.001, MOST_WAIT + 0.001) is True
    assert asked(0.0, LEAST_OTHER, 1.0) is False, "its own threads waited for each other"
    assert asked(None, MOST_OTHER_UNSEEN, None) is False
    assert asked(None, MOST_OTHER_UNSEEN + 0.001, None) is True
    assert asked(MOST_STEAL + 0.001, None, None) is True


def test_a_run_beside_busy_processes_is_marked_and_says_so(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("training.epochs=10000", "training.patience=null", f"training.max_seconds={2 * FEWEST_SECONDS}")
    with strangers(len(psutil.cpu_times(percpu=True))):
        record = bench.run(study.overrides(*typed))
    assert record.stop_reason == "max_seconds"
    assert record.timing_disturbed is True
    assert re.search(
        r"disturbed +other (processes|virtual machines) took \d+% of the processor", capsys.readouterr().out
    )
