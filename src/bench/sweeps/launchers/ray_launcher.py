"""`hydra/launcher=ray`: runs as tasks on Ray, on a local cluster or on one that runs already."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.processor import usable_cores
from bench.sweeps.launchers.base import Interruption, RunLauncher, checked_seconds, checked_whole, occupied
from bench.sweeps.launchers.live import LiveView
from bench.sweeps.launchers.processes import Outcome, environment
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.launchers.ray_cluster import Needs, RayCluster, quiet, total
from bench.sweeps.launchers.ray_task import RayRun, carry_out
from bench.sweeps.plan import Member

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.exceptions import RayError

_POLL_SECONDS = 0.2
_SPARE = 2  # runs that wait for room: they keep a cluster busy and let it grow; more would be taken from other sweeps
_SENT_ALONG = ("BENCH_", "HF_", "WANDB_", "HYDRA_FULL_ERROR")  # environment variables that runs need on every node


class RayLauncher(RunLauncher):
    """Tasks on Ray. What the keys mean stands in conf/hydra/launcher/ray.yaml."""

    __module__ = "hydra_plugins.bench"
    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        cpus_per_run: int = 1,
        gpus_per_run: float = 0,
        retries: int = 3,
        timeout_seconds: float | None = None,
    ) -> None:
        self.cluster = RayCluster(address)
        self.cpus_per_run = checked_whole("cpus_per_run", cpus_per_run, 1)
        self.gpus_per_run = _gpus(gpus_per_run)
        self.retries = checked_whole("retries", retries, 0)
        self.timeout = checked_seconds("ray", "timeout_seconds", timeout_seconds)

    @property
    def at_a_time(self) -> int:
        """As many as this machine has cores for; the size of a cluster is not known before it is asked."""
        return max(1, usable_cores() // self.cpus_per_run) if self.cluster.is_local else 1

    def run(self, queue: Queue, logs: Path) -> None:
        """See `RunLauncher.run`.

        Raises: `UserError` without a cluster, or where it could not carry out any run of this sweep.
        """
        if self.cluster.connect():
            self.console.print(f"Ray: {self.cluster.description}, output of runs in {logs}", markup=False)
        self.cluster.check_room({self.needs_of(member) for member in queue.members}, self.console)
        at_a_time = self.cluster.room_for(Needs(self.cpus_per_run, self.gpus_per_run))
        view = LiveView(self.console, queue, max(1, at_a_time))
        with Interruption() as interruption, view, quiet(self.console):
            sweep = _Sweep(self, queue, logs, interruption, view)
            sweep.carry_out()
        if sweep.problem is not None:
            raise UserError(sweep.problem)
        if interruption.times:
            raise KeyboardInterrupt

    def needs_of(self, member: Member) -> Needs:
        """What a run occupies."""
        return Needs(*occupied(member.config.hardware, self.cpus_per_run, self.gpus_per_run))

    def task_of(self, member: Member, results: Path, logs: Path) -> RayRun:
        """What a node is sent."""
        hardware, needs = member.config.hardware, self.needs_of(member)
        threads = hardware.threads or max(1, needs.cpus // hardware.devices)
        # Ray sets the first to the cores of a task, and as yet leaves a task without GPUs those of its node.
        variables = {"OMP_NUM_THREADS": str(threads)} | ({} if needs.gpus else {"CUDA_VISIBLE_DEVICES": ""})
        variables |= {name: value for name, value in environment().items() if name.startswith(_SENT_ALONG)}
        return RayRun(
            overrides=(*member.overrides, f"hardware.threads={threads}"),
            folder=Path.cwd(),
            results=results.absolute(),
            log=(logs / f"{member.run_id}.log").absolute(),
            variables=variables,
            timeout=self.timeout,
            code_version=member.code_version,
        )


@dataclass(frozen=True)
class _Task:
    """A run that Ray has."""

    member: Member
    needs: Needs
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class _Sweep:
    """The runs of one queue on Ray. problem: why no node can carry out any."""

    launcher: RayLauncher
    queue: Queue
    logs: Path
    interruption: Interruption
    view: LiveView
    tasks: dict[ObjectRef[Outcome], _Task] = field(default_factory=dict)
    problem: str | None = None
    _losses: Counter[str] = field(default_factory=Counter)  # by run id
    _any_ended: bool = False
    _asked: int = 0  # how often runs were asked to end

    @property
    def stopping(self) -> bool:
        """Whether nothing more is to be started."""
        return self.interruption.times > 0 or self.problem is not None

    def carry_out(self) -> None:
        """Keep the cluster busy until all is done, or until what runs has ended after an interruption."""
        try:
            while self.tasks or not (self.stopping or self.queue.exhausted):
                self._obey()
                while self._has_room and (member := self.queue.next()) is not None:
                    self._start(member)
                for ref in self._ended():
                    self._report(self.tasks.pop(ref), ref)
                self.view.update([(task.member, task.at) for task in self.tasks.values()])
        finally:
            self._cancel(force=False)  # after a mistake of ours

    def _obey(self) -> None:
        """Ctrl-C asks all runs to end, and a second one ends them."""
        times = max(self.interruption.times, int(self.stopping))
        if times > self._asked:
            self._asked = times
            self._cancel(force=times > 1)

    def _cancel(self, force: bool) -> None:
        import ray

        for ref in self.tasks:
            ray.cancel(ref, force=force)

    @property
    def _has_room(self) -> bool:
        """Whether there are fewer runs than the cluster can hold and a few that wait."""
        if self.stopping:
            return False
        there, each = total(self.launcher.cluster.nodes), self.launcher
        taken = total(task.needs for task in self.tasks.values())
        return taken.cpus < there.cpus + _SPARE * each.cpus_per_run and (
            not taken.gpus or taken.gpus < there.gpus + _SPARE * max(each.gpus_per_run, 1)
        )

    def _start(self, member: Member) -> None:
        """What is lost is not retried by Ray: it goes through the queue, which knows whether it is still being run."""
        import ray

        needs = self.launcher.needs_of(member)
        run = self.launcher.task_of(member, self.queue.store.results, self.logs)
        function = ray.remote(max_retries=0, scheduling_strategy="SPREAD")(carry_out)
        task = function.options(num_cpus=needs.cpus, num_gpus=needs.gpus, name=f"bench {member.run_id}")
        self.tasks[task.remote(run)] = _Task(member, needs)

    def _ended(self) -> list[ObjectRef[Outcome]]:
        import ray

        if not self.tasks:
            time.sleep(_POLL_SECONDS)
            return []
        return ray.wait(list(self.tasks), timeout=_POLL_SECONDS)[0]

    def _report(self, task: _Task, ref: ObjectRef[Outcome]) -> None:
        """Tell the queue how a run has ended."""
        import ray
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        try:
            outcome = ray.get(ref)
        except TaskCancelledError:
            return  # before it had begun
        except RayTaskError as error:
            self._unfit(task, _last_line(error.cause))
        except RayError as error:
            self._lost(task, error)
        else:
            self._any_ended = True
            self._tell(task, outcome)

    def _tell(self, task: _Task, outcome: Outcome) -> None:
        self.view.ended(outcome)
        self.queue.ended(task.member, outcome)

    def _unfit(self, task: _Task, reason: str) -> None:
        """A node could not start the run; where none has done better, the cluster is to blame."""
        if self._any_ended:
            self._again(task, Outcome(task.at, 1, reason))
        else:
            self.problem = f"hydra/launcher=ray: {reason}"

    def _lost(self, task: _Task, error: RayError) -> None:
        """Its worker or its node has died."""
        from ray.exceptions import OutOfMemoryError

        if self.stopping:
            self._tell(task, Outcome(task.at, 130, stopped=True))
            return
        code = -signal.SIGKILL if isinstance(error, OutOfMemoryError) else 1
        self._again(task, Outcome(task.at, code, f"its Ray worker or node was lost ({type(error).__name__})"))

    def _again(self, task: _Task, outcome: Outcome) -> None:
        """Let it be handed out again, unless that has been tried often enough."""
        self._losses[task.member.run_id] += 1
        losses, retries = self._losses[task.member.run_id], self.launcher.retries
        if losses > retries:
            self._tell(task, outcome)
            return
        line = f"{task.member.choice.label}: {outcome.said}; retry {losses} of {retries}"
        self.launcher.console.print(line, markup=False)
        self.queue.give_back(task.member)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _gpus(number: float) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or number < 0 or (number > 1 and number % 1):
        raise UserError(
            f"hydra.launcher.gpus_per_run={number}: should be a whole number, or a part of one GPU such as 0.5"
        )
    return number
