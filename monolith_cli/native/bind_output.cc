// The part of the Python module that turns entries into JSON lines and columns.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include "bind.h"
#include "columns.h"
#include "json.h"
#include "read_on.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

template <class T>
nb::bytearray to_bytearray(const std::vector<T>& v) {
  return nb::bytearray(v.data(), v.size() * sizeof(T));
}
nb::bytearray to_bytearray(const Buffer& b) { return nb::bytearray(b.data(), b.size()); }

JsonOptions json_options(uint32_t columns, int fid_version, bool number_ids,
                         const std::string& table, bool name_non_finite) {
  JsonOptions options;
  options.columns = columns;
  options.version = version_of(fid_version);
  options.number_ids = number_ids;
  options.table_name = table;
  options.name_non_finite = name_non_finite;
  return options;
}

std::tuple<nb::bytes, uint64_t, uint64_t> read_json(Reader& reader, uint64_t limit,
                                                    uint64_t max_bytes, const Filter* filter,
                                                    uint32_t columns, int fid_version,
                                                    bool number_ids, const std::string& table,
                                                    bool name_non_finite) {
  const JsonOptions options =
      json_options(columns, fid_version, number_ids, table, name_non_finite);
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

// Entries one by one: each one's feature id and its object, without a line's end.
std::tuple<nb::list, uint64_t> read_json_entries(Reader& reader, uint64_t limit,
                                                 const Filter* filter, uint32_t columns,
                                                 int fid_version, bool number_ids,
                                                 const std::string& table, bool name_non_finite) {
  const JsonOptions options =
      json_options(columns, fid_version, number_ids, table, name_non_finite);
  Buffer out;
  std::vector<std::pair<int64_t, size_t>> entries;  // with where the object's line ends
  uint64_t non_finite = 0;
  if (limit > 0) {
    each_whole_entry(reader, filter, [&](const Entry& entry) {
      append_json(entry, options, out, non_finite);
      entries.emplace_back(entry.fid, out.size());
      return entries.size() < limit;
    });
  }
  nb::list found;
  size_t start = 0;
  for (const auto& [fid, end] : entries) {
    found.append(nb::make_tuple(fid, nb::bytes(out.data() + start, end - 1 - start)));
    start = end;
  }
  return {found, non_finite};
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

}  // namespace

void bind_output(nb::class_<Reader>& reader) {
  reader
      .def("json_lines", &read_json, "limit"_a, "max_bytes"_a, "filter"_a = nb::none(),
           "columns"_a = 63, "fid_version"_a = 2, "number_ids"_a = false, "table"_a = "null",
           "name_non_finite"_a = false,
           "So many entries as JSON, or as many as make `max_bytes`; fewer only when it is done.\n"
           "Returns the lines, how many they are, and how many floats had to be null.")
      .def("json_entries", &read_json_entries, "limit"_a, "filter"_a = nb::none(),
           "columns"_a = 63, "fid_version"_a = 2, "number_ids"_a = false, "table"_a = "null",
           "name_non_finite"_a = false,
           nb::sig("def json_entries(self, limit: int, filter: Filter | None = None, "
                   "columns: int = 63, fid_version: int = 2, number_ids: bool = False, "
                   "table: str = 'null', name_non_finite: bool = False) "
                   "-> tuple[list[tuple[int, bytes]], int]"),
           "So many entries, each its feature id and its JSON; fewer only when it is done.\n"
           "Returns them, and how many floats had to be null.")
      .def("columns", &read_columns, "limit"_a, "filter"_a = nb::none(), "fid_version"_a = 2,
           "with_embedding"_a = true, "with_optimizers"_a = true,
           nb::sig("def columns(self, limit: int, filter: Filter | None = None, "
                   "fid_version: int = 2, with_embedding: bool = True, "
                   "with_optimizers: bool = True) -> dict[str, typing.Any]"),
           "So many entries as columns; fewer only when it is done. Raw little-endian arrays by\n"
           "name, values that are lists with how many each entry has.");
}

}  // namespace monolith
