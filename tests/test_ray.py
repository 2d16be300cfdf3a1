"""Ray: runs on a real cluster of two nodes, one of which is killed in the middle. Real processes throughout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bench.errors import UserError
from bench.runs.lease import holder_of
from bench.sweeps.launchers.ray_launcher import RayLauncher
from tests.conftest import ROOT, Study, records_in

pytest.importorskip("ray", reason="Ray is not installed: pip install 'recurrent-bench[ray]'")

ENDLESS = ("training.epochs=100000", "training.patience=null")
PATIENCE_SECONDS = 300.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.05)


def runs_below(process: int) -> list[psutil.Process]:
    """The processes of runs that a node has started."""
    try:
        return [p for p in psutil.Process(process).children(recursive=True) if p.cmdline()[1:3] == ["-m", "bench"]]
    except psutil.Error:  # some process has just ended
        return []


def is_over(process: psutil.Process) -> bool:
    """Also where nobody has asked yet how it ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class TwoNodes:
    """See `tests/ray_cluster.py`. folder: of what Ray keeps."""

    folder: Path
    address: str = ""
    raylets: list[int] = field(default_factory=list)

    def start(self) -> None:
        reading, writing = os.pipe()
        self.answers = os.fdopen(reading, encoding="utf-8")
        command = f'exec 3>&{writing}; exec "{sys.executable}" "{ROOT / "tests" / "ray_cluster.py"}"'
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", command], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, pass_fds=[writing],
                env={**os.environ, "RAY_TMPDIR": str(self.folder)}, start_new_session=True,
            )  # fmt: skip
        os.close(writing)
        self.hear()

    def hear(self) -> None:
        line = self.answers.readline()
        assert line, (self.folder / "log").read_text()
        answer = json.loads(line)
        self.address, self.raylets = answer["address"], answer["raylets"]

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)
        self.hear()

    def end(self) -> None:
        left = psutil.Process(self.process.pid).children(recursive=True)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        for process in left:
            if process.is_running():
                process.kill()

    @property
    def runs(self) -> list[psutil.Process]:
        return [run for raylet in self.raylets for run in runs_below(raylet)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the names of sockets may have about 100 characters
    cluster = TwoNodes(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


class Sweep:
    """A sweep on Ray, in a process of its own that prints to a file."""

    def __init__(self, study: Study, address: str | None, *arguments: str, results: str | None = None) -> None:
        typed = [*study.overrides(f"results={results or study.results}", *arguments), "hydra/launcher=ray"]
        typed += [f"hydra.launcher.address={address}"] if address else []
        self.output = Path(tempfile.mkstemp(dir=study.folder, suffix=".log")[1])
        with self.output.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "bench", "-m", *typed], cwd=study.folder, stdout=log, stderr=log,
                env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.output.read_text()

    def end(self) -> int:
        return self.process.wait(timeout=PATIENCE_SECONDS)


@pytest.fixture
def sweeps() -> Iterator[list[Sweep]]:
    """Those that a test puts here are over when it is."""
    started: list[Sweep] = []
    yield started
    for sweep in started:
        if sweep.process.poll() is None:
            sweep.process.terminate()
            sweep.process.wait(timeout=60)


def test_ray_and_the_pool_leave_the_same_records(study: Study, nodes: TwoNodes) -> None:
    grid = ("model=gru,lstm", "seed=0,1", "hardware.threads=null")
    on_ray = Sweep(study, nodes.address, *grid, results="relative/on ray")
    assert on_ray.end() == 0, on_ray.text
    assert on_ray.text.count(": finished, ") == 4
    pooled = study.command("-m", *study.overrides(*grid, "hydra.launcher.workers=2"))
    assert pooled.returncode == 0, pooled.stderr
    of_ray, of_pool = (
        {
            record.run_id: (record.status, record.test_confusion, record.test_accuracy, record.threads, record.steps)
            for record in records_in(folder)
        }
        for folder in (study.folder / "relative" / "on ray", study.results)
    )
    assert len(of_ray) == 4
    assert of_ray == of_pool


def test_two_sweeps_share_the_work(study: Study, nodes: TwoNodes, sweeps: list[Sweep]) -> None:
    sweeps += [Sweep(study, nodes.address, "seed=range(3)", "sweep.name=shared") for _ in range(2)]
    assert [sweep.end() for sweep in sweeps] == [0, 0], "\n".join(sweep.text for sweep in sweeps)
    made = study.records()
    assert [record.status for record in made] == ["finished"] * 3
    assert len({record.run_id for record in made}) == 3


def test_failed_and_killed_runs_are_records_and_the_sweep_goes_on(
    study: Study, nodes: TwoNodes, sweeps: list[Sweep]
) -> None:
    rates = ("training.learning_rate=1e38,0.02", "training.gradient_clip=null")
    sweep = Sweep(study, nodes.address, *rates, "training.epochs=100000,3", "training.patience=null")
    sweeps.append(sweep)
    wait_until(lambda: len(study.records()) == 3 and len(nodes.runs) == 1, "three of four to end")
    (endless,) = nodes.runs
    inherited = endless.environ()
    assert inherited["CUDA_VISIBLE_DEVICES"] == ""  # what has not asked for a GPU sees none
    assert inherited["BENCH_CACHE"] == os.environ["BENCH_CACHE"]  # the sweep's, not that of the node
    endless.kill()
    assert sweep.end() == 1, sweep.text
    assert sorted(record.status for record in study.records()) == ["diverged", "diverged", "failed", "finished"]
    (killed,) = [record for record in study.records() if record.status == "failed"]
    assert (killed.error_type, killed.config["training.epochs"]) == ("Killed", 100000)


def test_ctrl_c_ends_runs_with_records_and_leaves_nothing_running(
    study: Study, nodes: TwoNodes, sweeps: list[Sweep]
) -> None:
    sweep = Sweep(study, nodes.address, "seed=range(4)", "hydra.launcher.gpus_per_run=1", *ENDLESS)
    sweeps.append(sweep)
    wait_until(lambda: "epoch 2/" in "".join(p.read_text() for p in study.results.glob("sweeps/*/logs/*")), "an epoch")
    wait_until(lambda: len(nodes.runs) == 2, "two runs")
    running = nodes.runs
    assert {run.environ()["CUDA_VISIBLE_DEVICES"] for run in running} == {"0", "1"}
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.end() == 130, sweep.text
    assert all(map(is_over, running))
    assert [record.status for record in study.records()] == ["interrupted", "interrupted"]
    assert sweep.text.count("not run") == 2
    assert nodes.runs == []


def test_one_run_may_take_several_processes(study: Study, nodes: TwoNodes) -> None:
    ddp = ("hardware=ddp", "hardware.accelerator=cpu", "hardware.threads=null", "training.epochs=1")
    sweep = Sweep(study, nodes.address, *ddp)
    assert sweep.end() == 0, sweep.text
    (record,) = study.records()
    assert (record.status, record.devices, record.threads) == ("finished", 2, 1)


def test_a_killed_node_loses_no_run(study: Study, nodes: TwoNodes, sweeps: list[Sweep]) -> None:
    sweep = Sweep(study, nodes.address, "seed=0,1", "training.epochs=60", "training.patience=null")
    sweeps.append(sweep)
    runs = study.results / "runs"
    _, doomed = nodes.raylets

    def epoch_of(run: psutil.Process) -> int:
        held = [holder for folder in runs.glob("*") if (holder := holder_of(folder)) and holder.process == run.pid]
        return held[0].progress.epoch if held and held[0].progress else 0

    wait_until(lambda: any(epoch_of(run) > 2 for run in runs_below(doomed)), "the second node to train")
    lost = runs_below(doomed)
    try:
        nodes.tell("kill")
        wait_until(lambda: all(map(is_over, lost)), "the runs of the dead node to end")
        assert not study.records()
        assert sweep.end() == 0, sweep.text
    finally:
        nodes.tell("add")
    assert "its Ray worker or node was lost (NodeDiedError); retry 1 of 3" in sweep.text
    assert "state-dump" not in sweep.text
    finished = {record.run_id for record in study.records() if record.status == "finished"}
    assert len(finished) == 2
    assert "goes on after epoch" in "".join(path.read_text() for path in study.results.glob("sweeps/*/logs/*.log"))


def test_without_an_address_ray_is_started_here_and_shut_down(study: Study) -> None:
    sweep = Sweep(study, None, "training.epochs=1")
    seen: list[psutil.Process] = []
    while sweep.process.poll() is None:
        seen += [p for p in psutil.Process(sweep.process.pid).children(recursive=True) if p not in seen]
        time.sleep(0.1)
    assert sweep.end() == 0, sweep.text
    assert [record.status for record in study.records()] == ["finished"]
    assert len(seen) > 3
    wait_until(lambda: all(map(is_over, seen)), "Ray to have ended")
    assert "WARNING" not in sweep.text


# -- refused in one line -------------------------------------------------------------------------------------------


def test_nodes_that_cannot_carry_out_runs_are_named_and_no_run_is_blamed(study: Study, nodes: TwoNodes) -> None:
    code = f"""
from dataclasses import replace
from pathlib import Path
from bench.runs.store import Store
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.launchers.ray_launcher import RayLauncher
from tests.conftest import Study
from tests.test_sweeper import plan_of
study = Study(Path({str(study.folder)!r}))
store = Store(study.results)
store.prepare()
members = [replace(member, code_version="another") for member in plan_of(study, "seed=0,1").members]
try:
    RayLauncher({nodes.address!r}).run(Queue(members, store, print, print), study.folder / "logs")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    )  # fmt: skip
    last = done.stdout.splitlines()[-1]
    assert last.startswith("UserError hydra/launcher=ray: node 127.0.0.1 has another version"), (
        done.stdout + done.stderr
    )
    assert not list(study.results.glob("runs/*"))


def test_an_address_where_no_cluster_is_is_refused_in_one_line(study: Study) -> None:
    typed = study.overrides("seed=0,1")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"):
        answer = study.command("-m", *typed, "hydra/launcher=ray", f"hydra.launcher.address={address}")
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert line.startswith(f"bench: hydra.launcher.address={address}: ")
    assert not list(study.results.glob("runs/*/*"))


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python marks what cannot be imported
    with pytest.raises(UserError, match=r"type: pip install 'recurrent-bench\[ray\]'"):
        RayLauncher()


@pytest.mark.parametrize(
    "keys", [{"cpus_per_run": 0}, {"gpus_per_run": 1.5}, {"gpus_per_run": -1}, {"retries": -1}, {"timeout_seconds": 0}]
)
def test_keys_that_make_no_sense_are_refused(keys: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"hydra.launcher.{next(iter(keys))}="):
        RayLauncher(**keys)
