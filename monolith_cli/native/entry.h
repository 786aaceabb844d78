// What sinks make of records: selections, counts, values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
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
  void id(int64_t v) { fid = v; }
  void embedding(const Floats& f) { dim += f.count; }
  void optimizer_type(uint32_t type) { types |= 1u << type; }
};

// Calls take(frame, head) for each record of the range that the filter wants, until it returns false.
template <class F>
void each_entry(Reader& reader, const Filter* filter, F take) {
  while (const Frame* frame = reader.next()) {
    EntryHead head;
    if (!parse_entry(frame->data, frame->length, head)) {
      reader.bad_message();
      continue;
    }
    if (filter != nullptr && !filter->wants(head.fid)) continue;
    if (!take(*frame, head)) return;
  }
}

struct Counter {
  explicit Counter(FidVersion v) : version(v), slots(kSlots) {}

  void add(const EntryHead& head) {
    ++slots[slot_of(head.fid, version)];
    ++entries;
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

  void id(int64_t v) { fid = v; }
  void timestamp(int64_t v) { time = v; }
  void embedding(const Floats& f) { embeddings.push_back(f); }
  void optimizer() {
    if (used_ == states_.size()) states_.emplace_back();
    states_[used_++].clear(0);
  }
  void optimizer_type(uint32_t type) {
    if (state().type != type) state().clear(type);
  }
  void optimizer_floats(uint32_t field, const Floats& f) { state().floats[field - 1].push_back(f); }
  void optimizer_scalar(uint32_t field, float v) {
    state().scalar[field - 1] = v;
    state().set[field - 1] = true;
  }
  void optimizer_integer(uint32_t field, int64_t v) {
    state().integer[field - 1] = v;
    state().set[field - 1] = true;
  }

 private:
  OptimizerState& state() { return states_[used_ - 1]; }
  std::vector<OptimizerState> states_;
  size_t used_ = 0;
};

}  // namespace monolith
