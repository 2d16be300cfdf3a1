"""A process that has imported everything and copies itself for each run: `python -m bench.sweeps.launchers.forking FD`.

Importing torch and Lightning takes seconds, and a small run takes less. So the sweep asks this server, over the socket
FD, for processes. Each run still has a process of its own, in a group of its own, which does what `python -m bench`
does: nothing that ends one touches another. The server itself computes nothing, so it has no threads of torch's that a
copy would lack. When the sweep ends, in whatever way, the socket closes, and the server ends the runs and itself.

In: `{"id", "overrides", "environment", "cores", "title", "handles"}` starts a run, with so many open files sent along
(standard output, standard error, and those to keep open); `{"id", "signal"}` sends a signal. Out: `{"ready"}`,
`{"id", "process"}` at the start and `{"id", "code"}` at the end; one JSON object a line.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from bench.errors import UserError
from bench.runs.liveness import PARENT
from bench.sweeps.launchers.processes import GRACE_SECONDS

IMPORTED = ("bench.runs.execute", "bench.tracking.trackers", "pandas", "torch.profiler")
_MOST_HANDLES = 253  # that Linux sends with one message


@dataclass
class _Copy:
    """Of the copy of the server that this process is. code: to leave with, once it has carried out its run."""

    code: int | None = None


_copy = _Copy()


@dataclass(frozen=True)
class Request:
    """A run to be started. handles: standard output, standard error, and files that it keeps open."""

    number: int
    overrides: list[str]
    environment: dict[str, str]
    cores: list[int]
    title: str
    handles: list[int]


def main() -> None:
    """Serve; in each copy, carry out the run."""
    atexit.register(_leave)  # first, and so called last
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    import_everything()
    os.environ[PARENT] = str(os.getpid())
    request = Server(control).serve()
    if request is None:
        return
    _become(request)
    try:
        runpy.run_module("bench", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        _copy.code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def import_everything() -> None:
    """What a run would import, so that its copy need not."""
    from bench.processor import limit_spinning

    limit_spinning()
    for name in IMPORTED:
        import_module(name)
    from bench.compose import compose
    from bench.runs.environment import code_version

    with suppress(UserError):
        compose([])  # Hydra looks through all that is installed, and imports as it goes
    code_version()  # of the sources as they were imported, should anyone edit them from now on
    gc.freeze()  # a collection in a copy would touch, and so duplicate, every page of the objects made so far


@dataclass
class Server:
    """Starts, signals and buries the processes of runs."""

    control: socket.socket
    running: dict[int, int] = field(default_factory=dict)  # process -> the number of its run
    _text: bytes = b""
    _handles: list[int] = field(default_factory=list)

    def serve(self) -> Request | None:
        """Until the sweep ends: None then. In every copy: what it is to carry out."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._say(ready=True)
        while True:
            readable, _, _ = select.select([self.control.fileno(), woken], [], [])
            if woken in readable:
                os.read(woken, 4096)
            self._bury()
            if self.control.fileno() in readable:
                if not self._receive():
                    self._end_all()
                    return None
                if (request := self._answer()) is not None:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for handle in (woken, wake, self.control.detach()):
                        os.close(handle)
                    return request

    def _receive(self) -> bool:
        """Take in what the sweep sends; false when it has gone."""
        try:
            data, handles, _, _ = socket.recv_fds(self.control, 1 << 16, _MOST_HANDLES)
        except ConnectionError:
            return False
        self._text += data
        for handle in handles:
            os.set_inheritable(handle, False)
            self._handles.append(handle)
        return bool(data)

    def _answer(self) -> Request | None:
        """Do what was asked; in a copy, return the request that it was made for."""
        while b"\n" in self._text:
            line, _, self._text = self._text.partition(b"\n")
            asked = json.loads(line)
            if "signal" in asked:
                for process, number in self.running.items():
                    if number == asked["id"]:
                        _signal(process, asked["signal"])
                continue
            count = asked["handles"]
            handles, self._handles = self._handles[:count], self._handles[count:]
            request = Request(
                asked["id"], asked["overrides"], asked["environment"], asked["cores"], asked["title"], handles
            )
            if self._fork(request):
                return request
        return None

    def _fork(self, request: Request) -> bool:
        """Make a copy; whether this is it."""
        process = os.fork()
        if process == 0:
            os.setpgid(0, 0)
            for handle in self._handles:  # of requests that came after this one
                os.close(handle)
            return True
        with suppress(OSError):  # the copy does so too: whoever comes first, so that a signal to the group finds it
            os.setpgid(process, process)
        for handle in request.handles:
            os.close(handle)
        self.running[process] = request.number
        self._say(id=request.number, process=process)
        return False

    def _bury(self) -> None:
        """Say which runs have ended, and how."""
        for process in list(self.running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                self._say(id=self.running.pop(process), code=os.waitstatus_to_exitcode(status))

    def _end_all(self) -> None:
        """Ask all runs to end, and end those that do not listen."""
        for process in self.running:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self.running and time.monotonic() < deadline:
            self._bury()
            time.sleep(0.05)
        for process in self.running:
            _signal(process, signal.SIGKILL)

    def _say(self, **what: object) -> None:
        with suppress(ConnectionError):
            self.control.sendall(json.dumps(what).encode() + b"\n")


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process, number)


def _become(request: Request) -> None:
    """Make this copy what a process started for the run would be."""
    output, errors, *_ = request.handles
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.update(request.environment)
    if request.cores:
        os.sched_setaffinity(0, request.cores)
    with suppress(OSError):
        Path("/proc/self/comm").write_text(request.title)  # what `top` and `ps` show
    sys.argv[1:] = request.overrides


def _leave() -> None:
    """Leave a copy at once, after all else that is done at exit: taking apart what was imported takes a second."""
    if _copy.code is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_copy.code)


if __name__ == "__main__":
    main()
