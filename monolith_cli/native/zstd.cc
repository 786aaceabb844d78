#include "zstd.h"

#include <algorithm>
#include <array>

namespace monolith {
namespace {

constexpr size_t kBlock = 128 << 10;  // the most that a block may hold
constexpr uint32_t kMagic = 0xfd2fb528;
constexpr int kMostBits = 11;         // of a code
constexpr int kWeightLog = 6;         // states of the coder of weights: 64

enum class BlockType : uint32_t { raw = 0, rle = 1, compressed = 2 };

using Counts = std::array<uint32_t, 256>;

int log2_of(uint32_t v) { return 31 - __builtin_clz(v); }

void put24(uint8_t* p, uint32_t v) {
  p[0] = static_cast<uint8_t>(v);
  p[1] = static_cast<uint8_t>(v >> 8);
  p[2] = static_cast<uint8_t>(v >> 16);
}

void block_header(Buffer& out, bool last, BlockType type, size_t size) {
  put24(out.tail(3), static_cast<uint32_t>(last) | static_cast<uint32_t>(type) << 1 |
                         static_cast<uint32_t>(size) << 3);
  out.advance(3);
}

// How often each byte comes. Four tables, as a byte often comes twice in a row.
Counts count_bytes(const uint8_t* p, size_t n) {
  std::array<Counts, 4> counts{};
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint64_t v = load<uint64_t>(p + i);
    for (int b = 0; b < 8; ++b) ++counts[b % 4][v >> (8 * b) & 0xff];
  }
  for (; i < n; ++i) ++counts[0][p[i]];
  for (size_t s = 0; s < 256; ++s) counts[0][s] += counts[1][s] + counts[2][s] + counts[3][s];
  return counts[0];
}

// ---- code lengths -------------------------------------------------------------------------------

struct Code {
  std::array<uint8_t, 256> bits{};    // 0: the byte does not come
  std::array<uint16_t, 256> values{};
  int longest = 0;
  int last = 0;                       // the last byte that comes
};

// Lengths of a prefix code, none above kMostBits, that spend all of the code space. At least two
// bytes come.
void find_lengths(const Counts& counts, Code& code) {
  struct Node {
    uint32_t count;
    int16_t left, right;
  };
  std::array<uint16_t, 256> order;
  size_t n = 0;
  for (int s = 0; s < 256; ++s) {
    if (counts[s] == 0) continue;
    order[n++] = static_cast<uint16_t>(s);
    code.last = s;
  }
  std::sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(n), [&](uint16_t a, uint16_t b) {
    return counts[a] != counts[b] ? counts[a] < counts[b] : a < b;
  });
  // Two queues: of bytes, and of nodes that were joined, which come in ascending order.
  std::array<Node, 512> nodes;
  for (size_t i = 0; i < n; ++i) nodes[i] = {counts[order[i]], -1, -1};
  size_t leaf = 0, joined = n, made = n;
  auto least = [&] {
    if (leaf < n && (joined == made || nodes[leaf].count <= nodes[joined].count)) return leaf++;
    return joined++;
  };
  while (made < 2 * n - 1) {
    const size_t a = least(), b = least();
    nodes[made++] = {nodes[a].count + nodes[b].count, static_cast<int16_t>(a),
                     static_cast<int16_t>(b)};
  }
  std::array<uint8_t, 512> depth;
  depth[made - 1] = 0;
  for (size_t i = made - 1; i >= n; --i) {
    depth[nodes[i].left] = depth[nodes[i].right] = static_cast<uint8_t>(depth[i] + 1);
  }
  // What is too long is cut, which spends more code space than there is. That is paid back by
  // lengthening others, the rarest ones first.
  constexpr uint32_t kSpace = 1u << kMostBits;
  uint32_t spent = 0;
  for (size_t i = 0; i < n; ++i) {
    depth[i] = std::min<uint8_t>(depth[i], kMostBits);
    spent += kSpace >> depth[i];
  }
  while (spent > kSpace) {
    for (size_t i = 0; i < n && spent > kSpace; ++i) {
      if (depth[i] == kMostBits) continue;
      ++depth[i];
      spent -= kSpace >> depth[i];
    }
  }
  // What was paid too much goes to the most frequent.
  for (size_t i = n; i-- > 0 && spent < kSpace;) {
    while (depth[i] > 1 && spent + (kSpace >> depth[i]) <= kSpace) {
      spent += kSpace >> depth[i];
      --depth[i];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    code.bits[order[i]] = depth[i];
    code.longest = std::max<int>(code.longest, depth[i]);
  }
}

int weight_of(const Code& code, int symbol) {
  return code.bits[symbol] == 0 ? 0 : code.longest + 1 - code.bits[symbol];
}

// Codes follow from the lengths: ascending by weight, then by byte.
void find_values(Code& code) {
  uint32_t position = 0;
  for (int weight = 1; weight <= code.longest; ++weight) {
    for (int s = 0; s <= code.last; ++s) {
      if (weight_of(code, s) != weight) continue;
      code.values[s] = static_cast<uint16_t>(position >> (weight - 1));
      position += 1u << (weight - 1);
    }
  }
}

// ---- the description of a code: weights of all bytes but the last one -------------------------------

// Bits that are read from their end: what is put last is read first.
class BackwardBits {
 public:
  explicit BackwardBits(Buffer& out) : out_(out) {}
  void put(uint32_t value, int bits) {
    held_ |= static_cast<uint64_t>(value) << count_;
    for (count_ += bits; count_ >= 8; count_ -= 8, held_ >>= 8) {
      out_.push(static_cast<uint8_t>(held_));
    }
  }
  // Ends with a one, behind which nothing is read.
  void finish() {
    put(1, 1);
    if (count_ > 0) out_.push(static_cast<uint8_t>(held_));
  }

 private:
  Buffer& out_;
  uint64_t held_ = 0;
  int count_ = 0;
};

// Shares of the states in proportion to how often a weight comes, at least one each. False if one
// weight alone comes, for which there is no such coder.
bool share_states(const std::vector<uint8_t>& weights, std::array<int, 16>& shares) {
  std::array<int, 16> counts{};
  for (uint8_t w : weights) ++counts[w];
  const int total = static_cast<int>(weights.size());
  int left = 1 << kWeightLog, most = 0;
  for (int w = 0; w < 16; ++w) {
    if (counts[w] == total) return false;
    shares[w] = counts[w] == 0 ? 0 : std::max(1, (counts[w] << kWeightLog) / total);
    left -= shares[w];
    if (counts[w] > counts[most]) most = w;
  }
  shares[most] += left;
  return shares[most] > 0;
}

void describe_shares(const std::array<int, 16>& shares, Buffer& out) {
  int symbols = 16;
  while (shares[symbols - 1] == 0) --symbols;
  uint64_t held = kWeightLog - 5;
  int count = 4;
  auto put = [&](uint32_t value, int bits) {
    held |= static_cast<uint64_t>(value) << count;
    for (count += bits; count >= 8; count -= 8, held >>= 8) out.push(static_cast<uint8_t>(held));
  };
  int remaining = (1 << kWeightLog) + 1, threshold = 1 << kWeightLog, bits = kWeightLog + 1;
  for (int s = 0; s < symbols;) {
    // A value that leaves some codes of `bits` unused takes one bit less, if it is small.
    const int small = 2 * threshold - 1 - remaining;
    const int share = shares[s++];
    int value = share + 1;
    remaining -= share;
    const bool is_short = value < small;
    if (value >= threshold) value += small;
    put(static_cast<uint32_t>(value), is_short ? bits - 1 : bits);
    for (; remaining < threshold; threshold >>= 1) --bits;
    if (share != 0) continue;
    int zeros = 0;  // those that follow
    while (shares[s] == 0) ++zeros, ++s;
    for (; zeros >= 3; zeros -= 3) put(3, 2);
    put(static_cast<uint32_t>(zeros), 2);
  }
  if (count > 0) out.push(static_cast<uint8_t>(held));
}

// Appends weights as a reader decodes them, with two states that take turns. False if it cannot be.
bool encode_weights(const std::vector<uint8_t>& weights, Buffer& out) {
  constexpr int kStates = 1 << kWeightLog;
  struct State {
    uint8_t weight, bits;
    uint8_t base;
  };
  std::array<int, 16> shares{};
  if (weights.size() < 2 || !share_states(weights, shares)) return false;
  const size_t start = out.size();
  out.push(0);
  describe_shares(shares, out);
  std::array<State, kStates> states;
  size_t at = 0;
  for (int w = 0; w < 16; ++w) {
    for (int i = 0; i < shares[w]; ++i) {
      states[at].weight = static_cast<uint8_t>(w);
      at = (at + (kStates >> 1) + (kStates >> 3) + 3) % kStates;
    }
  }
  std::array<int, 16> next = shares;
  for (State& state : states) {
    const uint32_t number = static_cast<uint32_t>(next[state.weight]++);
    state.bits = static_cast<uint8_t>(kWeightLog - log2_of(number));
    state.base = static_cast<uint8_t>((number << state.bits) - kStates);
  }
  // From the last weight back. The state of a weight reads bits that lead to the state of the weight
  // after the next; the last two lead nowhere. Their states would read at least one bit, so that a
  // reader sees the end.
  std::array<int, 2> after{-1, -1};
  BackwardBits bits(out);
  for (size_t i = weights.size(); i-- > 0;) {
    int& target = after[i % 2];
    for (int s = 0; s < kStates; ++s) {
      const State& state = states[s];
      if (state.weight != weights[i]) continue;
      if (target < 0) {
        if (state.bits == 0) continue;
      } else {
        if (target < state.base || target >= state.base + (1 << state.bits)) continue;
        bits.put(static_cast<uint32_t>(target - state.base), state.bits);
      }
      target = s;
      break;
    }
  }
  bits.put(static_cast<uint32_t>(after[1]), kWeightLog);
  bits.put(static_cast<uint32_t>(after[0]), kWeightLog);
  bits.finish();
  const size_t size = out.size() - start - 1;
  if (size > 127) return false;
  out.data()[start] = static_cast<uint8_t>(size);
  return true;
}

bool describe_code(const Code& code, Buffer& out) {
  std::vector<uint8_t> weights;
  for (int s = 0; s < code.last; ++s) weights.push_back(static_cast<uint8_t>(weight_of(code, s)));
  const size_t start = out.size();
  if (encode_weights(weights, out)) return true;
  out.resize(start);
  if (weights.size() > 128) return false;
  out.push(static_cast<uint8_t>(127 + weights.size()));
  for (size_t i = 0; i < weights.size(); i += 2) {
    const int second = i + 1 < weights.size() ? weights[i + 1] : 0;
    out.push(static_cast<uint8_t>(weights[i] << 4 | second));
  }
  return true;
}

// ---- blocks -------------------------------------------------------------------------------------

// Bytes from the last to the first, as they are read from the end.
void encode_stream(const uint8_t* p, size_t n, const std::array<uint32_t, 256>& table, Buffer& out) {
  uint8_t* to = out.tail(n * kMostBits / 8 + 16);
  uint8_t* const begin = to;
  uint64_t held = 0;
  uint32_t count = 0;
  auto add = [&](uint8_t byte) {
    const uint32_t entry = table[byte];
    held |= static_cast<uint64_t>(entry >> 8) << count;
    count += entry & 0xff;
  };
  auto flush = [&] {
    store(to, held);
    to += count / 8;
    held >>= count & ~7u;
    count &= 7;
  };
  for (; n % 4 != 0; --n) add(p[n - 1]);
  flush();
  for (; n > 0; n -= 4) {  // 44 bits at most, beside the seven that are held
    add(p[n - 1]);
    add(p[n - 2]);
    add(p[n - 3]);
    add(p[n - 4]);
    flush();
  }
  held |= uint64_t{1} << count;
  ++count;
  store(to, held);
  to += (count + 7) / 8;
  out.advance(static_cast<size_t>(to - begin));
}

// Appends the content of a compressed block; false if it would not be smaller by a 64th.
bool encode_block(const uint8_t* p, size_t n, const Counts& counts, Buffer& out) {
  // Of bytes that are as good as equally frequent nothing is to be gained.
  double squares = 0;
  for (uint32_t count : counts) squares += static_cast<double>(count) * count;
  const double all = static_cast<double>(n);
  if (n < 64 || squares * 256 < 1.05 * all * all) return false;
  Code code;
  find_lengths(counts, code);
  find_values(code);
  uint64_t bits = 0;
  for (int s = 0; s < 256; ++s) bits += static_cast<uint64_t>(counts[s]) * code.bits[s];
  if (bits / 8 + 160 > n - n / 64) return false;
  std::array<uint32_t, 256> table;
  for (int s = 0; s < 256; ++s) table[s] = static_cast<uint32_t>(code.values[s]) << 8 | code.bits[s];
  const size_t start = out.size();
  out.tail(5);
  out.advance(5);
  if (!describe_code(code, out)) {
    out.resize(start);
    return false;
  }
  const size_t sizes = out.size();
  out.tail(6);
  out.advance(6);
  const size_t part = (n + 3) / 4;
  for (size_t i = 0; i < 4; ++i) {
    const size_t before = out.size();
    const size_t from = std::min(n, i * part), to = std::min(n, from + part);
    encode_stream(p + from, to - from, table, out);
    if (i < 3) store(out.data() + sizes + 2 * i, static_cast<uint16_t>(out.size() - before));
  }
  // Four streams, 18 bits for each size: of the literals, and of what codes them.
  const uint64_t header = 2 | 3 << 2 | static_cast<uint64_t>(n) << 4 |
                          static_cast<uint64_t>(out.size() - start - 5) << 22;
  store(out.data() + start, static_cast<uint32_t>(header));
  out.data()[start + 4] = static_cast<uint8_t>(header >> 32);
  out.push(0);  // no sequences
  return true;
}

void append_block(const uint8_t* p, size_t n, bool last, Buffer& out) {
  const Counts counts = count_bytes(p, n);
  if (n > 0 && counts[p[0]] == n) {
    block_header(out, last, BlockType::rle, n);
    out.push(p[0]);
    return;
  }
  const size_t start = out.size();
  out.tail(3);
  out.advance(3);
  if (encode_block(p, n, counts, out)) {
    const size_t size = out.size() - start - 3;
    put24(out.data() + start, static_cast<uint32_t>(last) |
                                  static_cast<uint32_t>(BlockType::compressed) << 1 |
                                  static_cast<uint32_t>(size) << 3);
    return;
  }
  out.resize(start);
  block_header(out, last, BlockType::raw, n);
  out.append(p, n);
}

}  // namespace

void zstd_frame(const uint8_t* data, size_t n, const std::vector<size_t>& cuts, Buffer& out) {
  store(out.tail(9), kMagic);
  out.advance(4);
  out.push(0xa0);  // one segment, whose size follows in four bytes
  store(out.tail(4), static_cast<uint32_t>(n));
  out.advance(4);
  if (n == 0) {
    block_header(out, true, BlockType::raw, 0);
    return;
  }
  size_t from = 0;
  auto up_to = [&](size_t end) {
    while (from < end) {
      const size_t size = std::min(kBlock, end - from);
      append_block(data + from, size, from + size == n, out);
      from += size;
    }
  };
  for (size_t cut : cuts) up_to(std::min(cut, n));
  up_to(n);
}

}  // namespace monolith
