// The join of two tables' rows: what was added, removed, changed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "pairing.h"
#include "parts.h"

namespace monolith {

class Join {
 public:
  // With `sums` it also makes the digests of both tables, with `bits` and `changes` it keeps the fids
  // of what is not the same, and all of that.
  Join(FidVersion version, bool sums, FidBits* bits, bool changes)
      : with_sums_(sums),
        bits_(bits),
        with_changes_(changes),
        slots_(version),
        counts_at_once_(bits == nullptr && !changes) {}

  // Joins the parts [first, last) of two tables. Changes come in order of hash.
  void run(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b, size_t first,
           size_t last);

  const std::vector<SlotFates>& slots() const { return slots_.all(); }
  const std::vector<Change>& changes() const { return changes_; }
  uint64_t sum_a() const { return sum_a_; }
  uint64_t sum_b() const { return sum_b_; }

 private:
  // The first row of a fid on each side, and in a bit that no address has, whether there are more.
  struct Cell {
    uintptr_t a_bits = 0;
    uintptr_t b_bits = 0;
    bool empty() const { return (a_bits | b_bits) == 0; }
    bool again() const { return a_bits & 1; }
    const Row* a() const { return reinterpret_cast<const Row*>(a_bits & ~uintptr_t{1}); }
    const Row* b() const { return reinterpret_cast<const Row*>(b_bits); }
    int64_t fid() const { return a() != nullptr ? a()->fid : b()->fid; }
  };

  size_t home_of(int64_t fid) const {
    return static_cast<size_t>(place_of(fid) << kPartBits >> (64 - log_cells_));
  }
  Cell& cell_of(int64_t fid);
  template <class Ahead, class Take>
  void each_row(const std::vector<const Parts*>& parts, size_t first, size_t last, Ahead ahead,
                Take take);
  void add_a(const Row* row);
  void add_b(const Row* row);
  void settle(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b, size_t first,
              size_t last);
  void settle_again(std::vector<Row>& a, std::vector<Row>& b);
  void note(Fate fate, const Row* a, const Row* b, bool again);

  bool with_sums_;
  FidBits* bits_;
  bool with_changes_;
  FatesBySlot slots_;
  std::vector<Change> changes_;
  uint64_t sum_a_ = 0, sum_b_ = 0;
  bool counts_at_once_;  // as nothing but numbers is asked for
  std::vector<Cell> cells_;
  unsigned log_cells_ = 0;
  size_t several_ = 0;
};

}  // namespace monolith
