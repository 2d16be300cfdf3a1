// What the cells do between two products, one text at a time: their equations (`models/cells/`) and the derivatives.
#pragma once

#include "vectors.hpp"

namespace bench {

// As in native_library.py.
enum Cell : int { RNN, GRU, LSTM, RNN_RELU, LSTM_CIFG, LSTM_NOFORGET, LSTM_PEEPHOLE, MGU, GRU_RESET_BEFORE };

constexpr std::size_t gates_of(Cell cell) {
    if (cell == RNN || cell == RNN_RELU) return 1;
    if (cell == MGU) return 2;
    return cell == LSTM || cell == LSTM_PEEPHOLE ? 4 : 3;
}
constexpr std::size_t gradients_of(Cell cell) { return cell == GRU ? 4 : gates_of(cell); }  // columns backwards
constexpr bool has_carousel(Cell cell) {
    return cell == LSTM || cell == LSTM_CIFG || cell == LSTM_NOFORGET || cell == LSTM_PEEPHOLE;
}
constexpr bool scales_state(Cell cell) { return cell == MGU || cell == GRU_RESET_BEFORE; }  // before a second product
constexpr bool has_candidate(Cell cell) { return cell == GRU || scales_state(cell); }  // whose product is one apart
constexpr bool keeps_extra(Cell cell) { return cell != RNN && cell != RNN_RELU; }

// Pointers to one text's rows at one step, `hidden` values each unless said otherwise.
template <typename Real> struct Forward {
    Real* gates;           // (gates * hidden): before the gates' functions on entry, after them on return
    Real* extra;           // GRU: the candidate's hidden product, an input;  with a carousel: c, an output;
                           // where a gate scales h: the scaled one, an output
    const Real* previous;  // h of the step before
    const Real* carousel;  // c of the step before
    Real* state;           // h, an output
    const Real* bias;      // GRU: of the candidate's product of the input;  (3 * hidden): peepholes
};

template <typename Real> struct Backward {
    const Real* gates;         // (gates * hidden) after their functions
    const Real* extra;         // as above
    const Real* state;         // h
    const Real* previous;      // h of the step before
    const Real* carousel;      // c of the step before
    const Real* arriving;      // gradient of h from above
    Real* from_later;          // gradient of h from the step after; on return its share that passes no gate's product
    Real* carousel_gradient;   // gradient of c from the step after; on return that of the step before;
                               // where a gate scales h: the gradient of the scaled one
    Real* gradients;           // (gradients * hidden), an output
    const Real* bias;          // (3 * hidden): peepholes
};

template <typename Real, Cell cell, bool whole>
inline void forward_lanes(const Forward<Real>& row, std::size_t hidden, std::size_t u, int count) {
    auto gate = [&](int which) { return load<whole>(row.gates + which * hidden + u, count); };
    auto keep = [&](int which, Vector<Real> value) { store<whole>(row.gates + which * hidden + u, value, count); };
    auto at = [&](const Real* values) { return load<whole>(values + u, count); };
    auto emit = [&](Vector<Real> carousel, Vector<Real> output) {
        store<whole>(row.extra + u, carousel, count);
        store<whole>(row.state + u, output * tanh<Real>(carousel), count);
    };
    if constexpr (cell == RNN) {
        store<whole>(row.state + u, tanh<Real>(gate(0)), count);
    } else if constexpr (cell == RNN_RELU) {
        const auto value = gate(0);
        store<whole>(row.state + u, value < Real(0) ? Vector<Real>{} : value, count);  // NaN stays NaN
    } else if constexpr (cell == GRU) {
        const auto reset = sigmoid<Real>(gate(0)), update = sigmoid<Real>(gate(1));
        const auto input = gate(2) + at(row.bias);
        const auto candidate = tanh<Real>(input + reset * at(row.extra));
        keep(0, reset), keep(1, update), keep(2, candidate);
        store<whole>(row.state + u, candidate + update * (at(row.previous) - candidate), count);
    } else if constexpr (cell == GRU_RESET_BEFORE) {  // the gates stand already
        const auto update = gate(1), candidate = tanh<Real>(gate(2));
        keep(2, candidate);
        store<whole>(row.state + u, candidate + update * (at(row.previous) - candidate), count);
    } else if constexpr (cell == MGU) {
        const auto update = gate(0), candidate = tanh<Real>(gate(1));
        const auto previous = at(row.previous);
        keep(1, candidate);
        store<whole>(row.state + u, previous + update * (candidate - previous), count);
    } else if constexpr (cell == LSTM_CIFG) {
        const auto forget = sigmoid<Real>(gate(0)), candidate = tanh<Real>(gate(1)), output = sigmoid<Real>(gate(2));
        keep(0, forget), keep(1, candidate), keep(2, output);
        emit(candidate + forget * (at(row.carousel) - candidate), output);
    } else if constexpr (cell == LSTM_NOFORGET) {
        const auto entry = sigmoid<Real>(gate(0)), candidate = tanh<Real>(gate(1)), output = sigmoid<Real>(gate(2));
        keep(0, entry), keep(1, candidate), keep(2, output);
        emit(at(row.carousel) + entry * candidate, output);
    } else if constexpr (cell == LSTM_PEEPHOLE) {
        auto peephole = [&](int which) { return load<whole>(row.bias + which * hidden + u, count); };
        const auto before = at(row.carousel);
        const auto entry = sigmoid<Real>(gate(0) + peephole(0) * before);
        const auto forget = sigmoid<Real>(gate(1) + peephole(1) * before);
        const auto candidate = tanh<Real>(gate(2));
        const auto carousel = forget * before + entry * candidate;
        const auto output = sigmoid<Real>(gate(3) + peephole(2) * carousel);
        keep(0, entry), keep(1, forget), keep(2, candidate), keep(3, output);
        emit(carousel, output);
    } else {
        const auto entry = sigmoid<Real>(gate(0)), forget = sigmoid<Real>(gate(1));
        const auto candidate = tanh<Real>(gate(2)), output = sigmoid<Real>(gate(3));
        const auto carousel = forget * at(row.carousel) + entry * candidate;
        keep(0, entry), keep(1, forget), keep(2, candidate), keep(3, output);
        emit(carousel, output);
    }
}

// The gates before the candidate, and the state that one of them scales.
template <typename Real, Cell cell, bool whole>
inline void scale_lanes(const Forward<Real>& row, std::size_t hidden, std::size_t u, int count) {
    const auto reset = sigmoid<Real>(load<whole>(row.gates + u, count));
    store<whole>(row.gates + u, reset, count);
    store<whole>(row.extra + u, reset * load<whole>(row.previous + u, count), count);
    if constexpr (cell == GRU_RESET_BEFORE) {
        const auto update = sigmoid<Real>(load<whole>(row.gates + hidden + u, count));
        store<whole>(row.gates + hidden + u, update, count);
    }
}

template <typename Real, Cell cell, bool whole>
inline void backward_lanes(const Backward<Real>& row, std::size_t hidden, std::size_t u, int count) {
    auto at = [&](const Real* values) { return load<whole>(values + u, count); };
    auto gate = [&](int which) { return at(row.gates + which * hidden); };
    auto give = [&](int which, Vector<Real> value) { store<whole>(row.gradients + which * hidden + u, value, count); };
    auto pass_on = [&](Vector<Real> carousel) { store<whole>(row.carousel_gradient + u, carousel, count); };
    const Real one = 1;
    const auto gradient = at(row.arriving) + at(row.from_later);
    if constexpr (cell == RNN) {
        const auto state = at(row.state);
        give(0, gradient * (one - state * state));
    } else if constexpr (cell == RNN_RELU) {
        give(0, at(row.state) <= Real(0) ? Vector<Real>{} : gradient);
    } else if constexpr (cell == GRU) {
        const auto reset = gate(0), update = gate(1), candidate = gate(2);
        const auto before_tanh = gradient * (one - update) * (one - candidate * candidate);
        give(0, before_tanh * at(row.extra) * reset * (one - reset));
        give(1, gradient * (at(row.previous) - candidate) * update * (one - update));
        give(2, before_tanh);
        give(3, before_tanh * reset);
        store<whole>(row.from_later + u, gradient * update, count);
    } else if constexpr (cell == GRU_RESET_BEFORE) {  // the reset gate's follows (unscale_lanes)
        const auto update = gate(1), candidate = gate(2);
        give(1, gradient * (at(row.previous) - candidate) * update * (one - update));
        give(2, gradient * (one - update) * (one - candidate * candidate));
        store<whole>(row.from_later + u, gradient * update, count);
    } else if constexpr (cell == MGU) {  // of the gate, the share of its update
        const auto update = gate(0), candidate = gate(1);
        give(0, gradient * (candidate - at(row.previous)) * update * (one - update));
        give(1, gradient * update * (one - candidate * candidate));
        store<whole>(row.from_later + u, gradient * (one - update), count);
    } else {
        const auto squashed = tanh<Real>(at(row.extra));
        const auto output = gate(int(gates_of(cell)) - 1);
        const auto to_output = gradient * squashed * output * (one - output);
        auto carousel = at(row.carousel_gradient) + gradient * output * (one - squashed * squashed);
        give(int(gates_of(cell)) - 1, to_output);
        if constexpr (cell == LSTM_CIFG) {
            const auto forget = gate(0), candidate = gate(1);
            give(0, carousel * (at(row.carousel) - candidate) * forget * (one - forget));
            give(1, carousel * (one - forget) * (one - candidate * candidate));
            pass_on(carousel * forget);
        } else if constexpr (cell == LSTM_NOFORGET) {
            const auto entry = gate(0), candidate = gate(1);
            give(0, carousel * candidate * entry * (one - entry));
            give(1, carousel * entry * (one - candidate * candidate));
            pass_on(carousel);
        } else if constexpr (cell == LSTM_PEEPHOLE) {
            auto peephole = [&](int which) { return at(row.bias + which * hidden); };
            const auto entry = gate(0), forget = gate(1), candidate = gate(2);
            carousel += to_output * peephole(2);
            const auto to_entry = carousel * candidate * entry * (one - entry);
            const auto to_forget = carousel * at(row.carousel) * forget * (one - forget);
            give(0, to_entry);
            give(1, to_forget);
            give(2, carousel * entry * (one - candidate * candidate));
            pass_on(carousel * forget + to_entry * peephole(0) + to_forget * peephole(1));
        } else {
            const auto entry = gate(0), forget = gate(1), candidate = gate(2);
            give(0, carousel * candidate * entry * (one - entry));
            give(1, carousel * at(row.carousel) * forget * (one - forget));
            give(2, carousel * entry * (one - candidate * candidate));
            pass_on(carousel * forget);
        }
    }
}

// From the gradient of the scaled state: that of the gate which scaled it, and of h.
template <typename Real, Cell cell, bool whole>
inline void unscale_lanes(const Backward<Real>& row, std::size_t, std::size_t u, int count) {
    auto at = [&](const Real* values) { return load<whole>(values + u, count); };
    const Real one = 1;
    const auto reset = at(row.gates), scaled = at(row.carousel_gradient);
    auto to_reset = scaled * at(row.previous) * reset * (one - reset);
    if constexpr (cell == MGU) to_reset += at(row.gradients);
    store<whole>(row.gradients + u, to_reset, count);
    store<whole>(row.from_later + u, at(row.from_later) + scaled * reset, count);
}

template <typename Real, Cell cell>
NOT_INLINE void apply_gates(const Forward<Real>& row, std::size_t hidden) {
    constexpr int L = LANES<Real>;
    std::size_t u = 0;
    for (; u + L <= hidden; u += L) forward_lanes<Real, cell, true>(row, hidden, u, L);
    if (u < hidden) forward_lanes<Real, cell, false>(row, hidden, u, int(hidden - u));
}

template <typename Real, Cell cell>
NOT_INLINE void scale_state(const Forward<Real>& row, std::size_t hidden) {
    constexpr int L = LANES<Real>;
    std::size_t u = 0;
    for (; u + L <= hidden; u += L) scale_lanes<Real, cell, true>(row, hidden, u, L);
    if (u < hidden) scale_lanes<Real, cell, false>(row, hidden, u, int(hidden - u));
}

template <typename Real, Cell cell>
NOT_INLINE void differentiate_gates(const Backward<Real>& row, std::size_t hidden) {
    constexpr int L = LANES<Real>;
    std::size_t u = 0;
    for (; u + L <= hidden; u += L) backward_lanes<Real, cell, true>(row, hidden, u, L);
    if (u < hidden) backward_lanes<Real, cell, false>(row, hidden, u, int(hidden - u));
}

template <typename Real, Cell cell>
NOT_INLINE void differentiate_scale(const Backward<Real>& row, std::size_t hidden) {
    constexpr int L = LANES<Real>;
    std::size_t u = 0;
    for (; u + L <= hidden; u += L) unscale_lanes<Real, cell, true>(row, hidden, u, L);
    if (u < hidden) unscale_lanes<Real, cell, false>(row, hidden, u, int(hidden - u));
}

}  // namespace bench
