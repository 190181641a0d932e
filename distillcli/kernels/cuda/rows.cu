// Statistics of rows of class scores, as `distillcli.kernels` asks for them: every score is read
// once from the memory of the device, in the type in which it is stored.
//
// A team of threads takes a row. Which of them takes which class depends on the number of classes
// and on the types alone, so a row has the same bits in every batch, grid and stream.
//
// The host defines what the kernels are made for: DISTILL_TEACHER and DISTILL_STUDENT (Float16,
// BFloat16, Float32, Float64), DISTILL_REAL (float, double), DISTILL_LANES, and what is wanted.

#include "row.cuh"
#include "team.cuh"

namespace distill {

using Real = DISTILL_REAL;
using Lanes = Team<DISTILL_LANES>;

constexpr int STEP = 8;  // classes that a thread takes at a time
constexpr int SMALLEST = DISTILL_TEACHER::size < DISTILL_STUDENT::size ? DISTILL_TEACHER::size
                                                                    : DISTILL_STUDENT::size;
constexpr int WIDTH = SMALLEST == 2 ? 8 : 4;
constexpr int PARTS = STEP / WIDTH;
constexpr Long STRIDE = static_cast<Long>(WIDTH) * DISTILL_LANES;  // from part to part

// The columns that the host finds, one after the other, [rows] each.
enum Column {
  TEACHER_MAX, TEACHER_TOP, TEACHER_TOTAL, TEACHER_ENTROPY, TEACHER_FINITE, TEACHER_TEMPERED,
  STUDENT_MAX, STUDENT_TOP, STUDENT_TOTAL, STUDENT_ENTROPY, STUDENT_FINITE, STUDENT_TEMPERED,
  FORWARD, REVERSE, SQUARES, COSINE, ABOVE
};

// The class of a thread's j-th score in its n-th step.
DISTILL_INLINE Long class_of(Long step, int j) {
  return (step * PARTS + j / WIDTH) * STRIDE + Lanes::lane() * WIDTH + j % WIDTH;
}

template <class Stored> DISTILL_INLINE void take(
    const char* row, Long step, Long classes, Real (&scores)[STEP]) {
#pragma unroll
  for (int part = 0; part < PARTS; ++part)
    elements<Stored, Real, WIDTH>(
        row, class_of(step, part * WIDTH), classes, scores + part * WIDTH);
}

DISTILL_INLINE void write(double* out, Long rows, Long row, int column, double value) {
  out[static_cast<Long>(column) * rows + row] = value;
}

// What the threads found of one side, before sums are added up: the highest score with its class,
// and one reference for all.
struct Found {
  double highest, reference, not_a_number, masked;
};

DISTILL_INLINE void settle(Side<Real>& side, const Found& found, double top) {
  side.highest = static_cast<Real>(found.highest);
  side.top = static_cast<Long>(-top);
  side.not_a_number = found.not_a_number > 0.0;
  side.masked = found.masked > 0.0;
}

DISTILL_INLINE double top_if(const Side<Real>& side, double highest) {
  const bool mine = static_cast<double>(side.highest) == highest;
  return mine ? -static_cast<double>(side.top) : -infinity<double>();
}

DISTILL_INLINE void write_side(
    const Side<Real>& side, double* out, Long rows, Long row, int first) {
  const double highest = side.not_a_number ? not_a_number() : static_cast<double>(side.highest);
  write(out, rows, row, first + TEACHER_MAX, highest);
  write(out, rows, row, first + TEACHER_TOP, static_cast<double>(side.top));
  const bool finite = !side.masked && highest - highest == 0.0;
  write(out, rows, row, first + TEACHER_FINITE, finite ? 1.0 : 0.0);
  if constexpr (DISTILL_ONES) {
    write(out, rows, row, first + TEACHER_TOTAL, total_of(side));
    write(out, rows, row, first + TEACHER_ENTROPY, entropy_of(side));
  }
}

// A thread's part of one row of one side.
DISTILL_INLINE void add_alone(Side<Real>& side, const char* row, Long classes) {
  const auto refer = [&side](Real score) {
    if (score - side.reference > static_cast<Real>(SPAN)) {
      side.move_ones(score);
      side.reference = score;
    }
  };
  for (Long step = 0; class_of(step, 0) < classes; ++step) {
    Real scores[STEP];
    take<DISTILL_TEACHER>(row, step, classes, scores);
    if (flaw(scores) == 0) {
      refer(look(side, scores, [step](int j) { return class_of(step, j); }));
      if constexpr (DISTILL_ONES) add_ones(side, scores);
      continue;
    }
    for (int j = 0; j < STEP; ++j) {
      if (class_of(step, j) >= classes || !look_at(side, scores[j], class_of(step, j))) continue;
      refer(scores[j]);
      if constexpr (DISTILL_ONES) add_one_by_one(side, scores[j]);
    }
  }
}

DISTILL_INLINE void add_pair(
    Row<Real>& row, const char* teacher, const char* student, Long classes, Temperature at) {
  for (Long step = 0; class_of(step, 0) < classes; ++step) {
    Real t[STEP], s[STEP];
    take<DISTILL_TEACHER>(teacher, step, classes, t);
    take<DISTILL_STUDENT>(student, step, classes, s);
    if (flaw(t) == 0 && flaw(s) == 0) {
      add(row, t, s, [step](int j) { return class_of(step, j); }, at);
      continue;
    }
    for (int j = 0; j < STEP; ++j) {
      const Long index = class_of(step, j);
      if (index < classes) add_any(row, t[j], s[j], index, at);
    }
  }
}

// From here on every thread of a team has the references, highest scores and top classes of the
// row, and its own part of the sums.
DISTILL_INLINE void agree(Side<Real>& side) {
  double found[4] = {side.highest, side.reference, side.not_a_number ? 1.0 : 0.0,
                     side.masked ? 1.0 : 0.0};
  Lanes::reduce(found, Largest());
  double top[1] = {top_if(side, found[0])};
  Lanes::reduce(top, Largest());
  settle(side, {found[0], found[1], found[2], found[3]}, top[0]);
  side.move_ones(static_cast<Real>(found[1]));
  side.reference = static_cast<Real>(found[1]);
}

DISTILL_INLINE void agree(Row<Real>& row, Temperature at) {
  const Side<Real>&t = row.teacher, &s = row.student;
  double found[10] = {t.highest, t.reference, t.not_a_number ? 1.0 : 0.0, t.masked ? 1.0 : 0.0,
                      s.highest, s.reference, s.not_a_number ? 1.0 : 0.0, s.masked ? 1.0 : 0.0,
                      row.both.p_is_alone ? 1.0 : 0.0, row.both.q_is_alone ? 1.0 : 0.0};
  Lanes::reduce(found, Largest());
  double tops[2] = {top_if(t, found[0]), top_if(s, found[4])};
  Lanes::reduce(tops, Largest());
  settle(row.teacher, {found[0], found[1], found[2], found[3]}, tops[0]);
  settle(row.student, {found[4], found[5], found[6], found[7]}, tops[1]);
  row.both.p_is_alone = found[8] > 0.0, row.both.q_is_alone = found[9] > 0.0;
  row.move(static_cast<Real>(found[1]), static_cast<Real>(found[5]), row.both.centre, at);
  if constexpr (DIVERGENT) {
    const Together<Real>& both = row.both;
    double means[4] = {both.p, both.p * both.centre + at.value * both.p_gap,
                       both.q, both.q * both.q_centre + at.value * both.q_gap};
    Lanes::reduce(means, Add());
    const double centre = means[0] > 0.0 ? means[1] / means[0] : 0.0;
    row.move(row.teacher.reference, row.student.reference, centre, at);
    row.both.move_student(means[2] > 0.0 ? means[3] / means[2] : 0.0, at);
  }
}

DISTILL_INLINE void add_up(Row<Real>& row, double& above) {
  Together<Real>& both = row.both;
  double sums[17] = {row.teacher.total, row.teacher.weighted, row.student.total,
                     row.student.weighted, both.p, both.q, both.p_alone, both.q_alone, both.p_gap,
                     both.q_gap, both.forward, both.reverse, both.squares, both.teacher_squares,
                     both.student_squares, both.products, above};
  Lanes::reduce(sums, Add());
  row.teacher.total = sums[0], row.teacher.weighted = sums[1];
  row.student.total = sums[2], row.student.weighted = sums[3];
  both.p = sums[4], both.q = sums[5], both.p_alone = sums[6], both.q_alone = sums[7];
  both.p_gap = sums[8], both.q_gap = sums[9], both.forward = sums[10], both.reverse = sums[11];
  both.squares = sums[12], both.teacher_squares = sums[13], both.student_squares = sums[14];
  both.products = sums[15], above = sums[16];
}

// How many of this thread's highest five are above the student's score of a class. Five or more in
// a row are as good as five, so nothing is lost by looking at no others.
DISTILL_INLINE double count_above(const Side<Real>& student, const char* scores, Long index) {
  const Real chosen = element<DISTILL_STUDENT, Real>(scores, index);
  int count = 0;
  for (int i = 0; i < RANKS; ++i) count += student.ranks[i] > chosen;
  return count;
}

DISTILL_INLINE void write_pair(
    const Row<Real>& row, Temperature at, Long classes, double above, double* out, Long rows,
    Long index) {
  write_side(row.teacher, out, rows, index, TEACHER_MAX);
  write_side(row.student, out, rows, index, STUDENT_MAX);
  const Together<Real>& both = row.both;
  if constexpr (DIVERGENT) {
    const Side<Real>&t = row.teacher, &s = row.student;
    const double p = Together<Real>::factor(t.reference, t.highest, at);
    const double q = Together<Real>::factor(s.reference, s.highest, at);
    write(out, rows, index, TEACHER_TEMPERED, p * (both.p + both.p_alone));
    write(out, rows, index, STUDENT_TEMPERED, q * (both.q + both.q_alone));
  }
  if constexpr (DISTILL_FORWARD) write(out, rows, index, FORWARD, forward_of(row, at));
  if constexpr (DISTILL_REVERSE) write(out, rows, index, REVERSE, reverse_of(row, at));
  if constexpr (DISTILL_SQUARES)
    write(out, rows, index, SQUARES, both.squares / static_cast<double>(classes));
  if constexpr (DISTILL_COSINE) write(out, rows, index, COSINE, cosine_of(both));
  if constexpr (DISTILL_ABOVE) write(out, rows, index, ABOVE, above);
}

}  // namespace distill

// Scores of one side, [rows, classes].
extern "C" __global__ void __launch_bounds__(distill::BLOCK, 2)
alone(const char* scores, distill::Long rows, distill::Long classes, double* out) {
  using namespace distill;
  const Long width = classes * DISTILL_TEACHER::size;
  const Long teams = static_cast<Long>(gridDim.x) * Lanes::COUNT;
  for (Long first = static_cast<Long>(blockIdx.x) * Lanes::COUNT; first < rows; first += teams) {
    const Long index = first + Lanes::index();
    Side<Real> side;
    if (index < rows) add_alone(side, scores + index * width, classes);
    agree(side);
    double sums[2] = {side.total, side.weighted};
    Lanes::reduce(sums, Add());
    side.total = sums[0], side.weighted = sums[1];
    if (index < rows && Lanes::lane() == 0) write_side(side, out, rows, index, TEACHER_MAX);
  }
}

// Both sides, [rows, classes] each. `against`: the class of each row that those above are counted
// for, [rows]; the teacher's top class where it is null.
extern "C" __global__ void __launch_bounds__(distill::BLOCK, 2)
pair(const char* teacher, const char* student, distill::Long rows, distill::Long classes,
     double temperature, const distill::Long* against, double* out) {
  using namespace distill;
  const Temperature at(temperature);
  const Long teams = static_cast<Long>(gridDim.x) * Lanes::COUNT;
  for (Long first = static_cast<Long>(blockIdx.x) * Lanes::COUNT; first < rows; first += teams) {
    const Long index = first + Lanes::index();
    const char* t = teacher + index * classes * DISTILL_TEACHER::size;
    const char* s = student + index * classes * DISTILL_STUDENT::size;
    Row<Real> row;
    if (index < rows) add_pair(row, t, s, classes, at);
    agree(row, at);
    double above = 0.0;
    if constexpr (DISTILL_ABOVE) {
      if (index < rows) above = count_above(row.student, s, against ? against[index] : row.teacher.top);
    }
    add_up(row, above);
    if (index < rows && Lanes::lane() == 0)
      write_pair(row, at, classes, above, out, rows, index);
  }
}
