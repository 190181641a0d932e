// A block of CUDA threads on one processor, for tests: every thread is a fibre that runs until it
// meets the others, at a barrier or to exchange a value within its warp.
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

constexpr std::size_t STACK = 1 << 18;
enum class Meeting { none, barrier, exchange, end };

struct Fibre {
  ucontext_t context;
  std::vector<char> stack;
  Meeting meeting = Meeting::none;
};

inline std::vector<Fibre> fibres;
inline std::vector<double> slots;  // what the threads exchange, twice: now and the time before
inline unsigned turn = 0;
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

}  // namespace emulated

inline Index threadIdx, blockIdx, gridDim, blockDim;

inline void __syncthreads() { emulated::meet(emulated::Meeting::barrier); }

inline double __shfl_xor_sync(unsigned, double value, int step) {
  const std::size_t threads = emulated::fibres.size(), mine = emulated::current;
  const std::size_t now = emulated::turn % 2 * threads;
  emulated::slots[now + mine] = value;
  emulated::meet(emulated::Meeting::exchange);
  return emulated::slots[now + (mine / 32 * 32 | ((mine % 32) ^ static_cast<std::size_t>(step)))];
}

namespace emulated {

// One block after the other; within it, one thread after the other from meeting to meeting.
inline void launch(unsigned grid, unsigned threads, std::function<void()> kernel) {
  work = kernel;
  gridDim.x = grid, blockDim.x = threads;
  fibres = std::vector<Fibre>(threads);
  slots.assign(2 * threads, 0.0);
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
      for (current = 0; current < threads; ++current) {
        threadIdx.x = static_cast<unsigned>(current);
        swapcontext(&outside, &fibres[current].context);
        if (fibres[current].meeting != fibres[0].meeting) {
          std::fprintf(stderr, "thread %zu of block %u is elsewhere\n", current, block);
          std::abort();
        }
      }
      ++turn;
    } while (fibres[0].meeting != Meeting::end);
  }
}

}  // namespace emulated
