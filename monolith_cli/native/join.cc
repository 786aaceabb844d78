#include "join.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace monolith {
namespace {

constexpr size_t kAhead = 16;  // rows that memory is given to come

}  // namespace

// Calls take(row) for each row of the parts [first, last), and ahead(row, half) twice before that:
// as many rows ahead as memory takes to come, and half as many.
template <class Ahead, class Take>
void Join::each_row(const std::vector<const Parts*>& parts, size_t first, size_t last, Ahead ahead,
                    Take take) {
  const bool all = first == 0 && last == kParts;
  for (const Parts* each : parts) {
    const Slice slice = each->slice(first, last);
    const Row* row = reinterpret_cast<const Row*>(slice.p);
    const Row* const end = row + slice.size / sizeof(Row);
    const bool look = !all && each->ends().empty();
    const auto left = [&](const Row* p) { return static_cast<size_t>(end - p); };
    for (size_t i = 0; i < std::min(kAhead, left(row)); ++i) ahead(row[i], false);
    for (size_t i = 0; i < std::min(kAhead / 2, left(row)); ++i) ahead(row[i], true);
    for (; row != end; ++row) {
      if (left(row) > kAhead) ahead(row[kAhead], false);
      if (left(row) > kAhead / 2) ahead(row[kAhead / 2], true);
      if (look) {
        const size_t part = part_of(place_of(row->fid));
        if (part < first || part >= last) continue;
      }
      take(row);
    }
  }
}

Join::Cell& Join::cell_of(int64_t fid) {
  const size_t mask = cells_.size() - 1;
  for (size_t i = home_of(fid);; i = (i + 1) & mask) {
    Cell& cell = cells_[i];
    if (cell.empty() || cell.fid() == fid) return cell;
  }
}

void Join::add_a(const Row* row) {
  if (with_sums_) sum_a_ += term_of(*row);
  Cell& cell = cell_of(row->fid);
  if (cell.empty()) {
    cell.a_bits = reinterpret_cast<uintptr_t>(row);
  } else if (!cell.again()) {
    cell.a_bits |= 1;
    ++several_;
  }
}

void Join::add_b(const Row* row) {
  if (with_sums_) sum_b_ += term_of(*row);
  Cell& cell = cell_of(row->fid);
  if (cell.b() == nullptr) {
    cell.b_bits = reinterpret_cast<uintptr_t>(row);
    // Both rows are at hand now, and will not be later.
    if (counts_at_once_ && cell.a() != nullptr && !cell.again()) {
      ++slots_.of(row->fid).fates[static_cast<size_t>(fate_of(*cell.a(), *row))];
    }
  } else if (!cell.again()) {
    if (counts_at_once_ && cell.a() != nullptr) {
      --slots_.of(row->fid).fates[static_cast<size_t>(fate_of(*cell.a(), *cell.b()))];
    }
    cell.a_bits |= 1;
    ++several_;
  }
}

void Join::run(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b, size_t first,
               size_t last) {
  size_t rows = 0;  // or more, where they are in no order
  for (const auto* side : {&a, &b}) {
    for (const Parts* parts : *side) rows += parts->slice(first, last).size / sizeof(Row);
  }
  if (rows == 0) return;
  log_cells_ = 4;
  while (size_t{1} << log_cells_ < rows + rows / 4) ++log_cells_;
  cells_.assign(size_t{1} << log_cells_, Cell{});
  several_ = 0;
  const auto fetch = [&](const Row& row, bool half) {
    if (!half) return __builtin_prefetch(&cells_[home_of(row.fid)]);
    // Those that are not there yet are harmless to ask for.
    return __builtin_prefetch(cells_[home_of(row.fid)].a());
  };
  each_row(a, first, last, fetch, [&](const Row* row) { add_a(row); });
  each_row(b, first, last, fetch, [&](const Row* row) { add_b(row); });
  const size_t before = changes_.size();
  settle(a, b, first, last);
  std::stable_sort(changes_.begin() + static_cast<std::ptrdiff_t>(before), changes_.end(),
                   [](const Change& one, const Change& other) {
                     return place_of(one.fid) < place_of(other.fid);
                   });
}

void Join::settle(const std::vector<const Parts*>& a, const std::vector<const Parts*>& b,
                  size_t first, size_t last) {
  for (const Cell& cell : cells_) {
    if (cell.again()) continue;
    if (cell.a() != nullptr && cell.b() != nullptr) {
      if (!counts_at_once_) note(fate_of(*cell.a(), *cell.b()), cell.a(), cell.b(), false);
    } else if (cell.a() != nullptr) {
      note(Fate::removed, cell.a(), nullptr, false);
    } else if (cell.b() != nullptr) {
      note(Fate::added, nullptr, cell.b(), false);
    }
  }
  if (several_ == 0) return;
  const auto none = [](const Row&, bool) {};
  std::unordered_map<int64_t, std::array<std::vector<Row>, 2>> found;
  each_row(a, first, last, none, [&](const Row* row) {
    if (cell_of(row->fid).again()) found[row->fid][0].push_back(*row);
  });
  each_row(b, first, last, none, [&](const Row* row) {
    if (cell_of(row->fid).again()) found[row->fid][1].push_back(*row);
  });
  std::vector<int64_t> fids;
  for (const auto& each : found) fids.push_back(each.first);
  std::sort(fids.begin(), fids.end());  // so that nothing depends on the order of a map
  for (int64_t fid : fids) settle_again(found[fid][0], found[fid][1]);
}

void Join::settle_again(std::vector<Row>& a, std::vector<Row>& b) {
  const int64_t fid = a.empty() ? b[0].fid : a[0].fid;
  if (!a.empty()) slots_.of(fid).again_a += static_cast<int64_t>(a.size()) - 1;
  if (!b.empty()) slots_.of(fid).again_b += static_cast<int64_t>(b.size()) - 1;
  pair_entries(a, b, [&](Fate fate, const Row* one, const Row* other) {
    note(fate, one, other, true);
  });
}

void Join::note(Fate fate, const Row* a, const Row* b, bool again) {
  const int64_t fid = a != nullptr ? a->fid : b->fid;
  ++slots_.of(fid).fates[static_cast<size_t>(fate)];
  if (fate == Fate::same) return;
  if (bits_ != nullptr) bits_->add(fid);
  if (with_changes_) {
    changes_.push_back(change_of(fate, a, b, again));
  }
}

}  // namespace monolith
