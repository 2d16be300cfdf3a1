"""Configuration in, record out: carry out one run and write down what happened, however it ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Protocol

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from rich.console import Console

from bench.distributed import is_first_process
from bench.errors import UserError
from bench.models.sizes import LINEAR
from bench.runs import checkpoint
from bench.runs.assemble import fitted_record, record_without_fit
from bench.runs.callbacks import Stopper
from bench.runs.checkpoint import Saved
from bench.runs.claim import Claim
from bench.runs.failure import Interrupted, describe_failure
from bench.runs.identity import ResolvedRun
from bench.runs.linear import LinearFit
from bench.runs.outputs import write_files
from bench.runs.progress import LeaseProgress, RunProgress
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.runs.trainer import borrowed_torch, quiet_lightning
from bench.runs.training import Fit

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Trackers(Protocol):
    """Where a run is mirrored while it lasts (`bench.tracking` implements it)."""

    @property
    def loggers(self) -> Sequence[Logger]:
        """Lightning loggers that receive the learning curve."""

    def finish(self, record: RunRecord) -> str | None:
        """Take in the final record and close; a line for the person, if there is something to do."""


@contextmanager
def _finishes_in_peace() -> Iterator[None]:
    """What `_signals_raise` leaves of SIGTERM is put back when the record has been written."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


@_finishes_in_peace()
def execute(
    resolved: ResolvedRun,
    store: Store,
    claimed: Claim,
    open_trackers: Callable[[ResolvedRun], Trackers] | None = None,
    *,
    console: Console | None = None,
    stoppers: Callable[[ResolvedRun], Sequence[Stopper]] | None = None,
) -> RunRecord:
    """Train and evaluate one run, write its record, and return it, whatever its status.

    Goes on from the checkpoint of an execution that was cut off, unless `force=true`. claimed: who we are, and that
    nobody else is at it;  stoppers: who may end the run before its last epoch.
    Raises: `UserError` for bad input that shows only when the data are prepared; nothing is written then.
    """
    began, started_at = time.perf_counter(), datetime.now(UTC)
    outcome: dict[str, object] = {"status": Status.FINISHED}
    console = console if is_first_process() else None
    fit, trackers = None, None
    with quiet_lightning(), borrowed_torch(resolved.config.hardware), _signals_raise():
        try:
            watching = stoppers(resolved) if stoppers is not None else ()
            kind = LinearFit if resolved.config.model.cell == LINEAR else Fit
            fit = kind(resolved, store.folder(resolved.run_id, claimed.execution_id), watching)
            fit.trainer.callbacks.append(_SignalsStay())  # type: ignore[attr-defined]
            if open_trackers is not None and is_first_process():
                trackers = open_trackers(resolved)
                fit.trainer.loggers = list(trackers.loggers)
            saved = None if resolved.config.force else checkpoint.chosen(store, resolved.run_id)
            _run(fit, saved, claimed, console)
        except UserError:
            raise
        except (Exception, Interrupted) as error:
            outcome = describe_failure(error, resolved.config.training)
    outcome["wall_seconds"] = time.perf_counter() - began
    if fit is None:
        record = record_without_fit(resolved, started_at, outcome, claimed.execution_id)
    else:
        record = fitted_record(fit, started_at, outcome, claimed.execution_id)
    if is_first_process():
        write_files(store, record, fit)
        if store.ended(resolved.run_id):
            checkpoint.discard(store, resolved.run_id)
        note = trackers.finish(record) if trackers is not None else None
        if console is not None and note is not None:
            console.print(note, markup=False)
    return record


def _run(fit: Fit, saved: Saved | None, claimed: Claim, console: Console | None) -> None:
    """Train under the eyes of whoever watches."""
    if claimed.lease is not None:
        fit.curve.watchers.append(LeaseProgress(claimed.lease, fit.pace).on_row)
    with ExitStack() as watching:
        watching.enter_context(checkpoint.told_to_others(saved))
        if console is not None:
            _announce(fit, saved, console)
            fit.curve.watchers.append(watching.enter_context(RunProgress(console, fit.pace)).on_row)
        fit.run(None if saved is None else saved.path)


def _announce(fit: Fit, saved: Saved | None, console: Console) -> None:
    """Say what is trained on what, and from where it goes on."""
    data, resolved = fit.data, fit.resolved
    test = "no test split: validation only" if data.test is None else f"{len(data.test):,} test"
    console.print(
        f"{resolved.config.model.cell.upper()} on {resolved.corpus.name} ({resolved.corpus.origin}): "
        f"{len(data.train):,} training texts, {data.truncated_fraction:.0%} of them cut at {data.train.max_length} "
        f"tokens, {len(data.validation):,} validation, {test}; {len(data.vocabulary.words):,} words, "
        f"{fit.size_in_words}, {fit.threads} threads",
        highlight=False,
    )
    if saved is not None:
        console.print(f"goes on after epoch {saved.epochs} of execution {saved.execution_id}", highlight=False)


class _SignalsStay(Callback):
    """Keeps our handlers: Lightning's waits for all processes within the signal, for ever if only one got it."""

    def __init__(self) -> None:
        self.handlers = {name: signal.getsignal(name) for name in _SIGNALS}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """By now Lightning has put its own in their place; it takes them away again by itself."""
        if threading.current_thread() is threading.main_thread():
            for name, handler in self.handlers.items():
                signal.signal(name, handler)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT and SIGTERM end the run as interrupted, with a record. A second SIGINT is the default's affair; SIGTERM,
    once heard, is heard no more until `_finishes_in_peace` ends: a dying parent sends it again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def settle() -> None:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def interrupt(number: int, frame: FrameType | None) -> None:
        settle()
        raise Interrupted(signal.Signals(number).name)

    before = signal.getsignal(signal.SIGINT)
    for name in _SIGNALS:
        signal.signal(name, interrupt)
    try:
        yield
    finally:
        settle()
