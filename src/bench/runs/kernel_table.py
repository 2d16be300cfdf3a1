"""Which execution of a cell is the faster one on this machine: a table measured once, read by `model.kernel=auto`.

    CACHE/kernels/<device>-<digest>.json    for each cell and hidden size the milliseconds of both executions

The digest is that of the hardware and the threads. A table made with another torch or other kernels is stale and does
not count: `auto` is then what it is without a table, PyTorch's own modules. `bench.runs.kernel_timing` measures; here
nothing imports torch, so that planning a sweep does not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from bench.config import BenchConfig, HardwareConfig, Kernel
from bench.declarations import DECLARED, is_recurrent
from bench.files import cache_root, write_atomically
from bench.models.kernels import compiler
from bench.processor import cpu_model, gpu_drivers_present, gpu_models, usable_cores
from bench.runs.environment import PACKAGE

TABLE_VERSION = 1
SIZES = (32, 64, 128, 256, 512)  # hidden sizes that are measured
TIMED = tuple(cell for cell, declaration in DECLARED.items() if declaration.has_module)

_READ = ConfigDict(extra="ignore", strict=True)  # a newer program may know more
_SOURCES = ("models/kernels", "models/cells")  # what a time depends on, relative to the package

Device = Literal["cpu", "cuda", "mps"]


@checked(frozen=True, kw_only=True, config=_READ)
class Place:
    """Where kernels are timed, as far as it can be known without torch. threads: of each process."""

    cpu_model: str
    cpu_cores: int
    threads: int
    device: Device
    gpu_models: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the table of this place is kept."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]
        return cache_root() / "kernels" / f"{self.device}-{digest}.json"


@checked(frozen=True, kw_only=True, config=_READ)
class Versions:
    """Of what was timed. kernels: hash of the sources;  compiler: whether one is there, without which they are a loop
    in PyTorch;  forced: `BENCH_KERNEL`, which chooses an implementation."""

    torch: str
    kernels: str
    compiler: bool
    forced: str | None = None


@checked(frozen=True, kw_only=True, config=_READ)
class Row:
    """One cell at one hidden size. Milliseconds: medians of forward and backward pass of one layer;  ratio: median of
    step over torch, taken turn by turn;  ratio_low, ratio_high: 95% interval of that median."""

    cell: str
    hidden_size: int
    torch_milliseconds: float
    step_milliseconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    turns: int

    @property
    def faster(self) -> Kernel | None:
        """The faster execution; None where noise does not tell them apart."""
        if self.ratio_high < 1:
            return "step"
        return "torch" if self.ratio_low > 1 else None


@checked(frozen=True, kw_only=True, config=_READ)
class KernelTable:
    """What was measured on one machine. hardware_key: as records name it;  measured_at: ISO 8601, UTC;
    input_size, batch_size, length: of what was timed;  operators: by cell and execution;
    native: how the project's own kernel was compiled, or why it was not;
    cpu_other_fraction: processor time that other processes took meanwhile, fraction of the machine's."""

    table_version: int
    place: Place
    versions: Versions
    hardware_key: str
    measured_at: str
    input_size: int
    batch_size: int
    length: int
    native: str
    operators: dict[str, dict[str, list[str]]]
    rows: list[Row]
    cpu_other_fraction: float | None = None

    def row(self, cell: str, hidden_size: int) -> Row | None:
        """The measured row nearest to a hidden size, on the logarithmic scale; None for a cell that was not timed."""
        rows = [row for row in self.rows if row.cell == cell]
        return min(rows, key=lambda row: abs(math.log(row.hidden_size / hidden_size)), default=None)

    def fastest(self, cell: str, hidden_size: int) -> Kernel:
        """What `auto` takes: the faster execution at the nearest size; `torch` where noise leaves it open."""
        row = self.row(cell, hidden_size)
        return (row.faster if row else None) or "torch"


def place_of(hardware: HardwareConfig) -> Place:
    """Where a run with these settings takes place, as far as it can be known without torch."""
    device = _device(hardware)
    return Place(
        cpu_model=cpu_model(),
        cpu_cores=usable_cores(),
        threads=hardware.threads or max(1, usable_cores() // hardware.devices),
        device=device,
        gpu_models=() if device == "cpu" else tuple(sorted(gpu_models())),
    )


def current_versions() -> Versions:
    """Those of this process."""
    return Versions(
        torch=metadata.version("torch"),
        kernels=_sources_digest(),
        compiler=compiler.found() is not None,
        forced=os.environ.get("BENCH_KERNEL") or None,
    )


def stored_table(place: Place) -> KernelTable | None:
    """The table of a place, fresh or stale; None where there is none that can be read."""
    try:
        table = TypeAdapter(KernelTable).validate_json(place.path.read_bytes())
    except (OSError, ValidationError):
        return None
    return table if table.table_version == TABLE_VERSION and table.place == place else None


def why_stale(table: KernelTable) -> str | None:
    """What has changed since a table was measured, in words; None where it still counts."""
    before, now = table.versions, current_versions()
    if before.torch != now.torch:
        return f"torch was {before.torch} and is {now.torch}"
    if before.kernels != now.kernels:
        return "the kernels have changed"
    if before.compiler != now.compiler:
        return "a C++ compiler was there and is gone" if before.compiler else "there is a C++ compiler now"
    if before.forced != now.forced:
        return f"BENCH_KERNEL was {before.forced or 'not set'} and is {now.forced or 'not set'}"
    return None


def fresh_table(hardware: HardwareConfig) -> KernelTable | None:
    """The table that counts for runs with these settings; None where there is none.

    At other precisions than single there is none: what is timed is float32.
    """
    if hardware.precision != "32":
        return None
    table = stored_table(place_of(hardware))
    return table if table is not None and why_stale(table) is None else None


def advice(config: BenchConfig) -> str | None:
    """What to tell whoever runs `model.kernel=auto` where nobody has timed kernels; None where there is no gain.

    That is where a processor's own kernel could be compiled: on a GPU PyTorch's are fused, and our loop is no match.
    """
    hardware = config.hardware
    if config.model.kernel != "auto" or config.sweep.kernel or not is_timed(config.model.cell):
        return None
    if config.model.recurrent_dropout:  # PyTorch has no module with it
        return None
    place = place_of(hardware)
    if hardware.precision != "32" or place.device != "cpu" or fresh_table(hardware) or compiler.found() is None:
        return None
    stale = stored_table(place)
    timed = "" if stale is None else f" as they are now ({why_stale(stale)})"
    threads = f" hardware.threads={hardware.threads}" if hardware.threads else ""
    return (
        f"model.kernel=auto is torch: the kernels of this machine have not been timed{timed}; to let it take the "
        f"faster one, type once: python -m bench doctor{threads}"
    )


def store_table(table: KernelTable) -> Path:
    """Keep a table, in the place of an earlier one of this machine.

    Raises: `UserError` if the cache folder cannot be written to.
    """
    text = json.dumps(asdict(table), indent=1) + "\n"
    write_atomically(table.place.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return table.place.path


def has_kernels(cell: str) -> bool:
    """Whether a cell recurs, and can therefore be executed in more than one way."""
    return is_recurrent(cell)


def is_timed(cell: str) -> bool:
    """Whether `model.kernel=auto` depends on what was timed: PyTorch has the cell. Else `step` has no rival."""
    return cell in TIMED


def _device(hardware: HardwareConfig) -> Device:
    """A GPU wherever there may be one: a table for a processor must not decide for it."""
    if hardware.accelerator == "cpu" or not (hardware.accelerator == "gpu" or gpu_drivers_present()):
        return "cpu"
    return "mps" if sys.platform == "darwin" else "cuda"


@cache
def _sources_digest() -> str:
    """12 hexadecimal digits that change with the kernels' sources, whatever their language."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        path = PACKAGE / name
        files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        for file in files:
            content = file.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]
