// ckpt.info-<step> as its writers print it: counts by slot, and by name, in protobuf's text format.
#pragma once

#include <cstdint>

namespace monolith {

// A pair of the text. `name` is null for one of a slot.
struct CountPair {
  const char* name;
  uint64_t name_bytes;
  int64_t slot;
  int64_t count;
};

// Reads the pair at `at`, and returns where it ends. Null if the text is of another form there,
// which says nothing: there are other ways to write the same.
const char* read_count_pair(const char* at, const char* end, CountPair* pair);

}  // namespace monolith
