// Unaligned little-endian loads and stores, and a growable byte buffer with slack behind its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace monolith {

// Kernels may read this many bytes past the data they are given; every buffer keeps them allocated.
constexpr size_t kSlack = 128;

template <class T>
inline T load(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
inline void store(uint8_t* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire formats are little-endian");

inline uint32_t load_be32(const uint8_t* p) { return __builtin_bswap32(load<uint32_t>(p)); }
inline void store_be32(uint8_t* p, uint32_t v) { store(p, __builtin_bswap32(v)); }

// Uninitialised storage that grows geometrically. Unlike std::vector it never zeroes what is about
// to be overwritten, and it always has kSlack bytes behind capacity().
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  void resize(size_t n) { reserve(n); size_ = n; }
  void clear() { size_ = 0; }

  void reserve(size_t n) {
    if (n <= capacity_) return;
    size_t want = capacity_ + capacity_ / 2;
    if (want < n) want = n;
    void* grown = std::realloc(data_, want + kSlack);
    if (grown == nullptr) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(grown);
    std::memset(data_ + want, 0, kSlack);
    capacity_ = want;
  }

  // Room for n more bytes; the caller writes there and then calls advance().
  uint8_t* tail(size_t n) { reserve(size_ + n); return data_ + size_; }
  void advance(size_t n) { size_ += n; }
  void append(const void* p, size_t n) {
    if (n == 0) return;  // p may be null
    std::memcpy(tail(n), p, n);
    size_ += n;
  }
  void push(uint8_t b) { *tail(1) = b; ++size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace monolith
