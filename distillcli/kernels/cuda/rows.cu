// Statistics of rows of class scores, as `distillcli.kernels` asks for them: every score is read
// once from the memory of the device, in the type in which it is stored, whatever the temperatures;
// and a second time where the overlap is asked for, which needs the sums of the whole row.
//
// A team of threads takes a row. Which of them takes which class depends on the number of classes
// and on the types alone, so a row has the same bits in every batch, grid and stream.
//
// The host defines what the kernels are made for: DISTILL_TEACHER and DISTILL_STUDENT (Float16,
// BFloat16, Float32, Float64), DISTILL_REAL (float, double), DISTILL_LANES, and what is wanted.

#include "row.cuh"
#include "stream.cuh"

namespace distill {

using Teacher = Stream<DISTILL_TEACHER>;
using Student = Stream<DISTILL_STUDENT>;

// The columns that the host finds, one after the other, [rows] each; those of temperatures come
// last, four for each of them.
enum Column {
  TEACHER_MAX, TEACHER_TOP, TEACHER_TOTAL, TEACHER_ENTROPY, TEACHER_FINITE,
  STUDENT_MAX, STUDENT_TOP, STUDENT_TOTAL, STUDENT_ENTROPY, STUDENT_FINITE,
  SQUARES, COSINE, ABOVE, OVERLAP, TEACHER_TEMPERED, STUDENT_TEMPERED, FORWARD, REVERSE
};
[[maybe_unused]] constexpr int AT_A_TEMPERATURE = 4;
[[maybe_unused]] constexpr int MOST_ABOVE = 5;

struct Output {
  double* columns;
  Long rows, row;
  DISTILL_INLINE void write(int column, double value) const {
    columns[static_cast<Long>(column) * rows + row] = value;
  }
};

DISTILL_INLINE void write_side(const Side& side, const Output& out, int first) {
  const double highest = side.flags & Side::NOT_A_NUMBER ? not_a_number() : static_cast<double>(side.highest);
  out.write(first + TEACHER_MAX, highest);
  out.write(first + TEACHER_TOP, static_cast<double>(side.top == NOWHERE ? 0 : side.top));
  const bool finite = !(side.flags & Side::MASKED) && is_number(highest);
  out.write(first + TEACHER_FINITE, finite ? 1.0 : 0.0);
  if constexpr (DISTILL_ONES) {
    out.write(first + TEACHER_TOTAL, side.total_from_highest());
    out.write(first + TEACHER_ENTROPY, side.entropy());
  }
}

DISTILL_INLINE void write_pair(const Row& row, int classes, const Output& out) {
  write_side(row.teacher, out, TEACHER_MAX);
  write_side(row.student, out, STUDENT_MAX);
  if constexpr (DISTILL_SQUARES) out.write(SQUARES, row.distances.squares / classes);
  if constexpr (DISTILL_COSINE) out.write(COSINE, row.distances.cosine());
#pragma unroll
  for (int k = 0; k < TEMPERATURES; ++k) {
    const Divergence& d = row.at[k];
    const int more = k * AT_A_TEMPERATURE;
    const Real t = row.teacher.reference, s = row.student.reference;
    const double p = Divergence::factor(t, row.teacher.highest, d.unit);
    const double q = Divergence::factor(s, row.student.highest, d.unit);
    out.write(more + TEACHER_TEMPERED, p * (d.p + d.p_alone));
    out.write(more + STUDENT_TEMPERED, q * (d.q + d.q_alone));
    if constexpr (DISTILL_FORWARD)
      out.write(more + FORWARD, row.teacher.flags & Side::ALONE ? infinity<double>() : d.forward_value(t, s));
    if constexpr (DISTILL_REVERSE)
      out.write(more + REVERSE, row.student.flags & Side::ALONE ? infinity<double>() : d.reverse_value(t, s));
  }
}

// When a group looks whether its centres are right, beside when references move: at steps 0, 1, 4,
// 16, ...
DISTILL_INLINE int next_look(int step) { return step ? 4 * step : 1; }

// A group's part of a row of one side.
DISTILL_INLINE void sweep(Side& side, const Teacher& row) {
  Teacher scores = row;
  scores.fetch();
  const int steps = steps_of(row.classes);
  for (int step = 0; step < steps; ++step) {
    Real some[STEP];
    const Real highest = scores.is_plain() ? scores.take_plain(some) : scores.take(some);
    scores.fetch();
    side.look(highest, step);
    if (__any_sync(EVERYONE, highest > side.reference + static_cast<Real>(SPAN))) {
      double found[1] = {highest};
      reduce<Lanes::GROUP>(found, Largest());
      const Real to = static_cast<Real>(found[0]);
      if (to > side.reference + static_cast<Real>(SPAN)) side.refer(to);
    }
    Ones<Real> ones;
    Real flaw = 0;
#pragma unroll
    for (int j = 0; j < STEP; ++j) {
      if constexpr (DISTILL_ONES) ones.add(some[j] - side.reference);
      else flaw = multiply_add(some[j], static_cast<Real>(0), flaw);
    }
    if (is_number(ones.weighted + flaw)) {
      ones.leave(side);
      continue;
    }
#pragma unroll 1
    for (int j = 0; j < STEP; ++j) {
      const int index = class_of(step, j);
      if (index >= row.classes) continue;
      const Real score = element<DISTILL_TEACHER, Real>(row.row, index);
      if (!side.notice(score) || !DISTILL_ONES) continue;
      Ones<double> one;
      one.add(static_cast<double>(score) - static_cast<double>(side.reference));
      one.leave(side);
    }
  }
}

DISTILL_INLINE void add_one_by_one(
    Row& row, const Teacher& teacher, const Student& student, int step) {
#pragma unroll 1
  for (int j = 0; j < STEP; ++j) {
    const int index = class_of(step, j);
    if (index < teacher.classes)
      row.add_any(element<DISTILL_TEACHER, Real>(teacher.row, index),
                  element<DISTILL_STUDENT, Real>(student.row, index));
  }
}

DISTILL_INLINE void add_distances(
    Row& row, const Real (&t)[STEP], const Real (&s)[STEP], int step, int classes) {
#pragma unroll
  for (int part = 0; part < PARTS; ++part)
    if (class_of(step, part * WIDTH) < classes)
#pragma unroll
      for (int j = part * WIDTH; j < (part + 1) * WIDTH; ++j) row.distances.add(t[j], s[j]);
}

// A group's part of a row of both sides.
DISTILL_INLINE void sweep(Row& row, const Teacher& teacher, const Student& student) {
  Teacher of_t = teacher;
  Student of_s = student;
  of_t.fetch(), of_s.fetch();
  const int steps = steps_of(teacher.classes);
  int look = 0;
  for (int step = 0; step < steps; ++step) {
    Real t[STEP], s[STEP];
    Real highest_t, highest_s;
    if (of_t.is_plain() && of_s.is_plain())
      highest_t = of_t.take_plain(t), highest_s = of_s.take_plain(s);
    else
      highest_t = of_t.take(t), highest_s = of_s.take(s);
    of_t.fetch(), of_s.fetch();
    row.teacher.look(highest_t, step), row.student.look(highest_s, step);
    const bool due = step == look;
    if (__any_sync(EVERYONE, due || row.is_left_behind(highest_t, highest_s)))
      row.settle<Lanes::GROUP>(t, s, highest_t, highest_s, due);
    if (due) look = next_look(step);
    const Found<Real> found = row.look(t, s);
    if (found.is_good()) {
      row.add(found);
      if constexpr (DISTANT) add_distances(row, t, s, step, teacher.classes);
    } else {
      add_one_by_one(row, teacher, student, step);
    }
  }
}

// The class of the highest score, looked up by the threads that have it.
template <class Stored> DISTILL_INLINE void find_top(Side& side, const Stream<Stored>& row) {
  double highest[1] = {side.highest};
  reduce<Lanes::GROUP>(highest, Largest());
  if (static_cast<double>(side.highest) == highest[0])
    side.top = row.class_with(side.highest, side.step);
}

// What each group found of a row that several share. There are two places, because one group may be
// at the next row while another puts this one together.
constexpr int MOST_NUMBERS = 20 + 10 * 4;
using Parts = double[Lanes::GROUPS][MOST_NUMBERS];

template <class Part> DISTILL_INLINE void leave(Part& part, double (&numbers)[MOST_NUMBERS]) {
  if (!Lanes::leads()) return;
  int n = 0;
  part.each([&numbers, &n](auto& value) { numbers[n++] = static_cast<double>(value); });
}

template <class T> DISTILL_INLINE void set(T& to, double value) { to = static_cast<T>(value); }

template <class Part> DISTILL_INLINE void fetch(Part& part, const double (&numbers)[MOST_NUMBERS]) {
  int n = 0;
  part.each([&numbers, &n](auto& value) { set(value, numbers[n++]); });
}

// The teacher's top class, from what each group found.
DISTILL_INLINE int top_of(const Parts& parts) {
  double highest = parts[0][0], top = parts[0][1];
#pragma unroll
  for (int i = 1; i < Lanes::GROUPS; ++i) {
    const double other = parts[i][0], its_top = parts[i][1];
    if (other > highest || (other == highest && its_top < top)) highest = other, top = its_top;
  }
  return static_cast<int>(top);
}

// How many of the student's scores are above that of a class; from five on any number.
DISTILL_INLINE double count_above(const Side& mine, const Student& student, int index) {
  const int there = index < student.classes ? index : 0;  // a row without numbers has no top
  const Real chosen = element<DISTILL_STUDENT, Real>(student.row, there);
  const double least = Lanes::sum(
      (mine.highest > chosen ? 1.0 : 0.0) + (mine.second > chosen ? 1.0 : 0.0));
  const bool is_open = least > 0.0 && least < MOST_ABOVE;
  if (Lanes::GROUPS > 1 && !is_open) return least;
  int count = 0;
  if (is_open && mine.second > chosen) {
    const int steps = steps_of(student.classes);
    for (int step = 0; step < steps; ++step) count += student.count_above(chosen, step);
  } else if (is_open && mine.highest > chosen) {
    count = student.count_above(chosen, mine.step);
  }
  const double exact = Lanes::sum(count);
  return is_open ? exact : least;
}

// The sum of min(p, q) at temperature 1, from the end of the row, which is still in the cache.
DISTILL_INLINE double overlap(
    const Side& of_t, const Side& of_s, const Teacher& teacher, const Student& student) {
  const Real share_t = static_cast<Real>(1.0 / of_t.total);
  const Real share_s = static_cast<Real>(1.0 / of_s.total);
  Teacher from_t = teacher;
  Student from_s = student;
  double whole = 0.0;
  const int steps = steps_of(teacher.classes);
  from_t.skip(steps - 1), from_s.skip(steps - 1);
  for (int step = 0; step < steps; ++step) {
    Real t[STEP], s[STEP], sum = 0;
    from_t.fetch(), from_s.fetch();
    from_t.take(t, -infinity<Real>()), from_s.take(s, -infinity<Real>());
    from_t.skip(-2), from_s.skip(-2);
#pragma unroll
    for (int j = 0; j < STEP; ++j) {
      const Real p = power((t[j] - of_t.reference) * static_cast<Real>(LOG2_E)) * share_t;
      const Real q = power((s[j] - of_s.reference) * static_cast<Real>(LOG2_E)) * share_s;
      sum += smaller(p, q);
    }
    whole += sum;
  }
  return Lanes::sum(whole);
}

}  // namespace distill

// Scores of one side, [rows, classes].
extern "C" __global__ void __launch_bounds__(distill::BLOCK, distill::RESIDENT)
alone(const char* scores, distill::Long rows, distill::Long classes, double* out) {
  using namespace distill;
  __shared__ Parts parts[2];
  const Long teams = static_cast<Long>(gridDim.x) * Lanes::COUNT;
  int turn = 0;
  for (Long first = static_cast<Long>(blockIdx.x) * Lanes::COUNT; first < rows; first += teams) {
    const Long index = first + Lanes::index(), row = index < rows ? index : rows - 1;
    const Teacher stream(scores + row * classes * DISTILL_TEACHER::size, static_cast<int>(classes));
    Side side;
    sweep(side, stream);
    find_top(side, stream);
    merge_tops<Lanes::GROUP>(side), merge_sums<Lanes::GROUP>(side);
    if constexpr (Lanes::GROUPS > 1) {
      leave(side, parts[turn % 2][Lanes::group()]);
      __syncthreads();
      const bool is_mine = turn % Lanes::GROUPS == Lanes::group();
      const Parts& found = parts[turn++ % 2];
      if (!is_mine) continue;
      fetch(side, found[Lanes::lane() % Lanes::GROUPS]);
      double reference[1] = {side.reference};
      reduce<Lanes::GROUPS>(reference, Largest());
      side.refer(static_cast<Real>(reference[0]));
      merge_tops<Lanes::GROUPS>(side), merge_sums<Lanes::GROUPS>(side);
    }
    if (index < rows && Lanes::leads()) write_side(side, {out, rows, index}, TEACHER_MAX);
  }
}

// Both sides, [rows, classes] each, at up to four temperatures. `against`: the class of each row that
// those above are counted for, [rows]; the teacher's top class where it is null.
extern "C" __global__ void __launch_bounds__(distill::BLOCK, distill::RESIDENT)
pair(const char* teacher, const char* student, distill::Long rows, distill::Long classes,
     double temperature_0, double temperature_1, double temperature_2, double temperature_3,
     const distill::Long* against, double* out) {
  using namespace distill;
  __shared__ Parts parts[2];
  __shared__ double whole[4];
  const double temperatures[4] = {temperature_0, temperature_1, temperature_2, temperature_3};
  const Long teams = static_cast<Long>(gridDim.x) * Lanes::COUNT;
  int turn = 0;
  for (Long first = static_cast<Long>(blockIdx.x) * Lanes::COUNT; first < rows; first += teams) {
    const Long index = first + Lanes::index(), at = index < rows ? index : rows - 1;
    const Teacher of_t(teacher + at * classes * DISTILL_TEACHER::size, static_cast<int>(classes));
    const Student of_s(student + at * classes * DISTILL_STUDENT::size, static_cast<int>(classes));
    const Output output{out, rows, index};
    Row row(temperatures);
    sweep(row, of_t, of_s);
    find_top(row.teacher, of_t), find_top(row.student, of_s);
    [[maybe_unused]] const Side mine = row.student;
    row.merge<Lanes::GROUP>();
    const int by = turn % Lanes::GROUPS;
    const Parts& found = parts[turn++ % 2];
    if constexpr (Lanes::GROUPS > 1) {
      leave(row, parts[(turn + 1) % 2][Lanes::group()]);
      __syncthreads();
    }
    const bool writes = index < rows && Lanes::group() == by && Lanes::leads();
    if constexpr (DISTILL_ABOVE) {
      const int top = Lanes::GROUPS > 1 ? top_of(found) : row.teacher.top;
      const int chosen = against ? static_cast<int>(against[at]) : top;
      const double above = count_above(mine, of_s, chosen);
      if (writes) output.write(ABOVE, above);
    }
    if (Lanes::group() == by) {
      if constexpr (Lanes::GROUPS > 1) {
        fetch(row, found[Lanes::lane() % Lanes::GROUPS]);
        row.agree<Lanes::GROUPS>();
        row.merge<Lanes::GROUPS>();
      }
      if (writes) write_pair(row, of_t.classes, output);
    }
    if constexpr (DISTILL_OVERLAP) {
      if constexpr (Lanes::GROUPS > 1) {
        if (Lanes::group() == by && Lanes::leads()) {
          whole[0] = row.teacher.reference, whole[1] = row.teacher.total;
          whole[2] = row.student.reference, whole[3] = row.student.total;
        }
        __syncthreads();
        row.teacher.reference = static_cast<Real>(whole[0]), row.teacher.total = whole[1];
        row.student.reference = static_cast<Real>(whole[2]), row.student.total = whole[3];
      }
      const double shared = overlap(row.teacher, row.student, of_t, of_s);
      if (writes) output.write(OVERLAP, shared);
    }
  }
}
