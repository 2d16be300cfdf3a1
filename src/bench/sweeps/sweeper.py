"""The project's Hydra sweeper: plan, skip what is finished, hand the rest to the launcher, end with one table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from bench.config import protocol_hash
from bench.errors import UserError
from bench.runs.questions import stored_protocols
from bench.runs.record import Status
from bench.runs.store import Store
from bench.sweeps import tables
from bench.sweeps.evidence import Ladder, Look, check_arms, make_ladder
from bench.sweeps.grid import Choice, expand, name_of
from bench.sweeps.kernels import sentence
from bench.sweeps.launchers.base import RunLauncher
from bench.sweeps.look_table import look_table, nothing_judged
from bench.sweeps.plan import Member, Plan
from bench.sweeps.planner import Planner
from bench.sweeps.stages import settle_time_limits, with_reasons
from bench.sweeps.status.estimate import estimate
from bench.sweeps.tuning.search import Search
from bench.sweeps.tuning.studies import without_password
from bench.sweeps.work import Work
from bench.tracking.uploads import sync_command


class BenchSweeper(Sweeper):
    """`hydra/sweeper=bench`.

    params: the grid of a sweep file, key -> values as on the command line;  exclude: combinations to leave out.
    """

    __module__ = "hydra_plugins.bench"  # Hydra instantiates plug-ins of this name space only

    def __init__(self, params: Mapping[str, object] | None = None, exclude: Sequence[str] = ()) -> None:
        self.params = {str(key): value for key, value in (params or {}).items()}
        self.exclude = [str(line) for line in exclude]
        self.console = Console(highlight=False, soft_wrap=True)
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
        if isinstance(self.launcher, RunLauncher):
            self.launcher.console = self.console

    def sweep(self, arguments: list[str]) -> int:
        """Run the sweep and return the exit code: 0 all finished, 1 some did not, 130 interrupted.

        Raises: `UserError` if a member does not compose or validate, before anything runs.
        """
        planner, choices, ladder = self._asked(arguments)
        self.plan = planner.plan(choices)
        if ladder is not None:
            check_arms(self.plan)
        search = Search.of(planner, ladder.choices if ladder else choices, self.store, self.console)
        self._announce(planner, search, ladder)
        if self.dry_run:
            return 0
        self.store.prepare()
        self._say_if_the_protocol_changed()
        self.work = Work(self.store, self.launcher, self.console, self.plan.name)
        look, interrupted = None, False
        try:
            if search is not None:
                search.carry_out(self.work)
            self._carry_out(planner, choices, search)
            while ladder is not None and (look is None or look.goes_on):
                look = self._look(planner, ladder, search)
        except KeyboardInterrupt:
            interrupted = True
        if search is not None and not search.complete:
            self.console.print("interrupted while tuning; the same command goes on with it")
            return 130
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

    def _announce(self, planner: Planner, search: Search | None, ladder: Ladder | None) -> None:
        """What will run, and what may come after it."""
        if search is not None:
            search.announce()
        at_a_time = self.launcher.at_a_time if isinstance(self.launcher, RunLauncher) else 1
        estimated = estimate(self.plan.to_run, planner.records, at_a_time)
        self.console.print(tables.planned(self.plan, estimated), soft_wrap=False)
        if self.plan.to_run:
            self.console.print(f"estimated time: {estimated.sentence}", markup=False)
        if (kernels := sentence(self.plan)) is not None:
            self.console.print(kernels, markup=False)
        if search is not None:
            self.console.print("the table counts runs of the recipe as typed; each arm's winner takes its place")
        if self.dry_run:
            if ladder is not None:
                self.console.print(ladder.outlook)
            self.console.print("dry_run=true: nothing was run or written")

    def _carry_out(self, planner: Planner, choices: Sequence[Choice], search: Search | None) -> None:
        """Run a plan; what waits for runs at equal width comes after them."""
        choices, without = (choices, []) if search is None else search.tuned(choices)
        self.plan = planner.plan(choices)
        self._run(self.plan)
        if self.plan.waiting:
            reasons = settle_time_limits(self.plan, self.store)
            self.plan = with_reasons(planner.plan(choices), reasons)
            self._run(self.plan)
        self.plan = replace(self.plan, waiting=(*self.plan.waiting, *without))

    def _run(self, plan: Plan) -> None:
        self.written = list(dict.fromkeys([*self.written, plan.write(self.store)]))
        self.work.carry_out(plan.to_run)

    def _look(self, planner: Planner, ladder: Ladder, search: Search | None) -> Look:
        """Judge what has finished, say so, and run what the next look needs."""
        look = ladder.judge(self.plan, self.store)
        if look.judged:
            self.console.print(look_table(look), soft_wrap=False)
        else:
            self.console.print("\n".join(nothing_judged(look)), markup=False)
        if look.goes_on:
            self._carry_out(planner, ladder.wanted, search)
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
        self.console.print(tables.results(plan, self.work.records), soft_wrap=False)
        for path in self.written:
            self.console.print(f"plan: {path}", markup=False)
        unfinished = [ended for ended in map(self._outcome, plan.members) if ended is not Status.FINISHED]
        left = len(unfinished) + len(plan.waiting)
        if left:
            self.console.print(
                f"{left} of {len(plan.members) + len(plan.waiting)} did not finish; to repeat only those:"
            )
            self.console.print(f"  {self._again(arguments, unfinished)}", markup=False)
        upload = sync_command(self.store.results, [member.run_id for member in plan.members])
        if upload is not None:
            self.console.print(f"W&B is offline; upload with: {upload}", markup=False)
        if look is not None and look.verdict is not None:
            self.console.print(look.verdict.sentence, markup=False)
        return 130 if interrupted else int(left > 0)

    def _again(self, arguments: Sequence[str], unfinished: Sequence[Status | None]) -> str:
        """The command that runs what is missing; what has finished is skipped."""
        kept = [without_password(argument) for argument in arguments if not argument.startswith(("force=", "retry="))]
        ended = {status for status in unfinished if status in (Status.FAILED, Status.DIVERGED)}
        retry = [f"retry={'all' if len(ended) > 1 else ended.pop()}"] if ended else []
        return shlex.join(["python", "-m", "bench", "-m", *kept, *retry, *self.hydra_overrides])

    def _outcome(self, member: Member) -> Status | None:
        record = self.work.records.get(member.run_id, member.done or member.last)
        return record.status if record else None
