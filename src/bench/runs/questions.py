"""What is kept of a question beside its runs: which runs answer it, under which protocol, and since when.

    RESULTS/sweeps/<name>/plan-<hash>.json       the runs that one call wanted, in the order they were asked for
    RESULTS/sweeps/<name>/tuning/trials-<hash>.json  the trials of one round of its tuning, in the same format
    RESULTS/sweeps/<name>/protocols/<hash>.json  how a verdict is reached, and when that was fixed
    RESULTS/sweeps/<name>/equal-time/<key>.json  the seconds that runs at equal wall-clock may take

What a question claims, and which questions a larger one is made of, are kept beside it (`stored_claims.py`).

Every file is written once and never changes, so folders of several machines merge by copying.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from bench.config import ProtocolConfig, protocol_hash
from bench.errors import UserError, did_you_mean
from bench.files import write_atomically
from bench.runs.store import Store

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
READ = ConfigDict(extra="ignore", strict=True)  # a newer program may know more
_Stored = TypeVar("_Stored")


@checked(frozen=True, kw_only=True, config=READ)
class StoredProtocol:
    """A protocol that judged a question, or was about to. fixed_at: ISO 8601, UTC."""

    protocol: ProtocolConfig
    hash: str
    fixed_at: str


@checked(frozen=True, kw_only=True, config=READ)
class SweepMember:
    """One thing that a run is wanted for. A run can be wanted twice: an LSTM of equal width has equal parameters too.

    overrides: what its process is started with.
    """

    run_id: str
    pair_key: str
    arm: str
    seed: int
    overrides: tuple[str, ...]


@checked(frozen=True, kw_only=True, config=READ)
class StoredPlan:
    """What one call wanted. arguments: as typed;  protocol_hash: None in plans of older versions;
    waiting: overrides of runs that could not be named yet, because they wait for those at equal width."""

    name: str
    arguments: tuple[str, ...]
    members: tuple[SweepMember, ...]
    protocol_hash: str | None = None
    waiting: tuple[tuple[str, ...], ...] = ()


@checked(frozen=True, kw_only=True, config=READ)
class TimeLimit:
    """The seconds for everyone at equal wall-clock. medians: train_seconds at equal width, by arm;
    hardware_key: of the machine that took them;  fixed_at: ISO 8601, UTC."""

    seconds: float
    medians: dict[str, float]
    hardware_key: str
    fixed_at: str


def sweep_folder(store: Store, name: str) -> Path:
    """Where plans, protocols and logs of a question lie.

    Raises: `UserError` if the name is none that a folder can have.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"sweep.name={name}: becomes a folder, so write letters, digits, '.', '_' and '-' only, and one '/' at most"
        )
    return store.results / "sweeps" / name


def sweep_names(store: Store) -> list[str]:
    """The questions that have a plan in this results folder."""
    return sorted({_name_of(store, path.parent) for path in _of_questions(store, "plan-*.json")})


def question_names(store: Store) -> list[str]:
    """The questions of this results folder, also those that have come no further than their tuning."""
    tuned = {_name_of(store, path.parents[1]) for path in _of_questions(store, "tuning/trials-*.json")}
    return sorted({*sweep_names(store), *tuned})


def _of_questions(store: Store, pattern: str) -> Iterator[Path]:
    """Files in the folders of questions, whose names have one `/` at most."""
    for folder in ("*", "*/*"):
        yield from store.results.glob(f"sweeps/{folder}/{pattern}")


def _name_of(store: Store, folder: Path) -> str:
    """The question whose folder this is."""
    return folder.relative_to(store.results / "sweeps").as_posix()


def stored_plans(store: Store, name: str) -> list[StoredPlan]:
    """All plans of a question, first written first; damaged files are skipped with one warning each.

    Raises: `UserError` if there is no plan of that name.
    """
    paths = _by_age(sweep_folder(store, name).glob("plan-*.json"))
    if not paths:
        known = sweep_names(store)
        hint = did_you_mean(name, known) if known else f"run it first: python -m bench -m +sweep={name}"
        raise UserError(f"no question '{name}' in {store.results}: {hint}")
    return _read_all(paths, StoredPlan)


def stored_trials(store: Store, name: str) -> list[StoredPlan]:
    """The rounds of a question's tuning, first one first; none where nothing was tuned. See `stored_plans`."""
    return _read_all(_by_age((sweep_folder(store, name) / "tuning").glob("trials-*.json")), StoredPlan)


def sweep_members(store: Store, name: str) -> list[SweepMember]:
    """Everything that the plans of a question want, each once, in the order in which it was first wanted.

    Raises: `UserError` if there is no plan of that name.
    """
    members = (member for plan in stored_plans(store, name) for member in plan.members)
    return list({(member.run_id, member.pair_key, member.arm): member for member in members}.values())


def sweep_arguments(store: Store, name: str) -> list[tuple[str, ...]]:
    """What was typed for a question, each command once, first one first.

    Raises: `UserError` if there is no plan of that name.
    """
    return list(dict.fromkeys(plan.arguments for plan in stored_plans(store, name)))


def store_protocol(store: Store, name: str, protocol: ProtocolConfig) -> StoredProtocol:
    """Fix a protocol for a question, now or when it was first used with it; what is fixed is never written again."""
    digest = protocol_hash(protocol)
    path = sweep_folder(store, name) / "protocols" / f"{digest}.json"
    fixed = StoredProtocol(protocol=protocol, hash=digest, fixed_at=now())
    write_once(path, asdict(fixed))
    return read_stored(path, StoredProtocol) or fixed


def stored_protocols(store: Store, name: str) -> list[StoredProtocol]:
    """The protocols of a question, first fixed first; none where it has no plan of this version.

    Damaged files, and those whose content is not what their name says, are skipped with one warning each.
    """
    found = []
    for path in sorted((sweep_folder(store, name) / "protocols").glob("*.json")):
        stored = read_stored(path, StoredProtocol)
        if stored is not None and not stored.hash == path.stem == protocol_hash(stored.protocol):
            _log.warning("skipped %s: was changed after it was written", path)
        elif stored is not None:
            found.append(stored)
    return sorted(found, key=lambda stored: (datetime.fromisoformat(stored.fixed_at), stored.hash))


def store_time_limit(store: Store, name: str, key: str, limit: TimeLimit) -> None:
    """Keep the seconds that runs at equal wall-clock may take, so that a restart asks for the same runs.

    key: which runs: everything that is held equal between the cells. A damaged file is replaced.
    """
    path = _time_limit_path(store, name, key)
    if time_limit(store, name, key) is None:
        path.unlink(missing_ok=True)
    write_once(path, asdict(limit))


def time_limit(store: Store, name: str, key: str) -> TimeLimit | None:
    """What `store_time_limit` kept; None where there is nothing (yet)."""
    path = _time_limit_path(store, name, key)
    return read_stored(path, TimeLimit) if path.exists() else None


def _time_limit_path(store: Store, name: str, key: str) -> Path:
    return sweep_folder(store, name) / "equal-time" / f"{key}.json"


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _by_age(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))


def write_once(path: Path, content: Mapping[str, object]) -> None:
    """Keep what is fixed once: a file that is there stays as it is."""
    if not path.exists():
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _read_all(paths: Iterable[Path], kind: type[_Stored]) -> list[_Stored]:
    return [content for path in paths if (content := read_stored(path, kind)) is not None]


def read_stored(path: Path, kind: type[_Stored]) -> _Stored | None:
    """The content of one file; None, with a warning, where it is damaged."""
    try:
        return TypeAdapter[_Stored](kind).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        _log.warning("skipped %s: damaged (%s)", path, reason)
        return None
