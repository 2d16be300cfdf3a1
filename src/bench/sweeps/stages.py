"""Equal wall-clock comes after equal width: everyone gets the seconds that the faster cell took there."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from bench.declarations import BASELINES
from bench.runs.questions import TimeLimit, now, store_time_limit
from bench.runs.store import Store
from bench.sweeps.plan import Plan, Waiting, Wanted

_SHORTEST = 0.1  # seconds, and the step that limits are rounded to


def settle_time_limits(plan: Plan, store: Store) -> dict[str, str]:
    """Settle the seconds of all that waits in a plan, and keep them for every later call.

    Returns: for what has to go without (`Waiting.after`), the reason.
    """
    reasons = {}
    for after in dict.fromkeys(waiting.after for waiting in plan.waiting):
        settled = _time_limit(plan, after, store)
        if isinstance(settled, TimeLimit):
            store_time_limit(store, plan.name, after, settled)
        else:
            reasons[after] = settled
    return reasons


def with_reasons(plan: Plan, reasons: dict[str, str]) -> Plan:
    """The plan, with the reasons why some of it has to go without a time limit."""
    return replace(plan, waiting=tuple(_explained(waiting, reasons) for waiting in plan.waiting))


def _explained(waiting: Waiting, reasons: dict[str, str]) -> Waiting:
    return replace(waiting, reason=reasons.get(waiting.after, waiting.reason))


def _time_limit(plan: Plan, after: str, store: Store) -> TimeLimit | str:
    """The faster cell's median of the training time at equal width, over the planned seeds; or why there is none.

    Times compare on one machine alone: where there are several, the one with most runs counts.
    """
    arms: dict[str, str] = {}
    seconds: dict[str, dict[str, list[float]]] = {}
    for run_id, wanted in _timed(plan, after):
        arms[wanted.arm] = wanted.choice.cell
        record = store.finished(run_id)
        if record is not None and record.train_seconds is not None:
            seconds.setdefault(record.hardware_key, {}).setdefault(wanted.arm, []).append(record.train_seconds)
    complete = [hardware for hardware, taken in seconds.items() if taken.keys() == arms.keys()]
    if not complete:
        missing = [cell for arm, cell in arms.items() if not any(arm in taken for taken in seconds.values())]
        return f"no run finished of: {', '.join(missing)}" if missing else "no machine has finished runs of every cell"
    hardware = max(complete, key=lambda key: sum(map(len, seconds[key].values())))
    medians = {arm: median(taken) for arm, taken in seconds[hardware].items()}
    limit = max(_SHORTEST, round(min(medians.values()), 1))
    return TimeLimit(seconds=limit, medians=medians, hardware_key=hardware, fixed_at=now())


def _timed(plan: Plan, after: str) -> list[tuple[str, Wanted]]:
    """The runs at equal width, by id. Baselines take the cells' seconds: a bag's own would be too few for any cell."""
    found = [(member.run_id, wanted) for member in plan.members for wanted in member.wanted if wanted.held == after]
    return [entry for entry in found if entry[1].config.model.cell not in BASELINES] or found
