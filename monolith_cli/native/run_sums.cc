#include "run_sums.h"

#include <array>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace monolith {
namespace {

// Where the values of eight are that have tags between them, side by side.
constexpr uint8_t kLaneOf[8] = {0, 1, 2, 4, 5, 6, 3, 7};

// Eight values side by side, as the wider registers have them.
namespace portable {

inline double sum_of_squares(double a, double b) {
  const double first = a * a, second = b * b;
  return first + second;
}

template <size_t kStride, bool kNorm>
RunFound add(const uint8_t* p, size_t count, RunSums& sums) {
  const float fill = static_cast<float>(sums.shift);
  double sum[4] = {}, square[4] = {}, norm[4] = {};
  float min[8], max[8];
  std::copy_n(sums.min, 8, min);
  std::copy_n(sums.max, 8, max);
  uint32_t largest[8] = {};
  for (size_t at = 0; at < count; at += 8) {
    const size_t n = std::min<size_t>(8, count - at);
    float x[8], y[8];
    for (size_t i = 0; i < 8; ++i) {
      const size_t lane = kStride == 4 ? i : kLaneOf[i];
      x[lane] = i < n ? load<float>(p + (at + i) * kStride) : 0;
      y[lane] = i < n ? x[lane] : fill;
    }
    for (size_t i = 0; i < 8; ++i) {
      largest[i] = std::max(largest[i], size_bits(x[i]));
      min[i] = y[i] < min[i] ? y[i] : min[i];
      max[i] = y[i] > max[i] ? y[i] : max[i];
    }
    for (size_t i = 0; i < 4; ++i) {
      const double low = y[i] - sums.shift, high = y[i + 4] - sums.shift;
      const double both = low + high;
      sum[i] += both;
      square[i] += sum_of_squares(low, high);
      if (kNorm) norm[i] += sum_of_squares(x[i], x[i + 4]);
    }
  }
  const uint32_t most = *std::max_element(largest, largest + 8);
  if (most > kHugeBits) return {RunFound::odd, 0};
  for (size_t i = 0; i < 4; ++i) {
    sums.sum[i] += sum[i];
    sums.square[i] += square[i];
  }
  std::copy_n(min, 8, sums.min);
  std::copy_n(max, 8, sums.max);
  const double even = norm[0] + norm[2], odd = norm[1] + norm[3];
  return {most == 0 ? RunFound::zeros : RunFound::values, even + odd};
}

constexpr RunKernels kKernels = {"portable", {add<5, false>, add<4, false>, add<5, true>, add<4, true>}};

}  // namespace portable

#if defined(__x86_64__)
namespace avx2 {
#define TARGET __attribute__((target("avx2")))

// The places of eight values. With tags between them, three are in each half of what is loaded from
// the first one's tag on; the other two come from another load.
alignas(32) constexpr int8_t kSix[32] = {1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, -1, -1, -1, -1,
                                         0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, -1, -1, -1, -1};
alignas(32) constexpr int8_t kLastTwo[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                             -1, 7,  8,  9,  10, -1, -1, -1, -1, -1, -1,
                                             -1, -1, -1, -1, -1, -1, 12, 13, 14, 15};

// Of eight values, the first n, where n is the index.
alignas(32) constexpr auto kFirst = [] {
  std::array<std::array<int32_t, 8>, 2 * 8> first{};
  for (size_t n = 0; n < 8; ++n) {
    for (size_t i = 0; i < n; ++i) first[n][kLaneOf[i]] = first[8 + n][i] = -1;
  }
  return first;
}();

TARGET inline __m128i load16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

TARGET inline __m256i load32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// Eight values from p on. Reads 39 bytes, and the one before, or 32.
template <size_t kStride>
TARGET inline __m256 load8(const uint8_t* p) {
  if constexpr (kStride == 4) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  } else {
    const __m256i six = _mm256_shuffle_epi8(load32(p - 1), load32(kSix));
    const __m256i two =
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(p + 23)), load32(kLastTwo));
    return _mm256_castsi256_ps(_mm256_or_si256(six, two));
  }
}

template <size_t kStride>
TARGET inline __m256 first_of_eight(size_t n) {
  return _mm256_castsi256_ps(load32(kFirst[kStride == 4 ? 8 + n : n].data()));
}

TARGET inline __m256d sum_of_squares(__m256d a, __m256d b) {
  return _mm256_add_pd(_mm256_mul_pd(a, a), _mm256_mul_pd(b, b));
}

template <size_t kStride, bool kNorm>
TARGET RunFound add(const uint8_t* p, size_t count, RunSums& sums) {
  const __m256d shift = _mm256_set1_pd(sums.shift);
  const __m256i without_sign = _mm256_set1_epi32(0x7fffffff);
  __m256d sum = _mm256_setzero_pd(), square = sum, norm = sum;
  __m256 min = _mm256_loadu_ps(sums.min), max = _mm256_loadu_ps(sums.max);
  __m256i largest = _mm256_setzero_si256();
  // Of eight values; those to leave out are 0 in `x`, and the shift in `y`.
  auto take = [&](__m256 x, __m256 y, auto is_whole) TARGET __attribute__((always_inline)) {
    largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(x), without_sign));
    min = _mm256_min_ps(y, min);
    max = _mm256_max_ps(y, max);
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(y));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(y, 1));
    const __m256d low_from = _mm256_sub_pd(low, shift), high_from = _mm256_sub_pd(high, shift);
    sum = _mm256_add_pd(sum, _mm256_add_pd(low_from, high_from));
    square = _mm256_add_pd(square, sum_of_squares(low_from, high_from));
    if constexpr (kNorm && is_whole) {
      norm = _mm256_add_pd(norm, sum_of_squares(low, high));
    } else if constexpr (kNorm) {
      norm = _mm256_add_pd(norm,
                           sum_of_squares(_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                                          _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))));
    }
  };
  for (; count >= 8; count -= 8, p += 8 * kStride) {
    const __m256 x = load8<kStride>(p);
    take(x, x, std::true_type());
  }
  if (count > 0) {
    const __m256 wanted = first_of_eight<kStride>(count);
    const __m256 x = _mm256_and_ps(load8<kStride>(p), wanted);
    const __m256 fill = _mm256_set1_ps(static_cast<float>(sums.shift));
    take(x, _mm256_blendv_ps(fill, x, wanted), std::false_type());
  }
  const __m256i above =
      _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(static_cast<int>(kHugeBits)));
  if (!_mm256_testz_si256(above, above)) return {RunFound::odd, 0};
  _mm256_storeu_pd(sums.sum, _mm256_add_pd(_mm256_loadu_pd(sums.sum), sum));
  _mm256_storeu_pd(sums.square, _mm256_add_pd(_mm256_loadu_pd(sums.square), square));
  _mm256_storeu_ps(sums.min, min);
  _mm256_storeu_ps(sums.max, max);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(norm), _mm256_extractf128_pd(norm, 1));
  return {_mm256_testz_si256(largest, largest) ? RunFound::zeros : RunFound::values,
          kNorm ? _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two))) : 0};
}

constexpr RunKernels kKernels = {"avx2", {add<5, false>, add<4, false>, add<5, true>, add<4, true>}};

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
