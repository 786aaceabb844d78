// Single flipped bits: which one makes a checksum hold again, and what it is a bit of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace monolith {

// Bits of a block, counted from the lowest one of its first byte.
struct Flips {
  size_t count = 0;
  uint64_t bits[2];  // one at most lies in the data, one in the checksum
};

// The bits of `n` bytes that are followed by their masked checksum, each of which makes that hold if
// it is flipped. None if it holds already. Takes a few steps a byte, whatever the number of bits.
Flips flips_that_mend(const uint8_t* p, size_t n);

// What messages a bit can be placed in.
enum class Message : uint8_t { entry, contents, filter, filter_meta };

// The field that a bit belongs to, its value as it is read now, and with the bit flipped. Of a tag, a
// length or an unknown field `field` says what it comes before, and the values are those of the byte.
struct Place {
  std::string field, now, mended;
};

// Nothing if the bytes are no such message with that bit flipped.
std::optional<Place> place_of_bit(const uint8_t* p, size_t n, uint64_t bit, Message message);

}  // namespace monolith
