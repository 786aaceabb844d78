// The part of the Python module that makes tables of others.
#include <errno.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <algorithm>

#include "bind.h"
#include "read_on.h"
#include "rewrite.h"
#include "sparse_counts.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

constexpr size_t kLeastReserved = 4096;

// ext4 takes seven times as long where it is given megabytes at once (Linux 6.18, seen with dd too).
constexpr size_t kWriteBytes = 128 << 10;

Where where_named(const std::string& name) {
  static const std::pair<const char*, Where> kNames[] = {{"", Where::nothing},
                                                         {"nan", Where::nan},
                                                         {"nonfinite", Where::nonfinite},
                                                         {"zero", Where::zero},
                                                         {"norm-above", Where::norm_above}};
  for (const auto& [known, where] : kNames) {
    if (name == known) return where;
  }
  throw nb::value_error("no such condition");
}

using SlotTuple = std::tuple<uint32_t, std::vector<int64_t>>;

std::tuple<std::vector<Output>, std::vector<SlotTuple>> rewrite(
    Reader& reader, size_t size, const Filter* slots, bool drop_all, int fid_version,
    const std::string& where, double norm, bool set_zero, std::optional<int64_t> oldest, bool snappy,
    bool discard, DeltaSieve* sieve, bool brought,
    std::optional<std::tuple<uint32_t, uint32_t, bool>> only, bool convert, uint32_t servers,
    bool is_unsigned) {
  if (sieve != nullptr && brought) throw nb::value_error("nothing is gone of what is brought");
  if (servers == 0 || (only && std::get<1>(*only) == 0)) throw nb::value_error("no servers");
  RewriteOptions options;
  options.version = version_of(fid_version);
  options.slots = slots;
  options.drop_all = drop_all;
  options.where = where_named(where);
  options.norm = norm;
  options.set_zero = set_zero;
  if (oldest) options.oldest = *oldest;
  options.sieve = sieve;
  options.brought = brought;
  if (only) {
    const auto& [server, of, of_unsigned] = *only;
    options.only = {of, server, rule_of(of_unsigned)};
  }
  options.convert = convert;
  options.targets = {servers, 0, rule_of(is_unsigned)};
  options.snappy = snappy;
  options.discard = discard || drop_all;
  Rewriter rewriter(reader, options, std::max(size, kLeastReserved));
  read_on(reader, [&] {
    rewriter.read();
    return false;
  });
  Release release;
  std::vector<SlotTuple> passages;
  for (const SlotPassages& slot : rewriter.slots()) {
    passages.emplace_back(slot.slot,
                          std::vector<int64_t>(slot.entries.begin(), slot.entries.end()));
  }
  return {rewriter.outputs(), std::move(passages)};
}

// Appends it to an open file.
void write_to(const Output& out, int file) {
  Release release;
  const uint8_t* p = out.data->data();
  size_t left = out.data->size();
  while (left > 0) {
    const ssize_t written = ::write(file, p, std::min(left, kWriteBytes));
    if (written < 0) {
      if (errno == EINTR) continue;
      throw IoError(errno, "write");
    }
    p += written;
    left -= static_cast<size_t>(written);
  }
}

using State = std::tuple<nb::bytes, uint64_t, uint64_t, uint64_t, uint32_t>;

State state_of(const Output& out) {
  return {to_bytes(*out.data), out.entries, out.stream_bytes, out.sum, out.crc};
}

void set_state(Output& out, const State& state) {
  Output* made = new (&out) Output;
  const nb::bytes& data = std::get<0>(state);
  made->data->append(data_of(data), data.size());
  std::tie(std::ignore, made->entries, made->stream_bytes, made->sum, made->crc) = state;
}

// Counts entries, and adds up their numbers.
std::pair<uint64_t, uint64_t> sums(Reader& reader, Counter& counter) {
  uint64_t entries = 0, sum = 0;
  HeadReader heads(reader);
  read_on(reader, [&] {
    return each_entry(reader, heads, nullptr, [&](const Frame& frame, const EntryHead& head) {
      counter.add(head, entries++);
      sum += record_number(head.fid, frame.length, load<uint32_t>(frame.data + frame.length));
      return true;
    });
  });
  return {entries, sum};
}

// Calls take(time) for each entry that is wanted.
template <class F>
void each_time(Reader& reader, const Filter* filter, F take) {
  PlacesReader places(reader);
  read_on(reader, [&] {
    while (const Frame* frame = reader.next()) {
      const ValuePlaces* found = places.read(*frame);
      if (found == nullptr) {
        reader.bad_message();
      } else if (filter == nullptr || filter->wants(found->fid(frame->data))) {
        take(found->time(frame->data));
      }
    }
    return false;
  });
}

std::optional<int64_t> newest(Reader& reader) {
  std::optional<int64_t> found;
  each_time(reader, nullptr, [&](int64_t time) { found = std::max(found.value_or(time), time); });
  return found;
}

std::vector<std::pair<uint32_t, uint64_t>> ages(Reader& reader, int64_t now, const Filter* filter) {
  constexpr __int128 kDay = 86400;
  SparseCounts days;
  each_time(reader, filter, [&](int64_t time) {
    const __int128 age = (static_cast<__int128>(now) - time) / kDay;
    days.add(static_cast<uint32_t>(
        std::clamp<__int128>(age, 0, static_cast<__int128>(SparseCounts::kMostKey))));
  });
  return days.sorted();
}

}  // namespace

void bind_rewrite(nb::module_& m, nb::class_<Reader>& reader) {
  nb::class_<Output>(m, "Output",
                     "Framed entries as they are to be stored, and what is known of them.")
      .def_ro("entries", &Output::entries)
      .def_ro("stream_bytes", &Output::stream_bytes, "Uncompressed.")
      .def_prop_ro("stored_bytes", [](const Output& out) { return out.data->size(); })
      .def_ro("sum", &Output::sum, "As `Reader.sums`.")
      .def_ro("crc", &Output::crc, "CRC-32C of what is stored.")
      .def_prop_ro("data", [](const Output& out) { return to_bytes(*out.data); })
      .def("write_to", &write_to, "file"_a,
           "Writes what is to be stored to an open file of that number, without the GIL. Raises\n"
           "OSError.")
      .def("__getstate__", &state_of)
      .def("__setstate__", &set_state);

  m.def("crc32c_combine", &crc32c_combine, "first"_a, "second"_a, "second_bytes"_a,
        "The CRC-32C of bytes and others behind them, of which there are so many.");

  reader
      .def("rewrite", &rewrite, "size"_a, "slots"_a = nb::none(), "drop_all"_a = false,
           "fid_version"_a = 2, "where"_a = "", "norm"_a = 0.0, "set_zero"_a = false,
           "oldest"_a = nb::none(), "snappy"_a = false, "discard"_a = false, "sieve"_a = nb::none(),
           "brought"_a = false, "only"_a = nb::none(), "convert"_a = false, "servers"_a = 1,
           "is_unsigned"_a = false,
           nb::sig("def rewrite(self, size: int, slots: Filter | None = None, "
                   "drop_all: bool = False, fid_version: int = 2, where: str = '', "
                   "norm: float = 0.0, set_zero: bool = False, oldest: int | None = None, "
                   "snappy: bool = False, discard: bool = False, "
                   "sieve: DeltaSieve | None = None, brought: bool = False, "
                   "only: tuple[int, int, bool] | None = None, convert: bool = False, "
                   "servers: int = 1, is_unsigned: bool = False) "
                   "-> tuple[list[Output], list[tuple[int, list[int]]]]"),
           "What is left of the range, as it is to be in other tables, one for each of the servers.\n\n"
           "First go those that a sieve does not keep. With `brought` the range is of a delta, and its\n"
           "entries are those that it brings, `only` those of one of so many servers by the signed or\n"
           "the unsigned rule. Entries stay if they are of `slots` and newer than `oldest`, unless\n"
           "`drop_all`. Of those `where` something is so (`nan`, `nonfinite`, `zero`, `norm-above`), what\n"
           "it is becomes 0\n"
           "with `set_zero`: values, or of a norm the embedding; else they go. `size` is how many bytes\n"
           "are expected; with `discard` none are made. With it comes, of each slot that was met, how\n"
           "many entries are the same, have changed, are brought, and are gone by their slot, a condition,\n"
           "their age, the sieve. Feature ids are of version 2 in the end with `convert`.")
      .def("sums", &sums, "counter"_a,
           "Counts all that is left of the range; returns how many entries there are, and the sum,\n"
           "modulo 2^64, of a number of each, which has its feature id, length and checksum in it.")
      .def("newest", &newest, "The newest time of what is left of the range; None without entries.")
      .def("ages", &ages, "now"_a, "filter"_a = nb::none(),
           "How many entries there are of each age in whole days before a time; newer ones have 0.");
}

}  // namespace monolith
