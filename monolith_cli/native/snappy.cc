#include "snappy.h"

#include <vector>

namespace monolith {
namespace {

inline void copy16(uint8_t* to, const uint8_t* from) {
  uint64_t a = load<uint64_t>(from), b = load<uint64_t>(from + 8);
  store(to, a);
  store(to + 8, b);
}

// Copies `length` (1 to 64) bytes from `offset` bytes back; source and target may overlap, and up to
// kSlack - 1 bytes past the end may be written.
inline void copy_back(uint8_t* to, size_t offset, size_t length) {
  const uint8_t* from = to - offset;
  if (offset >= 16) {
    copy16(to, from);
    for (size_t i = 16; i < length; i += 16) copy16(to + i, from + i);
    return;
  }
  if (offset >= 8) {
    for (size_t i = 0; i < length; i += 8) store(to + i, load<uint64_t>(from + i));
    return;
  }
  for (size_t i = 0; i < length; ++i) to[i] = from[i];
}

}  // namespace

size_t snappy_length(const uint8_t* in, size_t n, uint32_t* length) {
  uint64_t value = 0;
  for (size_t i = 0; i < 5 && i < n; ++i) {
    value |= static_cast<uint64_t>(in[i] & 0x7f) << (7 * i);
    if (in[i] < 0x80) {
      if (value > 0xffffffffu) return 0;
      *length = static_cast<uint32_t>(value);
      return i + 1;
    }
  }
  return 0;
}

bool snappy_decode(const uint8_t* in, size_t n, uint8_t* out, size_t length) {
  uint32_t stated;
  size_t skip = snappy_length(in, n, &stated);
  if (skip == 0 || stated != length) return false;
  const uint8_t* ip = in + skip;
  const uint8_t* const ip_end = in + n;
  uint8_t* op = out;
  uint8_t* const op_end = out + length;

  while (ip < ip_end) {
    uint8_t tag = *ip++;
    if ((tag & 3) == 0) {
      size_t count = (tag >> 2) + 1;
      if (count > 60) {
        size_t extra = count - 60;
        if (static_cast<size_t>(ip_end - ip) < extra) return false;
        count = static_cast<size_t>(load<uint32_t>(ip) & (0xffffffffu >> (8 * (4 - extra)))) + 1;
        ip += extra;
        if (count > static_cast<size_t>(ip_end - ip) || count > static_cast<size_t>(op_end - op)) {
          return false;
        }
        std::memcpy(op, ip, count);
      } else {
        if (count > static_cast<size_t>(ip_end - ip) || count > static_cast<size_t>(op_end - op)) {
          return false;
        }
        copy16(op, ip);
        for (size_t i = 16; i < count; i += 16) copy16(op + i, ip + i);
      }
      ip += count;
      op += count;
      continue;
    }
    size_t count, offset;
    if ((tag & 3) == 1) {
      if (ip_end - ip < 1) return false;
      count = ((tag >> 2) & 7) + 4;
      offset = (static_cast<size_t>(tag >> 5) << 8) | *ip++;
    } else if ((tag & 3) == 2) {
      if (ip_end - ip < 2) return false;
      count = (tag >> 2) + 1;
      offset = load<uint16_t>(ip);
      ip += 2;
    } else {
      if (ip_end - ip < 4) return false;
      count = (tag >> 2) + 1;
      offset = load<uint32_t>(ip);
      ip += 4;
    }
    if (offset == 0 || offset > static_cast<size_t>(op - out) ||
        count > static_cast<size_t>(op_end - op)) {
      return false;
    }
    copy_back(op, offset, count);
    op += count;
  }
  return op == op_end;
}

namespace {

constexpr size_t kFragment = 65536;  // matches never reach further back, so offsets fit 16 bits
constexpr int kHashBits = 14;

enum class Decoded : uint8_t { yes, malformed, reaches_further };

// Reads the length of an element from its tag, and for a copy its offset, else 0. False if it does
// not end.
bool read_element(const uint8_t*& ip, const uint8_t* end, size_t& count, size_t& offset) {
  const uint8_t tag = *ip++;
  const size_t left = static_cast<size_t>(end - ip);
  size_t size = 0;
  uint8_t bytes[4] = {0, 0, 0, 0};
  switch (tag & 3) {
    case 0: size = tag >> 2 < 60 ? 0 : (tag >> 2) - 59; break;
    case 1: size = 1; break;
    case 2: size = 2; break;
    default: size = 4;
  }
  if (left < size) return false;
  for (size_t i = 0; i < size; ++i) bytes[i] = ip[i];
  ip += size;
  const size_t number = load<uint32_t>(bytes);
  switch (tag & 3) {
    case 0:
      count = (size == 0 ? tag >> 2 : number) + 1;
      offset = 0;
      return count <= static_cast<size_t>(end - ip);
    case 1:
      count = ((tag >> 2) & 7) + 4;
      offset = static_cast<size_t>(tag >> 5) << 8 | number;
      break;
    default:
      count = (tag >> 2) + 1;
      offset = number;
  }
  return offset != 0;
}

// The content as it is decoded: the last `keep` bytes at least, and where it goes.
class Window {
 public:
  Window(size_t length, size_t keep, const SnappyRange* ranges, size_t count)
      : keep_(keep), range_(ranges), ranges_end_(ranges + count) {
    window_.reserve(length <= 2 * keep ? length : 2 * keep);
    capacity_ = length <= 2 * keep ? length : 2 * keep;
  }

  uint64_t position() const { return first_ + window_.size(); }

  void literal(const uint8_t* from, size_t count) {
    while (count > 0) {
      if (window_.size() == capacity_) slide();
      const size_t now = count < capacity_ - window_.size() ? count : capacity_ - window_.size();
      window_.append(from, now);
      from += now;
      count -= now;
    }
  }

  Decoded copy(size_t offset, size_t count) {
    if (offset > position()) return Decoded::malformed;
    if (capacity_ - window_.size() < count) slide();
    if (offset > window_.size()) return Decoded::reaches_further;
    copy_back(window_.data() + window_.size(), offset, count);
    window_.advance(count);
    return Decoded::yes;
  }

  // Hands over what was not handed over yet.
  void deliver() {
    const uint64_t end = position();
    for (; range_ != ranges_end_ && range_->start < end; ++range_) {
      const uint64_t from = range_->start > delivered_ ? range_->start : delivered_;
      const uint64_t to = range_->end < end ? range_->end : end;
      if (from < to) {
        std::memcpy(range_->out + (from - range_->start), window_.data() + (from - first_), to - from);
      }
      if (range_->end > end) break;
    }
    delivered_ = end;
  }

 private:
  void slide() {
    deliver();
    const size_t gone = window_.size() - keep_;
    std::memmove(window_.data(), window_.data() + gone, keep_);
    window_.resize(keep_);
    first_ += gone;
  }

  size_t keep_, capacity_;
  Buffer window_;
  uint64_t first_ = 0;  // where the window begins in the content
  uint64_t delivered_ = 0;
  const SnappyRange* range_;
  const SnappyRange* const ranges_end_;
};

Decoded decode_ranges(const uint8_t* in, size_t n, size_t keep, const SnappyRange* ranges,
                      size_t count) {
  uint32_t length;
  const size_t skip = snappy_length(in, n, &length);
  if (skip == 0 || (count > 0 && ranges[count - 1].end > length)) return Decoded::malformed;
  const uint64_t wanted = count > 0 ? ranges[count - 1].end : 0;
  const uint8_t* ip = in + skip;
  const uint8_t* const end = in + n;
  Window window(length, keep, ranges, count);
  while (ip < end && (window.position() < wanted || wanted == length)) {
    size_t size, offset;
    if (!read_element(ip, end, size, offset) || size > length - window.position()) {
      return Decoded::malformed;
    }
    if (offset == 0) {
      window.literal(ip, size);
      ip += size;
    } else if (Decoded copied = window.copy(offset, size); copied != Decoded::yes) {
      return copied;
    }
  }
  if (window.position() < wanted) return Decoded::malformed;
  window.deliver();
  return Decoded::yes;
}

inline uint32_t hash4(uint32_t v) { return (v * 0x9e3779b1u) >> (32 - kHashBits); }

uint8_t* put_literal(uint8_t* op, const uint8_t* from, size_t n) {
  size_t m = n - 1;
  if (m < 60) {
    *op++ = static_cast<uint8_t>(m << 2);
  } else if (m < 256) {
    *op++ = 60 << 2;
    *op++ = static_cast<uint8_t>(m);
  } else {
    *op++ = 61 << 2;
    store(op, static_cast<uint16_t>(m));
    op += 2;
  }
  std::memcpy(op, from, n);
  return op + n;
}

uint8_t* put_copy(uint8_t* op, size_t offset, size_t n) {
  while (n > 0) {
    // Leave at least four for the last element, the least that the short form can say.
    size_t now = n > 64 ? (n < 68 ? 60 : 64) : n;
    if (now >= 4 && now <= 11 && offset < 2048) {
      *op++ = static_cast<uint8_t>(1 | (now - 4) << 2 | (offset >> 8) << 5);
      *op++ = static_cast<uint8_t>(offset);
    } else {
      *op++ = static_cast<uint8_t>(2 | (now - 1) << 2);
      store(op, static_cast<uint16_t>(offset));
      op += 2;
    }
    n -= now;
  }
  return op;
}

uint8_t* encode_fragment(const uint8_t* in, size_t n, uint8_t* op, uint16_t* table) {
  std::memset(table, 0, sizeof(uint16_t) << kHashBits);
  size_t literal = 0, at = 1;
  // The search moves faster the longer it finds nothing: incompressible data costs little.
  size_t misses = 32;
  while (at + 4 <= n) {
    uint32_t word = load<uint32_t>(in + at);
    uint32_t slot = hash4(word);
    size_t before = table[slot];
    table[slot] = static_cast<uint16_t>(at);
    if (before >= at || load<uint32_t>(in + before) != word) {
      at += misses++ >> 5;
      continue;
    }
    size_t length = 4;
    while (at + length < n && in[before + length] == in[at + length]) ++length;
    if (at > literal) op = put_literal(op, in + literal, at - literal);
    op = put_copy(op, at - before, length);
    at += length;
    literal = at;
    misses = 32;
    if (at + 4 <= n) table[hash4(load<uint32_t>(in + at - 1))] = static_cast<uint16_t>(at - 1);
  }
  if (literal < n) op = put_literal(op, in + literal, n - literal);
  return op;
}

}  // namespace

bool snappy_decode_ranges(const uint8_t* in, size_t n, const SnappyRange* ranges, size_t count) {
  // Encoders look back 64 KiB at most, but the format lets them look further.
  const Decoded decoded = decode_ranges(in, n, kFragment, ranges, count);
  if (decoded != Decoded::reaches_further) return decoded == Decoded::yes;
  return decode_ranges(in, n, UINT32_MAX, ranges, count) == Decoded::yes;
}

void snappy_encode(const uint8_t* in, size_t n, Buffer& out) {
  std::vector<uint16_t> table(size_t{1} << kHashBits);
  size_t length = n;
  do {
    out.push(static_cast<uint8_t>(length < 0x80 ? length : length | 0x80));
    length >>= 7;
  } while (length > 0);
  for (size_t done = 0; done < n; done += kFragment) {
    size_t now = n - done < kFragment ? n - done : kFragment;
    // The worst case is literals all through: three bytes of tag for each run.
    uint8_t* start = out.tail(now + now / 6 + 32);
    out.advance(static_cast<size_t>(encode_fragment(in + done, now, start, table.data()) - start));
  }
}

}  // namespace monolith
