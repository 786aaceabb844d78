// Entries on their way from one table into another: some go, some change, the others stay bit by bit.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "delta.h"
#include "digest.h"
#include "entry.h"
#include "parts.h"
#include "servers.h"
#include "spare.h"
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
  DeltaSieve* sieve = nullptr;    // what it does not keep goes before all else
  bool brought = false;           // the range is of a delta, and its entries are what it brings
  bool convert = false;           // v1 feature ids become those of v2
  Spreading only;                 // entries of another server are none of these
  Spreading targets;              // a table for each server
  bool snappy = false;            // the output is in SNAPPY blocks
  bool discard = false;           // there is none
};

// What became of an entry.
enum class Passage : uint8_t { same, changed, brought, slot, where, expired, gone };
constexpr size_t kPassages = 7;

inline bool arrives(Passage passage) { return passage <= Passage::brought; }

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
  Output() = default;
  Output(Output&&) = default;
  Output& operator=(Output&&) = default;
  ~Output() { give_spare(std::move(data)); }

  std::unique_ptr<Buffer> data = take_spare();
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
  // Once all is read: what goes into the table of each server.
  std::vector<Output> outputs();
  const std::vector<SlotPassages>& slots() const { return slots_; }

 private:
  // An entry; its time and places are known only where they are asked for.
  struct Seen {
    const uint8_t* data;
    size_t bytes;
    int64_t fid;
    int64_t time;
    const uint8_t* fid_at;  // null without one
    const ValuePlaces* places;
  };

  void take(const Frame& frame);
  void take_sieved(const Frame& frame);
  void take_brought(const Frame& frame);
  void take(const Seen& seen, const Frame* frame);
  const ValuePlaces* parse(const uint8_t* data, size_t n);
  void flush();
  void append(Output& out, const uint8_t* frames, size_t bytes);
  Passage passage_of(const Seen& seen) const;
  bool concerns(const uint8_t* data, const ValuePlaces& places) const;
  void put(Output& out, const Seen& seen, bool zero);
  void set_zero(uint8_t* data, const ValuePlaces& places) const;
  Output& output_of(int64_t fid);
  SlotPassages& of(int64_t fid);

  Reader& reader_;
  const RewriteOptions& options_;
  std::optional<PlacesReader> places_;  // one of both, or none
  std::optional<RowReader> rows_;
  ValuePlaces parsed_{nullptr};
  std::vector<Output> outs_;
  std::vector<SlotPassages> slots_;
  const uint8_t* run_ = nullptr;  // frames end to end that stay as they are, where there is one output
  size_t run_bytes_ = 0;
  std::vector<uint16_t> index_ = std::vector<uint16_t>(kSlots);  // of each slot in slots_, plus one
};

}  // namespace monolith
