// Digests of entries: 64 bits of what an entry says, whoever wrote it.
//
// Two entries have the same digests if their values are the same, bit by bit: -0.0 is not 0.0, and a
// NaN is the same as one with the same bits alone. How the message is written makes no difference:
// the order of its fields, arrays that are packed, unpacked or in parts, fields that come twice.
// Fields that nobody here knows are no values of it. An id or a time that is missing is 0, optimizer
// state that is missing is missing.
#pragma once

#include <cstdint>
#include <vector>

#include "entry.h"

namespace monolith {

// An entry of a table, as a join of two tables needs it.
struct Row {
  int64_t fid;
  uint64_t embedding;  // digests
  uint64_t optimizer;
  int64_t time;
};

// Of the product of two words, both halves.
inline uint64_t folded_product(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product);
}

// Of an entry in a table's digest, which is the sum of them: order does not count, copies do.
inline uint64_t term_of(const Row& row) {
  const uint64_t one = folded_product(row.embedding ^ 0x2d358dccaa6c78a5u,
                                      static_cast<uint64_t>(row.fid) ^ 0x8bb84b93962eacc9u);
  const uint64_t other = folded_product(row.optimizer ^ 0x4b33a62ed433d4a3u,
                                        static_cast<uint64_t>(row.time) ^ 0x4d5a2da51de1aa47u);
  return folded_product(one ^ 0xa0761d6478bd642fu, other ^ 0xe7037ed1a0b428dbu);
}

// Where values lie in a message, in the order in which they are digested.
class DigestPlan : public Visitor {
 public:
  explicit DigestPlan(const uint8_t* data) : data_(data) {}
  DigestPlan(DigestPlan&&) = default;  // what is copied would point into the original
  DigestPlan& operator=(DigestPlan&&) = default;

  // Visits another message; keeps its allocations.
  void restart(const uint8_t* data);
  void id(int64_t, const uint8_t* p) { fid_at_ = at(p); }
  void timestamp(int64_t, const uint8_t* p, const uint8_t*) { time_at_ = at(p); }
  void embedding(const Floats& f) { embedding_.add(f, data_); }
  void optimizer();
  void optimizer_type(uint32_t type);
  void optimizer_floats(uint32_t field, const Floats& f);
  void optimizer_scalar(uint32_t field, float, const uint8_t* p);
  void optimizer_integer(uint32_t field, int64_t, const uint8_t* p, const uint8_t*);
  void end();

  // The feature id, and all of the row, of a message of this shape.
  int64_t fid(const uint8_t* data) const {
    return fid_at_ == kNowhere ? 0 : load<int64_t>(data + fid_at_);
  }
  Row row(const uint8_t* data) const;
  // Where the feature id is; null without one.
  const uint8_t* fid_at(const uint8_t* data) const {
    return fid_at_ == kNowhere ? nullptr : data + fid_at_;
  }

 private:
  static constexpr uint32_t kNowhere = UINT32_MAX;

  struct Piece {
    uint32_t at, count, stride;
  };
  // The values of one array, which a message may have in pieces.
  struct Array {
    std::vector<Piece> pieces;
    void add(const Floats& f, const uint8_t* data) {
      pieces.push_back({static_cast<uint32_t>(f.p - data), static_cast<uint32_t>(f.count),
                        static_cast<uint32_t>(f.stride)});
    }
    uint64_t digest(const uint8_t* data) const;
  };
  struct State {
    uint32_t type = 0;
    Array arrays[5];
    uint32_t places[5] = {kNowhere, kNowhere, kNowhere, kNowhere, kNowhere};
    void clear(uint32_t new_type);
  };
  // A step of digesting optimizer state: a value, or that a state begins.
  struct Step {
    uint64_t token;
    FieldKind kind;
    uint32_t at;         // of a number; kNowhere: a state begins
    const Array* array;  // of an array
  };

  uint32_t at(const uint8_t* p) const { return static_cast<uint32_t>(p - data_); }
  State& state() { return states_[used_ - 1]; }

  const uint8_t* data_;
  uint32_t fid_at_ = kNowhere;
  uint32_t time_at_ = kNowhere;
  Array embedding_;
  std::vector<State> states_;
  size_t used_ = 0;
  std::vector<Step> steps_;
};

}  // namespace monolith
