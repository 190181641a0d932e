// What a kernel is made for, as the host defines it; everything is off by itself.
#pragma once

#include "elements.cuh"

#ifndef DISTILL_FORWARD
#define DISTILL_FORWARD 0
#endif
#ifndef DISTILL_REVERSE
#define DISTILL_REVERSE 0
#endif
#ifndef DISTILL_SQUARES
#define DISTILL_SQUARES 0
#endif
#ifndef DISTILL_COSINE
#define DISTILL_COSINE 0
#endif
#ifndef DISTILL_ABOVE
#define DISTILL_ABOVE 0
#endif
#ifndef DISTILL_ONES
#define DISTILL_ONES 0
#endif
#ifndef DISTILL_OVERLAP
#define DISTILL_OVERLAP 0
#endif
#ifndef DISTILL_TEMPERATURES
#define DISTILL_TEMPERATURES 1
#endif
// How often an exponential at the first temperature is squared to be that at temperature 1; -1
// where that temperature is none of 1, 2, 4.
#ifndef DISTILL_SQUARINGS
#define DISTILL_SQUARINGS -1
#endif

namespace distill {

using Real = DISTILL_REAL;

constexpr bool DIVERGENT = DISTILL_FORWARD || DISTILL_REVERSE;
constexpr bool DISTANT = DISTILL_SQUARES || DISTILL_COSINE;
constexpr bool SHARED = DIVERGENT && DISTILL_SQUARINGS >= 0;
[[maybe_unused]] constexpr int TEMPERATURES = DIVERGENT ? DISTILL_TEMPERATURES : 0;

// Differences of scores that are stored in 16 bits have room in a float, once each is taken from a
// reference; others carry what their rounding has left out.
constexpr bool SHORT =
    sizeof(Real) == 4 && DISTILL_TEACHER::size == 2 && DISTILL_STUDENT::size == 2;

// Classes that a thread takes at a time, and how many of them lie side by side.
constexpr int SMALLEST = DISTILL_TEACHER::size < DISTILL_STUDENT::size ? DISTILL_TEACHER::size
                                                                    : DISTILL_STUDENT::size;
constexpr int STEP = SMALLEST == 2 ? 16 : 8;
constexpr int WIDTH = SMALLEST == 2 ? 8 : 4;
constexpr int PARTS = STEP / WIDTH;

// Blocks that share a multiprocessor, which leaves 128, 168 or 255 registers for a thread.
[[maybe_unused]] constexpr int RESIDENT =
    TEMPERATURES > 1 || sizeof(Real) == 8 ? 2 : SMALLEST == 2 ? 3 : 4;

// What stands for the scores beyond the end of a row: it adds nothing to any sum.
constexpr Real BEYOND = static_cast<Real>(-1e30);

}  // namespace distill
