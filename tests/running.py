"""A sweep that is under way, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import IO

import psutil

from tests.conftest import Study

SECONDS = 120.0  # within which what must happen has happened, however busy the machine is


class Sweep:
    """What it prints, the processes below it, and how it ends."""

    def __init__(self, study: Study, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "bench", "-m", *arguments],
            cwd=study.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.output: IO[str] = self.process.stdout
        self.text = ""

    def wait_for(self, words: str) -> None:
        for line in self.output:
            self.text += line
            if words in line:
                return
        raise AssertionError(f"ended without '{words}':\n{self.text}")

    def below(self) -> list[psutil.Process]:
        """All processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def members(self) -> list[psutil.Process]:
        """Those that carry out runs."""
        return [process for process in self.below() if is_member(process)]

    def wait_for_members(self, expected: int = 1) -> list[psutil.Process]:
        """The same, once there are as many as expected."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if len(members := self.members()) >= expected:
                return members
            time.sleep(0.05)
        raise AssertionError("too few members were started")

    def server(self) -> psutil.Process:
        """The process whose copies carry out runs."""
        runs = self.members()
        return next(p for p in self.below() if "bench.sweeps.launchers.forking" in p.cmdline() and p not in runs)

    def end(self) -> int:
        self.text += self.output.read()
        return self.process.wait(timeout=SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=SECONDS)
        self.output.close()


def is_member(process: psutil.Process) -> bool:
    """Whether it is a run: a process of its own, or the copy of one that is ready to run."""
    try:
        return "sweep.member=true" in process.cmdline() or process.name().startswith("bench ")
    except psutil.NoSuchProcess:
        return False
