// Products of a few rows with a matrix that was packed once: the part of a recurrence that takes the time.
#pragma once

#include <algorithm>
#include <utility>

#include "vectors.hpp"

namespace bench {

// A tile of ROWS x COLUMNS vectors is summed in registers; two or more are left for what is multiplied.
constexpr int ROWS = 6, COLUMNS = REGISTERS == 32 ? 4 : 2;

// A matrix (depth, columns) as panels of COLUMNS vectors side by side. Each panel begins with its part of the bias, and
// then come its rows one after another: a product reads memory once, from front to back. Missing columns are zero.
template <typename Real> struct Packed {
    static constexpr int WIDTH = COLUMNS * LANES<Real>;
    std::size_t depth = 0, columns = 0;
    Real* values = nullptr;

    std::size_t panels() const { return (columns + WIDTH - 1) / WIDTH; }
    int lanes(std::size_t panel) const { return int(std::min<std::size_t>(WIDTH, columns - panel * WIDTH)); }
    int vectors(std::size_t panel) const { return (lanes(panel) + LANES<Real> - 1) / LANES<Real>; }
    const Real* at(std::size_t panel) const { return values + panel * WIDTH * (depth + 1); }
    static std::size_t size(std::size_t depth, std::size_t columns) {
        return (columns + WIDTH - 1) / WIDTH * WIDTH * (depth + 1);
    }

    // from: element (k, n) at from[k * row_stride + n * column_stride];  bias: (columns,), or null for zeros.
    void fill(std::size_t panel, const Real* from, std::size_t row_stride, std::size_t column_stride,
              const Real* bias) const {
        const int width = vectors(panel) * LANES<Real>;
        Real* to = values + panel * WIDTH * (depth + 1);
        std::fill_n(to, width, Real(0));
        if (bias) std::copy_n(bias + panel * WIDTH, lanes(panel), to);
        to += width;
        from += panel * WIDTH * column_stride;
        if (column_stride == 1) {
            for (std::size_t k = 0; k < depth; ++k, to += width) {
                std::copy_n(from + k * row_stride, lanes(panel), to);
                std::fill(to + lanes(panel), to + width, Real(0));
            }
            return;
        }
        for (int n = 0; n < width; ++n)
            for (std::size_t k = 0; k < depth; ++k)
                to[k * width + n] = n < lanes(panel) ? from[k * row_stride + n * column_stride] : Real(0);
    }
};

// to (rows, lanes) = [to +] bias + left (rows, depth) x panel (depth, columns). Every sum runs over the depth in order,
// whatever the number of rows: the bits of a row do not depend on its neighbours.
template <typename Real, int rows, int columns>
void tile(const Real* left, std::size_t left_stride, const Real* panel, std::size_t depth, Real* to,
          std::size_t to_stride, int lanes, bool add) {
    constexpr int L = LANES<Real>;
    Vector<Real> sums[rows][columns];
    for (int c = 0; c < columns; ++c) {
        const auto bias = load<true>(panel + c * L, L);
        for (int r = 0; r < rows; ++r) sums[r][c] = bias;
    }
    panel += columns * L;
    for (std::size_t k = 0; k < depth; ++k, panel += columns * L) {
        Vector<Real> right[columns];
        for (int c = 0; c < columns; ++c) right[c] = load<true>(panel + c * L, L);
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; ++c) sums[r][c] += left[r * left_stride + k] * right[c];
    }
    const int last = lanes - (columns - 1) * L;
    for (int r = 0; r < rows; ++r, to += to_stride) {
        for (int c = 0; c < columns - 1; ++c)
            store<true>(to + c * L, add ? load<true>(to + c * L, L) + sums[r][c] : sums[r][c], L);
        Real* end = to + (columns - 1) * L;
        if (last == L)
            store<true>(end, add ? load<true>(end, L) + sums[r][columns - 1] : sums[r][columns - 1], L);
        else
            store<false>(end, add ? load<false>(end, last) + sums[r][columns - 1] : sums[r][columns - 1], last);
    }
}

template <typename Real>
using Tile = void (*)(const Real*, std::size_t, const Real*, std::size_t, Real*, std::size_t, int, bool);

template <typename Real, int... index> constexpr auto all_tiles(std::integer_sequence<int, index...>) {
    struct Table {
        Tile<Real> tiles[sizeof...(index)];
    };
    return Table{{&tile<Real, index / COLUMNS + 1, index % COLUMNS + 1>...}};
}

// to (rows, columns) = [to +] bias + left (rows, depth) x right. Strides are between rows; left's may be zero.
template <typename Real>
NOT_INLINE void multiply(std::size_t rows, const Real* left, std::size_t left_stride, const Packed<Real>& right,
                         Real* to, std::size_t to_stride, bool add) {
    static constexpr auto table = all_tiles<Real>(std::make_integer_sequence<int, ROWS * COLUMNS>{});
    const std::size_t blocks = (rows + ROWS - 1) / ROWS;
    for (std::size_t panel = 0; panel < right.panels(); ++panel) {
        std::size_t row = 0;
        for (std::size_t block = 0; block < blocks; ++block) {
            const std::size_t count = rows / blocks + (block < rows % blocks);  // even, none much smaller than others
            const Tile<Real> product = table.tiles[(count - 1) * COLUMNS + right.vectors(panel) - 1];
            product(left + row * left_stride, left_stride, right.at(panel), right.depth,
                    to + row * to_stride + panel * Packed<Real>::WIDTH, to_stride, right.lanes(panel), add);
            row += count;
        }
    }
}

}  // namespace bench
