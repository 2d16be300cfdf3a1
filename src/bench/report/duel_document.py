"""A duel as a document: the sentence, who is faster and by how much, why, how it grows, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis import duels
from bench.analysis.duel_meetings import MATRIX_PRODUCT
from bench.analysis.duel_sentence import at, main_rows, name_of, pair_name, sentence
from bench.report.document import Block, Document, Listing, Plot, Prose, Section, Table
from bench.report.figures import Figure
from bench.report.figures_duel import MATCHINGS, forest, parts, recurrent_pairs
from bench.report.figures_duel_growth import against_length
from bench.report.frames import Shown, of_frame


@dataclass(frozen=True)
class Findings:
    """What a duel found. centre: length, batch size, width;  the tables: as `bench.analysis.duels` gives them."""

    centre: tuple[int, int, int]
    accelerator: str
    ratios: pd.DataFrame
    shares: pd.DataFrame
    speeds: pd.DataFrame
    growth: pd.DataFrame

    @classmethod
    def of(cls, turns: pd.DataFrame, centre: tuple[int, int, int], accelerator: str) -> Findings:
        """From the table of turns."""
        tables = (duels.ratios(turns), duels.shares(turns), duels.speeds(turns), duels.growth(turns))
        return cls(centre, accelerator, *tables)

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return sentence(self.ratios, self.centre, self.accelerator)

    @property
    def matrix_product_gflops(self) -> float | None:
        """10⁹ operations a second of the machine's own product, the median over settings."""
        rows = self.speeds[self.speeds["cell"] == MATRIX_PRODUCT] if not self.speeds.empty else self.speeds
        return None if rows.empty else float(rows["gflops"].median())


def duel_document(
    found: Findings, facts: Sequence[tuple[str, str]], warnings: Sequence[str], operators: Mapping[str, Sequence[str]]
) -> Document:
    """The document. facts: names and values for its head;  warnings: what a reader has to know first;
    operators: of each encoder, by `cell/kernel`."""
    sections = (_cells(found), _parts(found), _growth(found), _speeds(found), _background(operators))
    return Document(
        title="Duel: speed alone",
        sentence=found.sentence,
        certainty="Intervals: 95%, over repetitions. A ratio below 1 says that the first one takes less time.",
        tone="",
        facts=tuple(facts),
        warnings=tuple(warnings),
        sections=tuple(section for section in sections if section.blocks),
    )


_SETTING = (
    Shown("Length, tokens", ("length",), 0), Shown("Batch, texts", ("batch_size",), 0), Shown("Width", ("width",), 0),
)  # fmt: skip
_HELD = Shown("Held equal", ("matching",), words=MATCHINGS)
_RATIO = Shown("Time ratio", ("ratio", "low", "high"), 3)
_REPETITIONS = Shown("n (repetitions)", ("repetitions",), 0)
_DISTURBED = Shown("Disturbed", ("disturbed",), words={"True": "yes", "False": "no"})


def _cells(found: Findings) -> Section:
    """Who is faster, cell against cell and execution against execution."""
    if found.ratios.empty:
        return Section("cells", "Who is faster", ())
    cells = found.ratios[found.ratios["comparison"] == "cells"]
    kernels = found.ratios[found.ratios["comparison"] == "kernels"]
    blocks: list[Block] = []
    if not cells.empty:
        shown = (
            Shown("First", ("first",)), Shown("Second", ("second",)), Shown("Execution", ("execution",)), _HELD,
            *_SETTING, _RATIO, Shown("Operations, ratio", ("flop_ratio",), 3),
            Shown("First's width", ("first_hidden_size",), 0), Shown("Second's width", ("second_hidden_size",), 0),
            Shown("First ran", ("first_kernel",)), Shown("Second ran", ("second_kernel",)), _REPETITIONS, _DISTURBED,
        )  # fmt: skip
        table = of_frame("ratios", "Time of a training step, first cell over second", cells, shown, most=60)
        blocks += [*_plots(found, cells), table]
    if not kernels.empty:
        both = (Shown("Cell", ("first",)), Shown("Its width", ("first_hidden_size",), 0), *_SETTING,
                 Shown("Step over torch", ("ratio", "low", "high"), 3), _REPETITIONS, _DISTURBED)  # fmt: skip
        caption = "The same cell under both executions: below 1 the project's own loop takes less time"
        blocks.append(of_frame("executions", caption, kernels, both, most=60))
    return Section("cells", "Who is faster", tuple(blocks))


def _plots(found: Findings, cells: pd.DataFrame) -> list[Block]:
    """The centre with every pair, and the ladders of the pair that the sentence speaks of."""
    length, batch_size, width = found.centre
    here = recurrent_pairs(at(cells, found.centre))
    pairs = [pair_name(*pair) for pair in zip(here["first"], here["second"], strict=True)]
    named = here.assign(group=here["matching"].map(MATCHINGS), label=pairs)
    where = f"{length} tokens, {batch_size} texts, width {width}"
    figures = [forest(named, f"Time ratios at the centre ({where})", "ratios", "group", "label")]
    main = main_rows(found.ratios, found.centre)
    if not main.empty:
        first, second, matching = (str(main.iloc[0][key]) for key in ("first", "second", "matching"))
        pair = cells[(cells["first"] == first) & (cells["second"] == second) & (cells["matching"] == matching)]
        title = f"{pair_name(first, second)} at {MATCHINGS[matching].lower()} along the ladders"
        figures.append(forest(_along_ladders(pair, found.centre), title, "ladders", "group", "label"))
    return [Plot(figure, see="ratios") for figure in figures if figure is not None]


_LADDERS = (("Length", "length", "tokens"), ("Batch size", "batch_size", "texts"), ("Width", "width", "units"))


def _along_ladders(rows: pd.DataFrame, centre: tuple[int, int, int]) -> pd.DataFrame:
    """The rows of each ladder under a heading; the centre is on all of them."""
    blocks = []
    for title, column, unit in _LADDERS:
        others = [name for _, name, _ in _LADDERS if name != column]
        place = dict(zip([name for _, name, _ in _LADDERS], centre, strict=True))
        on = rows[(rows[others] == [place[name] for name in others]).all(axis=1)].sort_values(column, kind="stable")
        if on[column].nunique() > 1:
            blocks.append(on.assign(group=title, label=[f"{value} {unit}" for value in on[column]]))
    return pd.concat(blocks, ignore_index=True) if blocks else rows[:0]


def _parts(found: Findings) -> Section:
    """What a difference is made of."""
    if found.shares.empty:
        return Section("shares", "What the difference is made of", ())
    named = found.shares.assign(
        label=[f"{pair_name(first, second)}, {MATCHINGS[matching].lower()}" for first, second, matching
               in found.shares[["first", "second", "matching"]].itertuples(index=False)]
    )  # fmt: skip
    share = [
        Shown(f"{part.title()}, share", (f"{part}_share",), 0, scale=100) for part in ("arithmetic", "memory", "kernel")
    ]
    shown = (
        Shown("Pair", ("label",)), *_SETTING, Shown("Time ratio under torch", ("total", "total_low", "total_high"), 3),
        Shown("Arithmetic", ("arithmetic",), 3), Shown("Memory", ("memory", "memory_low", "memory_high"), 3),
        Shown("Kernel", ("kernel", "kernel_low", "kernel_high"), 3), *share,
    )  # fmt: skip
    caption = (
        "Time ratio under torch = arithmetic × memory × kernel; shares in percent: the absolute logarithm of each "
        "factor as a part of the three together"
    )
    table = of_frame("shares", caption, named, shown, most=60)
    figure = parts(at(named, found.centre), "label")
    return Section("shares", "What the difference is made of", _with_table(figure, table))


def _growth(found: Findings) -> Section:
    """How time grows with length."""
    if found.growth.empty:
        return Section("growth", "How cost grows with length", ())
    shown = (
        Shown("Model", ("name",)), Shown("Execution", ("kernel",)), Shown("Width", ("hidden_size",), 0),
        Shown("Shortest", ("shortest",), 0), Shown("Longest", ("longest",), 0),
        Shown("Exponent", ("exponent", "low", "high"), 2),
        Shown("Between the two longest", ("at_the_end", "end_low", "end_high"), 2),
        Shown("Of the arithmetic", ("of_arithmetic",), 2),
    )  # fmt: skip
    caption = (
        "Time of a training step ∝ length to this power; what does not depend on length pulls short ladders below 1"
    )
    table = of_frame("growth", caption, found.growth.assign(name=found.growth["cell"].map(name_of)), shown)
    _, batch_size, width = found.centre
    on = found.speeds[(found.speeds["batch_size"] == batch_size) & (found.speeds["width"] == width)]
    return Section("growth", "How cost grows with length", _with_table(against_length(on, found.growth), table))


def _speeds(found: Findings) -> Section:
    """Milliseconds and achieved rates."""
    if found.speeds.empty:
        return Section("speeds", "Speed", ())
    named = found.speeds.assign(name=found.speeds["cell"].map(name_of))
    shown = (
        Shown("Model", ("name",)), Shown("Execution", ("kernel",)), Shown("Its width", ("hidden_size",), 0), *_SETTING,
        Shown("ms a step", ("milliseconds", "low", "high"), 2), Shown("Texts/s", ("texts_per_second",), 0),
        Shown("Tokens/s", ("tokens_per_second",), 0), Shown("GFLOP/s", ("gflops",), 1),
        Shown("Of the machine's rate, %", ("rate_fraction", "rate_low", "rate_high"), 0, scale=100),
        Shown("Encoder's parameters", ("parameters",), 0),
    )  # fmt: skip
    caption = (
        "A training step of each contestant: forward, loss, backward, clipping, optimiser. GFLOP/s: operations of the "
        "encoder's matrix products over the whole step; the machine's rate: a product of two 1,024 × 1,024 matrices in "
        "the same turns"
    )
    return Section("speeds", "Speed", (of_frame("speeds", caption, named, shown, most=100, folded=True),))


def _background(operators: Mapping[str, Sequence[str]]) -> Section:
    """How it was measured, and which operators ran."""
    ran = tuple(f"{name}: {', '.join(names) or 'none'}" for name, names in sorted(operators.items()))
    blocks = (
        Prose(
            "Contestants take turns, training step by training step, on the same batches in one process; the order of "
            "turns is drawn anew for every round. Texts are cut to one length, so that nothing is padded. A repetition "
            "visits every setting once with fresh networks; its ratio is the median over its rounds, and intervals are "
            "Student's t over repetitions on the logarithms. Rounds in which threads had to wait for a processor are "
            "left out, unless a setting has too few others: then all count, and its rows say so."
        ),
        Prose("Operators that each encoder dispatches, forward and backward:"),
        Listing(ran),
    )
    return Section("background", "How it was measured", blocks)


def _with_table(figure: Figure | None, table: Table) -> tuple[Block, ...]:
    return (Plot(figure, see=table.name), table) if figure else (table,)
