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

// The floats of one run: added to `sums`, unless one is not finite or is huge; then it returns false,
// and nothing is added.
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

struct RunOut {
  bool zero = true;   // all of them are
  double square = 0;  // the sum of their squares, where norms are wanted
};

struct RunKernels {
  const char* name;
  bool (*add)(const Floats& run, RunSums& sums, RunOut& out);
  bool (*add_with_norm)(const Floats& run, RunSums& sums, RunOut& out);
};

// Every set that this processor can run, the fastest first, ended by a null pointer.
const RunKernels* const* all_run_kernels();

}  // namespace monolith
