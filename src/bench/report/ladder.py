"""Up to which length each arm solves a generated corpus, as a section of a report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import pandas as pd

from bench.analysis.arms import simplicity
from bench.analysis.ladder import SHARE, SOLVED, Ladder, ladders, longest_solved, solved_shares
from bench.analysis.verdict import Verdict
from bench.report.document import Block, Listing, Plot, Prose, Section
from bench.report.figures_ladder import solved_lengths
from bench.report.figures_panels import scene_names, unique
from bench.report.frames import Shown, of_frame
from bench.report.numbers import known

_RULE = (
    f"A seed solves a length with a test accuracy of at least {SOLVED:.0%} (where answers are numbers: the share of "
    f"them within data.tolerance). A length is solved if {SHARE:.0%} or more of its seeds solve it; the longest length "
    "solved is the one up to which every length is. All runs of a ladder had the same budget of training, whatever "
    "their length. Training that diverged solves nothing. docs/memory.md says more."
)
_ALONG: Mapping[str, str] = {
    "data.length": "Lengths are those of training and test texts, in tokens.",
    "data.test_length": "Lengths are those of test texts, in tokens; training texts are shorter than all of them.",
}


def ladder(found: Verdict, records: pd.DataFrame) -> Section:
    """The section of a report on a verdict."""
    allowed = found.protocol.uncommitted == "allow"
    every = ladders(records, found.study.factor, uncommitted=allowed)
    return Section("solved", "Longest length solved", ladder_blocks(every, found.study.arms))


def ladder_blocks(every: Sequence[Ladder], arms: Sequence[str] = (), key: str = "") -> tuple[Block, ...]:
    """What lengths are, the answers, the share of seeds, the tops: for each key of length; nothing without ladders.

    arms: of all figures beside them, in order;  key: in the names of figures and tables, in front.
    """
    blocks = [block for one in every for block in _blocks(one, arms, f"{key}_" if key else "")]
    return (Prose(_RULE), *blocks) if blocks else ()


def _blocks(one: Ladder, arms: Sequence[str], prefix: str) -> list[Block]:
    shares = _named(solved_shares(one.runs, one.along), one)
    tops = _named(longest_solved(one.runs, one.along), one)
    tops = tops.assign(shown=[top_in_words(row) for row in tops.to_dict("records")])
    end = one.along.rpartition(".")[2]
    table = of_frame(f"{prefix}solved_{end}", "Seeds that solve each length", shares, _SHARES, folded=True)
    figure = solved_lengths(shares, arms or sorted(tops["arm"].unique(), key=simplicity), f"{prefix}{end}")
    return [
        Prose(_ALONG[one.along]),
        Listing(tuple(answers(tops))),
        Plot(figure, table),
        of_frame(f"{prefix}ladder_{end}", "Longest length solved, in tokens", tops, _TOPS),
    ]


def _named(frame: pd.DataFrame, one: Ladder) -> pd.DataFrame:
    """With a column `task`, a name for each scene; arms in order, simplest first."""
    names = unique(scene_names(one.scenes))
    order = {arm: place for place, arm in enumerate(sorted(frame["arm"].unique(), key=simplicity))}
    keys = ["scene", "arm", "length"] if "length" in frame else ["scene", "arm"]
    ordered = frame.sort_values(
        keys, key=lambda column: column.map(order) if column.name == "arm" else column, kind="stable", ignore_index=True
    )
    return ordered.assign(task=[names[int(scene)] for scene in ordered["scene"]])


def answers(tops: pd.DataFrame) -> list[str]:
    """One sentence a task. tops: with columns `task` and `shown`."""
    return [
        f"{task}: {'; '.join(f'{row.arm} {row.shown}' for row in rows.itertuples())}."
        for task, rows in tops.groupby("task", sort=False)
    ]


def top_in_words(row: Mapping[Hashable, object]) -> str:
    """Such as `100 (200 is not solved)`, `at least 400`, `none (25 is not solved)`."""
    after, longest = row["next"], row["longest"]
    if not known(after):
        return f"at least {longest:,}"
    state: Literal["was not run", "is not solved"] = "was not run" if row["next_seeds"] == 0 else "is not solved"
    return f"{f'{longest:,}' if known(longest) else 'none'} ({after:,} {state})"


_PLACE = (Shown("Task", ("task",)), Shown("Arm", ("arm",)))
_SHARES = (
    *_PLACE, Shown("Tokens", ("length",), 0), Shown("n (seeds)", ("seeds",), 0), Shown("Solved by", ("solved",), 0),
    Shown("Test accuracy, %, median", ("median",), 1, scale=100),
)  # fmt: skip
_TOPS = (
    *_PLACE, Shown("n (seeds), fewest", ("seeds",), 0), Shown("Longest solved", ("shown",)),
    Shown("From", ("shortest",), 0), Shown("To", ("farthest",), 0),
)  # fmt: skip
