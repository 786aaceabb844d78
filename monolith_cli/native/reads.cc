#include "reads.h"

#include <algorithm>

namespace monolith {

void Reads::append(uint64_t offset, size_t n, uint64_t limit, Buffer& to) {
  const bool goes_on = offset == next_;
  if (!begun_.empty() && begun_.front().offset != offset) begun_.clear();
  if (begun_.empty()) {
    bytes_.read(offset, to.tail(n), n);
  } else {
    const Begun first = std::move(begun_.front());
    begun_.erase(begun_.begin());
    n = first.n;
    first.read->take(to.tail(n));
  }
  to.advance(n);
  next_ = offset + n;
  if (goes_on && piece_ == sizes_.most) told_ = bytes_.expect(next_, told_);
  piece_ = std::min(2 * piece_, sizes_.most);
  if (sizes_.ahead > 0 && goes_on) begin(limit);
}

void Reads::begin(uint64_t limit) {
  uint64_t from = begun_.empty() ? next_ : begun_.back().offset + begun_.back().n;
  while (begun_.size() < sizes_.ahead && from < limit) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(piece_, limit - from));
    std::unique_ptr<BegunRead> read = bytes_.begin(from, n);
    if (!read) return;
    begun_.push_back({from, n, std::move(read)});
    from += n;
  }
}

void InPieces::read(uint64_t offset, uint8_t* to, size_t n) const {
  while (n > 0) {
    if (offset < base_ || offset >= base_ + piece_.size()) {
      if (offset >= size()) throw ChangedError(size());
      piece_.clear();
      base_ = offset;
      const uint64_t left = size() - offset;
      reads_.append(offset, static_cast<size_t>(std::min<uint64_t>(left, reads_.piece())), size(), piece_);
    }
    const uint8_t* from = piece_.data() + (offset - base_);
    const size_t now = std::min(n, static_cast<size_t>(base_ + piece_.size() - offset));
    std::memcpy(to, from, now);
    to += now;
    offset += now;
    n -= now;
  }
}

}  // namespace monolith
