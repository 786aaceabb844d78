#include "source.h"

#include "crc32c.h"

namespace monolith {

Source::Source(std::unique_ptr<Bytes> bytes, Compression expected, uint64_t max_record)
    : bytes_(std::move(bytes)), compression_(expected), max_record_(max_record) {
  uint8_t head[kHeaderBytes];
  if (bytes_->size() >= sizeof head) bytes_->read(0, head, sizeof head);
  if (bytes_->size() >= sizeof head && kernels().header_ok(head)) {
    compression_ = Compression::plain;
  } else if (looks_snappy(*bytes_, max_block())) {
    compression_ = Compression::snappy;
  }
  if (compression_ == Compression::plain) {
    mapped_ = true;
  } else {
    map();
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
  if (!mapped()) take_map(map_blocks(*bytes_, max_block()));
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
