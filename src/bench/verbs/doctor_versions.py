"""`doctor`: which packages are installed, whether they are the versions this program needs, and what else there is."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import bench
from bench.verbs.doctor_findings import Finding, State

_GROUP = "versions"
_PROGRAM = "recurrent-bench"
_NOT_OFFERED = ("dev",)
_SHOWN = (
    "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb", "datasets", "numpy", "pyarrow",
)  # fmt: skip


def versions() -> list[Finding]:
    """Python, what the program requires, and its extras."""
    return [*_python(), *_required(), *_extras()]


def _python() -> Iterator[Finding]:
    yield Finding(group=_GROUP, name="bench", value=bench.__version__)
    version = platform.python_version()
    try:
        wanted = (metadata.metadata(_PROGRAM).get_all("Requires-Python") or [None])[0]
    except metadata.PackageNotFoundError:
        advice = "run from its sources: versions are not checked; type: pip install -e ."
        yield Finding(group=_GROUP, name="python", value=version, state="remark", advice=advice)
        return
    if wanted is not None and not SpecifierSet(wanted).contains(version, prereleases=True):
        yield Finding(
            group=_GROUP, name="python", value=version, state="impossible", advice=f"python {wanted} is needed"
        )
    else:
        yield Finding(group=_GROUP, name="python", value=version)


def _required() -> Iterator[Finding]:
    """A line for those that matter most and for those that are not as they should be; one for all the others."""
    found = [
        _one(requirement, "impossible", f"type: pip install '{requirement.name}{requirement.specifier}'")
        for requirement in _requirements(None)
    ]
    yield from (finding for finding in found if finding.name in _SHOWN or finding.state != "ok")
    others = [finding.name for finding in found if finding.name not in _SHOWN and finding.state == "ok"]
    if others:
        yield Finding(group=_GROUP, name="others", value=f"{len(others)} more packages, all as required")


def _extras() -> Iterator[Finding]:
    """A line for every extra: its packages, or how to install them."""
    for extra in _provided():
        found = [_one(requirement, "remark", None) for requirement in _requirements(extra)]
        packages = ", ".join(f"{finding.name} {finding.value}" for finding in found)
        lacking = any(finding.state != "ok" for finding in found)
        advice = f"optional; type: pip install 'recurrent-bench[{extra}]'" if lacking else None
        state: State = "remark" if lacking else "ok"
        yield Finding(group=_GROUP, name=f"[{extra}]", value=packages, state=state, advice=advice)


def _one(requirement: Requirement, absent: State, advice: str | None) -> Finding:
    """One package. absent: the state where it is not installed."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(group=_GROUP, name=requirement.name, value="not installed", state=absent, advice=advice)
    if not requirement.specifier.contains(version, prereleases=True):
        asked = f"{requirement.specifier} is asked for"
        said = asked if advice is None else f"{asked}; {advice}"
        return Finding(group=_GROUP, name=requirement.name, value=version, state="remark", advice=said)
    return Finding(group=_GROUP, name=requirement.name, value=version)


def _provided() -> list[str]:
    try:
        named = metadata.metadata(_PROGRAM).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
    return [extra for extra in named if extra not in _NOT_OFFERED]


def _requirements(extra: str | None) -> Iterator[Requirement]:
    """What the program requires in any case, or what an extra adds."""
    try:
        listed = [Requirement(line) for line in metadata.requires(_PROGRAM) or []]
    except metadata.PackageNotFoundError:
        return
    for requirement in listed:
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        added = marker is not None and not always and extra is not None and marker.evaluate({"extra": extra})
        if added or (always and extra is None):
            yield requirement
