"""The weights that a layer starts from."""

from __future__ import annotations

import torch
from torch import nn

from bench.declarations import CellDeclaration


@torch.no_grad()
def initialise(
    layer: nn.Module, declaration: CellDeclaration, forget_bias: float | None, generator: torch.Generator
) -> None:
    """Orthogonal recurrent blocks (Saxe et al. 2014), Glorot-uniform input blocks (Glorot & Bengio 2010), biases zero.

    layer: one direction of one layer. Each gate's block is initialised by itself; further weights, and recurrent blocks
    that start as the identity (Le et al. 2015), as declared. PyTorch adds two biases: the forget gate's initial bias
    (Jozefowicz et al. 2015) goes on the input's, the other one is zero.
    """
    weights = dict(layer.named_parameters())
    gates = declaration.gates
    for block in weights["weight_ih_l0"].chunk(gates):
        nn.init.xavier_uniform_(block, generator=generator)
    for block in weights["weight_hh_l0"].chunk(gates):
        if declaration.recurrent_initial == "identity":
            nn.init.eye_(block)
        else:
            nn.init.orthogonal_(block, generator=generator)
    weights["bias_ih_l0"].zero_()
    weights["bias_hh_l0"].zero_()
    for further in declaration.further:
        weights[further.name].fill_(further.initial)
    if forget_bias is not None and declaration.forget_gate is not None:
        weights["bias_ih_l0"].chunk(gates)[declaration.forget_gate].fill_(forget_bias)
