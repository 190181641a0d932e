// Stored elements, eight or four at a time with 16-byte loads, wherever in memory a row begins.
//
// Which elements a thread takes depends on their class alone and never on an address, so that a row
// has the same bits wherever it lies.
#pragma once

#include "numbers.cuh"

namespace distill {

// Element types as they are stored: how many bytes, and how words of 32 bits become numbers.
struct Float16 {
  static constexpr int size = 2;
  DISTILL_INLINE static float number(unsigned short bits) {
#ifdef __CUDACC__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const Word sign = static_cast<Word>(bits & 0x8000u) << 16, rest = bits & 0x7fffu;
    if (rest >= 0x7c00u) return from_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    const float value = from_bits(rest << 13) * from_bits(0x77800000u);  // times 2^112
    return sign ? -value : value;
#endif
  }
  DISTILL_INLINE static float at(const Word* words, int j) {
    return number(static_cast<unsigned short>(j % 2 ? words[j / 2] >> 16 : words[j / 2] & 0xffffu));
  }
};

struct BFloat16 {
  static constexpr int size = 2;
  DISTILL_INLINE static float at(const Word* words, int j) {
    return from_bits(j % 2 ? words[j / 2] & 0xffff0000u : words[j / 2] << 16);
  }
};

struct Float32 {
  static constexpr int size = 4;
  DISTILL_INLINE static float at(const Word* words, int j) { return from_bits(words[j]); }
};

struct Float64 {
  static constexpr int size = 8;
  DISTILL_INLINE static double at(const Word* words, int j) {
    return from_bits(words[2 * j], words[2 * j + 1]);
  }
};

struct alignas(16) Quad {
  Word x, y, z, w;
};

DISTILL_INLINE Quad load(const Quad* from) {
#ifdef __CUDACC__
  const uint4 q = __ldg(reinterpret_cast<const uint4*>(from));
  return {q.x, q.y, q.z, q.w};
#else
  return *from;
#endif
}

// COUNT words from an address that is aligned to the element and perhaps to nothing else. What is
// read beside them lies in the same 16 bytes as one of them.
template <int COUNT> DISTILL_INLINE void load_words(const char* from, Word (&words)[COUNT]) {
  const int shift = static_cast<int>(reinterpret_cast<unsigned long long>(from) % 16);
  const Quad* quads = reinterpret_cast<const Quad*>(from - shift);
  Word wide[COUNT + 4];
#pragma unroll
  for (int i = 0; i < COUNT / 4; ++i) {
    const Quad quad = load(quads + i);
    wide[4 * i] = quad.x, wide[4 * i + 1] = quad.y;
    wide[4 * i + 2] = quad.z, wide[4 * i + 3] = quad.w;
  }
  if (shift) {
    const Quad quad = load(quads + COUNT / 4);
    wide[COUNT] = quad.x, wide[COUNT + 1] = quad.y;
    wide[COUNT + 2] = quad.z, wide[COUNT + 3] = quad.w;
    if (shift & 8) {
#pragma unroll
      for (int i = 0; i < COUNT + 2; ++i) wide[i] = wide[i + 2];
    }
    if (shift & 4) {
#pragma unroll
      for (int i = 0; i < COUNT + 1; ++i) wide[i] = wide[i + 1];
    }
    if (shift & 2) {
#pragma unroll
      for (int i = 0; i < COUNT; ++i) wide[i] = wide[i] >> 16 | wide[i + 1] << 16;
    }
  }
#pragma unroll
  for (int i = 0; i < COUNT; ++i) words[i] = wide[i];
}

// One element of a row.
template <class Stored, class Real> DISTILL_INLINE Real element(const char* row, Long index) {
  const char* from = row + index * Stored::size;
  Word words[2] = {0u, 0u};
  if constexpr (Stored::size == 2) {
    words[0] = *reinterpret_cast<const unsigned short*>(from);
  } else {
    words[0] = *reinterpret_cast<const Word*>(from);
    if constexpr (Stored::size == 8) words[1] = *reinterpret_cast<const Word*>(from + 4);
  }
  return static_cast<Real>(Stored::at(words, 0));
}

// `WIDTH` elements of a row from `first`; -inf beyond its end.
template <class Stored, class Real, int WIDTH>
DISTILL_INLINE void elements(const char* row, Long first, Long classes, Real* values) {
  if (first + WIDTH <= classes) {
    Word words[WIDTH * Stored::size / 4];
    load_words(row + first * Stored::size, words);
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) values[j] = static_cast<Real>(Stored::at(words, j));
    return;
  }
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    const bool inside = first + j < classes;
    values[j] = inside ? element<Stored, Real>(row, first + j) : -infinity<Real>();
  }
}

}  // namespace distill
