"""What is known of every cell without torch: its weights, for counting them, and where its equations are.

Planning a sweep counts weights and names runs in milliseconds, so it reads declarations and never imports equations
(`bench.models.cells`). A cell of another package is declared in the same way, in a module that imports no torch, and
found through an entry point of the group `bench.cells` (docs/cells.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Literal

from bench.errors import UserError, did_you_mean

GROUP = "bench.cells"  # of entry points
BASELINES = ("attention", "bag", "linear")  # do not recur; every further one has fewer keys of effect
_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class FurtherWeight:
    """A vector of weights beside the matrices and biases that every cell has.

    name: of the parameter;  per_unit: values for each hidden unit;  initial: their first value;
    bias: whether it is added rather than multiplied.
    """

    name: str
    per_unit: int
    initial: float = 0.0
    bias: bool = False


@dataclass(frozen=True)
class CellDeclaration:
    """The weights of one direction of one layer of a cell.

    gates: blocks of hidden size, stacked in W_ih (gates · hidden, input), W_hh (gates · hidden, hidden) and two biases;
    states: tensors of (batch, hidden) that a step hands to the next one, the first of which is the layer's output;
    forget_gate: the block whose gate keeps the state where it is large, None if there is none;
    chrono: blocks whose biases chrono initialisation sets: (block, 1) keeps the state where it is large, (block, -1)
        lets in what is new;
    further: vectors of weights beside these, in the order in which the step takes them;
    operations: per hidden unit and token, beside the products with weights;
    recurrent_matrix: whether there is a W_hh;  biases: how many of (gates · hidden,) there are;
    recurrent_initial: what W_hh starts as, block by block;
    has_module: whether PyTorch has the cell as a module;
    activations: what σ, tanh and ReLU give in one step, in the order in which its equation computes them: the names of
        gates for `inspect`, empty for what it shall not show;
    implementation: `package.module:name` of the equations, for cells of other packages.
    """

    gates: int
    states: int = 1
    forget_gate: int | None = None
    chrono: tuple[tuple[int, int], ...] = ()
    further: tuple[FurtherWeight, ...] = ()
    operations: int = 0
    recurrent_matrix: bool = True
    biases: int = 2
    recurrent_initial: Literal["orthogonal", "identity"] = "orthogonal"
    has_module: bool = False
    activations: tuple[str, ...] = ()
    implementation: str | None = None

    def __post_init__(self) -> None:
        """Raises: `ValueError` for what cannot be built."""
        if min(self.gates, self.states) < 1:
            raise ValueError(f"gates={self.gates}, states={self.states}: a cell has at least one of each")
        if self.forget_gate is not None and not 0 <= self.forget_gate < self.gates:
            raise ValueError(f"forget_gate={self.forget_gate}: should be below gates={self.gates}")
        if self.implementation is not None and not _PLACE.fullmatch(self.implementation):
            raise ValueError(f"implementation={self.implementation!r}: should be 'package.module:name'")


_NORMS = (  # of the input's product and the state's, each over all gates, and of c: gains, and what c's adds
    FurtherWeight("gain_ih_l0", 4, 1.0),
    FurtherWeight("gain_hh_l0", 4, 1.0),
    FurtherWeight("gain_c_l0", 1, 1.0),
    FurtherWeight("bias_c_l0", 1, bias=True),
)

_LSTM_MEMORY = ((1, 1), (0, -1))  # forget and input gate

_LSTM_ACTIVATIONS = ("forget gate", "input gate", "candidate", "output gate", "")  # tanh c is seen in c
_GRU_ACTIVATIONS = ("reset gate", "update gate", "candidate")

# The program's own cells, simpler ones first.
DECLARED: Mapping[str, CellDeclaration] = {
    "rnn": CellDeclaration(gates=1, has_module=True, activations=("",)),
    "rnn_relu": CellDeclaration(gates=1, has_module=True, recurrent_initial="identity", activations=("",)),
    "mingru": CellDeclaration(
        gates=2, chrono=((0, -1),), recurrent_matrix=False, biases=1, activations=("update gate",)
    ),
    "minlstm": CellDeclaration(
        gates=3, forget_gate=0, chrono=((0, 1), (1, -1)), recurrent_matrix=False, biases=1,
        activations=("input gate, normalised",),
    ),
    "mgu": CellDeclaration(gates=2, chrono=((0, -1),), activations=("forget gate", "candidate")),
    "gru": CellDeclaration(gates=3, chrono=((1, 1),), has_module=True, activations=_GRU_ACTIVATIONS),
    "gru_reset_before": CellDeclaration(gates=3, chrono=((1, 1),), activations=_GRU_ACTIVATIONS),
    "lstm_noforget": CellDeclaration(gates=3, states=2, activations=("input gate", "candidate", "output gate", "")),
    "lstm_cifg": CellDeclaration(
        gates=3, states=2, forget_gate=0, chrono=((0, 1),), activations=("candidate", "forget gate", "output gate", "")
    ),
    "lstm": CellDeclaration(
        gates=4, states=2, forget_gate=1, chrono=_LSTM_MEMORY, has_module=True, activations=_LSTM_ACTIVATIONS
    ),
    "lstm_peephole": CellDeclaration(
        gates=4, states=2, forget_gate=1, chrono=_LSTM_MEMORY, further=(FurtherWeight("weight_peephole_l0", 3),),
        activations=("input gate", "forget gate", "candidate", "output gate", ""),
    ),
    # Normalising a value takes five operations: sum, difference, square and sum, scale; there are 4 + 4 + 1 per unit.
    "lstm_layernorm": CellDeclaration(
        gates=4, states=2, forget_gate=1, chrono=_LSTM_MEMORY, further=_NORMS, operations=45,
        activations=_LSTM_ACTIVATIONS,
    ),
}  # fmt: skip


def declared(cell: str) -> CellDeclaration:
    """What is declared of a recurrent cell, the program's own or another package's.

    Raises: `UserError`, one line, if there is no such cell, or its package cannot be used.
    """
    own = DECLARED.get(cell)
    return own if own is not None else foreign(cell).declaration


def is_recurrent(cell: str) -> bool:
    """Whether a model of this name recurs; those that the program does not know of, as from elsewhere, do."""
    return cell not in BASELINES


def check_cell(name: str) -> str:
    """The name of a model, if it is one.

    Raises: `UserError` as `declared` does.
    """
    if name not in BASELINES:
        declared(name)
    return name


@dataclass(frozen=True)
class ForeignCell:
    """A cell that another package declares. package: its name and version, as in `leaky-cells 1.2`;  declared_in: the
    module of the declaration."""

    declaration: CellDeclaration
    package: str
    declared_in: str

    @property
    def place(self) -> tuple[str, str]:
        """Module and name of its equations."""
        assert self.declaration.implementation is not None
        module, _, name = self.declaration.implementation.partition(":")
        return module, name


@cache
def foreign_names() -> tuple[str, ...]:
    """The cells that other packages declare; nothing of theirs is imported."""
    return tuple(sorted({entry.name for entry in metadata.entry_points(group=GROUP)} - {*DECLARED, *BASELINES}))


@cache
def foreign(cell: str) -> ForeignCell:
    """The declaration of another package's cell, imported at the first request.

    Raises: `UserError` if no package declares it, several do, or the one that does cannot be used.
    """
    entries = tuple(metadata.entry_points(group=GROUP, name=cell))
    packages = sorted(_package(entry) for entry in entries)
    if not entries:
        known = [*BASELINES, *DECLARED, *foreign_names()]
        raise UserError(f"model.cell={cell}: unknown cell; {did_you_mean(cell, known)}")
    if len(entries) > 1:
        raise UserError(f"model.cell={cell}: declared by {' and by '.join(packages)}; uninstall one of them")
    told = f"model.cell={cell}, of the package {packages[0]}"
    try:
        declaration = entries[0].load()
    except Exception as error:
        raise UserError(f"{told}, cannot be loaded: {' '.join(f'{type(error).__name__}: {error}'.split())}") from error
    if not isinstance(declaration, CellDeclaration) or declaration.implementation is None:
        raise UserError(
            f"{told}: {entries[0].value} should be a bench.declarations.CellDeclaration with an implementation"
        )
    return ForeignCell(declaration, packages[0], entries[0].module)


def _package(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
