// A block of CUDA threads on one processor, for tests: every thread is a fibre that runs until it
// meets the others of its warp, to exchange a value, or those of the block, at a barrier.
//
// The kernels are compiled as they are, with this file included first. Threads that do not all
// meet at the same place end the program: on a GPU that would hang, or worse.
#pragma once

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cmath>
#include <functional>
#include <vector>

#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct Index {
  unsigned x = 0;
};

namespace emulated {

constexpr std::size_t STACK = 1 << 18, WARP = 32;
enum class Meeting { none, barrier, exchange, vote, end };

struct Fibre {
  ucontext_t context;
  std::vector<char> stack;
  Meeting meeting = Meeting::none;
};

inline std::vector<Fibre> fibres;
inline std::vector<double> slots;  // what the threads exchange, twice: now and the time before
inline std::vector<unsigned> turns;  // of each warp
inline std::size_t current = 0;
inline ucontext_t outside;
inline std::function<void()> work;

inline void meet(Meeting meeting) {
  fibres[current].meeting = meeting;
  swapcontext(&fibres[current].context, &outside);
}

inline void run() {
  work();
  fibres[current].meeting = Meeting::end;
}

// The slots of this warp, once all its threads have left a value.
inline const double* exchanged(double value, Meeting meeting) {
  const std::size_t warp = current / WARP, now = turns[warp] % 2 * fibres.size();
  slots[now + current] = value;
  meet(meeting);
  return &slots[now + warp * WARP];
}

}  // namespace emulated

inline Index threadIdx, blockIdx, gridDim, blockDim;

inline void __syncthreads() { emulated::meet(emulated::Meeting::barrier); }

inline double __shfl_xor_sync(unsigned, double value, int step) {
  const double* warp = emulated::exchanged(value, emulated::Meeting::exchange);
  return warp[(emulated::current % emulated::WARP) ^ static_cast<std::size_t>(step)];
}

inline bool __any_sync(unsigned, bool flag) {
  const double* warp = emulated::exchanged(flag ? 1.0 : 0.0, emulated::Meeting::vote);
  bool any = false;
  for (std::size_t i = 0; i < emulated::WARP; ++i) any = any || warp[i] != 0.0;
  return any;
}

namespace emulated {

inline void check(std::size_t thread, std::size_t other, unsigned block) {
  if (fibres[thread].meeting == fibres[other].meeting) return;
  std::fprintf(stderr, "threads %zu and %zu of block %u are elsewhere\n", thread, other, block);
  std::abort();
}

// A warp to the next barrier or the end, one thread after the other from meeting to meeting.
inline void advance(std::size_t first, unsigned block) {
  do {
    for (current = first; current < first + WARP; ++current) {
      threadIdx.x = static_cast<unsigned>(current);
      swapcontext(&outside, &fibres[current].context);
      check(current, first, block);
    }
    ++turns[first / WARP];
  } while (fibres[first].meeting == Meeting::exchange || fibres[first].meeting == Meeting::vote);
}

// One block after the other; its warps in turn, from barrier to barrier.
inline void launch(unsigned grid, unsigned threads, std::function<void()> kernel) {
  work = kernel;
  gridDim.x = grid, blockDim.x = threads;
  fibres = std::vector<Fibre>(threads);
  slots.assign(2 * threads, 0.0);
  turns.assign(threads / WARP, 0);
  for (auto& fibre : fibres) fibre.stack.resize(STACK);
  for (unsigned block = 0; block < grid; ++block) {
    blockIdx.x = block;
    for (auto& fibre : fibres) {
      getcontext(&fibre.context);
      fibre.context.uc_stack.ss_sp = fibre.stack.data();
      fibre.context.uc_stack.ss_size = STACK;
      fibre.context.uc_link = &outside;
      fibre.meeting = Meeting::none;
      makecontext(&fibre.context, run, 0);
    }
    do {
      for (std::size_t first = 0; first < threads; first += WARP) {
        advance(first, block);
        check(first, 0, block);
      }
    } while (fibres[0].meeting != Meeting::end);
  }
}

}  // namespace emulated
