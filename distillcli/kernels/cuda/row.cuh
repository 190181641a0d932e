// The arithmetic of a row, for one of the threads that share it: online sums over the classes it
// takes, and how the sums of several threads become one row.
//
// Each score is looked at once. Exponentials are taken from a reference, a score near the highest
// so far; where a score rises far above it, the sums move to a new one. Divergences are sums of
// terms that are never negative, around a centre: with x = (t - s - centre) / T, e the exponential
// of the teacher and q = e exp(-x) that of the student,
//
//   forward = sum of e (exp(-x) - 1 + x),   reverse = sum of q (exp(x) - 1 - x),
//
// and whatever the centre is, with y = sum of (q - e) / sum of e, KL(p || q) is
// forward / sum of e - (y - log(1 + y)). So the centre may be a running mean of t - s: it keeps y
// as small as the divergence, and no digits are lost where both distributions are close.
#pragma once

#include "elements.cuh"

// What is wanted, as the host defines it; everything is off by itself.
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
#ifndef DISTILL_TEMPERED
#define DISTILL_TEMPERED 1
#endif

namespace distill {

constexpr bool DIVERGENT = DISTILL_FORWARD || DISTILL_REVERSE;
// The divergences are at temperature 1, and share their exponentials with what is asked there.
constexpr bool SHARED = DIVERGENT && DISTILL_ONES && !DISTILL_TEMPERED;
[[maybe_unused]] constexpr int RANKS = 5;
// A score may be so far above the reference, in units of the lower temperature, before the sums
// move: an exponent that is rounded once more costs few bits then.
[[maybe_unused]] constexpr double SPAN = 4.0;
// The centre moves when so many times the mass that it is the mean of has been seen.
[[maybe_unused]] constexpr double GROWTH = 16.0;
// Student exponentials so far above the teacher's come from rows, or parts of rows, that are far
// apart; what they add is had from the plain sums.
[[maybe_unused]] constexpr double APART = 1048576.0;

struct Temperature {
  double value;
  double inverse;
  double span;  // how far above its reference a score may be
  DISTILL_INLINE explicit Temperature(double t)
      : value(t), inverse(1.0 / t), span(SPAN * smaller(t, 1.0)) {}
};

// What is known of one side of a row.
template <class Real> struct Side {
  Real highest = -infinity<Real>();
  Long top = 0;
  bool not_a_number = false;
  bool masked = false;
  Real reference = -infinity<Real>();
  double total = 0.0;     // exp(score - reference) at temperature 1
  double weighted = 0.0;  // and times score - reference
  Real ranks[RANKS];      // the highest five, in order

  DISTILL_INLINE Side() {
    for (int i = 0; i < RANKS; ++i) ranks[i] = -infinity<Real>();
  }

  DISTILL_INLINE void rank(Real score) {
    if (!(score > ranks[RANKS - 1])) return;
#pragma unroll
    for (int i = 0; i < RANKS; ++i) {
      const Real less = smaller(ranks[i], score);
      ranks[i] = larger(ranks[i], score);
      score = less;
    }
  }

  DISTILL_INLINE void move_ones(Real to) {
    if (to == reference || total == 0.0) return;
    const double step = static_cast<double>(reference) - static_cast<double>(to);
    const double factor = exp_of(step);
    weighted = factor * (weighted + step * total);
    total *= factor;
  }
};

// What both sides have together. `p` and `q` are sums over the classes that neither side masks, of
// exponentials at the temperature from each side's own reference.
template <class Real> struct Together {
  double p = 0.0, q = 0.0;
  double p_alone = 0.0, q_alone = 0.0;  // of the classes that the other side masks
  bool p_is_alone = false, q_is_alone = false;
  double p_gap = 0.0;  // weighted by x
  double forward = 0.0, reverse = 0.0;
  double centre = 0.0;
  double mass = 0.0;  // that the centre is the mean of
  // The same for the student's exponentials, which may lie around another centre.
  double q_gap = 0.0, q_centre = 0.0, q_mass = 0.0;
  double squares = 0.0, teacher_squares = 0.0, student_squares = 0.0, products = 0.0;

  // How many times larger the student's exponentials are from the teacher's reference, the gap
  // being the centre.
  DISTILL_INLINE static double lift(Real teacher, Real student, double centre, Temperature t) {
    return exp_of(apart(teacher, student, centre) * t.inverse);
  }

  // student - teacher + centre, without what rounding the difference would lose.
  DISTILL_INLINE static double apart(Real teacher, Real student, double centre) {
    double high, low;
    difference(static_cast<double>(student), static_cast<double>(teacher), high, low);
    return (high + centre) + low;
  }

  // The same sums from other references and around another centre.
  DISTILL_INLINE void move(
      Real from_t, Real from_s, Real to_t, Real to_s, double to_centre, Temperature t) {
    if (p > 0.0 || q > 0.0) move_sums(from_t, from_s, to_t, to_s, to_centre, t);
    else p_gap = q_gap = forward = reverse = mass = q_mass = 0.0;
    p_alone *= factor(from_t, to_t, t), q_alone *= factor(from_s, to_s, t);
    centre = to_centre;
  }

  DISTILL_INLINE void move_sums(
      Real from_t, Real from_s, Real to_t, Real to_s, double to_centre, Temperature t) {
    const double fp = factor(from_t, to_t, t), fq = factor(from_s, to_s, t);
    const double step = (to_centre - centre) * t.inverse;
    const double old = lift(from_t, from_s, centre, t);
    const double around = q_gap + (q_centre - to_centre) * t.inverse * q;
    if (old <= APART && magnitude(step) < near<double>()) {
      const double grown = exp_of(step), excess = forward - p_gap;
      forward = fp * (forward + expm1(step) * excess + forward_term(-step) * p);
      reverse = fp * grown * (reverse + forward_term(step) * p + step * excess);
      p_gap = fp * (p_gap - step * p);
    } else {
      const double now = lift(to_t, to_s, to_centre, t) * fq;
      p_gap = fp * (p_gap - step * p);
      forward = p_gap + now * q - fp * p;
      reverse = fp * p - now * q - now * around;
    }
    p *= fp, mass *= fp, q *= fq, q_gap *= fq, q_mass *= fq;
  }

  DISTILL_INLINE void move_student(double to_centre, Temperature t) {
    q_gap -= (to_centre - q_centre) * t.inverse * q;
    q_centre = to_centre;
  }

  DISTILL_INLINE static double factor(Real from, Real to, Temperature t) {
    if (from == to) return 1.0;
    return exp_of((static_cast<double>(from) - static_cast<double>(to)) * t.inverse);
  }
};

// A thread's part of a row, or the whole row.
template <class Real> struct Row {
  Side<Real> teacher, student;
  Together<Real> both;

  // References that are not yet there follow the scores; those that are left behind move.
  DISTILL_INLINE void refer(Real t, Real s, Temperature at) {
    const Real span = static_cast<Real>(at.span);
    const Real to_t = t - teacher.reference > span ? t : teacher.reference;
    const Real to_s = s - student.reference > span ? s : student.reference;
    if (to_t != teacher.reference || to_s != student.reference) move(to_t, to_s, both.centre, at);
  }

  DISTILL_INLINE void move(Real to_t, Real to_s, double centre, Temperature at) {
    if constexpr (DIVERGENT) {
      // Nothing has been summed where there is no reference yet.
      const Real from_t = teacher.reference > -infinity<Real>() ? teacher.reference : to_t;
      const Real from_s = student.reference > -infinity<Real>() ? student.reference : to_s;
      both.move(from_t, from_s, to_t, to_s, centre, at);
    }
    if constexpr (DISTILL_ONES) {
      teacher.move_ones(to_t);
      student.move_ones(to_s);
    }
    teacher.reference = to_t, student.reference = to_s;
  }

};

// Up to `COUNT` scores of one side, all finite: the highest and its class, and the ranks.
// `class_of(j)` tells the classes, which rise.
template <int COUNT, class Real, class ClassOf>
DISTILL_INLINE Real look(Side<Real>& side, const Real (&scores)[COUNT], ClassOf class_of) {
  Real highest = scores[0];
#pragma unroll
  for (int j = 1; j < COUNT; ++j) highest = larger(highest, scores[j]);
  if (highest > side.highest) {
    side.highest = highest;
#pragma unroll
    for (int j = COUNT - 1; j >= 0; --j)
      if (scores[j] == highest) side.top = class_of(j);
  }
  return highest;
}

template <int COUNT, class Real>
DISTILL_INLINE void add_ones(Side<Real>& side, const Real (&scores)[COUNT]) {
  Real total = 0, weighted = 0;
#pragma unroll
  for (int j = 0; j < COUNT; ++j) {
    const Real shifted = scores[j] - side.reference;
    const Real grown = exp_of(shifted);
    total += grown;
    weighted = multiply_add(grown, shifted, weighted);
  }
  side.total += total, side.weighted += weighted;
}

template <int COUNT, class Real>
DISTILL_INLINE Real weighted_sum(const Real (&weights)[COUNT], const Real (&values)[COUNT]) {
  Real sum = 0;
#pragma unroll
  for (int j = 0; j < COUNT; ++j) sum = multiply_add(weights[j], values[j], sum);
  return sum;
}

// The mean of what has been seen and of some more, rounded, so that scores are held against it in
// their own type without loss.
template <class Real>
DISTILL_INLINE double mean_with(double sum, double mass, Real more, Real more_mass) {
  return static_cast<Real>((sum + more) / (mass + more_mass));
}

// Scores of both sides, all finite, into the divergences.
template <int COUNT, class Real>
DISTILL_INLINE void add_divergences(
    Row<Real>& row, const Real (&t)[COUNT], const Real (&s)[COUNT], Temperature at) {
  Together<Real>& both = row.both;
  const Real inverse = static_cast<Real>(at.inverse);
  Real e[COUNT], f[COUNT], high[COUNT], low[COUNT], p = 0, q = 0;
#pragma unroll
  for (int j = 0; j < COUNT; ++j) {
    difference(t[j], s[j], high[j], low[j]);
    e[j] = exp_of((t[j] - row.teacher.reference) * inverse);
    f[j] = exp_of((s[j] - row.student.reference) * inverse);
    p += e[j], q += f[j];
  }
  if (p > 0 && both.p + p > GROWTH * both.mass) {
    const double mean = mean_with(
        both.p * both.centre + at.value * both.p_gap, both.p, weighted_sum(e, high), p);
    row.move(row.teacher.reference, row.student.reference, mean, at);
    both.mass = both.p + p;
  }
  if constexpr (DISTILL_REVERSE) {
    if (q > 0 && both.q + q > GROWTH * both.q_mass) {
      const double mean = mean_with(
          both.q * both.q_centre + at.value * both.q_gap, both.q, weighted_sum(f, high), q);
      both.move_student(static_cast<Real>(mean), at);
      both.q_mass = both.q + q;
    }
  }
  const Real centre = static_cast<Real>(both.centre);
  [[maybe_unused]] const Real q_centre = static_cast<Real>(both.q_centre);
  const Real lift = static_cast<Real>(Together<Real>::lift(
      row.teacher.reference, row.student.reference, both.centre, at));
  Real p_gap = 0, forward = 0;
  [[maybe_unused]] Real q_gap = 0, reverse = 0;
#pragma unroll
  for (int j = 0; j < COUNT; ++j) {
    const Real x = ((high[j] - centre) + low[j]) * inverse;
    const bool is_near = magnitude(x) < near<Real>();
    const Real grown = lift * f[j];
    p_gap = multiply_add(e[j], x, p_gap);
    const Real far = multiply_add(e[j], x, grown - e[j]);
    forward += is_near ? e[j] * forward_term(x) : far;
    if constexpr (DISTILL_REVERSE) {
      q_gap = multiply_add(f[j], ((high[j] - q_centre) + low[j]) * inverse, q_gap);
      const Real back = (e[j] - grown) - grown * x;
      reverse += is_near ? e[j] * reverse_term(x) : back;
    }
  }
  if constexpr (SHARED) {
    Real weighted_t = 0, weighted_s = 0;
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
      weighted_t = multiply_add(e[j], t[j] - row.teacher.reference, weighted_t);
      weighted_s = multiply_add(f[j], s[j] - row.student.reference, weighted_s);
    }
    row.teacher.total += p, row.teacher.weighted += weighted_t;
    row.student.total += q, row.student.weighted += weighted_s;
  }
  both.p += p, both.q += q;
  both.p_gap += p_gap, both.forward += forward;
  if constexpr (DISTILL_REVERSE) both.q_gap += q_gap, both.reverse += reverse;
}

template <int COUNT, class Real>
DISTILL_INLINE void add_distances(
    Together<Real>& both, const Real (&t)[COUNT], const Real (&s)[COUNT]) {
#pragma unroll
  for (int j = 0; j < COUNT; ++j) {
    const double one = t[j], other = s[j], gap = one - other;
    both.squares = multiply_add(gap, gap, both.squares);
    if constexpr (DISTILL_COSINE) {
      both.teacher_squares = multiply_add(one, one, both.teacher_squares);
      both.student_squares = multiply_add(other, other, both.student_squares);
      both.products = multiply_add(one, other, both.products);
    }
  }
}

// Zero where every score is a finite number.
template <int COUNT, class Real> DISTILL_INLINE Real flaw(const Real (&scores)[COUNT]) {
  Real sum = 0;
#pragma unroll
  for (int j = 0; j < COUNT; ++j) sum = multiply_add(scores[j], static_cast<Real>(0), sum);
  return sum;
}

template <int COUNT, class Real, class ClassOf>
DISTILL_INLINE void add(Row<Real>& row, const Real (&t)[COUNT], const Real (&s)[COUNT],
                        ClassOf class_of, Temperature at) {
  const Real highest_t = look(row.teacher, t, class_of);
  const Real highest_s = look(row.student, s, class_of);
  row.refer(highest_t, highest_s, at);
  if constexpr (DISTILL_ABOVE)
    for (int j = 0; j < COUNT; ++j) row.student.rank(s[j]);
  if constexpr (DISTILL_ONES && !SHARED) add_ones(row.teacher, t), add_ones(row.student, s);
  if constexpr (DISTILL_SQUARES || DISTILL_COSINE) add_distances(row.both, t, s);
  if constexpr (DIVERGENT) add_divergences(row, t, s, at);
}

// One score of one side, whatever it is; whether it is a number to go on with.
template <class Real> DISTILL_INLINE bool look_at(Side<Real>& side, Real score, Long index) {
  side.not_a_number = side.not_a_number || score != score;
  side.masked = side.masked || score == -infinity<Real>();
  if (score > side.highest) side.highest = score, side.top = index;
  return score - score == 0;
}

template <class Real> DISTILL_INLINE void add_one_by_one(Side<Real>& side, Real score) {
  const Real scores[1] = {score};
  add_ones(side, scores);
}

// What one side has where the other is masked.
template <class Real>
DISTILL_INLINE void add_alone(const Side<Real>& side, Real score, double& sum, bool& is_there,
                              Temperature at) {
  sum += exp_of((static_cast<double>(score) - static_cast<double>(side.reference)) * at.inverse);
  is_there = true;
}

// One class that may be masked, or worse, on either side.
template <class Real>
DISTILL_INLINE void add_any(Row<Real>& row, Real t, Real s, Long index, Temperature at) {
  const bool has_t = look_at(row.teacher, t, index), has_s = look_at(row.student, s, index);
  const Real nothing = -infinity<Real>();
  row.refer(has_t ? t : nothing, has_s ? s : nothing, at);
  if constexpr (DISTILL_ABOVE) row.student.rank(s);
  if constexpr (DISTILL_ONES) {
    const bool shared = SHARED && has_t && has_s;
    if (has_t && !shared) add_one_by_one(row.teacher, t);
    if (has_s && !shared) add_one_by_one(row.student, s);
  }
  if constexpr (DISTILL_SQUARES || DISTILL_COSINE) {
    const Real one[1] = {t}, other[1] = {s};
    add_distances(row.both, one, other);
  }
  if constexpr (DIVERGENT) {
    const Real one[1] = {t}, other[1] = {s};
    if (has_t && has_s) add_divergences(row, one, other, at);
    else if (has_t) add_alone(row.teacher, t, row.both.p_alone, row.both.p_is_alone, at);
    else if (has_s) add_alone(row.student, s, row.both.q_alone, row.both.q_is_alone, at);
  }
}

// KL(p || q) of a whole row.
template <class Real> DISTILL_INLINE double forward_of(const Row<Real>& row, Temperature at) {
  const Together<Real>& both = row.both;
  if (both.p_is_alone) return infinity<double>();
  const Real t = row.teacher.reference, s = row.student.reference;
  const double lift = Together<Real>::lift(t, s, both.centre, at);
  double value;
  if (lift <= APART) {
    const double beyond = lift * both.q_alone;
    const double excess = (both.forward - both.p_gap + beyond) / both.p;
    value = excess < near<double>()
        ? (both.forward + beyond) / both.p - (excess - log1p(excess))
        : both.p_gap / both.p + log1p(excess);
  } else {
    const double apart = Together<Real>::apart(t, s, both.centre) * at.inverse;
    value = both.p_gap / both.p + apart + log(both.q + both.q_alone) - log(both.p);
  }
  return value < 0.0 ? 0.0 : value;
}

// KL(q || p) of a whole row.
template <class Real> DISTILL_INLINE double reverse_of(const Row<Real>& row, Temperature at) {
  const Together<Real>& both = row.both;
  if (both.q_is_alone) return infinity<double>();
  const Real t = row.teacher.reference, s = row.student.reference;
  double value;
  if (Together<Real>::lift(t, s, both.centre, at) <= APART) {
    const double excess = both.forward - both.p_gap, grown = both.p + excess;
    const double rest = (both.p_alone - excess) / grown, all = both.p + both.p_alone;
    const double log_all = rest < -near<double>() ? log(all / grown) : log1p(rest);
    value = (both.reverse + both.p_alone) / grown - (rest - log_all);
  } else {
    const double apart = Together<Real>::apart(t, s, both.q_centre) * at.inverse;
    value = log(both.p + both.p_alone) - log(both.q) - both.q_gap / both.q - apart;
  }
  return value < 0.0 ? 0.0 : value;
}

// 1 - cos, from the distance of both rows beside that of their lengths.
template <class Real> DISTILL_INLINE double cosine_of(const Together<Real>& both) {
  const double one = sqrt(both.teacher_squares), other = sqrt(both.student_squares);
  if (one == 0.0 || other == 0.0) return 1.0;
  const double lengths = one - other;
  const double value = both.products > 0.0 && magnitude(lengths) < 0.5 * one
      ? (both.squares - lengths * lengths) / (2.0 * one * other)
      : 1.0 - both.products / (one * other);
  return smaller(larger(value, 0.0), 2.0);
}

// The sum of exponentials at temperature 1 from the highest score, and the entropy in nats.
template <class Real> DISTILL_INLINE double total_of(const Side<Real>& side) {
  const double step = static_cast<double>(side.reference) - static_cast<double>(side.highest);
  return side.total * exp_of(step);
}

template <class Real> DISTILL_INLINE double entropy_of(const Side<Real>& side) {
  const double step = static_cast<double>(side.reference) - static_cast<double>(side.highest);
  const double weighted = side.weighted + step * side.total;
  return log(side.total * exp_of(step)) - weighted / side.total;
}

}  // namespace distill
