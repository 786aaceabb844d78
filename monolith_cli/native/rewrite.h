// Entries on their way from one table into another: some go, some change, the others stay bit by bit.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "digest.h"
#include "entry.h"
#include "statistics.h"

namespace monolith {

// Which entries something is done about, or which values of theirs.
enum class Where : uint8_t { nothing, nan, nonfinite, zero, norm_above };

struct RewriteOptions {
  FidVersion version = FidVersion::v2;
  const Filter* slots = nullptr;  // those that stay; null for all
  bool drop_all = false;
  Where where = Where::nothing;
  double norm = 0;                // of norm_above
  bool set_zero = false;          // else what it is about goes
  int64_t oldest = std::numeric_limits<int64_t>::min();  // entries of this time or before go
  bool snappy = false;            // the output is in SNAPPY blocks
  bool discard = false;           // there is none
};

// What became of an entry.
enum class Passage : uint8_t { same, changed, slot, where, expired };
constexpr size_t kPassages = 5;

// How many entries of a slot had which passage.
struct SlotPassages {
  uint32_t slot = 0;
  std::array<int64_t, kPassages> entries{};
};

// A number for a record: sums of them tell two multisets of records apart, whatever their order.
// Records that have the same number have the same feature id, length and checksum.
inline uint64_t record_number(int64_t fid, uint64_t length, uint32_t masked_crc) {
  return folded_product(static_cast<uint64_t>(fid) ^ 0x2d358dccaa6c78a5u,
                        (length << 32 | masked_crc) ^ 0x8bb84b93962eacc9u);
}

// What goes into one table: framed entries as they are to be stored, and what is known of them.
struct Output {
  std::unique_ptr<Buffer> data = std::make_unique<Buffer>();
  uint64_t entries = 0;
  uint64_t stream_bytes = 0;  // uncompressed
  uint64_t sum = 0;           // of record numbers
  uint32_t crc = 0;           // of the data
};

class Rewriter {
 public:
  // `size` is how many bytes are expected.
  Rewriter(Reader& reader, const RewriteOptions& options, size_t size);
  // Takes what is left of the reader's range, up to a pause.
  void read();
  // Once all is read.
  Output output();
  const std::vector<SlotPassages>& slots() const { return slots_; }

 private:
  void take(const Frame& frame);
  void flush();
  Passage passage_of(const Frame& frame, int64_t fid, const ValuePlaces& places) const;
  bool concerns(const uint8_t* data, const ValuePlaces& places) const;
  void put_changed(const Frame& frame, int64_t fid, const ValuePlaces& places);
  void set_zero(uint8_t* data, const ValuePlaces& places) const;
  SlotPassages& of(int64_t fid);

  Reader& reader_;
  const RewriteOptions& options_;
  PlacesReader places_;
  Output out_;
  std::vector<SlotPassages> slots_;
  const uint8_t* run_ = nullptr;  // frames end to end that stay as they are
  size_t run_bytes_ = 0;
  std::vector<uint16_t> index_ = std::vector<uint16_t>(kSlots);  // of each slot in slots_, plus one
};

}  // namespace monolith
