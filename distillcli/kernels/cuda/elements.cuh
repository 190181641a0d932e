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

// How many bytes an address lies beyond one that 16 bytes can be loaded from.
DISTILL_INLINE int misplaced(const char* address) {
  return static_cast<int>(reinterpret_cast<unsigned long long>(address) % 16);
}

DISTILL_INLINE Quad load(const Quad* from) {
#ifdef __CUDACC__
  const uint4 q = __ldg(reinterpret_cast<const uint4*>(from));
  return {q.x, q.y, q.z, q.w};
#else
  return *from;
#endif
}

template <int COUNT> DISTILL_INLINE void load_quads(const char* from, Quad (&quads)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) quads[i] = load(reinterpret_cast<const Quad*>(from) + i);
}

template <int COUNT>
DISTILL_INLINE void words_of(const Quad (&quads)[COUNT], Word (&words)[4 * COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) {
    words[4 * i] = quads[i].x, words[4 * i + 1] = quads[i].y;
    words[4 * i + 2] = quads[i].z, words[4 * i + 3] = quads[i].w;
  }
}

// The words that begin `shift` bytes after the quads, and end in one that comes after them. It holds
// an element that is asked for, so it is memory that may be read.
template <int COUNT>
DISTILL_INLINE void words_of(
    const Quad (&quads)[COUNT], const char* after, int shift, Word (&words)[4 * COUNT]) {
  const Quad last[1] = {load(reinterpret_cast<const Quad*>(after))};
  Word most[4 * COUNT], rest[4], wide[4 * COUNT + 4];
  words_of(quads, most), words_of(last, rest);
#pragma unroll
  for (int i = 0; i < 4 * COUNT + 4; ++i) wide[i] = i < 4 * COUNT ? most[i] : rest[i - 4 * COUNT];
  if (shift & 8) {
#pragma unroll
    for (int i = 0; i < 4 * COUNT + 2; ++i) wide[i] = wide[i + 2];
  }
  if (shift & 4) {
#pragma unroll
    for (int i = 0; i < 4 * COUNT + 1; ++i) wide[i] = wide[i + 1];
  }
  if (shift & 2) {
#pragma unroll
    for (int i = 0; i < 4 * COUNT; ++i) wide[i] = wide[i] >> 16 | wide[i + 1] << 16;
  }
#pragma unroll
  for (int i = 0; i < 4 * COUNT; ++i) words[i] = wide[i];
}

// One element of a row.
template <class Stored, class Real> DISTILL_INLINE Real element(const char* row, int index) {
  const char* from = row + static_cast<Long>(index) * Stored::size;
  Word words[2] = {0u, 0u};
  if constexpr (Stored::size == 2) {
    words[0] = *reinterpret_cast<const unsigned short*>(from);
  } else {
    words[0] = *reinterpret_cast<const Word*>(from);
    if constexpr (Stored::size == 8) words[1] = *reinterpret_cast<const Word*>(from + 4);
  }
  return static_cast<Real>(Stored::at(words, 0));
}

}  // namespace distill
