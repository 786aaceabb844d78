#include "crc32c.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "bytes.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC's own AVX-512 intrinsics
#endif

#if defined(__x86_64__)
#include <immintrin.h>
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
  // head[n]: the state that as many zero bytes as n lacks to 8 turn into the usual start state;
  // head64[n] the same for 64.
  std::array<uint32_t, 9> head{};
  std::array<uint32_t, 65> head64{};

  constexpr Tables() {
    for (uint32_t b = 0; b < 256; ++b) {
      uint32_t c = b;
      for (int i = 0; i < 8; ++i) c = (c >> 1) ^ ((c & 1) ? kPolynomial : 0);
      t[0][b] = c;
    }
    for (int k = 1; k < 8; ++k) {
      for (uint32_t b = 0; b < 256; ++b) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xff];
    }
    head[8] = head64[64] = 0xffffffffu;
    for (int n = 7; n > 0; --n) head[n] = before_zero_byte(head[n + 1]);
    for (int n = 63; n > 0; --n) head64[n] = before_zero_byte(head64[n + 1]);
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

// A vector of the compiler's, which every 64-bit processor has a register for.
using TwoWords = uint64_t __attribute__((vector_size(16)));

namespace portable {
#define NAME "portable"
#define TARGET
#define VECTOR TwoWords
#define IS_ZERO(v) (((v)[0] | (v)[1]) == 0)
#define STEP8(c, b) table_step8(c, b)
#define STEP64(c, w) table_step64(static_cast<uint32_t>(c), w)
#include "crc32c_kernels.inc"
}  // namespace portable

#if defined(__x86_64__)
namespace sse42 {
#define NAME "sse4.2"
#define TARGET __attribute__((target("sse4.2")))
#define VECTOR __m128i
#define IS_ZERO(v) _mm_testz_si128(v, v)
#define STEP8(c, b) _mm_crc32_u8(c, b)
#define STEP64(c, w) _mm_crc32_u64(c, w)
#include "crc32c_kernels.inc"
}  // namespace sse42
namespace avx2 {
#define NAME "avx2"
#define TARGET __attribute__((target("avx2,sse4.2")))
#define VECTOR __m256i
#define IS_ZERO(v) _mm256_testz_si256(v, v)
#define STEP8(c, b) _mm_crc32_u8(c, b)
#define STEP64(c, w) _mm_crc32_u64(c, w)
#include "crc32c_kernels.inc"
}  // namespace avx2

// x^n modulo the polynomial, placed for carry-less multiplication: the lowest bit of a word is the
// highest power, as it is of a CRC.
constexpr uint64_t power_of_x(int n) {
  uint32_t p = 0x80000000u;
  for (; n > 0; --n) p = (p >> 1) ^ ((p & 1) ? kPolynomial : 0);
  return static_cast<uint64_t>(p) << 32;
}

// What moves the two halves of sixteen bytes over the next n bytes. The product of two reflected
// numbers comes out one power short, hence the odd exponents.
constexpr uint64_t move_first(int n) { return power_of_x(8 * n + 63); }
constexpr uint64_t move_second(int n) { return power_of_x(8 * n - 1); }

// Sixty-four bytes from n on: of their bytes, the last n are set.
constexpr std::array<uint8_t, 128> kNoneThenAll = [] {
  std::array<uint8_t, 128> bytes{};
  for (size_t i = 64; i < 128; ++i) bytes[i] = 0xff;
  return bytes;
}();

namespace vpclmulqdq {
#define TARGET __attribute__((target("vpclmulqdq,pclmul,avx2,sse4.2")))

alignas(32) constexpr uint64_t kMove64[4] = {move_first(64), move_second(64), move_first(64),
                                             move_second(64)};
alignas(32) constexpr uint64_t kMove32[4] = {move_first(32), move_second(32), move_first(32),
                                             move_second(32)};

struct Wide {
  __m256i first, second;
};
using Wanted = Wide;  // all bits of a wanted byte are set

TARGET static inline __m256i load32(const void* p) {
  __m256i bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return bytes;
}

TARGET static inline Wide load_wide(const uint8_t* p) { return {load32(p), load32(p + 32)}; }

TARGET static inline Wide either(const Wide& a, const Wide& b) {
  return {_mm256_or_si256(a.first, b.first), _mm256_or_si256(a.second, b.second)};
}

TARGET static inline bool all_zero(const Wide& a) {
  const __m256i any = _mm256_or_si256(a.first, a.second);
  return _mm256_testz_si256(any, any);
}

TARGET static inline Wanted last_bytes(size_t n) { return load_wide(kNoneThenAll.data() + n); }

// Words of which no byte is wanted are not touched. The last byte of the others is: it says both.
TARGET static inline __m256i load_wanted32(const uint8_t* p, __m256i wanted) {
  const __m256i words = _mm256_maskload_epi32(reinterpret_cast<const int*>(p), wanted);
  return _mm256_and_si256(words, wanted);
}

TARGET static inline Wide load_wanted(const uint8_t* p, const Wanted& wanted) {
  return {load_wanted32(p, wanted.first), load_wanted32(p + 32, wanted.second)};
}

using Start = __m256i;

TARGET static inline Start start_of(uint32_t state) {
  return _mm256_zextsi128_si256(_mm_cvtsi32_si128(static_cast<int>(state)));
}

TARGET static inline Wide with_start(const Wide& bytes, Start start) {
  return {_mm256_xor_si256(bytes.first, start), bytes.second};
}

TARGET static inline __m256i move_onto(__m256i bytes, __m256i by, __m256i next) {
  const __m256i moved = _mm256_xor_si256(_mm256_clmulepi64_epi128(bytes, by, 0x00),
                                         _mm256_clmulepi64_epi128(bytes, by, 0x11));
  return _mm256_xor_si256(moved, next);
}

TARGET static inline Wide move_over_64(const Wide& bytes, const Wide& next) {
  const __m256i by = load32(kMove64);
  return {move_onto(bytes.first, by, next.first), move_onto(bytes.second, by, next.second)};
}

TARGET static inline __m256i differences32(__m256i bytes, const uint8_t* mask,
                                           const uint8_t* want) {
  return _mm256_xor_si256(_mm256_and_si256(bytes, load32(mask)), load32(want));
}

TARGET static inline Wide differences(const Wide& bytes, const Shape& shape, size_t at) {
  return {differences32(bytes.first, shape.mask + at, shape.want + at),
          differences32(bytes.second, shape.mask + at + 32, shape.want + at + 32)};
}

// The instruction has a unit of its own, so it takes the last half while others multiply.
TARGET static inline uint64_t state_of(const Wide& bytes) {
  const __m256i half = move_onto(bytes.first, load32(kMove32), bytes.second);
  uint64_t state = _mm_crc32_u64(0, static_cast<uint64_t>(_mm256_extract_epi64(half, 0)));
  state = _mm_crc32_u64(state, static_cast<uint64_t>(_mm256_extract_epi64(half, 1)));
  state = _mm_crc32_u64(state, static_cast<uint64_t>(_mm256_extract_epi64(half, 2)));
  return _mm_crc32_u64(state, static_cast<uint64_t>(_mm256_extract_epi64(half, 3)));
}

#define WIDE_MULTIPLY
#define NAME "vpclmulqdq"
#define VECTOR __m256i
#define IS_ZERO(v) _mm256_testz_si256(v, v)
#define STEP8(c, b) _mm_crc32_u8(c, b)
#define STEP64(c, w) _mm_crc32_u64(c, w)
#include "crc32c_kernels.inc"
#undef WIDE_MULTIPLY

bool usable() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq") &&
         __builtin_cpu_supports("pclmul");
}
}  // namespace vpclmulqdq

namespace avx512 {
#define TARGET \
  __attribute__((target("avx512f,avx512bw,avx512vl,vpclmulqdq,pclmul,avx2,sse4.2")))

alignas(64) constexpr uint64_t kMove64[8] = {move_first(64), move_second(64), move_first(64),
                                             move_second(64), move_first(64), move_second(64),
                                             move_first(64), move_second(64)};
alignas(64) constexpr uint64_t kMoveToLast[8] = {move_first(48), move_second(48), move_first(32),
                                                 move_second(32), move_first(16), move_second(16),
                                                 0, 0};

// (a & b) ^ c and a ^ b ^ c, as the instruction that does any of these wants to be told.
constexpr int kAndXor = 0x6a, kXorXor = 0x96;

using Wide = __m512i;
using Wanted = __mmask64;
using Start = __m512i;

TARGET static inline Wide load_wide(const uint8_t* p) { return _mm512_loadu_si512(p); }
TARGET static inline Wide either(Wide a, Wide b) { return _mm512_or_si512(a, b); }
TARGET static inline bool all_zero(Wide a) { return _mm512_test_epi64_mask(a, a) == 0; }
TARGET static inline Wanted last_bytes(size_t n) { return ~uint64_t{0} << (64 - n); }

TARGET static inline Wide load_wanted(const uint8_t* p, Wanted wanted) {
  return _mm512_maskz_loadu_epi8(wanted, p);
}

TARGET static inline Start start_of(uint32_t state) {
  return _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(state)));
}

TARGET static inline Wide with_start(Wide bytes, Start start) {
  return _mm512_xor_si512(bytes, start);
}

TARGET static inline __m512i move_onto(__m512i bytes, __m512i by, __m512i next) {
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(bytes, by, 0x00),
                                   _mm512_clmulepi64_epi128(bytes, by, 0x11), next, kXorXor);
}

TARGET static inline Wide move_over_64(Wide bytes, Wide next) {
  return move_onto(bytes, _mm512_load_si512(kMove64), next);
}

TARGET static inline Wide differences(Wide bytes, const Shape& shape, size_t at) {
  return _mm512_ternarylogic_epi64(bytes, _mm512_load_si512(shape.mask + at),
                                   _mm512_load_si512(shape.want + at), kAndXor);
}

TARGET static inline uint64_t state_of(Wide bytes) {
  const __m512i last = _mm512_maskz_mov_epi64(0xc0, bytes);
  const __m512i moved = move_onto(bytes, _mm512_load_si512(kMoveToLast), last);
  const __m256i two = _mm256_xor_si256(_mm512_castsi512_si256(moved),
                                       _mm512_extracti64x4_epi64(moved, 1));
  const __m128i one = _mm_xor_si128(_mm256_castsi256_si128(two),
                                    _mm256_extracti128_si256(two, 1));
  const uint64_t state = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(one)));
  return _mm_crc32_u64(state, static_cast<uint64_t>(_mm_extract_epi64(one, 1)));
}

#define WIDE_MULTIPLY
#define NAME "avx512"
#define VECTOR __m512i
#define IS_ZERO(v) (_mm512_test_epi64_mask(v, v) == 0)
#define STEP8(c, b) _mm_crc32_u8(c, b)
#define STEP64(c, w) _mm_crc32_u64(c, w)
#include "crc32c_kernels.inc"
#undef WIDE_MULTIPLY

bool usable() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul");
}
}  // namespace avx512
#elif defined(__aarch64__)
namespace armv8 {
#define NAME "armv8"
#define VECTOR TwoWords
#define IS_ZERO(v) (((v)[0] | (v)[1]) == 0)
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
  const Kernels* sets[6] = {};

  Choice() {
    size_t n = 0;
#if defined(__x86_64__)
    if (avx512::usable()) sets[n++] = &avx512::kKernels;
    if (vpclmulqdq::usable()) sets[n++] = &vpclmulqdq::kKernels;
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

// The product of two polynomials modulo that of the checksum; the top bit is the one of x^0.
uint32_t product(uint32_t a, uint32_t b) {
  uint32_t sum = 0;
  for (; a != 0; a <<= 1) {
    if (a >> 31 != 0) sum ^= b;
    b = (b >> 1) ^ (0x82f63b78u & (0u - (b & 1)));
  }
  return sum;
}

}  // namespace

uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t n) {
  uint32_t moved = first;
  for (uint32_t power = 1u << 23; n != 0; n >>= 1) {  // x^8, of a byte
    if (n & 1) moved = product(power, moved);
    power = product(power, power);
  }
  return moved ^ second;
}

const Kernels& kernels() { return *choice().sets[0]; }
const Kernels* const* all_kernels() { return choice().sets; }

}  // namespace monolith
