// What was found in some entries, and how it is put together with what was found in others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "bytes.h"
#include "sparse_counts.h"
#include "wire.h"

namespace monolith {

// Optimizers of an entry have fields of their own up to this index; those behind share one.
constexpr uint32_t kLastOptimizer = 64;

// Which field a value is of: the embedding, or one of an optimizer's.
struct FieldKey {
  static constexpr uint32_t kEmbedding = 0;
  static uint32_t of(uint32_t index, uint32_t type, uint32_t field) {
    return (std::min(index, kLastOptimizer) + 1) << 8 | type << 4 | field;
  }
  static uint32_t index(uint32_t key) { return (key >> 8) - 1; }
  static uint32_t type(uint32_t key) { return key >> 4 & 15; }
  static uint32_t field(uint32_t key) { return key & 15; }
  static FieldKind kind(uint32_t key) {
    return key == kEmbedding ? FieldKind::floats
                             : kOptimizers[type(key)].fields[field(key) - 1].kind;
  }
  // May a key be one that of() makes?
  static bool is_one(uint32_t key) {
    return key == kEmbedding ||
           (key >> 8 != 0 && key >> 8 <= kLastOptimizer + 1 && kOptimizers[type(key)].name != nullptr &&
            field(key) >= 1 && field(key) <= optimizer_fields(type(key)));
  }
};

struct FieldSummary {
  uint64_t values = 0;     // all of them
  uint64_t nan = 0;
  uint64_t plus_inf = 0;
  uint64_t minus_inf = 0;
  uint64_t huge = 0;       // of the finite ones
  uint64_t rows = 0;       // entries that have any
  uint64_t zero_rows = 0;  // whose values are all 0
  // Of the finite ones; so is what follows. A mean in two parts, the first of which is near to it,
  // has the digits that the difference of two means needs.
  double about = 0;
  double off = 0;          // what the mean lies above that
  double squares = 0;      // the sum of the squared distances from the mean
  double min = 0;
  double max = 0;
  int64_t least = 0;       // of integers, min and max
  int64_t most = 0;

  uint64_t finite() const { return values - nan - plus_inf - minus_inf; }
  double mean() const { return about + off; }
  void merge(const FieldSummary& other);
};

// The highest bits of a norm's square: steps of at most 1/64.
constexpr int kNormBits = 6;
inline uint32_t norm_bin(double square) {
  uint64_t bits;
  std::memcpy(&bits, &square, sizeof bits);
  return static_cast<uint32_t>(bits >> (52 - kNormBits));
}

constexpr int64_t kHour = 3600;
constexpr int64_t kTimesEnd = int64_t{1} << 33;  // seconds; no time is behind it

struct GroupSummary {
  uint64_t entries = 0;
  uint64_t dim_min = std::numeric_limits<uint64_t>::max();
  uint64_t dim_max = 0;
  uint64_t nan_entries = 0;  // that have such a value anywhere
  uint64_t inf_entries = 0;
  uint64_t huge_entries = 0;
  uint64_t normed = 0;       // embeddings that have values, all of them finite
  double least_square = 0;   // the smallest and largest of their norms, squared
  double most_square = 0;
  SparseCounts norms;        // by norm_bin() of a norm's square
  uint64_t timed = 0;        // with a time that can be one
  uint64_t no_time = 0;      // without, or 0
  uint64_t odd_times = 0;
  int64_t oldest = 0;        // seconds
  int64_t newest = 0;
  SparseCounts hours;        // of times
  std::map<uint32_t, FieldSummary> fields;

  void merge(const GroupSummary& other);

  // A norm that this share of all are not above; not off by more than 1/256 of itself, and exact at
  // both ends. There must be norms.
  double norm_at(double share) const;
  // How many norms above 0 are in [2^e, 2^(e + 1)), by e.
  std::vector<std::pair<int, uint64_t>> norms_by_power() const;
  // How many times are so many whole days before a newest one, and how many seconds a share of all is
  // not farther back. Both count whole hours, from the beginnings of the hours that the times are in.
  std::vector<std::pair<int64_t, uint64_t>> ages_by_day(int64_t newest) const;
  int64_t age_at(double share, int64_t newest) const;
};

class Summary {
 public:
  static constexpr int64_t kAll = -1;

  std::map<int64_t, GroupSummary> groups;  // by slot, or kAll alone

  void merge(const Summary& other);
  void pack(Buffer& out) const;
  // False if pack() did not make that.
  bool unpack(const uint8_t* data, size_t n);
};

}  // namespace monolith
