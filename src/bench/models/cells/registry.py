"""All cells by name: the program's own, and those of other packages."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from bench.declarations import foreign
from bench.errors import UserError
from bench.models.cells.gated_state import GATED_STATE_CELLS
from bench.models.cells.gru import GRU_CELLS
from bench.models.cells.kinds import CellKind
from bench.models.cells.lstm import LSTM_CELLS
from bench.models.cells.lstm_gates import LSTM_GATES_CELLS
from bench.models.cells.lstm_layernorm import LSTM_LAYERNORM_CELLS
from bench.models.cells.lstm_peephole import LSTM_PEEPHOLE_CELLS
from bench.models.cells.minimal import MINIMAL_CELLS
from bench.models.cells.rnn import RNN_CELLS

CELLS: dict[str, CellKind] = {
    **RNN_CELLS,
    **GRU_CELLS,
    **GATED_STATE_CELLS,
    **LSTM_CELLS,
    **LSTM_GATES_CELLS,
    **LSTM_PEEPHOLE_CELLS,
    **LSTM_LAYERNORM_CELLS,
    **MINIMAL_CELLS,
}


def kind_of(cell: str) -> CellKind:
    """How a recurrent cell is executed.

    Raises: `UserError` if it is another package's and cannot be imported.
    """
    own = CELLS.get(cell)
    return own if own is not None else _foreign_kind(cell)


@cache
def _foreign_kind(cell: str) -> CellKind:
    """A cell of another package: a whole `CellKind`, or the function of one step."""
    found = foreign(cell)
    module, name = found.place
    told = f"model.cell={cell}, of the package {found.package}"
    try:
        equations = getattr(import_module(module), name)
    except Exception as error:
        raise UserError(f"{told}, cannot be loaded: {' '.join(f'{type(error).__name__}: {error}'.split())}") from error
    if isinstance(equations, CellKind):
        return equations
    if not callable(equations):
        raise UserError(f"{told}: {module}:{name} should be a function of one step, or a CellKind")
    return CellKind(equations)
