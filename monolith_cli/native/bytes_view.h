// Python's bytes, or a view of them, without a copy.
#pragma once

#include <nanobind/nanobind.h>

#include "wire.h"

namespace monolith {

// Keeps the object's buffer while it lives. What it shows must not change meanwhile.
class BytesView {
 public:
  explicit BytesView(nanobind::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nanobind::python_error();
  }
  ~BytesView() { PyBuffer_Release(&view_); }
  BytesView(const BytesView&) = delete;
  BytesView& operator=(const BytesView&) = delete;

  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  size_t size() const { return static_cast<size_t>(view_.len); }
  Input input() const { return {data(), data() + size()}; }

 private:
  Py_buffer view_;
};

}  // namespace monolith
