"""The project's Hydra sweeper: plan, skip what is finished, hand the rest to the launcher, end with one table."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from bench.config import protocol_hash
from bench.errors import UserError
from bench.files import without_home
from bench.runs.assemble import record_without_fit
from bench.runs.questions import stored_protocols, sweep_folder
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps import tables
from bench.sweeps.evidence import Ladder, Look, check_arms, make_ladder
from bench.sweeps.grid import Choice, expand, name_of
from bench.sweeps.launchers import Ending, PoolLauncher
from bench.sweeps.plan import Member, Plan, Planner
from bench.sweeps.stages import settle_time_limits, with_reasons

if TYPE_CHECKING:
    from collections.abc import Mapping


class BenchSweeper(Sweeper):
    """`hydra/sweeper=bench`.

    params: the grid of a sweep file, key -> values as on the command line;  exclude: combinations to leave out.
    """

    __module__ = "hydra_plugins.bench"  # Hydra instantiates plug-ins of this name space only

    def __init__(self, params: Mapping[str, object] | None = None, exclude: Sequence[str] = ()) -> None:
        self.params = {str(key): value for key, value in (params or {}).items()}
        self.exclude = [str(line) for line in exclude]
        self.console = Console(highlight=False, soft_wrap=True)
        self.results: dict[str, RunRecord] = {}
        self.known: dict[str, set[str]] = {}
        self.written: list[Path] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: remember what is asked, and make the launcher."""
        self.loader = hydra_context.config_loader
        self.store = Store(str(config.results))
        self.question: str | None = config.sweep.name
        self.dry_run = bool(config.dry_run)
        if config.until not in (None, "verdict"):
            raise UserError(f"until={config.until}: should be verdict")
        self.until_verdict = config.until is not None
        self.hydra_overrides = list(config.hydra.overrides.hydra)
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> int:
        """Run the sweep and return the exit code: 0 all finished, 1 some did not, 130 interrupted.

        Raises: `UserError` if a member does not compose or validate, before anything runs.
        """
        planner, choices, ladder = self._asked(arguments)
        self.plan = planner.plan(choices)
        if ladder is not None:
            check_arms(self.plan)
        self.console.print(tables.planned(self.plan), soft_wrap=False)
        if self.dry_run:
            if ladder is not None:
                self.console.print(ladder.outlook)
            self.console.print("dry_run=true: nothing was run or written")
            return 0
        self.store.prepare()
        self._say_if_the_protocol_changed()
        look, interrupted = None, False
        try:
            self._carry_out(planner, choices)
            while ladder is not None and (look is None or look.goes_on):
                look = self._look(planner, ladder)
        except KeyboardInterrupt:
            interrupted = True
        return self._close(arguments, look, interrupted)

    def _asked(self, arguments: Sequence[str]) -> tuple[Planner, list[Choice], Ladder | None]:
        """What to begin with: the whole grid, or the first look of a ladder."""
        if self.until_verdict:
            planner, ladder = make_ladder(
                arguments, self.params, self.question, self.store, self.loader, exclude=self.exclude
            )
            return planner, ladder.wanted, ladder
        choices = expand(arguments, self.params, self.loader, self.exclude)
        return Planner(self.question or name_of(choices), arguments, self.store), choices, None

    def _carry_out(self, planner: Planner, choices: Sequence[Choice]) -> None:
        """Run a plan; what waits for runs at equal width comes after them."""
        self._run(self.plan)
        if self.plan.waiting:
            reasons = settle_time_limits(self.plan, self.store)
            self.plan = with_reasons(planner.plan(choices), reasons)
            self._run(self.plan)

    def _look(self, planner: Planner, ladder: Ladder) -> Look:
        """Judge what has finished, say so, and run what the next look needs."""
        look = ladder.judge(self.plan, self.store)
        if look.judged:
            self.console.print(tables.look_table(look), soft_wrap=False)
        else:
            self.console.print("\n".join(tables.nothing_judged(look)), markup=False)
        if look.goes_on:
            self.plan = planner.plan(ladder.wanted)
            self._carry_out(planner, ladder.wanted)
        return look

    def _say_if_the_protocol_changed(self) -> None:
        stored, protocol = stored_protocols(self.store, self.plan.name), self.plan.protocol
        if stored and stored[0].hash != protocol_hash(protocol):
            before, current = vars(stored[0].protocol), vars(protocol)
            changed = [f"protocol.{key}" for key in current if key != "name" and current[key] != before.get(key)]
            self.console.print(
                f"{', '.join(changed)}: changed since {stored[0].fixed_at[:16]} UTC, when the protocol of "
                f"{self.plan.name} was fixed; a report will say so",
                markup=False,
            )

    def _close(self, arguments: Sequence[str], look: Look | None, interrupted: bool) -> int:
        """The closing table, what was concluded, and what to type next."""
        plan = self.plan
        self.console.print(tables.results(plan, self.results), soft_wrap=False)
        for path in self.written:
            self.console.print(f"plan: {path}", markup=False)
        unfinished = sum(self._outcome(member) is not Status.FINISHED for member in plan.members) + len(plan.waiting)
        if unfinished:
            runs = len(plan.members) + len(plan.waiting)
            self.console.print(f"{unfinished} of {runs} did not finish; to repeat only those:")
            self.console.print(f"  {self._again(arguments)}", markup=False)
        if look is not None and look.verdict is not None:
            self.console.print(look.verdict.sentence, markup=False)
        return 130 if interrupted else int(unfinished > 0)

    def _again(self, arguments: Sequence[str]) -> str:
        """The command that runs what is missing; what has finished is skipped."""
        kept = [argument for argument in arguments if not argument.startswith("force=")]
        return shlex.join(["python", "-m", "bench", "-m", *kept, *self.hydra_overrides])

    def _outcome(self, member: Member) -> Status | None:
        record = self.results.get(member.run_id, member.done)
        return record.status if record else None

    def _run(self, plan: Plan) -> None:
        """Run what is not finished and was not tried before, through our launcher or one of Hydra's."""
        self.written = list(dict.fromkeys([*self.written, plan.write(self.store)]))
        members = [member for member in plan.to_run if member.run_id not in self.results]
        self.known |= {
            member.run_id: {record.execution_id for record in self.store.executions(member.run_id)}
            for member in members
        }
        if not members:
            return
        if isinstance(self.launcher, PoolLauncher):
            self.launcher.run(members, sweep_folder(self.store, plan.name) / "logs", self._ended)
            return
        jobs, began = [list(member.overrides) for member in members], datetime.now(UTC)
        for member, job in zip(members, self.launcher.launch(jobs, initial_job_idx=len(self.results)), strict=True):
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
            line = f"[{len(self.results)}/{len(self.known)}] {member.choice.label}: {tables.sentence(fresh[-1])}"
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
