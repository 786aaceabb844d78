// The part of the Python module that makes columns for files that analysts read.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <memory>

#include "bind.h"
#include "batch.h"
#include "read_on.h"

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
  const void* values;
  size_t bytes;
  const BatchColumn* column;
};

template <class T>
Place place_of(const std::vector<T>& values) {
  return {values.data(), values.size() * sizeof(T), nullptr};
}

Place find(const Batch& batch, const std::string& name) {
  if (name == "fid") return place_of(batch.fids());
  if (name == "slot") return place_of(batch.slots());
  if (name == "last_update_ts_sec") return place_of(batch.times());
  for (const auto& [key, column] : batch.columns()) {
    if (name_of(key) == name) return {column.values.data(), column.values.size(), &column};
  }
  throw nb::key_error(name.c_str());
}

using View = nb::ndarray<nb::memview, const uint8_t, nb::ndim<1>>;
using OfBatch = nb::pointer_and_handle<Batch>;

// Bytes of a batch, which stays as long as somebody looks at them.
View view(const OfBatch& batch, const void* data, size_t bytes) {
  static const uint8_t kNothing = 0;
  return View(bytes == 0 ? &kNothing : static_cast<const uint8_t*>(data), {bytes}, batch.h);
}

View values(OfBatch batch, const std::string& name) {
  const Place place = find(*batch.p, name);
  return view(batch, place.values, place.bytes);
}

View lengths(OfBatch batch, const std::string& name) {
  const Place place = find(*batch.p, name);
  if (place.column == nullptr) throw nb::key_error(name.c_str());
  return view(batch, place.column->lengths.data(), 4 * place.column->lengths.size());
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
      .def("values", &values, "name"_a, nb::sig("def values(self, name: str) -> memoryview"),
           "The bytes of all values of a column end to end: float32, int64, or int16 of `slot`.\n"
           "They are not copied.")
      .def("lengths", &lengths, "name"_a, nb::sig("def lengths(self, name: str) -> memoryview"),
           "How many of them each entry has, uint32. KeyError for those that all have one of.");
  reader.def("batch", &read_batch, "limit"_a, "filter"_a = nb::none(), "fid_version"_a = 2,
             "with_embedding"_a = true, "with_optimizers"_a = true,
             "So many entries as columns; fewer only when it is done. ValueError if one has more\n"
             "than 64 optimizers.");
}

}  // namespace monolith
