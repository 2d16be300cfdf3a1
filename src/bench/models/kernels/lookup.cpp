// Word vectors in native code, with the dropout that follows them: rows of a table, and the sums of their gradients.
//
// Every value that dropout may zero has a random number in `bits`, and is kept where that is at least `threshold`.
// Python's side is native_lookup.py.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "threads.hpp"

namespace bench {

constexpr std::size_t TASKS_PER_THREAD = 8;

// The random numbers in one byte or two each; `values` null: nothing is dropped.
template <typename Number> struct Bits {
    const Number* values;
    int threshold;
};

// target[j] = source[j] where it is kept, times scale.
template <typename Number>
void keep(const REAL* source, const Number* bits, int threshold, REAL scale, std::size_t size, REAL* target) {
    for (std::size_t j = 0; j < size; ++j) target[j] = int(bits[j]) >= threshold ? source[j] * scale : REAL(0);
}

template <typename Number>
void add_kept(const REAL* source, const Number* bits, int threshold, std::size_t size, REAL* target) {
    for (std::size_t j = 0; j < size; ++j) target[j] += int(bits[j]) >= threshold ? source[j] : REAL(0);
}

template <typename Number>
void look_up(const REAL* table, const std::int64_t* tokens, std::size_t count, std::size_t size, Bits<Number> bits,
             REAL scale, REAL* found, const Team& team) {
    const std::size_t tasks = std::min(count, std::size_t(team.threads) * TASKS_PER_THREAD);
    for_each_task(team, tasks, [&](std::size_t task) {
        for (std::size_t i = count * task / tasks; i < count * (task + 1) / tasks; ++i) {
            const REAL* row = table + std::size_t(tokens[i]) * size;
            if (bits.values)
                keep(row, bits.values + i * size, bits.threshold, scale, size, found + i * size);
            else
                std::memcpy(found + i * size, row, size * sizeof(REAL));
        }
    });
}

// Tokens by row, rows in order, row 0 (the padding) left out: the places of the tokens of rows[u] are
// order[starts[u]] to order[starts[u + 1] - 1]. Returns the number of rows.
std::size_t group(const std::int64_t* tokens, std::size_t count, std::size_t table_rows, std::int64_t* rows,
                  std::int64_t* starts, std::int64_t* order) {
    std::vector<std::int32_t> next(table_rows, 0);
    for (std::size_t i = 0; i < count; ++i) ++next[std::size_t(tokens[i])];
    std::size_t found = 0;
    std::int32_t before = 0;
    for (std::size_t row = 1; row < table_rows; ++row) {
        if (!next[row]) continue;
        rows[found] = std::int64_t(row);
        starts[found++] = before;
        before += std::exchange(next[row], before);
    }
    starts[found] = before;
    for (std::size_t i = 0; i < count; ++i)
        if (tokens[i]) order[next[std::size_t(tokens[i])]++] = std::int64_t(i);
    return found;
}

template <typename Number>
void sum_rows(const REAL* gradient, std::size_t rows, std::size_t size, const std::int64_t* starts,
              const std::int64_t* order, Bits<Number> bits, REAL scale, REAL* sums, const Team& team) {
    const std::size_t count = std::size_t(starts[rows]), tasks = std::size_t(team.threads) * TASKS_PER_THREAD;
    auto first_row = [&](std::size_t task) {
        return std::size_t(std::lower_bound(starts, starts + rows, std::int64_t(count * task / tasks)) - starts);
    };
    for_each_task(team, tasks, [&](std::size_t task) {
        for (std::size_t u = first_row(task); u < first_row(task + 1); ++u) {
            REAL* sum = sums + u * size;
            std::fill(sum, sum + size, REAL(0));
            for (std::int64_t i = starts[u]; i < starts[u + 1]; ++i) {
                const std::size_t place = std::size_t(order[i]) * size;
                if (bits.values)
                    add_kept(gradient + place, bits.values + place, bits.threshold, size, sum);
                else
                    for (std::size_t j = 0; j < size; ++j) sum[j] += gradient[place + j];
            }
            if (bits.values)
                for (std::size_t j = 0; j < size; ++j) sum[j] *= scale;
        }
    });
}

}  // namespace bench

#define EXPORTED extern "C" __attribute__((visibility("default")))

// SFC64 (Doty-Humphrey 2010), as NumPy has it. state: of four words, which moves on.
EXPORTED void bench_random(std::uint64_t* state, std::size_t words, std::uint64_t* out) {
    std::uint64_t a = state[0], b = state[1], c = state[2], counter = state[3];
    for (std::size_t i = 0; i < words; ++i) {
        const std::uint64_t next = a + b + counter++;
        a = b ^ (b >> 11);
        b = c + (c << 3);
        c = ((c << 24) | (c >> 40)) + next;
        out[i] = next;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = counter;
}

// bytes: of each random number, 1 or 2; 0: nothing is dropped.
EXPORTED void bench_look_up(const REAL* table, const std::int64_t* tokens, std::size_t count, std::size_t size,
                            const void* bits, int bytes, int threshold, REAL scale, REAL* found, bench::Launch launch,
                            int threads) {
    const bench::Team team{launch, threads};
    if (bytes == 2)
        bench::look_up<std::int16_t>(table, tokens, count, size, {static_cast<const std::int16_t*>(bits), threshold},
                                     scale, found, team);
    else
        bench::look_up<std::int8_t>(table, tokens, count, size, {static_cast<const std::int8_t*>(bits), threshold},
                                    scale, found, team);
}

// Returns the number of distinct rows; -1 without memory.
EXPORTED std::int64_t bench_group(const std::int64_t* tokens, std::size_t count, std::size_t table_rows,
                                  std::int64_t* rows, std::int64_t* starts, std::int64_t* order) {
    try {
        return std::int64_t(bench::group(tokens, count, table_rows, rows, starts, order));
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

EXPORTED void bench_sum_rows(const REAL* gradient, std::size_t rows, std::size_t size, const std::int64_t* starts,
                             const std::int64_t* order, const void* bits, int bytes, int threshold, REAL scale,
                             REAL* sums, bench::Launch launch, int threads) {
    const bench::Team team{launch, threads};
    if (bytes == 2)
        bench::sum_rows<std::int16_t>(gradient, rows, size, starts, order,
                                      {static_cast<const std::int16_t*>(bits), threshold}, scale, sums, team);
    else
        bench::sum_rows<std::int8_t>(gradient, rows, size, starts, order,
                                     {static_cast<const std::int8_t*>(bits), threshold}, scale, sums, team);
}
