"""What the turns of a duel say: time ratios with intervals, speeds, shares of a difference, growth with length.

Every function takes the table of turns, one row a timed training step (`duel_meetings.COLUMNS`), and gives a table of
its own. What is sampled is the repetition: steps within one share their noise and their memory, so that an interval
over steps would be too narrow. A repetition's ratio is the median over its rounds of the ratio within a round; the
estimate is the geometric mean over repetitions, and the interval Student's t on their logarithms. With a single
repetition there is no interval; what cannot be known is NaN.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd

from bench.analysis.duel_meetings import (
    CONTESTANT,
    FASTEST,
    KERNELS,
    MATCHINGS,
    MATRIX_PRODUCT,
    SETTING,
    Floats,
    Key,
    Meeting,
    in_order,
    meetings,
)
from bench.analysis.statistics import ratio_interval


def interval(logs: Floats) -> tuple[float, float, float]:
    """Geometric mean and 95% interval of ratios given by their logarithms; no interval for a single one."""
    if len(logs) < 2:
        return math.exp(float(logs.mean())), math.nan, math.nan
    return ratio_interval(logs)


def ratios(turns: pd.DataFrame) -> pd.DataFrame:
    """Time ratios: of two cells under one execution and one matching, and of two executions of one cell.

    Columns: those of the setting, comparison (cells | kernels), matching, execution (torch | step | fastest; for
    kernels `step / torch`), first, first_kernel, first_hidden_size, the same of second, flop_ratio, ratio, low, high,
    repetitions, disturbed (as of `Meeting`). The first cell is the simpler one.
    """
    rows = [row for meeting in meetings(turns) for row in (*_between_cells(meeting), *_between_kernels(meeting))]
    return pd.DataFrame(rows)


def _between_cells(meeting: Meeting) -> Iterator[dict[str, object]]:
    for matching in MATCHINGS:
        members = meeting.taking_part(matching)
        for first, second in combinations(in_order({cell for cell, _, _ in members}), 2):
            for execution, left, right in _executions(meeting, members, first, second):
                named = {"comparison": "cells", "matching": matching, "execution": execution}
                yield _place(meeting) | named | _ratio(meeting, left, right)


def _executions(meeting: Meeting, members: Sequence[Key], first: str, second: str) -> Iterator[tuple[str, Key, Key]]:
    """Both cells under the same execution, and both under their fastest."""
    left, right = ({key[1]: key for key in members if key[0] == cell} for cell in (first, second))
    for kernel in KERNELS:
        if kernel in left and kernel in right:
            yield kernel, left[kernel], right[kernel]
    if len(left) > 1 or len(right) > 1:
        yield FASTEST, _fastest(meeting, left.values()), _fastest(meeting, right.values())


def _fastest(meeting: Meeting, keys: Iterable[Key]) -> Key:
    return min(keys, key=lambda key: float(np.log(meeting.seconds_of(key)).mean()))


def _between_kernels(meeting: Meeting) -> Iterator[dict[str, object]]:
    for cell, kernel, hidden_size in meeting.contestants:
        torch = (cell, "torch", hidden_size)
        if kernel == "step" and torch in meeting.contestants:
            matching = "width" if meeting.contestants[torch].equal_width else "parameters"
            named = {"comparison": "kernels", "matching": matching, "execution": "step / torch"}
            yield _place(meeting) | named | _ratio(meeting, (cell, kernel, hidden_size), torch)


def _ratio(meeting: Meeting, first: Key, second: Key) -> dict[str, object]:
    logs = meeting.log_ratios(first, second)
    ratio, low, high = interval(logs)
    sides = {f"{side}{name}": value for side, key in (("first", first), ("second", second))
             for name, value in zip(("", "_kernel", "_hidden_size"), key, strict=True)}  # fmt: skip
    flops = meeting.flops(first), meeting.flops(second)
    return sides | {
        "flop_ratio": flops[0] / flops[1] if all(flops) else math.nan,
        "ratio": ratio, "low": low, "high": high, "repetitions": len(logs), "disturbed": meeting.disturbed,
    }  # fmt: skip


def shares(turns: pd.DataFrame) -> pd.DataFrame:
    """A difference under `torch` as a product of three factors, for each pair of cells that recur.

        time ratio under torch = arithmetic · memory · kernel
        arithmetic = ratio of operations;  memory = time ratio under step / arithmetic: memory traffic, elementwise and
        common work that operations do not count;  kernel = time ratio under torch / time ratio under step.

    Columns: those of the setting, matching, first, second, total with total_low and total_high, arithmetic, and memory
    and kernel with their bounds; *_share: |ln factor| as a fraction of the three together.
    """
    rows = []
    for meeting in meetings(turns):
        for matching in MATCHINGS:
            members = meeting.taking_part(matching)
            both = {cell for cell, kernel, _ in members if kernel == "step"} & {
                cell for cell, kernel, _ in members if kernel == "torch"
            }
            for first, second in combinations(in_order(both), 2):
                sides = {execution: (left, right) for execution, left, right
                         in _executions(meeting, members, first, second)}  # fmt: skip
                named = {"matching": matching, "first": first, "second": second}
                rows.append(_place(meeting) | named | _factors(meeting, sides["torch"], sides["step"]))
    return pd.DataFrame(rows)


def _factors(meeting: Meeting, torch: tuple[Key, Key], step: tuple[Key, Key]) -> dict[str, object]:
    arithmetic = meeting.flops(torch[0]) / meeting.flops(torch[1])
    under_torch, under_step = meeting.log_ratios(*torch), meeting.log_ratios(*step)
    logs = {"total": under_torch, "memory": under_step - math.log(arithmetic), "kernel": under_torch - under_step}
    row: dict[str, object] = {"arithmetic": arithmetic}
    for name, values in logs.items():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), interval(values), strict=True))
    sizes = {name: abs(math.log(float(str(row[name])))) for name in ("arithmetic", "memory", "kernel")}
    together = sum(sizes.values()) or 1.0
    return row | {f"{name}_share": size / together for name, size in sizes.items()}


def speeds(turns: pd.DataFrame) -> pd.DataFrame:
    """How fast everyone is in each setting, the machine's own matrix product among them.

    Columns: those of the setting and the contestant, equal_width, equal_parameters, parameters, milliseconds with low
    and high (a training step), texts_per_second, tokens_per_second, gflops (10⁹ operations of the encoder's matrix
    products a second), rate_fraction with rate_low and rate_high (of the matrix product's rate in the same turns).
    """
    rows = []
    for meeting in meetings(turns):
        machine = next((key for key in meeting.contestants if key[0] == MATRIX_PRODUCT), None)
        for key in meeting.contestants:
            rows.append(_place(meeting) | _speed(meeting, key, machine))
    return pd.DataFrame(rows)


def _speed(meeting: Meeting, key: Key, machine: Key | None) -> dict[str, object]:
    length, batch_size, _ = meeting.place
    seconds, low, high = interval(np.log(meeting.seconds_of(key)))
    row: dict[str, object] = dict(zip(CONTESTANT, key, strict=True))
    row |= {name: value for name, value in asdict(meeting.contestants[key]).items() if name != "flops"}
    row |= {"milliseconds": 1e3 * seconds, "low": 1e3 * low, "high": 1e3 * high}
    flops, alone = meeting.flops(key), key == machine
    row |= {"texts_per_second": math.nan if alone else batch_size / seconds,
            "tokens_per_second": math.nan if alone else batch_size * length / seconds,
            "gflops": flops / seconds / 1e9 if flops else math.nan}  # fmt: skip
    bounds = (math.nan,) * 3
    if flops and machine is not None and not alone:
        rate = math.log(flops / meeting.flops(machine)) - meeting.log_ratios(key, machine)
        bounds = interval(rate)
    return row | dict(zip(("rate_fraction", "rate_low", "rate_high"), bounds, strict=True))


def growth(turns: pd.DataFrame) -> pd.DataFrame:
    """How the time of a step grows with the length of texts: the exponent p of time ∝ lengthᵖ, at equal width.

    Columns: cell, kernel, hidden_size, shortest, longest (tokens), exponent with low and high (least squares over all
    lengths, per repetition), at_the_end with end_low and end_high (between the two longest), of_arithmetic (the same
    of the operations that are counted).
    """
    ladders: defaultdict[tuple[int, int], list[Meeting]] = defaultdict(list)
    for meeting in meetings(turns):
        ladders[meeting.place[1:]].append(meeting)
    ladder = max(ladders.values(), key=len, default=[])
    if len(ladder) < 2:
        return pd.DataFrame()
    keys = ladder[0].taking_part("width") or ladder[0].taking_part("parameters")
    return pd.DataFrame([_exponents(ladder, key) for key in keys])


def _exponents(ladder: Sequence[Meeting], key: Key) -> dict[str, object]:
    lengths = np.log([meeting.place[0] for meeting in ladder])
    repetitions = min(len(meeting.seconds_of(key)) for meeting in ladder)
    logs = np.log([meeting.seconds_of(key)[:repetitions] for meeting in ladder])
    slopes = np.polyfit(lengths, logs, 1)[0]
    ends = (logs[-1] - logs[-2]) / (lengths[-1] - lengths[-2])
    flops = np.array([meeting.flops(key) for meeting in ladder])
    row: dict[str, object] = dict(zip(CONTESTANT, key, strict=True))
    row |= {"shortest": ladder[0].place[0], "longest": ladder[-1].place[0]}
    row |= dict(zip(("exponent", "low", "high"), _mean_interval(slopes), strict=True))
    row |= dict(zip(("at_the_end", "end_low", "end_high"), _mean_interval(ends), strict=True))
    return row | {"of_arithmetic": float(np.polyfit(lengths, np.log(flops), 1)[0]) if flops.all() else math.nan}


def _mean_interval(values: Floats) -> tuple[float, float, float]:
    mean, low, high = interval(values)
    return math.log(mean), math.log(low), math.log(high)


def _place(meeting: Meeting) -> dict[str, object]:
    return dict(zip(SETTING, meeting.place, strict=True))
