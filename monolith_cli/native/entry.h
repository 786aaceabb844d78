// What sinks make of records: selections, counts, values.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "reader.h"
#include "wire.h"

namespace monolith {

enum class FidVersion : uint8_t { v1 = 1, v2 = 2 };

// v1 keeps the slot in bits 54 to 63, v2 in bits 48 to 62.
inline uint32_t slot_of(int64_t fid, FidVersion version) {
  uint64_t bits = static_cast<uint64_t>(fid);
  return static_cast<uint32_t>(version == FidVersion::v1 ? bits >> 54 : (bits >> 48) & 0x7fff);
}

constexpr size_t kSlots = 1 << 15;  // more than either version can name

// Which entries are wanted. An empty selection of slots or of fids wants all of them.
class Filter {
 public:
  explicit Filter(FidVersion version) : version_(version) {}
  void add_slots(uint32_t first, uint32_t last) {
    slots_.resize(kSlots);
    for (uint32_t s = first; s <= last && s < kSlots; ++s) slots_[s] = 1;
  }
  void set_fids(std::vector<int64_t> fids) {
    fids_ = std::move(fids);
    std::sort(fids_.begin(), fids_.end());
  }
  bool wants(int64_t fid) const {
    if (!slots_.empty() && !slots_[slot_of(fid, version_)]) return false;
    return fids_.empty() || std::binary_search(fids_.begin(), fids_.end(), fid);
  }

 private:
  FidVersion version_;
  std::vector<uint8_t> slots_;
  std::vector<int64_t> fids_;  // ascending
};

// The part of an entry that counting needs; parsing into it checks the whole message.
struct EntryHead : Visitor {
  int64_t fid = 0;
  uint64_t dim = 0;
  uint32_t types = 0;  // a bit for each optimizer type
  void id(int64_t v, const uint8_t*) { fid = v; }
  void embedding(const Floats& f) { dim += f.count; }
  void optimizer_type(uint32_t type) { types |= 1u << type; }
};

// Parses messages, and knows again the shapes that it has seen.
//
// How a message parses depends only on its tags, its lengths and the top bits of its varints.
// Records of a table differ in little else than values, so a record of the same length whose shape
// bytes equal those of one that was parsed before parses the same way: one masked comparison, which
// the reader makes when it checks the record, instead of a walk. Anything else is walked, and becomes
// the shape remembered for its length.
//
// A Memo is what is kept of a shape: a visitor, made with where the message starts, of the message
// that the shape was learned from, with an end(). It notes where values lie, and forgets the values.
template <class Memo>
class ShapeMemory {
 public:
  explicit ShapeMemory(Reader& reader) : reader_(reader) { reader_.use(&shapes_); }
  ~ShapeMemory() { reader_.use(nullptr); }
  ShapeMemory(const ShapeMemory&) = delete;
  ShapeMemory& operator=(const ShapeMemory&) = delete;

  // The memo of the reader's last record. Null if that is no entry, or one whose shape is not
  // kept: it has to be parsed.
  __attribute__((always_inline)) const Memo* of(const Frame& frame) {
    if (const Shape* like = reader_.like()) return memo_of(like);
    return find(frame);
  }

 private:
  struct Known : Shape {
    Memo memo{nullptr};
  };

  // Tells the memo, and clears in the mask what may differ. Unknown fields stay in it whole.
  struct Learner : Visitor {
    Learner(const uint8_t* data, size_t n, Known& known)
        : data(data), mask(known.mask + Shape::lead(n)), memo(known.memo) {}
    const uint8_t* data;
    uint8_t* mask;
    Memo& memo;

    void any_bytes(const uint8_t* p, size_t n) { std::memset(mask + (p - data), 0, n); }
    void any_varint(const uint8_t* p, const uint8_t* end) {
      std::memset(mask + (p - data), 0x80, static_cast<size_t>(end - p));
    }
    void any_floats(const Floats& f) {
      for (size_t i = 0; i < f.count; ++i) any_bytes(f.p + i * f.stride, 4);
    }
    void id(int64_t v, const uint8_t* at) {
      memo.id(v, at);
      any_bytes(at, 8);
    }
    void timestamp(int64_t v, const uint8_t* at, const uint8_t* end) {
      memo.timestamp(v, at, end);
      any_varint(at, end);
    }
    void embedding(const Floats& f) {
      memo.embedding(f);
      any_floats(f);
    }
    void optimizer() { memo.optimizer(); }
    void optimizer_type(uint32_t type) { memo.optimizer_type(type); }
    void optimizer_floats(uint32_t field, const Floats& f) {
      memo.optimizer_floats(field, f);
      any_floats(f);
    }
    void optimizer_scalar(uint32_t field, float v, const uint8_t* at) {
      memo.optimizer_scalar(field, v, at);
      any_bytes(at, 4);
    }
    void optimizer_integer(uint32_t field, int64_t v, const uint8_t* at, const uint8_t* end) {
      memo.optimizer_integer(field, v, at, end);
      any_varint(at, end);
    }
  };

  static const Memo* memo_of(const Shape* shape) {
    return &static_cast<const Known*>(shape)->memo;
  }

  __attribute__((noinline)) const Memo* find(const Frame& frame) {
    if (frame.length > kLongestShape || frame.length < 2) return nullptr;
    // What was learned since the reader compared this one may fit it.
    const Shape* shape;
    kernels_.compare(&frame, 1, shapes_, &shape);
    return shape != nullptr ? memo_of(shape) : learn(frame);
  }

  const Memo* learn(const Frame& frame) {
    const size_t n = static_cast<size_t>(frame.length);
    const size_t index = Shapes::index_of(frame);
    std::unique_ptr<Known>& owned = known_[index];
    if (owned) reader_.use(&shapes_);  // which may have found its old shape in records to come
    else owned.reset(new Known);
    Known& known = *owned;
    shapes_.set(index, nullptr);
    known.memo = Memo(frame.data);
    std::memset(known.mask, 0, sizeof known.mask);
    std::memset(known.mask + Shape::lead(n), 0xff, n);
    Learner learner(frame.data, n, known);
    if (!parse_entry(frame.data, n, learner)) return nullptr;
    known.memo.end();
    std::memset(known.want, 0, sizeof known.want);
    for (size_t i = 0; i < n; ++i) {
      known.want[Shape::lead(n) + i] = frame.data[i] & learner.mask[i];
    }
    known.length = n;
    shapes_.set(index, &known);
    return &known.memo;
  }

  const Kernels& kernels_ = kernels();
  Reader& reader_;
  Shapes shapes_;
  std::array<std::unique_ptr<Known>, 2 * Shapes::kLengths> known_;
};

// Reads heads.
class HeadReader {
 public:
  explicit HeadReader(Reader& reader) : memory_(reader) {}

  // Reads the head of the reader's last record; false if that is no entry.
  __attribute__((always_inline)) bool read(const Frame& frame, EntryHead& head) {
    if (const Memo* memo = memory_.of(frame)) {
      head = memo->head;
      if (memo->fid_at != Memo::kNoFid) head.fid = load<int64_t>(frame.data + memo->fid_at);
      return true;
    }
    EntryHead parsed;  // so that `head` may stay in registers
    const bool good = parse_entry(frame.data, static_cast<size_t>(frame.length), parsed);
    head = parsed;
    return good;
  }

 private:
  struct Memo : Visitor {
    static constexpr size_t kNoFid = SIZE_MAX;

    explicit Memo(const uint8_t* data) : data(data) {}
    const uint8_t* data;
    size_t fid_at = kNoFid;
    EntryHead head;

    void id(int64_t v, const uint8_t* at) {
      head.id(v, at);
      fid_at = static_cast<size_t>(at - data);
    }
    void embedding(const Floats& f) { head.embedding(f); }
    void optimizer_type(uint32_t type) { head.optimizer_type(type); }
    void end() {}
  };

  ShapeMemory<Memo> memory_;
};

// Calls take(frame, head) for each record up to a pause that the filter wants, until it returns
// false; whether it did.
template <class F>
bool each_entry(Reader& reader, HeadReader& heads, const Filter* filter, F take) {
  while (const Frame* frame = reader.next()) {
    EntryHead head;
    if (!heads.read(*frame, head)) {
      reader.bad_message();
      continue;
    }
    if (filter != nullptr && !filter->wants(head.fid)) continue;
    if (!take(*frame, head)) return true;
  }
  return false;
}

// Entries one after another of the same dim and types, from the one with that number on.
struct Run {
  uint64_t first, dim;
  uint32_t types;
};

struct Counter {
  // A table has one run; more than these are kept by nobody, as tables in a file are fewer.
  static constexpr size_t kMostRuns = 1 << 16;

  explicit Counter(FidVersion v) : version(v), slots(kSlots) {}

  // `number`: how many were added before it.
  void add(const EntryHead& head, uint64_t number) {
    ++slots[slot_of(head.fid, version)];
    if (head.dim == last_dim && head.types == last_types) return;
    last_dim = head.dim;
    last_types = head.types;
    if (runs.size() < kMostRuns) runs.push_back({number, head.dim, head.types});
    else runs_cut = true;
    dim_min = std::min(dim_min, head.dim);
    dim_max = std::max(dim_max, head.dim);
    types |= head.types;
  }

  // A counter of its own would be a second memory cell that each entry waits for.
  int64_t entries() const { return std::accumulate(slots.begin(), slots.end(), int64_t{0}); }

  FidVersion version;
  std::vector<int64_t> slots;
  uint64_t dim_min = std::numeric_limits<uint64_t>::max();
  uint64_t dim_max = 0;
  uint32_t types = 0;
  std::vector<Run> runs;
  bool runs_cut = false;

 private:
  uint64_t last_dim = std::numeric_limits<uint64_t>::max();
  uint32_t last_types = 0;
};

// One element of OptimizerDump. Occurrences of the same type merge, another type replaces.
struct OptimizerState {
  uint32_t type = 0;  // 0: none is set
  std::vector<Floats> floats[5];
  float scalar[5];
  int64_t integer[5];
  bool set[5];

  void clear(uint32_t new_type) {
    type = new_type;
    for (auto& f : floats) f.clear();
    for (bool& s : set) s = false;
  }
};

// A whole entry, its floats still in the message. Made to be reused: it keeps its allocations.
struct Entry : Visitor {
  int64_t fid;
  int64_t time;
  std::vector<Floats> embeddings;

  bool parse(const uint8_t* p, size_t n) {
    fid = time = 0;
    embeddings.clear();
    used_ = 0;
    return parse_entry(p, n, *this);
  }
  const OptimizerState* begin() const { return states_.data(); }
  const OptimizerState* end() const { return states_.data() + used_; }

  void id(int64_t v, const uint8_t*) { fid = v; }
  void timestamp(int64_t v, const uint8_t*, const uint8_t*) { time = v; }
  void embedding(const Floats& f) { embeddings.push_back(f); }
  void optimizer() {
    if (used_ == states_.size()) states_.emplace_back();
    states_[used_++].clear(0);
  }
  void optimizer_type(uint32_t type) {
    if (state().type != type) state().clear(type);
  }
  void optimizer_floats(uint32_t field, const Floats& f) { state().floats[field - 1].push_back(f); }
  void optimizer_scalar(uint32_t field, float v, const uint8_t*) {
    state().scalar[field - 1] = v;
    state().set[field - 1] = true;
  }
  void optimizer_integer(uint32_t field, int64_t v, const uint8_t*, const uint8_t*) {
    state().integer[field - 1] = v;
    state().set[field - 1] = true;
  }

 private:
  OptimizerState& state() { return states_[used_ - 1]; }
  std::vector<OptimizerState> states_;
  size_t used_ = 0;
};

}  // namespace monolith
