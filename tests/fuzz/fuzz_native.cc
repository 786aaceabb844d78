// The native core, fed with damaged input under AddressSanitizer and UBSan.
//
// Usage: fuzz_native INPUTS [SEED]. Makes that many inputs by mutating well-formed files of every
// kind, and iterator states in a tensor bundle's data file, reads each in every way that the bindings offer, and checks what must hold of any input:
// reading ends, positions grow, nothing that is reported lies outside of the stream.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "columns.h"
#include "encode.h"
#include "entry.h"
#include "flips.h"
#include "json.h"
#include "reader.h"
#include "snappy.h"
#include "source.h"
#include "statistics.h"
#include "variant.h"

using namespace monolith;

namespace {

std::mt19937_64 random_engine;
uint64_t below(uint64_t n) { return n == 0 ? 0 : random_engine() % n; }

using Bytes_ = std::vector<uint8_t>;

Bytes_ to_vector(const Buffer& b) { return Bytes_(b.data(), b.data() + b.size()); }

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "fuzz_native: %s\n", what);
  std::abort();
}
void check(bool holds, const char* what) {
  if (!holds) fail(what);
}

// ---- well-formed files --------------------------------------------------------------------------

Buffer& framed_entries(Buffer& out) {
  const size_t n = 1 + below(12);
  std::vector<int64_t> fids, times;
  std::vector<uint32_t> dims, lengths[2];
  std::vector<float> values, state[2];
  std::vector<int64_t> steps;
  for (size_t i = 0; i < n; ++i) {
    fids.push_back(static_cast<int64_t>(random_engine()));
    times.push_back(static_cast<int64_t>(random_engine() >> below(64)));
    dims.push_back(static_cast<uint32_t>(below(20)));
    for (uint32_t j = 0; j < dims.back(); ++j) values.push_back(static_cast<float>(below(1000)) / 7);
    for (int s = 0; s < 2; ++s) {
      lengths[s].push_back(static_cast<uint32_t>(below(5)));
      for (uint32_t j = 0; j < lengths[s].back(); ++j) state[s].push_back(1.5f);
    }
    steps.push_back(static_cast<int64_t>(below(1000)));
  }
  auto raw = [](const auto& v) { return reinterpret_cast<const uint8_t*>(v.data()); };
  EntryColumns columns;
  columns.entries = n;
  columns.fids = fids.data();
  columns.times = below(4) ? times.data() : nullptr;
  columns.embedding = {2, raw(values), dims.data(), 0};
  OptimizerColumns adam{7, {{1, raw(state[0]), lengths[0].data(), 0}, {2, raw(state[1]), lengths[1].data(), 0}}};
  OptimizerColumns softmax{14, {{1, raw(steps), nullptr, 1}}};
  if (below(3)) columns.optimizers.push_back(adam);
  if (below(3)) columns.optimizers.push_back(softmax);
  encode_entries(columns, out);
  return out;
}

// Small blocks of random sizes, so that records span several.
Bytes_ blocks_of(const Bytes_& stream) {
  Buffer out;
  for (size_t done = 0; done < stream.size();) {
    size_t now = std::min<size_t>(1 + below(300), stream.size() - done);
    size_t header = out.size();
    out.resize(header + 4);
    snappy_encode(stream.data() + done, now, out);
    store_be32(out.data() + header, static_cast<uint32_t>(out.size() - header - 4));
    done += now;
  }
  return to_vector(out);
}

Bytes_ make_input() {
  Buffer out;
  framed_entries(out);
  if (below(4) == 0) {  // a record that holds records
    Buffer inner, message;
    framed_entries(inner);
    message.push(0x52);
    for (size_t n = inner.size(); ; n >>= 7) {
      message.push(static_cast<uint8_t>(n < 0x80 ? n : n | 0x80));
      if (n < 0x80) break;
    }
    message.append(inner.data(), inner.size());
    encode_frame(message.data(), message.size(), out);
    framed_entries(out);
  }
  Bytes_ stream = to_vector(out);
  return below(2) ? blocks_of(stream) : stream;
}

// ---- iterator states ----------------------------------------------------------------------------

void put_varint(Bytes_& out, uint64_t n) {
  for (; n >= 0x80; n >>= 7) out.push_back(static_cast<uint8_t>(n | 0x80));
  out.push_back(static_cast<uint8_t>(n));
}

void put_field(Bytes_& out, uint32_t number, const Bytes_& content) {
  put_varint(out, make_tag(number, WireType::bytes));
  put_varint(out, content.size());
  out.insert(out.end(), content.begin(), content.end());
}

void put_number(Bytes_& out, uint32_t number, uint64_t n) {
  put_varint(out, make_tag(number, WireType::varint));
  put_varint(out, n);
}

Bytes_ text(const std::string& s) { return Bytes_(s.begin(), s.end()); }

Bytes_ snappy_of(const Bytes_& data) {
  Buffer out;
  snappy_encode(data.data(), data.size(), out);
  return to_vector(out);
}

Bytes_ make_shape(size_t rank) {
  Bytes_ shape;
  for (size_t i = 0; i < rank; ++i) {
    Bytes_ dim;
    put_number(dim, 1, 1 + below(3));
    put_field(shape, 2, dim);
  }
  return shape;
}

// A part of an iterator's state, its values compressed or not.
Bytes_ make_part() {
  std::string keys = "Iterator::Root::Prefetch";
  Bytes_ part, compressed, content;
  put_field(part, 1, text("tensorflow::Iterator"));
  const bool is_compressed = below(3) != 0;
  Bytes_ tensors;
  for (size_t n = below(6); n > 0; --n) {
    keys += below(4) ? "@@buffer[0]" : "@@6f|Iterator::Root::Prefetch:i";
    const bool is_string = below(2);
    Bytes_ value, sizes;
    put_number(value, 1, is_string ? 7 : 9);
    put_field(value, 2, make_shape(below(3)));
    for (size_t strings = is_string ? below(5) : 1; strings > 0; --strings) {
      const Bytes_ one(is_string ? below(300) : 8, static_cast<uint8_t>(below(256)));
      if (is_compressed) {
        put_varint(sizes, one.size());
        content.insert(content.end(), one.begin(), one.end());
      } else {
        put_field(value, is_string ? 8 : 4, one);
      }
    }
    if (is_compressed) put_field(value, 4, sizes);
    put_field(is_compressed ? compressed : tensors, is_compressed ? 2 : 3, value);
  }
  put_field(part, 2, text(keys));
  if (is_compressed) {
    Bytes_ inner, tensor;
    put_field(compressed, 1, snappy_of(content));
    put_field(inner, 1, text("tensorflow.data.CompressedElement"));
    put_field(inner, 2, compressed);
    put_number(tensor, 1, 21);
    put_field(tensor, 15, inner);
    put_field(part, 3, tensor);
  } else {
    part.insert(part.end(), tensors.begin(), tensors.end());
  }
  return part;
}

// Elements of a variant tensor as they are stored.
Bytes_ framed(const std::vector<Bytes_>& parts) {
  Bytes_ out;
  uint32_t crc = 0;
  for (const Bytes_& part : parts) {
    uint8_t number[8];
    store(number, uint64_t{part.size()});
    crc = crc32c(part.data(), part.size(), crc32c(number, 8, crc));
    put_varint(out, part.size());
    out.insert(out.end(), part.begin(), part.end());
    store(number, mask_crc(crc));
    out.insert(out.end(), number, number + 4);
    crc = crc32c(number, 4, crc);
  }
  return out;
}

void mutate(Bytes_& data) {
  static const uint64_t kNasty[] = {0, 1, 0x7f, 0x80, 0xff, 0xffff, 262144, 262145, 0x7fffffff,
                                    0x80000000, 0xffffffff, uint64_t{1} << 60, UINT64_MAX};
  for (uint64_t times = 1 + below(4); times > 0 && !data.empty(); --times) {
    const size_t at = below(data.size());
    switch (below(7)) {
      case 0: data[at] ^= static_cast<uint8_t>(1u << below(8)); break;
      case 1: data[at] = static_cast<uint8_t>(random_engine()); break;
      case 2: data.resize(at); break;
      case 3: data.erase(data.begin() + static_cast<long>(at),
                         data.begin() + static_cast<long>(std::min(data.size(), at + 1 + below(40))));
        break;
      case 4: {
        Bytes_ copy(data.begin() + static_cast<long>(at),
                    data.begin() + static_cast<long>(std::min(data.size(), at + 1 + below(200))));
        const size_t to = below(data.size());
        data.insert(data.begin() + static_cast<long>(to), copy.begin(), copy.end());
        break;
      }
      case 5: {
        const uint64_t value = kNasty[below(sizeof kNasty / sizeof *kNasty)];
        const size_t n = std::min<size_t>(size_t{1} << below(4), data.size() - at);
        std::memcpy(data.data() + at, &value, n);
        break;
      }
      default: {
        // A header with a good checksum and any length.
        if (data.size() - at < kHeaderBytes) break;
        const uint64_t length = below(2) ? below(data.size()) : random_engine() >> below(64);
        store(data.data() + at, length);
        store(data.data() + at + 8, mask_crc(crc32c(data.data() + at, 8)));
      }
    }
  }
}

// ---- every way to read --------------------------------------------------------------------------

Bytes_ packed(const Summary& summary) {
  Buffer out;
  summary.pack(out);
  return to_vector(out);
}

// All kernels find the same, to the last bit, and it comes back whole from another process.
void take_statistics(Reader& reader, const Filter* filter) {
  const bool by_slot = below(2);
  std::vector<std::unique_ptr<Statistics>> all;
  for (const RunKernels* const* set = all_run_kernels(); *set != nullptr; ++set) {
    all.push_back(std::make_unique<Statistics>(FidVersion::v2, by_slot, 3, **set));
  }
  PlacesReader places(reader);
  uint64_t taken = 0, values = 0;
  Entry whole;
  while (const Frame* frame = reader.next()) {
    const ValuePlaces* found = places.read(*frame);
    const bool is_entry = whole.parse(frame->data, static_cast<size_t>(frame->length));
    check(is_entry == (found != nullptr), "an entry that is none");
    if (!is_entry) {
      reader.bad_message();
      continue;
    }
    check(found->fid(frame->data) == whole.fid && found->time(frame->data) == whole.time,
          "another fid or time");
    if (filter != nullptr && !filter->wants(whole.fid)) continue;
    for (auto& each : all) each->add(*frame, whole.fid, *found);
    ++taken;
    for (const Floats& run : whole.embeddings) values += run.count;
    for (const OptimizerState& state : whole) {
      for (uint32_t f = 0; state.type != 0 && f < optimizer_fields(state.type); ++f) {
        for (const Floats& run : state.floats[f]) values += run.count;
        if (kOptimizers[state.type].fields[f].kind != FieldKind::floats) values += state.set[f];
      }
    }
  }
  Summary found = all[0]->summary();
  const Bytes_ bytes = packed(found);
  for (const auto& each : all) {
    check(packed(each->summary()) == bytes, "kernels that differ");
    check(each->examples().size() == all[0]->examples().size(), "other examples");
  }
  uint64_t entries_found = 0, values_found = 0;
  for (const auto& [slot, group] : found.groups) {
    entries_found += group.entries;
    for (const auto& [key, field] : group.fields) values_found += field.values;
    group.norms_by_power();
    group.ages_by_day(group.newest);
    if (group.normed > 0) check(group.norm_at(0.5) <= group.norm_at(1), "a norm beyond the largest");
    if (group.timed > 0) check(group.age_at(1, group.newest) >= 0, "younger than the newest");
  }
  check(entries_found == taken && values_found == values, "values that were not counted");
  Summary again;
  check(again.unpack(bytes.data(), bytes.size()) && packed(again) == bytes, "another summary");
  again.merge(found);
  Bytes_ broken = bytes;
  mutate(broken);
  if (again.unpack(broken.data(), broken.size())) again.merge(found);
}

void read_everything(Reader& reader, int how) {
  const uint64_t end = reader.source().size();
  uint64_t last = 0;
  static Counter counter(FidVersion::v2);
  Columns columns;
  Entry entry;
  Buffer json;
  JsonOptions options;
  uint64_t non_finite = 0;
  static const Filter filter = [] {
    Filter f(FidVersion::v1);
    f.add_slots(0, 700);
    return f;
  }();
  if (how == 0) {
    HeadReader heads(reader);
    uint64_t number = 0;
    each_entry(reader, heads, below(2) ? &filter : nullptr,
               [&](const Frame&, const EntryHead& head) {
                 counter.add(head, number++);
                 return true;
               });
  } else if (how == 3) {
    take_statistics(reader, below(2) ? &filter : nullptr);
  } else {
    while (const Frame* frame = reader.next()) {
      check(frame->position >= last, "positions go back");
      last = frame->position;
      check(frame->position + kFrameBytes + frame->length <= end, "a record beyond the end");
      if (!entry.parse(frame->data, static_cast<size_t>(frame->length))) {
        reader.bad_message();
      } else if (how == 1) {
        append_json(entry, options, json, non_finite);
        if (json.size() > 1 << 20) json.clear();
      } else {
        columns.append(entry, FidVersion::v2, true, true);
      }
    }
  }
  reader.settle();
  check(reader.next() == nullptr, "reading does not end");
  check(reader.position() <= end, "a position beyond the end");
  for (const Damage& damage : reader.damages()) {
    check(damage.position <= damage.end && damage.end <= end, "damage beyond the end");
    check(damage.offset <= reader.source().stored_size(), "damage beyond the file");
  }
}

void read_ranges(const std::shared_ptr<Source>& source) {
  const uint64_t size = source->size();
  for (Start how : {Start::exact, Start::search, Start::walk}) {
    for (bool skip : {false, true}) {
      RangeOptions o;
      o.how = how;
      o.skip = skip;
      o.verify = below(4) != 0;
      o.check_stop = below(2) != 0;
      o.start = how == Start::exact && below(2) ? 0 : below(size + 1);
      o.end = o.start + below(size - o.start + 1);
      if (below(2)) o.end = size;
      o.ceiling = size;
      if (below(4) == 0) o.read_bytes = 1 + below(1000);
      Reader reader(source, o);
      reader.starts_well();
      read_everything(reader, static_cast<int>(below(4)));
    }
  }
}

// A file by the map of its blocks: that of another Source, or one that is damaged.
void read_by_map(const std::shared_ptr<Source>& source, const Bytes_& data) {
  if (source->compression() == Compression::plain) return;
  Buffer packed, again;
  source->map().pack(source->max_block(), packed);
  Bytes_ map = to_vector(packed);
  const bool is_good = below(2);
  if (!is_good) mutate(map);
  std::shared_ptr<Source> other;
  try {
    other = std::make_shared<Source>(open_memory(data.data(), data.size()), source->max_record(),
                                     map.data(), map.size());
  } catch (const NoBlockMap&) {
  } catch (const ChangedError&) {
  }
  check(other || !is_good, "a map that is not taken back");
  if (!other) return;
  other->map().pack(other->max_block(), again);
  check(!is_good || to_vector(again) == to_vector(packed), "a map that changes on its way");
  read_ranges(other);
}

struct Read {
  std::vector<std::pair<uint64_t, uint64_t>> records;
  std::vector<Damage> damages;
  uint64_t position;
};

Read read_all(const std::shared_ptr<Source>& source, const RangeOptions& options) {
  Read found;
  Reader reader(source, options);
  while (const Frame* frame = reader.next()) found.records.emplace_back(frame->position, frame->length);
  reader.settle();
  found.damages = reader.damages();
  found.position = reader.position();
  return found;
}

// One pass that maps the blocks on its way finds what is found by a map that is made in advance.
void read_in_one_pass(const std::shared_ptr<Source>& source, Compression expected, const Bytes_& data) {
  auto unmapped = std::make_shared<Source>(open_memory(data.data(), data.size(), false), expected,
                                           source->max_record());
  check(unmapped->compression() == source->compression(), "another compression");
  RangeOptions o;
  o.end = o.ceiling = kStreamEnd;
  o.skip = below(4) != 0;
  o.verify = below(4) != 0;
  const Read wanted = read_all(source, o);
  o.read_bytes = 1 + below(1000);
  const Read found = read_all(unmapped, o);
  check(found.records == wanted.records && found.position == wanted.position, "other records");
  check(found.damages.size() == wanted.damages.size(), "other damages");
  for (size_t i = 0; i < found.damages.size(); ++i) {
    const Damage &a = found.damages[i], &b = wanted.damages[i];
    check(a.kind == b.kind && a.position == b.position && a.end == b.end && a.offset == b.offset &&
              a.length == b.length && a.one_record == b.one_record, "another damage");
  }
  if (source->compression() == Compression::plain) return;
  Buffer one, other;
  source->map().pack(source->max_block(), one);
  unmapped->map().pack(source->max_block(), other);
  check(to_vector(one) == to_vector(other), "another map");
}

// Parts of a snappy block, out of memory that ends where the block does.
void read_pieces(const uint8_t* block, size_t n, uint32_t length) {
  std::vector<SnappyRange> ranges;
  std::vector<std::unique_ptr<uint8_t[]>> outs;
  for (uint32_t at = 0; ranges.size() < 4;) {
    const uint32_t start = at + static_cast<uint32_t>(below(length - at + 1));
    at = below(4) ? start + static_cast<uint32_t>(below(length - start + 1)) : length;
    outs.emplace_back(new uint8_t[at - start]);
    ranges.push_back({start, at, outs.back().get()});
  }
  const bool decoded = snappy_decode_ranges(block, n, ranges.data(), ranges.size());
  Buffer in, out;
  in.append(block, n);
  out.resize(length);
  if (!snappy_decode(in.data(), n, out.data(), length)) return;
  check(decoded, "parts of a block that is good");
  for (const SnappyRange& r : ranges) {
    check(r.start == r.end || std::memcmp(r.out, out.data() + r.start, r.end - r.start) == 0,
          "parts that differ");
  }
}

void read_raw(const Bytes_& data) {
  Buffer in, out;
  in.append(data.data(), data.size());
  uint32_t length = 0;
  if (snappy_length(in.data(), in.size(), &length) && snappy_plausible(in.size(), length)) {
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[data.size()]);
    std::copy(data.begin(), data.end(), exact.get());
    read_pieces(exact.get(), data.size(), length);
    out.resize(length);
    snappy_decode(in.data(), in.size(), out.data(), length);
  }
  Entry entry;
  Buffer json;
  uint64_t non_finite = 0;
  // An exact copy on the heap, so that reading past a message is seen... except for the slack that
  // every buffer has, and that readers count on.
  if (entry.parse(in.data(), in.size())) append_json(entry, JsonOptions(), json, non_finite);
  // What was compressed must come back.
  Buffer packed;
  snappy_encode(data.data(), data.size(), packed);
  packed.reserve(packed.size() + 1);
  out.resize(data.size());
  check(snappy_decode(packed.data(), packed.size(), out.data(), data.size()) &&
            (data.empty() || std::memcmp(out.data(), data.data(), data.size()) == 0),
        "compression loses data");
}

// What is flipped is found, and what is found mends.
void read_flips(const Bytes_& data) {
  if (data.size() < 4) return;
  const size_t n = data.size() - 4;
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[data.size()]);
  std::copy(data.begin(), data.end(), exact.get());
  auto flip = [&](uint64_t bit) { exact[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8)); };
  auto holds = [&] { return load<uint32_t>(exact.get() + n) == mask_crc(crc32c(exact.get(), n)); };
  if (below(2)) store(exact.get() + n, mask_crc(crc32c(exact.get(), n)));
  const bool was_good = holds();
  const uint64_t bit = below(8 * data.size());
  flip(bit);
  const Flips found = flips_that_mend(exact.get(), n);
  check(found.count > 0 || !was_good, "a flip that is not found");
  for (size_t i = 0; i < found.count; ++i) {
    check(found.bits[i] < 8 * data.size(), "a flip that lies outside");
    flip(found.bits[i]);
    check(holds(), "a flip that does not mend");
    flip(found.bits[i]);
  }
  for (const Message message :
       {Message::entry, Message::contents, Message::filter, Message::filter_meta}) {
    const auto place = place_of_bit(exact.get(), n, below(8 * n + 8), message);
    check(!place || !place->field.empty(), "a place without a name");
  }
}

void check_within(Input whole, Input part) {
  check(part.p == nullptr || (whole.p <= part.p && part.p <= part.end && part.end <= whole.end),
        "a part that lies outside");
}

void read_part(Input in) {
  Variant variant;
  if (parse_variant(in, variant)) {
    check_within(in, variant.metadata);
    for (const Input& tensor : variant.tensors) check_within(in, tensor);
  }
  StatePart part;
  if (parse_state_part(in, part) != nullptr) return;
  check_within(in, part.name);
  check_within(in, part.content);
  for (const StateValue& value : part.values) {
    check_within(in, value.key);
    check_within(in, value.tensor);
  }
  if (!part.compressed || part.content.left() == 0) return;
  uint32_t length = 0;
  check(snappy_length(part.content.p, part.content.left(), &length) != 0 &&
            length == part.content_bytes, "a length that was not checked");
  read_pieces(part.content.p, part.content.left(), length);
}

// What is decoded in parts must be what is decoded whole.
void read_states() {
  std::vector<Bytes_> parts;
  for (size_t n = 1 + below(5); n > 0; --n) {
    parts.push_back(make_part());
    if (below(2)) mutate(parts.back());
  }
  Bytes_ data = framed(parts);
  const bool is_whole = below(3) != 0;
  if (!is_whole) mutate(data);
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[data.size()]);
  std::copy(data.begin(), data.end(), exact.get());
  const Input in{exact.get(), exact.get() + data.size()};
  const VariantScan scan = scan_variants(in, below(2) ? UINT64_MAX : parts.size(), 0);
  check(scan.consumed <= data.size(), "elements beyond the end");
  check(!is_whole || scan.elements.size() == parts.size(), "elements are missing");
  for (const Input& element : scan.elements) {
    check_within(in, element);
    read_part(element);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t inputs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (uint64_t i = 0; i < inputs; ++i) {
    random_engine.seed(seed * 0x9e3779b97f4a7c15u + i);  // each input can be made alone
    if (std::getenv("FUZZ_TRACE") != nullptr) std::fprintf(stderr, "%" PRIu64 "\n", i);
    Bytes_ data = make_input();
    if (below(50) != 0) mutate(data);
    const Compression expected = below(2) ? Compression::plain : Compression::snappy;
    const uint64_t max_record = below(3) ? uint64_t{64} << 20 : 1 + below(400);
    auto source = std::make_shared<Source>(open_memory(data.data(), data.size()), expected, max_record);
    read_ranges(source);
    read_by_map(source, data);
    read_in_one_pass(source, expected, data);
    read_raw(data);
    read_flips(data);
    const size_t header = std::min<size_t>(data.size(), kHeaderBytes);
    read_flips(Bytes_(data.begin() + static_cast<long>(header), data.end()));
    read_states();
  }
  std::printf("%" PRIu64 " inputs, seed %" PRIu64 ": no report\n", inputs, seed);
  return 0;
}
