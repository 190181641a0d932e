// The scores of a row as its threads take them: a step's are on their way while those of the step
// before are computed on.
#pragma once

#include "side.cuh"

namespace distill {

using Lanes = Team<DISTILL_LANES>;
constexpr int STRIDE = WIDTH * DISTILL_LANES;  // classes from part to part

constexpr int CLASSES = PARTS * STRIDE;         // and from step to step

// The class of a thread's j-th score in a step. It depends on no address, so that a row has the same
// bits wherever it lies.
DISTILL_INLINE int class_of(int step, int j) {
  return step * CLASSES + j / WIDTH * STRIDE + Lanes::lane() * WIDTH + j % WIDTH;
}

// In how many steps any thread of the group has a class.
DISTILL_INLINE int steps_of(int classes) {
  return (classes - Lanes::group() * Lanes::GROUP * WIDTH + CLASSES - 1) / CLASSES;
}

template <class Stored> struct Stream {
  static constexpr int SIZE = Stored::size, QUADS = WIDTH * SIZE / 16;
  static constexpr int ALL = CLASSES - STRIDE + WIDTH;
  const char* row;
  int classes;
  int shift;         // how many bytes the row begins after one that quads can be loaded from
  const char* next;  // where the quads are in which this thread's part of the next step begins
  int left;          // classes from there on
  int enough;        // how many make a step whose scores are all there, as the loads bring them
  Quad ahead[PARTS][QUADS];

  DISTILL_INLINE Stream(const char* from, int count)
      : row(from), classes(count), shift(misplaced(from)),
        next(from - shift + Lanes::lane() * WIDTH * SIZE), left(count - Lanes::lane() * WIDTH),
        enough(shift ? NOWHERE : ALL) {}

  DISTILL_INLINE void skip(int steps) {
    next += static_cast<Long>(steps) * CLASSES * SIZE, left -= steps * CLASSES;
  }

  DISTILL_INLINE static bool has(int count, int part) { return count >= part * STRIDE + WIDTH; }

  DISTILL_INLINE void fetch() {
    if (left >= ALL) {
#pragma unroll
      for (int part = 0; part < PARTS; ++part)
        load_quads(next + part * STRIDE * SIZE, ahead[part]);
    } else {
#pragma unroll
      for (int part = 0; part < PARTS - 1; ++part)
        if (has(left, part)) load_quads(next + part * STRIDE * SIZE, ahead[part]);
    }
    skip(1);
  }

  // Whether `take` need not look for the end of the row, or for words that two loads have brought.
  DISTILL_INLINE bool is_plain() const { return left + CLASSES >= enough; }

  // The scores of the step that was fetched last, and the highest of them.
  DISTILL_INLINE Real take_plain(Real (&scores)[STEP]) const {
    widen<false>(scores);
    return highest_of<STEP>(scores);
  }

  // Likewise, whatever they are. A part that is beyond the end holds what adds nothing; one that is
  // cut by it ends in -inf, so that it is gone through one by one.
  DISTILL_INLINE Real take(Real (&scores)[STEP], Real beyond = BEYOND) const {
    if (shift) widen<true>(scores);
    else widen<false>(scores);
    Real highest = -infinity<Real>();
#pragma unroll
    for (int part = 0; part < PARTS; ++part)
      highest = larger(
          highest, cut(left + CLASSES - part * STRIDE, part, beyond, scores + part * WIDTH));
    return highest;
  }

  template <bool CROOKED> DISTILL_INLINE void widen(Real (&scores)[STEP]) const {
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
      Word words[4 * QUADS] = {};
      const char* after = next + (part * STRIDE - CLASSES) * SIZE + 16 * QUADS;
      if (!CROOKED) words_of(ahead[part], words);
      else if (has(left + CLASSES, part)) words_of(ahead[part], after, shift, words);
#pragma unroll
      for (int j = 0; j < WIDTH; ++j)
        scores[part * WIDTH + j] = static_cast<Real>(Stored::at(words, j));
    }
  }

  DISTILL_INLINE Real cut(int count, int part, Real beyond, Real* scores) const {
    if (count >= WIDTH) return highest_of<WIDTH>(scores);
    Real highest = -infinity<Real>();
#pragma unroll 1
    for (int j = 0; j < WIDTH; ++j) {
      Real score = count > 0 ? -infinity<Real>() : beyond;
      if (j < count) {
        score = element<Stored, Real>(next + shift, part * STRIDE - CLASSES + j);
        highest = larger(highest, score);
      }
      // Pushed in from behind, because registers cannot be counted through.
#pragma unroll
      for (int i = 0; i < WIDTH - 1; ++i) scores[i] = scores[i + 1];
      scores[WIDTH - 1] = score;
    }
    return highest;
  }

  // The first class of a step that has this score.
  DISTILL_INLINE int class_with(Real score, int step) const {
#pragma unroll 1
    for (int j = 0; j < STEP; ++j) {
      const int index = class_of(step, j);
      if (index < classes && element<Stored, Real>(row, index) == score) return index;
    }
    return NOWHERE;
  }

  // How many of a step's scores are higher.
  DISTILL_INLINE int count_above(Real score, int step) const {
    int count = 0;
#pragma unroll 1
    for (int j = 0; j < STEP; ++j) {
      const int index = class_of(step, j);
      count += index < classes && element<Stored, Real>(row, index) > score;
    }
    return count;
  }
};

}  // namespace distill
