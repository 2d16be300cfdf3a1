"""`report diff=A..B` as a document: what changed between two result folders or two versions of the code."""

from __future__ import annotations

from collections import Counter

from bench.analysis.arm_differences import ArmDifference, Changed
from bench.analysis.decision import Interval
from bench.analysis.differences import Differences
from bench.report.document import Block, Cell, Column, Document, Listing, Prose, Section, Table
from bench.report.numbers import UNKNOWN, interval_cell, number_cell, plural, probability_cell, text_cell

_TONES = {"yes": "alternative", "no": "equivalent"}


def compose_differences(found: Differences, request: str, skipped: tuple[str, ...]) -> Document:
    """The page of two sides. request: as typed;  skipped: a line for each record that could not be read."""
    counts = Counter(arm.changed for arm in found.arms)
    sections = [
        Section("arms", "Arm by arm", _arms(found)),
        Section("settings", "Settings and environment", (_values(found),) if found.values else (
            Prose("Every setting and the environment are equal on both sides."),)),
        Section("gaps", "Left out", _left_out(found, skipped)),
    ]  # fmt: skip
    facts = (("Arms on both sides", str(len(found.arms))), ("Changed", str(counts["yes"])),
             ("Unchanged", str(counts["no"])), ("Undecided", str(counts["undecided"])),
             ("Refused", str(counts["refused"])))  # fmt: skip
    return Document(
        title=f"What changed: {request}",
        sentence=_sentence(found, counts),
        certainty="Paired by seed; p-values are adjusted for the number of arms (Holm). Small changes within what one "
        "new seed would change anyway count as none.",
        tone="alternative" if counts["yes"] else "equivalent" if counts["no"] == len(found.arms) > 0 else "undecided",
        facts=facts,
        warnings=(),
        sections=tuple(sections),
    )


def _sentence(found: Differences, counts: Counter[Changed]) -> str:
    if not found.arms:
        return "Nothing can be compared: no arm has runs on both sides."
    changed = [arm.arm for arm in found.arms if arm.changed == "yes"]
    total = plural(len(found.arms), "arm")
    if changed:
        return f"Quality changed beyond seed noise in {len(changed)} of {total}: {', '.join(changed[:3])}" + (
            ", …" if len(changed) > 3 else "."
        )
    open_ones = counts["undecided"] + counts["refused"]
    if open_ones:
        return f"No change of quality beyond seed noise was found in {total}; {open_ones} could not be decided."
    return f"Quality did not change beyond seed noise in any of {total}."


def _arms(found: Differences) -> tuple[Block, ...]:
    titles = (("Arm", "arm"), ("Data", "dataset"), ("Metric", "metric"))
    columns = (
        *(Column(title, (key,), numeric=False) for title, key in titles),
        Column("n (pairs)", ("paired",)), Column("Bit-equal", ("identical",)),
        Column("Before, %", ("before_percent",)), Column("After, %", ("after_percent",)),
        Column("Difference, points", ("difference_points", "difference_low", "difference_high")),
        Column("One seed changes, points", ("seed_noise_points",)), Column("p (Holm)", ("p_holm",)),
        Column("Changed", ("changed",), numeric=False), Column("Because", ("reason",), numeric=False),
        Column("Time ratio", ("time_ratio", "time_low", "time_high")), Column("n (time pairs)", ("time_pairs",)),
        Column("Time", ("time_reason",), numeric=False),
    )  # fmt: skip
    caption = "After minus before, paired by seed; time ratio: after over before"
    return (Table("arms", caption, columns, tuple(map(_row, found.arms))),)


def _row(arm: ArmDifference) -> tuple[Cell, ...]:
    before, after = (None if value is None else 100 * value for value in (arm.accuracy_before, arm.accuracy_after))
    return (
        text_cell(arm.arm), text_cell(arm.dataset), text_cell(arm.metric), number_cell(arm.paired, 0),
        number_cell(arm.identical, 0), number_cell(before), number_cell(after), _interval(arm.difference, sign=True),
        number_cell(arm.seed_noise), probability_cell(arm.p_holm),
        text_cell(arm.changed, _TONES.get(arm.changed, "undecided")),
        text_cell(arm.reason), _interval(arm.time_ratio), number_cell(arm.time_pairs, 0), text_cell(arm.time_reason),
    )  # fmt: skip


def _interval(interval: Interval | None, sign: bool = False) -> Cell:
    if interval is None:
        return Cell(UNKNOWN, (None, None, None))
    return interval_cell(interval.estimate, interval.low, interval.high, sign=sign)


def _values(found: Differences) -> Table:
    columns = tuple(Column(title, (title.lower(),), numeric=False) for title in ("Name", "Before", "After"))
    rows = tuple(
        (text_cell(value.name), text_cell(", ".join(value.before)), text_cell(", ".join(value.after)))
        for value in found.values
    )
    return Table("settings", "What is not the same on both sides", columns, rows)


def _left_out(found: Differences, skipped: tuple[str, ...]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for words, arms in (("before", found.only_before), ("after", found.only_after)):
        if arms:
            blocks += [Prose(f"Only {words}: {plural(len(arms), 'arm')}."), Listing(arms[:50])]
    if found.set_apart:
        blocks += [Prose("Set apart:"), Listing(found.set_apart[:50])]
    if skipped:
        blocks += [Prose("Records that could not be read:"), Listing(skipped[:50])]
    return tuple(blocks) or (Prose("Nothing: every arm is on both sides."),)
