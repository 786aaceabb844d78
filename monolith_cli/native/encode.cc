#include "encode.h"

#include "crc32c.h"
#include "snappy.h"

namespace monolith {
namespace {

constexpr size_t kVarintBytes = 10;

size_t varint_size(uint64_t v) {
  size_t n = 1;
  for (; v >= 0x80; v >>= 7) ++n;
  return n;
}

uint8_t* put_varint(uint8_t* p, uint64_t v) {
  for (; v >= 0x80; v >>= 7) *p++ = static_cast<uint8_t>(v | 0x80);
  *p++ = static_cast<uint8_t>(v);
  return p;
}

uint8_t* put_floats(uint8_t* p, uint32_t field, const uint8_t* values, size_t n) {
  const uint8_t tag = static_cast<uint8_t>(make_tag(field, WireType::fixed32));
  for (size_t i = 0; i < n; ++i, p += 5) {
    *p = tag;
    store(p + 1, load<uint32_t>(values + 4 * i));
  }
  return p;
}

// A column and how far into it the entries so far have come.
struct Cursor {
  explicit Cursor(const ValueColumn& c) : column(&c), at(c.values) {}
  size_t count(size_t entry) const { return column->lengths ? column->lengths[entry] : column->width; }
  const ValueColumn* column;
  const uint8_t* at;
};

FieldKind kind_of(uint32_t type, uint32_t field) { return kOptimizers[type].fields[field - 1].kind; }

size_t value_bytes(FieldKind kind) { return kind == FieldKind::integer ? 8 : 4; }

size_t state_size(uint32_t type, const std::vector<Cursor>& fields, size_t entry) {
  size_t n = 0;
  for (const Cursor& c : fields) {
    if (kind_of(type, c.column->field) != FieldKind::integer) {
      n += 5 * c.count(entry);
    } else if (c.count(entry) > 0) {
      n += 1 + varint_size(load<uint64_t>(c.at));
    }
  }
  return n;
}

uint8_t* put_state(uint8_t* p, uint32_t type, std::vector<Cursor>& fields, size_t entry) {
  for (Cursor& c : fields) {
    FieldKind kind = kind_of(type, c.column->field);
    size_t n = c.count(entry);
    if (kind != FieldKind::integer) {
      p = put_floats(p, c.column->field, c.at, n);
    } else if (n > 0) {
      *p++ = static_cast<uint8_t>(make_tag(c.column->field, WireType::varint));
      p = put_varint(p, load<uint64_t>(c.at));
    }
    c.at += n * value_bytes(kind);
  }
  return p;
}

uint8_t* put_header(uint8_t* p, uint64_t length) {
  store(p, length);
  store(p + 8, mask_crc(crc32c(p, 8)));
  return p + kHeaderBytes;
}

}  // namespace

uint8_t* start_frame(size_t n, Buffer& out) { return put_header(out.tail(kFrameBytes + n), n); }

void encode_frame(const uint8_t* data, size_t n, Buffer& out) {
  uint8_t* p = start_frame(n, out);
  std::memcpy(p, data, n);
  store(p + n, mask_crc(crc32c(p, n)));
  out.advance(kFrameBytes + n);
}

void encode_entries(const EntryColumns& columns, Buffer& out) {
  Cursor embedding(columns.embedding);
  std::vector<std::vector<Cursor>> states;
  for (const OptimizerColumns& o : columns.optimizers) {
    states.emplace_back();
    for (const ValueColumn& c : o.fields) states.back().emplace_back(c);
  }
  std::vector<size_t> inner(states.size());

  for (size_t i = 0; i < columns.entries; ++i) {
    const size_t dim = embedding.count(i);
    size_t optimizers = 0;
    for (size_t k = 0; k < states.size(); ++k) {
      inner[k] = state_size(columns.optimizers[k].type, states[k], i);
      size_t single = 1 + varint_size(inner[k]) + inner[k];
      optimizers += 1 + varint_size(single) + single;
    }
    uint8_t* const frame = out.tail(kFrameBytes + 9 + 5 * dim + 1 + kVarintBytes + optimizers + 1 +
                                    kVarintBytes);
    uint8_t* const data = frame + kHeaderBytes;
    uint8_t* p = data;
    *p++ = static_cast<uint8_t>(make_tag(1, WireType::fixed64));
    store(p, columns.fids[i]);
    p = put_floats(p + 8, 2, embedding.at, dim);
    embedding.at += 4 * dim;
    if (!states.empty()) {
      *p++ = static_cast<uint8_t>(make_tag(3, WireType::bytes));
      p = put_varint(p, optimizers);
    }
    for (size_t k = 0; k < states.size(); ++k) {
      const uint32_t type = columns.optimizers[k].type;
      *p++ = static_cast<uint8_t>(make_tag(1, WireType::bytes));
      p = put_varint(p, 1 + varint_size(inner[k]) + inner[k]);
      *p++ = static_cast<uint8_t>(make_tag(type, WireType::bytes));
      p = put_state(put_varint(p, inner[k]), type, states[k], i);
    }
    if (columns.times != nullptr) {
      *p++ = static_cast<uint8_t>(make_tag(4, WireType::varint));
      p = put_varint(p, static_cast<uint64_t>(columns.times[i]));
    }
    const size_t n = static_cast<size_t>(p - data);
    put_header(frame, n);
    store(p, mask_crc(crc32c(data, n)));
    out.advance(kFrameBytes + n);
  }
}

void encode_blocks(const uint8_t* data, size_t n, Buffer& out) {
  for (size_t done = 0; done < n; done += kSnappyBlockBytes) {
    size_t now = n - done < kSnappyBlockBytes ? n - done : kSnappyBlockBytes;
    size_t header = out.size();
    out.resize(header + 4);
    snappy_encode(data + done, now, out);
    store_be32(out.data() + header, static_cast<uint32_t>(out.size() - header - 4));
  }
}

}  // namespace monolith
