"""The weights that a layer starts from."""

from __future__ import annotations

import torch
from torch import nn

from bench.declarations import CellDeclaration


@torch.no_grad()
def initialise(
    layer: nn.Module,
    declaration: CellDeclaration,
    forget_bias: float | None,
    generator: torch.Generator,
    *,
    chrono: int | None = None,
) -> None:
    """Orthogonal recurrent blocks (Saxe et al. 2014), Glorot-uniform input blocks (Glorot & Bengio 2010), biases zero.

    layer: one direction of one layer. Each gate's block is initialised by itself; further weights, and recurrent blocks
    that start as the identity (Le et al. 2015), as declared. PyTorch adds two biases: the forget gate's initial bias
    (Jozefowicz et al. 2015) goes on the input's, the other one is zero. chrono: the longest memory, in steps, of units
    whose gates start as `_set_memories` says.
    """
    weights = dict(layer.named_parameters())
    gates = declaration.gates
    for block in weights["weight_ih_l0"].chunk(gates):
        nn.init.xavier_uniform_(block, generator=generator)
    for block in weights["weight_hh_l0"].chunk(gates) if declaration.recurrent_matrix else ():
        if declaration.recurrent_initial == "identity":
            nn.init.eye_(block)
        else:
            nn.init.orthogonal_(block, generator=generator)
    for name in ("bias_ih_l0", "bias_hh_l0")[: declaration.biases]:
        weights[name].zero_()
    for further in declaration.further:
        weights[further.name].fill_(further.initial)
    if forget_bias is not None and declaration.forget_gate is not None:
        weights["bias_ih_l0"].chunk(gates)[declaration.forget_gate].fill_(forget_bias)
    if chrono is not None:
        _set_memories(weights["bias_ih_l0"], declaration, chrono, generator)


def _set_memories(bias: torch.Tensor, declaration: CellDeclaration, longest: int, generator: torch.Generator) -> None:
    """Chrono initialisation (Tallec & Ollivier 2018): biases of gates that keep the state are log U(1, T − 1).

    While the products with weights are small, such a gate keeps u / (1 + u) of its unit's state, which is forgotten
    within some 1 + u steps, uniform between 2 and T. Gates that let in what is new get the negative of it.
    """
    blocks = bias.chunk(declaration.gates)
    logs = torch.empty_like(blocks[0]).uniform_(1, longest - 1, generator=generator).log()
    for gate, sign in declaration.chrono:
        blocks[gate].copy_(sign * logs)
