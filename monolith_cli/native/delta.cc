#include "delta.h"

#include <algorithm>

#include "encode.h"

namespace monolith {
namespace {

constexpr size_t kInABucket = 8;

bool parse_change(Input in, DeltaRecord& record) {
  while (in.p < in.end) {
    uint32_t tag;
    uint64_t value;
    if (!read_tag(in, tag)) return false;
    switch (tag) {
      case make_tag(1, WireType::varint):
        if (!read_varint(in, value)) return false;
        record.table = static_cast<uint32_t>(value);
        break;
      case make_tag(2, WireType::varint):
        if (!read_varint(in, value)) return false;
        record.op = static_cast<uint32_t>(value);
        break;
      case make_tag(3, WireType::fixed64):
        if (in.left() < 8) return false;
        record.fid = load<int64_t>(in.p);
        in.p += 8;
        break;
      case make_tag(4, WireType::bytes):
        if (!read_bytes(in, record.entry)) return false;
        record.has_entry = true;
        break;
      default:
        if (!skip_field(in, tag)) return false;
    }
  }
  return true;
}

bool parse_end(Input in, DeltaRecord& record) {
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    if (tag == make_tag(1, WireType::varint)) {
      if (!read_varint(in, record.changes)) return false;
    } else if (!skip_field(in, tag)) {
      return false;
    }
  }
  return true;
}

}  // namespace

void FidIndex::seal() {
  places_.shrink_to_fit();
  if (!std::is_sorted(places_.begin(), places_.end())) std::sort(places_.begin(), places_.end());
  unsigned bits = 1;
  while (places_.size() >> bits > kInABucket) ++bits;
  shift_ = 64 - bits;
  starts_.assign((size_t{1} << bits) + 1, 0);
  for (uint64_t place : places_) ++starts_[(place >> shift_) + 1];
  for (size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
}

bool parse_delta_record(const uint8_t* p, size_t n, DeltaRecord& record) {
  record = DeltaRecord();
  Input in{p, p + n};
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    const uint32_t field = tag >> 3;
    if ((tag & 7) != static_cast<uint32_t>(WireType::bytes) || field > kDeltaEnd) {
      if (!skip_field(in, tag)) return false;
      continue;
    }
    Input content{nullptr, nullptr};
    if (!read_bytes(in, content)) return false;
    if (record.record != field) record = DeltaRecord();
    record.record = field;
    if (field == kDeltaChange && !parse_change(content, record)) return false;
    if (field == kDeltaEnd && !parse_end(content, record)) return false;
  }
  return true;
}

void DeltaScan::read(Reader& reader) {
  while (const Frame* frame = reader.next()) {
    const char* wrong = take(*frame);
    if (wrong == nullptr) continue;
    problem = wrong;
    problem_at = frame->position;
    return;
  }
}

const char* DeltaScan::take(const Frame& frame) {
  DeltaRecord record;
  const size_t n = static_cast<size_t>(frame.length);
  if (!parse_delta_record(frame.data, n, record) || record.record == 0) return "no record of a delta";
  if (ended) return "a record behind the end of the delta";
  if ((records_++ == 0) != (record.record == kDeltaHeader)) {
    return records_ == 1 ? "not a delta: it does not begin with a header"
                         : "a second header of the delta";
  }
  if (record.record == kDeltaHeader) return nullptr;
  if (record.record == kDeltaEnd) {
    ended = true;
    return record.changes == changes ? nullptr : "the end of the delta tells another number of changes";
  }
  ++changes;
  return take_change(frame, record);
}

const char* DeltaScan::take_change(const Frame& frame, const DeltaRecord& record) {
  if (record.op == 0 || record.op > static_cast<uint32_t>(DeltaOp::remove)) {
    return "a change that says nothing to do";
  }
  const DeltaOp op = static_cast<DeltaOp>(record.op);
  if (record.has_entry == (op == DeltaOp::remove)) {
    return record.has_entry ? "an entry that is to be removed" : "a change without its entry";
  }
  if (parts.empty() || parts.back().table != record.table) {
    for (const DeltaPart& part : parts) {
      if (part.table == record.table) return "changes of a table that are not in one place";
    }
    if (!parts.empty()) parts.back().gone.seal();
    parts.push_back({record.table, frame.position, 0});
    last_place_ = 0;
  }
  DeltaPart& part = parts.back();
  const uint64_t place = place_of(record.fid);
  if (part.changes > 0 && place < last_place_) return "changes that are in no order";
  if (op != DeltaOp::add) {
    // What has come for it already would make room, too.
    if (part.changes > 0 && place == last_place_) return "a second change of all entries of a feature id";
    part.gone.add(record.fid);
  }
  last_place_ = place;
  ++part.changes;
  part.end = frame.position + kFrameBytes + frame.length;
  if (op == DeltaOp::remove) return nullptr;
  plan_.restart(record.entry.p);
  if (!parse_entry(record.entry.p, record.entry.left(), plan_)) return "a change that holds no EntryDump";
  plan_.end();
  const Row row = plan_.row(record.entry.p);
  if (row.fid != record.fid) return "a change that holds the entry of another feature id";
  part.sum += term_of(row);
  ++part.entries;
  return nullptr;
}

uint64_t read_sieved(Reader& reader, RowReader& rows, DeltaSieve& sieve, size_t most_bytes,
                     Buffer* out) {
  uint64_t n = 0;
  while (out == nullptr || out->size() < most_bytes) {
    const Frame* frame = reader.next();
    if (frame == nullptr) break;
    const DigestPlan* plan = rows.plan(*frame);
    if (plan == nullptr || !sieve.keeps(plan->row(frame->data))) continue;
    if (out != nullptr) {
      out->append(frame->data - kHeaderBytes, static_cast<size_t>(kFrameBytes + frame->length));
    }
    ++n;
  }
  return n;
}

uint64_t read_delta_entries(Reader& reader, size_t most_bytes, Buffer& out) {
  uint64_t n = 0;
  while (out.size() < most_bytes) {
    const Frame* frame = reader.next();
    if (frame == nullptr) break;
    DeltaRecord record;
    if (!parse_delta_record(frame->data, static_cast<size_t>(frame->length), record) ||
        record.record != kDeltaChange || !record.has_entry) {
      continue;
    }
    encode_frame(record.entry.p, record.entry.left(), out);
    ++n;
  }
  return n;
}

}  // namespace monolith
