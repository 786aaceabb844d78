#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "crc32c.h"
#include "snappy.h"

namespace monolith {
namespace {

class FileBytes : public Bytes {
 public:
  explicit FileBytes(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw IoError(errno, "open");
    struct stat s;
    if (::fstat(fd_, &s) != 0) fail("stat");
    if (S_ISDIR(s.st_mode)) {
      errno = EISDIR;
      fail("open");
    }
    size_ = static_cast<uint64_t>(s.st_size);
    device_ = s.st_dev;
    inode_ = s.st_ino;
    modified_ = modified(s);
  }

  ~FileBytes() override { ::close(fd_); }

  uint64_t size() const override { return size_; }

  void read(uint64_t offset, uint8_t* to, size_t n) const override {
    while (n > 0) {
      ssize_t got = ::pread(fd_, to, n, static_cast<off_t>(offset));
      if (got < 0) {
        if (errno == EINTR) continue;
        throw IoError(errno, "read");
      }
      if (got == 0) throw ChangedError(offset);
      to += got;
      offset += static_cast<uint64_t>(got);
      n -= static_cast<size_t>(got);
    }
  }

  void check_unchanged() const override {
    struct stat s;
    if (::fstat(fd_, &s) != 0) throw IoError(errno, "stat");
    uint64_t now = static_cast<uint64_t>(s.st_size);
    if (now != size_) throw ChangedError(std::min(now, size_));
    timespec then = modified_, at = modified(s);
    if (at.tv_sec != then.tv_sec || at.tv_nsec != then.tv_nsec) {
      throw ChangedError(0);  // written to in place: nobody knows where
    }
    if (::stat(path_.c_str(), &s) != 0) throw IoError(errno, "stat");
    if (s.st_ino != inode_ || s.st_dev != device_) throw ChangedError(0);
  }

 private:
  static timespec modified(const struct stat& s) {
#ifdef __APPLE__
    return s.st_mtimespec;
#else
    return s.st_mtim;
#endif
  }

  [[noreturn]] void fail(const char* what) {
    int code = errno;
    ::close(fd_);
    throw IoError(code, what);
  }

  std::string path_;
  int fd_;
  uint64_t size_;
  dev_t device_;
  ino_t inode_;
  timespec modified_;
};

class MemoryBytes : public Bytes {
 public:
  MemoryBytes(const uint8_t* data, size_t n) : data_(data), size_(n) {}
  uint64_t size() const override { return size_; }
  void read(uint64_t offset, uint8_t* to, size_t n) const override {
    if (offset > size_ || n > size_ - offset) throw ChangedError(size_);
    std::memcpy(to, data_ + offset, n);
  }
  void check_unchanged() const override {}

 private:
  const uint8_t* data_;
  size_t size_;
};

constexpr size_t kBlockHeader = 4;  // the compressed length, big-endian
constexpr size_t kHeadBytes = 9;    // with the uncompressed length, a varint of up to five bytes

struct BlockHeader {
  uint64_t compressed;
  uint32_t length;
};

// Makes sense of the first n bytes of a block, `left` bytes before the end of the file; false if
// they cannot be a block's.
bool parse_header(const uint8_t* head, size_t n, uint64_t left, uint64_t max_block,
                  BlockHeader& header) {
  if (n <= kBlockHeader) return false;
  header.compressed = load_be32(head);
  return header.compressed > 0 && header.compressed <= left - kBlockHeader &&
         snappy_length(head + kBlockHeader, n - kBlockHeader, &header.length) != 0 &&
         header.length <= max_block && snappy_plausible(header.compressed, header.length);
}

bool read_header(const Bytes& bytes, uint64_t offset, uint64_t max_block, BlockHeader& header) {
  uint64_t left = bytes.size() - offset;
  uint8_t head[kHeadBytes] = {};
  size_t n = static_cast<size_t>(std::min<uint64_t>(left, sizeof head));
  bytes.read(offset, head, n);
  return parse_header(head, n, left, max_block, header);
}

bool read_block(const Bytes& bytes, uint64_t offset, const BlockHeader& header, Buffer& in,
                Buffer& out) {
  in.resize(header.compressed);
  out.resize(header.length);
  bytes.read(offset + kBlockHeader, in.data(), header.compressed);
  return snappy_decode(in.data(), header.compressed, out.data(), header.length);
}

// How far into a damaged file's start we look for a sign of what it is.
constexpr size_t kSniffBytes = 1 << 20;

}  // namespace

std::unique_ptr<Bytes> open_file(const std::string& path) {
  return std::make_unique<FileBytes>(path);
}

std::unique_ptr<Bytes> open_memory(const uint8_t* data, size_t n) {
  return std::make_unique<MemoryBytes>(data, n);
}

Source::Source(std::unique_ptr<Bytes> bytes, Compression expected, uint64_t max_record)
    : bytes_(std::move(bytes)), compression_(expected), max_record_(max_record) {
  uint8_t head[kHeaderBytes];
  if (bytes_->size() >= sizeof head) bytes_->read(0, head, sizeof head);
  if (bytes_->size() >= sizeof head && kernels().header_ok(head)) {
    compression_ = Compression::plain;
  } else if (looks_snappy()) {
    compression_ = Compression::snappy;
  }
  if (compression_ == Compression::snappy) {
    map_blocks();
  } else {
    size_ = bytes_->size();
  }
}

// A first block that decodes to a frame header; or where that one is damaged, blocks behind it. (Frame
// headers behind a damaged start would prove nothing: blocks of data that does not compress hold
// such headers as they are.)
bool Source::looks_snappy() const {
  Buffer in, out;
  BlockHeader header;
  uint64_t offset = 0;
  while (offset < bytes_->size() && read_header(*bytes_, offset, max_record_ + kSniffBytes, header)) {
    if (header.length == 0) {
      offset += kBlockHeader + header.compressed;
      continue;
    }
    if (!read_block(*bytes_, offset, header, in, out)) break;
    if (out.size() >= kHeaderBytes && kernels().header_ok(out.data())) return true;
    break;
  }
  const uint64_t limit = std::min<uint64_t>(bytes_->size(), kSniffBytes);
  return find_block(1, limit) < limit;
}

void Source::map_blocks() {
  const uint64_t end = bytes_->size();
  const uint64_t max_block = max_record_ + kSniffBytes;
  uint64_t offset = 0;
  while (offset < end) {
    BlockHeader header;
    if (read_header(*bytes_, offset, max_block, header)) {
      uint64_t next = offset + kBlockHeader + header.compressed;
      blocks_.push_back({offset, next, size_, header.length, false});
      size_ += header.length;
      offset = next;
      continue;
    }
    // The lengths led astray. The damaged one may be that of the block before, which then ends in
    // the middle of nowhere: only a block that decodes is known to end where it says.
    uint64_t start = offset;
    while (!blocks_.empty() && !blocks_.back().broken) {
      Buffer in, out;
      const Block& last = blocks_.back();
      BlockHeader before{last.stored_end - last.stored - kBlockHeader, last.length};
      if (read_block(*bytes_, last.stored, before, in, out)) break;
      start = last.stored;
      size_ -= last.length;
      blocks_.pop_back();
    }
    uint64_t next = find_block(start + 1, end);
    blocks_.push_back({start, next, size_, 0, true});
    offset = next;
  }
}

// The first offset at or after `from` where a block starts that decodes and is followed by another
// one, or by the end; the size of the file if there is none. One block alone proves little: a few
// bytes of data often make a short one.
uint64_t Source::find_block(uint64_t from, uint64_t limit) const {
  const uint64_t end = bytes_->size();
  const uint64_t max_block = max_record_ + kSniffBytes;
  // What failed attempts may decode: keeps a hostile file from costing more than linear time.
  uint64_t budget = 16 * (end - from) + (uint64_t{64} << 20);
  Buffer window, in, out;
  for (uint64_t base = from; base < limit && base + kBlockHeader < end; base += kSniffBytes) {
    // Windows overlap by a header, so that each offset sees all of its own.
    window.resize(static_cast<size_t>(std::min<uint64_t>(end - base, kSniffBytes + kHeadBytes)));
    bytes_->read(base, window.data(), window.size());
    size_t starts = std::min(window.size(), kSniffBytes);
    for (size_t i = 0; i < starts; ++i) {
      uint64_t offset = base + i;
      BlockHeader header, next;
      if (!parse_header(window.data() + i, window.size() - i, end - offset, max_block, header) ||
          header.length == 0) {
        continue;
      }
      uint64_t behind = offset + kBlockHeader + header.compressed;
      if (behind != end && !read_header(*bytes_, behind, max_block, next)) continue;
      if (header.compressed + header.length > budget) return end;
      budget -= header.compressed + header.length;
      if (!read_block(*bytes_, offset, header, in, out)) continue;
      if (behind == end || read_block(*bytes_, behind, next, in, out)) return offset;
    }
  }
  return end;
}

size_t Source::block_at(uint64_t position) const {
  auto it = std::partition_point(blocks_.begin(), blocks_.end(), [position](const Block& b) {
    return b.broken ? b.position < position : b.position + b.length <= position;
  });
  return static_cast<size_t>(it - blocks_.begin());
}

uint64_t Source::stored_offset(uint64_t position) const {
  if (compression_ == Compression::plain) return position;
  size_t i = block_at(position);
  while (i < blocks_.size() && blocks_[i].length == 0) ++i;
  return i < blocks_.size() ? blocks_[i].stored : bytes_->size();
}

}  // namespace monolith
