"""The devices of this machine, lent to one run at a time: GPUs, or groups of processor cores.

Lending is locking a file in a folder of the person's, below the system's temporary one, so that no two sweeps on a
machine use one device at the same time. The run's process inherits the lock, which ends with it, however it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.files import make_folder
from bench.processor import usable_cores

_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Device:
    """What a run computes on: some processor cores, or one GPU (its UUID)."""

    cores: tuple[int, ...] = ()
    gpu: str | None = None

    @property
    def locks(self) -> list[str]:
        """The files that are locked while it is lent; groups of cores that overlap exclude each other."""
        return [f"gpu-{self.gpu}"] if self.gpu is not None else [f"core-{core}" for core in self.cores]


@dataclass(frozen=True)
class Loan:
    """Devices that a run has to itself until `release`. handles: open files with the locks, for its process."""

    devices: tuple[Device, ...]
    handles: tuple[int, ...]

    @property
    def cores(self) -> tuple[int, ...]:
        """The cores to bind the run to; none for GPUs."""
        return tuple(core for device in self.devices for core in device.cores)

    @property
    def environment(self) -> dict[str, str]:
        """What shows the run its GPUs and no others."""
        gpus = [device.gpu for device in self.devices if device.gpu is not None]
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}

    def release(self) -> None:
        """Let go, also where a process that the run has left behind still holds the files open."""
        _unlock(self.handles)


class Devices:
    """Devices of one kind, shared with the other sweeps on this machine.

    Sweeps take turns: the one that waits comes before those that want another device after theirs, so that a run that
    needs several devices, or all cores, gets them in the end.
    """

    def __init__(self, devices: Sequence[Device], folder: Path | None = None) -> None:
        """folder: of the locks; the person's own on this machine unless given."""
        self.devices = tuple(devices)
        self.folder = locks_folder() if folder is None else folder
        names = ",".join(sorted(name for device in devices for name in device.locks))
        self._turn_name = f"turn-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
        self._turn: int | None = None

    def take(self, count: int) -> Loan | None:
        """So many free devices, or None while there are fewer, or while another sweep waits for the same ones."""
        self._turn = _try_lock(self.folder / self._turn_name) if self._turn is None else self._turn
        if self._turn is None:
            return None
        taken: list[tuple[Device, list[int]]] = []
        for device in self.devices:
            if len(taken) < count and (locks := self._try(device)) is not None:
                taken.append((device, locks))
        handles = tuple(handle for _, some in taken for handle in some)
        if len(taken) < count:
            _unlock(handles)
            return None
        self.withdraw()
        return Loan(tuple(device for device, _ in taken), handles)

    def withdraw(self) -> None:
        """Wait no longer."""
        if self._turn is not None:
            _unlock([self._turn])
            self._turn = None

    def in_use(self, mine: Iterable[Loan]) -> int:
        """How many are lent to others while we wait; 0 where another sweep comes first. mine: our own loans."""
        if self._turn is None:
            return 0
        ours = {device for loan in mine for device in loan.devices}
        return sum(self._is_lent(device) for device in self.devices if device not in ours)

    def _is_lent(self, device: Device) -> bool:
        handles = self._try(device)
        _unlock(handles or [])
        return handles is None

    def _try(self, device: Device) -> list[int] | None:
        handles: list[int] = []
        for name in device.locks:
            handle = _try_lock(self.folder / name)
            if handle is None:
                _unlock(handles)
                return None
            handles.append(handle)
        return handles


def core_groups(count: int) -> list[Device]:
    """The cores that we may use in so many groups of equal size; hardware threads of one core stay together.

    Raises: `UserError` if there are fewer cores than groups.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0), key=_place)
    else:
        cores = list(range(os.cpu_count() or 1))
    if count > (usable := usable_cores()):
        raise UserError(
            f"hydra.launcher.workers={count}: every run gets processor cores of its own, and there are {usable}; "
            f"choose at most hydra.launcher.workers={usable}"
        )
    size = len(cores) // count
    return [Device(cores=tuple(cores[size * number : size * (number + 1)])) for number in range(count)]


@contextmanager
def bound_to(cores: Sequence[int]) -> Iterator[None]:
    """What is started here, by this thread, runs on these cores alone; anywhere where none are given."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def locks_folder() -> Path:
    """Where this person's sweeps on this machine lock devices."""
    folder = Path(tempfile.gettempdir()) / f"bench-{os.getuid()}"
    make_folder(folder)
    return folder


def _place(core: int) -> tuple[int, int, int]:
    """Package, physical core, number: cores that share much are neighbours."""
    try:
        topology = _TOPOLOGY / f"cpu{core}" / "topology"
        package, physical = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return 0, core, core
    return package, physical, core


def _try_lock(path: Path) -> int | None:
    """An open file that holds the lock; None where another open file does.

    Raises: `UserError` if the file cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another folder with TMPDIR=DIR") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _unlock(handles: Iterable[int]) -> None:
    for handle in handles:
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
