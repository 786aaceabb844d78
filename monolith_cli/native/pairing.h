// Entries of one fid on both sides, as multisets.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "digest.h"
#include "entry.h"

namespace monolith {

// What became of an entry.
enum class Fate : uint8_t {
  same,
  touched,    // only its time differs
  embedding,  // its embedding has changed,
  optimizer,  // its optimizer state,
  both,       // or both
  added,
  removed,
};
constexpr size_t kFates = 7;

// Numbers of entries of one slot: by fate, and on both sides those whose fid has come before.
struct SlotFates {
  uint32_t slot = 0;
  std::array<int64_t, kFates> fates{};
  int64_t again_a = 0;
  int64_t again_b = 0;
};

// The same of all slots that have come, in that order.
class FatesBySlot {
 public:
  explicit FatesBySlot(FidVersion version) : version_(version), index_(kSlots) {}

  SlotFates& of(int64_t fid) {
    const uint32_t slot = slot_of(fid, version_);
    uint16_t& index = index_[slot];
    if (index == 0) {
      slots_.emplace_back();
      slots_.back().slot = slot;
      index = static_cast<uint16_t>(slots_.size());
    }
    return slots_[index - 1];
  }
  const std::vector<SlotFates>& all() const { return slots_; }

 private:
  FidVersion version_;
  std::vector<uint16_t> index_;  // of each slot in slots_, plus one
  std::vector<SlotFates> slots_;
};

// An entry that is not the same. The times are 0 where there is none.
struct Change {
  int64_t fid;
  int64_t time_a;
  int64_t time_b;
  Fate fate;
  uint8_t again;  // whether the fid is there several times
  uint8_t unused[6];
};

template <class T>
Change change_of(Fate fate, const T* a, const T* b, bool again) {
  const int64_t fid = a != nullptr ? a->fid : b->fid;
  return {fid, a != nullptr ? a->time : 0, b != nullptr ? b->time : 0, fate, again, {}};
}

inline Fate fate_of(const Row& a, const Row& b) {
  const bool embedding = a.embedding != b.embedding;
  const bool optimizer = a.optimizer != b.optimizer;
  if (embedding) return optimizer ? Fate::both : Fate::embedding;
  if (optimizer) return Fate::optimizer;
  return a.time != b.time ? Fate::touched : Fate::same;
}

inline bool is_earlier(const Row& one, const Row& other) {
  return std::tie(one.time, one.embedding, one.optimizer) <
         std::tie(other.time, other.embedding, other.optimizer);
}

// Calls take(fate, a, b) for pairs that are equal in this order, earlier ones first; keeps what is
// left.
template <class T, class Less, class Take>
void pair_off(std::vector<T>& a, std::vector<T>& b, Fate fate, Less less, Take& take) {
  for (std::vector<T>* side : {&a, &b}) {
    std::stable_sort(side->begin(), side->end(), is_earlier);
    std::stable_sort(side->begin(), side->end(), less);
  }
  std::vector<T> left_a, left_b;
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (less(a[i], b[j])) {
      left_a.push_back(a[i++]);
    } else if (less(b[j], a[i])) {
      left_b.push_back(b[j++]);
    } else {
      take(fate, &a[i++], &b[j++]);
    }
  }
  left_a.insert(left_a.end(), a.begin() + static_cast<std::ptrdiff_t>(i), a.end());
  left_b.insert(left_b.end(), b.begin() + static_cast<std::ptrdiff_t>(j), b.end());
  a.swap(left_a);
  b.swap(left_b);
}

// Calls take(fate, a, b) for all entries of a fid, rows or what begins with one; null where a side
// has none. Those that differ least are taken for each other's successors: first the same ones, then
// those of other times, of other optimizer state, of other embeddings; the rest by time.
template <class T, class Take>
void pair_entries(std::vector<T>& a, std::vector<T>& b, Take take) {
  const auto by_values = [](const Row& one, const Row& other) {
    return std::tie(one.embedding, one.optimizer) < std::tie(other.embedding, other.optimizer);
  };
  pair_off(a, b, Fate::same, is_earlier, take);
  pair_off(a, b, Fate::touched, by_values, take);
  pair_off(a, b, Fate::optimizer,
           [](const Row& one, const Row& other) { return one.embedding < other.embedding; }, take);
  pair_off(a, b, Fate::embedding,
           [](const Row& one, const Row& other) { return one.optimizer < other.optimizer; }, take);
  pair_off(a, b, Fate::both, [](const Row&, const Row&) { return false; }, take);
  for (const T& row : a) take(Fate::removed, &row, static_cast<const T*>(nullptr));
  for (const T& row : b) take(Fate::added, static_cast<const T*>(nullptr), &row);
}

}  // namespace monolith
