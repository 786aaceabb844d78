#include "variant.h"

#include <algorithm>
#include <cstring>

#include "crc32c.h"
#include "snappy.h"

namespace monolith {
namespace {

constexpr char kDelimiter[] = "@@";
constexpr char kCompressedElement[] = "tensorflow.data.CompressedElement";
constexpr size_t kMaxRank = 254;

constexpr uint32_t bytes_tag(uint32_t field) { return make_tag(field, WireType::bytes); }
constexpr uint32_t varint_tag(uint32_t field) { return make_tag(field, WireType::varint); }

bool equals(Input in, const char* text) {
  const size_t n = std::strlen(text);
  return in.left() == n && std::memcmp(in.p, text, n) == 0;
}

// A TensorShapeProto of known rank and sizes.
bool parse_shape(Input in, std::vector<uint64_t>& shape) {
  shape.clear();
  while (in.p < in.end) {
    uint32_t tag;
    uint64_t number;
    if (!read_tag(in, tag)) return false;
    if (tag == bytes_tag(2)) {
      Input dim{nullptr, nullptr};
      if (!read_bytes(in, dim) || shape.size() == kMaxRank) return false;
      shape.push_back(0);
      while (dim.p < dim.end) {
        if (!read_tag(dim, tag)) return false;
        if (tag != varint_tag(1)) {
          if (!skip_field(dim, tag)) return false;
        } else if (!read_varint(dim, shape.back())) {
          return false;
        }
      }
      if (shape.back() >> 63) return false;
    } else if (tag == varint_tag(3)) {
      if (!read_varint(in, number) || number != 0) return false;
    } else if (!skip_field(in, tag)) {
      return false;
    }
  }
  return true;
}

bool read_shape(Input& in, std::vector<uint64_t>& shape) {
  Input content{nullptr, nullptr};
  return read_bytes(in, content) && parse_shape(content, shape);
}

// One number, or a packed run of them.
bool read_numbers(Input& in, uint32_t tag, std::vector<uint64_t>& numbers) {
  uint64_t number;
  if (tag == varint_tag(tag >> 3)) {
    if (!read_varint(in, number)) return false;
    numbers.push_back(number);
    return true;
  }
  Input packed{nullptr, nullptr};
  if (!read_bytes(in, packed)) return false;
  while (packed.p < packed.end) {
    if (!read_varint(packed, number)) return false;
    numbers.push_back(number);
  }
  return true;
}

// A CompressedComponentMetadata.
bool parse_component(Input in, StateValue& value) {
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    bool good;
    switch (tag) {
      case varint_tag(1):
        good = read_varint(in, value.dtype);
        break;
      case bytes_tag(2):
        good = read_shape(in, value.shape);
        break;
      case varint_tag(4):
      case bytes_tag(4):
        good = read_numbers(in, tag, value.sizes);
        break;
      default:
        good = skip_field(in, tag);
    }
    if (!good) return false;
  }
  return true;
}

// A TensorProto: what it is, and the sizes of its strings.
bool parse_tensor(Input in, StateValue& value) {
  value.tensor = in;
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    Input string{nullptr, nullptr};
    bool good;
    switch (tag) {
      case varint_tag(1):
        good = read_varint(in, value.dtype);
        break;
      case bytes_tag(2):
        good = read_shape(in, value.shape);
        break;
      case bytes_tag(8):
        good = read_bytes(in, string);
        value.sizes.push_back(string.left());
        break;
      default:
        good = skip_field(in, tag);
    }
    if (!good) return false;
  }
  return true;
}

bool parse_compressed(Input in, StatePart& part) {
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    Input component{nullptr, nullptr};
    bool good;
    switch (tag) {
      case bytes_tag(1):
        good = read_bytes(in, part.content);
        break;
      case bytes_tag(2):
        part.values.emplace_back();
        good = read_bytes(in, component) && parse_component(component, part.values.back());
        break;
      default:
        good = skip_field(in, tag);
    }
    if (!good) return false;
  }
  return true;
}

// The first variant_val of a TensorProto; empty if it has none.
bool find_variant(Input in, Input& found) {
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    if (tag == bytes_tag(15)) return read_bytes(in, found);
    if (!skip_field(in, tag)) return false;
  }
  return true;
}

// Is the content as long as the values are, all together?
bool measure_content(StatePart& part) {
  uint64_t& total = part.content_bytes;
  for (const StateValue& value : part.values) {
    for (uint64_t size : value.sizes) {
      if (size > UINT32_MAX || (total += size) > UINT32_MAX) return false;
    }
  }
  uint32_t length = 0;
  if (part.content.left() == 0) return total == 0;
  return snappy_length(part.content.p, part.content.left(), &length) != 0 &&
         snappy_plausible(part.content.left(), length) && length == total;
}

// Splits off what is before the next delimiter.
bool next_text(Input& in, Input& text) {
  if (in.p == nullptr) return false;
  const uint8_t* at = std::search(in.p, in.end, kDelimiter, kDelimiter + 2);
  text = {in.p, at};
  in = at == in.end ? Input{nullptr, nullptr} : Input{at + 2, in.end};
  return true;
}

// A key without the part's name, and without the random number and the bar that some have before.
Input short_key(Input key, Input name) {
  for (const uint8_t* p = key.end; p > key.p; --p) {
    if (p[-1] == '|') {
      key.p = p;
      break;
    }
  }
  if (key.left() >= name.left() && name.left() > 0 &&
      std::memcmp(key.p, name.p, name.left()) == 0) {
    key.p += name.left();
  }
  return key;
}

}  // namespace

VariantScan scan_variants(Input in, uint64_t count, uint32_t crc) {
  VariantScan scan;
  const uint8_t* const start = in.p;
  scan.crc = crc;
  for (; count > 0; --count) {
    scan.consumed = static_cast<size_t>(in.p - start);
    uint64_t length;
    const Input head = in;
    if (!read_varint(in, length)) {
      scan.stop = head.left() < 10 ? VariantStop::cut : VariantStop::bad_length;
      return scan;
    }
    if (length > in.left() || in.left() - length < 4) {
      const uint64_t framing = static_cast<uint64_t>(in.p - head.p) + 4;
      scan.stop = VariantStop::cut;
      scan.next = length > UINT64_MAX - framing ? UINT64_MAX : length + framing;
      return scan;
    }
    uint8_t size[8];
    store(size, length);
    const uint8_t* const stored = in.p + length;
    crc = crc32c(in.p, length, crc32c(size, sizeof size, crc));
    if (mask_crc(crc) != load<uint32_t>(stored)) {
      scan.stop = VariantStop::bad_crc;
      return scan;
    }
    scan.crc = crc = crc32c(stored, 4, crc);
    scan.elements.push_back({in.p, stored});
    in.p = stored + 4;
  }
  scan.consumed = static_cast<size_t>(in.p - start);
  return scan;
}

bool parse_variant(Input in, Variant& out) {
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    Input tensor{nullptr, nullptr};
    bool good;
    switch (tag) {
      case bytes_tag(1):
        good = read_bytes(in, out.type_name);
        break;
      case bytes_tag(2):
        good = read_bytes(in, out.metadata);
        break;
      case bytes_tag(3):
        good = read_bytes(in, tensor);
        out.tensors.push_back(tensor);
        break;
      default:
        good = skip_field(in, tag);
    }
    if (!good) return false;
  }
  return true;
}

const char* parse_state_part(Input in, StatePart& out) {
  Variant variant;
  if (!parse_variant(in, variant)) return "an element that is no variant";
  if (variant.tensors.size() == 1) {
    Input found{nullptr, nullptr};
    Variant inner;
    if (!find_variant(variant.tensors[0], found) || !parse_variant(found, inner)) {
      return "a value that is no tensor";
    }
    if (equals(inner.type_name, kCompressedElement)) {
      out.compressed = true;
      if (!parse_compressed(inner.metadata, out)) return "values that are no CompressedElement";
      if (!measure_content(out)) return "values that are not as long as their sizes";
    }
  }
  if (!out.compressed) {
    for (const Input& tensor : variant.tensors) {
      out.values.emplace_back();
      if (!parse_tensor(tensor, out.values.back())) return "a value that is no tensor";
    }
  }
  Input rest = variant.metadata, key{nullptr, nullptr};
  next_text(rest, out.name);
  for (StateValue& value : out.values) {
    if (!next_text(rest, key)) return "fewer keys than values";
    value.key = short_key(key, out.name);
  }
  return next_text(rest, key) ? "more keys than values" : nullptr;
}

}  // namespace monolith
