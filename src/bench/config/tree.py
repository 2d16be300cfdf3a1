"""The whole tree of a configuration: one run, complete, and the keys that it may hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field
from pydantic.dataclasses import dataclass

from bench.config.questions import DuelConfig, ProtocolConfig, SweepConfig, TuningConfig
from bench.config.run import DataConfig, EmbeddingConfig, ModelConfig, TrainingConfig
from bench.config.surroundings import HardwareConfig, LoggerConfig
from bench.config.values import SCHEMA, Keep, Scalar


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class BenchConfig:
    """One run, complete."""

    model: ModelConfig
    data: DataConfig
    embedding: EmbeddingConfig
    training: TrainingConfig
    hardware: HardwareConfig
    logger: LoggerConfig
    protocol: ProtocolConfig
    tuning: TuningConfig = TuningConfig()
    duel: DuelConfig = DuelConfig()
    sweep: SweepConfig = SweepConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    results: str = "results"
    force: bool = False
    keep: Keep = "auto"
    dry_run: bool = False
    until: Literal["verdict"] | None = None
    retry: Literal["failed", "diverged", "all"] | None = None

    @property
    def keep_weights(self) -> Literal["none", "best", "all"]:
        """`keep`, with `auto` resolved: the best weights of a single run, none of a sweep's members."""
        if self.keep != "auto":
            return self.keep
        return "none" if self.sweep.member else "best"


def flatten(config: object, prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """The leaves of a configuration as (`model.hidden_size`, 128) pairs; lists and mappings as one short text."""
    if not is_dataclass(config):
        raise TypeError(f"not a configuration: {config!r}")
    for item in fields(config):
        value = getattr(config, item.name)
        key = f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from flatten(value, f"{key}.")
        elif isinstance(value, list):
            yield key, ",".join(map(str, value))
        elif isinstance(value, dict):
            yield key, ",".join(f"{name}:{entry}" for name, entry in value.items())
        else:
            yield key, value


def known_keys() -> list[str]:
    """Every dotted key that a configuration may hold, for hints on misspelled ones."""
    return list(_schema_keys(BenchConfig, ""))


def _schema_keys(schema: type, prefix: str) -> Iterator[str]:
    """The keys of a dataclass; those of a nested one, which may be absent, with its name and a dot before them."""
    for name, hint in get_type_hints(schema).items():
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        nested = next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)
        if nested is not None:
            yield from _schema_keys(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
