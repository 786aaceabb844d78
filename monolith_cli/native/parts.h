// What a pass over a range of entries leaves for a join of two tables: records in parts, by a hash of
// the feature id. The same part of two tables has all that they share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "bytes.h"
#include "digest.h"

namespace monolith {

constexpr unsigned kPartBits = 10;
constexpr size_t kParts = size_t{1} << kPartBits;

// Where a feature id stands in order of hash; no two have one place.
inline uint64_t place_of(int64_t fid) {
  uint64_t h = static_cast<uint64_t>(fid);
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 33);
}

inline size_t part_of(uint64_t place) { return static_cast<size_t>(place >> (64 - kPartBits)); }

// A message as a record of parts: this, its bytes, and zeros up to a multiple of eight.
struct Stored {
  int64_t fid;
  uint64_t length;
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(this + 1); }
  size_t size() const { return sizeof(Stored) + (static_cast<size_t>(length) + 7) / 8 * 8; }
};

// Fids, and others that share a bit with one of them. Threads may add at a time.
class FidBits {
 public:
  explicit FidBits(unsigned log_bits)
      : shift_(64 - log_bits), words_(size_t{1} << (log_bits < 6 ? 0 : log_bits - 6)) {}
  FidBits(const FidBits&) = delete;
  FidBits& operator=(const FidBits&) = delete;
  void add(int64_t fid) {
    const uint64_t bit = bit_of(fid);
    words_[bit / 64].fetch_or(uint64_t{1} << (bit % 64), std::memory_order_relaxed);
  }
  unsigned log_bits() const { return 64 - shift_; }
  std::vector<std::atomic<uint64_t>>& words() { return words_; }
  bool has(int64_t fid) const {
    const uint64_t bit = bit_of(fid);
    return words_[bit / 64].load(std::memory_order_relaxed) >> (bit % 64) & 1;
  }

 private:
  uint64_t bit_of(int64_t fid) const { return place_of(fid) >> shift_; }
  unsigned shift_;
  std::vector<std::atomic<uint64_t>> words_;
};

struct Slice {
  const uint8_t* p;
  size_t size;
};

// Records, in order of part if there are many of them.
class Parts {
 public:
  Parts() = default;
  Parts(Parts&&) = default;

  Buffer& data() { return *data_; }
  const Buffer& data() const { return *data_; }
  // Where each part ends, in bytes; empty if the records are in no order.
  const std::vector<uint64_t>& ends() const { return ends_; }
  void set_ends(std::vector<uint64_t> ends) { ends_ = std::move(ends); }

  // The parts [first, last), or more: whoever reads it looks at each record's part.
  Slice slice(size_t first, size_t last) const {
    if (ends_.empty()) return {data_->data(), data_->size()};
    const uint64_t from = first == 0 ? 0 : ends_[first - 1];
    return {data_->data() + from, static_cast<size_t>(ends_[last - 1] - from)};
  }

 private:
  std::unique_ptr<Buffer> data_ = std::make_unique<Buffer>();
  std::vector<uint64_t> ends_;
};

// Reads entries as rows.
class RowReader {
 public:
  explicit RowReader(Reader& reader) : reader_(reader), memory_(reader) {}

  // Where the values of the reader's last record lie; null if that is no entry, which the reader is
  // told.
  __attribute__((always_inline)) const DigestPlan* plan(const Frame& frame) {
    if (const DigestPlan* plan = memory_.of(frame)) return plan;
    return parse(frame);
  }

 private:
  const DigestPlan* parse(const Frame& frame);

  Reader& reader_;
  ShapeMemory<DigestPlan> memory_;
  DigestPlan parsed_{nullptr};
};

// The digests of what is left of the reader's range, up to a pause.
class RowCollector {
 public:
  RowCollector(Reader& reader, const Filter* filter);
  ~RowCollector();
  void read();
  Parts parts();

 private:
  Reader& reader_;
  const Filter* filter_;
  RowReader plans_;
  std::unique_ptr<Buffer> rows_;
  std::vector<uint16_t> part_of_;  // each row
  std::vector<uint64_t> counts_ = std::vector<uint64_t>(kParts);
};

// The entries whose fids are among the bits, whole.
class EntryCollector {
 public:
  EntryCollector(Reader& reader, const FidBits& bits, const Filter* filter)
      : reader_(reader), bits_(bits), filter_(filter), heads_(reader) {}
  void read();
  Parts parts();

 private:
  Reader& reader_;
  const FidBits& bits_;
  const Filter* filter_;
  HeadReader heads_;
  Buffer entries_;
  std::vector<uint64_t> sizes_ = std::vector<uint64_t>(kParts);
};

}  // namespace monolith
