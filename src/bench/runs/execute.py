"""Configuration in, record out: carry out one run and write down what happened, however it ended."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

from pytorch_lightning.loggers import Logger
from rich.console import Console

from bench.distributed import is_first_process
from bench.errors import DivergedError, UserError
from bench.files import without_home
from bench.runs.assemble import fitted_record, record_without_fit
from bench.runs.environment import Contention
from bench.runs.identity import ResolvedRun
from bench.runs.outputs import write_files
from bench.runs.progress import RunProgress
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.runs.training import Fit, borrowed_torch, quiet_lightning


class Trackers(Protocol):
    """Where a run is mirrored while it lasts (`bench.tracking` implements it)."""

    @property
    def loggers(self) -> Sequence[Logger]:
        """Lightning loggers that receive the learning curve."""

    def finish(self, record: RunRecord) -> str | None:
        """Take in the final record and close; a line for the person, if there is something to do."""


class Interrupted(BaseException):
    """Ctrl-C or a request to terminate; passes through Lightning, which would exit on `KeyboardInterrupt`."""


def execute(
    resolved: ResolvedRun,
    store: Store,
    open_trackers: Callable[[ResolvedRun], Trackers] | None = None,
    console: Console | None = None,
) -> RunRecord:
    """Train and evaluate one run, write its record, and return it, whatever its status.

    Raises: `UserError` for bad input that shows only when the data are prepared; nothing is written then.
    """
    began, started_at, contention = time.perf_counter(), datetime.now(UTC), Contention()
    outcome: dict[str, object] = {"status": Status.FINISHED}
    console = console if is_first_process() else None
    fit, trackers = None, None
    with quiet_lightning(), borrowed_torch(resolved.config.hardware), _signals_raise():
        try:
            fit = Fit(resolved)
            if open_trackers is not None and is_first_process():
                trackers = open_trackers(resolved)
                fit.trainer.loggers = list(trackers.loggers)
            _run_visibly(fit, console)
        except UserError:
            raise
        except (Exception, Interrupted) as error:
            outcome = _describe_failure(error, resolved)
    outcome |= asdict(contention.finish()) | {"wall_seconds": time.perf_counter() - began}
    record = fitted_record(fit, started_at, outcome) if fit else record_without_fit(resolved, started_at, outcome)
    if is_first_process():
        write_files(store, record, fit)
        note = trackers.finish(record) if trackers is not None else None
        if console is not None and note is not None:
            console.print(note, markup=False)
    return record


def _run_visibly(fit: Fit, console: Console | None) -> None:
    """Say what is trained on what, then train under the eyes of whoever watches."""
    if console is None:
        fit.run()
        return
    data, resolved = fit.data, fit.resolved
    test = "no test split: validation only" if data.test is None else f"{len(data.test):,} test"
    console.print(
        f"{resolved.config.model.cell.upper()} on {resolved.corpus.name} ({resolved.corpus.origin}): "
        f"{len(data.train):,} training texts, {data.truncated_fraction:.0%} of them cut at {data.train.max_length} "
        f"tokens, {len(data.validation):,} validation, {test}; {len(data.vocabulary.words):,} words, "
        f"{fit.parameters[0]:,} parameters, {fit.threads} threads",
        highlight=False,
    )
    with RunProgress(console, resolved.config.training, fit.steps_per_epoch, fit.clock) as progress:
        fit.curve.on_row = progress.on_row
        fit.run()


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT and SIGTERM end the run as interrupted, with a record; a second signal is the default's affair."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for name, handler in before.items():
            signal.signal(name, handler)
        raise Interrupted(signal.Signals(number).name)

    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    for name in before:
        signal.signal(name, interrupt)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _describe_failure(error: BaseException, resolved: ResolvedRun) -> dict[str, object]:
    """Status, type and one line of a failure; for a diverged run, what to try."""
    message = " ".join(without_home(str(error)).split()) or "no message"
    status = Status.FAILED
    if isinstance(error, Interrupted):
        status, message = Status.INTERRUPTED, f"stopped by {error}"
    elif isinstance(error, DivergedError):
        status, recipe = Status.DIVERGED, resolved.config.training
        clip = "training.gradient_clip=1" if recipe.gradient_clip is None else "a smaller training.gradient_clip"
        message = f"{message}; try training.learning_rate={recipe.learning_rate / 10:g} or {clip}"
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{message} ({Path(frame.filename).name}:{frame.lineno})"
    return {"status": status, "error_type": type(error).__name__, "error_message": message}
