#include "crc32c.h"

#include <algorithm>
#include <array>

#include "bytes.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

namespace monolith {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;

struct Tables {
  // t[k][b]: the state after byte b and then k zero bytes, from state 0.
  std::array<std::array<uint32_t, 256>, 8> t{};
  // head[n]: the state that 8 - n zero bytes turn into the usual start state.
  std::array<uint32_t, 9> head{};

  constexpr Tables() {
    for (uint32_t b = 0; b < 256; ++b) {
      uint32_t c = b;
      for (int i = 0; i < 8; ++i) c = (c >> 1) ^ ((c & 1) ? kPolynomial : 0);
      t[0][b] = c;
    }
    for (int k = 1; k < 8; ++k) {
      for (uint32_t b = 0; b < 256; ++b) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xff];
    }
    head[8] = 0xffffffffu;
    for (int n = 7; n > 0; --n) head[n] = before_zero_byte(head[n + 1]);
  }

  // The top byte of a table entry names its index, so a zero byte's step can be undone.
  constexpr uint32_t before_zero_byte(uint32_t after) const {
    for (uint32_t b = 0; b < 256; ++b) {
      if ((t[0][b] >> 24) == (after >> 24)) return ((after ^ t[0][b]) << 8) | b;
    }
    return 0;
  }
};

constexpr Tables kTables;
constexpr const auto& kHeadState = kTables.head;

inline uint32_t table_step8(uint32_t c, uint8_t b) {
  return (c >> 8) ^ kTables.t[0][(c ^ b) & 0xff];
}

inline uint32_t table_step64(uint32_t c, uint64_t w) {
  w ^= c;
  uint32_t r = 0;
  for (int i = 0; i < 8; ++i) r ^= kTables.t[7 - i][(w >> (8 * i)) & 0xff];
  return r;
}

namespace portable {
#define NAME "portable"
#define TARGET
#define VECTOR_BYTES 16
#define STEP8(c, b) table_step8(c, b)
#define STEP64(c, w) table_step64(static_cast<uint32_t>(c), w)
#include "crc32c_kernels.inc"
}  // namespace portable

#if defined(__x86_64__)
namespace sse42 {
#define NAME "sse4.2"
#define TARGET __attribute__((target("sse4.2")))
#define VECTOR_BYTES 16
#define STEP8(c, b) _mm_crc32_u8(c, b)
#define STEP64(c, w) _mm_crc32_u64(c, w)
#include "crc32c_kernels.inc"
}  // namespace sse42
namespace avx2 {
#define NAME "avx2"
#define TARGET __attribute__((target("avx2,sse4.2")))
#define VECTOR_BYTES 32
#define STEP8(c, b) _mm_crc32_u8(c, b)
#define STEP64(c, w) _mm_crc32_u64(c, w)
#include "crc32c_kernels.inc"
}  // namespace avx2
#elif defined(__aarch64__)
namespace armv8 {
#define NAME "armv8"
#define VECTOR_BYTES 16
#if defined(__clang__)
#define TARGET __attribute__((target("crc")))
#else
#define TARGET __attribute__((target("+crc")))
#endif
#define STEP8(c, b) __crc32cb(c, b)
#define STEP64(c, w) __crc32cd(static_cast<uint32_t>(c), w)
#include "crc32c_kernels.inc"
}  // namespace armv8
#if defined(__linux__)
bool has_crc() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#else
bool has_crc() { return true; }  // every arm64 Mac has it
#endif
#endif

struct Choice {
  const Kernels* sets[4] = {};

  Choice() {
    size_t n = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) sets[n++] = &avx2::kKernels;
    if (__builtin_cpu_supports("sse4.2")) sets[n++] = &sse42::kKernels;
#elif defined(__aarch64__)
    if (has_crc()) sets[n++] = &armv8::kKernels;
#endif
    sets[n] = &portable::kKernels;
  }
};

const Choice& choice() {
  static const Choice c;
  return c;
}

}  // namespace

const Kernels& kernels() { return *choice().sets[0]; }
const Kernels* const* all_kernels() { return choice().sets; }

}  // namespace monolith
