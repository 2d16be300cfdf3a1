"""What can be chosen: config groups and their options, questions, and the folders where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.declarations import foreign_names

SHARED_OPTION = "base"  # a file of this name in a group holds what its options share, and is no option itself
_CLAIMS = "claims"  # the one folder of questions below sweeps/; another one holds W&B's own
MODEL = "model"  # the group to which other packages add cells
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


def groups() -> list[str]:
    """The config groups: `model`, `data`, …"""
    return sorted(path.name for path in conf_folder().iterdir() if path.is_dir() and path.name != _HYDRA)


def options(group: str) -> list[str]:
    """What can be chosen in a config group, cells of other packages among the models; empty for an unknown one."""
    names = {path.stem for path in (conf_folder() / group).glob("*.yaml")} - {SHARED_OPTION}
    return sorted(names | (set(foreign_names()) if group == MODEL else set()))


def plugin_keys() -> Iterator[str]:
    """The keys of our plug-ins, such as `hydra.launcher.workers`."""
    for path in sorted((conf_folder() / _HYDRA).glob("*/*.yaml")):
        for key in re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE):
            if not key.startswith("_"):
                yield f"{_HYDRA}.{path.parent.name}.{key}"
