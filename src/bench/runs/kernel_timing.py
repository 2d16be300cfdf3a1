"""Times both executions of every recurrent cell on this machine, once, for the table that `model.kernel=auto` reads.

The executions take turns, so that whatever else the machine does hits both alike; what counts is the ratio within a
turn. One layer is timed, forward and backward, on texts of equal length; a run's embedding, output layer and optimiser
cost the same under both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median

import torch
from scipy.stats import binom
from torch import Tensor, nn

from bench.config import HardwareConfig, Kernel, ModelConfig
from bench.models.encoder import RecurrentEncoder
from bench.processor import keep_freed_memory
from bench.runs.contention import Contention
from bench.runs.environment import describe_machine, describe_torch, hardware_key
from bench.runs.kernel_table import (
    SIZES,
    TABLE_VERSION,
    TIMED,
    KernelTable,
    Place,
    Row,
    current_versions,
    fresh_table,
    place_of,
    store_table,
)
from bench.runs.probe import operators_of
from bench.runs.trainer import borrowed_torch

INPUT_SIZE, BATCH_SIZE, LENGTH = 100, 32, 100
SECONDS = 12.0  # for the whole table
FEWEST_TURNS, MOST_TURNS = 3, 41  # of a slow cell, however little time is left; of a fast one
KERNELS: tuple[Kernel, ...] = ("torch", "step")

Watch = Callable[[str, int], None]  # (cell, hidden size) that is timed next


def ensure_table(hardware: HardwareConfig, watch: Watch | None = None) -> KernelTable:
    """The fresh table of this machine, measured and stored first where there is none.

    watch: told before each cell and hidden size.
    Raises: `UserError` if the cache folder cannot be written to.
    """
    table = fresh_table(hardware)
    if table is None:
        table = measure_table(hardware, watch=watch)
        store_table(table)
    return table


def measure_table(
    hardware: HardwareConfig,
    cells: Sequence[str] = TIMED,
    sizes: Sequence[int] = SIZES,
    seconds: float = SECONDS,
    watch: Watch | None = None,
) -> KernelTable:
    """Time both executions of these cells at these hidden sizes, with a run's threads. seconds: for all of them."""
    place, contention = place_of(hardware), Contention().start()
    device = torch.device(place.device)
    rows, operators = [], {}
    keep_freed_memory()
    with borrowed_torch(hardware):
        for cell in cells:
            encoders = _encoders(cell, 8, device)
            operators[cell] = {str(name): operators_of(encoders[name], INPUT_SIZE, device) for name in KERNELS}
        time_cell(cells[0], sizes[0], device, seconds / 20)  # threads start, code is loaded
        end, cases = time.monotonic() + seconds, [(cell, size) for size in sizes for cell in cells]
        for number, (cell, size) in enumerate(cases):  # what small sizes leave of their time is for the larger ones
            if watch is not None:
                watch(cell, size)
            rows.append(time_cell(cell, size, device, (end - time.monotonic()) / (len(cases) - number)))
    return KernelTable(
        table_version=TABLE_VERSION,
        place=place,
        versions=current_versions(),
        hardware_key=_hardware_key(place, hardware),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        input_size=INPUT_SIZE,
        batch_size=BATCH_SIZE,
        length=LENGTH,
        native=_native(),
        operators=operators,
        rows=sorted(rows, key=lambda row: (TIMED.index(row.cell), row.hidden_size)),
        cpu_other_fraction=contention.finish().cpu_other_fraction,
    )


def time_cell(cell: str, hidden_size: int, device: torch.device, seconds: float) -> Row:
    """Both executions of one cell, turn by turn, each first in every other one. seconds: to spend, within bounds."""
    encoders = _encoders(cell, hidden_size, device)
    inputs = torch.randn(BATCH_SIZE, LENGTH, INPUT_SIZE, device=device, requires_grad=True)
    lengths = torch.full((BATCH_SIZE,), LENGTH, device=device)
    taken: dict[Kernel, list[float]] = {name: [] for name in KERNELS}
    end = time.monotonic() + seconds
    for name in KERNELS:  # warm-up
        _milliseconds(encoders[name], inputs, lengths)
    turns = 0
    while turns < FEWEST_TURNS or (turns < MOST_TURNS and time.monotonic() < end):
        for name in KERNELS if turns % 2 else reversed(KERNELS):
            taken[name].append(_milliseconds(encoders[name], inputs, lengths))
        turns += 1
    ratios = [step / plain for plain, step in zip(taken["torch"], taken["step"], strict=True)]
    low, high = median_interval(ratios)
    return Row(
        cell=cell,
        hidden_size=hidden_size,
        torch_milliseconds=round(median(taken["torch"]), 3),
        step_milliseconds=round(median(taken["step"]), 3),
        ratio=round(median(ratios), 4),
        ratio_low=round(low, 4),
        ratio_high=round(high, 4),
        turns=turns,
    )


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """A distribution-free interval of the median from order statistics (Conover 1999, section 3.2).

    Of fewer than six values the smallest and the largest, which hold it with less confidence.
    """
    ordered, n = sorted(values), len(values)
    rank = max(int(binom.ppf((1 - confidence) / 2, n, 0.5)), 1)
    return ordered[rank - 1], ordered[n - rank]


def _encoders(cell: str, hidden_size: int, device: torch.device) -> dict[Kernel, RecurrentEncoder]:
    """The same layer under each execution, with the same small weights."""
    model = ModelConfig(cell=cell, hidden_size=hidden_size)
    encoders = {name: RecurrentEncoder(model, INPUT_SIZE, hidden_size, name) for name in KERNELS}
    for encoder in encoders.values():
        for weight in encoder.parameters():
            nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)
    encoders["step"].load_state_dict(encoders["torch"].state_dict())
    return {name: encoder.to(device) for name, encoder in encoders.items()}


def _milliseconds(encoder: nn.Module, inputs: Tensor, lengths: Tensor) -> float:
    """One forward and backward pass."""
    encoder.zero_grad(set_to_none=True)
    inputs.grad = None
    _synchronise(inputs.device)
    begun = time.perf_counter()
    encoder(inputs, lengths).sum().backward()
    _synchronise(inputs.device)
    return (time.perf_counter() - begun) * 1e3


def _synchronise(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _native() -> str:
    """How the project's own kernel came to be here."""
    from bench.models.kernels import native

    return native.why_not() or "compiled"


def _hardware_key(place: Place, hardware: HardwareConfig) -> str:
    seen = describe_torch(place.device, place.threads)
    return hardware_key(describe_machine(), seen, hardware.devices, hardware.precision, place.threads)
