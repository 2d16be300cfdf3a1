"""`hydra/launcher=pool`: runs on this machine, each on a device of its own: a GPU, or a group of processor cores."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bench.errors import BusyError, UserError
from bench.runs.lease import EXECUTION, Lease
from bench.runs.store import new_execution_id
from bench.sweeps.launchers.base import Interruption, RunLauncher, checked_seconds
from bench.sweeps.launchers.devices import Loan
from bench.sweeps.launchers.gpus import visible_gpus
from bench.sweeps.launchers.live import LiveView
from bench.sweeps.launchers.places import Places
from bench.sweeps.launchers.processes import Child, Starter, start_bare
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.launchers.warm import WarmProcess, WarmServers
from bench.sweeps.plan import Member

_POLL_SECONDS = 0.02
_DEVICE_SECONDS = 0.2  # between looks for a free device


class PoolLauncher(RunLauncher):
    """Processes on this machine.

    workers: devices that are used at a time: with `auto` every GPU that can be seen, or else all cores together for one
    run; as a number, so many GPUs or groups of cores;  timeout_seconds: after which a run is ended;
    warm: whether runs on a processor are spared the imports (`bench.sweeps.launchers.warm`).
    """

    __module__ = "hydra_plugins.bench"
    name = "pool"

    def __init__(self, workers: int | str = "auto", timeout_seconds: float | None = None, warm: bool = True) -> None:
        if workers != "auto" and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
            raise UserError(f"hydra.launcher.workers={workers}: should be auto, or a whole number, 1 or more")
        if not isinstance(warm, bool):
            raise UserError(f"hydra.launcher.warm={warm}: should be true or false")
        self.workers = None if isinstance(workers, str) else workers
        self.timeout = checked_seconds("pool", "timeout_seconds", timeout_seconds)
        self.warm = warm
        self.gpus: list[str] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `RunLauncher.setup`; looks for GPUs, unless runs are not to use them."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.gpus = [] if config.hardware.accelerator == "cpu" else visible_gpus()
        self.shares_terminal = self.at_a_time == 1

    @property
    def at_a_time(self) -> int:
        """As many as there are devices."""
        return Places(self.workers, self.gpus).at_a_time

    def run(self, queue: Queue, logs: Path) -> None:
        """See `RunLauncher.run`. One run at a time shares our terminal; several print to files."""
        places = Places(self.workers, self.gpus)
        for member in queue.members:
            places.check(member.config.hardware)
        view = LiveView(self.console, queue, places.at_a_time, wanted=not self.shares_terminal)
        with WarmServers() as servers, Interruption() as interruption, view:
            _Pool(self, queue, logs, places, servers, interruption, view).carry_out()
        if interruption.times:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class _Running:
    """A run, and what it holds."""

    member: Member
    child: Child
    loan: Loan
    lease: Lease

    @property
    def is_lost(self) -> bool:
        """Whether it ended only because the server of its process did."""
        return isinstance(self.child.process, WarmProcess) and self.child.process.is_lost


@dataclass
class _Pool:
    """Carries out one queue."""

    launcher: PoolLauncher
    queue: Queue
    logs: Path
    places: Places
    servers: WarmServers
    interruption: Interruption
    view: LiveView
    running: list[_Running] = field(default_factory=list)
    _not_before: float = 0.0  # when to look for a device again
    _said_waiting: bool = False
    _said_ending: bool = False

    def carry_out(self) -> None:
        """Until all is done, or what runs has ended after an interruption."""
        try:
            while self.running or not (self.queue.exhausted or self.interruption.times):
                self._obey()
                while self._start_next():
                    pass
                if not self._report():
                    time.sleep(_POLL_SECONDS)
                self.view.update([(run.member, run.child.started_at) for run in self.running])
        finally:
            self.places.withdraw()
            for run in self.running:  # after a mistake of ours
                run.child.stop()

    def _obey(self) -> None:
        """Ctrl-C asks all runs to end, and a second one ends them."""
        if not self.interruption.times:
            return
        for run in self.running:
            run.child.stop()
            if self.interruption.times > 1:
                run.child.signal(signal.SIGKILL)
        if self.running and not self._said_ending:
            self._said_ending = True
            self.launcher.console.print("interrupted: what runs is asked to end; Ctrl-C again ends it at once")

    def _start_next(self) -> bool:
        """Start a run, if there is one and a device for it; whether to try once more."""
        if self.interruption.times or time.monotonic() < self._not_before:
            return False
        member = self.queue.next()
        if member is None:
            self.places.withdraw()
            return False
        loan = self.places.take(member.config.hardware, self._loans)
        if loan is None:
            self.queue.put_off(member)
            self._not_before = time.monotonic() + _DEVICE_SECONDS
            self._say_waiting()
            return False
        execution_id = new_execution_id(datetime.now(UTC))
        try:
            lease = Lease.acquire(self.queue.store.runs / member.run_id, execution_id)
        except BusyError:
            loan.release()
            self.queue.give_back(member)
            return True
        self.running.append(_Running(member, self._start(member, loan, execution_id), loan, lease))
        return True

    def _start(self, member: Member, loan: Loan, execution_id: str) -> Child:
        shared = self.launcher.shares_terminal
        if shared:
            self.launcher.console.print(f"{self.queue.position(member)} {member.choice.label}", markup=False)
        threads = self.places.threads(member.config.hardware, loan)
        overrides = [*member.overrides, *([f"hardware.threads={threads}"] if threads else [])]
        log = None if shared else self.logs / f"{member.run_id}.log"
        more = {EXECUTION: execution_id, **loan.environment}
        return Child.start(overrides, log, more, self.launcher.timeout, self._starter(member, loan))

    def _starter(self, member: Member, loan: Loan) -> Starter:
        """How a process is made: several runs that may do so share the imports."""
        if self.launcher.warm and self.queue.total > 1 and self.places.may_fork(member.config.hardware):
            server = self.servers.current()
            if server is not None:
                return partial(server.start, title=f"bench {member.run_id}", cores=loan.cores, keep=loan.handles)
        return partial(start_bare, cores=loan.cores, keep=loan.handles)

    def _report(self) -> bool:
        """Report what has ended; whether anything has."""
        before = len(self.running)
        for run in list(self.running):
            outcome = run.child.poll()
            if outcome is None:
                continue
            self.running.remove(run)
            self._not_before = 0.0
            run.lease.release()
            run.loan.release()
            if run.is_lost and not (outcome.stopped or outcome.timed_out):
                self.queue.put_off(run.member)
                continue
            self.view.ended(outcome)
            self.queue.ended(run.member, outcome, run.lease.execution_id)
        return len(self.running) < before

    def _say_waiting(self) -> None:
        """Once, if it is for others that we wait."""
        in_use = 0 if self._said_waiting else self.places.in_use(self._loans)
        if in_use:
            self._said_waiting = True
            use = "1 is in use by another sweep" if in_use == 1 else f"{in_use} are in use by other sweeps"
            self.launcher.console.print(f"waiting for a free device: {use}")

    @property
    def _loans(self) -> list[Loan]:
        return [run.loan for run in self.running]
