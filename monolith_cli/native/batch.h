// Entries as columns whose layout is known, for files that analysts read.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "bytes.h"
#include "entry.h"
#include "statistics.h"

namespace monolith {

// One column of a Batch: the values of all rows end to end, and how many each row has.
struct BatchColumn {
  Buffer values;                  // float32 or int64
  std::vector<uint32_t> lengths;  // of the rows so far that have been reached
  uint64_t rows_with = 0;         // rows with a value
  uint32_t least = UINT32_MAX;    // values of a row, among the rows that have been reached
  uint32_t most = 0;
};

// A run of entries, column by column. Fields without a value in any entry are no columns, but for the
// embedding.
class Batch {
 public:
  Batch(FidVersion version, bool with_embedding, bool with_optimizers);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void add(const uint8_t* data, const ValuePlaces& places);
  // Brings all columns to the number of rows.
  void end();

  size_t rows() const { return fids_.size(); }
  const std::vector<int64_t>& fids() const { return fids_; }
  const std::vector<int16_t>& slots() const { return slots_; }
  const std::vector<int64_t>& times() const { return times_; }
  // By FieldKey.
  const std::map<uint32_t, BatchColumn>& columns() const { return columns_; }
  // Has an entry more optimizers than there are keys for?
  bool overflown() const { return overflown_; }

 private:
  FidVersion version_;
  bool with_embedding_, with_optimizers_;
  bool overflown_ = false;
  std::vector<int64_t> fids_, times_;
  std::vector<int16_t> slots_;
  std::map<uint32_t, BatchColumn> columns_;
  // The columns of the last entry in their order: most entries have the same ones.
  std::vector<std::pair<uint32_t, BatchColumn*>> recent_;
};

}  // namespace monolith
