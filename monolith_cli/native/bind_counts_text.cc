// The part of the Python module that reads ckpt.info-<step>.
#include "bind.h"
#include "counts_text.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

void put(const nb::dict& counts, PyObject* key, int64_t count) {
  const nb::object owned = nb::steal(key);
  if (!owned.is_valid()) throw nb::python_error();
  const nb::int_ number(count);
  if (PyDict_SetItem(counts.ptr(), owned.ptr(), number.ptr()) != 0) throw nb::python_error();
}

nb::object parse_counts(const nb::bytes& data) {
  nb::dict slots, names;
  const char* at = data.c_str();
  const char* const end = at + data.size();
  while (at != end) {
    CountPair pair;
    at = read_count_pair(at, end, &pair);
    if (at == nullptr) return nb::none();
    if (pair.name == nullptr) {
      put(slots, PyLong_FromLongLong(pair.slot), pair.count);
    } else {
      put(names, PyUnicode_FromStringAndSize(pair.name, static_cast<Py_ssize_t>(pair.name_bytes)),
          pair.count);
    }
  }
  return nb::make_tuple(slots, names);
}

}  // namespace

void bind_counts_text(nb::module_& m) {
  m.def("parse_counts", &parse_counts, "data"_a,
        nb::sig("def parse_counts(data: bytes) -> tuple[dict[int, int], dict[str, int]] | None"),
        "Counts by slot and by table of a ckpt.info that is written as it usually is; None if it is\n"
        "not, or malformed.");
}

}  // namespace monolith
