// The part of the Python module that makes records: entries, frames, SNAPPY blocks.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "encode.h"
#include "snappy.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

template <class T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
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

}  // namespace

void bind_encode(nb::module_& m) {
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
}

}  // namespace monolith
