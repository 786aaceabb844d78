// Reads the records of a range of a stream: finds their frames, checks them, survives damage.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "bytes.h"
#include "crc32c.h"
#include "reads.h"
#include "source.h"

namespace monolith {

enum class DamageKind : uint8_t {
  truncated_header,
  bad_length_crc,
  record_too_long,
  truncated_data,
  bad_data_crc,
  bad_message,
  truncated_block,
  bad_block_length,
  bad_block,
};

const char* name_of(DamageKind kind);

struct Damage {
  DamageKind kind;
  uint64_t position;  // stream bytes [position, end) are left out
  uint64_t end;
  uint64_t offset;    // where in the file the damage lies
  uint64_t length;    // what the damaged header says, where that is of interest
  bool one_record;    // exactly one record is lost; else nobody knows how many
};

// How a reader finds the first record that starts at or after its range's start.
enum class Start : uint8_t {
  exact,   // the range's start is a record's start
  search,  // look for something that is confirmed by what follows: a guess, to be stitched; where
           // the range has nothing of the kind, the start is the range's end
  walk,    // start the search up to a mebibyte earlier and follow the records up to the range:
           // exact in the first mebibyte, and not deceived by smaller payloads that hold TFRecords
};

struct RangeOptions {
  uint64_t start = 0;    // the range owns the records that start in [start, end)
  uint64_t end = 0;
  uint64_t floor = 0;    // a record's start at or before `start`, for Start::walk
  uint64_t ceiling = 0;  // a record's start or the stream's end at or after `end`
  Start how = Start::exact;
  bool verify = true;      // check the data's checksums (those of lengths always are)
  bool skip = false;       // note damage and go on behind it, instead of stopping there
  bool check_stop = false; // also check the header of the record that the range stops at
  size_t read_bytes = 0;   // the most in one read; 0 for what suits the file
  std::optional<uint32_t> read_ahead;  // how many reads to begin early; none for what suits the file
};

// The end of a range that goes on to the stream's end, wherever that is. From the start to there, a
// file whose blocks nobody has mapped is read, mapped and decoded in one pass.
constexpr uint64_t kStreamEnd = UINT64_MAX;

class Reader {
 public:
  Reader(std::shared_ptr<const Source> source, const RangeOptions& options);

  // Lets next() go on for some 64 MiB more, so that whoever calls can look for signals in between.
  void go_on() { pause_at_ = position() + (uint64_t{64} << 20); }

  // From now on, like() knows these shapes; null for none, and whenever one of them changes or goes.
  void use(const Shapes* shapes) {
    shapes_ = shapes;
    like_.fill(nullptr);
  }
  // Which of the shapes the last record has; null for none.
  const Shape* like() const { return like_[next_ - 1]; }

  // The next checked record, or null at the end of the range, at damage, or for a pause: after null
  // a reader that is not done() pauses.
  const Frame* next() { return next_ < count_ || refill() ? &frames_[next_++] : nullptr; }
  // At the end of the range, makes the checks that only the end allows. next() does so as well.
  void settle() { if (done()) refill(); }
  // Would next() answer without reading?
  bool buffered() const { return next_ < count_; }
  // Gives the last record back.
  void unread() { --next_; }
  // Is there a good header, or the stream's end, where the range starts?
  bool starts_well();
  // Reports that the last record is framed well but holds no EntryDump.
  void bad_message();

  uint64_t first() const { return first_; }        // where the range's first record starts
  uint64_t position() const { return next_ < count_ ? frames_[next_].position : position_; }
  bool failed() const { return failed_; }          // stopped at damage, without `skip`
  bool done() const { return next_ == count_ && (failed_ || position_ >= options_.end); }
  const std::vector<Damage>& damages() const { return damages_; }
  const Source& source() const { return *source_; }

 private:
  bool refill();
  size_t fill(uint64_t position, uint64_t n);
  void seek(uint64_t position);
  bool more(uint64_t up_to);
  bool more_plain(uint64_t up_to);
  bool more_blocks();
  bool one_more_block();
  const uint8_t* stored(uint64_t from, uint64_t n, uint64_t to);
  void use_map();
  uint8_t* at(uint64_t position) { return window_.data() + (position - base_); }
  bool at_hole() const { return hole_; }
  void pass_hole();
  void find_start();
  uint64_t search(uint64_t from, uint64_t give_up = UINT64_MAX);
  bool confirmed(uint64_t position);
  bool data_ok(uint64_t position, uint64_t length);
  bool repair(uint64_t position, uint64_t& next);
  void note(DamageKind kind, uint64_t position, uint64_t end, uint64_t length, bool one_record);
  void note_hole();
  void damaged_header(DamageKind kind, uint64_t length);
  void damaged_by_edge(uint64_t length, bool has_header);
  void check_stop();

  std::shared_ptr<const Source> source_;
  RangeOptions options_;
  uint64_t size_;          // of the stream; kStreamEnd until a pass without a map knows it
  Reads reads_;

  Buffer window_;          // stream bytes [base_, base_ + window_.size())
  uint64_t base_ = 0;
  const BlockMap* map_ = nullptr;  // SNAPPY: the source's, or what this pass has met so far
  BlockMap met_;
  bool one_pass_ = false;
  size_t block_ = 0;       // the next block to decode into the window (SNAPPY)
  bool hole_ = false;      // that block cannot be decoded
  size_t passed_ = 0;      // blocks before this one have been noted if they are broken
  Buffer stored_;          // compressed bytes [stored_base_, …)
  uint64_t stored_base_ = 0;
  uint64_t stored_limit_ = 0;  // where the range's blocks end

  std::array<Frame, 128> frames_;
  const Shapes* shapes_ = nullptr;
  std::array<const Shape*, 128> like_{};  // of frames_
  size_t next_ = 0, count_ = 0;
  uint64_t position_ = 0;  // of the first record that is not in frames_
  uint64_t first_ = 0;
  uint64_t pause_at_ = UINT64_MAX;
  bool started_ = false;   // first_ is known
  bool bad_data_ = false;  // the record at position_ has failed its checksum
  bool failed_ = false;
  bool stop_checked_ = false;
  uint64_t search_budget_ = 0;
  std::vector<Damage> damages_;
};

}  // namespace monolith
