#include "summary.h"

#include <cmath>
#include <cstring>

namespace monolith {

namespace {

double bin_start(uint32_t bin) {
  const uint64_t bits = static_cast<uint64_t>(bin) << (52 - kNormBits);
  double square;
  std::memcpy(&square, &bits, sizeof square);
  return square;
}

// Which of n things in order a share of all are not behind, counted from 1.
uint64_t rank_of(double share, uint64_t n) {
  const double rank = std::ceil(share * static_cast<double>(n));
  return std::clamp<uint64_t>(static_cast<uint64_t>(rank), 1, n);
}

}  // namespace

void FieldSummary::merge(const FieldSummary& other) {
  const double mine = static_cast<double>(finite()), theirs = static_cast<double>(other.finite());
  if (theirs > 0) {
    if (mine == 0) {
      about = other.about;
      off = other.off;
      squares = other.squares;
      min = other.min;
      max = other.max;
      least = other.least;
      most = other.most;
    } else {
      const double all = mine + theirs, apart = other.about - about + (other.off - off);
      const double moved = apart * (theirs / all);
      const double spread = apart * apart;
      const double between = spread * (mine * (theirs / all));
      off += moved;
      squares += other.squares + between;
      min = std::min(min, other.min);
      max = std::max(max, other.max);
      least = std::min(least, other.least);
      most = std::max(most, other.most);
    }
  }
  values += other.values;
  nan += other.nan;
  plus_inf += other.plus_inf;
  minus_inf += other.minus_inf;
  huge += other.huge;
  rows += other.rows;
  zero_rows += other.zero_rows;
}

void GroupSummary::merge(const GroupSummary& other) {
  entries += other.entries;
  dim_min = std::min(dim_min, other.dim_min);
  dim_max = std::max(dim_max, other.dim_max);
  nan_entries += other.nan_entries;
  inf_entries += other.inf_entries;
  huge_entries += other.huge_entries;
  if (other.normed > 0) {
    if (normed == 0 || other.least_square < least_square) least_square = other.least_square;
    most_square = std::max(most_square, other.most_square);
  }
  normed += other.normed;
  norms.add(other.norms);
  if (other.timed > 0) {
    if (timed == 0 || other.oldest < oldest) oldest = other.oldest;
    newest = std::max(newest, other.newest);
  }
  timed += other.timed;
  no_time += other.no_time;
  odd_times += other.odd_times;
  hours.add(other.hours);
  for (const auto& [key, field] : other.fields) {
    const auto [mine, is_new] = fields.try_emplace(key, field);
    if (!is_new) mine->second.merge(field);
  }
}

double GroupSummary::norm_at(double share) const {
  const uint64_t rank = rank_of(share, normed);
  if (rank == 1) return std::sqrt(least_square);
  if (rank == normed) return std::sqrt(most_square);
  uint64_t passed = 0;
  for (const auto& [bin, count] : norms.sorted()) {
    passed += count;
    if (passed < rank) continue;
    const double middle = (bin_start(bin) + bin_start(bin + 1)) / 2;
    return std::sqrt(std::clamp(bin == 0 ? 0 : middle, least_square, most_square));
  }
  return std::sqrt(most_square);
}

std::vector<std::pair<int, uint64_t>> GroupSummary::norms_by_power() const {
  std::vector<std::pair<int, uint64_t>> found;
  for (const auto& [bin, count] : norms.sorted()) {
    if (bin == 0) continue;
    const int exponent = static_cast<int>(bin >> kNormBits) - 1023;
    const int power = exponent >> 1;  // of the norm, not of its square
    if (found.empty() || found.back().first != power) found.emplace_back(power, 0);
    found.back().second += count;
  }
  return found;
}

std::vector<std::pair<int64_t, uint64_t>> GroupSummary::ages_by_day(int64_t newest) const {
  const auto sorted = hours.sorted();
  std::vector<std::pair<int64_t, uint64_t>> found;
  for (auto hour = sorted.rbegin(); hour != sorted.rend(); ++hour) {
    const int64_t day = (newest / kHour - hour->first) / 24;
    if (found.empty() || found.back().first != day) found.emplace_back(day, 0);
    found.back().second += hour->second;
  }
  return found;
}

int64_t GroupSummary::age_at(double share, int64_t newest) const {
  const uint64_t rank = rank_of(share, timed);
  if (rank == 1) return newest - this->newest;
  if (rank == timed) return newest - oldest;
  const auto sorted = hours.sorted();
  uint64_t passed = 0;
  for (auto hour = sorted.rbegin(); hour != sorted.rend(); ++hour) {
    passed += hour->second;
    if (passed >= rank) {
      const int64_t age = (newest / kHour - hour->first) * kHour;
      return std::clamp(age, newest - this->newest, newest - oldest);
    }
  }
  return newest - oldest;
}

void Summary::merge(const Summary& other) {
  for (const auto& [slot, group] : other.groups) {
    const auto [mine, is_new] = groups.try_emplace(slot, group);
    if (!is_new) mine->second.merge(group);
  }
}

// ---- on its way to another process --------------------------------------------------------------

namespace {

class Packing {
 public:
  static constexpr bool kReads = false;
  explicit Packing(Buffer& out) : out_(out) {}
  template <class T>
  bool number(T& v) {
    out_.append(&v, sizeof v);
    return true;
  }
  bool counts(SparseCounts& counts) {
    const auto sorted = counts.sorted();
    uint64_t n = sorted.size();
    number(n);
    for (auto [key, count] : sorted) {
      number(key);
      number(count);
    }
    return true;
  }
  template <class K, class V>
  bool map(std::map<K, V>& map) {
    uint64_t n = map.size();
    number(n);
    for (auto& [key, value] : map) {
      K copy = key;
      number(copy);
      pass(*this, value);
    }
    return true;
  }

 private:
  Buffer& out_;
};

class Unpacking {
 public:
  explicit Unpacking(Input in) : in_(in) {}
  bool over() const { return in_.left() == 0; }
  template <class T>
  bool number(T& v) {
    if (in_.left() < sizeof v) return false;
    std::memcpy(&v, in_.p, sizeof v);
    in_.p += sizeof v;
    return true;
  }
  bool counts(SparseCounts& counts) {
    uint64_t n;
    if (!number(n)) return false;
    for (; n > 0; --n) {
      uint32_t key;
      uint64_t count;
      if (!number(key) || !number(count) || key > SparseCounts::kMostKey || count == 0 ||
          count >> 40 != 0) {
        return false;
      }
      counts.add(key, count);
    }
    return true;
  }
  template <class K, class V>
  bool map(std::map<K, V>& map) {
    uint64_t n;
    if (!number(n)) return false;
    for (; n > 0; --n) {
      K key;
      if (!number(key) || !pass(*this, map[key])) return false;
    }
    return true;
  }

 private:
  Input in_;
};

template <class Way>
bool pass(Way& way, FieldSummary& f) {
  return way.number(f.values) && way.number(f.nan) && way.number(f.plus_inf) &&
         way.number(f.minus_inf) && way.number(f.huge) && way.number(f.rows) &&
         way.number(f.zero_rows) && way.number(f.about) && way.number(f.off) && way.number(f.squares) &&
         way.number(f.min) && way.number(f.max) && way.number(f.least) && way.number(f.most);
}

template <class Way>
bool pass(Way& way, GroupSummary& g) {
  return way.number(g.entries) && way.number(g.dim_min) && way.number(g.dim_max) &&
         way.number(g.nan_entries) && way.number(g.inf_entries) && way.number(g.huge_entries) &&
         way.number(g.normed) && way.number(g.least_square) && way.number(g.most_square) &&
         way.counts(g.norms) && way.number(g.timed) && way.number(g.no_time) &&
         way.number(g.odd_times) && way.number(g.oldest) && way.number(g.newest) &&
         way.counts(g.hours) && way.map(g.fields);
}

}  // namespace

void Summary::pack(Buffer& out) const {
  Packing packing(out);
  packing.map(const_cast<Summary*>(this)->groups);
}

bool Summary::unpack(const uint8_t* data, size_t n) {
  groups.clear();
  Unpacking unpacking({data, data + n});
  if (!unpacking.map(groups) || !unpacking.over()) return false;
  for (const auto& [slot, group] : groups) {
    for (const auto& [key, field] : group.fields) {
      if (!FieldKey::is_one(key)) return false;
    }
  }
  return true;
}

}  // namespace monolith
