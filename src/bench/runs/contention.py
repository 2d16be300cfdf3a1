"""Who else used the processor while a run trained, and whether its times can be trusted (docs/clock.md).

Times are sums over segments, from `start` to `stop`: what the machine does while a run evaluates does not count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from bench.distributed import gather
from bench.processor import usable_cores

# A timing is disturbed where one of these is exceeded. Chosen by measurement: docs/clock.md says how often the rule
# calls a quiet run disturbed, and how often it misses one that was slowed down. Fractions as in a record.
MOST_STEAL = 0.01  # threads of one step wait for each other: 1 to 3% stolen were seen to cost a step 13%
MOST_WAIT = 0.05  # of which others are the cause where they used `LEAST_OTHER` of the usable cores' time
LEAST_OTHER = 0.02
MOST_OTHER = 0.25  # that nobody waited for: caches, memory and clock frequency are shared all the same
MOST_OTHER_UNSEEN = 0.05  # where the system does not tell how long threads waited
FEWEST_SECONDS = 0.5  # of training, below which the system's counters, in steps of 10 ms, are too coarse

_IDLE = ("idle", "iowait", "steal")
_COUNTED_TWICE = ("guest", "guest_nice", "dpc", "interrupt")  # `user`, `nice` and `system` hold them already


@dataclass(frozen=True, kw_only=True)
class ContentionReading:
    """What else kept the machine busy; fields as in `RunRecord`, None where the system does not tell."""

    load_average: float | None = None
    cpu_steal_fraction: float | None = None
    cpu_other_fraction: float | None = None
    cpu_wait_fraction: float | None = None


@dataclass(frozen=True)
class _Sample:
    """The system's counters at one moment, in seconds.

    cores: of the usable cores, by state;  own: of this process and those it started;  threads: of each thread of this
    process, how long it ran and how long it waited for a processor, None where the system does not tell.
    """

    at: float
    cores: Mapping[str, float]
    own: float
    threads: Mapping[str, tuple[float, float]] | None

    @classmethod
    def now(cls) -> _Sample:
        """As of now."""
        return cls(time.perf_counter(), _core_seconds(), _own_seconds(), thread_seconds())

    def since(self, before: _Sample) -> dict[str, float]:
        """What has been added; a thread that has ended meanwhile is left out."""
        spent = {f"cpu.{state}": value - before.cores.get(state, value) for state, value in self.cores.items()}
        spent |= {"elapsed": self.at - before.at, "own": self.own - before.own}
        if self.threads is not None and before.threads is not None:
            for name, (ran, waited) in self.threads.items():
                ran_before, waited_before = before.threads.get(name, (0.0, 0.0))
                spent["ran"] = spent.get("ran", 0.0) + ran - ran_before
                spent["waited"] = spent.get("waited", 0.0) + waited - waited_before
        return spent


class Contention:
    """Adds up, over all segments so far, what the processor did for us and for others."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._before: _Sample | None = None

    def start(self) -> Contention:
        """A segment begins; returns itself."""
        self._before = _Sample.now()
        return self

    def stop(self) -> None:
        """It ends. Does nothing where none has begun."""
        if self._before is None:
            return
        spent = _Sample.now().since(self._before)
        if hasattr(os, "getloadavg"):
            spent["load"] = os.getloadavg()[0] * spent["elapsed"]
        for name, value in spent.items():
            self._spent[name] = self._spent.get(name, 0.0) + value
        self._before = None

    def finish(self) -> ContentionReading:
        """End the segment that is open; the shares of all segments."""
        self.stop()
        return self.reading()

    def reading(self, over_processes: bool = False) -> ContentionReading:
        """Shares of the usable cores' time in all segments; all None before the first one has ended.

        Processes that this one started count as its own. over_processes: the largest share that any process of a
        distributed run saw, but other processes' as the first one sees it, whose children the rest are; all must ask.
        """
        own = self._own_reading()
        if not over_processes:
            return own
        everyone = gather(own)
        return replace(
            everyone[0],
            cpu_steal_fraction=_largest(one.cpu_steal_fraction for one in everyone),
            cpu_wait_fraction=_largest(one.cpu_wait_fraction for one in everyone),
        )

    def _own_reading(self) -> ContentionReading:
        spent = self._spent
        cores = {name.removeprefix("cpu."): value for name, value in spent.items() if name.startswith("cpu.")}
        total = sum(cores.values())
        busy = total - sum(cores.get(state, 0.0) for state in _IDLE)
        return ContentionReading(
            load_average=_ratio(spent.get("load"), spent.get("elapsed", 0.0)),
            cpu_steal_fraction=_share(cores.get("steal"), total),
            cpu_other_fraction=_share(busy - spent.get("own", 0.0), total),
            cpu_wait_fraction=_share(spent.get("waited"), spent.get("ran", 0.0) + spent.get("waited", 0.0)),
        )

    def state_dict(self) -> dict[str, float]:
        """What the segments that have ended add up to, as a checkpoint holds it."""
        return dict(self._spent)

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Go on from there."""
        self._spent, self._before = dict(state_dict), None


def is_disturbed(reading: ContentionReading, seconds: float) -> bool | None:
    """Whether a timing is longer than on a quiet machine. seconds: of training that was watched.

    None where the system does not tell, or training was too short to tell.
    """
    steal, other, wait = reading.cpu_steal_fraction, reading.cpu_other_fraction, reading.cpu_wait_fraction
    if (steal is None and other is None) or seconds < FEWEST_SECONDS:
        return None
    steal, other = steal or 0.0, other or 0.0
    if wait is None:
        return steal > MOST_STEAL or other > MOST_OTHER_UNSEEN
    return steal > MOST_STEAL or other > MOST_OTHER or (wait > MOST_WAIT and other > LEAST_OTHER)


def stolen_seconds() -> float | None:
    """Seconds that other virtual machines have taken from a core that this process may use, on average over its cores.

    None where the system does not tell. It counts for each core in ticks of (usually) a hundredth of a second.
    """
    cores = _core_seconds()
    return cores["steal"] / usable_cores() if "steal" in cores else None


def _core_seconds() -> dict[str, float]:
    """Seconds of the cores that this process may use, by state; `guest` is part of `user` already."""
    everyone = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    cores = [everyone[core] for core in allowed] if allowed and max(allowed) < len(everyone) else everyone
    counted = [state for state in everyone[0]._fields if state not in _COUNTED_TWICE]
    return {state: sum(getattr(core, state) for core in cores) for state in counted}


def _own_seconds() -> float:
    """Processor seconds of this process and of those it started."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def thread_seconds() -> dict[str, tuple[float, float]] | None:
    """Of each thread of this process, seconds on a processor and seconds waiting for one (Linux alone tells)."""
    threads = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            ran, waited, _ = path.read_text(encoding="ascii").split()
        except (OSError, ValueError):  # a thread that has ended, or a system that does not count
            continue
        threads[path.parent.name] = (int(ran) / 1e9, int(waited) / 1e9)
    return threads or None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _ratio(value: float | None, whole: float) -> float | None:
    return None if value is None or whole <= 0 else value / whole


def _share(value: float | None, whole: float) -> float | None:
    ratio = _ratio(value, whole)
    return None if ratio is None else min(1.0, max(0.0, ratio))
