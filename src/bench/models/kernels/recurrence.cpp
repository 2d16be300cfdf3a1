// A recurrence over time in native code, forward and backward, compiled for one number type: REAL, float or double.
//
// Texts do not depend on each other, so each thread reads a few of them from first to last step and waits for nobody.
// Tensors are (time, batch, columns), contiguous; gates in PyTorch's order. Python's side is native_library.py.
#include <memory>
#include <new>

#include "gates.hpp"
#include "multiply.hpp"
#include "threads.hpp"

namespace bench {

template <typename Real> struct Problem {
    std::size_t steps, batch, hidden;
    const std::int64_t* lengths;  // (batch,): read each text from its own last token to its first; null: first to last
    const Real* weight;           // (gates * hidden, hidden)
    const Real* bias;             // (gates * hidden,), a GRU's followed by (hidden,) of its candidate's input product,
                                  // peepholes of (3 * hidden,) likewise
    Real* gates;                  // (time, batch, gates * hidden): products of the input, then the gates
    Real* extra;                  // (time, batch, hidden): GRU the candidate's hidden product, LSTMs c, where a gate
                                  // scales h before the product: the scaled one
    Real* states;                 // (time, batch, hidden)
    const Real* arriving;         // (time, batch, hidden): gradients of the states
    Real* gradients;              // (time, batch, gradients * hidden)
    const Real* initial;          // (batch, hidden): h before the first step, without lengths only; null: zero
    const Real* initial_carousel; // (batch, hidden): LSTMs, c likewise

    bool holds(std::size_t time, std::size_t text) const { return !lengths || std::int64_t(time) < lengths[text]; }
    // The steps a slice of texts needs: its longest one.
    std::size_t longest(std::size_t first, std::size_t end) const {
        if (!lengths) return steps;
        return std::size_t(std::min<std::int64_t>(*std::max_element(lengths + first, lengths + end), steps));
    }
};

// Memory that one thread keeps from call to call: fresh pages would cost more than a short text.
class Workspace {
  public:
    template <typename Real> Real* reserve(std::size_t count) {
        if (count * sizeof(Real) > size_) {
            memory_.reset();
            memory_.reset(static_cast<std::byte*>(::operator new(count * sizeof(Real), std::align_val_t(64))));
            size_ = count * sizeof(Real);
        }
        return reinterpret_cast<Real*>(memory_.get());
    }

  private:
    struct Release {
        void operator()(std::byte* memory) const { ::operator delete(memory, std::align_val_t(64)); }
    };
    std::unique_ptr<std::byte, Release> memory_;
    std::size_t size_ = 0;
};

thread_local Workspace workspace;

// Texts go to threads in slices: more than one each, so that a thread that is held up does not hold up all, but large
// enough to use what is read of the weights several times. Threads that would have too little to do stay asleep.
struct Slices {
    std::size_t batch, count;
    Team team;

    Slices(std::size_t texts, std::size_t multiplications, Team all) : batch(texts), team(all) {
        constexpr std::size_t LEAST = 1 << 19, EACH = 2;  // multiplications per thread (some 10 us), slices per thread
        const std::size_t most = std::min(texts, multiplications / LEAST), blocks = (texts + ROWS - 1) / ROWS;
        const std::size_t threads = std::max<std::size_t>(1, std::min(std::size_t(team.threads), most));
        team.threads = int(threads);
        count = std::min(texts, threads * std::min(EACH, std::max<std::size_t>(1, blocks / threads)));
    }
    std::size_t first(std::size_t slice) const { return batch * slice / count; }
};

// The weights as the passes need them. A candidate may have its hidden product apart from the other gates'.
template <typename Real> struct Weights {
    Packed<Real> gates, candidate;
    const Real* zeros;  // (hidden,): the state before the first step
    Real* scratch;      // (2, batch, hidden) in the backward pass

    Weights(Cell cell, const Problem<Real>& p, bool forward, const Team& team) {
        const std::size_t H = p.hidden, rest = has_candidate(cell) ? H : 0, main = gates_of(cell) * H - rest;
        const std::size_t first = forward ? Packed<Real>::size(H, main) : Packed<Real>::size(main, H);
        const std::size_t second = Packed<Real>::size(H, rest);
        Real* memory = workspace.reserve<Real>(first + second + H + (forward ? 0 : 2 * p.batch * H));
        gates = forward ? Packed<Real>{H, main, memory} : Packed<Real>{main, H, memory};
        candidate = {H, rest, memory + first};
        std::fill_n(memory + first + second, H, Real(0));
        zeros = memory + first + second;
        scratch = memory + first + second + H;
        const Team packers{team.launch, H * H < 1 << 14 ? 1 : team.threads};
        for_each_task(packers, gates.panels() + candidate.panels(), [&](std::size_t task) {
            const bool apart = task >= gates.panels();
            const Packed<Real>& to = apart ? candidate : gates;
            const std::size_t panel = apart ? task - gates.panels() : task, skipped = apart ? main : 0;
            if (forward) to.fill(panel, p.weight + skipped * H, 1, H, p.bias + skipped);
            else to.fill(panel, p.weight + skipped * H, H, 1, nullptr);
        });
    }
};

template <typename Real, Cell cell>
void forward_slice(const Problem<Real>& p, std::size_t first, std::size_t end, const Weights<Real>& weights) {
    const std::size_t H = p.hidden, G = gates_of(cell) * H, longest = p.longest(first, end), rows = end - first;
    for (std::size_t time = longest; time < p.steps; ++time) {
        std::fill_n(p.states + (time * p.batch + first) * H, rows * H, Real(0));
        if (keeps_extra(cell)) std::fill_n(p.extra + (time * p.batch + first) * H, rows * H, Real(0));
    }
    for (std::size_t step = 0; step < longest; ++step) {
        const std::size_t time = p.lengths ? longest - 1 - step : step;
        const std::size_t before = (p.lengths ? time + 1 : time - 1) * p.batch + first, now = time * p.batch + first;
        const Real* previous = step ? p.states + before * H : p.initial ? p.initial + first * H : weights.zeros;
        const std::size_t stride = step || p.initial ? H : 0;
        multiply(rows, previous, stride, weights.gates, p.gates + now * G, G, true);
        if constexpr (cell == GRU) multiply(rows, previous, stride, weights.candidate, p.extra + now * H, H, false);
        auto of_row = [&](std::size_t row) -> Forward<Real> {
            const std::size_t at = (now + row) * H;
            const Real* begun = p.initial_carousel ? p.initial_carousel + (first + row) * H : weights.zeros;
            const Real* carousel = step && has_carousel(cell) ? p.extra + (before + row) * H : begun;
            return {p.gates + (now + row) * G, p.extra + at, previous + row * stride, carousel, p.states + at,
                    cell == GRU || cell == LSTM_PEEPHOLE ? p.bias + G : weights.zeros};
        };
        if constexpr (scales_state(cell)) {
            for (std::size_t row = 0; row < rows; ++row)
                if (p.holds(time, first + row)) scale_state<Real, cell>(of_row(row), H);
                else std::fill_n(p.extra + (now + row) * H, H, Real(0));
            multiply(rows, p.extra + now * H, H, weights.candidate, p.gates + now * G + G - H, G, true);
        }
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t at = (now + row) * H;
            if (p.holds(time, first + row)) {
                apply_gates<Real, cell>(of_row(row), H);
            } else {
                std::fill_n(p.states + at, H, Real(0));
                if (has_carousel(cell)) std::fill_n(p.extra + at, H, Real(0));
            }
        }
    }
}

template <typename Real, Cell cell>
void backward_slice(const Problem<Real>& p, std::size_t first, std::size_t end, const Weights<Real>& weights) {
    const std::size_t H = p.hidden, G = gates_of(cell) * H, D = gradients_of(cell) * H;
    const std::size_t longest = p.longest(first, end), rows = end - first;
    Real *from_later = weights.scratch + first * H, *carousel_gradient = weights.scratch + (p.batch + first) * H;
    std::fill_n(from_later, rows * H, Real(0));
    if (has_carousel(cell)) std::fill_n(carousel_gradient, rows * H, Real(0));
    for (std::size_t time = longest; time < p.steps; ++time)
        std::fill_n(p.gradients + (time * p.batch + first) * D, rows * D, Real(0));
    for (std::size_t step = 0; step < longest; ++step) {
        const std::size_t time = p.lengths ? step : longest - 1 - step;
        const std::size_t before = (p.lengths ? time + 1 : time - 1) * p.batch + first, now = time * p.batch + first;
        const bool started = step + 1 < longest;  // whether there is a step before this one
        auto of_row = [&](std::size_t row) -> Backward<Real> {
            const std::size_t at = (now + row) * H, text = (first + row) * H;
            const Real* begun = p.initial ? p.initial + text : weights.zeros;
            const Real* carousel_begun = p.initial_carousel ? p.initial_carousel + text : weights.zeros;
            const Real* previous = started ? p.states + (before + row) * H : begun;
            const Real* carousel = started && has_carousel(cell) ? p.extra + (before + row) * H : carousel_begun;
            return {p.gates + (now + row) * G, p.extra + at, p.states + at, previous, carousel, p.arriving + at,
                    from_later + row * H, carousel_gradient + row * H, p.gradients + (now + row) * D,
                    cell == LSTM_PEEPHOLE ? p.bias + G : nullptr};
        };
        for (std::size_t row = 0; row < rows; ++row)
            if (p.holds(time, first + row)) differentiate_gates<Real, cell>(of_row(row), H);
            else std::fill_n(p.gradients + (now + row) * D, D, Real(0));
        if constexpr (scales_state(cell)) {
            multiply(rows, p.gradients + now * D + G - H, D, weights.candidate, carousel_gradient, H, false);
            for (std::size_t row = 0; row < rows; ++row)
                if (p.holds(time, first + row)) differentiate_scale<Real, cell>(of_row(row), H);
        }
        if (!started) continue;
        multiply(rows, p.gradients + now * D, D, weights.gates, from_later, H, has_candidate(cell));
        if constexpr (cell == GRU)
            multiply(rows, p.gradients + now * D + 3 * H, D, weights.candidate, from_later, H, true);
    }
}

template <typename Real, Cell cell> void run(const Problem<Real>& p, bool forward, const Team& team) {
    const Slices slices(p.batch, p.steps * p.batch * gates_of(cell) * p.hidden * p.hidden, team);
    const Weights<Real> weights(cell, p, forward, slices.team);
    for_each_task(slices.team, slices.count, [&](std::size_t slice) {
        const std::size_t first = slices.first(slice), end = slices.first(slice + 1);
        if (forward) forward_slice<Real, cell>(p, first, end, weights);
        else backward_slice<Real, cell>(p, first, end, weights);
    });
}

// 0: done;  1: no memory;  2: no such cell. Nothing is thrown into Python.
template <typename Real> int run(int cell, const Problem<Real>& p, bool forward, const Team& team) {
    if (p.steps == 0 || p.batch == 0 || p.hidden == 0) return 0;
    try {
        switch (cell) {
            case RNN: run<Real, RNN>(p, forward, team); return 0;
            case GRU: run<Real, GRU>(p, forward, team); return 0;
            case LSTM: run<Real, LSTM>(p, forward, team); return 0;
            case RNN_RELU: run<Real, RNN_RELU>(p, forward, team); return 0;
            case LSTM_CIFG: run<Real, LSTM_CIFG>(p, forward, team); return 0;
            case LSTM_NOFORGET: run<Real, LSTM_NOFORGET>(p, forward, team); return 0;
            case LSTM_PEEPHOLE: run<Real, LSTM_PEEPHOLE>(p, forward, team); return 0;
            case MGU: run<Real, MGU>(p, forward, team); return 0;
            case GRU_RESET_BEFORE: run<Real, GRU_RESET_BEFORE>(p, forward, team); return 0;
            default: return 2;
        }
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace bench

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int bench_forward(int cell, std::size_t steps, std::size_t batch, std::size_t hidden,
                           const std::int64_t* lengths, const REAL* weight, const REAL* bias, REAL* gates, REAL* extra,
                           REAL* states, const REAL* initial, const REAL* initial_carousel, bench::Launch launch,
                           int threads) {
    return bench::run<REAL>(
        cell,
        {steps, batch, hidden, lengths, weight, bias, gates, extra, states, nullptr, nullptr, initial, initial_carousel},
        true, {launch, threads});
}

EXPORTED int bench_backward(int cell, std::size_t steps, std::size_t batch, std::size_t hidden,
                            const std::int64_t* lengths, const REAL* weight, const REAL* bias, REAL* gates, REAL* extra,
                            REAL* states, const REAL* arriving, REAL* gradients, const REAL* initial,
                            const REAL* initial_carousel, bench::Launch launch, int threads) {
    return bench::run<REAL>(
        cell,
        {steps, batch, hidden, lengths, weight, bias, gates, extra, states, arriving, gradients, initial,
         initial_carousel},
        false, {launch, threads});
}
