// Vectors of the processor's width, and the two functions that gates are made of. GCC and Clang, any processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define NOT_INLINE __attribute__((noinline))  // used in many places: compiled once, and quickly

namespace bench {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, REGISTERS = 32;
#else
constexpr int VECTOR_BYTES = 16, REGISTERS = 16;
#endif

template <typename Real> struct Bits;
template <> struct Bits<float> {
    using type = std::int32_t;
    static constexpr int mantissa = 23, bias = 127, taylor = 7;  // r^8 / 8! is below a rounding of r
    static constexpr float largest = 87.0f, round = 0x1.8p23f, ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
};
template <> struct Bits<double> {
    using type = std::int64_t;
    static constexpr int mantissa = 52, bias = 1023, taylor = 13;
    static constexpr double largest = 708.0, round = 0x1.8p52, ln2_high = 0x1.62e42fefa38p-1,
                            ln2_low = 0x1.ef35793c7673p-45;
};

template <typename Real> struct Wide {
    typedef Real vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef typename Bits<Real>::type integers __attribute__((vector_size(VECTOR_BYTES)));
};
template <typename Real> using Vector = typename Wide<Real>::vector;
template <typename Real> constexpr int LANES = VECTOR_BYTES / int(sizeof(Real));

// A whole vector, or the first `count` lanes of one, the others zero: what lies behind the end is never touched.
template <bool whole, typename Real> inline Vector<Real> load(const Real* from, int count) {
    Vector<Real> value{};
    std::memcpy(&value, from, whole ? sizeof value : count * sizeof(Real));
    return value;
}

template <bool whole, typename Real> inline void store(Real* to, Vector<Real> value, int count) {
    std::memcpy(to, &value, whole ? sizeof value : count * sizeof(Real));
}

// e^x - 1 = 2^n (e^r - 1) + (2^n - 1) with x = n ln 2 + r, |r| <= ln 2 / 2, and e^r - 1 by its Taylor series.
// Beyond +-`largest` it stays what it is there: finite, so that sigmoid and tanh need no special cases. NaN stays NaN.
template <typename Real> inline Vector<Real> exponential_minus_one(Vector<Real> x) {
    using B = Bits<Real>;
    using V = Vector<Real>;
    using I = typename Wide<Real>::integers;
    x = x > B::largest ? V{} + B::largest : x;
    x = x < -B::largest ? V{} - B::largest : x;
    const V shifted = x * Real(1.442695040888963407) + B::round;  // its lowest bits hold n
    const V n = shifted - B::round;
    const V r = (x - n * B::ln2_high) - n * B::ln2_low;
    V series{};
    Real factorial = 1;
    Real coefficients[B::taylor + 1];
    for (int k = 0; k <= B::taylor; ++k) {
        coefficients[k] = 1 / factorial;
        factorial *= Real(k + 1);
    }
    for (int k = B::taylor; k >= 2; --k) series = series * r + coefficients[k];
    const V below = r + r * r * series;
    I exponent;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    exponent = (exponent << B::mantissa) + (typename B::type(B::bias) << B::mantissa);
    V power;
    std::memcpy(&power, &exponent, sizeof power);
    return power * below + (power - Real(1));
}

template <typename Real> inline Vector<Real> sigmoid(Vector<Real> x) {
    return Real(1) / (exponential_minus_one<Real>(-x) + Real(2));
}

// Exact near zero too, where 2 sigmoid(2x) - 1 would lose its digits.
template <typename Real> inline Vector<Real> tanh(Vector<Real> x) {
    const Vector<Real> e = exponential_minus_one<Real>(x + x);
    return e / (e + Real(2));
}

}  // namespace bench
