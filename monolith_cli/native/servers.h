// Tables that are spread over servers by feature id.
#pragma once

#include <cstdint>
#include <vector>

#include "entry.h"
#include "parts.h"

namespace monolith {

// The training system has two rules, which differ for feature ids with the top bit.
enum class ServerRule : uint8_t {
  floored,        // of the signed number, rounding down: never negative
  unsigned_bits,  // of the same bits as an unsigned number
};

inline uint32_t server_of(int64_t fid, uint32_t servers, ServerRule rule) {
  if (rule == ServerRule::unsigned_bits) {
    return static_cast<uint32_t>(static_cast<uint64_t>(fid) % servers);
  }
  const int64_t left = fid % static_cast<int64_t>(servers);
  return static_cast<uint32_t>(left < 0 ? left + static_cast<int64_t>(servers) : left);
}

inline ServerRule rule_of(bool is_unsigned) {
  return is_unsigned ? ServerRule::unsigned_bits : ServerRule::floored;
}

// Over how many servers entries are spread, and by which rule; where one of them is meant, which.
struct Spreading {
  uint32_t servers = 1;
  uint32_t server = 0;
  ServerRule rule = ServerRule::floored;
};

// Keeps the low 48 bits, and puts the slot above them.
inline int64_t v2_of_v1(int64_t fid) {
  const uint64_t bits = static_cast<uint64_t>(fid);
  return static_cast<int64_t>(bits >> 54 << 48 | (bits & ((uint64_t{1} << 48) - 1)));
}

// How entries of one server keep to the rules.
struct ServerCounts {
  uint64_t entries = 0;
  uint64_t high = 0;               // those whose feature id has the top bit
  uint64_t wrong[2] = {0, 0};      // by rule, those that belong to another server
  int64_t examples[2] = {0, 0};    // the first one of these
  void add(int64_t fid, uint32_t server, uint32_t servers);
};

// The feature ids of a range, in parts by a hash of what they become.
class FidCollector {
 public:
  FidCollector(Reader& reader, const Filter* filter)
      : reader_(reader), filter_(filter), heads_(reader) {}
  void read();
  Parts parts();

 private:
  Reader& reader_;
  const Filter* filter_;
  HeadReader heads_;
  Buffer fids_;
  std::vector<uint16_t> part_of_;  // each of them
  std::vector<uint64_t> counts_ = std::vector<uint64_t>(kParts);
};

// Different v1 feature ids that become one of v2.
struct Collision {
  int64_t fid;
  int64_t one, other;
};

// Looks for them in the parts [first, last), in order of hash. Returns how many v2 feature ids
// several become, and keeps the first ones.
uint64_t find_collisions(const std::vector<const Parts*>& parts, size_t first, size_t last,
                         size_t most, std::vector<Collision>& found);

}  // namespace monolith
