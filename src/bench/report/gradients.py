"""Gradient flow as a section of a report, and as a document of its own for runs that are named."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from bench.analysis.arms import simplicity
from bench.analysis.gradient_flow import BEST, FIRST, flow_curves, flow_numbers, measured
from bench.analysis.verdict import Verdict
from bench.report.document import Block, Document, Listing, Plot, Prose, Section
from bench.report.figures_gradients import gradient_flow as drawn_flow
from bench.report.figures_panels import unique, with_task
from bench.report.frames import Shown, of_frame
from bench.report.numbers import known, number

_CLAIM = (
    "Claim: in a simple recurrent network the gradient vanishes (or explodes) on its way back through a text; gates, "
    "and the additive cell state of an LSTM, let it pass."
)
_READING = (
    "Measured: the norm of the derivative of a text's loss with respect to the state after each of its tokens, over "
    "validation texts of at least the median length, without dropout; docs/gradients.md has the definitions."
)
_POOLED = (
    "Not all of these runs read their answer from the last state. With another pooling, or an answer for every token, "
    "the loss enters at every token, and the norm adds up what has entered on the way: it cannot vanish, and its slope "
    "says little of the recurrence."
)
_NAMED = 4  # runs in the name of a folder, at most
_BOTH = "Of runs that read both ways, this is the direction that reads forwards."


def gradient_flow(found: Verdict, records: pd.DataFrame) -> Section:
    """The section of a report: every run of the study whose record has it, a task for each scene."""
    flow, study = measured(records), found.study
    if flow.empty or study.runs.empty:
        return Section("gradients", "Gradient flow", ())
    places = with_task(study.runs[["run_id", "scene", "arm"]].drop_duplicates(), study)[["run_id", "task", "arm"]]
    runs = flow.drop(columns="arm").merge(places, on="run_id")
    return Section("gradients", "Gradient flow", _blocks(runs, study.arms) if len(runs) else ())


def flow_by_cell(records: pd.DataFrame) -> tuple[Block, ...]:
    """The gradient flow of some runs, cell by cell; nothing where no record has it. records: as `bench.records`."""
    flow = measured(records)
    if flow.empty:
        return ()
    runs = flow.assign(task=flow["data.name"].astype(str), arm=flow["model.cell"].astype(str))
    return _blocks(runs, tuple(sorted(runs["arm"].unique(), key=simplicity)))


def gradient_document(records: pd.DataFrame) -> Document:
    """A document on the gradient flow of some runs. records: as `bench.records`, each with its gradient flow."""
    runs = labelled(records)
    numbers = flow_numbers(runs)
    return Document(
        title="Gradient flow",
        sentence=" ".join(answers(numbers, BEST)),
        certainty=" ".join(answers(numbers, FIRST)),
        tone="",
        facts=(
            ("Runs", ", ".join(str(run) for run in runs["run_id"])),
            ("Validation texts of each", str(int(runs["gradient_flow_texts"].max()))),
            ("Pooling", ", ".join(dict.fromkeys(runs["model.pooling"].astype(str)))),
        ),
        warnings=(),
        sections=(Section("gradients", "Gradient flow", _blocks(runs, tuple(runs["arm"]))),),
    )


def document_name(records: pd.DataFrame) -> str:
    """What the folder of such a document is called."""
    runs = [str(run) for run in records["run_id"]]
    digest = hashlib.sha256("".join(runs).encode()).hexdigest()[:8]
    named = [run[:8] for run in runs] if len(runs) <= _NAMED else [runs[0][:8], f"and-{len(runs) - 1}-more", digest]
    return "-".join(["gradients", *named])


def labelled(records: pd.DataFrame) -> pd.DataFrame:
    """With columns `task`, the data, and `arm`: the cell, with the beginning of the run's id if a cell comes twice."""
    cells = records["model.cell"].astype(str)
    twice = cells.duplicated(keep=False)
    triples = zip(cells, records["run_id"], twice, strict=True)
    arms = unique([f"{cell} {run[:6]}" if several else cell for cell, run, several in triples])
    return records.assign(task=records["data.name"].astype(str), arm=arms)


def _blocks(runs: pd.DataFrame, arms: Sequence[str]) -> tuple[Block, ...]:
    """Claim, what was measured, the figure, the numbers."""
    order = {arm: place for place, arm in enumerate(sorted(runs["arm"].unique(), key=simplicity))}
    runs = runs.sort_values("arm", key=lambda column: column.map(order), kind="stable")
    numbers, curves = flow_numbers(runs), flow_curves(runs)
    notes = [_CLAIM, _READING]
    at_the_end = (runs["model.pooling"] == "last") & (runs["data.task"].fillna("classification") != "tagging")
    notes += [] if at_the_end.all() else [_POOLED]
    notes += [_BOTH] if runs["model.bidirectional"].fillna(False).any() else []
    table = of_frame("gradient_curves", "Gradient left by distance from the text's end, relative to it", curves, _CURVE,
                     most=40, folded=True)  # fmt: skip
    figure = drawn_flow(curves, arms, int(numbers["texts"].max()))
    said = (*answers(numbers, FIRST), *answers(numbers, BEST))
    return (
        *(Prose(note) for note in notes), Listing(tuple(said)), *((Plot(figure, table),) if figure else (table,)),
        of_frame("gradient_flow", "Gradient flow in numbers, means over runs", numbers, _shown(numbers)),
    )  # fmt: skip


_PLACE = (Shown("Task", ("task",)), Shown("Arm", ("arm",)), Shown("Weights", ("moment",)))
_CURVE = (
    *_PLACE, Shown("State", ("state",), words={"hidden": "h", "carousel": "c"}), Shown("n (runs)", ("runs",), 0),
    Shown("Tokens back", ("distance",), 0), Shown("Left, median [quartiles]", ("median", "low", "high"), 6),
)  # fmt: skip
_NUMBERS = (
    *_PLACE, Shown("n (runs)", ("runs",), 0), Shown("n (texts)", ("texts",), 0),
    Shown("Factor a token, h", ("decay",), 4), Shown("Half-life, tokens, h", ("half_life",), 1),
    Shown("Factor a token, c", ("carousel_decay",), 4), Shown("Half-life, tokens, c", ("carousel_half_life",), 1),
    Shown("Farthest, tokens", ("distance",), 0), Shown("Largest singular value", ("singular_value",), 2),
    Shown("Spectral radius", ("spectral_radius",), 2), Shown("Mean derivative", ("derivative",), 3),
    Shown("Gates saturated, %", ("saturation",), 1, scale=100), Shown("Steps clipped, %", ("clipped",), 1, scale=100),
)  # fmt: skip


def _shown(numbers: pd.DataFrame) -> list[Shown]:
    """The columns that hold anything."""
    return [column for column in _NUMBERS if numbers[list(column.names)].notna().any(axis=None)]


def answers(numbers: pd.DataFrame, moment: str) -> list[str]:
    """One sentence a task: over how many tokens the gradient halves, arm by arm. moment: as in column `moment`."""
    found = []
    for task, rows in numbers[numbers["moment"] == moment].groupby("task", sort=False):
        parts = [part for row in rows.to_dict("records") for part in _rates(row)]
        several = f" on {task}" if numbers["task"].nunique() > 1 else ""
        found.append(f"{moment[0].upper()}{moment[1:]}{several}, the gradient {'; '.join(parts)}.")
    return found


def _rates(row: Mapping[Hashable, object]) -> list[str]:
    parts = [f"{_rate(row['decay'], row['half_life'])} in {row['arm']}"]
    if known(row["carousel_decay"]):
        parts.append(f"{_rate(row['carousel_decay'], row['carousel_half_life'])} in its cell state")
    return parts


def _rate(decay: object, tokens: object) -> str:
    if not isinstance(decay, float) or pd.isna(decay):
        return "has no slope"
    if isinstance(tokens, float) and tokens < 10_000:
        return f"halves every {plural_tokens(tokens)}"
    return f"grows by {number(100 * (decay - 1), 1)}% a token" if decay > 1.0005 else "keeps its size"


def plural_tokens(tokens: float) -> str:
    """Such as `0.8 tokens`, `120 tokens`."""
    return f"{number(tokens, 0 if tokens >= 100 else 1)} tokens"
