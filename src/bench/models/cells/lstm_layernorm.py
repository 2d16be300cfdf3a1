"""The LSTM with layer normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.cells.kinds import CellKind, Saved, State, sigmoid_backward, tanh_backward
from bench.models.kernels.steps import Steps

_EPSILON = 1e-5  # added to variances, as `nn.LayerNorm` does
_norm, _norm_backward = torch.ops.aten.native_layer_norm, torch.ops.aten.native_layer_norm_backward


def normalise_inputs(products: Tensor, gain: Tensor) -> Tensor:
    """The product x W_ih^T of each token, normalised over all gates; its bias is b_ih. (..., 4 * hidden)"""
    return F.layer_norm(products, gain.shape, gain, eps=_EPSILON)


def lstm_layernorm_step(
    inputs: Tensor,
    state: State,
    weight_hidden: Tensor,
    bias_hidden: Tensor,
    gain_hidden: Tensor,
    gain_carousel: Tensor,
    bias_carousel: Tensor,
) -> State:
    """One step of an LSTM with layer normalisation (Ba, Kiros & Hinton 2016, supplement).

    inputs: (batch, 4 * hidden) = LN(x W_ih^T) + b_ih, gates input, forget, cell, output;  state: (h, c), each
    (batch, hidden). Both products are normalised over all gates together, and c before its tanh. Each norm has a gain
    and a bias; those of the products are b_ih and b_hh, and the paper's third bias, which adds to them, is left out.
    """
    hidden, carousel = state
    product = F.layer_norm(hidden @ weight_hidden.T, gain_hidden.shape, gain_hidden, bias_hidden, _EPSILON)
    entry, forget, candidate, output = (inputs + product).chunk(4, dim=1)
    carousel = torch.sigmoid(forget) * carousel + torch.sigmoid(entry) * torch.tanh(candidate)
    normal = F.layer_norm(carousel, gain_carousel.shape, gain_carousel, bias_carousel, _EPSILON)
    return torch.sigmoid(output) * torch.tanh(normal), carousel


def _gains(bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain of the hidden product, gain and bias of c's norm, as they come to `forward`."""
    size = len(bias) // 6
    gain_hidden, gain_carousel, bias_carousel = bias.split([4 * size, size, size])
    return gain_hidden, gain_carousel, bias_carousel


def lstm_layernorm_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates, h and c before each step, c, tanh LN c, and gains."""
    size = across.shape[0]
    states, before = steps.history(products, size)
    before = steps.seen(before)
    carousels, carousels_before = steps.history(products, size)
    squashed, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    gain_hidden, gain_carousel, bias_carousel = _gains(bias)
    views = (products, *products.chunk(4, dim=2), before, states, carousels_before, carousels, squashed)
    for time, (gates, i, f, g, o, hidden, after, c_before, c, tanh_c) in steps.read(*views):
        gates.add_(_norm(hidden @ across, [4 * size], gain_hidden, None, _EPSILON)[0])
        g.add_(g)
        gates.sigmoid_()
        torch.add(minus_one, g, alpha=2, out=g)  # tanh x = 2 σ(2x) − 1: one call for all gates
        torch.mul(f, c_before, out=c).addcmul_(i, g)
        torch.tanh(_norm(c, [size], gain_carousel, bias_carousel, _EPSILON)[0], out=tanh_c)
        torch.mul(o, tanh_c, out=after)
        steps.hold(time, after, c)
    return states, (products, before, carousels_before, carousels, squashed, bias)


def lstm_layernorm_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before input, forget, cell and output gate, of the hidden product before its norm (four blocks), and
    of c's norm; see `CellKind.backward`."""
    products, hidden_before, before, carousels, squashed, bias = saved
    size = states.shape[2]
    gain_hidden, gain_carousel, bias_carousel = _gains(bias)
    gradients = states.new_empty(*states.shape[:2], 9 * size)
    later, grad_carousel = torch.zeros_like(products[0]), torch.zeros_like(states[0])
    of_product, of_carousel = [True, False, False], [True, False, False]  # of what is normalised alone
    for block in steps.blocks(states):
        entry, forget, candidate, output = products[block].chunk(4, dim=2)
        hidden_products = hidden_before[block] @ weight.T
        _, *product_moments = _norm(hidden_products, [4 * size], None, None, _EPSILON)
        _, *carousel_moments = _norm(carousels[block], [size], None, None, _EPSILON)
        factors = (
            sigmoid_backward(candidate, entry),
            sigmoid_backward(before[block], forget),
            tanh_backward(entry, candidate),
            sigmoid_backward(squashed[block], output),
            tanh_backward(output, squashed[block]),
        )
        normed = (hidden_products, *product_moments, carousels[block], *carousel_moments)
        out = gradients[block]
        views = (grad_states[block], forget, out[:, :, : 4 * size], out[:, :, 4 * size : 8 * size],
                 *out.chunk(9, dim=2)[:4], out[:, :, 8 * size :], *factors, *normed)  # fmt: skip
        for time, (grad, f, gates, product, di, df, dg, do, dn, to_i, to_f, to_g, to_o, to_n, *norms) in steps.unread(
            *views, block=block
        ):
            grad_hidden = steps.received(grad, (later, weight))
            steps.hold(time, grad_hidden, grad_carousel)
            torch.mul(grad_hidden, to_o, out=do)
            torch.mul(grad_hidden, to_n, out=dn)
            grad_carousel += _norm_backward(
                dn.contiguous(), norms[3], [size], *norms[4:], gain_carousel, bias_carousel, of_carousel
            )[0]
            torch.mul(grad_carousel, to_i, out=di)
            torch.mul(grad_carousel, to_f, out=df)
            torch.mul(grad_carousel, to_g, out=dg)
            later = _norm_backward(
                gates.contiguous(), norms[0], [4 * size], *norms[1:3], gain_hidden, None, of_product
            )[0]
            product.copy_(later)
            grad_carousel.mul_(f)
    return gradients


def norm_gradients(
    columns: Tensor, saved: Saved, weight: Tensor, backwards: bool, initial: State
) -> tuple[Tensor, ...]:
    """Of the hidden product's gain, and of gain and bias of c's norm; see `CellKind.further_gradients`."""
    _, hidden_before, _, carousels, _, _ = saved
    size = weight.shape[1]
    of_gates, of_carousel = columns[:, :, : 4 * size], columns[:, :, 8 * size :]
    product = _norm(hidden_before @ weight.T, [4 * size], None, None, _EPSILON)[0]
    normal = _norm(carousels, [size], None, None, _EPSILON)[0]
    return (of_gates * product).sum((0, 1)), (of_carousel * normal).sum((0, 1)), of_carousel.sum((0, 1))


LSTM_LAYERNORM_CELLS = {
    "lstm_layernorm": CellKind(
        lstm_layernorm_step, lstm_layernorm_forward, lstm_layernorm_backward,
        columns=9, hidden_columns=((4, 8),), bias_columns=((0, 4),), additive=4, masked=True,
        normalise=normalise_inputs, further_gradients=norm_gradients,
    ),
}  # fmt: skip
