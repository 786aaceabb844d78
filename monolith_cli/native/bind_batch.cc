// The part of the Python module that makes columns for files that analysts read.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "bind.h"
#include "batch.h"
#include "pages.h"
#include "read_on.h"
#include "zstd.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

std::string name_of(uint32_t key) {
  if (key == FieldKey::kEmbedding) return "embedding";
  const OptimizerType& type = kOptimizers[FieldKey::type(key)];
  return "opt_" + std::to_string(FieldKey::index(key)) + "_" + type.name + "_" +
         type.fields[FieldKey::field(key) - 1].name;
}

Batch* read_batch(Reader& reader, uint64_t limit, const Filter* filter, int fid_version,
                  bool with_embedding, bool with_optimizers) {
  auto batch = std::make_unique<Batch>(version_of(fid_version), with_embedding, with_optimizers);
  PlacesReader places(reader);
  read_on(reader, [&] {
    while (batch->rows() < limit) {
      const Frame* frame = reader.next();
      if (frame == nullptr) return false;
      const ValuePlaces* found = places.read(*frame);
      if (found == nullptr) {
        reader.bad_message();
      } else if (filter == nullptr || filter->wants(found->fid(frame->data))) {
        batch->add(frame->data, *found);
      }
    }
    return true;
  });
  if (batch->overflown()) throw nb::value_error("an entry has more than 64 optimizers");
  batch->end();
  return batch.release();
}

nb::list columns(const Batch& batch) {
  static const char* const kKinds[] = {"floats", "scalar", "integer"};
  nb::list out;
  for (const auto& [key, column] : batch.columns()) {
    const size_t value_size = FieldKey::kind(key) == FieldKind::integer ? 8 : 4;
    const uint32_t least = batch.rows() == 0 ? 0 : column.least;
    out.append(nb::make_tuple(name_of(key), key, kKinds[static_cast<size_t>(FieldKey::kind(key))],
                              column.rows_with, least, column.most,
                              column.values.size() / value_size));
  }
  return out;
}

// Where a column lies; `column` is null for those that every entry has.
struct Place {
  const uint8_t* values;
  size_t bytes;
  PageType type;
  const BatchColumn* column;
};

template <class T>
Place place_of(const std::vector<T>& values, PageType type) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T), type,
          nullptr};
}

Place find(const Batch& batch, const std::string& name) {
  if (name == "fid") return place_of(batch.fids(), PageType::int64_plain);
  if (name == "slot") return place_of(batch.slots(), PageType::int32_delta);
  if (name == "last_update_ts_sec") return place_of(batch.times(), PageType::int64_delta);
  for (const auto& [key, column] : batch.columns()) {
    if (name_of(key) != name) continue;
    const bool is_integer = FieldKey::kind(key) == FieldKind::integer;
    return {column.values.data(), column.values.size(),
            is_integer ? PageType::int64_delta : PageType::float_split, &column};
  }
  throw nb::key_error(name.c_str());
}

nb::bytes values(const Batch& batch, const std::string& name) {
  const Place place = find(batch, name);
  return nb::bytes(place.values, place.bytes);
}

nb::bytes lengths(const Batch& batch, const std::string& name) {
  const Place place = find(batch, name);
  if (place.column == nullptr) throw nb::key_error(name.c_str());
  return nb::bytes(place.column->lengths.data(), 4 * place.column->lengths.size());
}

// The least and the largest of a column of integers that has any.
nb::object bounds(const Batch& batch, const std::string& name) {
  const Place place = find(batch, name);
  if (place.type == PageType::float_split || place.bytes == 0) return nb::none();
  const bool is_short = place.type == PageType::int32_delta;
  const size_t size = is_short ? 4 : 8;
  int64_t least = std::numeric_limits<int64_t>::max(), most = std::numeric_limits<int64_t>::min();
  for (const uint8_t* p = place.values; p < place.values + place.bytes; p += size) {
    const int64_t value = is_short ? load<int32_t>(p) : load<int64_t>(p);
    least = std::min(least, value);
    most = std::max(most, value);
  }
  return nb::make_tuple(least, most);
}

PageLevels levels_named(const std::string& name, const Place& place) {
  if (name == "none") return PageLevels::none;
  if (place.column == nullptr) throw nb::value_error("every entry has one value there");
  if (name == "optional") return PageLevels::optional;
  if (name == "list") return PageLevels::list;
  if (name == "lists") return PageLevels::lists;
  throw nb::value_error("levels must be 'none', 'optional', 'list' or 'lists'");
}

nb::list pages(const Batch& batch, const std::string& name, const std::string& levels,
               size_t page_bytes, bool compress) {
  const Place place = find(batch, name);
  const PageLevels how = levels_named(levels, place);
  if (how == PageLevels::none && place.column != nullptr &&
      (place.column->least != 1 || place.column->most != 1) && batch.rows() > 0) {
    throw nb::value_error("not every entry has one value there");
  }
  if (how == PageLevels::optional && place.column->most > 1) {
    throw nb::value_error("an entry has several values there");
  }
  Pages pages(place.values, how == PageLevels::none ? nullptr : place.column->lengths.data(),
              batch.rows(), place.type, how, page_bytes, compress);
  nb::list out;
  while (true) {
    bool is_one;
    {
      Release release;
      is_one = pages.next();
    }
    if (!is_one) return out;
    out.append(nb::make_tuple(nb::bytes(pages.data(), pages.stored_bytes()), pages.bytes(),
                              pages.value_count()));
  }
}

nb::bytes compress(const nb::bytes& data) {
  if (data.size() > UINT32_MAX) throw nb::value_error("too much for one frame");
  Buffer out;
  {
    Release release;
    zstd_frame(data_of(data), data.size(), {}, out);
  }
  return to_bytes(out);
}

}  // namespace

void bind_batch(nb::module_& m, nb::class_<Reader>& reader) {
  nb::class_<Batch>(m, "Batch",
                    "Entries as columns: `fid`, `slot`, `last_update_ts_sec`, `embedding` and\n"
                    "`opt_<i>_<type>_<field>`. Optimizers' fields without any value are not there.")
      .def_prop_ro("rows", &Batch::rows)
      .def("columns", &columns,
           nb::sig("def columns(self) -> list[tuple[str, int, str, int, int, int, int]]"),
           "The embedding and the optimizers' fields: name; a number that ascends; `floats`, `scalar`\n"
           "or `integer`; how many entries have values there; the fewest and the most that one has;\n"
           "how many there are.")
      .def("values", &values, "name"_a,
           "All values of a column end to end: float32, int64, or int32 of `slot`.")
      .def("lengths", &lengths, "name"_a,
           "How many of them each entry has, uint32. KeyError for those that all have one of.")
      .def("bounds", &bounds, "name"_a, nb::sig("def bounds(self, name: str) -> tuple[int, int] | None"),
           "The least and the largest value of integers; None if there are none.")
      .def("pages", &pages, "name"_a, "levels"_a, "page_bytes"_a, "compress"_a,
           nb::sig("def pages(self, name: str, levels: str, page_bytes: int, compress: bool) "
                   "-> list[tuple[bytes, int, int]]"),
           "A column as data pages of Parquet, without their headers: the bytes, how many they were\n"
           "before they were compressed, and how many values they hold, with those that are absent.\n"
           "`fid` is PLAIN, other integers DELTA_BINARY_PACKED, floats BYTE_STREAM_SPLIT. `levels`:\n"
           "`none` for one value an entry, `optional` for one or none; `list`, or `lists` where\n"
           "entries without a value have no list. ValueError if the column is not so.");
  reader.def("batch", &read_batch, "limit"_a, "filter"_a = nb::none(), "fid_version"_a = 2,
             "with_embedding"_a = true, "with_optimizers"_a = true,
             "So many entries as columns; fewer only when it is done. ValueError if one has more\n"
             "than 64 optimizers.");
  m.def("zstd_compress", &compress, "data"_a,
        "A Zstandard frame. Bytes are coded by their frequency; repeated strings are not looked for.");
}

}  // namespace monolith
