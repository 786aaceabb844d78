#include "servers.h"

#include <algorithm>
#include <utility>

namespace monolith {

void ServerCounts::add(int64_t fid, uint32_t server, uint32_t servers) {
  ++entries;
  high += fid < 0;
  for (ServerRule rule : {ServerRule::floored, ServerRule::unsigned_bits}) {
    if (server_of(fid, servers, rule) == server) continue;
    const size_t index = static_cast<size_t>(rule);
    if (wrong[index]++ == 0) examples[index] = fid;
  }
}

void FidCollector::read() {
  each_entry(reader_, heads_, filter_, [&](const Frame&, const EntryHead& head) {
    const size_t part = part_of(place_of(v2_of_v1(head.fid)));
    fids_.append(&head.fid, sizeof head.fid);
    part_of_.push_back(static_cast<uint16_t>(part));
    ++counts_[part];
    return true;
  });
}

Parts FidCollector::parts() {
  Parts parts;
  if (fids_.size() == 0) return parts;
  parts.data().resize(fids_.size());
  std::vector<uint64_t> ends(kParts);
  for (size_t part = 1; part < kParts; ++part) ends[part] = ends[part - 1] + counts_[part - 1];
  const int64_t* fids = reinterpret_cast<const int64_t*>(fids_.data());
  int64_t* out = reinterpret_cast<int64_t*>(parts.data().data());
  for (size_t i = 0; i < part_of_.size(); ++i) out[ends[part_of_[i]]++] = fids[i];
  for (uint64_t& end : ends) end *= sizeof(int64_t);
  parts.set_ends(std::move(ends));
  return parts;
}

uint64_t find_collisions(const std::vector<const Parts*>& parts, size_t first, size_t last,
                         size_t most, std::vector<Collision>& found) {
  uint64_t count = 0;
  std::vector<std::pair<uint64_t, int64_t>> fids;  // with the place of what they become
  for (; first < last; ++first) {
    fids.clear();
    for (const Parts* each : parts) {
      if (each->data().size() == 0) continue;
      const Slice slice = each->slice(first, first + 1);
      for (size_t at = 0; at < slice.size; at += sizeof(int64_t)) {
        const int64_t fid = load<int64_t>(slice.p + at);
        fids.emplace_back(place_of(v2_of_v1(fid)), fid);
      }
    }
    std::sort(fids.begin(), fids.end());
    for (size_t i = 0, next; i < fids.size(); i = next) {
      next = i + 1;
      while (next < fids.size() && fids[next].first == fids[i].first) ++next;
      // The same one several times stays what it was.
      if (fids[next - 1].second == fids[i].second) continue;
      ++count;
      if (found.size() < most) {
        found.push_back({v2_of_v1(fids[i].second), fids[i].second, fids[next - 1].second});
      }
    }
  }
  return count;
}

}  // namespace monolith
