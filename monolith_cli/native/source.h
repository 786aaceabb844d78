// An open file of TFRecords, plain or SNAPPY, as a stream of uncompressed bytes with positions.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "blocks.h"
#include "stored.h"

namespace monolith {

enum class Compression : uint8_t { plain, snappy };

// Safe to use from several threads.
class Source {
 public:
  // Which compression a file has follows from its bytes; `expected` decides only where they do
  // not tell (an empty file, a damaged start). max_record bounds the blocks too.
  //
  // A SNAPPY file's blocks are mapped here and now where seeking is cheap. Where it is not, they are
  // when somebody asks for what only the map knows, or has read all of them.
  Source(std::unique_ptr<Bytes> bytes, Compression expected, uint64_t max_record);

  // A SNAPPY file whose blocks somebody has mapped: BlockMap::pack() made the n bytes. Throws what
  // unpack() throws.
  Source(std::unique_ptr<Bytes> bytes, uint64_t max_record, const uint8_t* packed, size_t n);

  Compression compression() const { return compression_; }
  uint64_t stored_size() const { return bytes_->size(); }
  const Bytes& bytes() const { return *bytes_; }
  uint64_t max_record() const { return max_record_; }
  uint64_t max_block() const { return max_record_ + kSniffBytes; }

  // Of the stream, in uncompressed bytes. May have to map the blocks, as may the next two.
  uint64_t size() const;
  const BlockMap& map() const;
  // Where a position of the stream lies in the file: of its block's header when compressed.
  uint64_t stored_offset(uint64_t position) const;

  // Are the blocks mapped? There are none to be mapped in a plain file.
  bool mapped() const { return mapped_.load(std::memory_order_acquire); }
  // Takes the map of somebody who has read all blocks.
  void take_map(BlockMap&& map) const;

 private:
  void find_compression(const Bytes& bytes);

  std::unique_ptr<Bytes> bytes_;
  Compression compression_;
  uint64_t max_record_;

  // Made by whoever is first; what was made stays.
  mutable std::mutex mutex_;
  mutable std::atomic<bool> mapped_{false};
  mutable BlockMap map_;
};

}  // namespace monolith
