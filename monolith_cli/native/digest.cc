#include "digest.h"

#include <array>

namespace monolith {
namespace {

constexpr uint64_t next_key(uint64_t& state) {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

constexpr size_t kBlock = 128;  // floats, each pair of which has a key

constexpr std::array<uint64_t, kBlock / 2> make_keys() {
  std::array<uint64_t, kBlock / 2> keys{};
  uint64_t state = 0x6d6f6e6f6c697468u;
  for (uint64_t& key : keys) key = next_key(state);
  return keys;
}

constexpr std::array<uint64_t, kBlock / 2> kKeys = make_keys();
constexpr uint64_t kArray = 0xa0761d6478bd642fu;
constexpr uint64_t kEnd = 0xe7037ed1a0b428dbu;
constexpr uint64_t kState = 0x8ebc6af09c88c6e3u;
constexpr uint64_t kValue = 0x589965cc75374cc3u;

// Two floats, `Stride` bytes apart.
template <size_t Stride>
inline uint64_t pair_at(const uint8_t* p) {
  if (Stride == 4) return load<uint64_t>(p);
  return load<uint32_t>(p) | static_cast<uint64_t>(load<uint32_t>(p + Stride)) << 32;
}

// Up to kBlock floats. Each four are multiplied with each other, so that their order counts; sums of
// such products do not wait for each other.
template <size_t Stride>
inline uint64_t block_sum(const uint8_t* p, size_t n) {
  uint64_t sum = 0;
  const uint64_t* key = kKeys.data();
  for (; n >= 4; n -= 4, p += 4 * Stride, key += 2) {
    sum += folded_product(pair_at<Stride>(p) ^ key[0], pair_at<Stride>(p + 2 * Stride) ^ key[1]);
  }
  if (n > 0) {
    uint64_t first = load<uint32_t>(p), second = 0;
    if (n > 1) first = pair_at<Stride>(p);
    if (n > 2) second = load<uint32_t>(p + 2 * Stride);
    sum += folded_product(first ^ key[0], second ^ key[1]);
  }
  return sum;
}

template <size_t Stride>
inline uint64_t array_digest(const uint8_t* p, size_t n) {
  uint64_t digest = kArray;
  const size_t count = n;
  for (; n > kBlock; n -= kBlock, p += kBlock * Stride) {
    digest = folded_product(digest ^ block_sum<Stride>(p, kBlock), kArray);
  }
  digest ^= block_sum<Stride>(p, n);
  return folded_product(digest, kEnd ^ count);
}

}  // namespace

uint64_t DigestPlan::Array::digest(const uint8_t* data) const {
  if (pieces.size() == 1) {
    const Piece& piece = pieces[0];
    return piece.stride == 4 ? array_digest<4>(data + piece.at, piece.count)
                             : array_digest<5>(data + piece.at, piece.count);
  }
  Buffer joined;
  for (const Piece& piece : pieces) {
    const uint8_t* p = data + piece.at;
    for (uint32_t i = 0; i < piece.count; ++i) joined.append(p + i * piece.stride, 4);
  }
  return array_digest<4>(joined.data(), joined.size() / 4);
}

void DigestPlan::State::clear(uint32_t new_type) {
  type = new_type;
  for (Array& array : arrays) array.pieces.clear();
  for (uint32_t& place : places) place = kNowhere;
}

void DigestPlan::restart(const uint8_t* data) {
  data_ = data;
  fid_at_ = time_at_ = kNowhere;
  embedding_.pieces.clear();
  used_ = 0;
}

void DigestPlan::optimizer() {
  if (used_ == states_.size()) states_.emplace_back();
  states_[used_++].clear(0);
}

// Occurrences of the same type merge, another type replaces.
void DigestPlan::optimizer_type(uint32_t type) {
  if (state().type != type) state().clear(type);
}

void DigestPlan::optimizer_floats(uint32_t field, const Floats& f) {
  state().arrays[field - 1].add(f, data_);
}

void DigestPlan::optimizer_scalar(uint32_t field, float, const uint8_t* p) {
  state().places[field - 1] = at(p);
}

void DigestPlan::optimizer_integer(uint32_t field, int64_t, const uint8_t* p, const uint8_t*) {
  state().places[field - 1] = at(p);
}

void DigestPlan::end() {
  steps_.clear();
  for (size_t s = 0; s < used_; ++s) {
    const State& state = states_[s];
    steps_.push_back({kState ^ state.type, FieldKind::integer, kNowhere, nullptr});
    for (uint32_t f = 0; state.type != 0 && f < optimizer_fields(state.type); ++f) {
      const FieldKind kind = kOptimizers[state.type].fields[f].kind;
      if (kind == FieldKind::floats) {
        steps_.push_back({kValue ^ f, kind, 0, &state.arrays[f]});
      } else if (state.places[f] != kNowhere) {
        steps_.push_back({kValue ^ f, kind, state.places[f], nullptr});
      }
    }
  }
}

Row DigestPlan::row(const uint8_t* data) const {
  Row row;
  row.fid = fid(data);
  row.embedding = embedding_.digest(data);
  uint64_t digest = kState;
  for (const Step& step : steps_) {
    uint64_t value = 0;
    if (step.array != nullptr) {
      value = step.array->digest(data);
    } else if (step.at != kNowhere) {
      if (step.kind == FieldKind::scalar) {
        value = load<uint32_t>(data + step.at);
      } else {
        Input in{data + step.at, data + step.at + 10};
        read_varint(in, value);
      }
    }
    digest = folded_product(digest ^ value, step.token);
  }
  row.optimizer = digest;
  uint64_t time = 0;
  if (time_at_ != kNowhere) {
    Input in{data + time_at_, data + time_at_ + 10};
    read_varint(in, time);
  }
  row.time = static_cast<int64_t>(time);
  return row;
}

}  // namespace monolith
