// Stored bytes: a file, or memory, and what can go wrong with it.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

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

// How bytes are best read one after the other.
struct ReadSizes {
  size_t first = 64 << 10;   // in the first read; then twice as much each time,
  size_t most = 512 << 10;   // up to so much
  size_t beyond = 4 << 10;   // past the end of a range, for its last record
  uint32_t ahead = 0;        // how many reads to begin early
};

// A read that was begun. Ends by itself where nobody wants it any more.
class BegunRead {
 public:
  virtual ~BegunRead() = default;
  // Waits for it and hands its bytes over, once. Throws what Bytes::read() does.
  virtual void take(uint8_t* to) = 0;
};

// Stored bytes at offsets. Safe to use from several threads.
class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual uint64_t size() const = 0;
  // Does a read elsewhere cost about as much as one that goes on?
  virtual bool seek_is_cheap() const { return true; }
  virtual ReadSizes sizes() const { return {}; }
  // Begins to read n bytes while the caller does something else. Null where that cannot be had.
  virtual std::unique_ptr<BegunRead> begin(uint64_t, size_t) const { return nullptr; }
  // Reads exactly n bytes. Throws IoError, or ChangedError where the file ends early.
  virtual void read(uint64_t offset, uint8_t* to, size_t n) const = 0;
  // Tells that the bytes from an offset on are read next, one piece after the other, and that those
  // up to `told` were told of before. Returns up to where they are now.
  virtual uint64_t expect(uint64_t, uint64_t told) const { return told; }
  // Throws ChangedError if the file has another size, or its path another file, than when opened.
  virtual void check_unchanged() const = 0;
};

// A regular file, read with pread: never mapped, so that a file that shrinks is an error and no
// crash.
std::unique_ptr<Bytes> open_file(const std::string& path, bool seek_is_cheap = true);

// Memory owned by the caller.
std::unique_ptr<Bytes> open_memory(const uint8_t* data, size_t n, bool seek_is_cheap = true);

}  // namespace monolith
