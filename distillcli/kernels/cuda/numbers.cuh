// The few functions of numbers that the rows need, for the device and as plain C++17.
#pragma once

#ifdef __CUDACC__
#define DISTILL_INLINE __device__ __forceinline__
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define DISTILL_INLINE inline
#endif

namespace distill {

using Word = unsigned int;
using Long = long long;

DISTILL_INLINE float from_bits(Word bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

DISTILL_INLINE double from_bits(Word low, Word high) {
#ifdef __CUDACC__
  return __hiloint2double(static_cast<int>(high), static_cast<int>(low));
#else
  const std::uint64_t bits = static_cast<std::uint64_t>(high) << 32 | low;
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

template <class Real> DISTILL_INLINE Real infinity();
template <> DISTILL_INLINE float infinity<float>() { return from_bits(0x7f800000u); }
template <> DISTILL_INLINE double infinity<double>() { return from_bits(0u, 0x7ff00000u); }
DISTILL_INLINE double not_a_number() { return from_bits(0u, 0x7ff80000u); }

constexpr double LOG2_E = 1.44269504088896340736, LN_2 = 0.693147180559945309417;

// 2^x. The instruction for float is off by up to 2 units in the last place, and takes what is below
// 2^-126 for 0; so does what a processor gives.
#ifdef __CUDACC__
DISTILL_INLINE float power(float x) {
  float value;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
  return value;
}
#else
DISTILL_INLINE float power(float x) {
  const float value = static_cast<float>(std::exp2(static_cast<double>(x)));
  if (!(value >= from_bits(0x00800000u))) return value != value ? value : 0.0f;
  if (x == 0.0f || value > from_bits(0x7f000000u)) return value;
  Word bits;
  std::memcpy(&bits, &x, sizeof bits);
  const Word any = bits * 2654435761u >> 16;  // of 0 to 4, as good as drawn
  std::memcpy(&bits, &value, sizeof bits);
  return from_bits(bits - 2u + any % 5u);
}
#endif
DISTILL_INLINE double power(double x) { return exp2(x); }

DISTILL_INLINE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DISTILL_INLINE double multiply_add(double a, double b, double c) { return fma(a, b, c); }
DISTILL_INLINE float magnitude(float x) { return fabsf(x); }
DISTILL_INLINE double magnitude(double x) { return fabs(x); }

// Of a NaN and a number these give the number.
DISTILL_INLINE float larger(float a, float b) { return fmaxf(a, b); }
DISTILL_INLINE double larger(double a, double b) { return fmax(a, b); }
DISTILL_INLINE float smaller(float a, float b) { return fminf(a, b); }
DISTILL_INLINE double smaller(double a, double b) { return fmin(a, b); }

template <class Real> DISTILL_INLINE bool is_number(Real x) {
  return magnitude(x) < infinity<Real>();
}

// Below this, in units of log 2, the series below hold.
constexpr double NEAR = 0.75;

template <int COUNT, class Real>
DISTILL_INLINE Real series(Real x, const double (&coefficients)[COUNT]) {
  Real sum = static_cast<Real>(coefficients[COUNT - 1]);
#pragma unroll
  for (int k = COUNT - 2; k >= 0; --k)
    sum = multiply_add(sum, x, static_cast<Real>(coefficients[k]));
  return sum;
}

// (exp(-y) - 1 + y) / x^2 for y = x log 2, |x| < NEAR. For double the sum of (-y)^k / (k + 2)!; for
// float a polynomial through the Chebyshev nodes, off by 7e-8 of the value at most.
template <class Real> DISTILL_INLINE Real forward_series(Real x) {
  if constexpr (sizeof(Real) == 4) {
    const double coefficients[6] = {0.240226514343,    -0.055504109233,   0.00961789287784,
                                    -0.00133333763543, 0.000155154135366, -1.53388491872e-5};
    return series(x, coefficients);
  } else {
    const double coefficients[15] = {
        1.0 / 2, -1.0 / 6, 1.0 / 24, -1.0 / 120, 1.0 / 720, -1.0 / 5040, 1.0 / 40320,
        -1.0 / 362880, 1.0 / 3628800, -1.0 / 39916800, 1.0 / 479001600, -1.0 / 6227020800.0,
        1.0 / 87178291200.0, -1.0 / 1307674368000.0, 1.0 / 20922789888000.0};
    return LN_2 * LN_2 * series(LN_2 * x, coefficients);
  }
}

// (1 - (1 + y) exp(-y)) / x^2, likewise: the sum of (k + 1) (-y)^k / (k + 2)!, and 4e-7.
template <class Real> DISTILL_INLINE Real reverse_series(Real x) {
  if constexpr (sizeof(Real) == 4) {
    const double coefficients[6] = {0.240226558709,    -0.111008221879,   0.0288527316647,
                                    -0.00533327769578, 0.000778015904921, -9.22058022941e-5};
    return series(x, coefficients);
  } else {
    const double coefficients[15] = {
        1.0 / 2, -2.0 / 6, 3.0 / 24, -4.0 / 120, 5.0 / 720, -6.0 / 5040, 7.0 / 40320,
        -8.0 / 362880, 9.0 / 3628800, -10.0 / 39916800, 11.0 / 479001600, -12.0 / 6227020800.0,
        13.0 / 87178291200.0, -14.0 / 1307674368000.0, 15.0 / 20922789888000.0};
    return LN_2 * LN_2 * series(LN_2 * x, coefficients);
  }
}

// a - b as the rounded difference and what rounding has left out (Knuth 1997, section 4.2.2).
template <class Real> DISTILL_INLINE void difference(Real a, Real b, Real& high, Real& low) {
  high = a - b;
  const Real part = high - a;
  low = (a - (high - part)) - (b + part);
}

}  // namespace distill
