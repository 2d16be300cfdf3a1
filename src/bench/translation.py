"""What Hydra and OmegaConf object to at length, as one line that says what to type instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.config import known_keys
from bench.errors import UserError, did_you_mean
from bench.options import SHARED_OPTION, groups, options, plugin_keys


@contextmanager
def translated() -> Iterator[None]:
    """Errors of Hydra and OmegaConf leave as `UserError`."""
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
        return unreadable(error.override)
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


def unreadable(override: str) -> str:
    """What is wrong with an override that has no meaning as it stands, and how it is written."""
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
    names = [*known_keys(), *plugin_keys()]
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
