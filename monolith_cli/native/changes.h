// Entries that differ, with their values: how far they have moved, and what makes one side the other.
#pragma once

#include <cstdint>
#include <vector>

#include "pairing.h"
#include "parts.h"

namespace monolith {

struct ChangeOptions {
  FidVersion version = FidVersion::v2;
  // Values a and b are close if |a - b| <= absolute + relative * |a|.
  double absolute = 0;
  double relative = 0;
  size_t top = 0;         // so many of the largest moves are kept
  bool rows = false;      // whether what differs by more is kept
  bool delta = false;     // whether the records of a delta are made
  uint32_t table = 0;     // the table's number in them
};

// How far an embedding has moved.
struct Move {
  int64_t fid;
  double distance;  // the L2 norm of the difference
  double largest;   // the largest difference of one value
  double norm;      // the L2 norm before
};

// What is done to the entries of one fid when a delta is applied.
enum class DeltaOp : uint8_t {
  add = 1,      // it has one more
  replace = 2,  // all that it has make room for this one
  remove = 3,   // all that it has go
};

// Goes through entries that were collected by fid, part by part.
class Changes {
 public:
  explicit Changes(const ChangeOptions& options)
      : close_slots(options.version), options_(options) {}

  void run(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b, size_t first,
           size_t last);

  // Of pairs whose values differ: how many; of these, how many are close all the same, how many
  // cannot be, because they have not as many values or other optimizers, and of how many the distance
  // is no finite number.
  int64_t changed = 0, close = 0, shapes = 0, non_finite = 0;
  FatesBySlot close_slots;            // what became of those that are close
  std::vector<Change> rows;           // what is neither close nor of another time alone
  double largest = 0;                 // difference of one value of an embedding
  std::vector<double> distance_sums;  // of each part that has some, in order
  std::vector<Move> moves;            // the largest distance first
  Buffer delta;                       // framed records,
  int64_t delta_changes = 0;          // and how many they are

 private:
  struct StoredRow : Row {
    const Stored* stored;
  };
  struct Place {
    uint64_t place;
    bool in_b;
    const Stored* stored;
  };

  void run_part(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b, size_t part);
  StoredRow row_of(const Stored& stored);
  bool compare(const Stored& a, const Stored& b);
  void keep(const Move& move);
  void write(DeltaOp op, int64_t fid, const Stored* entry);

  ChangeOptions options_;
  DigestPlan plan_{nullptr};
  Entry one_, other_;
  std::vector<float> values_, others_;
  double part_sum_ = 0;
  bool part_has_ = false;
};

}  // namespace monolith
