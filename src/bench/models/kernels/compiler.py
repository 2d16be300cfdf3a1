"""C++ beside this file, compiled at first use with the machine's own compiler and kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.errors import UserError
from bench.files import built_once, cache_root, sha256_of
from bench.processor import cpu_model

SOURCES = Path(__file__).parent
_LIBRARY = "kernel.so"
# Numbers that are none have to propagate, so that a run which diverges is seen to: no -ffast-math.
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
          "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")  # fmt: skip
_FOR_THIS_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())  # what this compiler understands
_MOST_SECONDS = 600  # quiet, it takes four


class CompilerError(Exception):
    """Why there is no compiled kernel, in one sentence."""


def library(number: str, check: Callable[[Path], None], main: str = "recurrence.cpp") -> Path:
    """The compiled kernel, built first if the cache holds none for these sources, this compiler and this processor.

    number: the C++ type to compile for, `float` or `double`;  check: looks at a library that was just compiled and
    raises `CompilerError` if it does not compute what it should;  main: the source that includes all others it needs.
    Raises: `CompilerError` if there is no compiler, or nothing usable came out of it.
    """
    compiler = _compiler()
    flags, meaning = _flags(compiler, f"-DREAL={number}")
    digest = hashlib.sha256("\0".join([main, *compiler[1:], *flags, meaning, cpu_model()]).encode())
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())

    def build(folder: Path) -> None:
        path = folder / _LIBRARY
        _run([*compiler, *flags, str(SOURCES / main), "-o", str(path)])
        check(path)
        (folder / "sha256").write_text(sha256_of(path), encoding="ascii")

    try:
        return built_once(cache_root() / "kernels" / digest.hexdigest()[:16], _intact, build)
    except (OSError, UserError) as error:
        raise CompilerError(f"the compiled kernel cannot be kept: {error}") from None


def sources() -> list[Path]:
    """The C++ files, in an order of their own."""
    return sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.hpp")])


def found() -> str | None:
    """The compiler that would be used; None where there is none. Nothing is compiled."""
    try:
        return _compiler()[0]
    except CompilerError:
        return None


def _compiler() -> list[str]:
    """The command that `$CXX` names, else the first compiler of the usual names."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        found = shutil.which(command[0])
        if found:
            return [found, *command[1:]]
    wanted = f"CXX={named[0]} is not there" if named else "no C++ compiler (c++, g++, clang++) is on the PATH"
    raise CompilerError(wanted)


def _flags(compiler: list[str], define: str) -> tuple[list[str], str]:
    """Flags that the compiler takes, and every macro it predefines under them: its version and the instruction set."""
    refused = CompilerError("unreachable")
    for native in _FOR_THIS_PROCESSOR:
        flags = [*_FLAGS, define, *native]
        try:
            return flags, _run([*compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull])
        except CompilerError as error:
            refused = error
    raise refused


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_MOST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"{command[0]} did not compile the kernel: {error}") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:] or [""]
        raise CompilerError(f"{command[0]} did not compile the kernel: {said[0].strip()}")
    return done.stdout


def _intact(folder: Path) -> Path | None:
    path = folder / _LIBRARY
    try:
        return path if (folder / "sha256").read_text(encoding="ascii") == sha256_of(path) else None
    except (OSError, ValueError):
        return None
