#include "run_sums.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace monolith {
namespace {

// Eight values side by side, as the wider registers have them.
namespace portable {

template <bool kNorm>
bool add(const Floats& run, RunSums& sums, RunOut& out) {
  const float fill = static_cast<float>(sums.shift);
  double sum[8] = {}, square[8] = {}, norm[8] = {};
  float min[8], max[8];
  std::copy_n(sums.min, 8, min);
  std::copy_n(sums.max, 8, max);
  uint32_t largest[8] = {};
  for (size_t at = 0; at < run.count; at += 8) {
    const size_t n = std::min<size_t>(8, run.count - at);
    float x[8], y[8];
    for (size_t i = 0; i < 8; ++i) {
      x[i] = i < n ? run[at + i] : 0;
      y[i] = i < n ? x[i] : fill;
    }
    for (size_t i = 0; i < 8; ++i) {
      largest[i] = std::max(largest[i], size_bits(x[i]));
      min[i] = y[i] < min[i] ? y[i] : min[i];
      max[i] = y[i] > max[i] ? y[i] : max[i];
      const double from = static_cast<double>(y[i]) - sums.shift;
      const double squared = from * from;
      sum[i] += from;
      square[i] += squared;
      if (kNorm) {
        const double whole = x[i];
        const double whole_squared = whole * whole;
        norm[i] += whole_squared;
      }
    }
  }
  const uint32_t most = *std::max_element(largest, largest + 8);
  if (most > kHugeBits) return false;
  for (size_t i = 0; i < 4; ++i) {
    const double both = sum[i] + sum[i + 4], squares = square[i] + square[i + 4];
    sums.sum[i] += both;
    sums.square[i] += squares;
  }
  std::copy_n(min, 8, sums.min);
  std::copy_n(max, 8, sums.max);
  out.zero = out.zero && most == 0;
  if (kNorm) {
    const double a = norm[0] + norm[4], b = norm[1] + norm[5];
    const double c = norm[2] + norm[6], d = norm[3] + norm[7];
    const double ac = a + c, bd = b + d;
    out.square += ac + bd;
  }
  return true;
}

constexpr RunKernels kKernels = {"portable", add<false>, add<true>};

}  // namespace portable

#if defined(__x86_64__)
namespace avx2 {
#define TARGET __attribute__((target("avx2")))

// Of eight values, the first n.
alignas(32) constexpr int32_t kFirst[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

// What to do with a byte of a tag between two values: three of them are brought together, in the
// place of the fourth comes what a load three bytes further on has there already.
alignas(16) constexpr int8_t kTogether[16] = {0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, -1, -1, -1, -1};

TARGET inline __m128i load16(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// Eight values from p on. Reads 39 bytes, or 32.
template <size_t kStride>
TARGET inline __m256 load8(const uint8_t* p) {
  if constexpr (kStride == 4) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  } else {
    const __m256i together = _mm256_broadcastsi128_si256(
        _mm_load_si128(reinterpret_cast<const __m128i*>(kTogether)));
    const __m256i three =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p)), load16(p + 20), 1);
    const __m256i fourth =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p + 3)), load16(p + 23), 1);
    return _mm256_castsi256_ps(
        _mm256_blend_epi32(_mm256_shuffle_epi8(three, together), fourth, 0x88));
  }
}

struct Sums {
  __m256d low, high;

  TARGET inline void add(__m256d a, __m256d b) {
    low = _mm256_add_pd(low, a);
    high = _mm256_add_pd(high, b);
  }
  TARGET inline void add_squares(__m256d a, __m256d b) {
    add(_mm256_mul_pd(a, a), _mm256_mul_pd(b, b));
  }
  TARGET inline __m256d both() const { return _mm256_add_pd(low, high); }
};

template <bool kNorm>
struct Adding {
  __m256d shift;
  Sums sum, square, norm;
  __m256 min, max;
  __m256i largest;

  // Of eight values; those to leave out are 0 in `x`, and the shift in `y`.
  TARGET inline void add(__m256 x, __m256 y) {
    const __m256i size = _mm256_and_si256(_mm256_castps_si256(x),
                                          _mm256_set1_epi32(0x7fffffff));
    largest = _mm256_max_epi32(largest, size);
    min = _mm256_min_ps(y, min);
    max = _mm256_max_ps(y, max);
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(y));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(y, 1));
    const __m256d low_from = _mm256_sub_pd(low, shift), high_from = _mm256_sub_pd(high, shift);
    sum.add(low_from, high_from);
    square.add_squares(low_from, high_from);
    if constexpr (kNorm) norm.add_squares(low, high);
  }
};

template <size_t kStride, bool kNorm>
TARGET inline bool add_run(const Floats& run, RunSums& sums, RunOut& out) {
  const __m256d none = _mm256_setzero_pd();
  Adding<kNorm> adding{_mm256_set1_pd(sums.shift), {none, none}, {none, none}, {none, none},
                       _mm256_loadu_ps(sums.min), _mm256_loadu_ps(sums.max),
                       _mm256_setzero_si256()};
  const uint8_t* p = run.p;
  size_t left = run.count;
  for (; left >= 8; left -= 8, p += 8 * kStride) {
    const __m256 x = load8<kStride>(p);
    adding.add(x, x);
  }
  if (left > 0) {
    const __m256 wanted = _mm256_castsi256_ps(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirst + 8 - left)));
    const __m256 x = _mm256_and_ps(load8<kStride>(p), wanted);
    const __m256 y =
        _mm256_blendv_ps(_mm256_set1_ps(static_cast<float>(sums.shift)), x, wanted);
    if constexpr (kNorm) {
      // What is left out must not be in the norm: its square is of `x`.
      const Sums before = adding.norm;
      adding.add(x, y);
      adding.norm = before;
      adding.norm.add_squares(_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                              _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
    } else {
      adding.add(x, y);
    }
  }
  const __m256i above =
      _mm256_cmpgt_epi32(adding.largest, _mm256_set1_epi32(static_cast<int>(kHugeBits)));
  if (!_mm256_testz_si256(above, above)) return false;
  _mm256_storeu_pd(sums.sum, _mm256_add_pd(_mm256_loadu_pd(sums.sum), adding.sum.both()));
  _mm256_storeu_pd(sums.square, _mm256_add_pd(_mm256_loadu_pd(sums.square), adding.square.both()));
  _mm256_storeu_ps(sums.min, adding.min);
  _mm256_storeu_ps(sums.max, adding.max);
  out.zero = out.zero && _mm256_testz_si256(adding.largest, adding.largest);
  if constexpr (kNorm) {
    const __m256d four = adding.norm.both();
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    out.square += _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  return true;
}

template <bool kNorm>
TARGET bool add(const Floats& run, RunSums& sums, RunOut& out) {
  return run.stride == 5 ? add_run<5, kNorm>(run, sums, out) : add_run<4, kNorm>(run, sums, out);
}

constexpr RunKernels kKernels = {"avx2", add<false>, add<true>};

#undef TARGET
}  // namespace avx2
#endif

struct Choice {
  const RunKernels* sets[3] = {};

  Choice() {
    size_t n = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) sets[n++] = &avx2::kKernels;
#endif
    sets[n] = &portable::kKernels;
  }
};

}  // namespace

const RunKernels* const* all_run_kernels() {
  static const Choice choice;
  return choice.sets;
}

}  // namespace monolith
