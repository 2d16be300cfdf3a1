"""Ending a trial that lags behind: a Lightning callback that reports to the trial's study and asks Optuna's pruner.

Works in the trial's own process, which finds the study by the same name as the sweep that made it. Under several
processes the first one asks, and all of them stop together.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule, Trainer

from bench.distributed import is_first_process
from bench.errors import UserError
from bench.models.classifier import Classifier
from bench.runs.callbacks import Stopper
from bench.runs.identity import ResolvedRun
from bench.runs.store import Store
from bench.sweeps.tuning.studies import Database, make_pruner, study_name
from bench.sweeps.tuning.winners import PRUNED

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import RDBStorage
    from optuna.study import Study

_log = logging.getLogger(__name__)


def pruning_of(resolved: ResolvedRun) -> list[Pruning]:
    """What watches a run for pruning: nothing unless it is a trial of a tuning with a pruner.

    Raises: `UserError` if the study cannot be reached.
    """
    tuning = resolved.config.tuning
    if tuning.trial is None or tuning.pruner == "none":
        return []
    return [Pruning(_Reporter(resolved) if is_first_process() else None)]


class Pruning(Stopper):
    """Stops a trial after an epoch if it lags behind the earlier ones of its arm. stopped: whether it has."""

    reason = PRUNED  # the record's stop_reason

    def __init__(self, reporter: _Reporter | None) -> None:
        """reporter: None on processes that only follow."""
        self._reporter = reporter

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Report the epoch's accuracy; after the last epoch there is nothing left to save."""
        assert isinstance(module, Classifier)
        assert module.validation is not None
        epoch = trainer.current_epoch + 1
        ends_anyway = trainer.should_stop or epoch == trainer.max_epochs
        lags = self._reporter is not None and self._reporter.lags(epoch, module.validation.accuracy)
        if trainer.world_size > 1:
            lags = trainer.strategy.broadcast(lags)
        if lags and not ends_anyway:
            self.stopped = trainer.should_stop = True


class _Reporter:
    """One trial's line to its study."""

    def __init__(self, resolved: ResolvedRun) -> None:
        """Find the trial.

        Raises: `UserError` if the storage cannot be reached, or has no such study.
        """
        config = resolved.config
        tuning, name = config.tuning, study_name(resolved, config.tuning)
        assert tuning.trial is not None
        pruner = make_pruner(tuning)
        assert pruner is not None
        self._pruner: BasePruner = pruner
        self._database = Database.of(tuning, Store(config.results), config.sweep.name or "tuning")
        self._storage: RDBStorage = self._database.open()
        with self._database.reached():
            self._study: Study = _existing(self._storage, name)
            self._trial = self._storage.get_trial_id_from_study_id_trial_number(
                self._storage.get_study_id_from_name(name), tuning.trial
            )

    def lags(self, epoch: int, accuracy: float) -> bool:
        """Report the accuracy of an epoch; whether the pruner would end the trial.

        A database that fails meanwhile costs no trial: it goes on to its end.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            with self._database.reached():
                self._storage.set_trial_intermediate_value(self._trial, epoch, accuracy)
                return self._pruner.prune(self._study, self._storage.get_trial(self._trial))
        except UserError as error:
            _log.warning("not reported for pruning: %s", error)
        except UpdateFinishedTrialError:  # carried out again, for another reason than tuning
            pass
        return False


def _existing(storage: RDBStorage, name: str) -> Study:
    import optuna

    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        raise UserError("tuning.trial=N is set by the sweeper: start trials with -m tuning.trials=N") from None
