// Writes EntryDump records, their frames, and SNAPPY blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bytes.h"
#include "wire.h"

namespace monolith {

// The values of one field for many entries, end to end. `lengths` says how many each entry has;
// null means `width` for all.
struct ValueColumn {
  uint32_t field = 0;
  const uint8_t* values = nullptr;  // float32, or int64 for an integer field
  const uint32_t* lengths = nullptr;
  size_t width = 0;
};

struct OptimizerColumns {
  uint32_t type = 0;
  std::vector<ValueColumn> fields;  // ascending by field number
};

struct EntryColumns {
  size_t entries = 0;
  const int64_t* fids = nullptr;
  ValueColumn embedding;
  const int64_t* times = nullptr;  // null: the field is left out
  std::vector<OptimizerColumns> optimizers;
};

// Appends the entries as framed records, fields in ascending order and floats unpacked, as
// protobuf's own serializer writes them.
void encode_entries(const EntryColumns& columns, Buffer& out);

// Where the data of a record of that length goes, behind `out`, its header being written. The caller
// writes it there and its checksum behind it, and then advances by the frame.
uint8_t* start_frame(size_t n, Buffer& out);

// Appends one framed record.
void encode_frame(const uint8_t* data, size_t n, Buffer& out);

// Appends `n` bytes as SNAPPY blocks, each the compressed length and then a raw snappy block of at
// most kSnappyBlockBytes, which is what TensorFlow's reader takes.
void encode_blocks(const uint8_t* data, size_t n, Buffer& out);

}  // namespace monolith
