"""The Ray cluster that a sweep uses: one of this machine for the length of the sweep, or one that runs already."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec

from rich.console import Console

from bench.errors import UserError
from bench.processor import usable_cores

_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^/:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_REACHABLE_SECONDS = 3.0
_LOOK_AGAIN_SECONDS = 2.0
_STORE_BYTES = 80 * 2**20  # of shared memory; results of tasks are a few numbers
_OTHER_WAY = "leave hydra.launcher.address out for a local cluster"


@dataclass(frozen=True)
class Needs:
    """What a run occupies. cpus: cores;  gpus: devices, or a part of one."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        cores = f"{self.cpus} processor core{'s' if self.cpus > 1 else ''}"
        return f"{cores} and {self.gpus:g} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else cores

    def times_in(self, node: Needs) -> int:
        """How many such runs a node can hold."""
        return min(node.cpus // self.cpus, int(node.gpus / self.gpus + 1e-6) if self.gpus else node.cpus)


def total(several: Iterable[Needs]) -> Needs:
    """All of them together."""
    listed = list(several)
    return Needs(sum(needs.cpus for needs in listed), sum(needs.gpus for needs in listed))


class RayCluster:
    """A connection, which Ray itself closes, with the local cluster if there is one, when this process ends."""

    def __init__(self, address: str | None) -> None:
        """Begin; nothing is started before `connect`.

        Raises: `UserError` without Ray, or for what is no address.
        """
        if find_spec("ray") is None:
            raise UserError("hydra/launcher=ray needs Ray; type: pip install 'recurrent-bench[ray]'")
        if address not in (None, "auto") and not _ADDRESS.fullmatch(str(address)):
            raise UserError(
                f"hydra.launcher.address={address}: should be auto, HOST:PORT or ray://HOST:PORT; or {_OTHER_WAY}"
            )
        self.address = address
        self._connected = False
        self._looked = 0.0
        self._nodes: list[Needs] = []

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, for the length of the sweep."""
        return self.address is None

    @property
    def nodes(self) -> list[Needs]:
        """What each living node has, occupied or not; clusters grow and shrink."""
        import ray

        now = time.monotonic()
        if now - self._looked > _LOOK_AGAIN_SECONDS:
            resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            self._nodes = [Needs(int(has.get("CPU", 0)), has.get("GPU", 0)) for has in resources]
            self._looked = now
        return self._nodes

    @property
    def description(self) -> str:
        """Its size in words."""
        nodes, all_of_it = self.nodes, total(self.nodes)
        kind = (
            "a local cluster"
            if self.is_local
            else f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} at {self.address}"
        )
        return f"{kind}, {all_of_it}"

    def room_for(self, needs: Needs) -> int:
        """How many such runs it can hold at a time."""
        return sum(needs.times_in(node) for node in self.nodes)

    def check_room(self, needed: Iterable[Needs], console: Console) -> None:
        """Whether any node is large enough for each kind of run; another cluster than ours may still grow.

        Raises: `UserError` if none is, and none will be.
        """
        listed = list(needed)
        for needs in listed:
            if self.room_for(needs):
                continue
            problem = f"hydra/launcher=ray: a run needs {needs} on one node, which none of the cluster has"
            if self.is_local:
                raise UserError(
                    f"{problem}; choose fewer hardware.devices, hydra.launcher.cpus_per_run or gpus_per_run"
                )
            console.print(f"{problem}: waiting for one", markup=False)
        if total(self.nodes).gpus and not total(listed).gpus:
            console.print("runs use no GPU: hydra.launcher.gpus_per_run=1 gives each of them one")

    def connect(self) -> bool:
        """Connect, or start the local cluster; false if that has happened already.

        Raises: `UserError` if there is no cluster at this address.
        """
        if self._connected:
            return False
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # else it keeps what it has to say until the end, see `quiet`
        if self.address is None:
            self._start()
        else:
            self._join(self.address)
        self._connected = True
        return True

    def _start(self) -> None:
        # What listens, listens on this machine only: Ray reads this variable when it is first imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        import ray

        with _in_one_line("hydra/launcher=ray", "leave hydra/launcher out to run here"):
            ray.init(
                address="local", num_cpus=usable_cores(), object_store_memory=_STORE_BYTES,
                include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
            )  # fmt: skip

    def _join(self, address: str) -> None:
        _check_reachable(address)
        import ray

        with _in_one_line(f"hydra.launcher.address={address}", _OTHER_WAY):
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)


@contextmanager
def _in_one_line(asked: str, advice: str) -> Iterator[None]:
    """Whatever Ray objects to is a `UserError`. asked: what was typed."""
    try:
        yield
    except (Exception, SystemExit) as error:  # Ray gives up on what does not answer by leaving the program
        reason = "it does not answer as Ray does"
        if isinstance(error, Exception):
            said = str(error).strip()
            reason = " ".join((said.splitlines()[-1] if "Traceback" in said else said).split())
        raise UserError(f"{asked}: {reason}; {advice}") from None


@contextmanager
def quiet(console: Console) -> Iterator[None]:
    """Ray prints the end of a lost node's log to our standard output, a hundred lines, whatever it is asked to do."""
    console.file = console.file  # where it writes now
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _check_reachable(address: str) -> None:
    """Ray tries for more than a minute, in many lines.

    Raises: `UserError` if nothing listens there.
    """
    if (parts := _ADDRESS.fullmatch(address)) is None:
        return
    try:
        socket.create_connection((parts["host"].strip("[]"), int(parts["port"])), _REACHABLE_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(
            f"hydra.launcher.address={address}: no cluster answers there ({reason}); {_OTHER_WAY}"
        ) from None
