"""Turn by turn: every contestant trains on the same texts, one at a time, so that noise meets all alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import UserError
from bench.runs.contention import Contention
from bench.runs.environment import describe_machine
from peers.contestants import Contestant, Process
from peers.work import Ready, Turn, Work

Round = dict[str, Turn]  # by contestant


@dataclass(frozen=True)
class Session:
    """One run of the driver for one cell. began: in UTC;  machine: as in a run's record;  contention: as there, over
    the rounds."""

    began: str
    work: Work
    ready: dict[str, Ready]
    rounds: list[Round]
    machine: dict[str, object]
    contention: dict[str, object]

    def append_to(self, path: Path) -> None:
        """A line of a JSON Lines file."""
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(self)) + "\n")


def sessions_in(path: Path) -> list[Session]:
    """What `append_to` wrote. Raises: `UserError` if there is none, or it cannot be read."""
    try:
        return [_session(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; --json {path} writes one while it measures") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a file that --json wrote ({error})") from None


def _session(line: str) -> Session:
    values = json.loads(line)
    return Session(
        **{
            **values,
            "work": Work.from_json(json.dumps(values["work"])),
            "ready": {name: Ready(**ready) for name, ready in values["ready"].items()},
            "rounds": [{name: Turn(**turn) for name, turn in one.items()} for one in values["rounds"]],
        }
    )


def measure(
    contestants: Sequence[Contestant], python: str, work: Work, seconds: float, tell: Callable[[str], None]
) -> Session:
    """Start all, let each train once to warm up, then go round until the time is over; at least one round.

    python: the interpreter of Keras contestants;  seconds: from the start of the processes to the end of the last
    round, which is not begun if it would pass that;  tell: receives a line now and then.
    Raises: `UserError` if a contestant fails, or does other work than the rest.
    """
    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as open_processes:
        processes = []
        for contestant in contestants:
            processes.append(Process(contestant, python))
            open_processes.callback(processes[-1].quit)
            processes[-1].begin(work)
        ready = {process.contestant.name: process.ready() for process in processes}
        tell(f"{work.cell}: {len(ready)} contestants are ready after {time.perf_counter() - began:.0f} s")
        _check_sizes(ready)
        _check_work(_warm_up(processes, tell))
        contention, longest = Contention().start(), 0.0
        rounds: list[Round] = []
        while not rounds or time.perf_counter() - began + longest < seconds:
            before = time.perf_counter()
            rounds.append(_round(processes))
            longest = max(longest, time.perf_counter() - before)
            tell(f"{work.cell}: round {len(rounds)} took {time.perf_counter() - before:.1f} s")
            processes.append(processes.pop(0))  # nobody always follows the same neighbour
        reading = asdict(contention.finish())
    return Session(started, work, ready, rounds, asdict(describe_machine()), reading)


def _round(processes: Sequence[Process]) -> Round:
    return {process.contestant.name: process.train() for process in processes}


def _warm_up(processes: Sequence[Process], tell: Callable[[str], None]) -> Round:
    """A turn that does not count: it compiles and fills caches."""
    turns = {}
    for process in processes:
        began, name = time.perf_counter(), process.contestant.name
        turns[name] = process.train()
        tell(f"{name}: warm after {time.perf_counter() - began:.1f} s")
    return turns


def _check_work(turns: Round) -> None:
    """Everybody has trained on the same texts and tokens."""
    seen = {(turn.samples, turn.tokens) for turn in turns.values()}
    if len(seen) > 1:
        each = ", ".join(f"{name} {turn.samples} texts of {turn.tokens} tokens" for name, turn in turns.items())
        raise UserError(f"contestants train on different texts: {each}")


def _check_sizes(ready: dict[str, Ready]) -> None:
    """Everybody trains a model of the same size; Keras' LSTM has one bias vector where PyTorch has two."""
    sizes = {name: each.parameters for name, each in ready.items()}
    if max(sizes.values()) > 1.01 * min(sizes.values()):
        raise UserError(f"contestants train models of different sizes: {sizes}")
