"""`hydra/launcher=pool`: one run per device, processes that need not import, and ends of every kind. Real processes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields

import psutil
import pyarrow.parquet as pq
import pytest

from bench.errors import UserError
from bench.processor import usable_cores
from bench.runs.record import RunRecord
from bench.runs.store import PREDICTIONS
from bench.sweeps.launchers.forking import IMPORTED
from bench.sweeps.launchers.pool import PoolLauncher
from bench.sweeps.launchers.processes import Child
from tests.conftest import Study
from tests.running import SECONDS, Sweep

ENDLESS = ("training.epochs=100000", "training.patience=null")
two_cores = pytest.mark.skipif(usable_cores() < 2, reason="needs two processor cores")


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.05)


@pytest.fixture
def begin(study: Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sweep]]:
    """Starts sweeps, which share this test's devices with one another and with nobody else."""
    monkeypatch.setenv("TMPDIR", str(study.folder))
    started: list[Sweep] = []

    def start(*overrides: str) -> Sweep:
        started.append(Sweep(study, *study.overrides(*overrides)))
        return started[-1]

    yield start
    for sweep in started:
        sweep.close()


def test_a_run_in_a_copy_is_the_run_of_a_bare_process(study: Study, begin: Callable[..., Sweep]) -> None:
    workers = f"hydra.launcher.workers={min(2, usable_cores())}"
    seen = {}
    for warm in ("true", "false"):
        results = study.folder / warm
        sweep = begin(
            "seed=0,1", "hardware.threads=null", f"results={results}", workers, f"++hydra.launcher.warm={warm}"
        )
        assert sweep.end() == 0, sweep.text
        for path in results.glob("runs/*/*/record.json"):
            record = RunRecord.from_json(path.read_text())
            seen[warm, record.seed] = record, pq.read_table(path.with_name(PREDICTIONS))
    assert len(seen) == 4
    for seed in (0, 1):
        (ours, predicted), (bare, expected) = seen["true", seed], seen["false", seed]
        assert predicted.equals(expected)
        measured = re.compile(
            "seconds|_p50|_p95|per_second|average|fraction|disturbed|_at|_id|bytes|curve|config|dirty_hash|commit"
        )
        same = [item.name for item in fields(RunRecord) if not measured.search(item.name)]
        assert {"kernel", "kernel_operators", "threads", "test_accuracy", "hardware_key", "arm"} <= {*same}
        assert {name: getattr(ours, name) for name in same} == {name: getattr(bare, name) for name in same}
        assert ours.run_id == bare.run_id


@two_cores
def test_runs_side_by_side_have_cores_of_their_own_and_as_many_threads(
    study: Study, begin: Callable[..., Sweep]
) -> None:
    sweep = begin("seed=0,1", "hardware.threads=null", "hydra.launcher.workers=2", *ENDLESS)
    wait_until(lambda: len(list(study.results.glob("runs/*/*/last.ckpt"))) == 2)
    first, second = (set(member.cpu_affinity()) for member in sweep.members())
    assert len(first) == len(second) == len(os.sched_getaffinity(0)) // 2
    assert not first & second
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.end() == 130
    assert {(record.status, record.threads) for record in study.records()} == {("interrupted", usable_cores() // 2)}


def test_a_sweep_that_is_killed_leaves_no_process_behind_and_its_run_a_record(
    study: Study, begin: Callable[..., Sweep]
) -> None:
    sweep = begin("seed=0,1", *ENDLESS)
    sweep.wait_for("epoch 2/100000")
    below = sweep.below()
    assert len(below) >= 2
    sweep.process.kill()
    _, alive = psutil.wait_procs(below, timeout=SECONDS)
    assert alive == []
    assert [record.status for record in study.records()] == ["interrupted"]


def test_a_sweep_goes_on_when_its_server_is_killed(study: Study, begin: Callable[..., Sweep]) -> None:
    sweep = begin("seed=0,1", "training.epochs=80", "training.patience=null")
    sweep.wait_for("epoch 2/80")
    server = sweep.server()
    server.kill()
    assert sweep.end() == 0, sweep.text
    assert not server.is_running()
    finished = [record.seed for record in study.records() if record.status == "finished"]
    assert sorted(finished) == [0, 1], sweep.text


def test_a_second_sweep_on_the_machine_waits_for_a_device_and_says_so(
    study: Study, begin: Callable[..., Sweep]
) -> None:
    first = begin("seed=0", *ENDLESS)
    first.wait_for("epoch 1/100000")
    second = begin("seed=5", f"results={study.folder / 'other'}")
    second.wait_for("waiting for a free device: 1 is in use by another sweep")
    assert second.members() == []
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 130
    assert second.end() == 0, second.text
    assert second.text.count("waiting for a free device") == 1


def test_two_sweeps_of_one_question_share_its_runs(study: Study, begin: Callable[..., Sweep]) -> None:
    sweeps = [begin("seed=range(4)", "sweep.name=shared") for _ in range(2)]
    assert [sweep.end() for sweep in sweeps] == [0, 0], sweeps[0].text + sweeps[1].text
    assert sorted((record.seed, record.status) for record in study.records()) == [
        (seed, "finished") for seed in range(4)
    ]
    assert "is being carried out already" not in sweeps[0].text + sweeps[1].text


def test_a_run_that_takes_too_long_is_ended_and_its_record_says_why(study: Study, begin: Callable[..., Sweep]) -> None:
    sweep = begin("seed=0", "hydra.launcher.timeout_seconds=1.5", *ENDLESS)
    assert sweep.end() == 1, sweep.text
    (record,) = study.records()
    assert (record.status, record.error_type) == ("failed", "TimedOut")
    assert "1.5 s" in (record.error_message or "")


def test_a_second_interruption_ends_what_does_not_listen(study: Study, begin: Callable[..., Sweep]) -> None:
    sweep = begin("seed=0,1", *ENDLESS)
    sweep.wait_for("epoch 1/100000")
    (member,) = sweep.members()
    member.suspend()
    sweep.process.send_signal(signal.SIGINT)
    sweep.wait_for("Ctrl-C again ends it at once")
    assert member.is_running()
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.end() == 130
    assert not member.is_running()
    assert [record.status for record in study.records()] == ["interrupted"]


@two_cores
def test_a_terminal_shows_how_far_each_run_has_come(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(study.folder))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    ours, its = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "bench",
        "-m",
        *study.overrides("seed=3,4,5", "hydra.launcher.workers=2", *ENDLESS),
    ]
    with subprocess.Popen(
        command, cwd=study.folder, stdout=its, stderr=its, stdin=its, start_new_session=True
    ) as sweep:
        os.close(its)
        text = _read_until(ours, r"2 running, 0 finished, 1 waiting.*seed=3.*epoch [3-9]\d*/100000 +accuracy \d")
        sweep.send_signal(signal.SIGINT)
        text = _read_until(ours, "did not finish")
        assert "interrupted" in text
    os.close(ours)


def _read_until(terminal: int, pattern: str) -> str:
    text, deadline = "", time.monotonic() + SECONDS
    while not re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text), re.DOTALL):
        assert time.monotonic() < deadline, text[-3000:]
        if select.select([terminal], [], [], 1.0)[0]:
            text += os.read(terminal, 1 << 16).decode(errors="replace")
    return text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"workers": 0}, "hydra.launcher.workers=0: should be auto, or a whole number, 1 or more"),
        ({"workers": "many"}, "hydra.launcher.workers=many: should be auto, or a whole number"),
        ({"timeout_seconds": -1}, "hydra.launcher.timeout_seconds=-1: should be a number of seconds above 0"),
        ({"warm": "yes"}, "hydra.launcher.warm=yes: should be true or false"),
    ],
)
def test_what_the_launcher_cannot_read_is_one_line(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PoolLauncher(**keys)  # type: ignore[arg-type]


def test_a_process_shares_our_terminal_and_what_it_complains_of_is_remembered(
    study: Study, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = Child.start(study.overrides("model=gruu")).wait()
    assert outcome.code == 2
    assert (outcome.said or "").startswith("unknown model 'gruu'")
    assert "bench: unknown model 'gruu'" in capfd.readouterr().err


def test_a_log_grows_and_only_the_last_process_is_listened_to(study: Study) -> None:
    log = study.folder / "logs" / "run.log"
    first, second = (Child.start(study.overrides(word), log).wait() for word in ("model=gruu", "dry_run=true"))
    assert first.said is not None
    assert (second.code, second.said) == (0, None)
    assert log.read_text().index("gruu") < log.read_text().index("would run")


def test_what_the_server_imports_is_there() -> None:
    imports = "import sys; from bench.sweeps.launchers.forking import import_everything"
    code = f"{imports}; import_everything(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {*IMPORTED, "torch", "pytorch_lightning", "bench.runs.execute"} <= {*loaded}


def test_the_sweep_itself_imports_no_torch() -> None:
    code = "import sys, bench.sweeps.sweeper, bench.sweeps.launchers.pool; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
