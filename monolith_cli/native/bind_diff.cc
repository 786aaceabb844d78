// The part of the Python module that compares tables.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "bind.h"
#include "bytes_view.h"
#include "changes.h"
#include "join.h"
#include "read_on.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

constexpr size_t kJoinBytes = 2 << 20;  // of rows that are joined at a time

Parts parts_from(nb::handle data, nb::handle ends, size_t first, size_t last) {
  const BytesView bytes(data), places(ends);
  Parts parts;
  parts.data().append(bytes.data(), bytes.size());
  std::vector<uint64_t> found(places.size() / sizeof(uint64_t));
  if (!found.empty()) std::memcpy(found.data(), places.data(), found.size() * sizeof(uint64_t));
  bool right = found.empty();
  if (found.size() == kParts && first < last && last <= kParts) {
    right = std::is_sorted(found.begin(), found.end());
    const uint64_t from = first == 0 ? 0 : found[first - 1], to = found[last - 1];
    for (uint64_t& end : found) end = std::clamp(end, from, to) - from;
    right = right && found.back() == bytes.size();
  }
  if (!right) throw nb::value_error("these are not the ends of parts");
  parts.set_ends(std::move(found));
  return parts;
}

nb::bytes ends_of(const Parts& parts) {
  return nb::bytes(parts.ends().data(), parts.ends().size() * sizeof(uint64_t));
}

Parts read_digests(Reader& reader, const Filter* filter) {
  RowCollector rows(reader, filter);
  read_on(reader, [&] {
    rows.read();
    return false;
  });
  Release release;
  return rows.parts();
}

void run_join(Join& join, const std::vector<const Parts*>& a, const std::vector<const Parts*>& b,
              size_t first, size_t last) {
  if (first >= last || last > kParts) throw nb::value_error("no such parts");
  Release release;
  // A few parts at a time, so that what is looked up stays in the cache.
  size_t bytes = 0;
  for (const auto* side : {&a, &b}) {
    for (const Parts* parts : *side) bytes += parts->slice(first, last).size;
  }
  const size_t step = std::clamp<size_t>((last - first) * kJoinBytes / (bytes + 1), 1, last - first);
  for (; first < last; first += step) join.run(a, b, first, std::min(first + step, last));
}

Parts read_chosen(Reader& reader, const FidBits& bits, const Filter* filter) {
  EntryCollector entries(reader, bits, filter);
  read_on(reader, [&] {
    entries.read();
    return false;
  });
  Release release;
  return entries.parts();
}

void run_changes(Changes& changes, const std::vector<const Parts*>& a,
                 const std::vector<const Parts*>& b, size_t first, size_t last) {
  if (first >= last || last > kParts) throw nb::value_error("no such parts");
  Release release;
  changes.run(a, b, first, last);
}

nb::bytes to_bytes(const std::vector<Change>& changes) {
  return nb::bytes(changes.data(), changes.size() * sizeof(Change));
}

nb::list to_list(const std::vector<SlotFates>& slots) {
  nb::list out;
  for (const SlotFates& slot : slots) {
    nb::list fates;
    for (int64_t count : slot.fates) fates.append(count);
    out.append(nb::make_tuple(slot.slot, nb::tuple(fates), slot.again_a, slot.again_b));
  }
  return out;
}

}  // namespace

void bind_diff(nb::module_& m, nb::class_<Reader>& reader) {
  m.attr("PARTS") = kParts;

  nb::class_<Parts>(m, "Parts",
                    "Records of entries in parts, by a hash of the feature id: digests of 32 bytes.\n\n"
                    "`ends` are those of another one, where each of `PARTS` parts ends, and `data` is what\n"
                    "it has of the parts [first, last). Without ends records are in no order, and of any\n"
                    "parts.")
      .def("__init__",
           [](Parts* parts, nb::handle data, nb::handle ends, size_t first, size_t last) {
             new (parts) Parts(parts_from(data, ends, first, last));
           },
           "data"_a, "ends"_a = nb::bytes("", 0), "first"_a = 0, "last"_a = kParts,
           nb::sig("def __init__(self, data: bytes, ends: bytes = b'', first: int = 0, "
                   "last: int = 1024) -> None"))
      .def_prop_ro("size", [](const Parts& parts) { return parts.data().size(); }, "In bytes.")
      .def_prop_ro("data", [](const Parts& parts) { return to_bytes(parts.data()); })
      .def_prop_ro("ends", &ends_of)
      .def("__getstate__",
           [](const Parts& parts) { return std::make_tuple(to_bytes(parts.data()), ends_of(parts)); })
      .def("__setstate__", [](Parts& parts, const std::tuple<nb::bytes, nb::bytes>& state) {
        new (&parts) Parts(parts_from(std::get<0>(state), std::get<1>(state), 0, kParts));
      });

  nb::class_<FidBits>(m, "FidBits", "Feature ids, and others that share one of 2^log_bits bits with one.")
      .def("__init__",
           [](FidBits* bits, unsigned log_bits) {
             if (log_bits < 6 || log_bits > 40) throw nb::value_error("log_bits must be 6 to 40");
             new (bits) FidBits(log_bits);
           },
           "log_bits"_a)
      .def("has", &FidBits::has, "fid"_a)
      .def("__getstate__",
           [](FidBits& bits) {
             std::vector<uint64_t> words(bits.words().begin(), bits.words().end());
             return std::make_tuple(bits.log_bits(), nb::bytes(words.data(), 8 * words.size()));
           })
      .def("__setstate__", [](FidBits& bits, const std::tuple<unsigned, nb::bytes>& state) {
        new (&bits) FidBits(std::get<0>(state));
        const uint8_t* words = data_of(std::get<1>(state));
        for (size_t i = 0; i < std::min(bits.words().size(), std::get<1>(state).size() / 8); ++i) {
          bits.words()[i] = load<uint64_t>(words + 8 * i);
        }
      });

  nb::class_<Join>(m, "Join",
                   "What became of the entries of a table.\n\n"
                   "With `sums` it also makes digests of both sides; `bits` gets the feature ids of what\n"
                   "is not the same; with `changes` all of that is kept.")
      .def("__init__",
           [](Join* join, int version, bool sums, FidBits* bits, bool changes) {
             new (join) Join(version_of(version), sums, bits, changes);
           },
           "fid_version"_a = 2, "sums"_a = false, "bits"_a = nb::none(), "changes"_a = false,
           nb::keep_alive<1, 4>())
      .def("run", &run_join, "a"_a, "b"_a, "first"_a, "last"_a,
           nb::sig("def run(self, a: list[Parts], b: list[Parts], first: int, last: int) -> None"),
           "Join the parts [first, last) of two tables, without the GIL.")
      .def_prop_ro("slots", [](const Join& join) { return to_list(join.slots()); },
                   nb::sig("def slots(self, /) -> list[tuple[int, tuple[int, ...], int, int]]"),
                   "Of each slot: its number; how many entries are the same, touched, of a changed\n"
                   "embedding, optimizer state, or both, added, removed; and on either side those\n"
                   "whose feature id has come before.")
      .def_prop_ro("changes", [](const Join& join) { return to_bytes(join.changes()); },
                   "Feature id, both times, fate and whether the feature id comes again: `<qqqBB6x`.")
      .def_prop_ro("sum_a", &Join::sum_a)
      .def_prop_ro("sum_b", &Join::sum_b);

  nb::class_<Changes>(m, "Changes",
                      "How far entries have moved, and a delta of them.\n\n"
                      "Floats a and b are close if |a - b| <= absolute + relative * |a|. The `top` largest\n"
                      "moves are kept; with `rows` what differs by more than that; with `delta` the records\n"
                      "of one are made, of the table of a number.")
      .def("__init__",
           [](Changes* changes, double absolute, double relative, size_t top, bool delta, uint32_t table,
              int version, bool rows) {
             ChangeOptions options;
             options.version = version_of(version);
             options.rows = rows;
             options.absolute = absolute;
             options.relative = relative;
             options.top = top;
             options.delta = delta;
             options.table = table;
             new (changes) Changes(options);
           },
           "absolute"_a = 0.0, "relative"_a = 0.0, "top"_a = 0, "delta"_a = false, "table"_a = 0,
           "fid_version"_a = 2, "rows"_a = false)
      .def("run", &run_changes, "a"_a, "b"_a, "first"_a, "last"_a,
           nb::sig("def run(self, a: list[Parts], b: list[Parts], first: int, last: int) -> None"),
           "Go through the parts [first, last) of what `Reader.chosen` has found on both sides, without\n"
           "the GIL.")
      .def_ro("changed", &Changes::changed, "Pairs of entries whose values differ.")
      .def_ro("close", &Changes::close, "Of these, those whose values are all close.")
      .def_prop_ro("close_slots",
                   [](const Changes& changes) { return to_list(changes.close_slots.all()); },
                   nb::sig("def close_slots(self, /) -> list[tuple[int, tuple[int, ...], int, int]]"),
                   "What became of these, by slot, as `Join.slots`.")
      .def_prop_ro("rows", [](const Changes& changes) { return to_bytes(changes.rows); },
                   "What is neither close nor of another time alone, as `Join.changes`.")
      .def_ro("shapes", &Changes::shapes,
              "Of these, those that have not as many values, or other optimizers.")
      .def_ro("non_finite", &Changes::non_finite,
              "Of these, those whose distance is no finite number.")
      .def_ro("largest", &Changes::largest, "Difference of one value of an embedding, finite.")
      .def_prop_ro("distance_sums", [](const Changes& changes) { return changes.distance_sums; },
                   "Of the L2 norms of differences of embeddings, by part, in order.")
      .def_prop_ro("moves",
                   [](const Changes& changes) {
                     nb::list out;
                     for (const Move& move : changes.moves) {
                       out.append(nb::make_tuple(move.fid, move.distance, move.largest, move.norm));
                     }
                     return out;
                   },
                   nb::sig("def moves(self, /) -> list[tuple[int, float, float, float]]"),
                   "The largest: feature id, L2 norm of the difference, its largest value, L2 norm before.")
      .def_prop_ro("delta", [](const Changes& changes) { return to_bytes(changes.delta); },
                   "Framed records, in order of hash.")
      .def_ro("delta_changes", &Changes::delta_changes, "How many they are.");

  reader
      .def("digests", &read_digests, "filter"_a = nb::none(),
           "Digests of all that is left of the range, as `Parts`.")
      .def("chosen", &read_chosen, "bits"_a, "filter"_a = nb::none(),
           "The entries that are left of the range and whose feature ids are among the bits, whole, as\n"
           "`Parts`.");
}

}  // namespace monolith
