"""Where on this machine a run of a sweep takes place: on GPUs, or on a group of processor cores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from bench.config import HardwareConfig
from bench.errors import UserError
from bench.processor import gpu_drivers_present, usable_cores
from bench.sweeps.launchers.devices import Device, Devices, Loan, core_groups


class Places:
    """The devices that one sweep may use at a time.

    workers: so many; None for every GPU that it sees, or all cores together;  gpus: UUIDs.
    """

    def __init__(self, workers: int | None, gpus: Sequence[str]) -> None:
        self.workers = workers
        self.gpus = list(gpus)
        self._kinds: dict[bool, Devices] = {}

    @property
    def at_a_time(self) -> int:
        """Runs at a time, if each uses one device."""
        return self.workers or len(self.gpus) or 1

    def check(self, hardware: HardwareConfig) -> None:
        """Prepare to run this.

        Raises: `UserError` for what could never start, or not on devices of its own.
        """
        if hardware.accelerator == "gpu" and not self.gpus and not gpu_drivers_present():
            raise UserError("hardware.accelerator=gpu: no GPU can be used here; choose hardware=auto or hardware=cpu")
        if not self._on_gpu(hardware):
            self._devices(hardware)
            return
        workers, gpus = f"hydra.launcher.workers={self.workers}", len(self.gpus)
        if self.workers is not None and self.workers > gpus:
            raise UserError(
                f"{workers}: every run gets a GPU of its own, and {gpus} can be seen here; choose at most "
                f"hydra.launcher.workers={gpus}, or hardware=cpu"
            )
        if hardware.devices > self.at_a_time:
            limit = f"{gpus} GPUs can be seen here" if self.workers is None else f"{workers} allows fewer"
            raise UserError(f"hardware.devices={hardware.devices}: {limit}; choose at most {self.at_a_time}")

    def take(self, hardware: HardwareConfig, mine: Sequence[Loan]) -> Loan | None:
        """Devices for a run, or None while there are too few. mine: what this sweep has been lent."""
        devices, count = self._devices(hardware), self._count(hardware)
        limit = min(len(devices.devices), self.workers or len(devices.devices))
        used = sum(device in devices.devices for loan in mine for device in loan.devices)
        return devices.take(count) if used + count <= limit else None

    def threads(self, hardware: HardwareConfig, loan: Loan) -> int | None:
        """For each process of a run; None where the run finds out for itself, or the person has chosen."""
        if hardware.threads or self.at_a_time == 1:
            return None
        parts = len(self._devices(hardware).devices) if loan.cores else self.at_a_time
        return max(1, usable_cores() * len(loan.devices) // parts // hardware.devices)

    def in_use(self, mine: Iterable[Loan]) -> int:
        """Devices that we wait for and other sweeps use."""
        return sum(devices.in_use(mine) for devices in self._kinds.values())

    def withdraw(self) -> None:
        """Wait no longer."""
        for devices in self._kinds.values():
            devices.withdraw()

    def may_fork(self, hardware: HardwareConfig) -> bool:
        """Whether a run may take place in a copy of a process: not on a GPU, and not as several processes."""
        on_cpu = hardware.accelerator == "cpu" or (hardware.accelerator == "auto" and not gpu_drivers_present())
        return on_cpu and hardware.devices == 1 and hasattr(os, "sched_setaffinity")

    def _on_gpu(self, hardware: HardwareConfig) -> bool:
        return bool(self.gpus) and hardware.accelerator != "cpu"

    def _count(self, hardware: HardwareConfig) -> int:
        """Devices that a run needs. On a processor, processes may share the cores there are."""
        return min(hardware.devices, len(self._devices(hardware).devices))

    def _devices(self, hardware: HardwareConfig) -> Devices:
        on_gpu = self._on_gpu(hardware)
        if on_gpu not in self._kinds:
            found = [Device(gpu=gpu) for gpu in self.gpus] if on_gpu else core_groups(self.workers or 1)
            self._kinds[on_gpu] = Devices(found)
        return self._kinds[on_gpu]
