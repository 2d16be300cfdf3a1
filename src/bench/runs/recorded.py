"""From a record back to the configuration that it was made with: what `bench.config.flatten` wrote, read again."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path

from bench.compose import compose
from bench.config import BenchConfig, Scalar, build_config, known_keys
from bench.errors import UserError
from bench.runs.record import RunRecord

_PATHS = ("data.path", "embedding.path")
_ABSENT = object()


def config_of(record: RunRecord) -> BenchConfig:
    """The configuration of a recorded run, validated; home folders written `~` become this person's.

    What no record holds (the protocol of a question) takes its default.
    Raises: `UserError`, one line, if the record holds settings that this version does not know, lacks some that it
    needs, or names files that are not there.
    """
    recorded = {key: _found_again(key, value) for key, value in record.config.items()}
    if unknown := [key for key in recorded if key not in known_keys() and key != "logger.wandb"]:
        raise UserError(
            f"run {record.run_id} was recorded with a setting that this version does not know, {unknown[0]}: "
            f"repeat it with the version that recorded it{f', commit {record.commit[:12]}' if record.commit else ''}"
        )
    _check_labels(record, recorded)
    tree = {**_nested(BenchConfig, recorded, ""), "seed": record.seed}
    try:
        return build_config({"protocol": asdict(compose(()).protocol), **tree})
    except UserError as error:
        path = next((key for key in _PATHS if str(error).startswith(f"{key}=")), None)
        advice = f"; say where it is now: {path}=PATH" if path else ""
        raise UserError(f"run {record.run_id} cannot be repeated as recorded: {error}{advice}") from None


def config_without_files(record: RunRecord) -> BenchConfig:
    """As `config_of`, for one who opens neither the corpus nor the vectors: they need not be there, nor class names be
    read back from the record, which `data.labels` leaves out.

    Raises: `UserError` as `config_of`, but for files.
    """
    paths = {key: str(_found_again(key, value)) for key in _PATHS if (value := record.config.get(key)) is not None}
    anywhere = dict.fromkeys(paths, ".")  # a folder that is there, while the other keys are checked
    config = config_of(replace(record, config={**record.config, **anywhere, "data.labels": None}))
    data, embedding = paths.get("data.path"), paths.get("embedding.path")
    return replace(config, data=replace(config.data, path=data), embedding=replace(config.embedding, path=embedding))


def _found_again(key: str, value: Scalar) -> Scalar:
    """A path as it is here: the home folder's `~` stands for it wherever it was in the path."""
    if key not in _PATHS or not isinstance(value, str):
        return value
    here = value.replace("~", str(Path.home()))
    return here if Path(here).exists() else value


def _check_labels(record: RunRecord, recorded: Mapping[str, Scalar]) -> None:
    """Names are recorded with commas between them: one that holds a comma cannot be told from two."""
    labels = recorded.get("data.labels")
    if isinstance(labels, str) and record.classes is not None and len(_list(labels)) != record.classes:
        raise UserError(
            f"run {record.run_id} cannot be repeated from its record: a class name in data.labels holds a comma; "
            "repeat it with the command that made it and force=true"
        )


def _nested(schema: type, recorded: Mapping[str, Scalar], prefix: str) -> dict[str, object]:
    """The recorded keys below a configuration class as the tree that `build_config` reads; absent keys stay absent."""
    tree: dict[str, object] = {}
    for name, hint in typing.get_type_hints(schema).items():
        value = _value(_kind(hint), recorded, f"{prefix}{name}")
        if value is not _ABSENT:
            tree[name] = value
    return tree


def _value(kind: object, recorded: Mapping[str, Scalar], key: str) -> object:
    if is_dataclass(kind) and any(name.startswith(f"{key}.") for name in recorded):
        return _nested(typing.cast(type, kind), recorded, f"{key}.")
    value = recorded.get(key, _ABSENT)
    if not isinstance(value, str):
        return value
    if typing.get_origin(kind) is list:
        return [float(one) for one in _list(value)] if typing.get_args(kind) == (float,) else _list(value)
    return _mapping(value) if typing.get_origin(kind) is dict else value


def _kind(hint: object) -> object:
    """The type behind `X | None`."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint
    return next(option for option in typing.get_args(hint) if option is not types.NoneType)


def _list(text: str) -> list[str]:
    return text.split(",") if text else []


def _mapping(text: str) -> dict[str, str]:
    """Pairs such as `train:train,dev:validation`; a value may hold what separates them, a name may not."""
    pairs = re.split(r",(?=\w+:)", text) if text else []
    return {name: value for name, _, value in (pair.partition(":") for pair in pairs)}
