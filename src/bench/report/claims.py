"""Claims and their answers as a document: a table of all of them first, then each with its evidence."""

from __future__ import annotations

import shlex

from bench.analysis.claims import Answer, Found, overall, sentence, tally
from bench.analysis.ladder import ladders
from bench.claims import Measure
from bench.files import without_home
from bench.report.claimed import Claimed, Claims, told_status
from bench.report.document import Block, Cell, Column, Commands, Document, Listing, Plot, Prose, Section, Table
from bench.report.figures_claims import along, digits_of, estimates, told
from bench.report.gradients import flow_by_cell
from bench.report.ladder import ladder_blocks
from bench.report.names import file_name
from bench.report.numbers import interval_cell, number, number_cell, plural, text_cell

_DIRECTIONS = {"higher": "more than", "lower": "less than", "equal": "within"}
_CERTAINTY = (
    "How sure: yes where the whole interval of every measure lies on the claimed side of its margin, no where all of "
    "one measure's interval lies on the other, else not shown. That says what held on these data, at these sizes and "
    "with these recipes; no claim is true or false everywhere."
)


def claims_document(claims: Claims, skipped: tuple[str, ...] = ()) -> Document:
    """Everything that page, Markdown and spreadsheets show. skipped: a line for each record that could not be read."""
    answers = [part.answer for part in claims.parts]
    finished = claims.runs.drop_duplicates("run_id")["status"].eq("finished").sum() if claims.parts else 0
    return Document(
        title=f"What the textbooks claim: {claims.name}",
        sentence=overall(answers) if answers else "No claim has been planned yet.",
        certainty=_CERTAINTY,
        tone="",
        facts=(
            *((word.capitalize(), str(count)) for word, count in tally(answers).items()),
            ("Runs finished", f"{int(finished):,}"),
        ),
        warnings=tuple(_warnings(claims, skipped)),
        sections=(
            *((_summary(claims),) if claims.parts else ()),
            *(_section(part, _title(part, claims)) for part in claims.parts),
            _repeat(claims),
        ),
    )


def _warnings(claims: Claims, skipped: tuple[str, ...]) -> list[str]:
    lines = []
    if claims.missing:
        lines.append(f"Not planned yet, so without an answer: {', '.join(claims.missing)}.")
    unfinished = [f"{part.name} ({_gaps(part)})" for part in claims.parts if part.unfinished]
    if unfinished:
        lines.append(f"Planned runs without a result: {'; '.join(unfinished)}.")
    changed = [part.name for part in claims.parts if len(part.claims) > 1]
    if changed:
        lines.append(
            f"Claimed differently in a later plan; the claim that was fixed first counts: {', '.join(changed)}."
        )
    loose = sum(int((part.records["code_committed"] == False).fillna(False).sum()) for part in claims.parts)  # noqa: E712
    if loose:
        lines.append(f"{plural(loose, 'execution')} by sources that no commit holds, so nobody else can fetch them.")
    if skipped:
        lines.append(f"{plural(len(skipped), 'record or plan')} could not be read.")
    return lines


def _gaps(part: Claimed) -> str:
    return ", ".join(f"{count} {told_status(status)}" for status, count in part.unfinished.items())


def _summary(claims: Claims) -> Section:
    """All claims at a glance."""
    columns = (
        Column("Claim", ("claim",), numeric=False), Column("Here", ("answer",), numeric=False),
        Column("Measured", ("measured",), numeric=False), Column("Held equal", ("held_equal",), numeric=False),
        Column("n (seeds)", ("seeds",)), Column("Question", ("question",), numeric=False),
    )  # fmt: skip
    rows = tuple(
        (
            text_cell(part.answer.claim.says, note=part.answer.claim.source),
            text_cell(part.answer.verdict),
            text_cell("; ".join(_short(found) for found in part.answer.found)),
            text_cell(part.answer.claim.held),
            number_cell(min(found.seeds for found in part.answer.found), 0),
            text_cell(part.name),
        )
        for part in claims.parts
    )
    return Section("claims", "Claims and answers", (Table("claims", "Claims of the lectures", columns, rows),))


def _short(found: Found) -> str:
    return f"{found.measure.name}: {told(found)} ({found.verdict})"


def _title(part: Claimed, claims: Claims) -> str:
    """The claim; where several questions ask the same, which of them this is."""
    said = part.answer.claim.said
    alike = sum(other.answer.claim.says == part.answer.claim.says for other in claims.parts)
    return said if alike == 1 else f"{said} ({part.name.rpartition('/')[2]})"


def _section(part: Claimed, title: str) -> Section:
    """One claim: what was claimed, what was measured, the figure, the numbers."""
    claim, key = part.answer.claim, file_name(part.name)
    numbers = _measures(part.answer, key)
    drawn = [figure for figure in (estimates(part.answer, key), along(part.answer, key)) if figure is not None]
    notes = [f"{found.measure.name}: {note}." for found in part.answer.found for note in found.notes]
    fixed = part.claims[0].fixed_at[:16].replace("T", " ")
    blocks: list[Block] = [
        Prose(sentence(part.answer), strong=True),
        Prose(f"Claim: {claim.said} ({claim.source}). Held equal: {claim.held}."),
        Prose(f"Intervals of {1 - claim.alpha:.0%} over seeds. The claim was stored with the plan on {fixed} UTC."),
        numbers,
        *(Plot(figure, see=numbers.name) for figure in drawn),
    ]
    if notes:
        blocks.append(Listing(tuple(notes)))
    if any(measure.field.startswith("gradient_") for measure in claim.measures):
        blocks += flow_by_cell(part.records)
    if any(measure.kind == "ladder" for measure in claim.measures):
        blocks += ladder_blocks(ladders(part.records, uncommitted=True), key=key)
    if part.unfinished:
        blocks.append(Prose(f"Planned runs without a result: {_gaps(part)}."))
    return Section(key, title, tuple(blocks))


def _measures(answer: Answer, key: str) -> Table:
    columns = (
        Column("Measure", ("measure",), numeric=False), Column("Claimed", ("claimed",), numeric=False),
        Column("Measured [interval]", ("estimate", "low", "high")), Column("Unit", ("unit",), numeric=False),
        Column("n (seeds)", ("seeds",)), Column("Tasks", ("tasks",), numeric=False),
        Column("Answer", ("answer",), numeric=False),
    )  # fmt: skip
    rows = tuple(
        (
            text_cell(found.measure.name, note=_compared(found.measure)), text_cell(_claimed(found)), _interval(found),
            text_cell(found.unit), number_cell(found.seeds, 0), text_cell(", ".join(filter(None, found.tasks))),
            text_cell(found.verdict),
        )
        for found in answer.found
    )  # fmt: skip
    return Table(f"{key}_measures", "What the claim stands or falls with", columns, rows)


def _interval(found: Found) -> Cell:
    return interval_cell(found.estimate, found.low, found.high, digits_of(found), sign=not found.is_factor)


def _compared(measure: Measure) -> str:
    """The field and the arms, as planned."""
    against = "" if measure.against is None else f" against {measure.against}"
    along = f" along {measure.along}" if measure.along else ""
    return f"{measure.field}, {measure.kind}: {measure.arm}{against}{along}"


def _claimed(found: Found) -> str:
    """Such as `more than 1 points`, `within 1.10 times`."""
    measure = found.measure
    margin = number(measure.least, 2 if measure.least % 1 else 0)
    if measure.direction == "equal":
        return f"within ±{margin} {found.unit}" if not found.is_factor else f"within a factor of {margin}"
    if measure.direction == "lower":
        margin = f"−{margin}" if measure.least and not found.is_factor else margin
        margin = number(1 / measure.least, 2) if found.is_factor and measure.least != 1 else margin
    return f"{_DIRECTIONS[measure.direction]} {margin} {found.unit}".strip()


def _repeat(claims: Claims) -> Section:
    """What to type."""
    lines = [
        shlex.join(["python", "-m", "bench", "-m", *map(without_home, _asked(part.asked))]) for part in claims.parts
    ]
    return Section("repeat", "Repeat it", (
        Prose("From a checkout of the code version in the records, with the same data in place:"),
        Commands((*lines, f"python -m bench report sweep={claims.name}")),
    ))  # fmt: skip


def _asked(arguments: tuple[str, ...]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith(("force=", "dry_run=", "results="))]
