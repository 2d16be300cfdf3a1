"""The record of a duel, `duel.json`: every field, its unit, and when it is absent. This page defines the format.

It is flat and typed like a run's record; four lists of flat rows hold what was found (columns: `bench.analysis.duels`).
Beside it lies `turns.parquet`, one row a timed training step, from which they can all be computed again.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from bench.config import Scalar

SCHEMA_VERSION = 1
RECORD = "duel.json"
TURNS = "turns.parquet"

Row = dict[str, Scalar]


class DuelStatus(StrEnum):
    """How a duel ended."""

    FINISHED = "finished"
    PARTIAL = "partial"  # interrupted; the repetitions that were complete are kept


@dataclass(frozen=True, kw_only=True)
class DuelRecord:
    """One duel."""

    # -- identity ------------------------------------------------------------------------------------------------
    duel_id: str  # sorts by start time
    status: DuelStatus  # finished | partial
    started_at: str  # ISO 8601, UTC
    finished_at: str  # ISO 8601, UTC
    code_version: str  # hash of the sources that affect numbers
    hardware_key: str  # speeds compare only between equal keys
    sentence: str  # what was found, in words
    schema_version: int = SCHEMA_VERSION  # of this page

    # -- what was timed --------------------------------------------------------------------------------------------
    models: list[str]  # contestants' cells, as typed
    kernels: list[str]  # executions: torch | step
    matchings: list[str]  # what is held equal: width | parameters
    lengths: list[int]  # tokens; the ladder
    batch_sizes: list[int]  # texts; the ladder
    widths: list[int]  # hidden sizes, the LSTM's; the ladder
    centre_length: int  # tokens; where the ladders cross
    centre_batch_size: int  # texts
    centre_width: int  # hidden size, the LSTM's
    repetitions: int  # complete ones; intervals resample these
    repetitions_planned: int  # asked for
    turns: int  # timed training steps, matrix products included
    measuring_seconds: float  # wall-clock of all repetitions, building networks included
    seed: int  # of the texts, the weights and the order of turns
    data_fingerprint: str  # hash of texts, labels, splits
    data_origin: str  # where the corpus came from, in words
    data_revision: str | None = None  # of the hub or package; absent for folders
    config: dict[str, Scalar] = field(default_factory=dict)  # dotted keys that all models share

    # -- findings --------------------------------------------------------------------------------------------------
    ratios: list[Row]  # time ratios of cells and of executions, with 95% intervals over repetitions
    shares: list[Row]  # each difference under torch as arithmetic x memory x kernel
    speeds: list[Row]  # milliseconds, texts/s, tokens/s, GFLOP/s of each contestant in each setting
    growth: list[Row]  # exponents of time against length
    operators: dict[str, list[str]]  # operators of each encoder, forward and backward, by `cell/kernel`
    native: str | None = None  # why the project's own compiled kernel did not run; absent where it did
    matrix_product_gflops: float | None = (
        None  # 10^9 operations a second of a 1024 x 1024 product, median over settings
    )

    # -- environment -------------------------------------------------------------------------------------------------
    commit: str | None = None  # absent for an installed wheel
    dirty_hash: str | None = None  # of what differs from the commit; absent for a clean checkout
    code_committed: bool | None = None  # whether the commit holds every source that affects numbers
    operating_system: str
    cpu_model: str
    cpu_cores: int  # usable
    memory_bytes: int  # of the machine
    python_version: str
    packages: dict[str, str]  # versions
    torch_version: str
    cpu_isa: str  # instruction set that torch uses
    accelerator: str  # cpu | cuda
    gpu_model: str | None = None  # absent on a CPU
    gpu_driver: str | None = None  # absent on a CPU
    threads: int  # of torch
    precision: str  # 32 | bf16
    load_average: float | None = None  # one minute, at the end
    cpu_steal_fraction: float | None = None  # processor time that the hypervisor gave to others; absent if unknown
    cpu_other_fraction: float | None = None  # processor time of other processes; absent if unknown
    cpu_wait_fraction: float | None = None  # of the threads' time, spent waiting for a processor; absent if unknown
    disturbed: bool | None = None  # whether others took enough to be seen in the times; absent if unknown

    def to_json(self) -> str:
        """The file's content; numbers that are not finite are null."""
        return json.dumps(_finite(asdict(self)), indent=1, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
