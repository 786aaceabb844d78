// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) and the TFRecord kernels that lean on it.
//
// A kernel set is chosen once, at the first use, by what the processor can do: the SSE 4.2 or ARMv8
// instruction, with what AVX2, wide carry-less multiplication (VPCLMULQDQ) and AVX-512 add to the
// former, else slicing by eight. All sets give the same results.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace monolith {

// TFRecord framing: length, masked checksum of the length, data, masked checksum of the data.
constexpr size_t kHeaderBytes = 12;
constexpr size_t kFooterBytes = 4;
constexpr size_t kFrameBytes = kHeaderBytes + kFooterBytes;

// A checksum stored next to the data that it covers is masked, so that a checksum of bytes that
// contain checksums stays strong.
inline uint32_t mask_crc(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

struct Frame {
  const uint8_t* data;  // the record's payload
  uint64_t length;      // of the payload, in bytes
  uint64_t position;    // of the frame's header in the stream
};

// Why walk() or read() stopped.
enum class Stop : uint8_t {
  end,         // the next frame is not owned
  full,        // `out` is
  header,      // fewer bytes than a header are left
  data,        // the frame's data is not there whole
  bad_length,  // the length's checksum is wrong
  too_long,
  bad_data,    // read() only: the data's checksum is wrong
};

struct Walk {
  size_t frames;      // how many were stored
  uint64_t consumed;  // bytes of whole frames, from the start
  Stop stop;
  uint64_t length;    // with the last four, what the header says
};

constexpr size_t kMatchStep = 64;
constexpr size_t kLongestShape = 960;  // bytes; longer messages take longer anyway

// What messages of one length look like that have some tags and lengths in common: of their bytes,
// those that `mask` keeps equal `want`. In both, a message's last byte ends a step, and there are
// zeros around it.
struct Shape {
  size_t length = SIZE_MAX;
  alignas(kMatchStep) uint8_t mask[kLongestShape + kMatchStep];
  alignas(kMatchStep) uint8_t want[kLongestShape + kMatchStep];

  // Where a message of a length begins in them.
  static size_t lead(size_t length) { return -length % kMatchStep; }
};

// Shapes, one for a length, or two: what comes last is a varint of one byte or of more.
class Shapes {
 public:
  static constexpr size_t kLengths = 128;
  static size_t index_of(const Frame& f) {
    return 2 * (f.length % kLengths) + (f.data[f.length - 2] >> 7);
  }
  // The shape that a message may have; null if none of its length is known.
  const Shape* of(const Frame& f) const {
    if (f.length < 2) return nullptr;
    const Shape* shape = known_[index_of(f)];
    return shape != nullptr && shape->length == f.length ? shape : nullptr;
  }
  void set(size_t index, const Shape* shape) { known_[index] = shape; }

 private:
  std::array<const Shape*, 2 * kLengths> known_{};
};

struct Kernels {
  const char* name;
  uint32_t (*crc)(const uint8_t* data, size_t n, uint32_t crc);
  // Is p the start of a frame header with a valid length checksum? Reads kHeaderBytes.
  bool (*header_ok)(const uint8_t* p);
  // Stores the frames that lie whole in [p, p + n) and start before p + own; checks their headers.
  Walk (*walk)(const uint8_t* p, size_t n, uint64_t own, uint64_t position, uint64_t max_length,
               Frame* out, size_t max_frames);
  // Checks the data of frames; returns the index of the first bad one, or n. Reads up to 8 bytes
  // past the payload.
  size_t (*verify)(const Frame* frames, size_t n);
  // walk() and verify() in one: stops before the first frame with bad data. With `shapes`, `like`
  // gets the shape that each frame has, or null. May read kMatchStep - 1 bytes past a payload.
  Walk (*read)(const uint8_t* p, size_t n, uint64_t own, uint64_t position, uint64_t max_length,
               const Shapes* shapes, Frame* out, const Shape** like, size_t max_frames);
  // The same for frames whose data is taken for good.
  void (*compare)(const Frame* frames, size_t n, const Shapes& shapes, const Shape** like);
  // The first offset below n - 11 where a header with length <= max_length has a valid checksum,
  // or n if there is none.
  size_t (*find_header)(const uint8_t* p, size_t n, uint64_t max_length);
};

const Kernels& kernels();

// Every set that this processor can run, the chosen one first, ended by a null pointer.
const Kernels* const* all_kernels();

inline uint32_t crc32c(const void* data, size_t n, uint32_t crc = 0) {
  return kernels().crc(static_cast<const uint8_t*>(data), n, crc);
}

// The checksum of bytes and of `n` others behind them, from those of both.
uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t n);

}  // namespace monolith
