"""A question keeps the executions that it was first planned with.

What `model.kernel=auto` comes to depends on a table of this machine, which anybody may measure at any time, and a run
by another execution is another run. A sweep that goes on, here or on another machine, goes on with the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from bench.config import Kernel
from bench.runs.kernel_table import has_kernels
from bench.runs.questions import stored_plans, sweep_names
from bench.runs.store import Store
from bench.sweeps.grid import is_asked, seed_of
from bench.sweeps.plan import Plan

_KERNEL = "sweep.kernel="
_MARKS = ("sweep.", "seed=")

Asked = frozenset[str]  # what a run is asked for, its seed aside


def planned_kernels(store: Store, name: str) -> dict[Asked, Kernel]:
    """What `auto` came to in the plans of a question, first plan first, by what was asked for."""
    found: dict[Asked, Kernel] = {}
    for plan in stored_plans(store, name) if name in sweep_names(store) else []:
        for member in plan.members:
            kernel = kernel_of(member.overrides)
            if kernel is not None:
                found.setdefault(asked_for(member.overrides), kernel)
    return found


def asked_for(overrides: Iterable[str]) -> Asked:
    """A run's overrides without its seed, the sweeper's marks and how it is carried out."""
    return frozenset(
        override
        for override in overrides
        if is_asked(override) and not override.startswith(_MARKS) and seed_of(override) is None
    )


def kernel_of(overrides: Iterable[str]) -> Kernel | None:
    """The execution that a member was told of."""
    told = [override.removeprefix(_KERNEL) for override in overrides if override.startswith(_KERNEL)]
    return next((kernel for kernel in get_args(Kernel) if told[-1:] == [kernel]), None)


def sentence(plan: Plan) -> str | None:
    """What `model.kernel=auto` comes to, cell by cell; None where it is PyTorch's own throughout, or not asked for."""
    found: dict[str, set[str]] = {}
    for member in plan.members:
        for wanted in member.wanted:
            model, kernel = wanted.config.model, wanted.config.sweep.kernel
            if model.kernel == "auto" and kernel is not None and has_kernels(model.cell):
                found.setdefault(model.cell, set()).add(kernel)
    if not any("step" in kernels for kernels in found.values()):
        return None
    return "model.kernel=auto: " + ", ".join(f"{cell} by {' and '.join(sorted(found[cell]))}" for cell in found)
