// Deltas read back (protos/delta.proto): the entries that they take from tables, and those that they
// bring.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "changes.h"
#include "reader.h"

namespace monolith {

// Feature ids that are looked up often and never change: their places in ascending order, and where
// those with the same first bits begin. Some 9 bytes each.
class FidIndex {
 public:
  FidIndex() { seal(); }
  explicit FidIndex(std::vector<uint64_t> places) : places_(std::move(places)) { seal(); }

  void add(int64_t fid) { places_.push_back(place_of(fid)); }
  // After the last one, before the first is looked up.
  void seal();

  bool has(int64_t fid) const {
    const uint64_t place = place_of(fid);
    const uint64_t* const starts = starts_.data() + (place >> shift_);
    const uint64_t from = starts[0], to = starts[1];
    if (to - from > kLongest) {
      return std::binary_search(places_.begin() + static_cast<std::ptrdiff_t>(from),
                                places_.begin() + static_cast<std::ptrdiff_t>(to), place);
    }
    bool found = false;
    for (uint64_t i = from; i < to; ++i) found |= places_[i] == place;
    return found;
  }
  size_t size() const { return places_.size(); }
  size_t bytes() const { return 8 * (places_.capacity() + starts_.capacity()); }
  const std::vector<uint64_t>& places() const { return places_; }

 private:
  static constexpr uint64_t kLongest = 32;

  unsigned shift_ = 63;
  std::vector<uint64_t> places_;
  std::vector<uint64_t> starts_;
};

// One record of a delta. `record` is the field that is set, 0 for none.
struct DeltaRecord {
  uint32_t record = 0;
  uint32_t table = 0;
  uint32_t op = 0;
  int64_t fid = 0;
  bool has_entry = false;
  Input entry{nullptr, nullptr};
  uint64_t changes = 0;  // of an end
};

constexpr uint32_t kDeltaHeader = 1, kDeltaChange = 2, kDeltaEnd = 3;

// False if protobuf's parser would refuse it. The header is not looked into.
bool parse_delta_record(const uint8_t* p, size_t n, DeltaRecord& record);

// What a delta does to one table.
struct DeltaPart {
  uint32_t table;
  uint64_t start, end;         // where in the stream its changes lie
  uint64_t changes = 0;
  uint64_t entries = 0;        // those that it brings,
  uint64_t sum = 0;            // and of these the sum of terms
  FidIndex gone{};             // all entries with these feature ids make room
};

// Reads the records of a delta from the first one on, and finds out what it does to each table.
class DeltaScan {
 public:
  // Goes on until the reader pauses, or a record is not what it has to be.
  void read(Reader& reader);

  std::vector<DeltaPart> parts;  // in order
  uint64_t changes = 0;
  bool ended = false;       // the end has been read, and has told the number of changes
  std::string problem;      // what is wrong with a record; empty for nothing,
  uint64_t problem_at = 0;  // and where in the stream that is

 private:
  const char* take(const Frame& frame);
  const char* take_change(const Frame& frame, const DeltaRecord& record);

  uint64_t records_ = 0;
  DigestPlan plan_{nullptr};
  uint64_t last_place_ = 0;
};

// What a delta leaves of the entries of a table, and the digests that tell whether it fits.
class DeltaSieve {
 public:
  explicit DeltaSieve(const FidIndex* gone) : gone_(gone) {}

  // Whether the entry stays.
  bool keeps(const Row& row) {
    const uint64_t term = term_of(row);
    ++entries;
    sum += term;
    if (gone_ == nullptr || !gone_->has(row.fid)) return true;
    ++gone_entries;
    gone_sum += term;
    return false;
  }

  uint64_t entries = 0, sum = 0;            // of all
  uint64_t gone_entries = 0, gone_sum = 0;  // of those that make room

 private:
  const FidIndex* gone_;
};

// Appends the frames of entries that stay, up to so many bytes or a pause; how many they are. Without
// `out` it looks at all.
uint64_t read_sieved(Reader& reader, RowReader& rows, DeltaSieve& sieve, size_t most_bytes,
                     Buffer* out);

// Appends the entries that are left of the reader's range of a delta, framed, up to so many bytes or
// a pause; how many they are. What is no change is passed over.
uint64_t read_delta_entries(Reader& reader, size_t most_bytes, Buffer& out);

}  // namespace monolith
