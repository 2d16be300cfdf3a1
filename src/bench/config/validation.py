"""From a composed tree to a validated `BenchConfig`, or one line about the first wrong key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import fields

from pydantic import TypeAdapter, ValidationError

from bench.config.rules import check_rules
from bench.config.tree import BenchConfig, known_keys
from bench.errors import UserError, did_you_mean


def build_config(tree: Mapping[str, object]) -> BenchConfig:
    """Validate a composed configuration tree.

    Raises: `UserError`, one line that names the first wrong key, its value and what it should be.
    """
    try:
        config = TypeAdapter(BenchConfig).validate_json(json.dumps(dict(tree)))
    except ValidationError as error:
        raise UserError(_describe(error)) from None
    check_rules(config)
    return config


def _describe(error: ValidationError) -> str:
    """The first problem of a validation as one line for people."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("list[", "dict[", "function-")))
    kind = problem["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = known_keys() if "." in key else [item.name for item in fields(BenchConfig)]
        return f"unknown key '{key}': {did_you_mean(key, known)}"
    if kind in ("missing", "missing_argument"):
        return f"{key} is not set: add {key}=VALUE"
    message = problem["msg"].removeprefix("Input ").removeprefix("should ")
    value = problem["input"]
    near = difflib.get_close_matches(str(value), re.findall("'([^']+)'", message), n=1) if "literal" in kind else []
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{key}={'null' if value is None else value}: should {message}{hint}"
