"""Where trials are kept: Optuna studies, one an arm, in SQLite beside the sweep's plan or in any database Optuna knows.

    RESULTS/sweeps/<name>/tuning/study.db

A study is named after all that its trials depend on, so that a changed arm, space or program begins a new one.
Optuna is imported when it is first needed.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.config import TuningConfig, flatten
from bench.errors import UserError
from bench.files import make_folder
from bench.runs.identity import ResolvedRun
from bench.runs.questions import sweep_folder
from bench.runs.science import is_science
from bench.runs.store import Store
from bench.sweeps.tuning.space import Axis, Drawn, parse_space

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_WAIT_SECONDS = 10  # for a database that does not answer
_LOCK_SECONDS = 120  # for another process that writes to the same SQLite file
_OR_A_FILE = "or leave tuning.storage out for a file beside the plan"
# Beside what is science.
_DECLARED = ("model.hidden_size", "model.match", "model.kernel", "embedding.dimension", "hardware.precision")


def tuning_folder(store: Store, name: str) -> Path:
    """Where a sweep keeps what belongs to its tuning."""
    return sweep_folder(store, name) / "tuning"


def study_name(resolved: ResolvedRun, tuning: TuningConfig) -> str:
    """The name of the study that a trial belongs to. resolved: the trial, or its arm: both have the same study."""
    config, searched = resolved.config, set(tuning.keys)
    declared = {
        key: value
        for key, value in flatten(config)
        if key not in searched and key not in ("seed", "data.use_test") and (is_science(key) or key in _DECLARED)
    }
    budget = {"sampler": tuning.sampler, "pruner": tuning.pruner, "seed": tuning.seed}
    content = {
        **declared,
        **budget,
        "space": [str(axis) for axis in parse_space(tuning.space)],
        "data": resolved.corpus.fingerprint,
        "vectors": resolved.vectors.fingerprint if resolved.vectors else None,
        "code": resolved.code_version,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return f"{config.sweep.name or 'tuning'}-{config.model.cell}-{digest}"


@dataclass(frozen=True)
class Database:
    """Where studies lie. url: as typed, perhaps with a password;  shown: without it, for people;
    own: the file beside the sweep's plan."""

    url: str = field(repr=False)
    shown: str
    own: bool = False

    @classmethod
    def of(cls, tuning: TuningConfig, store: Store, name: str) -> Database:
        """The database of a sweep's tuning. name: of the sweep.

        Raises: `UserError` if the URL is none, or Optuna is not installed.
        """
        need_optuna()
        if tuning.storage is None:
            path = tuning_folder(store, name) / "study.db"
            return cls(f"sqlite:///{path.absolute()}", str(path), own=True)
        if "://" not in tuning.storage:
            raise UserError(_no_url("..."))
        return cls(tuning.storage, _shown(tuning.storage))

    def open(self) -> RDBStorage:
        """Connect, and make the tables where there are none.

        Raises: `UserError` without the password if that fails.
        """
        from optuna.storages import RDBStorage
        from sqlalchemy.exc import ArgumentError

        if self.own:
            make_folder(Path(self.shown).parent)
        with self.reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return RDBStorage(self.url, engine_kwargs={"connect_args": self._patience})
            except ImportError:
                raise UserError(
                    f"tuning.storage={self.shown}: the Python package for this kind of database is not installed: "
                    f"install it, {_OR_A_FILE}"
                ) from None
            except (ArgumentError, ValueError):
                raise UserError(_no_url(self.shown)) from None
            except RuntimeError:
                raise UserError(
                    f"tuning.storage={self.shown}: holds studies of another version of Optuna: name another database, "
                    f"{_OR_A_FILE}"
                ) from None

    @property
    def _patience(self) -> dict[str, int]:
        """How long to wait, in the words of the kind of database."""
        if self.url.startswith("sqlite"):
            return {"timeout": _LOCK_SECONDS}
        return {"connect_timeout": _WAIT_SECONDS} if self.url.startswith(("postgresql", "mysql", "mariadb")) else {}

    @contextmanager
    def reached(self) -> Iterator[None]:
        """What a database says when it fails leaves as one line, without the password."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            kind = type(error.__cause__ or error).__name__
            raise UserError(
                f"tuning.storage={self.shown}: cannot be reached or used ({kind}): check the address, {_OR_A_FILE}"
            ) from None


def need_optuna() -> None:
    """See that Optuna is there.

    Raises: `UserError` that says how to get it.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("tuning needs Optuna; type: pip install 'recurrent-bench[tuning]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(storage: RDBStorage, name: str) -> Study:
    """The study of this name, made if there is none."""
    import optuna

    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def proposed(
    axes: Sequence[Axis], tuning: TuningConfig, number: int, earlier: Sequence[FrozenTrial] = ()
) -> dict[str, Drawn]:
    """The values of a trial. earlier: finished trials of its study, which `tpe` learns from and `random` does not.

    With `random` they depend on seed, space and number alone, so that every arm gets the same draws, and the first
    twenty of forty are those of twenty.
    """
    import optuna

    study = optuna.create_study(direction="maximize", sampler=_sampler(tuning, number))
    if tuning.sampler == "tpe":
        study.add_trials(earlier)
    trial = study.ask({axis.key: axis.distribution for axis in axes})
    return cast(dict[str, Drawn], trial.params)


def _sampler(tuning: TuningConfig, number: int) -> BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    seed = int.from_bytes(hashlib.sha256(f"{tuning.seed} {number}".encode()).digest()[:4], "big")
    return RandomSampler(seed) if tuning.sampler == "random" else TPESampler(seed=seed)


def add_trial(study: Study, axes: Sequence[Axis], values: Mapping[str, Drawn]) -> None:
    """Put a running trial into a study, all of it or nothing."""
    from optuna.trial import TrialState, create_trial

    distributions = {axis.key: axis.distribution for axis in axes}
    study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(values), distributions=distributions))


def make_pruner(tuning: TuningConfig) -> BasePruner | None:
    """Optuna's pruner of this name, as Optuna sets it up; None without one."""
    from optuna.pruners import MedianPruner, SuccessiveHalvingPruner

    if tuning.pruner == "none":
        return None
    return MedianPruner() if tuning.pruner == "median" else SuccessiveHalvingPruner()


def without_password(override: str) -> str:
    """An override as it may be printed and kept: a storage URL loses its password."""
    key, sign, value = override.partition("=")
    return f"{key}={_shown(value)}" if sign and key.lstrip("+") == "tuning.storage" and "://" in value else override


def _shown(url: str) -> str:
    """A URL without its password and without its query, which may hold one; the less, the odder it looks."""
    scheme, _, rest = url.partition("://")
    before, at, place = rest.rpartition("@")
    if "@" in before or "?" in before:
        return f"{scheme}://***"
    user = f"{before.partition(':')[0]}:***@" if at else ""
    return f"{scheme}://{user}{place.partition('?')[0]}"


def _no_url(shown: str) -> str:
    return (
        f"tuning.storage={shown}: no database that Optuna knows: write sqlite:///FILE, mysql://USER:PASSWORD@HOST/NAME "
        f"or postgresql://USER:PASSWORD@HOST/NAME, {_OR_A_FILE}"
    )
