"""What all launchers share: Hydra's interface on one side, a queue of runs on the other."""

from __future__ import annotations

import signal
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from rich.console import Console

from bench.config import HardwareConfig
from bench.errors import UserError
from bench.sweeps.launchers.queue import Queue

if TYPE_CHECKING:
    from omegaconf import DictConfig

Handler = Callable[[int, FrameType | None], object] | int | None


class RunLauncher(Launcher):
    """A launcher that takes runs from a queue, each into a process of its own (`bench.sweeps.launchers.processes`)."""

    __module__ = "hydra_plugins.bench"  # Hydra instantiates plug-ins of this name space only
    name: str  # as in hydra/launcher=NAME
    shares_terminal = False  # whether runs print to our terminal, their ends included
    console = Console(highlight=False, soft_wrap=True)  # the sweeper's own, set before `run`

    @property
    @abstractmethod
    def at_a_time(self) -> int:
        """How many runs take place at a time, as far as is known beforehand: for estimates of time."""

    @abstractmethod
    def run(self, queue: Queue, logs: Path) -> None:
        """Carry out everything in the queue, and report each ending as it happens.

        logs: a folder that receives what the processes print, a file `<run_id>.log` each.
        Raises: `KeyboardInterrupt` on Ctrl-C or SIGTERM, after all that was running has ended and been reported.
        """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook; each process composes for itself.

        Raises: `UserError` beside another sweeper, which knows no runs.
        """
        if config.hydra.sweeper._target_ != "hydra_plugins.bench.BenchSweeper":
            raise UserError(f"hydra/launcher={self.name} works with hydra/sweeper=bench only: add hydra/launcher=basic")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's interface for jobs; ours are runs, see `run`."""
        raise NotImplementedError


class Interruption:
    """Counts Ctrl-C and SIGTERM while it is open, in place of an exception in the middle of something."""

    def __init__(self) -> None:
        self.times = 0
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background of a shell
                    self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.times += 1


def checked_seconds(launcher: str, key: str, seconds: float | None) -> float | None:
    """A limit in seconds, or none.

    Raises: `UserError` for what is no number above zero.
    """
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
        raise UserError(
            f"hydra.launcher.{key}={seconds}: should be a number of seconds above 0 (hydra/launcher={launcher})"
        )
    return seconds


def checked_whole(key: str, number: int, least: int) -> int:
    """A whole number that is large enough.

    Raises: `UserError` otherwise.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise UserError(f"hydra.launcher.{key}={number}: should be a whole number, {least} or more")
    return number


def occupied(hardware: HardwareConfig, cpus_per_run: int, gpus_per_run: float) -> tuple[int, float]:
    """Cores and GPUs of a run on a cluster: at least a core, and a GPU where it uses GPUs, for each of its devices.

    gpus_per_run: a run of one device may have a part of one.
    """
    on_gpus = hardware.accelerator == "gpu" or (hardware.accelerator == "auto" and gpus_per_run > 0)
    least = hardware.devices if on_gpus and (hardware.devices > 1 or not gpus_per_run) else 0
    return max(cpus_per_run, hardware.devices), max(gpus_per_run, least)
