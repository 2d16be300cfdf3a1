"""What is asked of many runs: the sweep that a run belongs to, tuning, the protocol of a verdict, duels of speed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bench.claims import ClaimConfig
from bench.config.values import SCHEMA, Count, Fraction, Kernel, Pooling, Positive


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class SweepConfig:
    """The question that a run belongs to. Set by the sweeper in the processes that it starts: `member`, and `kernel`,
    what `model.kernel=auto` comes to: that of the plan, wherever and whenever the run is carried out.

    claim: what its runs answer with yes or no;  parts: questions that it is made of, such as `claims/depth seed=0,1`.
    """

    name: str | None = None
    member: bool = False
    kernel: Kernel | None = None
    claim: ClaimConfig | None = None
    parts: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class TuningConfig:
    """The search for a recipe before arms are compared: the same space and budget for each of them.

    space: lines such as `training.learning_rate=0.001..0.01 log`, `model.dropout=0..0.5`, `training.batch_size=16|32`;
    trial: its number, set by the sweeper in trials.
    """

    trials: Annotated[int, Field(ge=0, le=100_000)] = 0
    sampler: Literal["random", "tpe"] = "random"
    pruner: Literal["none", "median", "halving"] = "none"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1000
    space: list[str] = field(default_factory=list)
    storage: str | None = None
    trial: int | None = None

    @property
    def keys(self) -> list[str]:
        """The configuration keys that are searched."""
        return [line.partition("=")[0].strip() for line in self.space]


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class ProtocolConfig:
    """How a verdict is reached; fixed before the runs. Margins are in percentage points of quality."""

    name: str = "default"
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    looks: Annotated[list[Count], Field(min_length=1)]
    spending: Literal["obrien_fleming", "power2", "power3", "pocock"]
    margin: Positive | None = None
    margins: list[Positive]
    metric: Literal["auto", "accuracy", "macro_f1"] = "auto"
    matching: Literal["width", "parameters", "time"] = "parameters"
    pooling: Pooling = "mean"
    power: Fraction = 0.8
    uncommitted: Literal["set_apart", "allow"] = "set_apart"


def protocol_hash(protocol: ProtocolConfig) -> str:
    """Twelve hexadecimal digits that tell protocols apart; what a protocol is called does not matter."""
    content = {key: value for key, value in asdict(protocol).items() if key != "name"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class DuelConfig:
    """What a duel times: ladders of lengths (tokens), batch sizes (texts) and widths (hidden sizes of the LSTM).

    seconds: of measuring, over all repetitions;  repetitions: blocks of rounds, which intervals resample.
    """

    lengths: Annotated[list[Count], Field(min_length=1)] = field(default_factory=lambda: [16, 64, 256])
    batch_sizes: Annotated[list[Count], Field(min_length=1)] = field(default_factory=lambda: [16, 64])
    widths: Annotated[list[Count], Field(min_length=1)] = field(default_factory=lambda: [64, 128, 256])
    kernels: Annotated[list[Kernel], Field(min_length=1)] = field(default_factory=lambda: ["torch", "step"])
    matchings: Annotated[list[Literal["width", "parameters"]], Field(min_length=1)] = field(
        default_factory=lambda: ["width", "parameters"]
    )
    repetitions: Annotated[int, Field(ge=3, le=1000)] = 8
    seconds: Positive = 180.0
