"""The door: `python -m bench`, or `bench`. It finds out what is asked before it imports anything heavy.

Exit codes: 0 done; 1 a run failed or diverged; 2 a mistake that the person can mend; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

import bench
from bench.errors import Notice, UserError, did_you_mean

# The first word -> module:function; the function takes the remaining words and returns the exit code.
VERBS = {
    "clean": "bench.verbs.clean:clean",
    "doctor": "bench.verbs.doctor:doctor",
    "duel": "bench.verbs.duel:duel",
    "fetch": "bench.verbs.fetch:fetch",
    "inspect": "bench.verbs.inspect:inspect",
    "predict": "bench.verbs.predict:predict",
    "report": "bench.verbs.report:report",
    "reproduce": "bench.verbs.reproduce:reproduce",
    "status": "bench.verbs.status:status",
}
# Flags that Hydra answers itself, and those that are its business only beside one of them.
_HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
_BESIDE_HYDRA_FLAGS = ("--resolve", "--package", "-p")
_PYTHON_FORMAT = warnings.formatwarning
_OWN_FLAGS = ("--help", "-h", "--version", "--multirun", "-m", "--debug")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; every error is one line. arguments: without the program's name."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words.remove("--debug")
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own switch, and inherited by the runs of a sweep
    warnings.formatwarning = _format_warning
    try:
        code = _answer(words)
        sys.stdout.flush()
    except UserError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        with suppress(OSError):  # whoever read our output has gone; Python would complain once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"a mistake of the program, {reason}; --debug shows where", 1)
    return code


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A notice as one line, any other warning as Python shows it."""
    if issubclass(category, Notice):
        return f"bench: {message}\n"
    return _PYTHON_FORMAT(message, category, filename, lineno, line)


def _fail(line: str, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exc()
    print(f"bench: {line}", file=sys.stderr)
    return code


def _answer(words: list[str]) -> int:
    if words and _is_verb(words[0]):
        return _verb(words[0], words[1:])
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    if "--help" in flags or "-h" in flags:
        return _verb("help", [])
    if "--version" in flags:
        print(f"bench {bench.__version__}")
        return 0
    if any(flag in _HYDRA_FLAGS for flag in flags):
        return _hydra(words)
    for flag in flags:
        if flag in _BESIDE_HYDRA_FLAGS:
            raise UserError(f"{flag} goes with --cfg: add --cfg job")
        if flag not in _OWN_FLAGS:
            raise UserError(f"unknown flag '{flag}': {did_you_mean(flag, [*_OWN_FLAGS, *_HYDRA_FLAGS])}")
    overrides = [word for word in words if not word.startswith("-")]
    from bench.verbs import run

    return run.multirun(overrides) if "-m" in flags or "--multirun" in flags else run.run(overrides)


def _is_verb(word: str) -> bool:
    return "=" not in word and not word.startswith(("-", "+", "~"))


def _verb(name: str, words: list[str]) -> int:
    if name == "help" or "--help" in words or "-h" in words:
        from bench.verbs.help import help_for

        return help_for(words if name == "help" else [name], VERBS)
    if name not in VERBS:
        raise UserError(f"unknown verb '{name}', and a run takes KEY=VALUE: {did_you_mean(name, VERBS)}")
    module, _, function = VERBS[name].partition(":")
    call: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
    return call(words)


def _hydra(words: list[str]) -> int:
    """Let Hydra answer one of its own flags, about a configuration that composes."""
    import hydra

    from bench.compose import CONFIG_NAME, compose, registered
    from bench.options import conf_folder

    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    if "--cfg" in words or "-c" in words:
        compose(overrides)  # for its errors, which are one line
    with registered(overrides):
        sys.argv[1:] = words
        try:
            hydra.main(config_path=str(conf_folder()), config_name=CONFIG_NAME, version_base="1.3")(_unreachable)()
        except ValueError as error:  # flags that exclude each other
            raise UserError(str(error)) from None
    return 0


def _unreachable(config: object) -> None:
    raise AssertionError("Hydra was asked to show something, and ran it")


if __name__ == "__main__":
    sys.exit(main())
