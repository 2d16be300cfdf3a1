"""A page on texts: what each run makes of them, which tokens decide, and what gates and states do meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.models.reading import Activation, LayerReading
from bench.report.document import Beside, Block, Column, Document, Fold, Listing, Plot, Prose, Section, Table
from bench.report.figures_inspect import norms_figure, running_figure
from bench.report.inspected import Inspected, same_tokens
from bench.report.numbers import number, number_cell, plural, text_cell
from bench.report.theme import shortened
from bench.report.tokens import Passage, Piece, Strip, TokenGrid, token_grid, unit_map, visible

# One run takes the page, two share it: characters of a line of tokens, and rem.
_CHARACTERS = {1: 118, 2: 62}
_WIDTH = {1: 66.0, 2: 40.0}
_TITLE = 60  # characters of a text in its heading


def inspect_document(texts: Sequence[str], readings: Sequence[Sequence[Inspected]]) -> Document:
    """The document. readings: of each text, one by each run."""
    runs = [one.run for one in readings[0]]
    sections = [_text(number, text, found) for number, (text, found) in enumerate(zip(texts, readings, strict=True), 1)]
    return Document(
        title="A look inside",
        sentence=_sentence(readings),
        certainty="Attributions are integrated gradients of the predicted class's log odds against zero vectors.",
        tone="",
        facts=tuple((run.name, run.description) for run in runs),
        warnings=tuple(_warnings(readings)),
        sections=(*sections, _background(readings)),
    )


def _sentence(readings: Sequence[Sequence[Inspected]]) -> str:
    """What is predicted, in one sentence."""
    if len(readings) == 1:
        return "; ".join(f"{one.run.name}: {one.answer}" for one in readings[0])
    names = [one.run.name for one in readings[0]]
    if len(names) == 1:
        labels = [found[0].label for found in readings]
        counts = {label: labels.count(label) for label in dict.fromkeys(labels)}
        return f"{names[0]}: " + ", ".join(f"{label} {count}" for label, count in counts.items())
    agreed = sum(len({one.label for one in found}) == 1 for found in readings)
    return f"{' and '.join(names)} agree on {agreed} of {plural(len(readings), 'text')}"


def _warnings(readings: Sequence[Sequence[Inspected]]) -> list[str]:
    """What a reader has to know first."""
    found = []
    for place, text in enumerate(readings, 1):
        where = f"text {place}, " if len(readings) > 1 else ""
        for one in text:
            if all(one.unseen):
                found.append(
                    f"{where}{one.run.name}: no token has a vector of its own, all share that of unseen words; the "
                    "answer says nothing of what stands there"
                )
            if not one.reading.attribution.complete:
                found.append(f"{where}{one.run.name}: {one.completeness}; take the attributions as approximate")
    if len({one.run.labels for one in readings[0]}) > 1:
        found.append("the runs know different classes: their probabilities are not comparable")
    return found


def _text(place: int, text: str, readings: Sequence[Inspected]) -> Section:
    """Everything on one text."""
    key = str(place)
    columns = [
        (one.run.name, (*_answer(one), _passage(f"passage-{key}-{side}", one)))
        for side, one in enumerate(readings, 1)
    ]  # fmt: skip
    figures = [running_figure(key, readings)]
    if not same_tokens(readings):
        figures = [running_figure(f"{key}-{side}", [one]) for side, one in enumerate(readings, 1)]
    norms = norms_figure(key, readings)
    inside = [
        (one.run.name, tuple(_inside(f"passage-{key}-{side}", one, len(readings))))
        for side, one in enumerate(readings, 1)
    ]
    blocks: tuple[Block, ...] = (
        Beside(tuple(columns)),
        *(Plot(figure) for figure in (*figures, *([norms] if norms else []))),
        _decisions(key, readings),
        Beside(tuple(inside)),
        *(_tokens(f"{key}-{side}", one) for side, one in enumerate(readings, 1)),
    )
    return Section(f"text-{key}", shortened(" ".join(text.split()), _TITLE), blocks)


def _answer(one: Inspected) -> tuple[Block, ...]:
    return (Prose(one.answer, strong=True), Prose(f"Next: {one.runner_up}. Read: {one.reading_line}."))


def _passage(key: str, one: Inspected) -> Passage:
    """The text, tinted by attribution."""
    shares = _shares(one.reading.attribution.values)
    pieces = tuple(
        Piece(
            token or visible(token),
            share,
            f"token {place}: {number(value, 3, sign=True)}{', unseen' if unseen else ''}",
            unseen,
        )
        for place, (token, share, value, unseen) in enumerate(
            zip(one.tokens, shares, one.reading.attribution.values.tolist(), one.unseen, strict=True), 1
        )
    )
    characters = all(len(token) <= 1 for token in one.tokens)
    return Passage(key, f"The text as {one.run.name} read it, tokens tinted by attribution", pieces, not characters)


def _shares(values: np.ndarray) -> tuple[float, ...]:
    """Values as shares of the largest absolute one."""
    largest = float(np.abs(values).max()) or 1.0
    return tuple(float(value) / largest for value in values)


def _inside(passage: str, one: Inspected, runs: int) -> list[Block]:
    """The decision token by token, then each layer's gates and states, the last layer open."""
    blocks: list[Block] = [
        Prose("Attribution (blue: towards the predicted class, orange: against it) and running prediction:"),
        token_grid(f"{one.run.name}, decision", one.tokens, _decision_strips(one), _CHARACTERS[runs]),
    ]
    layers = one.reading.layers
    for layer in reversed(layers):
        summary = f"Inside {layer.name}: mean of each gate, norm of each state, every unit"
        content = (_layer_grid(one, layer, _CHARACTERS[runs]), *_maps(passage, one, layer, _WIDTH[runs]))
        blocks.append(Fold(summary, content, open=layer.layer == layers[-1].layer))
    return blocks


def _decision_strips(one: Inspected) -> list[Strip]:
    reading = one.reading
    values, running = reading.attribution.values, reading.running[:, reading.predicted]
    strips = [
        Strip("attribution", tuple(number(float(value), 2, sign=True) for value in values), _shares(values)),
        Strip(f"P({shortened(one.label, 10)})", _two_digits(running), tuple(2 * float(value) - 1 for value in running)),
    ]
    if reading.pooled is not None:
        strips.append(Strip("share in pooling", _two_digits(reading.pooled), _shares(reading.pooled)))
    return strips


def _layer_grid(one: Inspected, layer: LayerReading, characters: int) -> TokenGrid:
    strips = [Strip(gate.name, _two_digits(gate.means), _scaled(gate)) for gate in layer.gates]
    for state in layer.states:
        norms = state.norms
        digits = 1 if norms.max() >= 10 else 2
        strips.append(
            Strip(
                f"norm of {state.name.split()[-1]}",
                tuple(number(float(norm), digits) for norm in norms),
                _shares(norms),
            )
        )
    return token_grid(f"{one.run.name}, {layer.name}", one.tokens, strips, characters)


def _two_digits(values: np.ndarray) -> tuple[str, ...]:
    return tuple(number(float(value), 2) for value in values)


def _scaled(activation: Activation) -> tuple[float, ...]:
    """Means as shares of the end of their range."""
    ends = (activation.low, activation.high)
    return tuple(float(mean) / (abs(ends[int(mean > 0)]) or 1.0) for mean in activation.means)


def _maps(passage: str, one: Inspected, layer: LayerReading, width: float) -> list[Block]:
    return [
        unit_map(part.name, passage, one.tokens, part.values, (part.low, part.high), width)
        for part in (*layer.gates, *layer.states)
    ]


def _decisions(key: str, readings: Sequence[Inspected]) -> Table:
    """The answers as numbers, and whether attributions are complete."""
    columns = (
        Column("Run", ("run",), numeric=False), Column("Predicted", ("predicted",), numeric=False),
        Column("Probability, %", ("probability",)), Column("Log odds", ("log_odds",)),
        Column("Log odds of the baseline", ("baseline_log_odds",)), Column("Their difference", ("change",)),
        Column("Sum of attributions", ("total",)), Column("Tolerance", ("tolerance",)), Column("Steps", ("steps",)),
        Column("Complete", ("complete",), numeric=False),
    )  # fmt: skip
    rows = []
    for one in readings:
        found = one.reading.attribution
        numbers = (found.log_odds, found.baseline_log_odds, found.change, found.total, found.tolerance)
        cells = [number_cell(value, 3) for value in numbers]
        head = (text_cell(one.run.name), text_cell(one.label), number_cell(100 * one.probability, 1))
        rows.append((*head, *cells, number_cell(found.steps, 0), text_cell("yes" if found.complete else "no")))
    return Table(f"decision-{key}", "The decision, and the check that attributions sum to it", columns, tuple(rows))


def _tokens(key: str, one: Inspected) -> Table:
    """Every token as a row, to be sorted."""
    columns = (
        Column("Token", ("token",), numeric=False), Column("Place", ("place",)),
        Column("Attribution", ("attribution",)), Column(f"P({one.label}) so far, %", ("probability",)),
        Column("Vector of its own", ("seen",), numeric=False),
    )  # fmt: skip
    reading = one.reading
    rows = tuple(
        (text_cell(visible(token)), number_cell(place + 1, 0), number_cell(float(reading.attribution.values[place]), 3),
         number_cell(100 * float(reading.running[place, reading.predicted]), 1),
         text_cell("no" if one.unseen[place] else "yes"))
        for place, token in enumerate(one.tokens)
    )  # fmt: skip
    return Table(f"tokens-{key}", f"Tokens as a table: {one.run.name}", columns, rows, shown=len(rows), folded=True)


def _background(readings: Sequence[Sequence[Inspected]]) -> Section:
    """What the numbers are."""
    differences = [layer.difference for text in readings for one in text for layer in one.reading.layers]
    known = [value for value in differences if value is not None]
    checked = (
        "Gates and states are computed anew from the cells' equations with the weights of the run; their h differs "
        f"from that of the network by at most {max(known):.1e}."
        if known
        else "None of these networks recurs: there are no gates to show."
    )
    return Section("background", "How to read this", (Listing((*_EXPLAINED, checked)),))


_EXPLAINED = (
    "Attribution: integrated gradients (Sundararajan, Taly and Yan, 2017) from as many zero vectors as the text has "
    "tokens to its word vectors, summed over the elements of each vector. What is attributed is the log odds of the "
    "predicted class, log p/(1 − p); with two classes that is the difference of their logits. Attributions sum to the "
    "difference between the log odds of the text and those of the zero vectors: the table of the decision checks it.",
    "Running prediction: the probability had the text ended after that token, under the pooling of the run.",
    "Gates and candidates in rows of numbers are means over units; the heat maps below them show every unit. A gate of "
    "1 is open, one of 0 shut; h and c are shown on the scale of their own largest value.",
    "Share in pooling: under max pooling the share of features whose largest value stands at the token, under "
    "attention pooling its weight.",
    "Attention received: the weight that tokens of the text give to this one, the mean over them; a unit is a head.",
)
