#include "batch.h"

#include <algorithm>

namespace monolith {

Batch::Batch(FidVersion version, bool with_embedding, bool with_optimizers)
    : version_(version), with_embedding_(with_embedding), with_optimizers_(with_optimizers) {
  if (with_embedding) columns_[FieldKey::kEmbedding];
}

namespace {

// Rows that a column was not met in have no values in it.
void reach(BatchColumn& column, size_t row) {
  if (column.lengths.size() == row) return;
  column.lengths.resize(row);
  column.least = 0;
}

void append_floats(Buffer& values, const uint8_t* p, size_t count, size_t stride) {
  uint8_t* to = values.tail(4 * count);
  if (stride == 4) {
    std::memcpy(to, p, 4 * count);
  } else {
    for (size_t i = 0; i < count; ++i, p += 5) store(to + 4 * i, load<uint32_t>(p));
  }
  values.advance(4 * count);
}

}  // namespace

void Batch::add(const uint8_t* data, const ValuePlaces& places) {
  const size_t row = fids_.size();
  const int64_t fid = places.fid(data);
  fids_.push_back(fid);
  slots_.push_back(static_cast<int16_t>(slot_of(fid, version_)));
  times_.push_back(places.time(data));
  const ValuePlaces::Run* run = places.runs().data();
  const ValuePlaces::Run* const end = run + places.runs().size();
  for (size_t at = 0; run < end; ++at) {
    const uint32_t key = run->key;
    if (key == FieldKey::kEmbedding ? !with_embedding_ : !with_optimizers_) {
      while (run < end && run->key == key) ++run;
      continue;
    }
    overflown_ = overflown_ || (key != FieldKey::kEmbedding && FieldKey::index(key) >= kLastOptimizer);
    if (at >= recent_.size() || recent_[at].first != key) {
      recent_.resize(at);
      recent_.emplace_back(key, &columns_[key]);
    }
    BatchColumn& column = *recent_[at].second;
    reach(column, row);
    uint32_t n = 0;
    for (; run < end && run->key == key; ++run) {
      if (run->end != 0) {
        const int64_t value = ValuePlaces::varint(data + run->at, data + run->end);
        column.values.append(&value, 8);
        ++n;
      } else {
        append_floats(column.values, data + run->at, run->count, RunKernels::stride(run->how));
        n += static_cast<uint32_t>(run->count);
      }
    }
    column.lengths.push_back(n);
    ++column.rows_with;
    column.least = std::min(column.least, n);
    column.most = std::max(column.most, n);
  }
}

void Batch::end() {
  for (auto& [key, column] : columns_) reach(column, rows());
}

}  // namespace monolith
