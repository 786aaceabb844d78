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
    : reader_(reader), options_(options), places_(reader) {
  if (!options_.discard) out_.data->reserve(size);
}

void Rewriter::read() {
  while (true) {
    if (!reader_.buffered()) flush();  // the reader may move what it has
    const Frame* frame = reader_.next();
    if (frame == nullptr) return;
    take(*frame);
  }
}

void Rewriter::take(const Frame& frame) {
  const ValuePlaces* places = places_.read(frame);
  if (places == nullptr) {
    reader_.bad_message();
    return;
  }
  const int64_t fid = places->fid(frame.data);
  const Passage passage = passage_of(frame, fid, *places);
  ++of(fid).entries[static_cast<size_t>(passage)];
  if (passage > Passage::changed) return;
  ++out_.entries;
  if (passage == Passage::changed) {
    flush();
    put_changed(frame, fid, *places);
    return;
  }
  const uint8_t* const start = frame.data - kHeaderBytes;
  const size_t bytes = kFrameBytes + static_cast<size_t>(frame.length);
  if (run_ == nullptr || run_ + run_bytes_ != start) {
    flush();
    run_ = start;
  }
  run_bytes_ += bytes;
  out_.sum += record_number(fid, frame.length, load<uint32_t>(frame.data + frame.length));
}

void Rewriter::flush() {
  if (run_bytes_ == 0) return;
  out_.stream_bytes += run_bytes_;
  if (!options_.discard) {
    out_.data->append(run_, run_bytes_);
    if (!options_.snappy) out_.crc = crc32c(run_, run_bytes_, out_.crc);
  }
  run_ = nullptr;
  run_bytes_ = 0;
}

Passage Rewriter::passage_of(const Frame& frame, int64_t fid, const ValuePlaces& places) const {
  if (options_.drop_all || (options_.slots != nullptr && !options_.slots->wants(fid))) {
    return Passage::slot;
  }
  if (options_.oldest != std::numeric_limits<int64_t>::min() &&
      places.time(frame.data) <= options_.oldest) {
    return Passage::expired;
  }
  if (options_.where == Where::nothing || !concerns(frame.data, places)) return Passage::same;
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

void Rewriter::put_changed(const Frame& frame, int64_t fid, const ValuePlaces& places) {
  const size_t n = static_cast<size_t>(frame.length);
  Buffer& out = *out_.data;
  const size_t at = options_.discard ? 0 : out.size();
  out.resize(at);
  out.append(frame.data - kHeaderBytes, kFrameBytes + n);
  uint8_t* const data = out.data() + at + kHeaderBytes;
  set_zero(data, places);
  const uint32_t crc = mask_crc(crc32c(data, n));
  store(data + n, crc);
  out_.stream_bytes += kFrameBytes + n;
  out_.sum += record_number(fid, frame.length, crc);
  if (options_.discard) {
    out.clear();
  } else if (!options_.snappy) {
    out_.crc = crc32c(data - kHeaderBytes, kFrameBytes + n, out_.crc);
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

Output Rewriter::output() {
  flush();
  if (options_.snappy && out_.data->size() > 0) {
    auto blocks = std::make_unique<Buffer>();
    blocks->reserve(out_.data->size());
    encode_blocks(out_.data->data(), out_.data->size(), *blocks);
    out_.data = std::move(blocks);
    out_.crc = crc32c(out_.data->data(), out_.data->size());
  }
  return std::move(out_);
}

}  // namespace monolith
