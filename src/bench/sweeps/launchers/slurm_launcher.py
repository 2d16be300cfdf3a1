"""`hydra/launcher=slurm`: runs as jobs of a Slurm cluster, in arrays, submitted through submitit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.types import HydraContext, TaskFunction

from bench.errors import UserError
from bench.sweeps.launchers import slurm
from bench.sweeps.launchers.base import Interruption, RunLauncher, checked_seconds, checked_whole, occupied
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.launchers.slurm_array import Submitted, ended, submit
from bench.sweeps.launchers.slurm_job import SlurmRun
from bench.sweeps.plan import Member

if TYPE_CHECKING:
    from omegaconf import DictConfig

_WARNING_SECONDS = 90  # before a job's time limit
_STOP_SECONDS = 60.0  # for runs that were asked to end
_STEP_SECONDS = 0.2


class SlurmLauncher(RunLauncher):
    """Job arrays. What the keys mean stands in conf/hydra/launcher/slurm.yaml."""

    __module__ = "hydra_plugins.bench"
    name = "slurm"

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        time_minutes: int = 60,
        cpus_per_run: int = 1,
        gpus_per_run: int = 0,
        memory_gb: float | None = None,
        array_parallelism: int = 100,
        requeues: int = 10,
        setup: Sequence[str] = (),
        additional: Mapping[str, object] | None = None,
        timeout_seconds: float | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        self.time_minutes = checked_whole("time_minutes", time_minutes, 1)
        self.cpus_per_run = checked_whole("cpus_per_run", cpus_per_run, 1)
        self.gpus_per_run = checked_whole("gpus_per_run", gpus_per_run, 0)
        self.array_parallelism = checked_whole("array_parallelism", array_parallelism, 1)
        self.requeues = checked_whole("requeues", requeues, 0)
        self.timeout = checked_seconds("slurm", "timeout_seconds", timeout_seconds)
        self.poll_seconds = checked_seconds("slurm", "poll_seconds", poll_seconds) or 5.0
        if memory_gb is not None and not (isinstance(memory_gb, int | float) and memory_gb > 0):
            raise UserError(f"hydra.launcher.memory_gb={memory_gb}: should be a number of gigabytes above 0")
        self.chosen: dict[str, object] = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "mem": None if memory_gb is None else f"{max(1, round(memory_gb * 1024))}M",
            "setup": [str(line) for line in setup],
        }
        self.additional = {str(key): value for key, value in (additional or {}).items()}
        self.complaint: str | None = None

    @property
    def at_a_time(self) -> int:
        """At most; for how many the cluster has room is not known beforehand."""
        return self.array_parallelism

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: refuse at once what could not work.

        Raises: `UserError` without submitit, without a Slurm that answers, or for a relative results folder.
        """
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        try:
            import_module("submitit")
        except ImportError:
            raise UserError("hydra/launcher=slurm needs submitit; type: pip install 'recurrent-bench[slurm]'") from None
        slurm.check_cluster()
        results = Path(str(config.results)).expanduser()
        if not results.is_absolute():
            raise UserError(
                f"results={config.results}: hydra/launcher=slurm needs an absolute path that all nodes share, such as "
                f"results={results.resolve()}"
            )

    def run(self, queue: Queue, logs: Path) -> None:
        """See `RunLauncher.run`."""
        submitted: list[Submitted] = []
        limit = slurm.array_limit()
        with Interruption() as interruption:
            while (submitted or not queue.exhausted) and not interruption.times:
                self._submit(_taken(queue, limit), queue, logs, submitted)
                for entry, outcome in list(ended(submitted, queue.store)):
                    submitted.remove(entry)
                    queue.ended(entry.member, outcome)
                if submitted or not queue.exhausted:
                    _pause(self.poll_seconds, interruption)
            if interruption.times:
                self._stop(submitted, queue, interruption)
                raise KeyboardInterrupt

    def _submit(self, taken: Sequence[Member], queue: Queue, logs: Path, submitted: list[Submitted]) -> None:
        """Submit runs, one array for all that need the same."""
        arrays: dict[tuple[int, int], list[Member]] = {}
        for member in taken:
            arrays.setdefault(self._needs(member), []).append(member)
        for (cpus, gpus), members in arrays.items():
            runs = [
                SlurmRun(self._overrides(member, cpus), logs / f"{member.run_id}.log", self.timeout, self.requeues)
                for member in members
            ]
            parameters = self._parameters(logs.parent.name, cpus, gpus)
            try:
                array = submit(members, runs, logs / "slurm", parameters, self.requeues)
            except UserError as error:
                if not submitted:
                    raise
                self._refused(str(error), members, queue)
                continue
            submitted += array
            number = array[0].job_id.partition("_")[0]
            self.console.print(
                f"Slurm job {number}: {len(array)} of {queue.total} runs, output in {logs}", markup=False
            )

    def _refused(self, reason: str, members: Sequence[Member], queue: Queue) -> None:
        """Slurm takes no more for now, as where the number of jobs is limited: try again while others run."""
        if reason != self.complaint:
            self.console.print(f"{reason}; trying again", markup=False)
            self.complaint = reason
        for member in members:
            queue.give_back(member)

    def _needs(self, member: Member) -> tuple[int, int]:
        """Processor cores and GPUs of a run."""
        cpus, gpus = occupied(member.config.hardware, self.cpus_per_run, self.gpus_per_run)
        return cpus, int(gpus)

    def _overrides(self, member: Member, cpus: int) -> tuple[str, ...]:
        hardware = member.config.hardware
        threads = [] if hardware.threads else [f"hardware.threads={max(1, cpus // hardware.devices)}"]
        return (*member.overrides, *threads)

    def _parameters(self, sweep: str, cpus: int, gpus: int) -> dict[str, object]:
        """For submitit, which hands them to sbatch."""
        parameters = self.chosen | {
            "job_name": f"bench-{sweep}",
            "time": self.time_minutes,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "array_parallelism": self.array_parallelism,
            "signal_delay_s": min(_WARNING_SECONDS, 15 * self.time_minutes),
            "srun_args": [f"--cpus-per-task={cpus}"],  # since Slurm 22.05, srun does not take it from sbatch
            "additional_parameters": {"requeue" if self.requeues else "no-requeue": True, **self.additional},
        }
        return {key: value for key, value in parameters.items() if value is not None}

    def _stop(self, submitted: Sequence[Submitted], queue: Queue, interruption: Interruption) -> None:
        """End all jobs, and report those that were running; runs that hear of it leave records."""
        if not submitted:
            return
        self.console.print("interrupted: what runs is asked to end; Ctrl-C again cancels it at once")
        job_ids = [entry.job_id for entry in submitted]
        states = slurm.states(job_ids) or {}
        running = [entry for entry in submitted if states.get(entry.job_id) != slurm.PENDING]
        slurm.cancel(job_ids, f"--state={slurm.PENDING}")
        slurm.cancel(job_ids, "--state=RUNNING", "--signal=TERM")  # to the runs: their jobs stay
        deadline = time.monotonic() + _STOP_SECONDS
        while any(entry.is_held(queue.store) for entry in running):
            if interruption.times > 1 or time.monotonic() > deadline:
                break
            time.sleep(_STEP_SECONDS)
        slurm.cancel(job_ids)
        for entry in running:
            queue.ended(entry.member, Outcome(entry.at, 130, stopped=True))


def _taken(queue: Queue, limit: int) -> list[Member]:
    """All that may start now, up to a limit."""
    taken: list[Member] = []
    while len(taken) < limit and (member := queue.next()) is not None:
        taken.append(member)
    return taken


def _pause(seconds: float, interruption: Interruption) -> None:
    """Sleep, but not through Ctrl-C."""
    deadline = time.monotonic() + seconds
    while not interruption.times and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _STEP_SECONDS))
