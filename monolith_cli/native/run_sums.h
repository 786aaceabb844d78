// What the statistics add up of the floats of one run in a message. There are kernels for what the
// processor can do; all give the same results, to the last bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>

#include "wire.h"

namespace monolith {

// Above this a finite float counts as huge.
constexpr float kHuge = 1e30f;
constexpr uint32_t kHugeBits = 0x7149f2ca;  // of kHuge
constexpr uint32_t kInfinityBits = 0x7f800000;

// A float's bits without its sign: those of larger numbers are larger, of NaN above those of infinity.
inline uint32_t size_bits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits & 0x7fffffff;
}

struct RunSums {
  double shift = 0;  // what is taken off before anything is added
  double sum[4] = {};
  double square[4] = {};
  float min[8];
  float max[8];

  RunSums() {
    std::fill(std::begin(min), std::end(min), std::numeric_limits<float>::infinity());
    std::fill(std::begin(max), std::end(max), -std::numeric_limits<float>::infinity());
  }
};

struct RunFound {
  enum What : uint32_t { zeros, values, odd };
  What what;      // odd: one of them is not finite or is huge, and nothing was added
  double square;  // the sum of their squares, where norms are wanted
};

struct RunKernels {
  const char* name;
  // Adds so many floats. By how(): packed or with tags between, without norms or with.
  RunFound (*add[4])(const uint8_t* p, size_t count, RunSums& sums);

  static uint32_t how(bool is_packed, bool with_norm) { return is_packed + 2 * with_norm; }
  static size_t stride(uint32_t how) { return how % 2 == 0 ? 5 : 4; }
};

// Every set that this processor can run, the fastest first, ended by a null pointer.
const RunKernels* const* all_run_kernels();

}  // namespace monolith
