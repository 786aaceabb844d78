#pragma once

#include <algorithm>
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

// The same for many numbers most of which are near to each other: once there are some, those near to
// the last one have counts side by side, kBefore of which are for smaller ones.
template <uint32_t kNear, uint32_t kBefore>
class NearCounts {
 public:
  void add(uint32_t key) {
    const uint32_t at = key - first_;
    if (at >= near_.size()) return add_other(key);
    if (++near_[at] == 0) others_.add(key, uint64_t{1} << 32);
  }
  void add_to(SparseCounts& counts) const {
    for (uint32_t at = 0; at < near_.size(); ++at) {
      if (near_[at] != 0) counts.add(first_ + at, near_[at]);
    }
    counts.add(others_);
  }

 private:
  void add_other(uint32_t key) {
    others_.add(key);
    if (!near_.empty() || ++some_ < kNear / 8) return;
    near_.resize(kNear);
    first_ = key - std::min(key, kBefore);
  }

  uint32_t first_ = 0, some_ = 0;
  std::vector<uint32_t> near_;
  SparseCounts others_;
};

}  // namespace monolith
