"""Who trains: the program, the peers, and peers that borrow the program's batches; each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import UserError, did_you_mean
from peers.work import Ready, Turn, Work

Side = Literal["ours", "peer", "borrower"]
_SCRIPTS = Path(__file__).resolve().parents[1]
_PATIENCE = 600  # seconds for one answer; XLA compiles a recurrence in some tens


@dataclass(frozen=True)
class Contestant:
    """One way to train. side: a borrower is a peer with the program's batches;  module, arguments: of `python -m`;
    backend: of Keras, where it is Keras."""

    name: str
    side: Side
    says: str
    module: str
    arguments: tuple[str, ...]
    backend: str | None = None

    @property
    def family(self) -> str:
        """What has to be installed: torch, keras; `ours` always is."""
        return "ours" if self.side == "ours" else "torch" if self.backend is None else "keras"


def _torch(name: str, side: Side, says: str, *arguments: str) -> Contestant:
    return Contestant(name, side, says, "peers.plain_torch", arguments)


def _keras(name: str, side: Side, says: str, backend: str, *arguments: str) -> Contestant:
    return Contestant(name, side, says, "peers.keras_fit", arguments, backend)


CONTESTANTS = [
    Contestant("ours-step", "ours", "this program, model.kernel=step", "peers.ours", ("model.kernel=step",)),
    Contestant("ours-torch", "ours", "this program, model.kernel=torch", "peers.ours", ("model.kernel=torch",)),
    _torch("torch-packed", "peer", "PyTorch, packed sequences", "packed"),
    _torch("torch-packed-flush", "peer", "the same, denormal numbers flushed", "packed", "flush"),
    _torch("torch-padded", "peer", "PyTorch, padded per batch", "padded"),
    _torch("torch-padded-flush", "peer", "the same, denormal numbers flushed", "padded", "flush"),
    _keras("keras-tf", "peer", "Keras on TensorFlow, one length, no mask", "tensorflow", "fixed", "auto"),
    _keras("keras-tf-jit", "peer", "the same, jit_compile=True", "tensorflow", "fixed", "jit"),
    _keras("keras-tf-mask", "peer", "Keras on TensorFlow, padded per batch, masked", "tensorflow", "masked", "auto"),
    _keras("keras-tf-mask-jit", "peer", "the same, jit_compile=True", "tensorflow", "masked", "jit"),
    _keras("keras-jax", "peer", "Keras on JAX, one length, no mask", "jax", "fixed", "auto"),
    _keras("keras-jax-mask", "peer", "Keras on JAX, one length, masked", "jax", "masked", "auto"),
    _torch("torch-bucketed", "borrower", "PyTorch, our batches", "bucketed"),
    _torch("torch-bucketed-flush", "borrower", "the same, denormal numbers flushed", "bucketed", "flush"),
    _keras("keras-tf-bucketed", "borrower", "Keras on TensorFlow, our batches", "tensorflow", "bucketed", "auto"),
]  # fmt: skip


def choose(names: str) -> list[Contestant]:
    """The program, and the peers named: `all`, a family (`torch`, `keras`), or contestants, separated by commas.

    Raises: `UserError` for an unknown name.
    """
    wanted = names.split(",")
    known = ["all", "torch", "keras", *(contestant.name for contestant in CONTESTANTS)]
    for name in wanted:
        if name not in known:
            raise UserError(f"--peers {name}: {did_you_mean(name, known)}")
    exact = any(name.startswith("ours") for name in wanted)
    return [
        contestant
        for contestant in CONTESTANTS
        if "all" in wanted
        or contestant.name in wanted
        or contestant.family in wanted
        or (contestant.side == "ours" and not exact)
    ]


class Process:
    """The driver's end of a contestant's process."""

    def __init__(self, contestant: Contestant, python: str) -> None:
        """Start it. python: the interpreter of Keras contestants; the others run under this one."""
        self.contestant, self.python = contestant, python if contestant.backend else sys.executable
        environment = dict(os.environ)
        path = [str(_SCRIPTS), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "2"}
        if contestant.backend:
            environment |= {"KERAS_BACKEND": contestant.backend}
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [self.python, "-m", contestant.module, *contestant.arguments]
        try:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._printed, text=True
            )
        except OSError as error:
            raise UserError(f"--python-peers {self.python}: {error.strerror}") from None

    def begin(self, work: Work) -> None:
        """Tell it to prepare; several may do so at once."""
        self._tell({"do": "prepare", "work": asdict(work)})

    def ready(self) -> Ready:
        """Wait until it has prepared."""
        return Ready(**self._answer("ready"))

    def train(self) -> Turn:
        """One turn."""
        self._tell({"do": "train"})
        return Turn(**self._answer("turn"))

    def quit(self) -> None:
        """Let it end, or end it."""
        try:
            self._process.communicate(json.dumps({"do": "quit"}) + "\n", timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._printed.close()

    def _tell(self, command: dict[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise UserError(self._why(None)) from None

    def _answer(self, kind: str) -> dict[str, Any]:
        """Raises: `UserError` if it answers with an error, with nothing, or not in time."""
        assert self._process.stdout is not None
        watch = threading.Timer(_PATIENCE, self._process.kill)
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        answer = json.loads(line) if line else {}
        if kind not in answer:
            raise UserError(self._why(answer.get("error")))
        return dict(answer[kind])

    def _why(self, error: str | None) -> str:
        name = self.contestant.name
        if error is None:
            self._printed.seek(0)
            error = next((line for line in reversed(self._printed.read().splitlines()) if line.strip()), "it ended")
        if "No module named" in error:
            return (
                f"{name}: {self.python}: {error}; install the extra 'peers' there, name an interpreter that has "
                "it with --python-peers PATH, or leave it out with --peers torch"
            )
        return f"{name}: {error}"
