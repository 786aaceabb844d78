#include "pages.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bytes.h"
#include "zstd.h"

namespace monolith {
namespace {

void append_varint(uint64_t v, Buffer& out) {
  for (; v >= 0x80; v >>= 7) out.push(static_cast<uint8_t>(v | 0x80));
  out.push(static_cast<uint8_t>(v));
}

uint64_t zigzag(int64_t v) { return static_cast<uint64_t>(v) << 1 ^ static_cast<uint64_t>(v >> 63); }

// So many bits of each value, one after another from the lowest bit on; 32 values.
void append_bits(const uint64_t* values, int bits, Buffer& out) {
  uint64_t held = 0;
  int count = 0;
  uint8_t* to = out.tail(static_cast<size_t>(4 * bits) + 8);
  for (int i = 0; i < 32; ++i) {
    held |= values[i] << count;
    if (count + bits < 64) {
      count += bits;
      continue;
    }
    store(to, held);
    to += 8;
    const int used = 64 - count;  // bits of this value that fitted
    held = used == 64 ? 0 : values[i] >> used;
    count = bits - used;
  }
  store(to, held);  // whole bytes: 32 times anything is a multiple of 8
  out.advance(static_cast<size_t>(4 * bits));
}

// DELTA_BINARY_PACKED: blocks of 128 differences, in four parts with widths of their own. U is the
// unsigned word in which differences wrap.
template <class T, class U>
void append_deltas(const T* values, size_t n, Buffer& out) {
  constexpr size_t kBlock = 128, kPart = 32;
  append_varint(kBlock, out);
  append_varint(kBlock / kPart, out);
  append_varint(n, out);
  append_varint(zigzag(n > 0 ? values[0] : 0), out);
  std::array<uint64_t, kBlock> deltas;
  for (size_t from = 1; from < n; from += kBlock) {
    const size_t count = std::min(kBlock, n - from);
    T least = static_cast<T>(static_cast<U>(values[from]) - static_cast<U>(values[from - 1]));
    for (size_t i = 1; i < count; ++i) {
      least = std::min(least, static_cast<T>(static_cast<U>(values[from + i]) -
                                             static_cast<U>(values[from + i - 1])));
    }
    append_varint(zigzag(least), out);
    for (size_t i = 0; i < kBlock; ++i) {
      deltas[i] = i < count ? static_cast<U>(static_cast<U>(values[from + i]) -
                                             static_cast<U>(values[from + i - 1]) -
                                             static_cast<U>(least))
                            : 0;
    }
    const size_t widths = out.size();
    out.tail(4);
    out.advance(4);
    for (size_t part = 0; part < 4; ++part) {
      uint64_t all = 0;
      for (size_t i = 0; i < kPart; ++i) all |= deltas[part * kPart + i];
      const int bits = all == 0 ? 0 : 64 - __builtin_clzll(all);
      out.data()[widths + part] = static_cast<uint8_t>(bits);
      // Parts that hold no value at all are left out.
      if (part * kPart < count && bits > 0) append_bits(&deltas[part * kPart], bits, out);
    }
  }
}

// BYTE_STREAM_SPLIT: the first bytes of all floats, then the second ones.
void append_split(const uint8_t* values, size_t n, Buffer& out) {
  uint8_t* const to = out.tail(4 * n);
  size_t i = 0;
#if defined(__SSE2__)
  const __m128i low = _mm_set1_epi32(0xff);
  for (; i + 16 <= n; i += 16) {
    const __m128i* const p = reinterpret_cast<const __m128i*>(values + 4 * i);
    const __m128i a = _mm_loadu_si128(p), b = _mm_loadu_si128(p + 1);
    const __m128i c = _mm_loadu_si128(p + 2), d = _mm_loadu_si128(p + 3);
    for (int byte = 0; byte < 4; ++byte) {
      auto part = [&](__m128i v) { return _mm_and_si128(_mm_srli_epi32(v, 8 * byte), low); };
      const __m128i ab = _mm_packs_epi32(part(a), part(b)), cd = _mm_packs_epi32(part(c), part(d));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + static_cast<size_t>(byte) * n + i),
                       _mm_packus_epi16(ab, cd));
    }
  }
#endif
  for (; i < n; ++i) {
    for (size_t byte = 0; byte < 4; ++byte) to[byte * n + i] = values[4 * i + byte];
  }
  out.advance(4 * n);
}

// Levels, behind how many bytes they take: runs of (level, how often).
class Levels {
 public:
  explicit Levels(Buffer& out) : out_(out), start_(out.size()) {
    out.tail(4);
    out.advance(4);
  }
  void add(uint8_t level, size_t count) {
    if (count == 0) return;
    if (level != level_) flush();
    level_ = level;
    count_ += count;
  }
  void end() {
    flush();
    store(out_.data() + start_, static_cast<uint32_t>(out_.size() - start_ - 4));
  }

 private:
  void flush() {
    if (count_ == 0) return;
    append_varint(count_ << 1, out_);
    out_.push(level_);
    count_ = 0;
  }

  Buffer& out_;
  size_t start_;
  uint8_t level_ = 0;
  size_t count_ = 0;
};

// Where lists begin: a bit for each value, zero for the first one of a row.
void append_beginnings(const uint32_t* lengths, size_t rows, size_t values, Buffer& out) {
  const size_t bytes = (values + 7) / 8;
  const size_t start = out.size();
  out.tail(4);
  out.advance(4);
  append_varint(bytes << 1 | 1, out);
  uint8_t* bits = out.tail(bytes);
  std::memset(bits, 0xff, bytes);
  size_t at = 0;
  for (size_t row = 0; row < rows; ++row) {
    bits[at / 8] &= static_cast<uint8_t>(~(1u << at % 8));
    at += std::max<size_t>(1, lengths[row]);
  }
  if (values % 8 != 0) bits[bytes - 1] &= static_cast<uint8_t>((1u << values % 8) - 1);
  out.advance(bytes);
  store(out.data() + start, static_cast<uint32_t>(out.size() - start - 4));
}

size_t value_size(PageType type) {
  return type == PageType::int32_delta || type == PageType::float_split ? 4 : 8;
}

void append_values(const uint8_t* values, size_t n, PageType type, Buffer& raw,
                   std::vector<size_t>& cuts) {
  switch (type) {
    case PageType::int32_delta:
      append_deltas<int32_t, uint32_t>(reinterpret_cast<const int32_t*>(values), n, raw);
      break;
    case PageType::int64_delta:
      append_deltas<int64_t, uint64_t>(reinterpret_cast<const int64_t*>(values), n, raw);
      break;
    case PageType::int64_plain:
      raw.append(values, 8 * n);
      break;
    case PageType::float_split:
      for (size_t byte = 1; byte < 4; ++byte) cuts.push_back(raw.size() + byte * n);
      append_split(values, n, raw);
  }
}

// Memory that is fresh for each page would cost more than what is done in it.
struct Scratch {
  static constexpr size_t kMost = 8 << 20;
  Buffer raw, stored;
  std::vector<size_t> cuts;
};

Scratch& scratch() {
  thread_local std::unique_ptr<Scratch> kept;
  if (!kept || std::max(kept->raw.capacity(), kept->stored.capacity()) > Scratch::kMost) {
    kept = std::make_unique<Scratch>();
  }
  return *kept;
}

}  // namespace

bool Pages::next() {
  if (rows_ == 0) return false;
  const bool is_list = levels_ == PageLevels::list || levels_ == PageLevels::lists;
  const size_t size = value_size(type_);
  size_t rows = 0, present = 0, in_lists = 0;
  for (; rows < rows_; ++rows) {
    const size_t n = lengths_ == nullptr ? 1 : lengths_[rows];
    if (rows > 0 && (present + n) * size > page_bytes_) break;
    present += n;
    in_lists += std::max<size_t>(1, n);
  }
  Scratch& memory = scratch();
  Buffer& raw = memory.raw;
  raw.clear();
  memory.cuts.clear();
  if (is_list) append_beginnings(lengths_, rows, in_lists, raw);
  if (levels_ != PageLevels::none) {
    const uint8_t full = levels_ == PageLevels::lists ? 2 : 1;
    Levels definitions(raw);
    for (size_t i = 0; i < rows; ++i) {
      if (lengths_[i] > 0) definitions.add(full, lengths_[i]);
      else definitions.add(0, 1);
    }
    definitions.end();
  }
  memory.cuts.push_back(raw.size());
  append_values(values_, present, type_, raw, memory.cuts);
  bytes_ = stored_bytes_ = raw.size();
  data_ = raw.data();
  count_ = is_list ? in_lists : rows;
  if (compress_) {
    memory.stored.clear();
    zstd_frame(raw.data(), raw.size(), memory.cuts, memory.stored);
    data_ = memory.stored.data();
    stored_bytes_ = memory.stored.size();
  }
  values_ += size * present;
  if (lengths_ != nullptr) lengths_ += rows;
  rows_ -= rows;
  return true;
}

}  // namespace monolith
