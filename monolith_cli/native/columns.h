// Entries as columns: one array a field, for NumPy.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "bytes.h"
#include "entry.h"

namespace monolith {

// Values of one field over all entries, end to end, with how many each entry has.
struct FloatColumn {
  Buffer values;                  // float32
  std::vector<uint32_t> lengths;  // an entry each

  void append(const std::vector<Floats>& runs);
};

struct IntegerColumn {
  std::vector<int64_t> values;
  std::vector<uint32_t> lengths;
};

struct Columns {
  std::vector<int64_t> fids;
  std::vector<uint32_t> slots;
  std::vector<int64_t> times;
  FloatColumn embedding;
  // Keyed by (index in OptimizerDump, type, field number).
  using Key = std::tuple<uint32_t, uint32_t, uint32_t>;
  std::map<Key, FloatColumn> floats;
  std::map<Key, IntegerColumn> integers;

  void append(const Entry& entry, FidVersion version, bool with_embedding, bool with_optimizers);
};

}  // namespace monolith
