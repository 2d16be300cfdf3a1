"""The recurrent cells: their equations, and how they are executed by hand; one file a family.

Their differences are the subject of this project, so they stand side by side. `*_step` computes one step from the
products of the input (`inputs`, all gates side by side, input bias included) and the state; gates are in PyTorch's
order. PyTorch's own modules execute these equations where it has them, else a loop over them does (`kernel=torch`), and
so do two functions by hand (`kernel=step`): `*_forward` reads all steps with few operators each, `*_backward` is its
derivative. In the latter, a *factor* is what does not depend on gradients, so that it is computed for a block of steps
at once; σ' = σ(1 − σ) and tanh' = 1 − tanh² multiply what PyTorch's `sigmoid_backward` and `tanh_backward` are given.
The tests hold all of them against each other.

A new cell is its equation, an entry beside its family, and a declaration in `bench.declarations`; the two functions by
hand are optional.
"""

from bench.models.cells.initial import initialise
from bench.models.cells.kinds import CellKind
from bench.models.cells.registry import CELLS, kind_of

__all__ = ["CELLS", "CellKind", "initialise", "kind_of"]
