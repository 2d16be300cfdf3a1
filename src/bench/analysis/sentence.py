"""The verdict in one or two sentences that need no statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.analysis.decision import EITHER, EQUIVALENT, UNDECIDED, points
from bench.analysis.evidence import Evidence
from bench.analysis.executions import kernels_differ
from bench.analysis.pairing import Study

_CELLS = ("rnn", "gru", "lstm")
_MATCHED = {"width": "at equal width", "parameters": "at equal size", "time": "in equal time"}


def sentence(study: Study, headline: Sequence[Evidence], overall: Sequence[Evidence]) -> str:
    """What the evidence says, for whoever has to decide. Several questions at once (more than two arms) are counted."""
    if not headline:
        return _nothing(study)
    if len({(entry.baseline, entry.alternative) for entry in headline}) > 1:
        return _counted(headline)
    if not overall:
        return _answer(headline[0], f"on {headline[0].scene.task}")
    return f"{_answer(overall[0], f'over {len(headline)} tasks together')} {_each(headline)}"


def _nothing(study: Study) -> str:
    if len(study.arms) < 2:
        return "No verdict: fewer than two arms have finished runs that pair."
    return "No verdict: no two runs with the same seed differ in nothing but what is compared."


def _answer(entry: Evidence, where: str) -> str:
    """What to choose and why, what was measured, and by which kernels. where: the tasks it holds for."""
    return f"{_decided(entry, where)}{_ran(entry)}"


def _decided(entry: Evidence, where: str) -> str:
    one, other = _shown(entry.baseline), _shown(entry.alternative)
    if not entry.look:
        return f"Not settled yet: {where}, {entry.decision.reason}."
    if entry.verdict == UNDECIDED:
        told = f"{len(entry.seeds)} seeds neither separate {one} and {other} nor show them equal"
        return f"Not settled yet: {where}, {told}. {_measured(entry)}; {_reach(entry)}."
    if entry.verdict == EQUIVALENT:
        cheaper = entry.held.cheaper
        cost = "neither trained measurably faster here: take either"
        if cheaper not in (EITHER, None):
            cost = f"{_the(cheaper)} trained faster here: take {_the(cheaper)}"
        within = f"{one} and {other} are equally good within {points(entry.margin)} {where}"
        return f"{within}, and {cost}. {_measured(entry)}, with {len(entry.seeds)} seeds."
    chosen = f"Choose {_the(entry.verdict)}: {where} it is {entry.held.reason}"
    return f"{chosen}. {_measured(entry)}, with {len(entry.seeds)} seeds."


def _measured(entry: Evidence) -> str:
    """The estimate, as the beginning of a sentence."""
    estimate = entry.plain.estimate if entry.plain else 0.0
    ahead = entry.alternative if estimate > 0 else entry.baseline
    name = _the(ahead)
    return f"{name[0].upper()}{name[1:]} is ahead by {abs(estimate):.1f} points {_MATCHED[entry.scene.matching]}"


def _ran(entry: Evidence) -> str:
    """Where two arms ran by different kernels, the ratio of their times is that of the kernels too."""
    first, second = entry.kernels
    if not entry.scene.execution or not kernels_differ(entry.kernels):  # none: kernels are what is compared
        return ""
    return f" {_shown(entry.baseline)} ran by {first}, {_shown(entry.alternative)} by {second}: times are of both."


def _reach(entry: Evidence) -> str:
    if entry.seeds_needed is None:
        return "no number of seeds within reach would settle it at this margin"
    return f"about {entry.seeds_needed} seeds would settle it if mean and spread stayed as they are"


def _each(headline: Sequence[Evidence]) -> str:
    """How the single tasks came out, corrected for their number."""
    counts = Counter(entry.verdict for entry in headline)
    named = [name for name in counts if name not in (EQUIVALENT, UNDECIDED)]
    order = [*sorted(named), *(name for name in (EQUIVALENT, UNDECIDED) if counts[name])]
    parts = [f"{_shown(name) if name in named else name} on {counts[name]}" for name in order]
    return f"Task by task, corrected for {len(headline)} at once: {', '.join(parts)}."


def _counted(headline: Sequence[Evidence]) -> str:
    pairs: dict[tuple[str, str], list[Evidence]] = {}
    for entry in headline:
        pairs.setdefault((entry.baseline, entry.alternative), []).append(entry)
    lines = []
    for (one, other), entries in pairs.items():
        counts = Counter(entry.verdict for entry in entries)
        outcome = ", ".join(f"{_shown(name)} on {count}" for name, count in counts.most_common())
        lines.append(f"{_shown(one)} or {_shown(other)}: {outcome}")
    return f"Over {len(headline)} comparisons, corrected for their number: {'; '.join(lines)}."


def _the(arm: str | None) -> str:
    return f"the {_shown(arm)}" if arm in _CELLS else str(arm)


def _shown(arm: str) -> str:
    """Cells are written as their papers write them."""
    return arm.upper() if arm in _CELLS else arm
