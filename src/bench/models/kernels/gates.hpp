// What the cells do between two products, one text at a time: their equations (`models/cells.py`) and the derivatives.
#pragma once

#include "vectors.hpp"

namespace bench {

enum Cell : int { RNN, GRU, LSTM };

constexpr std::size_t gates_of(Cell cell) { return cell == RNN ? 1 : cell == GRU ? 3 : 4; }
constexpr std::size_t gradients_of(Cell cell) { return cell == RNN ? 1 : 4; }  // columns of the backward pass

// Pointers to one text's rows at one step, `hidden` values each unless said otherwise.
template <typename Real> struct Forward {
    Real* gates;           // (gates * hidden): before the gates' functions on entry, after them on return
    Real* extra;           // GRU: the candidate's hidden product, an input;  LSTM: c, an output
    const Real* previous;  // h of the step before
    const Real* carousel;  // LSTM: c of the step before
    Real* state;           // h, an output
    const Real* bias;      // GRU: of the candidate's product of the input
};

template <typename Real> struct Backward {
    const Real* gates;         // (gates * hidden) after their functions
    const Real* extra;         // as above
    const Real* state;         // h
    const Real* previous;      // h of the step before
    const Real* carousel;      // LSTM: c of the step before
    const Real* arriving;      // gradient of h from above
    Real* from_later;          // gradient of h from the step after; on return its share that passes no gate's product
    Real* carousel_gradient;   // LSTM: gradient of c from the step after; on return that of the step before
    Real* gradients;           // (gradients * hidden), an output
};

template <typename Real, Cell cell, bool whole>
inline void forward_lanes(const Forward<Real>& row, std::size_t hidden, std::size_t u, int count) {
    auto gate = [&](int which) { return load<whole>(row.gates + which * hidden + u, count); };
    auto keep = [&](int which, Vector<Real> value) { store<whole>(row.gates + which * hidden + u, value, count); };
    if constexpr (cell == RNN) {
        store<whole>(row.state + u, tanh<Real>(gate(0)), count);
    } else if constexpr (cell == GRU) {
        const auto reset = sigmoid<Real>(gate(0)), update = sigmoid<Real>(gate(1));
        const auto input = gate(2) + load<whole>(row.bias + u, count);
        const auto candidate = tanh<Real>(input + reset * load<whole>(row.extra + u, count));
        keep(0, reset), keep(1, update), keep(2, candidate);
        store<whole>(row.state + u, candidate + update * (load<whole>(row.previous + u, count) - candidate), count);
    } else {
        const auto entry = sigmoid<Real>(gate(0)), forget = sigmoid<Real>(gate(1));
        const auto candidate = tanh<Real>(gate(2)), output = sigmoid<Real>(gate(3));
        const auto carousel = forget * load<whole>(row.carousel + u, count) + entry * candidate;
        keep(0, entry), keep(1, forget), keep(2, candidate), keep(3, output);
        store<whole>(row.extra + u, carousel, count);
        store<whole>(row.state + u, output * tanh<Real>(carousel), count);
    }
}

template <typename Real, Cell cell, bool whole>
inline void backward_lanes(const Backward<Real>& row, std::size_t hidden, std::size_t u, int count) {
    auto at = [&](const Real* values) { return load<whole>(values + u, count); };
    auto gate = [&](int which) { return at(row.gates + which * hidden); };
    auto give = [&](int which, Vector<Real> value) { store<whole>(row.gradients + which * hidden + u, value, count); };
    const Real one = 1;
    const auto gradient = at(row.arriving) + at(row.from_later);
    if constexpr (cell == RNN) {
        const auto state = at(row.state);
        give(0, gradient * (one - state * state));
    } else if constexpr (cell == GRU) {
        const auto reset = gate(0), update = gate(1), candidate = gate(2);
        const auto before_tanh = gradient * (one - update) * (one - candidate * candidate);
        give(0, before_tanh * at(row.extra) * reset * (one - reset));
        give(1, gradient * (at(row.previous) - candidate) * update * (one - update));
        give(2, before_tanh);
        give(3, before_tanh * reset);
        store<whole>(row.from_later + u, gradient * update, count);
    } else {
        const auto entry = gate(0), forget = gate(1), candidate = gate(2), output = gate(3);
        const auto squashed = tanh<Real>(at(row.extra));
        const auto carousel = at(row.carousel_gradient) + gradient * output * (one - squashed * squashed);
        give(0, carousel * candidate * entry * (one - entry));
        give(1, carousel * at(row.carousel) * forget * (one - forget));
        give(2, carousel * entry * (one - candidate * candidate));
        give(3, gradient * squashed * output * (one - output));
        store<whole>(row.carousel_gradient + u, carousel * forget, count);
    }
}

template <typename Real, Cell cell>
NOT_INLINE void apply_gates(const Forward<Real>& row, std::size_t hidden) {
    constexpr int L = LANES<Real>;
    std::size_t u = 0;
    for (; u + L <= hidden; u += L) forward_lanes<Real, cell, true>(row, hidden, u, L);
    if (u < hidden) forward_lanes<Real, cell, false>(row, hidden, u, int(hidden - u));
}

template <typename Real, Cell cell>
NOT_INLINE void differentiate_gates(const Backward<Real>& row, std::size_t hidden) {
    constexpr int L = LANES<Real>;
    std::size_t u = 0;
    for (; u + L <= hidden; u += L) backward_lanes<Real, cell, true>(row, hidden, u, L);
    if (u < hidden) backward_lanes<Real, cell, false>(row, hidden, u, int(hidden - u));
}

}  // namespace bench
