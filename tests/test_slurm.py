"""`hydra/launcher=slurm` on a real Slurm, which the tests start on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

import bench
from bench.runs.lease import holder_of
from bench.runs.store import PREDICTIONS, WEIGHTS
from tests.conftest import Study, records_in
from tests.slurm_cluster import Slurm, missing, running_slurm

ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=0.5")
ENDLESS = 100_000
LONG = ("training.epochs=80", "training.patience=null", "keep=best")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with running_slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    yield cluster
    cluster.cancel_all()


class Sweep:
    """A sweep on Slurm that is under way; what it prints goes to a file."""

    def __init__(self, study: Study, *arguments: str) -> None:
        self.study = study
        self.output = study.folder / "sweep.log"
        words = [sys.executable, "-u", "-m", "bench", "-m", *study.overrides(*arguments), *ON_SLURM]
        with self.output.open("w") as stream:
            self.process = subprocess.Popen(words, cwd=study.folder, stdout=stream, stderr=stream)

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 180
        while not what():
            assert self.process.poll() is None, f"the sweep has ended:\n{self.text}"
            assert time.monotonic() < deadline, f"waited in vain:\n{self.text}"
            time.sleep(0.1)

    def wait_for_training(self, runs: int = 1) -> list[psutil.Process]:
        """Until so many runs are past their second epoch; their processes."""
        logs = self.study.results.glob
        self.wait_for(lambda: sum("epoch 3/" in log.read_text() for log in logs("sweeps/*/logs/*.log")) >= runs)
        holders = [holder_of(folder) for folder in self.study.results.glob("runs/*")]
        return [psutil.Process(holder.process) for holder in holders if holder is not None]

    def end(self) -> int:
        return self.process.wait(timeout=300)


@pytest.fixture
def start(study: Study, slurm: Slurm) -> Iterator[Callable[..., Sweep]]:
    started: list[Sweep] = []

    def start(*arguments: str) -> Sweep:
        started.append(Sweep(study, *arguments))
        return started[-1]

    yield start
    for sweep in started:
        if sweep.process.poll() is None:
            sweep.process.kill()
            sweep.process.wait()


def job_of(slurm: Slurm, number: int) -> str:
    """The id of an array's element."""
    return next(job for job in slurm.jobs("running") if job.endswith(f"_{number}"))


def test_a_sweep_on_slurm_leaves_the_same_records_as_one_on_this_machine(study: Study, slurm: Slurm) -> None:
    grid = ("model=gru,lstm", "seed=0,1", "training.epochs=2")
    on_slurm = study.command("-m", *study.overrides(*grid), *ON_SLURM)
    assert on_slurm.returncode == 0, on_slurm.stdout + on_slurm.stderr
    assert ": 4 of 4 runs, output in " in on_slurm.stdout
    here = study.folder / "here"
    done = study.command("-m", *study.overrides(*grid, f"results={here}"), "hydra.launcher.workers=2")
    assert done.returncode == 0, done.stderr
    found = [
        sorted((r.run_id, r.status, r.test_accuracy, r.test_log_loss, r.threads) for r in records_in(folder))
        for folder in (study.results, here)
    ]
    assert len(found[0]) == 4
    assert found[0] == found[1]


@pytest.mark.parametrize("grace", [60, 0])
def test_a_pre_empted_run_goes_on_from_its_checkpoint_as_if_nothing_had_been(
    study: Study, slurm: Slurm, start: Callable[..., Sweep], grace: int
) -> None:
    slurm.type("scontrol", "update", "PartitionName=low", f"GraceTime={grace}")  # seconds between warning and end
    sweep = start(*LONG)
    (run,) = sweep.wait_for_training()
    run.suspend()  # however fast it is: Slurm's warning wakes it
    slurm.occupy()
    assert sweep.end() == 0, sweep.text
    stopped, finished = study.records()
    assert (stopped.status, finished.status) == ("interrupted", "finished")
    assert "SIGTERM" in (stopped.error_message or "")
    assert finished.resumed_from == stopped.execution_id
    assert (finished.resumed_epochs or 0) >= 2
    whole = study.folder / "whole"
    unbroken = bench.run(study.overrides(*LONG, f"results={whole}"))
    assert (finished.run_id, finished.test_log_loss) == (unbroken.run_id, unbroken.test_log_loss)
    folders = [folder / "runs" / record.run_id / record.execution_id
               for folder, record in ((study.results, finished), (whole, unbroken))]  # fmt: skip
    for name in (WEIGHTS, PREDICTIONS):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


def test_cancelled_and_killed_jobs_leave_records_and_the_sweep_goes_on(
    study: Study, slurm: Slurm, start: Callable[..., Sweep]
) -> None:
    sweep = start(f"training.epochs={ENDLESS},{ENDLESS + 1},2", "training.patience=null")
    runs = sweep.wait_for_training(2)
    slurm.type("scancel", job_of(slurm, 0))
    run = next(run for run in runs if f"training.epochs={ENDLESS + 1}" in run.cmdline())
    job = run.parent()
    assert job is not None
    job.kill()
    run.kill()
    assert sweep.end() == 1, sweep.text
    found = {record.config["training.epochs"]: record for record in study.records()}
    assert {epochs: record.status for epochs, record in found.items()} == {
        ENDLESS: "interrupted", ENDLESS + 1: "failed", 2: "finished"
    }  # fmt: skip
    assert "stopped by SIGTERM" in (found[ENDLESS].error_message or "")
    assert "ended as FAILED without a word" in (found[ENDLESS + 1].error_message or "")
    assert "2 of 3 did not finish" in sweep.text


def test_one_run_may_have_several_devices(study: Study, slurm: Slurm) -> None:
    typed = study.overrides("hardware=ddp", "hardware.accelerator=cpu", "hardware.devices=2")
    without_threads = [override for override in typed if not override.startswith("hardware.threads")]
    keys = ("hydra.launcher.cpus_per_run=2", "hydra.launcher.memory_gb=0.5", 'hydra.launcher.setup=["echo ready"]')
    done = study.command("-m", *without_threads, *ON_SLURM, *keys, "+hydra.launcher.additional.comment=ours")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = study.records()
    assert (record.status, record.devices, record.threads) == ("finished", 2, 1)
    assert sum(map(sum, record.test_confusion or [])) == 30
    (script,) = study.results.glob("sweeps/*/logs/slurm/*_submission.sh")
    assert {"#SBATCH --cpus-per-task=2", "#SBATCH --mem=512M", "#SBATCH --comment=ours", "echo ready"} <= set(
        script.read_text().splitlines()
    )


def test_a_stopped_sweep_leaves_no_job_behind(study: Study, slurm: Slurm, start: Callable[..., Sweep]) -> None:
    sweep = start("seed=0,1,2", f"training.epochs={ENDLESS}", "training.patience=null")
    sweep.wait_for_training(2)
    os.kill(sweep.process.pid, signal.SIGINT)
    assert sweep.end() == 130, sweep.text
    assert [record.status for record in study.records()] == ["interrupted", "interrupted"]
    assert sweep.text.count("not run") == 1
    assert slurm.jobs("pending,running") == []


def test_jobs_outlive_a_killed_sweep_and_the_next_one_repeats_nothing(
    study: Study, slurm: Slurm, start: Callable[..., Sweep]
) -> None:
    killed = start(*LONG, "seed=0,1")
    runs = killed.wait_for_training(2)
    for run in runs:
        run.suspend()
    killed.process.kill()
    killed.process.wait()
    following = start(*LONG, "seed=0,1")
    following.wait_for(lambda: "total" in following.text)
    for run in runs:
        run.resume()
    assert following.end() == 0, following.text
    assert "Slurm job" not in following.text
    assert [record.status for record in study.records()] == ["finished", "finished"]
    assert {record.resumed_from for record in study.records()} == {None}


def test_what_slurm_refuses_is_told_in_its_words(study: Study, slurm: Slurm) -> None:
    done = study.command("-m", *study.overrides("seed=0,1"), *ON_SLURM, "hydra.launcher.partition=none")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "invalid partition specified: none" in done.stderr
    relative = study.command("-m", *study.overrides("seed=0,1", "results=results"), *ON_SLURM)
    assert (relative.returncode, relative.stderr.count("\n")) == (2, 1)
    assert f"results={study.results}" in relative.stderr


def test_without_a_cluster_or_submitit_one_line_says_so(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing() is None:
        monkeypatch.setenv("SLURM_CONF", str(study.folder / "absent.conf"))
        silent = study.command("-m", *study.overrides("seed=0,1"), *ON_SLURM)
        assert (silent.returncode, silent.stderr.count("\n")) == (2, 1)
        assert "Slurm does not answer" in silent.stderr
    monkeypatch.setenv("PATH", str(study.folder))
    done = study.command("-m", *study.overrides("seed=0,1"), *ON_SLURM)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no sbatch on this machine" in done.stderr
    (study.folder / "submitit.py").write_text("raise ImportError('as where it is not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(study.folder))
    alone = study.command("-m", *study.overrides("seed=0,1"), *ON_SLURM)
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    assert "type: pip install 'recurrent-bench[slurm]'" in alone.stderr
    assert not study.results.exists()
