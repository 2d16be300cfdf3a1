"""Where a run takes place, and who watches it."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from bench.config.values import SCHEMA, Count


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class HardwareConfig:
    """Where a run takes place. No key here is part of a run's identity except `precision`."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32", "bf16"] = "32"
    threads: Count | None = None


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class WandbConfig:
    """Weights & Biases: `auto` is online where the person is logged in, offline elsewhere."""

    project: str = "bench"
    entity: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class LoggerConfig:
    """Which trackers receive a mirror of the run; the record is written whatever is chosen here."""

    wandb: WandbConfig | None = None
    csv: bool = False
    tensorboard: bool = False
