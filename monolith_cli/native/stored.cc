#include "stored.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace monolith {
namespace {

constexpr uint64_t kExpected = 32 << 20;     // how far ahead the system is asked to read
constexpr uint64_t kAskedAtOnce = 4 << 20;  // it reads no more than its own limit at once
constexpr uint64_t kEnoughAhead = 2 << 20;  // what it reads ahead by itself, and need not be asked

// How far ahead of a reader the system reads from a device by itself, in bytes. 0 where it does not say.
uint64_t system_read_ahead([[maybe_unused]] dev_t device) {
  unsigned long kibibytes = 0;
#ifdef __linux__
  for (const char* above : {"", "/.."}) {  // of a partition its disk says it
    char path[96];
    std::snprintf(path, sizeof path, "/sys/dev/block/%u:%u%s/queue/read_ahead_kb", major(device),
                  minor(device), above);
    std::FILE* file = std::fopen(path, "re");
    if (file == nullptr) continue;
    const bool told = std::fscanf(file, "%lu", &kibibytes) == 1;
    std::fclose(file);
    if (told) break;
  }
#endif
  return uint64_t{kibibytes} << 10;
}

bool system_reads_enough(dev_t device) {
  thread_local dev_t asked = 0;
  thread_local bool enough = false;
  if (asked != device) {
    enough = system_read_ahead(device) >= kEnoughAhead;
    asked = device;
  }
  return enough;
}

class FileBytes : public Bytes {
 public:
  FileBytes(const std::string& path, bool seek_is_cheap)
      : path_(path), seek_is_cheap_(seek_is_cheap) {
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
  bool seek_is_cheap() const override { return seek_is_cheap_; }

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

  // The system reads ahead by itself, but mostly (128 KiB) by far too little for a disk that is fast
  // only with many reads under way. Where it reads enough it does it better than when it is asked: in
  // larger pieces of memory. What is in memory already costs one question for each few mebibytes.
  uint64_t expect(uint64_t offset, uint64_t told) const override {
#ifdef RWF_NOWAIT
    if (told == 0 && system_reads_enough(device_)) told = size_;
    told = std::max(told, offset);
    const uint64_t end = std::min(size_, offset + kExpected);
    while (told < end && (end - told >= kAskedAtOnce || end == size_)) {
      const uint64_t n = std::min(kAskedAtOnce, size_ - told);
      if (!in_memory(told + n - 1)) {
        ::posix_fadvise(fd_, static_cast<off_t>(told), static_cast<off_t>(n), POSIX_FADV_WILLNEED);
      }
      told += n;
    }
#endif
    return told;
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

#ifdef RWF_NOWAIT
  // Also true where the file system cannot say.
  bool in_memory(uint64_t offset) const {
    uint8_t byte;
    iovec to{&byte, 1};
    return ::preadv2(fd_, &to, 1, static_cast<off_t>(offset), RWF_NOWAIT) >= 0 || errno != EAGAIN;
  }
#endif

  [[noreturn]] void fail(const char* what) {
    int code = errno;
    ::close(fd_);
    throw IoError(code, what);
  }

  std::string path_;
  bool seek_is_cheap_;
  int fd_;
  uint64_t size_;
  dev_t device_;
  ino_t inode_;
  timespec modified_;
};

class MemoryBytes : public Bytes {
 public:
  MemoryBytes(const uint8_t* data, size_t n, bool seek_is_cheap)
      : data_(data), size_(n), seek_is_cheap_(seek_is_cheap) {}
  uint64_t size() const override { return size_; }
  bool seek_is_cheap() const override { return seek_is_cheap_; }
  void read(uint64_t offset, uint8_t* to, size_t n) const override {
    if (offset > size_ || n > size_ - offset) throw ChangedError(size_);
    std::memcpy(to, data_ + offset, n);
  }
  void check_unchanged() const override {}

 private:
  const uint8_t* data_;
  size_t size_;
  bool seek_is_cheap_;
};

}  // namespace

std::unique_ptr<Bytes> open_file(const std::string& path, bool seek_is_cheap) {
  return std::make_unique<FileBytes>(path, seek_is_cheap);
}

std::unique_ptr<Bytes> open_memory(const uint8_t* data, size_t n, bool seek_is_cheap) {
  return std::make_unique<MemoryBytes>(data, n, seek_is_cheap);
}

}  // namespace monolith
