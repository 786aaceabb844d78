#include "parts.h"

namespace monolith {
namespace {

constexpr size_t kFew = 2048;  // records that are not worth an order

// Makes of sizes of parts where they start; each is to be moved to its end.
void starts_of(std::vector<uint64_t>& sizes) {
  uint64_t sum = 0;
  for (uint64_t& size : sizes) {
    const uint64_t start = sum;
    sum += size;
    size = start;
  }
}

}  // namespace

const DigestPlan* RowReader::parse(const Frame& frame) {
  parsed_.restart(frame.data);
  if (!parse_entry(frame.data, static_cast<size_t>(frame.length), parsed_)) {
    reader_.bad_message();
    return nullptr;
  }
  parsed_.end();
  return &parsed_;
}

// A buffer that has grown already is kept for the thread's next range.
static thread_local std::unique_ptr<Buffer> spare;

RowCollector::RowCollector(Reader& reader, const Filter* filter)
    : reader_(reader), filter_(filter), plans_(reader), rows_(std::move(spare)) {
  if (rows_ == nullptr) rows_ = std::make_unique<Buffer>();
  rows_->clear();
}

RowCollector::~RowCollector() { spare = std::move(rows_); }

void RowCollector::read() {
  while (const Frame* frame = reader_.next()) {
    const DigestPlan* plan = plans_.plan(*frame);
    if (plan == nullptr) continue;
    if (filter_ != nullptr && !filter_->wants(plan->fid(frame->data))) continue;
    const Row row = plan->row(frame->data);
    rows_->append(&row, sizeof row);
    const size_t part = part_of(place_of(row.fid));
    part_of_.push_back(static_cast<uint16_t>(part));
    ++counts_[part];
  }
}

Parts RowCollector::parts() {
  Parts parts;
  const size_t n = rows_->size() / sizeof(Row);
  parts.data().resize(rows_->size());
  if (n < kFew) {
    if (n > 0) std::memcpy(parts.data().data(), rows_->data(), rows_->size());
    return parts;
  }
  const Row* rows = reinterpret_cast<const Row*>(rows_->data());
  std::vector<uint64_t> ends = counts_;
  starts_of(ends);
  Row* out = reinterpret_cast<Row*>(parts.data().data());
  for (size_t i = 0; i < n; ++i) out[ends[part_of_[i]]++] = rows[i];
  for (uint64_t& end : ends) end *= sizeof(Row);
  parts.set_ends(std::move(ends));
  return parts;
}

void EntryCollector::read() {
  while (const Frame* frame = reader_.next()) {
    EntryHead head;
    if (!heads_.read(*frame, head)) {
      reader_.bad_message();
      continue;
    }
    if (!bits_.has(head.fid) || (filter_ != nullptr && !filter_->wants(head.fid))) continue;
    const Stored stored{head.fid, frame->length};
    const size_t length = static_cast<size_t>(frame->length);
    uint8_t* const out = entries_.tail(stored.size());
    std::memcpy(out, &stored, sizeof stored);
    std::memset(out + stored.size() - 8, 0, 8);
    std::memcpy(out + sizeof stored, frame->data, length);
    entries_.advance(stored.size());
    sizes_[part_of(place_of(head.fid))] += stored.size();
  }
}

Parts EntryCollector::parts() {
  Parts parts;
  if (entries_.size() == 0) return parts;
  parts.data().resize(entries_.size());
  std::vector<uint64_t> ends = sizes_;
  starts_of(ends);
  const uint8_t* const end = entries_.data() + entries_.size();
  for (const uint8_t* p = entries_.data(); p != end;) {
    const Stored& stored = *reinterpret_cast<const Stored*>(p);
    uint64_t& to = ends[part_of(place_of(stored.fid))];
    std::memcpy(parts.data().data() + to, p, stored.size());
    to += stored.size();
    p += stored.size();
  }
  parts.set_ends(std::move(ends));
  return parts;
}

}  // namespace monolith
