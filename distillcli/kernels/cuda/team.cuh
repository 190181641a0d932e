// The threads that share a row, and how what they have found becomes one: always in one order, which
// depends on nothing but their number.
#pragma once

#include "numbers.cuh"

namespace distill {

constexpr int BLOCK = 128;
constexpr int WARP = 32;
constexpr unsigned EVERYONE = 0xffffffffu;

struct Add {
  DISTILL_INLINE double operator()(double a, double b) const { return a + b; }
};
struct Largest {
  DISTILL_INLINE double operator()(double a, double b) const { return larger(a, b); }
};

// Each thread's numbers -> those of `LANES` neighbours, a power of two within a warp, for each of
// them. All threads of the warp call it together.
template <int LANES, int N, class Reduce>
DISTILL_INLINE void reduce(double (&values)[N], Reduce combine) {
#pragma unroll
  for (int i = 0; i < N; ++i)
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2)
      values[i] = combine(values[i], __shfl_xor_sync(EVERYONE, values[i], step));
}

template <int LANES> DISTILL_INLINE double sum_of(double value) {
  double values[1] = {value};
  reduce<LANES>(values, Add());
  return values[0];
}

// `LANES` threads: a power of two up to a warp, or the whole block. A group is its part within a
// warp.
template <int LANES> struct Team {
  static_assert(LANES <= WARP || LANES == BLOCK, "a team is a part of a warp, or the block");
  static constexpr int COUNT = BLOCK / LANES;
  static constexpr int GROUP = LANES < WARP ? LANES : WARP;
  static constexpr int GROUPS = LANES / GROUP;

  DISTILL_INLINE static int lane() { return static_cast<int>(threadIdx.x) % LANES; }
  DISTILL_INLINE static int index() { return static_cast<int>(threadIdx.x) / LANES; }
  DISTILL_INLINE static int group() { return lane() / GROUP; }
  DISTILL_INLINE static bool leads() { return lane() % GROUP == 0; }

  // The sum over the team. All threads of the block call it together.
  DISTILL_INLINE static double sum(double value) {
    const double mine = sum_of<GROUP>(value);
    if constexpr (GROUPS == 1) return mine;
    __shared__ double parts[GROUPS];
    __syncthreads();
    if (leads()) parts[group()] = mine;
    __syncthreads();
    double whole = parts[0];
#pragma unroll
    for (int i = 1; i < GROUPS; ++i) whole += parts[i];
    return whole;
  }
};

}  // namespace distill
