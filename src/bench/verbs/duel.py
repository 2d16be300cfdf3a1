"""`python -m bench duel`: speed only. Cells take turns, training step by training step, on the same batches.

The time ratio of every two cells, with an interval over repetitions: under PyTorch's kernels and under the project's
own (duel.kernels), at equal width and at equal parameters (duel.matchings), over ladders of lengths, batch sizes and
widths, of which one is climbed at a time; how much of a difference is arithmetic, memory and kernel; how cost grows
with length. The first cell of a ratio is the simpler one: below 1 it takes less time.

  python -m bench duel                                          GRU and LSTM on the bundled news corpus
  python -m bench duel model=gru,lstm,rnn,attention,bag data=imdb
  python -m bench duel model=gru,lstm data=imdb duel.lengths=[32,128,512] duel.batch_sizes=[64] duel.widths=[256]
  python -m bench duel model=gru,lstm duel.kernels=[torch] duel.seconds=60 duel.repetitions=5
  python -m bench duel dry_run=true                             who would meet where, and stop

Any other key is that of a run; keys of duels are in conf/duel. RESULTS/duels/<id>/ receives index.html, tables,
figures, every timed step (turns.parquet) and the record (duel.json). Exit code 130 after Ctrl-C, which keeps what is
complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from bench.compose import compose
from bench.duels.plan import Plan, make_plan
from bench.errors import UserError, did_you_mean
from bench.options import options
from bench.processor import limit_spinning
from bench.runs.identity import Opened, resolve

if TYPE_CHECKING:
    from bench.duels.execute import Outcome
    from bench.report.duel_document import Findings

USAGE = "python -m bench duel [model=A,B,...] [data=NAME] [duel.KEY=[...]] [KEY=VALUE ...]"

_DEFAULT_MODELS = "gru,lstm"
_REPLACED = {
    "model.hidden_size": "duel.widths=[...]",
    "model.kernel": "duel.kernels=[torch,step]",
    "model.match": "duel.matchings=[width,parameters]",
    "training.batch_size": "duel.batch_sizes=[...]",
}


def duel(arguments: Sequence[str]) -> int:
    """Race the models and show what was found; the exit code.

    Raises: `UserError` for bad input, before anything is timed.
    """
    names, overrides = _models(arguments)
    plan = _plan(names, overrides)
    console = Console(highlight=False, soft_wrap=True)
    if plan.first.config.dry_run:
        _announce(plan, console)
        return 0
    limit_spinning()
    from bench.duels.execute import execute
    from bench.duels.record import DuelStatus

    outcome = execute(plan, console)
    _show(outcome, console)
    return 130 if outcome.record.status is DuelStatus.PARTIAL else 0


def _models(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The models' names, and the overrides that all of them share."""
    typed, overrides = [], []
    for word in arguments:
        key, sign, value = word.partition("=")
        if word.startswith("-"):
            raise UserError(f"duel: unknown flag '{word}' ({USAGE})")
        if key == "model" and sign:
            typed.append(value.strip("[]"))
            continue
        _check_override(word, key, value)
        overrides.append(word)
    if len(typed) > 1:
        raise UserError(f"model is given twice: write model={','.join(typed)}")
    names = [name.strip() for name in (typed or [_DEFAULT_MODELS])[0].split(",")]
    for name in names:
        if name not in options("model"):
            raise UserError(f"unknown model '{name}': {did_you_mean(name, options('model'))}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"model={','.join(names)}: {twice} stands there twice")
    return names, overrides


def _check_override(word: str, key: str, value: str) -> None:
    if key in _REPLACED:
        raise UserError(f"{word}: a duel sets this itself: use {_REPLACED[key]}")
    if re.match(r"\+*sweep$", key):
        raise UserError(f"{word}: a duel is no sweep: name the models and the data, as in model=gru,lstm data=imdb")
    if re.match(r"[^\[{('\"]*,", value):
        hint = f"{key}=[{value}]" if key.startswith("duel.") else "one value each"
        raise UserError(f"{word}: only model takes several values here: write {hint}")
    if key.startswith("duel.") and key not in ("duel.seconds", "duel.repetitions") and "[" not in value:
        raise UserError(f"{word}: a list is needed: write {key}=[{value}]")


def _plan(names: Sequence[str], overrides: Sequence[str]) -> Plan:
    """What is asked; where data.max_length is not, texts are read to the longest length of the duel."""
    typed, opened = {word.partition("=")[0].lstrip("+") for word in overrides}, Opened()
    asked = compose([f"model={names[0]}", *overrides])
    duel, most = asked.duel, asked.data.max_length
    if "data.max_length" not in typed:
        overrides = [*overrides, f"data.max_length={max(most, *duel.lengths)}"]
    elif "duel.lengths" not in typed:
        duel = replace(duel, lengths=[length for length in duel.lengths if length <= most] or [most])
    runs = {name: resolve(compose([f"model={name}", *overrides]), opened) for name in names}
    return make_plan(runs, duel, as_asked="duel.lengths" in typed)


def _announce(plan: Plan, console: Console) -> None:
    """What `dry_run=true` says."""
    duel = plan.duel
    console.print(f"would measure for about {duel.seconds:.0f} s, {duel.repetitions} repetitions, on texts of "
                  f"{plan.first.corpus.name} ({plan.first.corpus.origin})", markup=False)  # fmt: skip
    for number, setting in enumerate(plan.settings):
        console.print(f"{setting}{'  (centre)' if number == 0 else ''}", markup=False)
    for one in plan.contestants(plan.centre):
        held = " and ".join(name for name, on in (("equal width", one.equal_width),
                                                  ("equal parameters", one.equal_parameters)) if on)  # fmt: skip
        console.print(f"  {one.cell} of width {one.hidden_size} under {one.kernel} ({held})", markup=False)


def _show(outcome: Outcome, console: Console) -> None:
    """A dozen lines that end in one sentence."""
    from bench.duels.summary import warnings_of

    record = outcome.record
    for line in (*_ratio_lines(outcome.findings), *_other_lines(outcome.findings)):
        console.print(line, markup=False)
    for warning in warnings_of(record):
        console.print(warning, style="yellow", markup=False)
    console.print(f"page    {outcome.folder / 'index.html'}", markup=False)
    console.print(f"record  {outcome.folder / 'duel.json'}", markup=False)
    console.print(record.sentence, style="bold", markup=False)


def _ratio_lines(found: Findings) -> Iterator[str]:
    """The centre: a line a pair and matching, a column an execution."""
    from bench.analysis.duel_sentence import at, pair_name
    from bench.report.figures_duel import MATCHINGS, recurrent_pairs
    from bench.report.numbers import interval_cell, number

    here = at(found.ratios, found.centre)
    cells = recurrent_pairs(here[here["comparison"] == "cells"])
    executions = [name for name in ("torch", "step", "fastest") if name in set(cells["execution"])]
    if executions:
        yield _columns("time ratio", "held equal", "operations", *executions)
    for (first, second, matching), rows in cells.groupby(["first", "second", "matching"], sort=False):
        entries = rows.to_dict("records")
        shown = {row["execution"]: interval_cell(row["ratio"], row["low"], row["high"]).text for row in entries}
        yield _columns(
            pair_name(str(first), str(second)),
            MATCHINGS[str(matching)].lower(),
            number(entries[0]["flop_ratio"]),
            *(shown.get(name, "") for name in executions),
        )


def _columns(pair: str, held: str, operations: str, *ratios: str) -> str:
    return f"{pair:<18}{held:<18}{operations:<12}{''.join(f'{ratio:<20}' for ratio in ratios)}".rstrip()


def _other_lines(found: Findings) -> Iterator[str]:
    """Execution against execution, growth with length, and the machine's own rate, a line each."""
    from bench.analysis.duel_sentence import at, name_of

    here = at(found.ratios, found.centre)
    kernels = here[(here["comparison"] == "kernels") & (here["matching"] == "width")].to_dict("records")
    if kernels:
        said = [f"{name_of(row['first'])} {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for row in kernels]
        yield f"step over torch   {', '.join(said)}"
    if not found.growth.empty:
        rows = found.growth.to_dict("records")
        said = [f"{name_of(row['cell'])} {row['exponent']:.2f} ({row['kernel']})" for row in rows]
        yield f"length exponents  {', '.join(said)}"
    if found.matrix_product_gflops is not None:
        yield f"matrix product    {found.matrix_product_gflops:,.0f} GFLOP/s, measured in the same turns"
