#include "source.h"

#include <algorithm>

#include "crc32c.h"
#include "reads.h"

namespace monolith {
namespace {

// What is read first of a file without cheap seeks: more than most headers, less than a block.
constexpr size_t kSniffFirst = 64 << 10;

}  // namespace

Source::Source(std::unique_ptr<Bytes> bytes, Compression expected, uint64_t max_record)
    : bytes_(std::move(bytes)), compression_(expected), max_record_(max_record) {
  if (bytes_->seek_is_cheap()) {
    find_compression(*bytes_);
    if (compression_ == Compression::snappy) map();
  } else {
    ReadSizes sizes = bytes_->sizes();
    sizes.first = std::min(sizes.first, kSniffFirst);
    sizes.ahead = 0;
    find_compression(InPieces(*bytes_, sizes));
    if (bytes_->size() == 0) map();
  }
  if (compression_ == Compression::plain) mapped_ = true;
}

void Source::find_compression(const Bytes& bytes) {
  uint8_t head[kHeaderBytes];
  if (bytes.size() >= sizeof head) bytes.read(0, head, sizeof head);
  if (bytes.size() >= sizeof head && kernels().header_ok(head)) {
    compression_ = Compression::plain;
  } else if (looks_snappy(bytes, max_block())) {
    compression_ = Compression::snappy;
  }
}

Source::Source(std::unique_ptr<Bytes> bytes, uint64_t max_record, const uint8_t* packed, size_t n)
    : bytes_(std::move(bytes)), compression_(Compression::snappy), max_record_(max_record) {
  map_ = BlockMap::unpack(packed, n, bytes_->size(), max_block());
  mapped_ = true;
}

// No lock is held while the file is read: reading may have to wait for somebody who waits for the
// lock. Whoever comes second has worked in vain.
const BlockMap& Source::map() const {
  if (mapped()) return map_;
  if (bytes_->seek_is_cheap()) {
    take_map(map_blocks(*bytes_, max_block()));
  } else {
    take_map(map_blocks(InPieces(*bytes_, bytes_->sizes()), max_block()));
  }
  return map_;
}

void Source::take_map(BlockMap&& map) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (mapped()) return;
  map_ = std::move(map);
  mapped_.store(true, std::memory_order_release);
}

uint64_t Source::size() const {
  return compression_ == Compression::plain ? bytes_->size() : map().size();
}

uint64_t Source::stored_offset(uint64_t position) const {
  if (compression_ == Compression::plain) return position;
  const std::vector<Block>& blocks = map().blocks();
  size_t i = map().block_at(position);
  while (i < blocks.size() && blocks[i].length == 0) ++i;
  return i < blocks.size() ? blocks[i].stored : bytes_->size();
}

}  // namespace monolith
