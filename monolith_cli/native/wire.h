// The protobuf wire format of EntryDump and OptimizerDump, read without building messages.
//
// parse_entry() walks a serialized EntryDump and tells a visitor what it finds. It accepts what
// protobuf's own parser accepts: fields in any order, repeated floats packed or not, unknown fields,
// fields more than once (the last one wins, sub-messages merge).
#pragma once

#include <cstddef>
#include <cstdint>

#include "bytes.h"

namespace monolith {

enum class WireType : uint8_t { varint = 0, fixed64 = 1, bytes = 2, group = 3, end_group = 4, fixed32 = 5 };

constexpr uint32_t make_tag(uint32_t field, WireType type) {
  return field << 3 | static_cast<uint32_t>(type);
}

struct Input {
  const uint8_t* p;
  const uint8_t* end;
  size_t left() const { return static_cast<size_t>(end - p); }
};

inline bool read_varint(Input& in, uint64_t& value) {
  uint64_t v = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (in.p == in.end) return false;
    uint8_t b = *in.p++;
    v |= static_cast<uint64_t>(b & 0x7f) << (shift < 64 ? shift : 63);
    if (b < 0x80) {
      value = v;
      return true;
    }
  }
  return false;
}

inline bool read_tag(Input& in, uint32_t& tag) {
  if (in.p == in.end) return false;
  if (*in.p < 0x80) {
    tag = *in.p++;
  } else {
    const uint8_t* start = in.p;
    uint64_t v;
    if (!read_varint(in, v) || v > 0xffffffffu || in.p - start > 5) return false;
    tag = static_cast<uint32_t>(v);
  }
  return tag >> 3 != 0;
}

// Takes a length-delimited field's content out of `in`.
inline bool read_bytes(Input& in, Input& content) {
  uint64_t n;
  if (!read_varint(in, n) || n > in.left()) return false;
  content = {in.p, in.p + n};
  in.p += n;
  return true;
}

inline bool skip_field(Input& in, uint32_t tag, int depth = 0) {
  uint64_t ignored;
  Input content{nullptr, nullptr};
  switch (static_cast<WireType>(tag & 7)) {
    case WireType::varint:
      return read_varint(in, ignored);
    case WireType::fixed64:
      if (in.left() < 8) return false;
      in.p += 8;
      return true;
    case WireType::bytes:
      return read_bytes(in, content);
    case WireType::fixed32:
      if (in.left() < 4) return false;
      in.p += 4;
      return true;
    case WireType::group: {
      if (depth >= 100) return false;
      uint32_t inner;
      while (read_tag(in, inner)) {
        if ((inner & 7) == static_cast<uint32_t>(WireType::end_group)) return inner >> 3 == tag >> 3;
        if (!skip_field(in, inner, depth + 1)) return false;
      }
      return false;
    }
    default:
      return false;
  }
}

// Floats as they lie in the message: the first value at `p`, the next ones `stride` bytes apart
// (5 with a tag byte before each, 4 when packed).
struct Floats {
  const uint8_t* p;
  size_t count;
  size_t stride;
  float operator[](size_t i) const { return load<float>(p + i * stride); }
};

// How many (tag, float) pairs follow each other from p on, p pointing at a tag byte.
inline size_t tag_run(const uint8_t* p, const uint8_t* end, uint8_t tag) {
  const uint64_t want = 0x0101010101010101u * tag;
  size_t n = 0;
  // Eight pairs are forty bytes; the masks keep the bytes where a tag must stand.
  while (end - p >= 40) {
    uint64_t differs = ((load<uint64_t>(p) ^ want) & 0x0000ff00000000ffu) |
                       ((load<uint64_t>(p + 8) ^ want) & 0xff00000000ff0000u) |
                       ((load<uint64_t>(p + 16) ^ want) & 0x000000ff00000000u) |
                       ((load<uint64_t>(p + 24) ^ want) & 0x00ff00000000ff00u) |
                       ((load<uint64_t>(p + 32) ^ want) & 0x00000000ff000000u);
    if (differs != 0) break;
    p += 40;
    n += 8;
  }
  for (; end - p >= 5 && *p == tag; p += 5) ++n;
  return n;
}

// Reads one occurrence of a repeated float field whose tag was just read, or a run of them.
inline bool read_floats(Input& in, uint32_t tag, Floats& floats) {
  if ((tag & 7) == static_cast<uint32_t>(WireType::bytes)) {
    Input packed{nullptr, nullptr};
    if (!read_bytes(in, packed) || packed.left() % 4 != 0) return false;
    floats = {packed.p, packed.left() / 4, 4};
    return true;
  }
  if (in.left() < 4) return false;
  floats = {in.p, 1, 5};
  in.p += 4;
  if (tag < 0x80) {
    size_t more = tag_run(in.p, in.end, static_cast<uint8_t>(tag));
    floats.count += more;
    in.p += 5 * more;
  }
  return true;
}

enum class FieldKind : uint8_t { floats, scalar, integer };

struct OptimizerField {
  const char* name;
  FieldKind kind;
};

struct OptimizerType {
  const char* name;         // of the oneof's field
  OptimizerField fields[5];  // field number - 1; a null name ends them
};

constexpr size_t kOptimizerTypes = 16;

// Indexed by the field number in SingleOptimizerDump's oneof; a null name is no type.
inline const OptimizerType kOptimizers[kOptimizerTypes] = {
    {nullptr, {}},
    {"adagrad", {{"norm", FieldKind::floats}}},
    {"sgd", {}},
    {"ftrl", {{"zero", FieldKind::floats}, {"norm", FieldKind::floats}}},
    {"dynamic_wd_adagrad", {{"norm", FieldKind::floats}, {"last_update_step", FieldKind::integer}}},
    {nullptr, {}},
    {"adadelta", {{"accum", FieldKind::floats}, {"accum_update", FieldKind::floats}}},
    {"adam",
     {{"m", FieldKind::floats},
      {"v", FieldKind::floats},
      {"beta1_power", FieldKind::scalar},
      {"beta2_power", FieldKind::scalar}}},
    {"amsgrad",
     {{"m", FieldKind::floats},
      {"v", FieldKind::floats},
      {"vhat", FieldKind::floats},
      {"beta1_power", FieldKind::scalar},
      {"beta2_power", FieldKind::scalar}}},
    {"momentum", {{"n", FieldKind::floats}}},
    {nullptr, {}},
    {"rmsprop", {{"n", FieldKind::floats}}},
    {"rmspropv2", {{"n", FieldKind::floats}}},
    {"group_ftrl", {{"zero", FieldKind::floats}, {"norm", FieldKind::floats}}},
    {"batch_softmax", {{"global_step", FieldKind::integer}}},
    {"group_adagrad", {{"grad_square_sum", FieldKind::scalar}}},
};

inline size_t optimizer_fields(uint32_t type) {
  size_t n = 0;
  while (n < 5 && kOptimizers[type].fields[n].name != nullptr) ++n;
  return n;
}

// A visitor that ignores everything: parse_entry() with it is a pure check. Values come with where
// they lie in the message, varints with where they end too.
struct Visitor {
  void id(int64_t, const uint8_t*) {}
  void timestamp(int64_t, const uint8_t*, const uint8_t*) {}
  void embedding(const Floats&) {}
  void optimizer() {}               // a SingleOptimizerDump starts
  void optimizer_type(uint32_t) {}  // its oneof is set to this type
  void optimizer_floats(uint32_t, const Floats&) {}
  void optimizer_scalar(uint32_t, float, const uint8_t*) {}
  void optimizer_integer(uint32_t, int64_t, const uint8_t*, const uint8_t*) {}
};

template <class V>
bool parse_optimizer_state(Input in, uint32_t type, V& v) {
  const OptimizerType& spec = kOptimizers[type];
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    uint32_t field = tag >> 3;
    const WireType wire = static_cast<WireType>(tag & 7);
    const OptimizerField* known = field <= 5 && spec.fields[field - 1].name ? &spec.fields[field - 1] : nullptr;
    if (known && known->kind == FieldKind::floats && (wire == WireType::fixed32 || wire == WireType::bytes)) {
      Floats floats;
      if (!read_floats(in, tag, floats)) return false;
      v.optimizer_floats(field, floats);
    } else if (known && known->kind == FieldKind::scalar && wire == WireType::fixed32) {
      if (in.left() < 4) return false;
      v.optimizer_scalar(field, load<float>(in.p), in.p);
      in.p += 4;
    } else if (known && known->kind == FieldKind::integer && wire == WireType::varint) {
      const uint8_t* start = in.p;
      uint64_t value;
      if (!read_varint(in, value)) return false;
      v.optimizer_integer(field, static_cast<int64_t>(value), start, in.p);
    } else if (!skip_field(in, tag)) {
      return false;
    }
  }
  return true;
}

template <class V>
bool parse_optimizers(Input in, V& v) {
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    if (tag != make_tag(1, WireType::bytes)) {
      if (!skip_field(in, tag)) return false;
      continue;
    }
    Input single{nullptr, nullptr};
    if (!read_bytes(in, single)) return false;
    v.optimizer();
    while (single.p < single.end) {
      if (!read_tag(single, tag)) return false;
      uint32_t type = tag >> 3;
      if ((tag & 7) != static_cast<uint32_t>(WireType::bytes) || type >= kOptimizerTypes ||
          kOptimizers[type].name == nullptr) {
        if (!skip_field(single, tag)) return false;
        continue;
      }
      Input state{nullptr, nullptr};
      if (!read_bytes(single, state)) return false;
      v.optimizer_type(type);
      if (!parse_optimizer_state(state, type, v)) return false;
    }
  }
  return true;
}

// Walks one serialized EntryDump. False if protobuf's parser would refuse it.
template <class V>
bool parse_entry(const uint8_t* p, size_t n, V& v) {
  Input in{p, p + n};
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    switch (tag) {
      case make_tag(1, WireType::fixed64):
        if (in.left() < 8) return false;
        v.id(load<int64_t>(in.p), in.p);
        in.p += 8;
        break;
      case make_tag(2, WireType::fixed32):
      case make_tag(2, WireType::bytes): {
        Floats floats;
        if (!read_floats(in, tag, floats)) return false;
        v.embedding(floats);
        break;
      }
      case make_tag(3, WireType::bytes): {
        Input optimizers{nullptr, nullptr};
        if (!read_bytes(in, optimizers) || !parse_optimizers(optimizers, v)) return false;
        break;
      }
      case make_tag(4, WireType::varint): {
        const uint8_t* start = in.p;
        uint64_t value;
        if (!read_varint(in, value)) return false;
        v.timestamp(static_cast<int64_t>(value), start, in.p);
        break;
      }
      default:
        if (!skip_field(in, tag)) return false;
    }
  }
  return true;
}

}  // namespace monolith
