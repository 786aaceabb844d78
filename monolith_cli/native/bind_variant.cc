// The part of the Python module that reads the variants of tensor bundles.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "bytes_view.h"
#include "snappy.h"
#include "variant.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

// Bytes that are no UTF-8 become surrogates, as in the names of files.
nb::object to_text(Input in) {
  const char* p = reinterpret_cast<const char*>(in.p);
  PyObject* text = PyUnicode_DecodeUTF8(p ? p : "", static_cast<Py_ssize_t>(in.left()), "surrogateescape");
  if (text == nullptr) throw nb::python_error();
  return nb::steal(text);
}

nb::object to_tuple(const std::vector<uint64_t>& numbers) {
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(numbers.size()));
  if (tuple == nullptr) throw nb::python_error();
  nb::object out = nb::steal(tuple);
  for (size_t i = 0; i < numbers.size(); ++i) {
    PyTuple_SetItem(tuple, static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLongLong(numbers[i]));
  }
  return out;
}

// Where in `whole` a part of it lies.
nb::tuple span(Input whole, Input part) {
  if (part.p == nullptr) return nb::make_tuple(0, 0);
  return nb::make_tuple(part.p - whole.p, part.end - whole.p);
}

nb::tuple scan(nb::handle data, uint64_t count, uint32_t crc) {
  const BytesView view(data);
  const Input in = view.input();
  VariantScan found;
  {
    nb::gil_scoped_release release;
    found = scan_variants(in, count, crc);
  }
  static const char* const kStops[] = {"count", "cut", "bad_length", "bad_crc"};
  nb::list elements;
  for (const Input& element : found.elements) elements.append(span(in, element));
  return nb::make_tuple(elements, found.consumed, found.crc, kStops[static_cast<int>(found.stop)],
                        found.next);
}

Variant checked_variant(Input in) {
  Variant found;
  if (!parse_variant(in, found)) throw nb::value_error("an element that is no variant");
  return found;
}

nb::object variant_type(nb::handle data) {
  const BytesView view(data);
  return to_text(checked_variant(view.input()).type_name);
}

nb::tuple variant(nb::handle data) {
  const BytesView view(data);
  const Input in = view.input();
  const Variant found = checked_variant(in);
  nb::list tensors;
  for (const Input& tensor : found.tensors) tensors.append(span(in, tensor));
  return nb::make_tuple(span(in, found.metadata), tensors);
}

void check_part(Input in, StatePart& part) {
  if (const char* problem = parse_state_part(in, part)) throw nb::value_error(problem);
}

nb::tuple part_head(nb::handle data) {
  const BytesView view(data);
  StatePart part;
  check_part(view.input(), part);
  nb::object size = part.compressed ? nb::object(nb::int_(part.content_bytes)) : nb::none();
  return nb::make_tuple(to_text(part.name), size);
}

nb::tuple part_values(nb::handle data) {
  const BytesView view(data);
  const Input in = view.input();
  StatePart part;
  check_part(in, part);
  nb::list values, places;
  for (const StateValue& value : part.values) {
    values.append(nb::make_tuple(to_text(value.key), value.dtype, to_tuple(value.shape),
                                 to_tuple(value.sizes)));
    if (!part.compressed) places.append(span(in, value.tensor));
  }
  if (part.compressed) places.append(span(in, part.content));
  return nb::make_tuple(values, places);
}

nb::list decompress_ranges(nb::handle data, const std::vector<std::pair<uint64_t, uint64_t>>& wanted) {
  const BytesView view(data);
  const Input in = view.input();
  uint32_t length;
  if (snappy_length(in.p, in.left(), &length) == 0 || !snappy_plausible(in.left(), length)) {
    throw nb::value_error("not a snappy block");
  }
  nb::list out;
  std::vector<SnappyRange> ranges;
  uint64_t position = 0;
  for (const auto& [start, end] : wanted) {
    if (start < position || end < start || end > length) {
      throw nb::value_error("parts must ascend, and lie in the block's content");
    }
    position = end;
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(end - start));
    if (bytes == nullptr) throw nb::python_error();
    out.append(nb::steal(bytes));
    ranges.push_back({static_cast<uint32_t>(start), static_cast<uint32_t>(end),
                      reinterpret_cast<uint8_t*>(PyBytes_AsString(bytes))});
  }
  bool decoded;
  {
    nb::gil_scoped_release release;
    decoded = snappy_decode_ranges(in.p, in.left(), ranges.data(), ranges.size());
  }
  if (!decoded) throw nb::value_error("not a snappy block");
  return out;
}

}  // namespace

void bind_variant(nb::module_& m) {
  m.def("scan_variants", &scan, "data"_a, "count"_a, "crc"_a = 0,
        nb::sig("def scan_variants(data: bytes | memoryview, count: int, crc: int = 0) "
                "-> tuple[list[tuple[int, int]], int, int, str, int]"),
        "Up to `count` elements of a variant tensor, as a data file has them; `crc` is that of all\n"
        "before. Returns where they lie, the bytes that they take, the crc, why it stopped\n"
        "('count', 'cut', 'bad_length', 'bad_crc'), and if cut, how long the next one is, with its\n"
        "framing; 0 if that is cut, too.");
  m.def("variant_type", &variant_type, "data"_a,
        nb::sig("def variant_type(data: bytes | memoryview) -> str"),
        "A VariantTensorDataProto's type name. Raises ValueError if it is none.");
  m.def("variant_places", &variant, "data"_a,
        nb::sig("def variant_places(data: bytes | memoryview) "
                "-> tuple[tuple[int, int], list[tuple[int, int]]]"),
        "Where its metadata and its tensors lie.");
  m.def("state_part_head", &part_head, "data"_a,
        nb::sig("def state_part_head(data: bytes | memoryview) -> tuple[str, int | None]"),
        "The name of a part of an iterator's state, and how many bytes its values take\n"
        "uncompressed; None if each is a TensorProto. All of it is checked, but not decompressed.\n"
        "Raises ValueError for anything else.");
  m.def("state_part_values", &part_values, "data"_a,
        nb::sig("def state_part_values(data: bytes | memoryview) -> tuple["
                "list[tuple[str, int, tuple[int, ...], tuple[int, ...]]], list[tuple[int, int]]]"),
        "Key, number of the dtype, shape and sizes of its values, and where they lie: compressed\n"
        "in one, or a TensorProto each.");
  m.def("snappy_decompress_ranges", &decompress_ranges, "data"_a, "ranges"_a,
        nb::sig("def snappy_decompress_ranges(data: bytes | memoryview, "
                "ranges: Sequence[tuple[int, int]]) -> list[bytes]"),
        "Parts of the content of one raw snappy block, which ascend and do not overlap. What is\n"
        "behind the last one is not decoded. Raises ValueError if it is malformed.");
}

}  // namespace monolith
