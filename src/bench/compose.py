"""From what is typed to a validated `BenchConfig`, through Hydra's compose API.

A process may use Hydra for something else (a notebook inside another application calls `bench.run`), so everything
global in Hydra that is touched here is put back afterwards. Hydra itself is imported when it is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import BenchConfig, build_config
from bench.declarations import foreign_names
from bench.errors import UserError, did_you_mean
from bench.options import MODEL, SHARED_OPTION, conf_folder, groups, options, sweep_files
from bench.translation import translated, unreadable

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from omegaconf import DictConfig

CONFIG_NAME = "config"
_VERSION_BASE = "1.3"
_SEVERAL = "logger"  # the one group of which several options can be chosen


def question_parts(name: str) -> list[str]:
    """The questions that one is made of, a line each; none for a question with runs of its own.

    Raises: `UserError` if its file cannot be read, or its parts are no list of text.
    """
    sweep = _question(name, sweep_files()[name]).get("sweep")
    parts = sweep.get("parts") if isinstance(sweep, dict) else None
    if parts is not None and not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        raise UserError(f"{sweep_files()[name]}: sweep.parts should be a list of questions, such as [claims/depth]")
    return list(parts or [])


def compose(overrides: Sequence[str]) -> BenchConfig:
    """The configuration of one run, as the command line composes it.

    Raises: `UserError`, one line, for anything that cannot be read, found or validated.
    """
    with session(overrides) as hydra:
        return build(compose_tree(hydra, overrides))


def compose_tree(hydra: Hydra, overrides: Sequence[str]) -> DictConfig:
    """One run's tree, Hydra's own node included. hydra: from `session`."""
    from hydra.types import RunMode

    return hydra.compose_config(
        config_name=CONFIG_NAME, overrides=list(overrides), run_mode=RunMode.RUN, with_log_configuration=False
    )


def build(tree: DictConfig) -> BenchConfig:
    """Validate a composed tree; interpolations are resolved and Hydra's own node is left out."""
    return build_plain(plain(tree, resolve=True))


def plain(tree: DictConfig, *, resolve: bool) -> dict[str, object]:
    """A composed tree as dictionaries and lists, without Hydra's own node. resolve: interpolations, and values that
    nobody has set become an error; else both stay as they are written."""
    from omegaconf import OmegaConf

    ours = OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])
    content = OmegaConf.to_container(ours, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def build_plain(tree: Mapping[str, object]) -> BenchConfig:
    """Validate what `plain` gives, interpolations resolved."""
    return build_config({**tree, "logger": tree.get("logger") or {}})


@contextmanager
def session(overrides: Sequence[str] = ()) -> Iterator[Hydra]:
    """Hydra pointed at our configuration; its errors leave as `UserError`, and its globals as they were found."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    outer, name, version = GlobalHydra.instance().hydra, JobRuntime.instance().get("name"), VersionBase.instance()
    base = version.getbase()
    with registered(overrides), translated():
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(conf_folder()), job_name="bench", version_base=_VERSION_BASE):
                _check(overrides)
                hydra = GlobalHydra.instance().hydra
                assert hydra is not None
                yield hydra
        finally:
            GlobalHydra.instance().hydra = outer
            JobRuntime.instance().set("name", name)
            version.version_base = base


@contextmanager
def registered(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra's ConfigStore with questions and other packages' cells in it; only the chosen question's file is read."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # Hydra's own plug-ins enter the store when they are first looked for: before the copy
    chosen = {override.partition("=")[2] for override in overrides if re.match(r"\+*sweep=", override)}
    store = ConfigStore.instance()
    before, store.repo = store.repo, _copied(store.repo)
    try:
        for name, path in sweep_files().items():
            node = _question(name, path) if name in chosen else {}
            folder, _, file = f"sweep/{name}".rpartition("/")
            store.store(group=folder, name=file, node=node, package="_global_", provider="bench")
        for name in foreign_names():
            store.store(group=MODEL, name=name, node=_foreign_model(name), provider="bench")
        yield
    finally:
        store.repo = before


def _foreign_model(cell: str) -> dict[str, object]:
    """What a file `conf/model/CELL.yaml` would hold."""
    return {"defaults": [SHARED_OPTION, "_self_"], "cell": cell}


def _copied(repo: dict[str, object]) -> dict[str, object]:
    """ConfigStore's nested folders as new dictionaries; the entries themselves are shared."""
    return {name: _copied(entry) if isinstance(entry, dict) else entry for name, entry in repo.items()}


def _question(name: str, path: Path) -> dict[str, object]:
    """The content of one file in `sweeps/`; the question is named after its file unless it says otherwise."""
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        tree = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if not isinstance(tree, DictConfig):
        raise UserError(f"{path} holds no keys: see sweeps/smoke.yaml for what a question looks like")
    named = OmegaConf.merge({"sweep": {"name": name}}, tree)
    return {str(key): value for key, value in OmegaConf.to_container(named).items()}  # type: ignore[union-attr]


def _check(overrides: Sequence[str]) -> None:
    """Refuse what Hydra would accept in silence and not do, or explain at length."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    known = groups()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, typed = override.key_or_group, override.input_line or ""
        if not key:
            raise UserError(unreadable(typed))
        if override.is_delete() or override.is_sweep_override():
            continue
        value = override.value()
        if key == "sweep" and isinstance(value, str):
            if value not in sweep_files():
                raise UserError(f"unknown sweep '{value}': {did_you_mean(value, sweep_files())}")
            if not override.is_add():
                raise UserError(f"{typed}: a sweep is added with a plus and -m: write -m +sweep={value}")
        elif key == "sweep" or (key in known and not isinstance(value, str | list | dict)):
            raise UserError(f"{typed}: needs the name of an option: {did_you_mean('', options(key) or sweep_files())}")
        elif key in known and key != _SEVERAL and isinstance(value, list):
            raise UserError(f"{typed}: one run takes one {key}; for several runs write -m {typed.translate(_OPEN)}")


_OPEN = str.maketrans("", "", "[] ")
