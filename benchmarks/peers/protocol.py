"""How the driver and a contestant's process talk: a JSON object a line, over standard input and output.

    driver       {"do": "prepare", "work": {...}}      {"do": "train"}      {"do": "quit"}
    contestant   {"ready": {...}}                      {"turn": {...}}      (the process ends)

A contestant that fails answers {"error": "..."} and ends. Whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TextIO

from peers.work import Ready, Turn, Work


class Line:
    """The contestant's end."""

    def __init__(self) -> None:
        """Keep standard output for answers alone: what libraries print goes to standard error from here on."""
        self._answers: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def work(self) -> Work:
        """Wait for the first command, which must be to prepare."""
        command = json.loads(sys.stdin.readline())
        if command["do"] != "prepare":
            raise ValueError(f"the first command is to prepare, not {command['do']!r}")
        return Work.from_json(json.dumps(command["work"]))

    def told_to_train(self) -> bool:
        """Wait for the next command: whether it is a further turn. A driver that is gone means none."""
        line = sys.stdin.readline()
        return bool(line) and json.loads(line)["do"] == "train"

    def answer(self, answer: Ready | Turn) -> None:
        """Say that a command has been carried out."""
        self._answers.write(json.dumps({type(answer).__name__.lower(): asdict(answer)}) + "\n")

    def failed(self, error: BaseException) -> None:
        """Say why this process ends."""
        self._answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")


def serve(prepare: Callable[[Work], tuple[Ready, Callable[[], Turn]]]) -> None:
    """Carry out commands until told to quit. prepare: builds everything, and returns what a turn is."""
    line = Line()
    try:
        ready, train = prepare(line.work())
        line.answer(ready)
        while line.told_to_train():
            line.answer(train())
    except Exception as error:
        line.failed(error)
        raise
