#include "reader.h"

#include <algorithm>

#include "snappy.h"

namespace monolith {
namespace {

constexpr uint64_t kWalkBytes = 1 << 20;
constexpr uint64_t kSearchStep = 64 << 10;

ReadSizes sizes_of(const Bytes& bytes, const RangeOptions& options) {
  ReadSizes sizes = bytes.sizes();
  if (options.read_bytes > 0) {
    sizes.most = options.read_bytes;
    sizes.first = std::min(sizes.first, sizes.most);
  }
  if (options.read_ahead) sizes.ahead = *options.read_ahead;
  return sizes;
}

}  // namespace

const char* name_of(DamageKind kind) {
  static const char* const kNames[] = {
      "truncated_header", "bad_length_crc", "record_too_long",  "truncated_data", "bad_data_crc",
      "bad_message",      "truncated_block", "bad_block_length", "bad_block"};
  return kNames[static_cast<size_t>(kind)];
}

Reader::Reader(std::shared_ptr<const Source> source, const RangeOptions& options)
    : source_(std::move(source)),
      options_(options),
      reads_(source_->bytes(), sizes_of(source_->bytes(), options)) {
  one_pass_ = !source_->mapped() && options_.start == 0 && options_.end == kStreamEnd;
  if (one_pass_) {
    size_ = kStreamEnd;
    map_ = &met_;
    stored_limit_ = source_->stored_size();
  } else {
    use_map();
    options_.start = std::min(options_.start, size_);
  }
  base_ = options_.start;
  seek(options_.start);
  find_start();
  first_ = position_;
  started_ = true;
}

// From now on goes by the map of all blocks, and knows where the stream ends.
void Reader::use_map() {
  if (source_->compression() == Compression::snappy) {
    const std::vector<Block>& all = source_->map().blocks();
    if (!met_.blocks().empty()) {
      // What this pass has met is how the map starts, unless the file was written to meanwhile.
      const Block& last = met_.blocks().back();
      const size_t n = met_.blocks().size();
      if (all.size() < n || all[n - 1].stored_end != last.stored_end ||
          all[n - 1].position != last.position || all[n - 1].length != last.length) {
        throw ChangedError(last.stored);
      }
    }
    map_ = &source_->map();
    met_ = BlockMap();
    auto behind = std::partition_point(all.begin(), all.end(), [this](const Block& b) {
      return b.position < options_.end;
    });
    stored_limit_ = behind == all.begin() ? 0 : (behind - 1)->stored_end;
  }
  one_pass_ = false;
  size_ = source_->size();
  options_.end = std::min(options_.end, size_);
  options_.ceiling = std::min(options_.ceiling, size_);
}

// ---- the window ---------------------------------------------------------------------------------

// Empties the window and puts it at a position, or at the start of the block that holds it.
void Reader::seek(uint64_t position) {
  if (one_pass_ && (position > 0 || block_ > 0)) use_map();
  window_.clear();
  base_ = position;
  hole_ = false;
  if (source_->compression() == Compression::snappy) {
    block_ = map_->block_at(position);
    // A broken block without length lies before the bytes at its position, not in them.
    while (block_ < passed_ && map_->blocks()[block_].broken) ++block_;
    if (block_ < map_->blocks().size()) base_ = map_->blocks()[block_].position;
  }
}

// Makes the stream bytes [position, position + n) available at at(position). Returns how many there
// are: fewer only at the stream's end, or before a block that cannot be decoded (at_hole()).
size_t Reader::fill(uint64_t position, uint64_t n) {
  if (position < base_ || position > base_ + window_.size()) seek(position);
  while (base_ + window_.size() < position + n) {
    if (base_ < position && window_.size() > 0) {
      size_t drop = static_cast<size_t>(std::min<uint64_t>(position - base_, window_.size()));
      // Where bytes go to an address that lies, within its page, 1 to 31 bytes behind that of where
      // they come from, the system takes four times as long to copy them (seen on AMD's Zen 3). A
      // few bytes more are kept, so that both are the same modulo 64.
      const uint64_t from = base_ + window_.size();
      const uint64_t to = reinterpret_cast<uintptr_t>(window_.data()) + window_.size() - drop;
      drop -= std::min<size_t>(drop, (from - to) % 64);
      std::memmove(window_.data(), window_.data() + drop, window_.size() - drop);
      window_.resize(window_.size() - drop);
      base_ += drop;
    }
    if (!more(position + n)) break;
  }
  uint64_t have = base_ + window_.size();
  return have > position ? static_cast<size_t>(have - position) : 0;
}

// Appends bytes to the window, up to a position at least where there are any.
bool Reader::more(uint64_t up_to) {
  if (source_->compression() == Compression::plain) return more_plain(up_to);
  if (one_pass_) {
    if (one_more_block()) return true;
    // The end, or damage, of which the map of all blocks decides how far it goes.
    if (one_pass_) {
      use_map();
      if (base_ == 0 && window_.size() == 0) seek(0);  // which passes over blocks without content
    }
  }
  return more_blocks();
}

bool Reader::more_plain(uint64_t up_to) {
  uint64_t from = base_ + window_.size();
  if (from >= size_) return false;
  const uint64_t beyond = reads_.sizes().beyond;
  uint64_t need = up_to > from ? up_to - from : 0;
  uint64_t useful = (options_.end > from ? options_.end - from : 0) + beyond;
  uint64_t n = std::min(std::max(need, std::min<uint64_t>(reads_.piece(), useful)), size_ - from);
  reads_.append(from, n, std::min(options_.end + beyond, size_), window_);
  return true;
}

// The same for a block whose place is known.
bool Reader::more_blocks() {
  const std::vector<Block>& blocks = map_->blocks();
  if (block_ >= blocks.size() || hole_) return false;
  const Block& block = blocks[block_];
  if (block.broken) {
    hole_ = true;
    return false;
  }
  uint64_t to = block.stored_end;
  if (block.stored < stored_base_ || to > stored_base_ + stored_.size()) {
    // Several blocks in one read, but no more than the range needs.
    for (size_t next = block_ + 1; next < blocks.size() && blocks[next].position < options_.end &&
                                   blocks[next].stored_end - block.stored <= reads_.piece();
         ++next) {
      to = blocks[next].stored_end;
    }
  }
  const uint64_t n = block.stored_end - block.stored;
  const uint8_t* in = stored(block.stored, n, to) + kBlockHeader;
  if (!snappy_decode(in, static_cast<size_t>(n - kBlockHeader), window_.tail(block.length),
                     block.length)) {
    hole_ = true;
    return false;
  }
  window_.advance(block.length);
  ++block_;
  return true;
}

// The same for a block that is to be mapped. False at the file's end, or if it is damaged.
bool Reader::one_more_block() {
  const uint64_t from = met_.stored_end();
  const uint64_t end = source_->stored_size();
  const uint64_t left = end - from;
  const uint64_t head = std::min<uint64_t>(left, kBlockHead);
  const uint64_t to = from + std::min<uint64_t>(left, reads_.piece());
  BlockHeader header;
  const uint8_t* in = stored(from, head, to);
  if (!parse_block_header(in, static_cast<size_t>(head), left, source_->max_block(), header)) {
    return false;
  }
  in = stored(from, kBlockHeader + header.compressed, to) + kBlockHeader;
  if (!snappy_decode(in, static_cast<size_t>(header.compressed), window_.tail(header.length),
                     header.length)) {
    return false;
  }
  window_.advance(header.length);
  met_.add(header);
  ++block_;
  if (met_.stored_end() == end) {
    source_->take_map(BlockMap(met_));
    use_map();
  }
  return true;
}

// The stored bytes [from, from + n); where they have to be read, so are those up to `to`.
const uint8_t* Reader::stored(uint64_t from, uint64_t n, uint64_t to) {
  const uint64_t have = stored_base_ + stored_.size();
  if (from >= stored_base_ && from + n <= have) return stored_.data() + (from - stored_base_);
  size_t keep = 0;
  if (from >= stored_base_ && from < have) {
    keep = static_cast<size_t>(have - from);
    std::memmove(stored_.data(), stored_.data() + (from - stored_base_), keep);
  }
  stored_.resize(keep);
  stored_base_ = from;
  while (stored_.size() < n) {
    const uint64_t at = from + stored_.size();
    reads_.append(at, static_cast<size_t>(std::max(from + n, to) - at), stored_limit_, stored_);
  }
  return stored_.data();
}

void Reader::pass_hole() {
  const Block& block = map_->blocks()[block_];
  passed_ = ++block_;
  hole_ = false;
  window_.clear();
  base_ = block.position + block.length;
}

// ---- looking for a start ------------------------------------------------------------------------

void Reader::find_start() {
  uint64_t start = options_.start;
  position_ = start;
  if (options_.how == Start::exact || start <= options_.floor) return;
  if (options_.how == Start::search) {
    position_ = search(start, options_.end);
    return;
  }
  uint64_t from = options_.floor;
  if (start - from > kWalkBytes) from = search(start - kWalkBytes);
  while (from < start) {
    size_t have = fill(from, kHeaderBytes);
    if (have < kHeaderBytes) {
      from = search(from);
      continue;
    }
    Walk walk = kernels().walk(at(from), have, start - from, from, source_->max_record(),
                               frames_.data(), frames_.size());
    from += walk.consumed;
    const uint64_t whole = kFrameBytes + walk.length;
    if (walk.stop == Stop::data && whole <= size_ - from &&
        (source_->compression() == Compression::plain || fill(from, whole) >= whole)) {
      from += whole;  // plain data need not be read; in blocks there may be damage
    } else if (walk.stop >= Stop::data) {
      uint64_t next = 0;
      from = walk.stop == Stop::bad_length && repair(from, next) ? next : search(from + 1);
    }
  }
  position_ = from;
}

// The first position from `from` on where a record seems to start, or the stream's end. Blocks that
// do not decode are passed, and noted where the range owns them.
uint64_t Reader::search(uint64_t from, uint64_t give_up) {
  if (one_pass_) use_map();
  uint64_t overrunning = size_;  // a good header whose data the stream is too short for
  search_budget_ = uint64_t{64} << 20;
  while (from < give_up) {
    size_t have = fill(from, kSearchStep);
    if (have < kHeaderBytes) {
      if (!at_hole()) return overrunning;
      note_hole();
      pass_hole();
      from = base_;
      continue;
    }
    size_t i = kernels().find_header(at(from), have, source_->max_record());
    if (i == have) {
      from += have - (kHeaderBytes - 1);
      continue;
    }
    from += i;
    if (confirmed(from)) return from;
    if (overrunning == size_ && from + kFrameBytes + load<uint64_t>(at(from)) > size_) {
      overrunning = from;
    }
    ++from;
  }
  return give_up;
}

// Does a good header at a position belong to a record? Its data must check, or a good header or the
// stream's end must follow right behind. The latter is looked at first, being cheap; long data of
// many candidates is not, lest a hostile file makes the search quadratic.
bool Reader::confirmed(uint64_t position) {
  uint64_t length = load<uint64_t>(at(position));
  if (length > size_ - position || kFrameBytes > size_ - position - length) return false;
  uint64_t behind = position + kFrameBytes + length;
  if (behind == size_) return true;
  if (source_->compression() == Compression::plain && size_ - behind >= kHeaderBytes) {
    uint8_t header[kHeaderBytes];
    if (behind + kHeaderBytes <= base_ + window_.size()) {
      std::memcpy(header, at(behind), sizeof header);
    } else {
      source_->bytes().read(behind, header, sizeof header);
    }
    if (kernels().header_ok(header)) return true;
  }
  if (length + kFrameBytes + kHeaderBytes > search_budget_) return false;
  search_budget_ -= length + kFrameBytes + kHeaderBytes;
  size_t have = fill(position, kFrameBytes + length + kHeaderBytes);
  if (have >= kFrameBytes + length + kHeaderBytes &&
      kernels().header_ok(at(position) + kFrameBytes + length)) {
    return true;
  }
  return have >= kFrameBytes + length && data_ok(position, length);
}

// Is there data of this length behind the header, with the right checksum?
bool Reader::data_ok(uint64_t position, uint64_t length) {
  if (length > source_->max_record() || length > size_ - position ||
      fill(position, kFrameBytes + length) < kFrameBytes + length) {
    return false;
  }
  Frame frame{at(position) + kHeaderBytes, length, position};
  return kernels().verify(&frame, 1) == 1;
}

// A header with one damaged byte can be mended: the data's checksum confirms the length. That finds
// the next record exactly, whatever the damaged one holds.
bool Reader::repair(uint64_t position, uint64_t& next) {
  if (fill(position, kHeaderBytes) < kHeaderBytes) return false;
  uint8_t header[kHeaderBytes];
  std::memcpy(header, at(position), sizeof header);
  auto try_length = [&] {
    uint64_t length = load<uint64_t>(header);
    if (!data_ok(position, length)) return false;
    next = position + kFrameBytes + length;
    return true;
  };
  if (try_length()) return true;  // the length's checksum is the damaged part
  for (int i = 0; i < 8; ++i) {
    const uint8_t was = header[i];
    for (int value = 0; value < 256; ++value) {
      header[i] = static_cast<uint8_t>(value);
      if (kernels().header_ok(header) && try_length()) return true;
    }
    header[i] = was;
  }
  return false;
}

// ---- damage -------------------------------------------------------------------------------------

void Reader::note(DamageKind kind, uint64_t position, uint64_t end, uint64_t length,
                  bool one_record) {
  if (one_pass_) use_map();
  damages_.push_back({kind, position, end, source_->stored_offset(position), length, one_record});
  if (!options_.skip) failed_ = true;
}

// Notes the block that the window ends at. One that starts before the range, and that is met on the
// way to the range's first record, is its predecessor's to report.
void Reader::note_hole() {
  const Block& block = map_->blocks()[block_];
  if (!started_ && block.position < options_.start) return;
  DamageKind kind = DamageKind::bad_block;
  if (block.broken) {
    kind = block.stored_end == source_->stored_size() ? DamageKind::truncated_block
                                                      : DamageKind::bad_block_length;
  }
  damages_.push_back({kind, block.position, block.position + block.length, block.stored,
                      block.stored_end - block.stored, false});
  if (!options_.skip) failed_ = true;
}

void Reader::damaged_header(DamageKind kind, uint64_t length) {
  if (one_pass_) use_map();
  uint64_t from = position_;
  uint64_t next = 0;
  if (!options_.skip) {
    note(kind, from, from, length, false);
  } else if (kind == DamageKind::record_too_long && size_ - from >= kFrameBytes &&
             length <= size_ - from - kFrameBytes) {
    position_ = from + kFrameBytes + length;  // its checksum vouches for the length
    note(kind, from, position_, length, true);
  } else if (kind == DamageKind::bad_length_crc && repair(from, next)) {
    position_ = next;
    note(kind, from, next, length, true);
  } else {
    size_t at = damages_.size();
    note(kind, from, from, length, false);
    position_ = search(from + 1);
    damages_[at].end = position_;
  }
}

// The window ends inside the record at position_: the stream is over, or a block is unreadable.
void Reader::damaged_by_edge(uint64_t length, bool has_header) {
  if (!at_hole()) {
    note(has_header ? DamageKind::truncated_data : DamageKind::truncated_header, position_, size_,
         length, false);
    position_ = size_;
    return;
  }
  note_hole();
  uint64_t behind = position_ + kFrameBytes + length;
  size_t hole = damages_.size() - 1;
  damages_[hole].position = std::min(damages_[hole].position, position_);
  if (!options_.skip) return;
  const bool known_length = map_->blocks()[block_].length > 0;
  pass_hole();
  const uint64_t after = base_;
  // A record that spans the whole block is the only one lost, if the next one is where it says.
  if (has_header && known_length && behind >= after && behind <= size_ &&
      (behind == size_ || (fill(behind, kHeaderBytes) >= kHeaderBytes &&
                           kernels().header_ok(at(behind))))) {
    position_ = behind;
    damages_[hole].one_record = true;
  } else {
    position_ = search(after);
  }
  damages_[hole].end = position_;
}

bool Reader::starts_well() {
  if (first_ == size_) return true;
  if (fill(first_, kHeaderBytes) < kHeaderBytes) return first_ == size_;
  return kernels().header_ok(at(first_));
}

void Reader::bad_message() {
  const Frame& frame = frames_[next_ - 1];
  note(DamageKind::bad_message, frame.position, frame.position + kFrameBytes + frame.length,
       frame.length, true);
  if (failed_) {
    position_ = frame.position;
    next_ = count_ = 0;
  }
}

// The range after this one looks for its start: a damaged header there would make it pass over a
// record that nobody else reports.
void Reader::check_stop() {
  if (stop_checked_ || !options_.check_stop || position_ >= options_.ceiling) return;
  stop_checked_ = true;
  if (fill(position_, kHeaderBytes) < kHeaderBytes) {
    if (at_hole()) {
      note_hole();
    } else {
      note(DamageKind::truncated_header, position_, size_, 0, false);
    }
  } else if (!kernels().header_ok(at(position_))) {
    note(DamageKind::bad_length_crc, position_, position_, load<uint64_t>(at(position_)), false);
  }
}

// ---- records ------------------------------------------------------------------------------------

bool Reader::refill() {
  next_ = count_ = 0;
  while (!failed_) {
    if (bad_data_) {
      bad_data_ = false;
      uint64_t length = load<uint64_t>(at(position_));
      uint64_t behind = position_ + kFrameBytes + length;
      note(DamageKind::bad_data_crc, position_, behind, length, true);
      if (failed_) break;
      position_ = behind;
      continue;
    }
    if (position_ >= options_.end) {
      // Blocks without length can lie at the very end.
      if (position_ == size_ && options_.end == size_ && fill(position_, 1) == 0 && at_hole()) {
        note_hole();
        pass_hole();
        continue;
      }
      check_stop();
      return false;
    }
    if (position_ >= pause_at_) return false;
    size_t have = fill(position_, kHeaderBytes);
    if (have < kHeaderBytes) {
      // One pass knows the end only now.
      if (position_ < options_.end) damaged_by_edge(0, false);
      continue;
    }
    const Kernels& k = kernels();
    Walk walk;
    if (options_.verify) {
      walk = k.read(at(position_), have, options_.end - position_, position_,
                    source_->max_record(), shapes_, frames_.data(), like_.data(), frames_.size());
    } else {
      walk = k.walk(at(position_), have, options_.end - position_, position_,
                    source_->max_record(), frames_.data(), frames_.size());
      if (shapes_ != nullptr) k.compare(frames_.data(), walk.frames, *shapes_, like_.data());
    }
    bad_data_ = walk.stop == Stop::bad_data;
    position_ += walk.consumed;
    if (walk.frames > 0) {
      count_ = walk.frames;
      return true;
    }
    if (bad_data_) continue;
    if (walk.stop == Stop::data) {
      uint64_t whole = kFrameBytes + walk.length;
      if (whole > size_ - position_ && source_->compression() == Compression::plain) {
        damaged_by_edge(walk.length, true);
      } else if (fill(position_, whole) < whole) {
        damaged_by_edge(walk.length, true);
      }
    } else {
      damaged_header(walk.stop == Stop::too_long ? DamageKind::record_too_long
                                                 : DamageKind::bad_length_crc,
                     walk.length);
    }
  }
  return false;
}

}  // namespace monolith
