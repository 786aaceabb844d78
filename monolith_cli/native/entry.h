// What sinks make of records: selections, counts, values.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
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

// Reads heads, and knows again the shapes that it has seen.
//
// How a message parses depends only on its tags, its lengths and the top bits of its varints.
// Records of a table differ in little else than values, so a record of the same length whose shape
// bytes equal those of one that was parsed before parses the same way: one masked comparison
// instead of a walk. Anything else is walked, and becomes the shape remembered for its length.
class HeadReader {
 public:
  __attribute__((always_inline)) bool read(const Frame& frame, EntryHead& head) {
    const size_t n = static_cast<size_t>(frame.length);
    if (n > kLongest || n < 2) return parse_entry(frame.data, n, head);
    // The timestamp comes last; where it is 0 in some entries, those have shapes of their own.
    const size_t long_varint = frame.data[n - 2] >> 7;
    std::unique_ptr<Shape>& known = shapes_[2 * (n % kLengths) + long_varint];
    if (!known) known.reset(new Shape);
    Shape& shape = *known;
    if (shape.length != n || !kernels_.matches(frame.data, shape.mask, shape.want, n)) {
      return learn(frame, shape, head);
    }
    head = shape.head;
    if (shape.fid_at != kNoFid) head.fid = load<int64_t>(frame.data + shape.fid_at);
    return true;
  }

 private:
  static constexpr size_t kLongest = 960;  // bytes; longer records take longer anyway
  static constexpr size_t kLengths = 128;
  static constexpr size_t kNoFid = SIZE_MAX;

  struct Shape {
    size_t length = SIZE_MAX;
    size_t fid_at = kNoFid;
    EntryHead head;
    // Padded with zeros, so that comparing whole steps may run over the end.
    alignas(kMatchStep) uint8_t mask[kLongest + kMatchStep];
    alignas(kMatchStep) uint8_t want[kLongest + kMatchStep];
  };

  // Parses, and clears in the mask what may differ. Unknown fields stay in it whole.
  struct Learner : EntryHead {
    Learner(const uint8_t* data, Shape& shape) : data(data), shape(shape) {}
    const uint8_t* data;
    Shape& shape;

    void any_bytes(const uint8_t* p, size_t n) { std::memset(shape.mask + (p - data), 0, n); }
    void any_varint(const uint8_t* p, const uint8_t* end) {
      std::memset(shape.mask + (p - data), 0x80, static_cast<size_t>(end - p));
    }
    void any_floats(const Floats& f) {
      for (size_t i = 0; i < f.count; ++i) any_bytes(f.p + i * f.stride, 4);
    }
    void id(int64_t v, const uint8_t* at) {
      fid = v;
      shape.fid_at = static_cast<size_t>(at - data);
      any_bytes(at, 8);
    }
    void timestamp(int64_t, const uint8_t* at, const uint8_t* end) { any_varint(at, end); }
    void embedding(const Floats& f) {
      EntryHead::embedding(f);
      any_floats(f);
    }
    void optimizer_floats(uint32_t, const Floats& f) { any_floats(f); }
    void optimizer_scalar(uint32_t, float, const uint8_t* at) { any_bytes(at, 4); }
    void optimizer_integer(uint32_t, int64_t, const uint8_t* at, const uint8_t* end) {
      any_varint(at, end);
    }
  };

  bool learn(const Frame& frame, Shape& shape, EntryHead& head) {
    const size_t n = static_cast<size_t>(frame.length);
    shape.length = SIZE_MAX;
    shape.fid_at = kNoFid;
    std::memset(shape.mask, 0xff, n);
    std::memset(shape.mask + n, 0, sizeof shape.mask - n);
    Learner learner(frame.data, shape);
    if (!parse_entry(frame.data, n, learner)) return false;
    head = learner;
    for (size_t i = 0; i < n; ++i) shape.want[i] = frame.data[i] & shape.mask[i];
    std::memset(shape.want + n, 0, sizeof shape.want - n);
    shape.head = head;
    shape.length = n;
    return true;
  }

  const Kernels& kernels_ = kernels();
  std::array<std::unique_ptr<Shape>, 2 * kLengths> shapes_;
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

struct Counter {
  explicit Counter(FidVersion v) : version(v), slots(kSlots) {}

  void add(const EntryHead& head) {
    ++slots[slot_of(head.fid, version)];
    ++entries;
    if (head.dim == last_dim && head.types == last_types) return;
    last_dim = head.dim;
    last_types = head.types;
    dim_min = std::min(dim_min, head.dim);
    dim_max = std::max(dim_max, head.dim);
    types |= head.types;
  }

  FidVersion version;
  std::vector<int64_t> slots;
  int64_t entries = 0;
  uint64_t dim_min = std::numeric_limits<uint64_t>::max();
  uint64_t dim_max = 0;
  uint32_t types = 0;

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
