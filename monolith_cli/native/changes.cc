#include "changes.h"

#include <algorithm>
#include <cmath>

#include "encode.h"

namespace monolith {
namespace {

void gather(const std::vector<Floats>& runs, std::vector<float>& out) {
  out.clear();
  for (const Floats& run : runs) {
    for (size_t i = 0; i < run.count; ++i) out.push_back(run[i]);
  }
}

// A larger distance comes first; what is no number comes last, and equal ones in order of hash.
bool before(const Move& one, const Move& other) {
  if (one.distance != other.distance) return one.distance > other.distance;
  return place_of(one.fid) < place_of(other.fid);
}

void put_varint(uint64_t value, Buffer& out) {
  while (value > 0x7f) {
    out.push(static_cast<uint8_t>(value) | 0x80);
    value >>= 7;
  }
  out.push(static_cast<uint8_t>(value));
}

bool is_close(float a, float b, const ChangeOptions& options) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return true;
  if (!std::isfinite(a) || !std::isfinite(b)) return false;
  return std::abs(double{a} - double{b}) <= options.absolute + options.relative * std::abs(double{a});
}

bool are_close(const std::vector<float>& a, const std::vector<float>& b,
               const ChangeOptions& options) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!is_close(a[i], b[i], options)) return false;
  }
  return true;
}

}  // namespace

void Changes::run(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b,
                  size_t first, size_t last) {
  for (; first < last; ++first) run_part(a, b, first);
}

void Changes::run_part(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b,
                       size_t part) {
  std::vector<Place> places;
  for (const auto* side : {&a, &b}) {
    for (const Parts* parts : *side) {
      if (parts->data().size() == 0) continue;
      const Slice slice = parts->slice(part, part + 1);
      for (const uint8_t* p = slice.p; p < slice.p + slice.size;) {
        const Stored* stored = reinterpret_cast<const Stored*>(p);
        const uint64_t place = place_of(stored->fid);
        if (part_of(place) == part) places.push_back({place, side == &b, stored});
        p += stored->size();
      }
    }
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& one, const Place& other) {
    return one.place != other.place ? one.place < other.place : one.in_b < other.in_b;
  });
  part_sum_ = 0;
  part_has_ = false;
  std::vector<StoredRow> rows_a, rows_b;
  for (auto at = places.begin(); at != places.end();) {
    const auto start = at;
    rows_a.clear();
    rows_b.clear();
    for (; at != places.end() && at->place == start->place; ++at) {
      (at->in_b ? rows_b : rows_a).push_back(row_of(*at->stored));
    }
    const bool was_there = !rows_a.empty();
    const bool again = rows_a.size() > 1 || rows_b.size() > 1;
    bool differs = false;
    pair_entries(rows_a, rows_b, [&](Fate fate, const StoredRow* one, const StoredRow* other) {
      differs |= fate != Fate::same;
      if (fate == Fate::same || fate == Fate::touched) return;
      if (one != nullptr && other != nullptr && compare(*one->stored, *other->stored)) {
        ++close_slots.of(one->fid).fates[static_cast<size_t>(fate)];
      } else if (options_.rows) {
        rows.push_back(change_of(fate, one, other, again));
      }
    });
    if (!differs || !options_.delta) continue;
    DeltaOp op = was_there ? DeltaOp::replace : DeltaOp::add;
    bool is_there = false;
    for (auto each = start; each != at; ++each) {
      if (!each->in_b) continue;
      write(op, each->stored->fid, each->stored);
      op = DeltaOp::add;
      is_there = true;
    }
    if (!is_there) write(DeltaOp::remove, start->stored->fid, nullptr);
  }
  if (part_has_) distance_sums.push_back(part_sum_);
}

Changes::StoredRow Changes::row_of(const Stored& stored) {
  plan_.restart(stored.data());
  parse_entry(stored.data(), static_cast<size_t>(stored.length), plan_);  // it was one before
  plan_.end();
  StoredRow row;
  static_cast<Row&>(row) = plan_.row(stored.data());
  row.stored = &stored;
  return row;
}

// Whether they are close.
bool Changes::compare(const Stored& a, const Stored& b) {
  ++changed;
  one_.parse(a.data(), static_cast<size_t>(a.length));
  other_.parse(b.data(), static_cast<size_t>(b.length));
  gather(one_.embeddings, values_);
  gather(other_.embeddings, others_);
  if (values_.size() != others_.size()) {
    ++shapes;
    return false;
  }
  Move move{a.fid, 0, 0, 0};
  for (size_t i = 0; i < values_.size(); ++i) {
    const double difference = double{others_[i]} - double{values_[i]};
    move.distance += difference * difference;
    move.norm += double{values_[i]} * double{values_[i]};
    // What is the same has not moved, were it infinite or no number.
    if (!(std::abs(difference) <= move.largest)) move.largest = std::abs(difference);
  }
  move.distance = std::sqrt(move.distance);
  move.norm = std::sqrt(move.norm);
  if (!std::isfinite(move.distance)) {
    ++non_finite;
  } else {
    part_sum_ += move.distance;
    part_has_ = true;
    largest = std::max(largest, move.largest);
    if (move.distance > 0) keep(move);
  }
  bool all_close = are_close(values_, others_, options_);
  const size_t states = static_cast<size_t>(one_.end() - one_.begin());
  if (states != static_cast<size_t>(other_.end() - other_.begin())) {
    ++shapes;
    return false;
  }
  for (size_t s = 0; s < states; ++s) {
    const OptimizerState& before = one_.begin()[s];
    const OptimizerState& after = other_.begin()[s];
    if (before.type != after.type) {
      ++shapes;
      return false;
    }
    for (uint32_t f = 0; before.type != 0 && f < optimizer_fields(before.type); ++f) {
      const FieldKind kind = kOptimizers[before.type].fields[f].kind;
      if (kind == FieldKind::floats) {
        gather(before.floats[f], values_);
        gather(after.floats[f], others_);
        if (values_.size() != others_.size()) {
          ++shapes;
          return false;
        }
        all_close = all_close && are_close(values_, others_, options_);
      } else if (before.set[f] != after.set[f]) {
        ++shapes;
        return false;
      } else if (before.set[f]) {
        all_close = all_close && (kind == FieldKind::scalar
                                      ? is_close(before.scalar[f], after.scalar[f], options_)
                                      : before.integer[f] == after.integer[f]);
      }
    }
  }
  if (all_close) ++close;
  return all_close;
}

void Changes::keep(const Move& move) {
  if (options_.top == 0) return;
  if (moves.size() == options_.top && !before(move, moves.back())) return;
  moves.insert(std::upper_bound(moves.begin(), moves.end(), move, before), move);
  if (moves.size() > options_.top) moves.pop_back();
}

// A DeltaRecord with a change: see protos/delta.proto.
void Changes::write(DeltaOp op, int64_t fid, const Stored* entry) {
  Buffer change, record;
  change.push(make_tag(1, WireType::varint));
  put_varint(options_.table, change);
  change.push(make_tag(2, WireType::varint));
  change.push(static_cast<uint8_t>(op));
  change.push(make_tag(3, WireType::fixed64));
  change.append(&fid, sizeof fid);
  if (entry != nullptr) {
    change.push(make_tag(4, WireType::bytes));
    put_varint(entry->length, change);
    change.append(entry->data(), static_cast<size_t>(entry->length));
  }
  record.push(make_tag(2, WireType::bytes));
  put_varint(change.size(), record);
  record.append(change.data(), change.size());
  encode_frame(record.data(), record.size(), delta);
  ++delta_changes;
}

}  // namespace monolith
