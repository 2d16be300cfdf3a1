"""Processes of runs that need not import anything first: our end of the server in `bench.sweeps.launchers.forking`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType

import psutil

from bench.sweeps.launchers.processes import Process, environment, start_bare

_CLOSE_SECONDS = 20.0
_MOST_DEATHS = 2
_HANDLES_AT_A_TIME = 200  # Linux takes 253


@dataclass(frozen=True)
class Asked:
    """What a process is asked for, see `WarmServer.start`."""

    overrides: Sequence[str]
    more: Mapping[str, str]
    stdout: int
    stderr: int
    title: str
    cores: Sequence[int]
    keep: Sequence[int]


class WarmServer:
    """A server, from the beginning to `close`, which ends it and all its runs."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        with its:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "bench.sweeps.launchers.forking", str(its.fileno())], env=environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[its.fileno()], start_new_session=True,
            )  # fmt: skip
        self._control = ours
        self._numbers = count()
        self._processes: dict[int, WarmProcess] = {}
        self._text = b""
        self.alive = True
        self.was_ready = False  # one that never was cannot import what a run needs

    def start(
        self,
        overrides: Sequence[str],
        more: Mapping[str, str],
        stdout: int | None,
        stderr: int,
        *,
        title: str,
        cores: Sequence[int] = (),
        keep: Sequence[int] = (),
    ) -> Process:
        """Ask for a process; as `start_bare`, with its title in lists of processes (15 letters)."""
        asked = Asked(overrides, more, 1 if stdout is None else stdout, stderr, title[:15], cores, keep)
        number = next(self._numbers)
        handles = [asked.stdout, asked.stderr, *asked.keep]
        request = {
            "id": number, "overrides": list(asked.overrides), "environment": dict(asked.more),
            "cores": list(asked.cores), "title": asked.title, "handles": len(handles),
        }  # fmt: skip
        self._processes[number] = WarmProcess(self, number, asked)
        self.send(request, handles)
        return self._processes[number]

    def send(self, what: Mapping[str, object], handles: Sequence[int] = ()) -> None:
        """Send open files, and one line that says what they are for."""
        line = json.dumps(what).encode() + b"\n"
        try:
            for first in range(0, len(handles), _HANDLES_AT_A_TIME):
                socket.send_fds(self._control, [b" "], handles[first : first + _HANDLES_AT_A_TIME])
            self._control.sendall(line)
        except OSError:
            self.alive = False

    def is_alive(self) -> bool:
        """As of now."""
        self.listen()
        return self.alive

    def listen(self) -> None:
        """Take in what the server has said since."""
        while self.alive:
            try:
                data = self._control.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self.alive = bool(data)
            *lines, self._text = (self._text + data).split(b"\n")
            for line in lines:
                self._take_in(json.loads(line))

    def close(self) -> None:
        """End it; it ends what still runs."""
        self._control.close()
        self.alive = False
        if all(process.has_ended for process in self._processes.values()):
            self._popen.kill()
        try:
            self._popen.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _take_in(self, said: Mapping[str, int]) -> None:
        self.was_ready = True
        if "process" in said:
            self._processes[said["id"]].was_started(said["process"])
        elif "code" in said:
            self._processes[said["id"]].was_ended(said["code"])


class WarmServers:
    """One server at a time, from the first run that wants it; another one where it has died."""

    def __init__(self) -> None:
        self._servers: list[WarmServer] = []

    def __enter__(self) -> WarmServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()

    def current(self) -> WarmServer | None:
        """The one to ask; None where servers do not last here."""
        if self._servers and self._servers[-1].is_alive():
            return self._servers[-1]
        if len(self._servers) == _MOST_DEATHS or not all(server.was_ready for server in self._servers):
            return None
        self._servers.append(WarmServer())
        return self._servers[-1]


class WarmProcess:
    """A process that the server makes for a run; it is the server's child, not ours."""

    def __init__(self, server: WarmServer, number: int, asked: Asked) -> None:
        self._server = server
        self._number = number
        self._asked = asked
        self._output = (os.dup(asked.stdout), os.dup(asked.stderr))  # until it has its own
        self._process: psutil.Process | None = None
        self._started = False
        self._lost = False
        self._code: int | None = None
        self._instead: Process | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it ended with the server: nobody has asked for that, and nothing speaks against another try."""
        return self._lost

    @property
    def has_ended(self) -> bool:
        """As far as the server has said."""
        return self._code is not None or self._instead is not None

    def poll(self) -> int | None:
        """See `Process`; 1 where the server died before it could tell."""
        self._server.listen()
        if not self._server.alive and not self.has_ended:
            if not self._started:
                self._instead = self._start_bare()
            elif not _lives(self._process):
                self._code, self._lost = 1, True
        return self._code if self._instead is None else self._instead.poll()

    def signal(self, number: signal.Signals) -> None:
        """See `Process`."""
        if self.poll() is not None:
            return
        if self._instead is not None:
            self._instead.signal(number)
        elif self._server.alive:
            self._server.send({"id": self._number, "signal": int(number)})
        elif self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def was_started(self, process: int) -> None:
        """The server has made it."""
        self._started = True
        self._let_go()
        with suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(process)

    def was_ended(self, code: int) -> None:
        """The server has seen its end."""
        self._code = code

    def _start_bare(self) -> Process:
        """The server died before it made a process for this run: a process like any other does it."""
        asked = self._asked
        process = start_bare(asked.overrides, asked.more, *self._output, cores=asked.cores, keep=asked.keep)
        self._let_go()
        return process

    def _let_go(self) -> None:
        for handle in self._output:
            os.close(handle)


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
