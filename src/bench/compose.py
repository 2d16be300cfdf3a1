"""From what is typed to a validated `BenchConfig`, through Hydra's compose API; Hydra's long errors become one line.

A process may use Hydra for something else (a notebook inside another application calls `bench.run`), so everything
global in Hydra that is touched here is put back afterwards. Hydra itself is imported when it is first needed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import BenchConfig, build_config, known_keys
from bench.declarations import foreign_names
from bench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from omegaconf import DictConfig

CONFIG_NAME = "config"
_VERSION_BASE = "1.3"
SHARED_OPTION = "base"  # a file of this name in a group holds what its options share, and is no option itself
_SEVERAL = "logger"  # the one group of which several options can be chosen

_CLAIMS = "claims"  # the one folder of questions below sweeps/; another one holds W&B's own
_MODEL = "model"  # the group to which other packages add cells
_HYDRA = "hydra"  # the group of Hydra's own: our plug-ins' keys are in conf/hydra/


def conf_folder() -> Path:
    """The config groups: `bench/conf` in a wheel, `conf/` of the checkout otherwise."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def sweeps_folder() -> Path:
    """The program's own questions: `bench/sweeps/*.yaml` in a wheel, `sweeps/` of the checkout otherwise."""
    package = Path(__file__).resolve().parent
    inside = package / "sweeps"
    return inside if any(inside.glob("*.yaml")) else package.parents[1] / "sweeps"


def sweep_files() -> dict[str, Path]:
    """Every question by its name: the program's own, then those in `./sweeps`, which win; `claims/NAME` below them."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for folder in (sweeps_folder(), Path("sweeps"))
        for pattern in ("*.yaml", f"{_CLAIMS}/*.yaml")
        for path in sorted(folder.glob(pattern))
    }


def question_parts(name: str) -> list[str]:
    """The questions that one is made of, a line each; none for a question with runs of its own.

    Raises: `UserError` if its file cannot be read, or its parts are no list of text.
    """
    sweep = _question(name, sweep_files()[name]).get("sweep")
    parts = sweep.get("parts") if isinstance(sweep, dict) else None
    if parts is not None and not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        raise UserError(f"{sweep_files()[name]}: sweep.parts should be a list of questions, such as [claims/depth]")
    return list(parts or [])


def groups() -> list[str]:
    """The config groups: `model`, `data`, …"""
    return sorted(path.name for path in conf_folder().iterdir() if path.is_dir() and path.name != _HYDRA)


def options(group: str) -> list[str]:
    """What can be chosen in a config group, cells of other packages among the models; empty for an unknown one."""
    names = {path.stem for path in (conf_folder() / group).glob("*.yaml")} - {SHARED_OPTION}
    return sorted(names | (set(foreign_names()) if group == _MODEL else set()))


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
    with registered(overrides), _translated():
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
            store.store(group=_MODEL, name=name, node=_foreign_model(name), provider="bench")
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
            raise UserError(_unreadable(typed))
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


@contextmanager
def _translated() -> Iterator[None]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise translate(error) from error


def translate(error: Exception) -> UserError:
    """An error of Hydra or OmegaConf as one line that says what to type instead."""
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, UserError):
        return error
    if not isinstance(error, OmegaConfBaseException):
        return UserError(_of_hydra(error))
    if isinstance(error, MissingMandatoryValue):
        return UserError(f"{error.full_key} is not set: add {error.full_key}=VALUE")
    message = str(error.msg or error).splitlines()[0]
    return UserError(f"{error.full_key}: {message}" if error.full_key else message)


def _of_hydra(error: Exception) -> str:
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error.missing_cfg_file, error.options)
    text = str(error)
    for pattern, advice in _ADVICE:
        if match := re.search(pattern, text):
            return advice.format(*match.groups(), hint=_hint(match[1]))
    if isinstance(error.__cause__, UserError):  # raised by one of our plug-ins
        return str(error.__cause__)
    if isinstance(error.__cause__, Exception):
        return ": ".join(filter(None, [text.partition("\n")[0], str(translate(error.__cause__))]))
    return " ".join(text.split()) or type(error).__name__


# What Hydra says -> what we say. {0}, {1}: what the pattern caught;  {hint}: the closest known name to {0}.
_ADVICE = [
    (r"Ambiguous value for argument '(logger)=(\S+)'", "{0}={1}: write {0}=[{1}] for both, or add -m for several runs"),
    (r"Ambiguous value for argument '(.+)'", "{0} is several runs: add -m; or quote a value that holds a comma"),
    (r"Sweep parameters '(.+)' requires", "{0} is several runs: add -m"),
    (r"Sweeping over Hydra's configuration is not supported : '(.+)'", "{0}: Hydra's own keys take one value"),
    (r"Could not append to config\. An item is already at '(\S+)'", "{0} exists already: drop the plus"),
    (r"(\S+) appears more than once", "{0} is chosen already: drop the plus"),
    (r"Could not override '([^']+)'", "{hint}"),
    (r"Could not delete (?:from config\. )?'([^']+)'", "{hint}"),
]


def _unreadable(override: str) -> str:
    key, sign, value = override.partition("=")
    if key.lstrip("+") == "tuning.storage":  # it may hold a password
        return f"cannot read what {key} is set to: quote it, as in \"{key}='URL'\""
    if not sign or not key:
        return f"cannot read '{override}': write KEY=VALUE, such as model=gru or training.epochs=3"
    return f"cannot read '{override}': quote a value with special characters, as in \"{key}='{value}'\""


def _unknown_option(path: str, known: Sequence[str] | None) -> str:
    group, _, name = path.rpartition("/")
    names = [option for option in known or options(group) if option != SHARED_OPTION]
    return f"unknown {group} '{name}': {did_you_mean(name, names)}" if names else f"there is no config group '{group}'"


def _hint(key: str) -> str:
    """What is wrong with a key that Hydra could not place, and the closest one that it could."""
    names = [*known_keys(), *_plugin_keys()]
    if key in names:
        group = key.partition(".")[0]
        return f"{key} is no key of the chosen {group}: choose another {group}=OPTION or leave it out"
    top = {name.partition(".")[0] for name in names}
    siblings = [name for name in names if name.partition(".")[0] == key.partition(".")[0]]
    by_leaf = {name.rpartition(".")[2]: name for name in (*names, *siblings)}  # a sibling before others of that name
    if like := difflib.get_close_matches(key, groups(), n=1, cutoff=0.75):
        return f"unknown key '{key}': did you mean '{like[0]}'?"
    if like := difflib.get_close_matches(key.rpartition(".")[2], by_leaf, n=1, cutoff=0.85):
        return f"unknown key '{key}': did you mean '{by_leaf[like[0]]}'?"
    return f"unknown key '{key}': {did_you_mean(key, top)}"


def _plugin_keys() -> Iterator[str]:
    """The keys of our plug-ins, such as `hydra.launcher.workers`."""
    for path in sorted((conf_folder() / _HYDRA).glob("*/*.yaml")):
        for key in re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE):
            if not key.startswith("_"):
                yield f"{_HYDRA}.{path.parent.name}.{key}"
