"""`python -m bench reproduce RUN_ID`: repeat a run from its record; bit-equal, within seed noise, or not reproduced.

RUN_ID may be the beginning of one. The repetition becomes one more execution beside the recorded one, without trackers
unless `logger=` asks for them and without weights unless `keep=best` does. Exit code 0 if the run is reproduced, 1 if
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.table import Table

from bench.compose import compose
from bench.config import BenchConfig, Kernel, Scalar, SweepConfig, flatten
from bench.distributed import is_first_process
from bench.errors import UserError, did_you_mean
from bench.processor import limit_spinning, usable_cores
from bench.runs.claim import claim
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.record import RunRecord, Status
from bench.runs.recorded import config_of
from bench.runs.store import PREDICTIONS, Store

if TYPE_CHECKING:
    from bench.analysis.repetition import Repetition

USAGE = (
    "python -m bench reproduce RUN_ID [results=DIR] [data.path=DIR] [embedding.path=FILE] [hardware=NAME] "
    "[logger=NAME] [keep=best]"
)

_KEYS = ("results", "data.path", "embedding.path", "hardware", "logger", "keep")


def reproduce(arguments: Sequence[str]) -> int:
    """Run a recorded run again, in this process, and compare; returns the exit code.

    Raises: `UserError` if there is no such run, or it cannot be run again here: nothing is compared then.
    """
    run_id, typed = _parse(arguments)
    limit_spinning()
    store = Store(_composed(typed).results)
    recorded = store.find(run_id)
    console = Console(highlight=False, soft_wrap=True, quiet=not is_first_process())
    config = _settings(recorded, typed, console)
    store.prepare()
    resolved = resolve(config)
    _refuse_other_data(recorded, resolved)
    _announce(recorded, resolved, console)
    with claim(store, resolved.run_id, again=True) as claimed:
        from bench.runs.execute import execute
        from bench.tracking import open_trackers

        repeated = execute(resolved, store, claimed, open_trackers, console=console)
    if not is_first_process():
        return 0
    if repeated.status is Status.INTERRUPTED:
        console.print(f"interrupted: run {recorded.run_id} was not repeated, {repeated.error_message}", markup=False)
        return 130
    return _report(recorded, repeated, store, console)


def _parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The run's id and what is to be other than recorded.

    Raises: `UserError` for a missing id, and for keys that would make it another run.
    """
    names = [word for word in arguments if "=" not in word]
    if len(names) != 1:
        raise UserError(f"reproduce: name one run, by its id or the beginning of it ({USAGE})")
    typed = [word for word in arguments if "=" in word]
    for word in typed:
        key = word.partition("=")[0]
        if key not in _KEYS and not key.startswith(("hardware.", "logger.")):
            raise UserError(f"reproduce: {key} is taken from the record: {did_you_mean(key, _KEYS)} ({USAGE})")
    return names[0], typed


def _composed(typed: Sequence[str]) -> BenchConfig:
    """What is typed as part of a configuration, for its values and its errors; no trackers unless named."""
    quiet = [] if any(word.startswith("logger=") for word in typed) else ["logger=none"]
    return compose([*quiet, *(f"++{word}" if word.startswith(("data.", "embedding.")) else word for word in typed)])


def _settings(recorded: RunRecord, typed: Sequence[str], console: Console) -> BenchConfig:
    """The recorded configuration with what is typed in its place, as many threads, no weights, no sweep."""
    composed = _composed(typed)
    asked = dict(flatten(composed))
    keys = {word.partition("=")[0] for word in typed}
    chosen = {
        key: value
        for key, value in asked.items()
        if key in keys or key.startswith("logger.") or ("hardware" in keys and key.startswith("hardware."))
    }
    precision = recorded.config.get("hardware.precision")
    if "hardware.precision" not in keys:
        chosen["hardware.precision"] = precision
    elif chosen["hardware.precision"] != precision:
        raise UserError(f"reproduce: hardware.precision={precision} is part of what the run is: leave it out")
    kept = {key: value for key, value in recorded.config.items() if not key.startswith("logger.")}
    if recorded.accelerator == "cpu":
        kept["hardware.accelerator"] = "cpu"  # recorded with `auto`, perhaps, where there was no GPU
    changed = {**kept, **chosen}
    changed["hardware.threads"] = chosen.get("hardware.threads") or _threads(recorded, changed, console)
    config = config_of(replace(recorded, config=changed))
    sweep = SweepConfig(kernel=_kernel(recorded))
    keep = composed.keep_weights if "keep" in keys else "none"
    return replace(config, results=str(asked["results"]), force=True, keep=keep, dry_run=False, sweep=sweep)


def _kernel(recorded: RunRecord) -> Kernel | None:
    """What `model.kernel=auto` came to; None where the run failed before it was known, and nobody had planned it."""
    named = recorded.kernel or recorded.config.get("sweep.kernel")
    return next((kernel for kernel in get_args(Kernel) if kernel == named), None)


def _threads(recorded: RunRecord, changed: dict[str, Scalar], console: Console) -> Scalar:
    """As many as recorded, or all there are; a sum depends on how many threads share it."""
    threads = recorded.threads or changed.get("hardware.threads")
    if not isinstance(threads, int) or threads <= usable_cores():
        return threads
    console.print(
        f"recorded with {threads} threads, this machine has {usable_cores()} cores: numbers may differ in their last "
        f"digits; hardware.threads={threads} insists",
        markup=False,
    )
    return usable_cores()


def _refuse_other_data(recorded: RunRecord, resolved: ResolvedRun) -> None:
    """Other texts are another experiment.

    Raises: `UserError` if the corpus is not the recorded one.
    """
    corpus, before = resolved.corpus, recorded.data_fingerprint
    if before is not None and before != corpus.fingerprint:
        raise UserError(
            f"run {recorded.run_id} cannot be repeated: the data differ, fingerprint {before} recorded "
            f"({recorded.data_origin}), {corpus.fingerprint} found ({corpus.origin}); name the same data: data.path=DIR"
        )


def _announce(recorded: RunRecord, resolved: ResolvedRun, console: Console) -> None:
    """A line for each thing that is not as recorded, before time is spent."""
    vectors = resolved.vectors.fingerprint if resolved.vectors else None
    alike = True
    if recorded.data_fingerprint is not None and vectors != recorded.embedding_fingerprint:
        alike = False
        console.print(
            f"the word vectors differ: {recorded.embedding_fingerprint} recorded, {vectors} found; "
            "embedding.path=FILE names the same ones",
            markup=False,
        )
    if resolved.code_version != recorded.code_version:
        alike = False
        where = f" (commit {recorded.commit[:12]})" if recorded.commit else ""
        console.print(
            f"the code differs: {recorded.code_version}{where} recorded, {resolved.code_version} now: "
            "the answer is about both, the run and the code",
            markup=False,
        )
    if alike and recorded.data_fingerprint is not None and resolved.run_id != recorded.run_id:
        console.print(
            f"the recorded settings name run {resolved.run_id} now, not {recorded.run_id}: the record was edited, or "
            "this version of the program has other settings",
            markup=False,
        )


def _report(recorded: RunRecord, repeated: RunRecord, store: Store, console: Console) -> int:
    """The table, what else differs, and the closing line."""
    from bench.analysis.repetition import Answer, compare, other_seeds

    others = other_seeds(store.table(), recorded)
    same_predictions = _same_predictions(store, recorded, repeated)
    found = compare(recorded, repeated, others, same_predictions)
    console.print(_table(recorded, repeated), soft_wrap=False)
    unequal = [*found.unequal, *(["predicted probabilities"] if same_predictions is False else [])]
    if unequal:
        console.print(f"not equal {', '.join(unequal)}", markup=False)
    for name, title in (("torch_version", "torch differs"), ("hardware_key", "the hardware differs")):
        before, now = getattr(recorded, name), getattr(repeated, name)
        if before != now and None not in (before, now) and before != "unknown":
            console.print(f"{title}: {before} recorded, {now} now", markup=False)
    if gone := sorted({*(recorded.kernel_operators or ())} - {*(repeated.kernel_operators or ())}):
        console.print(f"operators recorded, and not used now: {', '.join(gone)}", markup=False)
    console.print(f"record    {store.folder(repeated.run_id, repeated.execution_id)}", markup=False)
    console.print(_closing_line(recorded, repeated, found), markup=False)
    return 1 if found.answer is Answer.NOT_REPRODUCED else 0


def _same_predictions(store: Store, recorded: RunRecord, repeated: RunRecord) -> bool | None:
    """Whether every probability is the same, bit by bit; None where either file is not there or cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        before, now = (
            pq.read_table(store.folder(record.run_id, record.execution_id) / PREDICTIONS)
            for record in (recorded, repeated)
        )
    except (OSError, pa.ArrowException):
        return None
    return bool(before.equals(now))


def _table(recorded: RunRecord, repeated: RunRecord) -> Table:
    """The numbers of both executions side by side; digits enough to see what is not bit-equal."""
    table = Table("", "recorded", "repeated", box=None, padding=(0, 2, 0, 0))
    for name in ("status", "error_type", "test_accuracy", "test_macro_f1", "test_log_loss", "validation_accuracy",
                 "best_epoch", "train_seconds", "threads"):  # fmt: skip
        before, now = getattr(recorded, name), getattr(repeated, name)
        if before is not None or now is not None:
            table.add_row(name.replace("_", " "), _shown(before), _shown(now))
    return table


def _shown(value: object) -> str:
    return "absent" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _closing_line(recorded: RunRecord, repeated: RunRecord, found: Repetition) -> str:
    parts = [f"{found.answer}: {found.reason}"]
    if found.time_ratio is not None:
        parts.append(f"training took {found.time_ratio:.2f} times as long")
    elif found.time_reason:
        parts.append(found.time_reason)
    if recorded.code_version != repeated.code_version:
        parts.append(f"code {repeated.code_version} in place of {recorded.code_version}")
    return "; ".join(parts)
