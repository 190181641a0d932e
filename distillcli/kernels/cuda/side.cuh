// What is known of one side of a row: the highest score, and sums at temperature 1.
#pragma once

#include "team.cuh"
#include "wanted.cuh"

namespace distill {

// A score may be so far above the reference, in units of the lowest temperature, before the sums
// move: exponents that are small lose few bits.
constexpr double SPAN = 4.0;
constexpr int NOWHERE = 0x7fffffff;

// A thread's part, or the whole. The reference is the same for all threads of a group.
struct Side {
  static constexpr int NOT_A_NUMBER = 1, MASKED = 2, ALONE = 4;  // alone: where the other is masked

  Real highest = -infinity<Real>();
  Real second = -infinity<Real>();  // the next one among the highest scores of each step
  int step = 0;                     // the first that has the highest
  int top = NOWHERE;                // its class, once it has been looked up
  int flags = 0;
  Real reference = -infinity<Real>();
  double total = 0.0;     // exp(score - reference)
  double weighted = 0.0;  // and times score - reference

  DISTILL_INLINE void look(Real found, int at) {
    second = larger(second, smaller(highest, found));
    if (found > highest) highest = found, step = at;
  }

  // Whatever the score is; whether it is a number to go on with.
  DISTILL_INLINE bool notice(Real score) {
    flags |= score != score ? NOT_A_NUMBER : score == -infinity<Real>() ? MASKED : 0;
    return is_number(score);
  }

  DISTILL_INLINE void refer(Real to) {
    if (DISTILL_ONES && to != reference && total > 0.0) {
      const double up = static_cast<double>(reference) - static_cast<double>(to);
      const double factor = exp(up);
      weighted = factor * (weighted + up * total);
      total *= factor;
    }
    reference = to;
  }

  // Each number that a part of a row consists of, the highest score and its class first.
  template <class Visit> DISTILL_INLINE void each(Visit visit) {
    visit(highest), visit(top), visit(reference), visit(flags), visit(total), visit(weighted);
  }

  // The sum of exponentials from the highest score, and the entropy in nats.
  DISTILL_INLINE double up() const {
    return static_cast<double>(reference) - static_cast<double>(highest);
  }
  DISTILL_INLINE double total_from_highest() const { return total * exp(up()); }
  DISTILL_INLINE double entropy() const {
    return log(total_from_highest()) - (weighted + up() * total) / total;
  }
};

// What some scores add to the sums at temperature 1.
template <class Number> struct Ones {
  Number total = 0, weighted = 0;

  // `up` is the score from the reference, `grown` its exponential.
  DISTILL_INLINE void add(Number up, Number grown) {
    total += grown;
    weighted = multiply_add(grown, up, weighted);
  }
  DISTILL_INLINE void add(Number up) { add(up, power(up * static_cast<Number>(LOG2_E))); }
  DISTILL_INLINE void leave(Side& side) const { side.total += total, side.weighted += weighted; }
};

template <int COUNT> DISTILL_INLINE Real highest_of(const Real* scores) {
  Real highest = scores[0];
#pragma unroll
  for (int j = 1; j < COUNT; ++j) highest = larger(highest, scores[j]);
  return highest;
}

// What several threads found -> what they found together; references are the same already.
template <int COUNT> DISTILL_INLINE void merge_tops(Side& side) {
  double found[4] = {side.highest, side.flags & 1 ? 1.0 : 0.0, side.flags & 2 ? 1.0 : 0.0,
                     side.flags & 4 ? 1.0 : 0.0};
  reduce<COUNT>(found, Largest());
  const bool mine = static_cast<double>(side.highest) == found[0];
  double top[1] = {mine ? -static_cast<double>(side.top) : -static_cast<double>(NOWHERE)};
  reduce<COUNT>(top, Largest());
  side.highest = static_cast<Real>(found[0]);
  side.top = static_cast<int>(-top[0]);
  side.flags = static_cast<int>(found[1] + 2.0 * found[2] + 4.0 * found[3]);
}

template <int COUNT> DISTILL_INLINE void merge_sums(Side& side) {
  if constexpr (DISTILL_ONES) {
    double sums[2] = {side.total, side.weighted};
    reduce<COUNT>(sums, Add());
    side.total = sums[0], side.weighted = sums[1];
  }
}

}  // namespace distill
