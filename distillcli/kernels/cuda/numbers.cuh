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

DISTILL_INLINE float exp_of(float x) { return expf(x); }
DISTILL_INLINE double exp_of(double x) { return exp(x); }
DISTILL_INLINE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DISTILL_INLINE double multiply_add(double a, double b, double c) { return fma(a, b, c); }
DISTILL_INLINE float magnitude(float x) { return fabsf(x); }
DISTILL_INLINE double magnitude(double x) { return fabs(x); }

template <class T> DISTILL_INLINE T larger(T a, T b) { return a < b ? b : a; }
template <class T> DISTILL_INLINE T smaller(T a, T b) { return b < a ? b : a; }

// Where the series below hold to the last bits, with 8 terms for float and 15 for double.
template <class Real> DISTILL_INLINE Real near() { return static_cast<Real>(0.5); }

template <class Real> DISTILL_INLINE Real series(Real x, const double (&coefficients)[15]) {
  constexpr int terms = sizeof(Real) == 4 ? 8 : 15;
  Real sum = static_cast<Real>(coefficients[terms - 1]);
#pragma unroll
  for (int k = terms - 2; k >= 0; --k)
    sum = multiply_add(sum, x, static_cast<Real>(coefficients[k]));
  return x * x * sum;
}

// exp(-x) - 1 + x >= 0, for |x| < near(): x^2 times the sum of (-x)^k / (k + 2)!
template <class Real> DISTILL_INLINE Real forward_term(Real x) {
  const double coefficients[15] = {
      1.0 / 2, -1.0 / 6, 1.0 / 24, -1.0 / 120, 1.0 / 720, -1.0 / 5040, 1.0 / 40320, -1.0 / 362880,
      1.0 / 3628800, -1.0 / 39916800, 1.0 / 479001600, -1.0 / 6227020800.0,
      1.0 / 87178291200.0, -1.0 / 1307674368000.0, 1.0 / 20922789888000.0};
  return series(x, coefficients);
}

// 1 - (1 + x) exp(-x) >= 0, for |x| < near(): x^2 times the sum of (k + 1) (-x)^k / (k + 2)!
template <class Real> DISTILL_INLINE Real reverse_term(Real x) {
  const double coefficients[15] = {
      1.0 / 2, -2.0 / 6, 3.0 / 24, -4.0 / 120, 5.0 / 720, -6.0 / 5040, 7.0 / 40320, -8.0 / 362880,
      9.0 / 3628800, -10.0 / 39916800, 11.0 / 479001600, -12.0 / 6227020800.0,
      13.0 / 87178291200.0, -14.0 / 1307674368000.0, 15.0 / 20922789888000.0};
  return series(x, coefficients);
}

// a - b as the rounded difference and what rounding has left out (Knuth 1997, section 4.2.2).
template <class Real> DISTILL_INLINE void difference(Real a, Real b, Real& high, Real& low) {
  high = a - b;
  const Real part = high - a;
  low = (a - (high - part)) - (b + part);
}

}  // namespace distill
