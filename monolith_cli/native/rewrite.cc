#include "rewrite.h"

#include <cmath>

#include "encode.h"

namespace monolith {
namespace {

// Calls take(value's place) for the floats of a run.
template <class F>
void each_float(const uint8_t* data, const ValuePlaces::Run& run, F take) {
  const size_t stride = RunKernels::stride(run.how);
  const uint8_t* p = data + run.at;
  for (size_t i = 0; i < run.count; ++i, p += stride) take(p);
}

// From this size on a float is one of those that are looked for.
uint32_t least_bits(Where where) {
  return where == Where::nan ? kInfinityBits + 1 : kInfinityBits;
}

}  // namespace

Rewriter::Rewriter(Reader& reader, const RewriteOptions& options, size_t size)
    : reader_(reader), options_(options) {
  if (options_.sieve != nullptr) rows_.emplace(reader);
  else if (!options_.brought) places_.emplace(reader);
  const uint32_t servers = options_.targets.servers;
  for (uint32_t server = 0; server < servers; ++server) outs_.emplace_back();
  if (options_.discard) return;
  // Of several each gets about as much.
  for (Output& out : outs_) out.data->reserve(servers == 1 ? size : size / servers * 9 / 8 + 4096);
}

void Rewriter::read() {
  while (true) {
    if (!reader_.buffered()) flush();  // the reader may move what it has
    const Frame* frame = reader_.next();
    if (frame == nullptr) return;
    if (rows_) take_sieved(*frame);
    else if (places_) take(*frame);
    else take_brought(*frame);
  }
}

void Rewriter::take(const Frame& frame) {
  const ValuePlaces* places = places_->read(frame);
  if (places == nullptr) {
    reader_.bad_message();
    return;
  }
  const uint8_t* data = frame.data;
  const size_t n = static_cast<size_t>(frame.length);
  take({data, n, places->fid(data), places->time(data), places->fid_at(data), places}, &frame);
}

void Rewriter::take_sieved(const Frame& frame) {
  const DigestPlan* plan = rows_->plan(frame);
  if (plan == nullptr) return;
  const Row row = plan->row(frame.data);
  if (!options_.sieve->keeps(row)) {
    ++of(row.fid).entries[static_cast<size_t>(Passage::gone)];
    return;
  }
  const uint8_t* data = frame.data;
  const size_t n = static_cast<size_t>(frame.length);
  const ValuePlaces* places = options_.where == Where::nothing ? nullptr : parse(data, n);
  take({data, n, row.fid, row.time, plan->fid_at(data), places}, &frame);
}

// What is no change, or brings no entry, is passed over.
void Rewriter::take_brought(const Frame& frame) {
  DeltaRecord record;
  if (!parse_delta_record(frame.data, static_cast<size_t>(frame.length), record) ||
      record.record != kDeltaChange || !record.has_entry) {
    return;
  }
  const Spreading& only = options_.only;
  if (only.servers > 1 && server_of(record.fid, only.servers, only.rule) != only.server) return;
  const uint8_t* data = record.entry.p;
  const size_t n = record.entry.left();
  const ValuePlaces* places = parse(data, n);
  if (places == nullptr) {
    reader_.bad_message();
    return;
  }
  take({data, n, record.fid, places->time(data), places->fid_at(data), places}, nullptr);
}

// The places of an entry that has no shape to be known by; null if it is none.
const ValuePlaces* Rewriter::parse(const uint8_t* data, size_t n) {
  parsed_.begin_again(data);
  if (!parse_entry(data, n, parsed_)) return nullptr;
  parsed_.end();
  return &parsed_;
}

void Rewriter::take(const Seen& seen, const Frame* frame) {
  Passage passage = passage_of(seen);
  const bool zero = passage == Passage::changed;
  const bool convert = options_.convert && seen.fid_at != nullptr && v2_of_v1(seen.fid) != seen.fid;
  if (frame == nullptr && !arrives(passage)) return;
  if (arrives(passage)) {
    if (frame == nullptr) passage = Passage::brought;
    else if (convert) passage = Passage::changed;
  }
  ++of(seen.fid).entries[static_cast<size_t>(passage)];
  if (!arrives(passage)) return;
  Output& out = output_of(options_.convert ? v2_of_v1(seen.fid) : seen.fid);
  ++out.entries;
  if (passage != Passage::same) {
    flush();
    put(out, seen, zero);
    return;
  }
  const uint8_t* const start = seen.data - kHeaderBytes;
  const size_t bytes = kFrameBytes + seen.bytes;
  if (outs_.size() > 1) {
    append(out, start, bytes);
  } else {
    if (run_ == nullptr || run_ + run_bytes_ != start) {
      flush();
      run_ = start;
    }
    run_bytes_ += bytes;
  }
  out.sum += record_number(seen.fid, seen.bytes, load<uint32_t>(seen.data + seen.bytes));
}

void Rewriter::flush() {
  if (run_bytes_ == 0) return;
  append(outs_[0], run_, run_bytes_);
  run_ = nullptr;
  run_bytes_ = 0;
}

void Rewriter::append(Output& out, const uint8_t* frames, size_t bytes) {
  out.stream_bytes += bytes;
  if (options_.discard) return;
  out.data->append(frames, bytes);
  if (!options_.snappy) out.crc = crc32c(frames, bytes, out.crc);
}

Passage Rewriter::passage_of(const Seen& seen) const {
  if (options_.drop_all || (options_.slots != nullptr && !options_.slots->wants(seen.fid))) {
    return Passage::slot;
  }
  if (options_.oldest != std::numeric_limits<int64_t>::min() && seen.time <= options_.oldest) {
    return Passage::expired;
  }
  if (options_.where == Where::nothing || !concerns(seen.data, *seen.places)) return Passage::same;
  return options_.set_zero ? Passage::changed : Passage::where;
}

bool Rewriter::concerns(const uint8_t* data, const ValuePlaces& places) const {
  if (options_.where == Where::nan || options_.where == Where::nonfinite) {
    const uint32_t least = least_bits(options_.where);
    bool found = false;
    for (const ValuePlaces::Run& run : places.runs()) {
      if (run.end != 0) continue;  // an integer
      each_float(data, run, [&](const uint8_t* p) { found |= size_bits(load<float>(p)) >= least; });
    }
    return found;
  }
  double square = 0;
  uint32_t bits = 0;
  for (const ValuePlaces::Run& run : places.runs()) {
    if (run.key != FieldKey::kEmbedding) continue;
    each_float(data, run, [&](const uint8_t* p) {
      const float value = load<float>(p);
      bits |= size_bits(value);
      const double squared = static_cast<double>(value) * value;
      square += squared;
    });
  }
  if (options_.where == Where::zero) return places.dim() > 0 && bits == 0;
  return std::sqrt(square) > options_.norm;
}

// Writes an entry that is not framed as it is to be.
void Rewriter::put(Output& out, const Seen& seen, bool zero) {
  Buffer& to = *out.data;
  const size_t n = seen.bytes;
  uint8_t* const data = start_frame(n, to);
  std::memcpy(data, seen.data, n);
  if (zero) set_zero(data, *seen.places);
  int64_t fid = seen.fid;
  if (options_.convert && seen.fid_at != nullptr) {
    fid = v2_of_v1(fid);
    store(data + (seen.fid_at - seen.data), fid);
  }
  const uint32_t crc = mask_crc(crc32c(data, n));
  store(data + n, crc);
  to.advance(kFrameBytes + n);
  out.stream_bytes += kFrameBytes + n;
  out.sum += record_number(fid, n, crc);
  if (options_.discard) {
    to.clear();
  } else if (!options_.snappy) {
    out.crc = crc32c(data - kHeaderBytes, kFrameBytes + n, out.crc);
  }
}

// Of NaN and infinite values those; else the whole embedding.
void Rewriter::set_zero(uint8_t* data, const ValuePlaces& places) const {
  const bool whole = options_.where == Where::norm_above;
  const uint32_t least = whole ? 0 : least_bits(options_.where);
  for (const ValuePlaces::Run& run : places.runs()) {
    if (run.end != 0 || (whole && run.key != FieldKey::kEmbedding)) continue;
    const size_t stride = RunKernels::stride(run.how);
    uint8_t* p = data + run.at;
    for (size_t i = 0; i < run.count; ++i, p += stride) {
      if (size_bits(load<float>(p)) >= least) store(p, uint32_t{0});
    }
  }
}

Output& Rewriter::output_of(int64_t fid) {
  if (outs_.size() == 1) return outs_[0];
  return outs_[server_of(fid, options_.targets.servers, options_.targets.rule)];
}

SlotPassages& Rewriter::of(int64_t fid) {
  const uint32_t slot = slot_of(fid, options_.version);
  uint16_t& index = index_[slot];
  if (index == 0) {
    slots_.emplace_back();
    slots_.back().slot = slot;
    index = static_cast<uint16_t>(slots_.size());
  }
  return slots_[index - 1];
}

std::vector<Output> Rewriter::outputs() {
  flush();
  for (Output& out : outs_) {
    if (options_.snappy && out.data->size() > 0) {
      auto blocks = std::make_unique<Buffer>();
      blocks->reserve(out.data->size());
      encode_blocks(out.data->data(), out.data->size(), *blocks);
      out.data = std::move(blocks);
      out.crc = crc32c(out.data->data(), out.data->size());
    }
  }
  return std::move(outs_);
}

}  // namespace monolith
