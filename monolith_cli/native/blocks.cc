#include "blocks.h"

#include <algorithm>

#include "crc32c.h"
#include "snappy.h"
#include "wire.h"

namespace monolith {
namespace {

constexpr uint8_t kMapVersion = 1;

bool read_header(const Bytes& bytes, uint64_t offset, uint64_t max_block, BlockHeader& header) {
  uint64_t left = bytes.size() - offset;
  uint8_t head[kBlockHead] = {};
  size_t n = static_cast<size_t>(std::min<uint64_t>(left, sizeof head));
  bytes.read(offset, head, n);
  return parse_block_header(head, n, left, max_block, header);
}

bool read_block(const Bytes& bytes, uint64_t offset, const BlockHeader& header, Buffer& in,
                Buffer& out) {
  in.resize(header.compressed);
  out.resize(header.length);
  bytes.read(offset + kBlockHeader, in.data(), header.compressed);
  return snappy_decode(in.data(), header.compressed, out.data(), header.length);
}

// The first offset at or after `from` where a block starts that decodes and is followed by another
// one, or by the end; the size of the file if there is none. One block alone proves little: a few
// bytes of data often make a short one.
uint64_t find_block(const Bytes& bytes, uint64_t max_block, uint64_t from, uint64_t limit) {
  const uint64_t end = bytes.size();
  // What failed attempts may decode: keeps a hostile file from costing more than linear time.
  uint64_t budget = 16 * (end - from) + (uint64_t{64} << 20);
  Buffer window, in, out;
  for (uint64_t base = from; base < limit && base + kBlockHeader < end; base += kSniffBytes) {
    // Windows overlap by a header, so that each offset sees all of its own.
    window.resize(static_cast<size_t>(std::min<uint64_t>(end - base, kSniffBytes + kBlockHead)));
    bytes.read(base, window.data(), window.size());
    size_t starts = std::min(window.size(), kSniffBytes);
    for (size_t i = 0; i < starts; ++i) {
      uint64_t offset = base + i;
      BlockHeader header, next;
      if (!parse_block_header(window.data() + i, window.size() - i, end - offset, max_block,
                              header) ||
          header.length == 0) {
        continue;
      }
      uint64_t behind = offset + kBlockHeader + header.compressed;
      if (behind != end && !read_header(bytes, behind, max_block, next)) continue;
      if (header.compressed + header.length > budget) return end;
      budget -= header.compressed + header.length;
      if (!read_block(bytes, offset, header, in, out)) continue;
      if (behind == end || read_block(bytes, behind, next, in, out)) return offset;
    }
  }
  return end;
}

}  // namespace

bool parse_block_header(const uint8_t* head, size_t n, uint64_t left, uint64_t max_block,
                        BlockHeader& header) {
  if (n <= kBlockHeader) return false;
  header.compressed = load_be32(head);
  return header.compressed > 0 && header.compressed <= left - kBlockHeader &&
         snappy_length(head + kBlockHeader, n - kBlockHeader, &header.length) != 0 &&
         header.length <= max_block && snappy_plausible(header.compressed, header.length);
}

// A first block that decodes to a frame header; or where that one is damaged, blocks behind it. (Frame
// headers behind a damaged start would prove nothing: blocks of data that does not compress hold
// such headers as they are.)
bool looks_snappy(const Bytes& bytes, uint64_t max_block) {
  Buffer in, out;
  BlockHeader header;
  uint64_t offset = 0;
  while (offset < bytes.size() && read_header(bytes, offset, max_block, header)) {
    if (header.length == 0) {
      offset += kBlockHeader + header.compressed;
      continue;
    }
    if (!read_block(bytes, offset, header, in, out)) break;
    if (out.size() >= kHeaderBytes && kernels().header_ok(out.data())) return true;
    break;
  }
  const uint64_t limit = std::min<uint64_t>(bytes.size(), kSniffBytes);
  return find_block(bytes, max_block, 1, limit) < limit;
}

BlockMap map_blocks(const Bytes& bytes, uint64_t max_block) {
  const uint64_t end = bytes.size();
  BlockMap map;
  while (map.stored_end() < end) {
    BlockHeader header;
    if (read_header(bytes, map.stored_end(), max_block, header)) {
      map.add(header);
      continue;
    }
    // The lengths led astray. The damaged one may be that of the block before, which then ends in
    // the middle of nowhere: only a block that decodes is known to end where it says.
    while (!map.blocks().empty() && !map.blocks().back().broken) {
      Buffer in, out;
      const Block& last = map.blocks().back();
      BlockHeader before{last.stored_end - last.stored - kBlockHeader, last.length};
      if (read_block(bytes, last.stored, before, in, out)) break;
      map.drop_last();
    }
    map.add_broken(find_block(bytes, max_block, map.stored_end() + 1, end));
  }
  return map;
}

// ---- the map ------------------------------------------------------------------------------------

void BlockMap::add(const BlockHeader& header) {
  const uint64_t start = stored_end();
  blocks_.push_back(
      {start, start + kBlockHeader + header.compressed, size_, header.length, false});
  size_ += header.length;
}

void BlockMap::add_broken(uint64_t stored_end) {
  blocks_.push_back({this->stored_end(), stored_end, size_, 0, true});
}

void BlockMap::drop_last() {
  size_ -= blocks_.back().length;
  blocks_.pop_back();
}

size_t BlockMap::block_at(uint64_t position) const {
  auto it = std::partition_point(blocks_.begin(), blocks_.end(), [position](const Block& b) {
    return b.broken ? b.position < position : b.position + b.length <= position;
  });
  return static_cast<size_t>(it - blocks_.begin());
}

void BlockMap::pack(uint64_t max_block, Buffer& out) const {
  auto put = [&out](uint64_t n) {
    for (; n >= 0x80; n >>= 7) out.push(static_cast<uint8_t>(n | 0x80));
    out.push(static_cast<uint8_t>(n));
  };
  out.push(kMapVersion);
  put(stored_end());
  put(max_block);
  for (const Block& b : blocks_) {
    put((b.stored_end - b.stored) << 1 | (b.broken ? 1 : 0));
    if (!b.broken) put(b.length);
  }
}

BlockMap BlockMap::unpack(const uint8_t* data, size_t n, uint64_t stored_size,
                          uint64_t max_block) {
  Input in{data, data + n};
  uint64_t size, longest;
  if (n == 0 || *in.p++ != kMapVersion || !read_varint(in, size) || !read_varint(in, longest)) {
    throw NoBlockMap();
  }
  if (size != stored_size) throw ChangedError(std::min(size, stored_size));
  if (longest != max_block) throw NoBlockMap();
  BlockMap map;
  while (in.left() > 0) {
    uint64_t stored, length = 0;
    if (!read_varint(in, stored)) throw NoBlockMap();
    const bool broken = stored & 1;
    stored >>= 1;
    if (stored == 0 || stored > stored_size - map.stored_end()) throw NoBlockMap();
    if (broken) {
      map.add_broken(map.stored_end() + stored);
      continue;
    }
    if (!read_varint(in, length) || stored <= kBlockHeader || length > max_block ||
        length > UINT32_MAX || !snappy_plausible(stored - kBlockHeader, length)) {
      throw NoBlockMap();
    }
    map.add({stored - kBlockHeader, static_cast<uint32_t>(length)});
  }
  if (map.stored_end() != stored_size) throw NoBlockMap();
  return map;
}

}  // namespace monolith
