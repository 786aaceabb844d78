// Variant tensors in tensor bundles, and the iterator states in them: where everything lies.
//
// What the messages mean is told in formats/variant.py. As in wire.h, what protobuf's own parser
// accepts is accepted. Nothing is copied; every span lies within the given bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "wire.h"

namespace monolith {

// Why scan_variants() stopped.
enum class VariantStop : uint8_t {
  count,       // as many as were asked for
  cut,         // the next element is not there whole
  bad_length,  // its length is no number
  bad_crc,
};

struct VariantScan {
  std::vector<Input> elements;
  size_t consumed = 0;  // bytes of whole elements, from the start
  uint32_t crc = 0;     // of all elements so far, to go on from
  uint64_t next = 0;    // with `cut`, the bytes of the next element, framing included; 0: unknown
  VariantStop stop = VariantStop::count;
};

// Elements of a variant tensor as a data file has them: a varint of length, the element, and the
// masked checksum of all elements up to here, each length as eight bytes, the checksums between
// them included. `crc` is that of what came before.
VariantScan scan_variants(Input in, uint64_t count, uint32_t crc);

// A VariantTensorDataProto.
struct Variant {
  Input type_name{nullptr, nullptr};
  Input metadata{nullptr, nullptr};
  std::vector<Input> tensors;
};

// False if the bytes are no such message.
bool parse_variant(Input in, Variant& out);

struct StateValue {
  Input key{nullptr, nullptr};
  uint64_t dtype = 0;            // as in types.proto
  std::vector<uint64_t> shape;
  std::vector<uint64_t> sizes;   // of what it is made of; if not compressed, of strings alone
  Input tensor{nullptr, nullptr};  // if not compressed, the TensorProto
};

struct StatePart {
  Input name{nullptr, nullptr};
  std::vector<StateValue> values;
  bool compressed = false;
  Input content{nullptr, nullptr};  // if compressed, all values in one snappy block
  uint64_t content_bytes = 0;       // what the block says of its content, and the sizes too
};

// Takes an element apart that is a part of an iterator's state. Returns null, or what is wrong.
const char* parse_state_part(Input in, StatePart& out);

}  // namespace monolith
