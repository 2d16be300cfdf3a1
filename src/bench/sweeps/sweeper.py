"""The project's Hydra sweeper: plan, skip what is finished, hand the rest to the launcher, end with one table."""

from __future__ import annotations

import shlex
import signal
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.files import without_home
from bench.runs.assemble import record_without_fit
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps.launchers import Ending, PoolLauncher
from bench.sweeps.plan import Member, Plan, make_plan, sweep_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

_STYLES = {Status.FINISHED: "green", Status.FAILED: "red", Status.DIVERGED: "red", Status.INTERRUPTED: "yellow"}


class BenchSweeper(Sweeper):
    """`hydra/sweeper=bench`. params: the grid of a sweep file, key -> values as on the command line."""

    __module__ = "hydra_plugins.bench"  # Hydra instantiates plug-ins of this name space only

    def __init__(self, params: Mapping[str, object] | None = None) -> None:
        self.params = {str(key): value for key, value in (params or {}).items()}
        self.console = Console(highlight=False, soft_wrap=True)
        self.results: dict[str, RunRecord] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: remember what is asked, and make the launcher."""
        self.loader = hydra_context.config_loader
        self.store = Store(str(config.results))
        self.question: str | None = config.sweep.name
        self.dry_run = bool(config.dry_run)
        self.hydra_overrides = list(config.hydra.overrides.hydra)
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> int:
        """Run the sweep and return the exit code: 0 all finished, 1 some did not, 130 interrupted.

        Raises: `UserError` if a member does not compose or validate, before anything runs.
        """
        plan = make_plan(arguments, self.params, self.question, self.store, self.loader)
        self.console.print(_planned(plan), soft_wrap=False)
        if self.dry_run:
            self.console.print("dry_run=true: nothing was run or written")
            return 0
        self.store.prepare()
        path = plan.write(self.store)
        interrupted = False
        try:
            self._dispatch(plan)
        except KeyboardInterrupt:
            interrupted = True
        self.console.print(_results(plan, self.results), soft_wrap=False)
        self.console.print(f"plan: {path}", markup=False)
        unfinished = sum(self._outcome(member) is not Status.FINISHED for member in plan.members)
        if unfinished:
            self.console.print(f"{unfinished} of {len(plan.members)} did not finish; to repeat only those:")
            self.console.print(f"  {self._again(arguments)}", markup=False)
        return 130 if interrupted else int(unfinished > 0)

    def _again(self, arguments: list[str]) -> str:
        """The command that runs what is missing; what has finished is skipped."""
        kept = [argument for argument in arguments if not argument.startswith("force=")]
        return shlex.join(["python", "-m", "bench", "-m", *kept, *self.hydra_overrides])

    def _outcome(self, member: Member) -> Status | None:
        record = self.results.get(member.run_id, member.done)
        return record.status if record else None

    def _dispatch(self, plan: Plan) -> None:
        """Run what is not finished, through our launcher or one of Hydra's."""
        members = plan.to_run
        self.known = {
            member.run_id: {record.execution_id for record in self.store.executions(member.run_id)}
            for member in members
        }
        if not members:
            return
        if isinstance(self.launcher, PoolLauncher):
            self.launcher.run(members, sweep_folder(self.store, plan.name) / "logs", self._ended)
            return
        jobs, began = [list(member.overrides) for member in members], datetime.now(UTC)
        for member, job in zip(members, self.launcher.launch(jobs, initial_job_idx=0), strict=True):
            self._ended(_ending(member, began, job))

    def _ended(self, ending: Ending) -> None:
        """Take in a member's record; write the one that its process could not."""
        member = ending.member
        fresh = [r for r in self.store.executions(member.run_id) if r.execution_id not in self.known[member.run_id]]
        if not fresh:
            fresh = [_dead(ending)]
            self.store.write(fresh[0])
        self.results[member.run_id] = fresh[-1]
        if not isinstance(self.launcher, PoolLauncher) or self.launcher.workers > 1:
            line = f"[{len(self.results)}/{len(self.known)}] {member.choice.label}: {_sentence(fresh[-1])}"
            self.console.print(line, markup=False)


def _ending(member: Member, began: datetime, job: JobReturn) -> Ending:
    """What one of Hydra's launchers says of a job."""
    if job.status is JobStatus.COMPLETED:
        return Ending(member, began, 0)
    error = job._return_value  # the property would print and raise it
    return Ending(member, began, 1, " ".join(f"{type(error).__name__}: {error}".split()))


def _dead(ending: Ending) -> RunRecord:
    """The record of a run whose process could not write one."""
    member, code = ending.member, ending.code
    status, kind, message = Status.FAILED, "ProcessDied", f"the process ended with exit code {code} and left no record"
    if ending.stopped or code in (-signal.SIGINT, 130):
        status, kind, message = Status.INTERRUPTED, "Interrupted", "stopped before it could write a record"
    elif code == -signal.SIGKILL:
        kind = "Killed"
        message = "killed by SIGKILL, as when memory runs out; try a smaller training.batch_size or data.max_length"
    elif code < 0:
        kind, message = signal.Signals(-code).name, f"the process was ended by {signal.Signals(-code).name}"
    elif ending.said:
        kind, message = "UserError", ending.said
    outcome = {"status": status, "error_type": kind, "error_message": without_home(message)}
    return record_without_fit(member, ending.started_at, outcome)


def _planned(plan: Plan) -> Table:
    """What will run: a row a cell, its seeds counted."""
    left_out = f", {plan.duplicates} duplicates left out" if plan.duplicates else ""
    runs = "1 run" if len(plan.members) == 1 else f"{len(plan.members)} runs"
    table = Table(title=f"{plan.name}: {runs}{left_out}", title_justify="left")
    for name in ("cell", "seeds", "finished", "to run"):
        table.add_column(name, justify="left" if name == "cell" else "right", overflow="fold")
    waiting = {member.run_id for member in plan.to_run}
    total, to_run = Counter[str](), Counter[str]()
    for member in plan.members:
        total[member.choice.cell] += 1
        to_run[member.choice.cell] += member.run_id in waiting
    for cell, seeds in total.items():
        table.add_row(Text(cell), str(seeds), str(seeds - to_run[cell]), str(to_run[cell]))
    table.add_section()
    table.add_row("total", str(total.total()), str(total.total() - to_run.total()), str(to_run.total()))
    return table


def _results(plan: Plan, results: Mapping[str, RunRecord]) -> Table:
    """How every member ended."""
    table = Table(title=f"{plan.name}: results", title_justify="left")
    for name in ("run", "status", "accuracy", "train s", "reason"):
        table.add_column(name, justify="right" if name in ("accuracy", "train s") else "left", overflow="fold")
    for member in plan.members:
        record = results.get(member.run_id, member.done)
        status = Text("not run", "yellow")
        if record is not None:
            skipped = member.run_id not in results
            status = Text("skipped" if skipped else record.status, "dim" if skipped else _STYLES[record.status])
        table.add_row(Text(member.choice.label), status, _accuracy(record), _seconds(record), Text(_reason(record)))
    return table


def _sentence(record: RunRecord) -> str:
    facts = [record.status, _accuracy(record), f"{_seconds(record)} s" if record.train_seconds else "", _reason(record)]
    return ", ".join(fact for fact in facts if fact)


def _accuracy(record: RunRecord | None) -> str:
    """Of the test split; of validation where there is none."""
    if record is None:
        return ""
    accuracy = record.test_accuracy if record.test_accuracy is not None else record.validation_accuracy
    return "" if accuracy is None else f"{accuracy:.1%}"


def _seconds(record: RunRecord | None) -> str:
    return "" if record is None or record.train_seconds is None else f"{record.train_seconds:.1f}"


def _reason(record: RunRecord | None) -> str:
    if record is None or record.error_type is None:
        return ""
    return f"{record.error_type}: {record.error_message}"
