// A row of both sides: what a thread finds of it, and how that becomes one.
#pragma once

#include "divergence.cuh"

namespace distill {

// A centre is moved when the mean is farther from it, in units of log 2: by so much, or by so much
// of a temperature 1. Either way what it costs is far below what is lost by rounding.
constexpr double OFF = 0.18, OFF_AT_ONE = 0.25;

struct Distances {
  double squares = 0.0, teacher = 0.0, student = 0.0, products = 0.0;

  DISTILL_INLINE void add(double t, double s) {
    squares = multiply_add(t - s, t - s, squares);
    if constexpr (DISTILL_COSINE) {
      teacher = multiply_add(t, t, teacher), student = multiply_add(s, s, student);
      products = multiply_add(t, s, products);
    }
  }

  // 1 - cos, from the distance of both rows beside that of their lengths.
  DISTILL_INLINE double cosine() const {
    const double one = sqrt(teacher), other = sqrt(student), lengths = one - other;
    if (one == 0.0 || other == 0.0) return 1.0;
    const double value = products > 0.0 && magnitude(lengths) < 0.5 * one
        ? (squares - lengths * lengths) / (2.0 * one * other)
        : 1.0 - products / (one * other);
    return smaller(larger(value, 0.0), 2.0);
  }
};

// What some scores add to all sums, before it is known whether they are numbers.
template <class Number> struct Found {
  Some<Number> at[TEMPERATURES + 1];
  Ones<Number> teacher, student;
  Number flaw = 0;  // no number where a score is none

  DISTILL_INLINE bool is_good() const {
    if constexpr (DIVERGENT) {
      Number gaps = at[0].gap;
#pragma unroll
      for (int k = 1; k < TEMPERATURES; ++k) gaps += at[k].gap;
      return is_number(gaps);
    }
    if constexpr (DISTILL_ONES) return is_number(teacher.weighted) && is_number(student.weighted);
    return is_number(flaw);
  }
};

struct Row {
  Side teacher, student;
  Divergence at[TEMPERATURES + 1];
  Distances distances;
  Real span = 0;

  DISTILL_INLINE explicit Row(const double (&temperatures)[4]) {
    double least = 1.0;
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k) {
      at[k].heat(temperatures[k]);
      least = smaller(least, temperatures[k]);
    }
    span = static_cast<Real>(SPAN * least);
  }

  DISTILL_INLINE bool is_left_behind(Real highest_t, Real highest_s) const {
    return highest_t > teacher.reference + span || highest_s > student.reference + span;
  }

  DISTILL_INLINE void refer(Real to_t, Real to_s) {
    if (to_t == teacher.reference && to_s == student.reference) return;
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k)
      at[k].move(teacher.reference, student.reference, to_t, to_s, at[k].centre, at[k].q_centre);
    teacher.refer(to_t), student.refer(to_s);
  }

  // All threads of a group come to one reference, and to one centre near the mean of what they have
  // seen and of these scores. What a group does depends on its own row alone: `due` is the same for
  // all rows.
  template <int GROUP>
  DISTILL_INLINE void settle(
      const Real (&t)[STEP], const Real (&s)[STEP], Real highest_t, Real highest_s, bool due) {
    double highest[2] = {highest_t, highest_s};
    reduce<GROUP>(highest, Largest());
    const Real new_t = static_cast<Real>(highest[0]), new_s = static_cast<Real>(highest[1]);
    const bool up_t = new_t > teacher.reference + span, up_s = new_s > student.reference + span;
    refer(up_t ? new_t : teacher.reference, up_s ? new_s : student.reference);
    if constexpr (DIVERGENT) recentre<GROUP>(t, s, due || up_t || up_s);
  }

  template <int GROUP>
  DISTILL_INLINE void recentre(const Real (&t)[STEP], const Real (&s)[STEP], bool is_wanted) {
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k) {
      double means[4] = {at[k].p, at[k].gap * LOG2_E, at[k].q, at[k].q_gap * LOG2_E};
      weigh(at[k], t, s, means);
      reduce<GROUP>(means, Add());
      double to = at[k].centre, q_to = at[k].q_centre;
      bool moves = is_off(at[k], means[0], means[1], at[k].centred, to);
      if constexpr (DISTILL_REVERSE)
        moves = is_off(at[k], means[2], means[3], at[k].q_centred, q_to) || moves;
      if (!is_wanted || !moves) continue;
      at[k].move(
          teacher.reference, student.reference, teacher.reference, student.reference, to, q_to);
      at[k].centred = true, at[k].q_centred = true;
    }
  }

  DISTILL_INLINE void weigh(
      const Divergence& one, const Real (&t)[STEP], const Real (&s)[STEP],
      double (&means)[4]) const {
#pragma unroll
    for (int j = 0; j < STEP; ++j) {
      const Real up_t = t[j] - teacher.reference, up_s = s[j] - student.reference;
      const Real x = one.x_of(t[j], s[j], up_t, up_s, one.from);
      if (!is_number(x)) continue;
      const Real e = power(up_t * one.unit);
      means[0] += e, means[1] += static_cast<double>(e) * x;
      if constexpr (DISTILL_REVERSE) {
        const Real f = power(up_s * one.unit);
        means[2] += f;
        means[3] += static_cast<double>(f) * one.x_of(t[j], s[j], up_t, up_s, one.q_from);
      }
    }
  }

  DISTILL_INLINE static bool is_off(
      const Divergence& one, double mass, double shift, bool is_centred, double& centre) {
    const double by = shift / mass;
    if (!(mass > 0.0) || !is_number(by)) return false;
    if (is_centred && magnitude(by) < smaller(OFF, OFF_AT_ONE * static_cast<double>(one.unit))) return false;
    centre += by;
    return true;
  }

  // Scores of both sides; they count once they are known to be numbers.
  template <int COUNT, class Number>
  DISTILL_INLINE Found<Number> look(const Number (&t)[COUNT], const Number (&s)[COUNT]) const {
    Found<Number> found;
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k)
      found.at[k] = at[k].look(
          t, s, teacher.reference, student.reference,
          [&found, k](Number up_t, Number up_s, Number e, Number f) {
            if constexpr (DISTILL_ONES && SHARED) {
              if (k != 0) return;
#pragma unroll
              for (int i = 0; i < DISTILL_SQUARINGS; ++i) e *= e, f *= f;
              found.teacher.add(up_t, e), found.student.add(up_s, f);
            }
          });
    if constexpr (DISTILL_ONES && !SHARED) {
#pragma unroll
      for (int j = 0; j < COUNT; ++j) {
        found.teacher.add(t[j] - static_cast<Number>(teacher.reference));
        found.student.add(s[j] - static_cast<Number>(student.reference));
      }
    }
    if constexpr (!DIVERGENT && !DISTILL_ONES) {
#pragma unroll
      for (int j = 0; j < COUNT; ++j)
        found.flaw = multiply_add(t[j] - s[j], static_cast<Number>(0), found.flaw);
    }
    return found;
  }

  template <class Number> DISTILL_INLINE void add(const Found<Number>& found) {
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k) at[k].add(found.at[k]);
    found.teacher.leave(teacher), found.student.leave(student);
  }

  // One score of each side, whatever they are.
  DISTILL_INLINE void add_any(Real t, Real s) {
    const bool has_t = teacher.notice(t), has_s = student.notice(s);
    const double one[1] = {t}, other[1] = {s};
    if constexpr (DISTANT) distances.add(one[0], other[0]);
    if (has_t && has_s) add(look(one, other));
    else if (has_t) add_alone(teacher, one[0], false);
    else if (has_s) add_alone(student, other[0], true);
  }

  DISTILL_INLINE void add_alone(Side& side, double score, bool is_student) {
    const double up = score - static_cast<double>(side.reference);
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k)
      (is_student ? at[k].q_alone : at[k].p_alone) += power(up * static_cast<double>(at[k].unit));
    side.flags |= Side::ALONE;
    if constexpr (DISTILL_ONES) {
      Ones<double> ones;
      ones.add(up);
      ones.leave(side);
    }
  }

  // What `COUNT` neighbours found -> what they found together, for each of them.
  template <int COUNT> DISTILL_INLINE void merge() {
    merge_tops<COUNT>(teacher), merge_tops<COUNT>(student);
    merge_sums<COUNT>(teacher), merge_sums<COUNT>(student);
    if constexpr (DISTANT) {
      Distances& d = distances;
      double sums[4] = {d.squares, d.teacher, d.student, d.products};
      reduce<COUNT>(sums, Add());
      d.squares = sums[0], d.teacher = sums[1], d.student = sums[2], d.products = sums[3];
    }
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k) {
      Divergence& d = at[k];
      double sums[6] = {d.p, d.q, d.gap, d.forward, d.p_alone, d.q_alone};
      reduce<COUNT>(sums, Add());
      d.p = sums[0], d.q = sums[1], d.gap = sums[2], d.forward = sums[3];
      d.p_alone = sums[4], d.q_alone = sums[5];
      if constexpr (DISTILL_REVERSE) {
        double more[2] = {d.reverse, d.q_gap};
        reduce<COUNT>(more, Add());
        d.reverse = more[0], d.q_gap = more[1];
      }
    }
  }

  // Each number that a row consists of; what follows from others is left out.
  template <class Visit> DISTILL_INLINE void each(Visit visit) {
    teacher.each(visit), student.each(visit);
    visit(distances.squares), visit(distances.teacher), visit(distances.student);
    visit(distances.products);
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k) {
      Divergence& d = at[k];
      visit(d.p), visit(d.q), visit(d.gap), visit(d.q_gap), visit(d.forward), visit(d.reverse);
      visit(d.p_alone), visit(d.q_alone), visit(d.centre), visit(d.q_centre);
    }
  }

  // Neighbours with references and centres of their own come to the same ones.
  template <int COUNT> DISTILL_INLINE void agree() {
    double highest[2] = {teacher.reference, student.reference};
    reduce<COUNT>(highest, Largest());
    refer(static_cast<Real>(highest[0]), static_cast<Real>(highest[1]));
#pragma unroll
    for (int k = 0; k < TEMPERATURES; ++k) {
      Divergence& d = at[k];
      double means[4] = {d.p, d.p * d.centre + d.gap * LOG2_E,
                         d.q, d.q * d.q_centre + d.q_gap * LOG2_E};
      reduce<COUNT>(means, Add());
      d.move(teacher.reference, student.reference, teacher.reference, student.reference,
             means[0] > 0.0 ? means[1] / means[0] : 0.0, means[2] > 0.0 ? means[3] / means[2] : 0.0);
    }
  }
};

}  // namespace distill
