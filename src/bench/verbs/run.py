"""What the door does without a verb: one run, or with -m several."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from rich.console import Console

from bench.compose import CONFIG_NAME, build, compose, session
from bench.config import BenchConfig
from bench.distributed import is_first_process
from bench.errors import UserError
from bench.models.sizes import LINEAR
from bench.processor import limit_spinning
from bench.runs.claim import claim
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.kernel_table import advice
from bench.runs.liveness import end_with_parent
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.tracking.mirror import mirror_finished
from bench.verbs.summary import show_record

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TOLD: set[str] = set()  # lines that this process has said once
_EXIT_CODES = {Status.FINISHED: 0, Status.FAILED: 1, Status.DIVERGED: 1, Status.INTERRUPTED: 130}


def run(overrides: Sequence[str]) -> int:
    """One run as typed; returns the exit code. A finished run is shown, not repeated, unless `force=true`.

    Raises: `UserError` for bad input.
    """
    if "sweep.member=true" in overrides:
        end_with_parent()
    return _run(_compose_one(overrides), overrides)


def run_overrides(overrides: Sequence[str]) -> RunRecord:
    """One run and its record, for Python.

    Raises: `UserError` for bad input.
    """
    config = _compose_one(overrides)
    if config.dry_run:
        raise UserError("dry_run=true runs nothing, so there is no record to return: leave it out")
    return _carry_out(config, _console(), overrides)


def multirun(overrides: Sequence[str]) -> int:
    """Every combination, through Hydra's multirun and whatever sweeper and launcher are chosen; the exit code.

    Raises: `UserError` for bad input, before anything runs.
    """
    _register_plugins()
    from bench.sweeps.parts import carry_out, parts_of

    asked = parts_of(overrides)
    if asked is not None:
        return carry_out(asked, _question, overrides, _console())
    return _question(overrides)


def _question(overrides: Sequence[str]) -> int:
    """One question through Hydra's multirun."""
    with session(overrides) as hydra:
        result = hydra.multirun(CONFIG_NAME, _task, list(overrides), with_log_configuration=False)
    return result if isinstance(result, int) else 0


# Our plug-ins for Hydra; their keys are in conf/hydra/.
_PLUGINS = {
    "BenchSweeper": "bench.sweeps.sweeper",
    "PoolLauncher": "bench.sweeps.launchers.pool",
    "RayLauncher": "bench.sweeps.launchers.ray_launcher",
    "SlurmLauncher": "bench.sweeps.launchers.slurm_launcher",
}


def _register_plugins() -> None:
    """Give our plug-ins to Hydra, which instantiates those in the name space `hydra_plugins` and no others."""
    from hydra.core.plugins import Plugins

    plugins, ours = Plugins.instance(), ModuleType("hydra_plugins.bench")
    try:
        space = import_module("hydra_plugins")  # there if another plug-in is installed
    except ImportError:
        space = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        space.__path__ = []
    for name, module in _PLUGINS.items():
        plugin = getattr(import_module(module), name)
        setattr(ours, name, plugin)
        plugins.register(plugin)
    space.__dict__["bench"] = sys.modules[ours.__name__] = ours


def _task(tree: DictConfig) -> int:
    """A job of one of Hydra's own launchers, in this process."""
    return _run(build(tree))


def _compose_one(overrides: Sequence[str]) -> BenchConfig:
    config = compose(overrides)
    if not config.sweep.member and any(re.match(r"\+*sweep=", override) for override in overrides):
        raise UserError(f"a sweep is several runs: add -m, as in python -m bench -m {' '.join(overrides)}")
    return config


def _run(config: BenchConfig, typed: Sequence[str] = ()) -> int:
    if config.dry_run:
        _announce(resolve(config), Store(config.results), _console())
        return 0
    return _EXIT_CODES[_carry_out(config, _console(), typed).status]


def _carry_out(config: BenchConfig, console: Console, typed: Sequence[str]) -> RunRecord:
    """Find the finished record of a run, or make one; torch is imported only if there is something to train."""
    store = Store(config.results)
    store.prepare()
    resolved = resolve(config)
    record = None if config.force else store.finished(resolved.run_id)
    if record is not None:
        console.print(f"run {record.run_id} is finished already; force=true runs it again")
        show_record(record, store, console, typed)
        mirror_finished(resolved, record, store)
        return record
    limit_spinning()
    with claim(store, resolved.run_id, config.force) as claimed:
        if claimed.finished is None:
            _advise(config, console)
            from bench.runs.execute import execute
            from bench.sweeps.tuning.pruning import pruning_of
            from bench.tracking import open_trackers

            record = execute(resolved, store, claimed, open_trackers, console=console, stoppers=pruning_of)
        else:
            record = claimed.finished
            console.print(f"another process has finished run {record.run_id} meanwhile")
            mirror_finished(resolved, record, store)
    if is_first_process():
        show_record(record, store, console, typed)
    return record


def _advise(config: BenchConfig, console: Console) -> None:
    """Say that kernels can be timed, where a faster one may be had."""
    line = advice(config) if is_first_process() else None
    if line is not None and line not in _TOLD:
        _TOLD.add(line)
        console.print(line, markup=False)


def _console() -> Console:
    """Lines are as long as they are: breaking them is the terminal's affair, and a pipe has no width."""
    return Console(highlight=False, soft_wrap=True)


def _announce(resolved: ResolvedRun, store: Store, console: Console) -> None:
    """What `dry_run=true` says."""
    corpus, config = resolved.corpus, resolved.config
    state = "finished already" if store.finished(resolved.run_id) else "not run yet"
    console.print(
        f"would run {resolved.run_id} ({state}): {_what(resolved)} on {corpus.name} "
        f"({corpus.origin}), "
        f"seed {config.seed}{_how_long(config)}, "
        f"record in {store.runs / resolved.run_id}",
        markup=False,
    )


def _what(resolved: ResolvedRun) -> str:
    model = resolved.config.model
    if model.cell == LINEAR:
        return f"{model.cell} on n-grams of up to {model.ngrams} tokens"
    return f"{model.cell} of width {resolved.hidden_size}"


def _how_long(config: BenchConfig) -> str:
    return "" if config.model.cell == LINEAR else f", at most {config.training.epochs} epochs"
