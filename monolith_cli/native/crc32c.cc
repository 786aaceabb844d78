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

TARGET static inline __m512i move_onto(__m512i bytes, __m512i by, __m512i next) {
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(bytes, by, 0x00),
                                   _mm512_clmulepi64_epi128(bytes, by, 0x11), next, kXorXor);
}

TARGET static inline __m512i differences(__m512i bytes, const Shape& shape, size_t at) {
  return _mm512_ternarylogic_epi64(bytes, _mm512_load_si512(shape.mask + at),
                                   _mm512_load_si512(shape.want + at), kAndXor);
}

// What checking a payload of some length begins with. Made anew only where the length changes.
struct Opening {
  size_t length = SIZE_MAX;
  size_t head;     // the bytes before whole steps, 1 to 64
  __mmask64 wanted;
  __m512i start;

  TARGET void set(size_t n) {
    length = n;
    head = ((n - 1) & 63) + 1;
    wanted = ~uint64_t{0} << (64 - head);
    start = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(kTables.head64[head])));
  }
};

// Checks one payload and its checksum, and on the way compares it to a shape of its length; without
// one, pass null: it compiles to two functions. Sixty-four bytes at a time: what was read is moved
// over the next ones by two multiplications. The odd bytes come first, behind zeros that the start
// state makes up for.
template <class MaybeShape>
TARGET static inline bool check(const uint8_t* data, const Opening& o, MaybeShape shape,
                                bool& alike) {
  constexpr bool kCompare = !std::is_same_v<MaybeShape, std::nullptr_t>;
  if (o.length == 0) return mask_crc(0) == load<uint32_t>(data);
  __m512i bytes = _mm512_maskz_loadu_epi8(o.wanted, data + o.head - 64);
  __m512i differs{};
  if constexpr (kCompare) differs = differences(bytes, *shape, 0);
  bytes = _mm512_xor_si512(bytes, o.start);
  const __m512i by64 = _mm512_load_si512(kMove64);
  for (size_t at = o.head; at < o.length; at += 64) {
    const __m512i next = _mm512_loadu_si512(data + at);
    bytes = move_onto(bytes, by64, next);
    if constexpr (kCompare) {
      differs = _mm512_or_si512(differs, differences(next, *shape, at + 64 - o.head));
    }
  }
  if constexpr (kCompare) alike = _mm512_test_epi64_mask(differs, differs) == 0;
  const __m512i last = _mm512_maskz_mov_epi64(0xc0, bytes);
  const __m512i moved = move_onto(bytes, _mm512_load_si512(kMoveToLast), last);
  const __m256i two = _mm256_xor_si256(_mm512_castsi512_si256(moved),
                                       _mm512_extracti64x4_epi64(moved, 1));
  const __m128i one = _mm_xor_si128(_mm256_castsi256_si128(two),
                                    _mm256_extracti128_si256(two, 1));
  uint64_t state = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(one)));
  state = _mm_crc32_u64(state, static_cast<uint64_t>(_mm_extract_epi64(one, 1)));
  return mask_crc(~static_cast<uint32_t>(state)) == load<uint32_t>(data + o.length);
}

TARGET static size_t verify(const Frame* frames, size_t n) {
  bool alike;
  Opening o;
  for (size_t i = 0; i < n; ++i) {
    if (frames[i].length != o.length) o.set(frames[i].length);
    if (!check(frames[i].data, o, nullptr, alike)) return i;
  }
  return n;
}

TARGET static inline bool length_ok(const uint8_t* p);

// One pass: while one payload is multiplied, the next header is found already.
TARGET static Walk read(const uint8_t* p, size_t n, uint64_t own, uint64_t position,
                        uint64_t max_length, const Shapes* shapes, Frame* out, const Shape** like,
                        size_t max_frames) {
  size_t at = 0, frames = 0;
  Opening o;
  while (true) {
    if (at >= own) return {frames, at, Stop::end, 0};
    if (frames == max_frames) return {frames, at, Stop::full, 0};
    const size_t left = n - at;
    if (left < kHeaderBytes) return {frames, at, Stop::header, 0};
    const uint64_t length = load<uint64_t>(p + at);
    if (!length_ok(p + at)) return {frames, at, Stop::bad_length, length};
    if (length > max_length) return {frames, at, Stop::too_long, length};
    if (left < kFrameBytes + length) return {frames, at, Stop::data, length};
    Frame& f = out[frames];
    f = {p + at + kHeaderBytes, length, position + at};
    const Shape* shape = shapes == nullptr ? nullptr : shapes->of(f);
    bool alike = false;
    if (length != o.length) o.set(length);
    const bool good = shape == nullptr ? check(f.data, o, nullptr, alike)
                                       : check(f.data, o, shape, alike);
    if (!good) return {frames, at, Stop::bad_data, length};
    if (shapes != nullptr) like[frames] = alike ? shape : nullptr;
    ++frames;
    at += kFrameBytes + length;
  }
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
  const Kernels* sets[5] = {};

  Choice() {
    size_t n = 0;
#if defined(__x86_64__)
    if (avx512::usable()) sets[n++] = &avx512::kKernels;
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
