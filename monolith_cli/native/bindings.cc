// The Python module. Everything that reads or computes runs without the GIL.
#include <errno.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind_variant.h"
#include "bytes_view.h"
#include "columns.h"
#include "crc32c.h"
#include "encode.h"
#include "entry.h"
#include "json.h"
#include "reader.h"
#include "snappy.h"
#include "source.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

template <class T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Release = nb::gil_scoped_release;

const uint8_t* data_of(const nb::bytes& b) { return reinterpret_cast<const uint8_t*>(b.c_str()); }
nb::bytes to_bytes(const Buffer& b) { return nb::bytes(b.data(), b.size()); }
nb::bytes to_bytes(const Frame& f) { return nb::bytes(f.data, static_cast<size_t>(f.length)); }

template <class T>
nb::bytearray to_bytearray(const std::vector<T>& v) {
  return nb::bytearray(v.data(), v.size() * sizeof(T));
}
nb::bytearray to_bytearray(const Buffer& b) { return nb::bytearray(b.data(), b.size()); }

FidVersion version_of(int v) {
  if (v != 1 && v != 2) throw nb::value_error("fid_version must be 1 or 2");
  return static_cast<FidVersion>(v);
}

const Kernels& kernels_named(const std::string& name) {
  for (const Kernels* const* set = all_kernels(); *set != nullptr; ++set) {
    if (name == (*set)->name) return **set;
  }
  throw nb::value_error("no such implementation");
}

std::shared_ptr<Source> open_source(const nb::bytes& encoded_path, const std::string& expected,
                                    uint64_t max_record_bytes) {
  const std::string path(encoded_path.c_str(), encoded_path.size());
  if (expected != "plain" && expected != "snappy") {
    throw nb::value_error("expected must be 'plain' or 'snappy'");
  }
  Release release;
  return std::make_shared<Source>(open_file(path),
                                  expected == "plain" ? Compression::plain : Compression::snappy,
                                  max_record_bytes);
}

RangeOptions range_options(const Source& source, uint64_t start, uint64_t end, uint64_t floor,
                           std::optional<uint64_t> ceiling, const std::string& how, bool verify,
                           bool skip, bool check_stop) {
  RangeOptions o;
  if (how == "search") {
    o.how = Start::search;
  } else if (how == "walk") {
    o.how = Start::walk;
  } else if (how != "exact") {
    throw nb::value_error("how must be 'exact', 'search' or 'walk'");
  }
  o.start = start;
  o.end = end;
  o.floor = floor;
  o.ceiling = ceiling.value_or(source.size());
  o.verify = verify;
  o.skip = skip;
  o.check_stop = check_stop;
  return o;
}

// Calls part() without the GIL until it says that it has enough, or the reader is done. Where it
// pauses, signals are handled: a handler may raise.
template <class F>
void read_on(Reader& reader, F part) {
  while (true) {
    bool enough;
    {
      Release release;
      reader.go_on();
      enough = part();
      if (enough) reader.settle();
    }
    if (enough || reader.done()) return;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

uint64_t count(Reader& reader, Counter& counter, const Filter* filter) {
  uint64_t counted = 0;
  HeadReader heads(reader);
  read_on(reader, [&] {
    return each_entry(reader, heads, filter, [&](const Frame&, const EntryHead& head) {
      counter.add(head);
      ++counted;
      return true;
    });
  });
  return counted;
}

uint64_t skip(Reader& reader, uint64_t n) {
  const size_t damages = reader.damages().size();
  uint64_t done = 0;
  read_on(reader, [&] {
    while (done < n) {
      if (reader.next() == nullptr) return false;
      if (reader.damages().size() != damages) {
        reader.unread();
        return true;
      }
      ++done;
    }
    return true;
  });
  return done;
}

// Calls take(frame) for each record, until it returns false. The GIL is let go only around the
// reads, since every record becomes an object.
template <class F>
void each_record(Reader& reader, F take) {
  reader.go_on();
  while (true) {
    const Frame* frame;
    if (reader.buffered()) {
      frame = reader.next();
    } else {
      Release release;
      frame = reader.next();
    }
    if (frame != nullptr) {
      if (!take(*frame)) break;
    } else if (reader.done()) {
      return;
    } else {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      reader.go_on();
    }
  }
  Release release;
  reader.settle();
}

nb::list read_records(Reader& reader, uint64_t limit) {
  nb::list out;
  if (limit == 0) return out;
  each_record(reader, [&](const Frame& frame) {
    out.append(to_bytes(frame));
    return --limit > 0;
  });
  return out;
}

nb::list read_entries(Reader& reader, uint64_t limit, const Filter* filter) {
  nb::list out;
  if (limit == 0) return out;
  each_record(reader, [&](const Frame& frame) {
    EntryHead head;
    if (!parse_entry(frame.data, frame.length, head)) {
      reader.bad_message();
    } else if (filter == nullptr || filter->wants(head.fid)) {
      out.append(to_bytes(frame));
      return --limit > 0;
    }
    return true;
  });
  return out;
}

std::pair<nb::bytes, uint64_t> read_frames(Reader& reader, uint64_t limit, uint64_t max_bytes,
                                           const Filter* filter) {
  Buffer out;
  uint64_t n = 0;
  if (limit > 0) {
    HeadReader heads(reader);
    read_on(reader, [&] {
      return each_entry(reader, heads, filter, [&](const Frame& frame, const EntryHead&) {
        out.append(frame.data - kHeaderBytes, static_cast<size_t>(kFrameBytes + frame.length));
        return ++n < limit && out.size() < max_bytes;
      });
    });
  }
  return {to_bytes(out), n};
}

// Calls take(entry) for each record that the filter wants, until it returns false. Where few are
// wanted, few are parsed whole.
template <class F>
void each_whole_entry(Reader& reader, const Filter* filter, F take) {
  Entry entry;
  HeadReader heads(reader);
  read_on(reader, [&] {
    while (const Frame* frame = reader.next()) {
      if (filter != nullptr) {
        EntryHead head;
        if (heads.read(*frame, head) && !filter->wants(head.fid)) continue;
      }
      if (!entry.parse(frame->data, static_cast<size_t>(frame->length))) {
        reader.bad_message();
      } else if (!take(entry)) {
        return true;
      }
    }
    return false;
  });
}

std::tuple<nb::bytes, uint64_t, uint64_t> read_json(Reader& reader, uint64_t limit,
                                                    uint64_t max_bytes, const Filter* filter,
                                                    uint32_t columns, int fid_version,
                                                    bool number_ids, const std::string& table,
                                                    bool name_non_finite) {
  JsonOptions options;
  options.columns = columns;
  options.version = version_of(fid_version);
  options.number_ids = number_ids;
  options.table_name = table;
  options.name_non_finite = name_non_finite;
  Buffer out;
  uint64_t n = 0, non_finite = 0;
  if (limit > 0) {
    each_whole_entry(reader, filter, [&](const Entry& entry) {
      append_json(entry, options, out, non_finite);
      return ++n < limit && out.size() < max_bytes;
    });
  }
  return {to_bytes(out), n, non_finite};
}

std::string column_name(const Columns::Key& key) {
  const OptimizerType& type = kOptimizers[std::get<1>(key)];
  return "opt." + std::to_string(std::get<0>(key)) + "." + type.name + "." +
         type.fields[std::get<2>(key) - 1].name;
}

// Raw little-endian arrays by name: the values of a column, and how many each entry has.
nb::dict read_columns(Reader& reader, uint64_t limit, const Filter* filter, int fid_version,
                      bool with_embedding, bool with_optimizers) {
  FidVersion version = version_of(fid_version);
  Columns columns;
  if (limit > 0) {
    each_whole_entry(reader, filter, [&](const Entry& entry) {
      columns.append(entry, version, with_embedding, with_optimizers);
      return columns.fids.size() < limit;
    });
  }
  const size_t rows = columns.fids.size();
  nb::dict out;
  out["fid"] = to_bytearray(columns.fids);
  out["slot"] = to_bytearray(columns.slots);
  out["last_update_ts_sec"] = to_bytearray(columns.times);
  if (with_embedding) {
    out["embedding"] = nb::make_tuple("f4", to_bytearray(columns.embedding.values),
                                      to_bytearray(columns.embedding.lengths));
  }
  for (auto& [key, column] : columns.floats) {
    column.lengths.resize(rows);
    out[nb::str(column_name(key).c_str())] =
        nb::make_tuple("f4", to_bytearray(column.values), to_bytearray(column.lengths));
  }
  for (auto& [key, column] : columns.integers) {
    column.lengths.resize(rows);
    out[nb::str(column_name(key).c_str())] =
        nb::make_tuple("i8", to_bytearray(column.values), to_bytearray(column.lengths));
  }
  return out;
}

nb::dict slot_counts(const Counter& counter) {
  nb::dict out;
  for (size_t s = 0; s < counter.slots.size(); ++s) {
    if (counter.slots[s] != 0) out[nb::int_(s)] = nb::int_(counter.slots[s]);
  }
  return out;
}

std::vector<std::string> optimizer_names(uint32_t types) {
  std::vector<std::string> out;
  for (size_t t = 0; t < kOptimizerTypes; ++t) {
    if ((types & (1u << t)) && kOptimizers[t].name != nullptr) out.emplace_back(kOptimizers[t].name);
  }
  return out;
}

// ---- encoding -----------------------------------------------------------------------------------

using Values = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Lengths = std::optional<Array<uint32_t>>;
using FieldArg = std::tuple<std::string, Values, Lengths>;
using OptimizerArg = std::pair<std::string, std::vector<FieldArg>>;

ValueColumn value_column(uint32_t field, FieldKind kind, size_t entries, const Values& values,
                         const Lengths& lengths) {
  const bool integer = kind == FieldKind::integer;
  if (integer ? values.dtype() != nb::dtype<int64_t>() : values.dtype() != nb::dtype<float>()) {
    throw nb::type_error(integer ? "values must be int64" : "values must be float32");
  }
  ValueColumn column;
  column.field = field;
  column.values = static_cast<const uint8_t*>(values.data());
  size_t total = 0;
  const size_t most = kind == FieldKind::floats ? SIZE_MAX : 1;
  if (lengths) {
    if (lengths->shape(0) != entries) throw nb::value_error("one length an entry");
    column.lengths = lengths->data();
    for (size_t i = 0; i < entries; ++i) {
      total += column.lengths[i];
      if (column.lengths[i] > most) throw nb::value_error("a scalar field has one value at most");
    }
  } else if (entries > 0) {
    column.width = values.size() / entries;
    total = column.width * entries;
    if (column.width > most) throw nb::value_error("a scalar field has one value at most");
  }
  if (total != values.size()) throw nb::value_error("values do not divide among the entries");
  return column;
}

OptimizerColumns optimizer_columns(const OptimizerArg& arg, size_t entries) {
  OptimizerColumns out;
  for (uint32_t t = 0; t < kOptimizerTypes; ++t) {
    if (kOptimizers[t].name != nullptr && arg.first == kOptimizers[t].name) out.type = t;
  }
  if (out.type == 0) throw nb::value_error("no such optimizer");
  const OptimizerType& type = kOptimizers[out.type];
  for (const auto& [name, values, lengths] : arg.second) {
    uint32_t field = 0;
    for (uint32_t f = 0; f < optimizer_fields(out.type); ++f) {
      if (name == type.fields[f].name) field = f + 1;
    }
    if (field == 0) throw nb::value_error("no such field of that optimizer");
    if (!out.fields.empty() && out.fields.back().field >= field) {
      throw nb::value_error("fields must be in the order of their numbers");
    }
    out.fields.push_back(
        value_column(field, type.fields[field - 1].kind, entries, values, lengths));
  }
  return out;
}

nb::bytes encode(Array<int64_t> fids, Values embedding, Lengths dims,
                 std::optional<Array<int64_t>> times, const std::vector<OptimizerArg>& optimizers) {
  EntryColumns columns;
  columns.entries = fids.shape(0);
  columns.fids = fids.data();
  columns.embedding = value_column(2, FieldKind::floats, columns.entries, embedding, dims);
  if (times) {
    if (times->shape(0) != columns.entries) throw nb::value_error("one timestamp an entry");
    columns.times = times->data();
  }
  for (const OptimizerArg& arg : optimizers) {
    columns.optimizers.push_back(optimizer_columns(arg, columns.entries));
  }
  Buffer out;
  {
    Release release;
    encode_entries(columns, out);
  }
  return to_bytes(out);
}

nb::bytes frame_records(const std::vector<nb::bytes>& records) {
  Buffer out;
  for (const nb::bytes& r : records) encode_frame(data_of(r), r.size(), out);
  return to_bytes(out);
}

nb::bytes encode_snappy_blocks(const nb::bytes& data) {
  Buffer out;
  {
    Release release;
    encode_blocks(data_of(data), data.size(), out);
  }
  return to_bytes(out);
}

nb::bytes compress(const nb::bytes& data) {
  Buffer out;
  snappy_encode(data_of(data), data.size(), out);
  return to_bytes(out);
}

nb::bytes decompress(const nb::bytes& data) {
  Buffer in, out;
  in.append(data_of(data), data.size());
  uint32_t length;
  if (snappy_length(in.data(), in.size(), &length) == 0 ||
      !snappy_plausible(in.size(), length)) {
    throw nb::value_error("not a snappy block");
  }
  out.resize(length);
  if (!snappy_decode(in.data(), in.size(), out.data(), length)) {
    throw nb::value_error("not a snappy block");
  }
  return to_bytes(out);
}

std::tuple<size_t, size_t, uint64_t, const char*> check_frames(
    const std::string& name, const nb::bytes& data, std::optional<uint64_t> own,
    uint64_t max_record_bytes, size_t lead) {
  static const char* const kStops[] = {"end",        "full",     "header",  "data",
                                       "bad_length", "too_long", "bad_data"};
  const Kernels& k = kernels_named(name);
  Buffer in;
  in.resize(lead + data.size() + kSlack);
  std::memset(in.data(), 0xa5, in.size());  // so that what lies around the frames counts if it is used
  std::memcpy(in.data() + lead, data.c_str(), data.size());
  const uint8_t* start = in.data() + lead;
  const uint64_t owned = own.value_or(data.size());
  std::vector<Frame> frames(data.size() / kFrameBytes + 1);
  Walk walk = k.walk(start, data.size(), owned, 0, max_record_bytes, frames.data(), frames.size());
  const size_t good = k.verify(frames.data(), walk.frames);
  Walk read = k.read(start, data.size(), owned, 0, max_record_bytes, nullptr, frames.data(), nullptr,
                     frames.size());
  if (read.frames != good) throw std::runtime_error("read() finds other frames than verify()");
  return {walk.frames, good, read.consumed, kStops[static_cast<size_t>(read.stop)]};
}

std::vector<bool> matches(const std::string& name, const nb::bytes& mask, const nb::bytes& want,
                          const nb::bytes& data) {
  const Kernels& k = kernels_named(name);
  const size_t n = want.size();
  if (mask.size() != n || n > kLongestShape) throw nb::value_error("no shape");
  auto shape = std::make_unique<Shape>();
  std::memset(shape->mask, 0, sizeof shape->mask);
  std::memset(shape->want, 0, sizeof shape->want);
  std::memcpy(shape->mask + Shape::lead(n), mask.c_str(), n);
  std::memcpy(shape->want + Shape::lead(n), want.c_str(), n);
  shape->length = n;
  Shapes shapes;
  for (size_t index = 0; index < 2 * Shapes::kLengths; ++index) shapes.set(index, shape.get());
  Buffer in;
  in.append(data_of(data), data.size());
  const size_t most = in.size() / kFrameBytes + 1;
  std::vector<Frame> frames(most);
  std::vector<const Shape*> like(most), compared(most);
  Walk read = k.read(in.data(), in.size(), in.size(), 0, UINT32_MAX, &shapes, frames.data(),
                     like.data(), most);
  k.compare(frames.data(), read.frames, shapes, compared.data());
  if (like != compared) throw std::runtime_error("read() finds other shapes than compare()");
  std::vector<bool> out;
  for (size_t i = 0; i < read.frames; ++i) out.push_back(like[i] != nullptr);
  return out;
}

PyObject* changed_error = nullptr;

void translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const IoError& e) {
    errno = e.code;
    PyErr_SetFromErrno(PyExc_OSError);
  } catch (const ChangedError& e) {
    nb::object offset = nb::int_(e.offset);
    PyErr_SetObject(changed_error, offset.ptr());
  }
}

}  // namespace
}  // namespace monolith

NB_MODULE(_native, m) {
  using namespace monolith;
  m.doc() = "The scanning core: framing, checksums, SNAPPY blocks, entries.";
  changed_error = PyErr_NewException("monolith_cli._native.ChangedError", PyExc_RuntimeError, nullptr);
  m.attr("ChangedError") = nb::borrow(changed_error);
  nb::register_exception_translator(translate);

  m.def("crc32c", [](nb::handle data, uint32_t value) {
    const BytesView view(data);
    return crc32c(view.data(), view.size(), value);
  }, "data"_a, "value"_a = 0, nb::sig("def crc32c(data: bytes | memoryview, value: int = 0) -> int"),
        "CRC-32C of `data`, continuing from `value`.");
  m.def("masked_crc32c", [](nb::handle data) {
    const BytesView view(data);
    return mask_crc(crc32c(view.data(), view.size()));
  }, "data"_a, nb::sig("def masked_crc32c(data: bytes | memoryview) -> int"),
        "The masked CRC-32C that TFRecord files and tensor bundles store.");
  m.def("implementations", [] {
    std::vector<std::string> names;
    for (const Kernels* const* set = all_kernels(); *set != nullptr; ++set) {
      names.emplace_back((*set)->name);
    }
    return names;
  }, "The kernel sets that this processor can run, the one in use first.");
  m.def("crc32c_by", [](const std::string& name, const nb::bytes& data, uint32_t value) {
    return kernels_named(name).crc(data_of(data), data.size(), value);
  }, "implementation"_a, "data"_a, "value"_a = 0, "crc32c() by one kernel set.");
  m.def("check_frames", &check_frames, "implementation"_a, "data"_a, "own"_a = nb::none(),
        "max_record_bytes"_a = uint64_t{UINT32_MAX}, "lead"_a = 0,
        "Of the frames that start in the first `own` bytes of `data` (all of it): how many whole ones\n"
        "it starts with, how many of those have good data, where the last good one ends, and why\n"
        "reading stops there. `data` lies `lead` bytes behind an aligned address.");

  m.def("matches", &matches, "implementation"_a, "mask"_a, "want"_a, "data"_a,
        "Which of the frames that `data` starts with equal `want`, as far as `mask` keeps their bytes.");

  m.def("frame_records", &frame_records, "records"_a, "The records in TFRecord frames.");
  m.def("encode_entries", &encode, "fids"_a, "embedding"_a, "dims"_a = nb::none(),
        "times"_a = nb::none(), "optimizers"_a = std::vector<OptimizerArg>(),
        nb::sig("def encode_entries(fids: object, embedding: object, dims: object | None = None, "
                "times: object | None = None, optimizers: "
                "Sequence[tuple[str, Sequence[tuple[str, object, object | None]]]] = []) -> bytes"),
        "Framed EntryDump records from columns, each a C-contiguous array.\n\n"
        "`fids` and `times` are int64. `embedding` and the values of `optimizers`\n"
        "(`(type, [(field, values, lengths)])`) hold all entries' values end to end, float32, or\n"
        "int64 for integer fields; `dims` and `lengths` (uint32) say how many each entry has,\n"
        "None an equal share. Raises ValueError where sizes do not fit.");
  m.def("encode_snappy_blocks", &encode_snappy_blocks, "data"_a,
        "`data` as the SNAPPY blocks of a TFRecord file.");
  m.def("snappy_compress", &compress, "data"_a, "One raw snappy block.");
  m.def("snappy_decompress", &decompress, "data"_a,
        "The content of one raw snappy block. Raises ValueError if it is malformed.");

  nb::class_<Source>(m, "File", "An open record file, as a stream of uncompressed bytes.")
      .def(nb::new_(&open_source), "path"_a, "expected"_a = "plain",
           "max_record_bytes"_a = uint64_t{64} << 20)
      .def_prop_ro("compression", [](const Source& s) {
        return s.compression() == Compression::plain ? "plain" : "snappy";
      })
      .def_prop_ro("stored_bytes", &Source::stored_size)
      .def_prop_ro("stream_bytes", &Source::size)
      .def("check_unchanged", [](const Source& s) { s.bytes().check_unchanged(); });

  nb::class_<Damage>(m, "Damage", "A part of a stream that was left out, and why.")
      .def_prop_ro("kind", [](const Damage& d) { return name_of(d.kind); })
      .def_ro("position", &Damage::position)
      .def_ro("end", &Damage::end)
      .def_ro("offset", &Damage::offset)
      .def_ro("length", &Damage::length)
      .def_ro("one_record", &Damage::one_record);

  nb::class_<Filter>(m, "Filter", "Which entries are wanted, by slot and by fid.")
      .def("__init__", [](Filter* f, int v) { new (f) Filter(version_of(v)); }, "fid_version"_a = 2)
      .def("add_slots", &Filter::add_slots, "first"_a, "last"_a)
      .def("set_fids", &Filter::set_fids, "fids"_a);

  nb::class_<Counter>(m, "Counter", "Entries by slot, with what else counting sees.")
      .def("__init__", [](Counter* c, int v) { new (c) Counter(version_of(v)); },
           "fid_version"_a = 2)
      .def_prop_ro("entries", &Counter::entries)
      .def_prop_ro("dim_min", [](const Counter& c) { return std::min(c.dim_min, c.dim_max); })
      .def_ro("dim_max", &Counter::dim_max)
      .def("slot_counts", &slot_counts, nb::sig("def slot_counts(self) -> dict[int, int]"))
      .def_ro("types", &Counter::types);

  m.def("optimizer_names", &optimizer_names, "types"_a,
        "The names of optimizer types, given as a bit for each (`Counter.types`).");

  nb::class_<Reader>(
      m, "Reader",
      "Reads the records that start in a range of a file's stream.\n\n"
      "`start` is a record's (`exact`), or what is looked for from there: `search`, a guess; `walk`,\n"
      "along the records of up to a mebibyte before it, not before `floor`. `check_stop` also checks\n"
      "the header of the record that the range stops at, if that is before `ceiling`.\n\n"
      "Methods go on until they have what was asked for, or the reader is `done`: at the end of the\n"
      "range, or at damage without `skip` (`failed`). They read without the GIL, and let signals be\n"
      "handled every 64 MiB, whose handlers may raise. OSError and ChangedError are of the file.")
      .def("__init__", [](Reader* r, std::shared_ptr<Source> file, uint64_t start, uint64_t end,
                          uint64_t floor, std::optional<uint64_t> ceiling, const std::string& how,
                          bool verify, bool skip, bool check_stop) {
        RangeOptions o = range_options(*file, start, end, floor, ceiling, how, verify, skip, check_stop);
        Release release;
        new (r) Reader(std::move(file), o);
      }, "file"_a, "start"_a, "end"_a, "floor"_a = 0, "ceiling"_a = nb::none(), "how"_a = "exact",
           "verify"_a = true, "skip"_a = false, "check_stop"_a = false)
      .def_prop_ro("first", &Reader::first)
      .def_prop_ro("position", &Reader::position)
      .def_prop_ro("done", &Reader::done)
      .def_prop_ro("failed", &Reader::failed)
      .def_prop_ro("damages", [](const Reader& r) { return r.damages(); })
      .def("starts_well", &Reader::starts_well,
           "Is there a good header, or the stream's end, where the range starts?")
      .def("count", &count, "counter"_a, "filter"_a = nb::none(),
           "Counts all that is left of the range; returns how many entries were counted.")
      .def("skip", &skip, "records"_a,
           "Passes over so many records; fewer when it is done, or in front of the first record\n"
           "behind damage. Returns how many it passed.")
      .def("records", &read_records, "limit"_a,
           nb::sig("def records(self, limit: int) -> list[bytes]"),
           "So many records, whatever they hold; fewer only when it is done.")
      .def("entries", &read_entries, "limit"_a, "filter"_a = nb::none(),
           nb::sig("def entries(self, limit: int, filter: Filter | None = None) -> list[bytes]"),
           "So many entries, serialized; fewer only when it is done.")
      .def("frames", &read_frames, "limit"_a, "max_bytes"_a, "filter"_a = nb::none(),
           "So many entries in their frames, or as many as make `max_bytes`; fewer only when it is\n"
           "done. Returns them, and how many they are.")
      .def("json_lines", &read_json, "limit"_a, "max_bytes"_a, "filter"_a = nb::none(),
           "columns"_a = 63, "fid_version"_a = 2, "number_ids"_a = false, "table"_a = "null",
           "name_non_finite"_a = false,
           "So many entries as JSON, or as many as make `max_bytes`; fewer only when it is done.\n"
           "Returns the lines, how many they are, and how many floats had to be null.")
      .def("columns", &read_columns, "limit"_a, "filter"_a = nb::none(), "fid_version"_a = 2,
           "with_embedding"_a = true, "with_optimizers"_a = true,
           nb::sig("def columns(self, limit: int, filter: Filter | None = None, "
                   "fid_version: int = 2, with_embedding: bool = True, "
                   "with_optimizers: bool = True) -> dict[str, typing.Any]"),
           "So many entries as columns; fewer only when it is done. Raw little-endian arrays by\n"
           "name, values that are lists with how many each entry has.");

  bind_variants(m);
}
