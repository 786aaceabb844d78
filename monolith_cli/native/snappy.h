// Raw snappy blocks (the format description of google/snappy), and the bounds of the block framing
// that TensorFlow puts around them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bytes.h"

namespace monolith {

// TensorFlow's reader refuses a block that holds more than this, uncompressed.
constexpr size_t kSnappyBlockBytes = 262144;

// Reads the uncompressed length that starts a block. Returns the bytes it took, or 0 if malformed.
size_t snappy_length(const uint8_t* in, size_t n, uint32_t* length);

// Could `compressed` bytes hold `length`? No element makes more than 64 bytes out of three.
inline bool snappy_plausible(uint64_t compressed, uint64_t length) {
  return length <= compressed * 22 + 64;
}

// Decodes a whole block. `out` holds the length that snappy_length() gave, and kSlack bytes more;
// `in` is readable for kSlack bytes past its end. False if the block is malformed.
bool snappy_decode(const uint8_t* in, size_t n, uint8_t* out, size_t length);

// A part of a block's content, and where it goes.
struct SnappyRange {
  uint32_t start, end;
  uint8_t* out;
};

// Decodes parts of a block: ascending, apart, and within the stated length. Unlike above, neither
// input nor output needs slack. Decoding goes as far as the last part, and keeps no more of the
// content than copies usually reach back; what is behind the last part is not looked at. False if
// the block is malformed.
bool snappy_decode_ranges(const uint8_t* in, size_t n, const SnappyRange* ranges, size_t count);

// Appends one block.
void snappy_encode(const uint8_t* in, size_t n, Buffer& out);

}  // namespace monolith
