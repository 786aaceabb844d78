// The Python module. Everything that reads or computes runs without the GIL.
#include <errno.h>

#include "bind.h"
#include "source.h"

namespace nb = nanobind;

namespace monolith {
namespace {

PyObject* changed_error = nullptr;

void translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const IoError& e) {
    errno = e.code;
    PyErr_SetFromErrno(PyExc_OSError);
  } catch (const ChangedError& e) {
    nb::object offset = nb::int_(e.offset);
    PyErr_SetObject(changed_error, offset.ptr());
  } catch (const NoBlockMap& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  }
}

}  // namespace
}  // namespace monolith

NB_MODULE(_native, m) {
  using namespace monolith;
  m.doc() = "The scanning core: framing, checksums, SNAPPY blocks, entries.";
  changed_error = PyErr_NewException("monolith_cli._native.ChangedError", PyExc_RuntimeError, nullptr);
  m.attr("ChangedError") = nb::borrow(changed_error);
  nb::register_exception_translator(translate);
  bind_counts_text(m);
  bind_crc32c(m);
  bind_encode(m);
  bind_source(m);
  bind_entry(m);
  bind_flips(m);
  bind_reader(m);
  bind_variant(m);
}
