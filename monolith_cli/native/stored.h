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

}  // namespace monolith
