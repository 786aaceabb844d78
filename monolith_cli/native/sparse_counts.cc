#include "sparse_counts.h"

#include <algorithm>

namespace monolith {

void SparseCounts::add(uint32_t key, uint64_t n) {
  const uint64_t mark = static_cast<uint64_t>(key + 1) << kCountBits;
  if (cells_.empty()) grow();
  for (size_t i = place_of(key);; i = (i + 1) & (cells_.size() - 1)) {
    uint64_t& cell = cells_[i];
    if (cell >> kCountBits == key + 1) {
      cell += n;
      return;
    }
    if (cell == 0) {
      cell = mark + n;
      if (++used_ * 2 > cells_.size()) grow();
      return;
    }
  }
}

void SparseCounts::grow() {
  std::vector<uint64_t> old(cells_.empty() ? 16 : 2 * cells_.size());
  old.swap(cells_);
  shift_ = 32;
  for (size_t n = cells_.size(); n > 1; n /= 2) --shift_;
  for (uint64_t cell : old) {
    if (cell == 0) continue;
    size_t i = place_of(static_cast<uint32_t>(cell >> kCountBits) - 1);
    while (cells_[i] != 0) i = (i + 1) & (cells_.size() - 1);
    cells_[i] = cell;
  }
}

void SparseCounts::add(const SparseCounts& other) {
  for (const auto& [key, count] : other.sorted()) add(key, count);
}

std::vector<std::pair<uint32_t, uint64_t>> SparseCounts::sorted() const {
  std::vector<std::pair<uint32_t, uint64_t>> found;
  for (uint64_t cell : cells_) {
    if (cell == 0) continue;
    found.emplace_back(static_cast<uint32_t>(cell >> kCountBits) - 1,
                       cell & ((uint64_t{1} << kCountBits) - 1));
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace monolith
