// The part of the Python module that reads deltas, and knows how tables are spread over servers.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "bind.h"
#include "bytes_view.h"
#include "delta.h"
#include "read_on.h"
#include "servers.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

void make_index(FidIndex* index, nb::handle data) {
  const BytesView bytes(data);
  std::vector<uint64_t> places(bytes.size() / sizeof(uint64_t));
  if (!places.empty()) std::memcpy(places.data(), bytes.data(), 8 * places.size());
  new (index) FidIndex(std::move(places));
}

DeltaScan scan_delta(Reader& reader) {
  DeltaScan scan;
  read_on(reader, [&] {
    scan.read(reader);
    return !scan.problem.empty();
  });
  if (!scan.parts.empty()) scan.parts.back().gone.seal();
  return scan;
}

std::tuple<nb::bytes, uint64_t> delta_entries(Reader& reader, uint64_t max_bytes) {
  Buffer out;
  uint64_t n = 0;
  read_on(reader, [&] {
    n += read_delta_entries(reader, static_cast<size_t>(max_bytes), out);
    return out.size() >= max_bytes;
  });
  return {to_bytes(out), n};
}

std::tuple<nb::bytes, uint64_t> sieved(Reader& reader, DeltaSieve& sieve,
                                       std::optional<uint64_t> max_bytes) {
  Buffer out;
  uint64_t n = 0;
  RowReader rows(reader);
  read_on(reader, [&] {
    n += read_sieved(reader, rows, sieve, static_cast<size_t>(max_bytes.value_or(0)),
                     max_bytes ? &out : nullptr);
    return max_bytes && out.size() >= *max_bytes;
  });
  return {to_bytes(out), n};
}

ServerCounts count_servers(Reader& reader, uint32_t server, uint32_t servers) {
  if (server >= servers) throw nb::value_error("no such server");
  ServerCounts counts;
  HeadReader heads(reader);
  read_on(reader, [&] {
    return each_entry(reader, heads, nullptr, [&](const Frame&, const EntryHead& head) {
      counts.add(head.fid, server, servers);
      return true;
    });
  });
  return counts;
}

Parts fids_to_convert(Reader& reader, const Filter* filter) {
  FidCollector fids(reader, filter);
  read_on(reader, [&] {
    fids.read();
    return false;
  });
  Release release;
  return fids.parts();
}

std::tuple<uint64_t, std::vector<std::tuple<int64_t, int64_t, int64_t>>> collisions(
    const std::vector<const Parts*>& parts, size_t first, size_t last, size_t most) {
  if (first >= last || last > kParts) throw nb::value_error("no such parts");
  std::vector<Collision> found;
  std::vector<std::tuple<int64_t, int64_t, int64_t>> out;
  Release release;
  const uint64_t count = find_collisions(parts, first, last, most, found);
  for (const Collision& each : found) out.emplace_back(each.fid, each.one, each.other);
  return {count, out};
}

}  // namespace

void bind_delta(nb::module_& m, nb::class_<Reader>& reader) {
  nb::class_<FidIndex>(m, "FidIndex", "Feature ids to look up, by their places in order of a hash.")
      .def("__init__", &make_index, "places"_a = nb::bytes("", 0),
           nb::sig("def __init__(self, places: bytes = b'') -> None"))
      .def("has", &FidIndex::has, "fid"_a)
      .def("__len__", &FidIndex::size)
      .def_prop_ro("memory_bytes", &FidIndex::bytes)
      .def("__getstate__",
           [](const FidIndex& index) {
             return std::make_tuple(nb::bytes(index.places().data(), 8 * index.size()));
           })
      .def("__setstate__", [](FidIndex& index, const std::tuple<nb::bytes>& state) {
        make_index(&index, std::get<0>(state));
      });

  nb::class_<DeltaPart>(m, "DeltaPart", "What a delta does to one table.")
      .def_ro("table", &DeltaPart::table, "Its number in the header.")
      .def_ro("start", &DeltaPart::start, "Where in the stream its changes lie.")
      .def_ro("end", &DeltaPart::end)
      .def_ro("changes", &DeltaPart::changes)
      .def_ro("entries", &DeltaPart::entries, "How many of them bring an entry.")
      .def_ro("sum", &DeltaPart::sum, "The digest of these entries.")
      .def_ro("gone", &DeltaPart::gone, "All entries with these feature ids make room.");

  nb::class_<DeltaScan>(m, "DeltaScan", "What a delta holds, behind its header.")
      .def_prop_ro("parts",
                   [](nb::handle self) {
                     nb::list out;
                     for (DeltaPart& part : nb::cast<DeltaScan&>(self).parts) {
                       out.append(nb::cast(&part, nb::rv_policy::reference_internal, self));
                     }
                     return out;
                   },
                   nb::sig("def parts(self, /) -> list[DeltaPart]"), "By table, in order.")
      .def_ro("ended", &DeltaScan::ended, "Whether its end was there, with the right number of changes.")
      .def_ro("problem", &DeltaScan::problem, "What is wrong with a record, behind which nothing was read.")
      .def_ro("problem_at", &DeltaScan::problem_at, "Where in the stream that is.");

  nb::class_<DeltaSieve>(m, "DeltaSieve",
                         "What a delta leaves of the entries of a table. Digests are sums of digests of\n"
                         "entries, modulo 2^64.")
      .def(nb::init<const FidIndex*>(), "gone"_a = nb::none(), nb::keep_alive<1, 2>())
      .def_ro("entries", &DeltaSieve::entries, "How many there were.")
      .def_ro("sum", &DeltaSieve::sum, "The digest of these.")
      .def_ro("gone_entries", &DeltaSieve::gone_entries, "How many of them make room.")
      .def_ro("gone_sum", &DeltaSieve::gone_sum, "The digest of these.");

  nb::class_<ServerCounts>(m, "ServerCounts", "How entries of one server keep to the two rules.")
      .def_ro("entries", &ServerCounts::entries)
      .def_ro("high", &ServerCounts::high, "Those whose feature ids have the top bit.")
      .def_prop_ro("wrong",
                   [](const ServerCounts& c) { return std::make_tuple(c.wrong[0], c.wrong[1]); },
                   "Those of another server, by the signed floored rule and by the unsigned one.")
      .def_prop_ro("examples",
                   [](const ServerCounts& c) { return std::make_tuple(c.examples[0], c.examples[1]); },
                   "The feature id of the first of these.");

  m.def("server_of",
        [](int64_t fid, uint32_t servers, bool is_unsigned) {
          if (servers == 0) throw nb::value_error("no servers");
          return server_of(fid, servers, rule_of(is_unsigned));
        },
        "fid"_a, "servers"_a, "is_unsigned"_a = false);
  m.def("find_collisions", &collisions, "parts"_a, "first"_a, "last"_a, "most"_a,
        nb::sig("def find_collisions(parts: list[Parts], first: int, last: int, most: int) -> "
                "tuple[int, list[tuple[int, int, int]]]"),
        "How many v2 feature ids several of v1 become, in the parts [first, last) of what\n"
        "`Reader.fids_to_convert` has found; and so many of them, each with two that become it.");

  reader
      .def("delta", &scan_delta,
           "What the delta holds that the range is the whole of, up to the first record that is wrong.")
      .def("delta_entries", &delta_entries, "max_bytes"_a,
           "Entries that a range of a delta brings, in their frames, or as many as make `max_bytes`.\n"
           "Returns them, and how many they are.")
      .def("sieved", &sieved, "sieve"_a, "max_bytes"_a = nb::none(),
           "Entries that stay, in their frames, or as many as make `max_bytes`; fewer only when it is\n"
           "done. Returns them, and how many they are. With None no bytes, and of all.")
      .def("servers", &count_servers, "server"_a, "servers"_a,
           "How all that is left of the range keeps to the rules, of one of so many servers.")
      .def("fids_to_convert", &fids_to_convert, "filter"_a = nb::none(),
           "The v1 feature ids of all that is left of the range, as `Parts` of 8 bytes each, by a hash\n"
           "of what they become in v2.");
}

}  // namespace monolith
