// An open file of TFRecords, plain or SNAPPY, as a stream of uncompressed bytes with positions.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bytes.h"

namespace monolith {

// The operating system said no.
struct IoError : std::runtime_error {
  IoError(int code, const std::string& what) : std::runtime_error(what), code(code) {}
  int code;
};

// The file is not the one that was opened: bytes that were there are gone, or new ones came.
struct ChangedError : std::runtime_error {
  explicit ChangedError(uint64_t offset)
      : std::runtime_error("changed while it was read"), offset(offset) {}
  uint64_t offset;
};

// Stored bytes at offsets.
class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual uint64_t size() const = 0;
  // Reads exactly n bytes. Throws IoError, or ChangedError where the file ends early.
  virtual void read(uint64_t offset, uint8_t* to, size_t n) const = 0;
  // Throws ChangedError if the file has another size, or its path another file, than when opened.
  virtual void check_unchanged() const = 0;
};

// A regular file, read with pread: never mapped, so that a file that shrinks is an error and no
// crash. Safe to use from several threads.
std::unique_ptr<Bytes> open_file(const std::string& path);

// Memory owned by the caller.
std::unique_ptr<Bytes> open_memory(const uint8_t* data, size_t n);

enum class Compression : uint8_t { plain, snappy };

struct Block {
  uint64_t stored;       // offset of the block's header (its compressed length) in the file
  uint64_t stored_end;   // just past its last byte
  uint64_t position;     // of its first byte in the stream
  uint32_t length;       // uncompressed; 0 where nobody can know
  bool broken;           // its header makes no sense, or the file ends inside it
};

class Source {
 public:
  // Which compression a file has follows from its bytes; `expected` decides only where they do
  // not tell (an empty file, a damaged start). max_record bounds the blocks too.
  Source(std::unique_ptr<Bytes> bytes, Compression expected, uint64_t max_record);

  Compression compression() const { return compression_; }
  uint64_t stored_size() const { return bytes_->size(); }
  uint64_t size() const { return size_; }  // of the stream, in uncompressed bytes
  const Bytes& bytes() const { return *bytes_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  // The block that holds a position, or a broken one that lies there; blocks().size() at the end.
  size_t block_at(uint64_t position) const;
  // Where a position of the stream lies in the file: of its block's header when compressed.
  uint64_t stored_offset(uint64_t position) const;
  uint64_t max_record() const { return max_record_; }

 private:
  bool looks_snappy() const;
  void map_blocks();
  uint64_t find_block(uint64_t from, uint64_t limit) const;

  std::unique_ptr<Bytes> bytes_;
  Compression compression_;
  uint64_t max_record_;
  uint64_t size_ = 0;
  std::vector<Block> blocks_;
};

}  // namespace monolith
