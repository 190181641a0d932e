// The divergences of a row at one temperature, from sums that need each score once.
//
// With x = (t - s) / T - centre, e the exponential of the teacher and q = e exp(-x) that of the
// student, all terms are at least 0:
//
//   forward = sum of e (exp(-x) - 1 + x),   reverse = sum of q (exp(x) - 1 - x).
//
// Whatever the centre is, with y = sum of (q - e) / sum of e, KL(p || q) is
// forward / sum of e - (y - log(1 + y)). So the centre may be any that is near the mean of x: it
// keeps y small, and no digits are lost where both distributions are close. Exponents are in units
// of log 2, and so are centres.
#pragma once

#include "side.cuh"

namespace distill {

// Student exponentials so far above the teacher's (2^20) come from rows, or parts of rows, that are
// far apart; what they add is had from the plain sums.
constexpr double APART = 20.0;
constexpr double LIFT_MOST = 100.0;

// What some scores add.
template <class Number> struct Some {
  Number p = 0, q = 0, gap = 0, forward = 0, reverse = 0, q_gap = 0;
};

struct Divergence {
  // Over the classes that neither side masks: exponentials from each side's reference; those of the
  // teacher times x, and those of the student times their own x, in nats.
  double p = 0.0, q = 0.0, gap = 0.0, q_gap = 0.0;
  double forward = 0.0, reverse = 0.0;
  double p_alone = 0.0, q_alone = 0.0;  // over the classes that the other side masks
  double centre = 0.0, q_centre = 0.0;  // the student's exponentials may lie around another one
  bool centred = false, q_centred = false;
  Real unit = 0;  // 1 / T
  // What the sums over scores take: the centres, from the references where those are taken off
  // first, and what the student's exponentials are multiplied by to be q.
  Real from = 0, q_from = 0, lift = 1;

  DISTILL_INLINE void heat(double temperature) {
    unit = static_cast<Real>(LOG2_E / temperature);
  }

  DISTILL_INLINE static double factor(Real from, Real to, Real unit) {
    if (from == to) return 1.0;
    return power((static_cast<double>(from) - static_cast<double>(to)) * static_cast<double>(unit));
  }

  // A centre as it is seen from the references, without what rounding their difference would lose.
  DISTILL_INLINE double apart(double at, Real t, Real s) const {
    double high, low;
    difference(static_cast<double>(t), static_cast<double>(s), high, low);
    const double scale = unit;
    return multiply_add(-low, scale, multiply_add(-high, scale, at));
  }

  // The nearest centre that the type of the arithmetic has.
  DISTILL_INLINE double rounded(double at, Real t, Real s) const {
    if constexpr (!SHORT) return static_cast<double>(static_cast<Real>(at));
    const double seen = apart(at, t, s);
    return is_number(seen) ? at + (static_cast<double>(static_cast<Real>(seen)) - seen) : at;
  }

  template <class Number>
  DISTILL_INLINE Number x_of(Number t, Number s, Number up_t, Number up_s, Number around) const {
    const Number scale = static_cast<Number>(unit);
    if constexpr (SHORT) return multiply_add(up_t - up_s, scale, -around);
    Number high, low;
    difference(t, s, high, low);
    return multiply_add(low, scale, multiply_add(high, scale, -around));
  }

  // Finite scores of both sides, given with the references. `each` gets both sides' exponentials.
  template <int COUNT, class Number, class Each>
  DISTILL_INLINE Some<Number> look(
      const Number (&t)[COUNT], const Number (&s)[COUNT], Real at_t, Real at_s, Each each) const {
    const Number scale = static_cast<Number>(unit), raise = static_cast<Number>(lift);
    Some<Number> some;
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
      const Number up_t = t[j] - static_cast<Number>(at_t), up_s = s[j] - static_cast<Number>(at_s);
      const Number e = power(up_t * scale), f = power(up_s * scale);
      const Number x = x_of(t[j], s[j], up_t, up_s, static_cast<Number>(from));
      const Number weighed = e * x, square = weighed * x;
      const Number grown = multiply_add(f, raise, -e);  // q - e
      const bool is_near = magnitude(x) < static_cast<Number>(NEAR);
      const Number far = multiply_add(weighed, static_cast<Number>(LN_2), grown);
      some.p += e, some.q += f, some.gap += weighed;
      if (is_near) some.forward = multiply_add(square, forward_series(x), some.forward);
      else some.forward += far;
      if constexpr (DISTILL_REVERSE) {
        const Number back = multiply_add(-raise * f, x * static_cast<Number>(LN_2), -grown);
        if (is_near) some.reverse = multiply_add(square, reverse_series(x), some.reverse);
        else some.reverse += back;
        const Number own = x_of(t[j], s[j], up_t, up_s, static_cast<Number>(q_from));
        some.q_gap = multiply_add(f, own, some.q_gap);
      }
      each(up_t, up_s, e, f);
    }
    return some;
  }

  template <class Number> DISTILL_INLINE void add(const Some<Number>& some) {
    p += some.p, q += some.q, forward += some.forward;
    gap = multiply_add(static_cast<double>(some.gap), LN_2, gap);
    if constexpr (DISTILL_REVERSE) {
      reverse += some.reverse;
      q_gap = multiply_add(static_cast<double>(some.q_gap), LN_2, q_gap);
    }
  }

  // The same sums from other references and around other centres.
  DISTILL_INLINE void move(
      Real from_t, Real from_s, Real to_t, Real to_s, double to_centre, double to_q_centre) {
    to_centre = rounded(to_centre, to_t, to_s);
    if constexpr (DISTILL_REVERSE) to_q_centre = rounded(to_q_centre, to_t, to_s);
    const double fp = factor(from_t, to_t, unit), fq = factor(from_s, to_s, unit);
    const double seen = apart(to_centre, to_t, to_s);
    if (p > 0.0 || q > 0.0) {
      const double q_around = q_gap + (q_centre - to_centre) * LN_2 * q;
      if constexpr (DISTILL_REVERSE) q_gap = fq * (q_gap + (q_centre - to_q_centre) * LN_2 * q);
      const double step = to_centre - centre;
      if (apart(centre, from_t, from_s) <= APART && magnitude(step) < NEAR)
        slide(step, fp);
      else
        start_anew(step * LN_2, fp, fq * power(smaller(seen, 1000.0)), q_around);
    }
    p *= fp, q *= fq, p_alone *= fp, q_alone *= fq;
    centre = to_centre;
    from = static_cast<Real>(SHORT ? seen : centre);
    if constexpr (DISTILL_REVERSE) {
      q_centre = to_q_centre;
      q_from = static_cast<Real>(SHORT ? apart(q_centre, to_t, to_s) : q_centre);
    }
    lift = static_cast<Real>(power(smaller(seen, LIFT_MOST)));
  }

  DISTILL_INLINE void slide(double step, double fp) {
    const double nats = step * LN_2, grown = exp(nats), excess = forward - gap;
    const double up = step * step * forward_series(-step), down = step * step * forward_series(step);
    reverse = fp * grown * (reverse + down * p + nats * excess);
    forward = fp * (forward + expm1(nats) * excess + up * p);
    gap = fp * (gap - nats * p);
  }

  DISTILL_INLINE void start_anew(double nats, double fp, double raise, double q_around) {
    gap = fp * (gap - nats * p);
    forward = gap + raise * q - fp * p;
    reverse = fp * p - raise * (q + q_around);
  }

  // KL(p || q), of which no class has mass in p alone.
  DISTILL_INLINE double forward_value(Real t, Real s) const {
    const double seen = apart(centre, t, s);
    if (seen > APART)
      return larger(gap / p + seen * LN_2 + log(q + q_alone) - log(p), 0.0);
    const double beyond = power(seen) * q_alone, excess = (forward - gap + beyond) / p;
    const double value = excess < 0.5 ? (forward + beyond) / p - (excess - log1p(excess))
                                      : gap / p + log1p(excess);
    return larger(value, 0.0);
  }

  // KL(q || p), of which no class has mass in q alone.
  DISTILL_INLINE double reverse_value(Real t, Real s) const {
    if (apart(centre, t, s) > APART) {
      const double seen = apart(q_centre, t, s) * LN_2;
      return larger(log(p + p_alone) - log(q) - q_gap / q - seen, 0.0);
    }
    const double excess = forward - gap, grown = p + excess;
    const double rest = (p_alone - excess) / grown;
    const double log_all = rest < -0.5 ? log((p + p_alone) / grown) : log1p(rest);
    return larger((reverse + p_alone) / grown - (rest - log_all), 0.0);
  }
};

}  // namespace distill
