"""Types of single values in a configuration: closed sets of names, and numbers with their ranges."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from bench.declarations import check_cell

Scalar = str | int | float | bool | None

Kernel = Literal["torch", "step"]  # executions of a recurrence
Cell = Annotated[str, AfterValidator(check_cell)]  # or a baseline, which does not recur
Pooling = Literal["last", "mean", "max", "attention"]
Keep = Literal["auto", "none", "best", "all"]
Probe = Literal["parity", "anbn", "negation", "agreement", "adding", "copy"]
Task = Literal["classification", "tagging", "regression"]

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]

SCHEMA = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
