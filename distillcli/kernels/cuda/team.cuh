// The threads that share a row, and how what they have found becomes one: always in one order, which
// depends on nothing but their number.
#pragma once

#include "numbers.cuh"

namespace distill {

constexpr int BLOCK = 256;
constexpr int WARP = 32;
[[maybe_unused]] constexpr int WARPS = BLOCK / WARP;
constexpr int MOST = 24;  // numbers that are reduced at once

struct Add {
  DISTILL_INLINE double operator()(double a, double b) const { return a + b; }
};
struct Largest {
  DISTILL_INLINE double operator()(double a, double b) const { return larger(a, b); }
};

// `LANES` threads: a power of two up to a warp, or the whole block. All threads of the block call
// `reduce` together.
template <int LANES> struct Team {
  static_assert(LANES <= WARP || LANES == BLOCK, "a team is a part of a warp, or the block");
  static constexpr int COUNT = BLOCK / LANES;

  DISTILL_INLINE static int lane() { return static_cast<int>(threadIdx.x) % LANES; }
  DISTILL_INLINE static int index() { return static_cast<int>(threadIdx.x) / LANES; }

  // Every thread's numbers -> those of the team, for each of its threads.
  template <int N, class Reduce>
  DISTILL_INLINE static void reduce(double (&values)[N], Reduce combine) {
    static_assert(N <= MOST, "there is no more room");
#pragma unroll
    for (int i = 0; i < N; ++i)
#pragma unroll
      for (int step = smaller(LANES, WARP) / 2; step > 0; step /= 2)
        values[i] = combine(values[i], __shfl_xor_sync(0xffffffffu, values[i], step));
    if constexpr (LANES > WARP) across(values, combine);
  }

  template <int N, class Reduce>
  DISTILL_INLINE static void across(double (&values)[N], Reduce combine) {
    __shared__ double parts[WARPS][MOST];
    __shared__ double whole[MOST];
    const int thread = static_cast<int>(threadIdx.x);
    if (thread % WARP == 0)
#pragma unroll
      for (int i = 0; i < N; ++i) parts[thread / WARP][i] = values[i];
    __syncthreads();
    if (thread < N) {
      double found = parts[0][thread];
#pragma unroll
      for (int warp = 1; warp < WARPS; ++warp) found = combine(found, parts[warp][thread]);
      whole[thread] = found;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = whole[i];
  }
};

}  // namespace distill
