// The part of the Python module that reads records.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "read_on.h"
#include "source.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

nb::bytes to_bytes(const Frame& f) { return nb::bytes(f.data, static_cast<size_t>(f.length)); }

constexpr uint64_t kMostReadBytes = 1 << 30;
constexpr uint64_t kMostReadAhead = 64;

Start start_named(const std::string& how) {
  if (how == "exact") return Start::exact;
  if (how == "search") return Start::search;
  if (how == "walk") return Start::walk;
  throw nb::value_error("how must be 'exact', 'search' or 'walk'");
}

void make_reader(Reader* reader, std::shared_ptr<Source> file, uint64_t start,
                 std::optional<uint64_t> end, uint64_t floor, std::optional<uint64_t> ceiling,
                 const std::string& how, bool verify, bool skip, bool check_stop,
                 std::optional<uint64_t> read_bytes, std::optional<uint64_t> read_ahead) {
  RangeOptions o;
  o.how = start_named(how);
  o.start = start;
  o.end = end.value_or(kStreamEnd);
  o.floor = floor;
  o.ceiling = ceiling.value_or(kStreamEnd);
  o.verify = verify;
  o.skip = skip;
  o.check_stop = check_stop;
  if (read_bytes) {
    if (*read_bytes < 1 || *read_bytes > kMostReadBytes) {
      throw nb::value_error("read_bytes must be 1 to 1 GiB");
    }
    o.read_bytes = static_cast<size_t>(*read_bytes);
  }
  if (read_ahead) {
    if (*read_ahead > kMostReadAhead) throw nb::value_error("read_ahead must be 0 to 64");
    o.read_ahead = static_cast<uint32_t>(*read_ahead);
  }
  Release release;
  new (reader) Reader(std::move(file), o);
}

uint64_t count(Reader& reader, Counter& counter, const Filter* filter) {
  uint64_t counted = 0;
  const auto before = static_cast<uint64_t>(counter.entries());
  HeadReader heads(reader);
  read_on(reader, [&] {
    return each_entry(reader, heads, filter, [&](const Frame&, const EntryHead& head) {
      counter.add(head, before + counted);
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

}  // namespace

void bind_reader(nb::module_& m) {
  nb::class_<Damage>(m, "Damage", "A part of a stream that was left out, and why.")
      .def_prop_ro("kind", [](const Damage& d) { return name_of(d.kind); })
      .def_ro("position", &Damage::position)
      .def_ro("end", &Damage::end)
      .def_ro("offset", &Damage::offset)
      .def_ro("length", &Damage::length)
      .def_ro("one_record", &Damage::one_record);

  nb::class_<Reader> reader(
      m, "Reader",
      "Reads the records that start in a range of a file's stream.\n\n"
      "`start` is a record's (`exact`), or what is looked for from there: `search`, a guess; `walk`,\n"
      "along the records of up to a mebibyte before it, not before `floor`. `check_stop` also checks\n"
      "the header of the record that the range stops at, if that is before `ceiling`. `end` None is\n"
      "the stream's end: from 0 to there, a file that is not `mapped` is read in one pass, which maps\n"
      "it on its way. `read_bytes` bounds what is asked for at once (1 to 1 GiB), `read_ahead` (to 64)\n"
      "is how many such reads to begin early; None is what suits the file.\n\n"
      "Methods go on until they have what was asked for, or the reader is `done`: at the end of the\n"
      "range, or at damage without `skip` (`failed`). They read without the GIL, and let signals be\n"
      "handled every 64 MiB, whose handlers may raise. OSError and ChangedError are of the file.");
  reader
      .def("__init__", &make_reader, "file"_a, "start"_a, "end"_a.none(), "floor"_a = 0,
           "ceiling"_a = nb::none(), "how"_a = "exact", "verify"_a = true, "skip"_a = false,
           "check_stop"_a = false, "read_bytes"_a = nb::none(), "read_ahead"_a = nb::none())
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
           "done. Returns them, and how many they are.");

  bind_output(reader);
  bind_batch(m, reader);
  bind_diff(m, reader);
  bind_rewrite(m, reader);
  bind_delta(m, reader);
  bind_statistics(m, reader);
}

}  // namespace monolith
