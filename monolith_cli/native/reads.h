// Reads of stored bytes one after the other: in pieces that grow, the next ones begun early.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bytes.h"
#include "stored.h"

namespace monolith {

// For one thread.
class Reads {
 public:
  Reads(const Bytes& bytes, const ReadSizes& sizes) : bytes_(bytes), sizes_(sizes), piece_(sizes.first) {}

  const ReadSizes& sizes() const { return sizes_; }
  // How much is best read next.
  size_t piece() const { return piece_; }
  // Appends n bytes from an offset on; or, where a read that begins there was begun, what that one
  // has. Whoever needs more asks again. From the second on, begins reads of what follows, up to
  // `limit`: they are for whoever asks for it next, and lost if somebody asks for anything else.
  void append(uint64_t offset, size_t n, uint64_t limit, Buffer& to);

 private:
  struct Begun {
    uint64_t offset;
    size_t n;
    std::unique_ptr<BegunRead> read;
  };

  void begin(uint64_t limit);

  const Bytes& bytes_;
  ReadSizes sizes_;
  size_t piece_;
  uint64_t next_ = UINT64_MAX;  // where the last read ended
  uint64_t told_ = 0;           // up to where the bytes know what comes
  std::vector<Begun> begun_;    // reads that follow each other
};

// Bytes of which large pieces are read, for many small reads of what has no cheap seeks. For one
// thread.
class InPieces : public Bytes {
 public:
  InPieces(const Bytes& bytes, const ReadSizes& sizes) : bytes_(bytes), reads_(bytes, sizes) {}
  uint64_t size() const override { return bytes_.size(); }
  void read(uint64_t offset, uint8_t* to, size_t n) const override;
  void check_unchanged() const override { bytes_.check_unchanged(); }

 private:
  const Bytes& bytes_;
  mutable Reads reads_;
  mutable Buffer piece_;
  mutable uint64_t base_ = 0;
};

}  // namespace monolith
