#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace monolith {

// Counts by small numbers, of which most are 0.
class SparseCounts {
 public:
  static constexpr uint32_t kMostKey = (1u << 22) - 1;

  void add(uint32_t key, uint64_t n = 1);
  void add(const SparseCounts& other);
  // By number, ascending.
  std::vector<std::pair<uint32_t, uint64_t>> sorted() const;

 private:
  static constexpr int kCountBits = 41;
  size_t place_of(uint32_t key) const { return (key * 0x9e3779b1u) >> shift_; }
  void grow();

  // The number plus one above the bits of the count; 0 where nothing is. Half of them at least.
  std::vector<uint64_t> cells_;
  size_t used_ = 0;
  uint32_t shift_ = 32;
};

}  // namespace monolith
