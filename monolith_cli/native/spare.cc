#include "spare.h"

#include <mutex>
#include <vector>

namespace monolith {
namespace {

constexpr size_t kMostSpares = 8;
constexpr size_t kLeastBytes = 1 << 20;
constexpr size_t kMostBytes = 8 << 20;

struct Spares {
  std::mutex mutex;
  std::vector<std::unique_ptr<Buffer>> buffers;
};

// Never destroyed: whoever gives one back may be later than that.
Spares& spares() {
  static Spares& all = *new Spares;
  return all;
}

}  // namespace

std::unique_ptr<Buffer> take_spare() {
  Spares& all = spares();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (all.buffers.empty()) return std::make_unique<Buffer>();
  std::unique_ptr<Buffer> buffer = std::move(all.buffers.back());
  all.buffers.pop_back();
  return buffer;
}

void give_spare(std::unique_ptr<Buffer> buffer) {
  if (!buffer || buffer->capacity() < kLeastBytes || buffer->capacity() > kMostBytes) return;
  buffer->clear();
  Spares& all = spares();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (all.buffers.size() < kMostSpares) all.buffers.push_back(std::move(buffer));
}

}  // namespace monolith
