// The blocks of a SNAPPY file: where each lies, and which part of the stream it holds.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "bytes.h"
#include "stored.h"

namespace monolith {

constexpr size_t kBlockHeader = 4;  // the compressed length, big-endian
constexpr size_t kBlockHead = 9;    // with the uncompressed length, a varint of up to five bytes

struct BlockHeader {
  uint64_t compressed;
  uint32_t length;
};

// Makes sense of the first n bytes of a block, `left` bytes before the end of the file; false if
// they cannot be a block's.
bool parse_block_header(const uint8_t* head, size_t n, uint64_t left, uint64_t max_block,
                        BlockHeader& header);

// How much longer than the longest record a block may be; and how far into a damaged file's start
// we look for a sign of what it is.
constexpr size_t kSniffBytes = 1 << 20;

struct Block {
  uint64_t stored;       // offset of the block's header (its compressed length) in the file
  uint64_t stored_end;   // just past its last byte
  uint64_t position;     // of its first byte in the stream
  uint32_t length;       // uncompressed; 0 where nobody can know
  bool broken;           // its header makes no sense, or the file ends inside it
};

// These bytes are no map of blocks, or one that was made with another longest record.
struct NoBlockMap : std::runtime_error {
  NoBlockMap() : std::runtime_error("no block map of this file") {}
};

// Blocks that follow each other, from a file's start.
class BlockMap {
 public:
  const std::vector<Block>& blocks() const { return blocks_; }
  uint64_t size() const { return size_; }  // of their part of the stream
  uint64_t stored_end() const { return blocks_.empty() ? 0 : blocks_.back().stored_end; }
  // The block that holds a position, or a broken one that lies there; blocks().size() at the end.
  size_t block_at(uint64_t position) const;

  void add(const BlockHeader& header);
  void add_broken(uint64_t stored_end);
  void drop_last();

  // The map in a few bytes a block, to be read by another process: a version, the size of the file,
  // the longest block, then for each block how many bytes it takes, and how long its content is.
  void pack(uint64_t max_block, Buffer& out) const;
  // Throws ChangedError if it is the map of a file of another size, NoBlockMap if it is none.
  static BlockMap unpack(const uint8_t* data, size_t n, uint64_t stored_size, uint64_t max_block);

 private:
  uint64_t size_ = 0;
  std::vector<Block> blocks_;
};

// Does a file start with blocks?
bool looks_snappy(const Bytes& bytes, uint64_t max_block);

// Walks over the headers of all blocks. Where they lead astray, looks for the next block.
BlockMap map_blocks(const Bytes& bytes, uint64_t max_block);

}  // namespace monolith
