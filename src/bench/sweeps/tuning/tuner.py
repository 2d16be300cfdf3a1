"""Tuning with equal budgets: every arm gets the same number of trials in the same space, and its winner is compared.

An arm is a cell of the grid without its seed. Trials have a seed of their own and never read the test split. What has
been tried is kept in an Optuna study an arm (`studies.py`): another call goes on with it, and never beyond the budget.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bench.config import TuningConfig
from bench.errors import BusyError
from bench.runs.identity import Opened, resolve
from bench.runs.lease import Lease
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps.grid import Choice
from bench.sweeps.tuning.space import Drawn, described, parse_space
from bench.sweeps.tuning.studies import Database, add_trial, open_study, proposed, study_name, tuning_folder
from bench.sweeps.tuning.tuned_arms import Arm, Arms, check_seeds, key_of
from bench.sweeps.tuning.winners import LOG_LOSS, NO_WINNER, Winner, outcome, winner_of

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

_LOOK_AGAIN_SECONDS = 0.2


class Tuner:
    """The trials of a sweep, and what its arms gain from them."""

    def __init__(self, choices: Sequence[Choice], tuning: TuningConfig, store: Store, name: str) -> None:
        """Read and check everything; nothing is stored yet.

        choices: of the whole grid;  name: of the sweep.
        Raises: `UserError`, one line, for a space that cannot be searched, for a tuning seed that is among those that
        are compared, for a grid over `tuning` itself, and for a storage that is no URL.
        """
        self.tuning = tuning
        self.store = store
        self.name = name
        self.axes = parse_space(tuning.space)
        self.arms = Arms(choices, self.axes, name)
        check_seeds(choices, self.arms, tuning.seed)
        self.database = Database.of(tuning, store, name)
        self._storage: RDBStorage | None = None
        self._studies: dict[str, tuple[Study, Arm]] = {}  # by name; arms that compute the same share one
        self._study_of: dict[str, str] = {}  # by cell
        self._draws: dict[int, dict[str, Drawn]] = {}
        self._handed_out: dict[Choice, tuple[str, int]] = {}
        self._left: set[tuple[str, int]] = set()  # not carried out in this process

    @property
    def outlook(self) -> str:
        """What will be searched, in one line or two."""
        tuning, arms = self.tuning, len(self.arms)
        how = "the same draws for every arm" if tuning.sampler == "random" else "each arm's own"
        pruner = "" if tuning.pruner == "none" else f", pruner {tuning.pruner}"
        total = f"{tuning.trials} trials for each of {arms} arms" if arms > 1 else f"{tuning.trials} trials for one arm"
        space = ", ".join(map(str, self.axes))
        lines = [f"tuning: {tuning.sampler} search{pruner}, {total} ({how}, seed {tuning.seed}), in {space}"]
        keys = {axis.key for axis in self.axes}
        typed = sorted({o for arm in self.arms for o in arm.overrides if key_of(o) in keys})
        if typed:
            lines.append(f"tuning: searched instead of {', '.join(typed)}")
        return "\n".join(lines)

    def next_round(self) -> list[Choice]:
        """The trials to carry out now, those first that an earlier call left open; none when the budget is spent.

        Random draws come all at once; a sampler or pruner that learns from earlier trials gets one an arm a round.
        Raises: `UserError` if the storage cannot be reached.
        """
        with self._alone(), self.database.reached():
            self._open()
            return [choice for name, (study, arm) in self._studies.items() for choice in self._round(name, study, arm)]

    def take_in(self, ended: Sequence[tuple[Choice, RunRecord | None]]) -> None:
        """Tell the studies how trials ended; None, or an interrupted record, leaves a trial open for a later process.

        A trial that failed or diverged counts. What has been told already, also by another process, is not told again.
        """
        with self.database.reached():
            for choice, record in ended:
                name, number = self._handed_out[choice]
                if record is None or record.status is Status.INTERRUPTED:
                    self._left.add((name, number))
                else:
                    self._left.discard((name, number))
                    state, accuracy = outcome(record)
                    self._tell(name, number, state, accuracy, {LOG_LOSS: record.validation_log_loss})

    def winners(self) -> dict[str, Winner]:
        """The best trial of every arm, by `Choice.cell`; absent where none has finished, or where some are open."""
        with self.database.reached():
            self._open()
            found = {arm.cell: winner_of(self._trials(arm), self.tuning.trials, self.axes) for arm in self.arms}
        return {cell: winner for cell, winner in found.items() if winner is not None}

    def apply(self, choices: Sequence[Choice]) -> tuple[list[Choice], list[Choice]]:
        """The choices with their arms' winning values put in, and those that go without: their arm has no winner.

        Runs at equal wall-clock take the winner of their arm at equal width.
        """
        winners, searched = self.winners(), {axis.key for axis in self.axes} | {"tuning.storage"}
        tuned, without = [], []
        for choice in choices:
            winner = winners.get(self.arms.of(choice).cell)
            if winner is None:
                without.append(choice)
            else:
                kept = [override for override in choice.overrides if key_of(override) not in searched]
                tuned.append(Choice((*kept, *winner.values), choice.swept))
        return tuned, without

    def reason(self, choice: Choice) -> str:
        """Why a choice has to go without a winner."""
        with self.database.reached():
            trials = self._trials(self.arms.of(choice))
        left = self.tuning.trials - sum(trial.state.is_finished() for trial in trials)
        if not left:
            return NO_WINNER
        return (
            f"{left} of its arm's {self.tuning.trials} trials were not carried out: the same command goes on with them"
        )

    def _open(self) -> None:
        """Connect, and open or begin the study of each arm."""
        if self._storage is not None:
            return
        storage, opened = self.database.open(), Opened()
        for arm in self.arms:
            name = study_name(resolve(arm.config, opened), self.tuning)
            self._study_of[arm.cell] = name
            if name not in self._studies:
                self._studies[name] = open_study(storage, name), arm
        self._storage = storage

    def _round(self, name: str, study: Study, arm: Arm) -> list[Choice]:
        """An arm's trials to carry out now, created where the budget allows."""
        at_once = self.tuning.sampler == "random" and self.tuning.pruner == "none"
        trials = self._settled(name, study)
        while len(trials) < self.tuning.trials and (at_once or all(trial.state.is_finished() for trial in trials)):
            missing = range(len(trials), self.tuning.trials if at_once else len(trials) + 1)
            for number in missing:
                add_trial(study, self.axes, self._values(number, trials))
            trials = self._settled(name, study)
        first = {_params(trial): trial.number for trial in reversed(trials)}
        choices = []
        for trial in trials:
            place = (name, trial.number)
            if not trial.state.is_finished() and first[_params(trial)] == trial.number and place not in self._left:
                choice = self._choice(arm, trial)
                self._handed_out[choice] = place
                choices.append(choice)
        return choices

    def _values(self, number: int, earlier: Sequence[FrozenTrial]) -> dict[str, Drawn]:
        if self.tuning.sampler != "random":
            return proposed(self.axes, self.tuning, number, earlier)
        if number not in self._draws:
            self._draws[number] = proposed(self.axes, self.tuning, number)
        return self._draws[number]

    def _choice(self, arm: Arm, trial: FrozenTrial) -> Choice:
        searched = {axis.key for axis in self.axes}
        if self.tuning.pruner == "none":
            searched.add("tuning.storage")  # a trial's process does not need it, and it may hold a password
        kept = [override for override in arm.overrides if key_of(override) not in searched]
        marks = (f"seed={self.tuning.seed}", "data.use_test=false", f"tuning.trial={trial.number}")
        values = described(trial.params, self.axes)
        return Choice((*kept, *values, *marks), (*arm.swept, f"trial={trial.number}"))

    def _settled(self, name: str, study: Study) -> list[FrozenTrial]:
        """The trials of a study within the budget; one that repeats an earlier trial's values shares its end."""
        trials = study.get_trials(deepcopy=False)[: self.tuning.trials]
        first: dict[tuple[Drawn, ...], FrozenTrial] = {}
        repeats = 0
        for trial in trials:
            earlier = first.setdefault(_params(trial), trial)
            if earlier.state.is_finished() and not trial.state.is_finished():
                self._tell(name, trial.number, earlier.state, earlier.value, earlier.user_attrs)
                repeats += 1
        return study.get_trials(deepcopy=False)[: self.tuning.trials] if repeats else trials

    def _tell(
        self, name: str, number: int, state: TrialState, accuracy: float | None, facts: dict[str, float | None]
    ) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        assert self._storage is not None
        storage, (study, _) = self._storage, self._studies[name]
        trial = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(name), number)
        with suppress(UpdateFinishedTrialError):  # another process was faster
            for key, value in facts.items():
                storage.set_trial_user_attr(trial, key, value)
            study.tell(number, accuracy if state is TrialState.COMPLETE else None, state, skip_if_finished=True)

    def _trials(self, arm: Arm) -> list[FrozenTrial]:
        study, _ = self._studies[self._study_of[arm.cell]]
        return study.get_trials(deepcopy=False)[: self.tuning.trials]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process adds trials meanwhile."""
        folder, token = tuning_folder(self.store, self.name), secrets.token_hex(4)
        while True:
            try:
                lease = Lease.acquire(folder, f"tuning-{token}")
            except BusyError:
                time.sleep(_LOOK_AGAIN_SECONDS)
            else:
                break
        try:
            yield
        finally:
            lease.release()


def _params(trial: FrozenTrial) -> tuple[Drawn, ...]:
    return tuple(trial.params[key] for key in sorted(trial.params))
