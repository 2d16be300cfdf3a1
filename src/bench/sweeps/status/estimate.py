"""How long what is left of a sweep will take, from what runs took on this machine; what is unknown stays unknown.

A run takes as long as the median of its arm's finished executions did here. Where there is none, it is scaled from
runs of the same corpus and cell, if possible of equal embedding, width and pooling: their median time per epoch and
share of the training texts, times its own. A limit on training time limits the estimate too. What a process takes to
start is not recorded, and not part of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Literal, Protocol

from bench.config import Scalar
from bench.processor import cpu_model, gpu_models, usable_cores

COLUMNS = (
    "arm", "status", "wall_seconds", "train_seconds", "cpu_model", "cpu_cores", "gpu_model", "accelerator",
    "resumed_from", "training.epochs", "data.epochs", "data.train_fraction",
)  # fmt: skip

Basis = Literal["same arm", "similar runs", "progress"]
_ACCELERATORS = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda"}  # as configured -> as recorded


class Planned(Protocol):
    """A run that is planned: `bench.sweeps.plan.Member` or `bench.runs.questions.SweepMember`."""

    @property
    def run_id(self) -> str:
        """Which run."""

    @property
    def arm(self) -> str:
        """Its configuration without the seed."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """What its process is started with."""


@dataclass(frozen=True)
class Expected:
    """How long one run will take. basis: what this was taken from."""

    seconds: float
    basis: Basis


@dataclass(frozen=True)
class Estimate:
    """How long runs will take. runs: by id, None where nothing is known;  unnamed: further runs, all unknown."""

    runs: Mapping[str, Expected | None]
    at_a_time: int = 1
    unnamed: int = 0

    @property
    def seconds(self) -> float | None:
        """Until the last of them has ended, as far as is known; None where nothing is known of any."""
        known = [expected.seconds for expected in self.runs.values() if expected is not None]
        if not known:
            return None if self.unknown else 0.0
        return max(sum(known) / self.at_a_time, *known)

    @property
    def unknown(self) -> int:
        """Runs of which nothing is known."""
        return self.unnamed + sum(expected is None for expected in self.runs.values())

    def of(self, run_ids: Iterable[str], unnamed: int = 0) -> Estimate:
        """Of some of the runs, one after another; ids that nothing was asked of are left out."""
        return Estimate({run_id: self.runs[run_id] for run_id in run_ids if run_id in self.runs}, 1, unnamed)

    @property
    def short(self) -> str:
        """For a column: `1 h 20 min`, `1 h 20 min + 3 unknown`, `unknown`, or nothing where nothing is left."""
        if self.seconds is None:
            return "unknown"
        known = in_words(self.seconds) if self.seconds else ""
        return f"{known} + {self.unknown} unknown" if self.unknown else known

    @property
    def sentence(self) -> str:
        """Such as `about 1 h 20 min at 2 a time`, with what is unknown."""
        if self.seconds is None:
            return "unknown: no run like these has finished on this machine"
        rest = f", and {self.unknown} of unknown length" if self.unknown else ""
        pace = f" at {self.at_a_time} a time" if self.at_a_time > 1 else ""
        return f"about {in_words(self.seconds)}{pace}{rest}"


def estimate(members: Sequence[Planned], records: Mapping[str, Sequence[Scalar]], at_a_time: int) -> Estimate:
    """How long runs will take on this machine.

    members: what is to run;  records: `COLUMNS` of finished and other executions, a row each;
    at_a_time: how many run at once.
    """
    return Past(records).estimate(members, at_a_time)


def with_progress(estimated: Estimate, seconds_left: Mapping[str, float | None]) -> Estimate:
    """The estimate with what runs that are under way say of themselves. seconds_left: by run id, None where unknown."""
    reported = {
        run_id: estimated.runs.get(run_id) if seconds is None else Expected(seconds, "progress")
        for run_id, seconds in seconds_left.items()
    }
    return replace(estimated, runs={**estimated.runs, **reported})


def in_words(seconds: float) -> str:
    """A time for people: `20 s`, `5 min`, `1 h 20 min`, `2 d 3 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one finished execution took. work: epochs times the share of training texts;  default_epochs: where none
    are typed;  overhead: seconds beside training."""

    arm: str
    accelerator: str
    seconds: float
    work: float
    default_epochs: float
    overhead: float


@dataclass(frozen=True)
class _Typical:
    """Medians of several executions; see `_Taken`."""

    seconds: float
    seconds_per_work: float
    default_epochs: float
    overhead: float

    @classmethod
    def of(cls, runs: Sequence[_Taken]) -> _Typical:
        return cls(
            seconds=median(run.seconds for run in runs),
            seconds_per_work=median(run.seconds / run.work for run in runs),
            default_epochs=median(run.default_epochs for run in runs),
            overhead=median(run.overhead for run in runs),
        )


class Past:
    """The finished executions of this machine, by whatever their arms share: for several estimates."""

    def __init__(self, records: Mapping[str, Sequence[Scalar]]) -> None:
        """Begin. records: `COLUMNS` of all executions, a row each; not looked at before they are needed."""
        self._records = records
        self._typical: dict[tuple[Hashable, str | None], _Typical | None] = {}

    def estimate(self, members: Iterable[Planned], at_a_time: int) -> Estimate:
        """See `estimate`."""
        return Estimate({member.run_id: self._expect(member) for member in members}, at_a_time)

    def _expect(self, member: Planned) -> Expected | None:
        """How long a run will take; None where nothing like it has finished here."""
        typed = dict(word.split("=", 1) for word in member.overrides if "=" in word)
        accelerator = _ACCELERATORS.get(typed.get("hardware.accelerator") or typed.get("hardware", ""))
        if same := self._typically(member.arm, accelerator):
            return Expected(same.seconds, "same arm")
        arm = member.arm
        like = self._typically(_shape(arm), accelerator) or self._typically(_corpus_and_cell(arm), accelerator)
        return Expected(_scaled(like, typed), "similar runs") if like else None

    def _typically(self, shared: Hashable, accelerator: str | None) -> _Typical | None:
        """Of the runs that share something, on one kind of device where one is asked for."""
        key = (shared, accelerator)
        if key not in self._typical:
            runs = [run for run in self._groups.get(shared, []) if accelerator in (None, run.accelerator)]
            self._typical[key] = _Typical.of(runs) if runs else None
        return self._typical[key]

    @cached_property
    def _groups(self) -> dict[Hashable, list[_Taken]]:
        groups: dict[Hashable, list[_Taken]] = {}
        for run in _taken_here(self._records):
            groups.setdefault(run.arm, []).append(run)
        for arm, runs in [(str(arm), runs) for arm, runs in groups.items()]:
            for shared in (_shape(arm), _corpus_and_cell(arm)):
                groups.setdefault(shared, []).extend(runs)
        return groups


def _scaled(typical: _Typical, typed: Mapping[str, str]) -> float:
    """What a run will take if it is as fast as similar ones. typed: its overrides."""
    epochs = _number(typed.get("training.epochs")) or typical.default_epochs
    seconds = typical.seconds_per_work * epochs * (_number(typed.get("data.train_fraction")) or 1.0)
    limit = _number(typed.get("training.max_seconds"))
    return seconds if limit is None else min(seconds, limit + typical.overhead)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _shape(arm: str) -> Hashable:
    """What arms share that differ in their recipe: corpus, embedding, width, pooling (`bench.runs.identity`)."""
    return tuple(arm.split("/")[:-1])


def _corpus_and_cell(arm: str) -> Hashable:
    """What arms share that differ in all else."""
    *corpus, _, shape, _ = ["", "", *arm.split("/")]
    return ("corpus and cell", *corpus, shape.split("-")[0])


def _taken_here(records: Mapping[str, Sequence[Scalar]]) -> Iterator[_Taken]:
    """What the finished executions of this machine took: of its processor, and of a GPU that it has."""
    model_here, cores_here, gpus = cpu_model(), usable_cores(), gpu_models()
    for row in zip(*(records[name] for name in COLUMNS), strict=True):
        arm, status, wall, train, model, cores, gpu, accelerator, resumed, epochs, default_epochs, fraction = row
        larger = isinstance(cores, int) and cores > cores_here  # fewer: the pool gave it a share of them
        elsewhere = model != model_here or larger or (gpu is not None and gpu not in gpus)
        if status != "finished" or elsewhere or resumed is not None:  # a resumed one took this long for its rest alone
            continue
        if isinstance(wall, float) and isinstance(epochs, int) and wall > 0:
            training = train if isinstance(train, float) else wall
            share = fraction if isinstance(fraction, float) else 1.0
            default = default_epochs if isinstance(default_epochs, int) else epochs
            yield _Taken(str(arm), str(accelerator), wall, epochs * share, default, max(wall - training, 0.0))
