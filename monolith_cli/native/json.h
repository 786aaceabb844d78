// Entries as JSON, one object a line.
#pragma once

#include <cstdint>
#include <string>

#include "bytes.h"
#include "entry.h"

namespace monolith {

struct JsonOptions {
  enum Column : uint32_t { fid = 1, slot = 2, table = 4, embedding = 8, opt = 16, time = 32 };
  uint32_t columns = fid | slot | table | embedding | opt | time;
  FidVersion version = FidVersion::v2;
  bool number_ids = false;      // fids as numbers; as strings they survive a double
  bool name_non_finite = false;  // NaN, Infinity, -Infinity, which is no JSON; else null
  std::string table_name = "null";  // already JSON
};

// Appends one line. Adds to `non_finite` the floats that JSON cannot say.
void append_json(const Entry& entry, const JsonOptions& options, Buffer& out, uint64_t& non_finite);

}  // namespace monolith
