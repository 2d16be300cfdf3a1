"""From turns to a table: medians and ranges, and ratios taken within rounds, where noise has met both alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.statistics import ratio_interval
from peers.contestants import CONTESTANTS, Contestant, Side
from peers.measure import Round, Session

_PEER: Side = "peer"
_BORROWER: Side = "borrower"
GOALS = {_PEER: {"gru": 1.5, "lstm": 1.5}, _BORROWER: {"gru": 1.2, "lstm": 1.0}}
_INTERVAL_FROM = 3  # rounds


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one contestant is as another: the median over rounds, their range, and a 95% t interval
    of the geometric mean where there are three rounds or more."""

    middle: float
    lowest: float
    highest: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        between = "" if self.interval is None else f" [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"
        return f"{self.middle:.2f}{between}"


def ratio(rounds: Sequence[Round], fast: str, slow: str) -> Ratio | None:
    """Over the rounds in which both took part; None if there is none."""
    ratios = [one[slow].seconds / one[fast].seconds for one in rounds if fast in one and slow in one]
    if not ratios:
        return None
    enough = len(ratios) >= _INTERVAL_FROM
    interval = ratio_interval([math.log(value) for value in ratios])[1:] if enough else None
    return Ratio(median(ratios), min(ratios), max(ratios), interval)


def rates(rounds: Sequence[Round], name: str) -> list[float]:
    """Samples per second in every turn of a contestant."""
    return [one[name].samples / one[name].seconds for one in rounds if name in one]


def fastest(rounds: Sequence[Round], side: Side) -> str | None:
    """The one of a side with the highest median rate."""
    named = [one.name for one in CONTESTANTS if one.side == side]
    middles = {name: median(found) for name in named if (found := rates(rounds, name))}
    return max(middles, key=middles.__getitem__, default=None)


def closest(rounds: Sequence[Round], ours: str, side: Side) -> tuple[str, Ratio] | None:
    """The one of a side that comes closest to ours, within the rounds that both took part in: sittings differ in noise,
    so rates of different ones do not compare."""
    named = [one.name for one in CONTESTANTS if one.side == side]
    found = [(name, against) for name in named if (against := ratio(rounds, ours, name)) is not None]
    return min(found, key=lambda one: one[1].middle, default=None)


def markdown(sessions: Sequence[Session]) -> str:
    """A section for each cell, and what it was measured on."""
    cells = dict.fromkeys(session.work.cell for session in sessions)
    return "\n\n".join(_section(cell, [session for session in sessions if session.work.cell == cell]) for cell in cells)


def _section(cell: str, sessions: Sequence[Session]) -> str:
    rounds = [one for session in sessions for one in session.rounds]
    ours = fastest(rounds, "ours")
    work = sessions[0].work
    lines = [
        f"### {cell.upper()}: {work.embedding} → {work.hidden}, batch {work.batch}, at most {work.max_length} tokens, "
        f"{work.rows:,} word vectors, {work.threads} threads",
        "",
        f"| contestant | samples/s, median (range) | rounds | padding | {ours or 'ours'} is times as fast [95%] |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(one, rounds, ours) for one in CONTESTANTS if rates(rounds, one.name)]
    return "\n".join([*lines, "", *_comparisons(cell, rounds, ours), *_background(sessions)])


def _row(contestant: Contestant, rounds: Sequence[Round], ours: str | None) -> str:
    name, found = contestant.name, rates(rounds, contestant.name)
    turn = next(one[name] for one in rounds if name in one)
    against = ratio(rounds, ours, name) if ours is not None and ours != name else None
    return (
        f"| {name}: {contestant.says} | {median(found):.0f} ({min(found):.0f} to {max(found):.0f}) | {len(found)} "
        f"| {1 - turn.tokens / turn.padded_tokens:.1%} | {'' if against is None else against} |"
    )


def _comparisons(cell: str, rounds: Sequence[Round], ours: str | None) -> list[str]:
    """The faster execution of ours against the best peer, and against the best borrower."""
    lines: list[str] = []
    for side, says in (_PEER, "the best peer"), (_BORROWER, "the best that borrows our batches"):
        best = closest(rounds, ours, side) if ours is not None else None
        if best is None:
            continue
        other, found = best
        goal = GOALS[side].get(cell)
        aim = "" if goal is None else f"; goal {goal:g}: {'reached' if found.middle >= goal else 'missed'}"
        lines.append(
            f"- {ours} against {says}, {other}: {found} times as fast, rounds from {found.lowest:.2f} to "
            f"{found.highest:.2f}{aim}"
        )
    return lines


def _background(sessions: Sequence[Session]) -> list[str]:
    """Machine, versions and what else went on."""
    last = sessions[-1]
    everybody = [ready for session in sessions for ready in session.ready.values()]
    versions = {name: version for ready in everybody for name, version in ready.versions.items()}
    others = [value for session in sessions if (value := session.contention.get("cpu_other_fraction")) is not None]
    steal = [value for session in sessions if (value := session.contention.get("cpu_steal_fraction")) is not None]
    busy = [f"{label} {_range(values)}" for label, values in (("other processes", others), ("steal", steal)) if values]
    return [
        f"- {last.machine['cpu_model']}, {last.machine['cpu_cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        f"- {len(sessions)} sessions, {sum(len(session.rounds) for session in sessions)} rounds of "
        f"{_samples(last)} texts; share of the processor's time: {', '.join(busy) or 'unknown'}",
    ]


def _samples(session: Session) -> int:
    return next(iter(session.rounds[0].values())).samples


def _range(values: Sequence[object]) -> str:
    shares = [float(str(value)) for value in values]
    low, high = min(shares), max(shares)
    return f"{low:.0%}" if round(low, 2) == round(high, 2) else f"{low:.0%} to {high:.0%}"
