#include "bind_bytes.h"

#include <algorithm>
#include <cstring>
#include <exception>

namespace nb = nanobind;

namespace monolith {
namespace {

// Has the object read into memory that is Python's own, so that an object that keeps the buffer
// does no harm.
nb::object read_object(nb::handle object, uint64_t offset, size_t n) {
  nb::object bytes = nb::steal(PyByteArray_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(n)));
  if (!bytes.is_valid()) throw nb::python_error();
  nb::object view = nb::steal(PyMemoryView_FromObject(bytes.ptr()));
  if (!view.is_valid()) throw nb::python_error();
  const nb::object result = object.attr("read_into")(offset, view);
  const Py_ssize_t got = PyLong_AsSsize_t(result.ptr());
  if (got == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  if (got < 0 || static_cast<size_t>(got) > n) {
    throw nb::value_error("read_into() must return how many bytes it has read");
  }
  if (static_cast<size_t>(got) < n) throw ChangedError(offset + static_cast<uint64_t>(got));
  if (PyByteArray_Size(bytes.ptr()) != static_cast<Py_ssize_t>(n)) {
    throw nb::value_error("read_into() has changed the size of its buffer");
  }
  return bytes;
}

void copy_out(const nb::object& bytes, uint8_t* to, size_t n) {
  const char* from = PyByteArray_AsString(bytes.ptr());
  nb::gil_scoped_release release;
  std::memcpy(to, from, n);
}

// A read in a thread of Python's, for which the interpreter waits before it ends. What it shares
// with whoever waits is only looked at with the GIL.
class ObjectRead : public BegunRead {
 public:
  ObjectRead(nb::object object, uint64_t offset, size_t n) : found_(std::make_shared<Found>()), n_(n) {
    nb::object work = nb::cpp_function([object, offset, n, found = found_] {
      try {
        found->bytes = read_object(object, offset, n);
      } catch (...) {
        found->error = std::current_exception();
      }
    });
    thread_ = nb::module_::import_("threading").attr("Thread")(nb::arg("target") = work);
    thread_.attr("start")();
  }

  ~ObjectRead() override {
    const nb::gil_scoped_acquire gil;
    thread_.reset();
    found_.reset();
  }

  void take(uint8_t* to) override {
    const nb::gil_scoped_acquire gil;
    thread_.attr("join")();
    if (found_->error) std::rethrow_exception(found_->error);
    copy_out(found_->bytes, to, n_);
  }

 private:
  struct Found {
    nb::object bytes;
    std::exception_ptr error;
  };

  std::shared_ptr<Found> found_;
  size_t n_;
  nb::object thread_;
};

class ObjectBytes : public Bytes {
 public:
  ObjectBytes(nb::object object, bool seek_is_cheap)
      : object_(std::move(object)),
        size_(nb::cast<uint64_t>(object_.attr("size"))),
        version_(version()),
        seek_is_cheap_(seek_is_cheap) {}

  ~ObjectBytes() override {
    const nb::gil_scoped_acquire gil;
    version_.reset();
    object_.reset();
  }

  uint64_t size() const override { return size_; }
  bool seek_is_cheap() const override { return seek_is_cheap_; }

  // Calling Python takes its time, and what lies behind often more: one question for much.
  ReadSizes sizes() const override { return {1 << 20, 8 << 20, 64 << 10, 1}; }

  void read(uint64_t offset, uint8_t* to, size_t n) const override {
    const nb::gil_scoped_acquire gil;
    copy_out(read_object(object(), offset, n), to, n);
  }

  std::unique_ptr<BegunRead> begin(uint64_t offset, size_t n) const override {
    const nb::gil_scoped_acquire gil;
    try {
      return std::make_unique<ObjectRead>(object(), offset, n);
    } catch (const nb::python_error& error) {
      if (!error.matches(PyExc_RuntimeError)) throw;
      return nullptr;  // no thread can be started: so many are there, or the interpreter ends
    }
  }

  void check_unchanged() const override {
    const nb::gil_scoped_acquire gil;
    const nb::object now = object();
    if (nb::hasattr(now, "check_unchanged")) now.attr("check_unchanged")();
    const uint64_t size = nb::cast<uint64_t>(now.attr("size"));
    if (size != size_) throw ChangedError(std::min(size, size_));
    if (!version_.equal(version())) throw ChangedError(0);
  }

  nb::object object() const {
    if (!object_.is_valid()) throw nb::value_error("the object is gone");
    return object_;
  }
  int visit(visitproc visit, void* arg) const {
    Py_VISIT(object_.ptr());
    Py_VISIT(version_.ptr());
    return 0;
  }
  void forget() const {
    version_.reset();
    nb::object last = std::move(object_);  // may run code that comes back here
  }

 private:
  nb::object version() const { return nb::getattr(object_, "version", nb::none()); }

  mutable nb::object object_;
  uint64_t size_;
  mutable nb::object version_;
  bool seek_is_cheap_;
};

const ObjectBytes* behind(const Bytes& bytes) { return dynamic_cast<const ObjectBytes*>(&bytes); }

}  // namespace

std::unique_ptr<Bytes> open_object(nb::object object, bool seek_is_cheap) {
  return std::make_unique<ObjectBytes>(std::move(object), seek_is_cheap);
}

int visit_object(const Bytes& bytes, visitproc visit, void* arg) {
  const ObjectBytes* object = behind(bytes);
  return object == nullptr ? 0 : object->visit(visit, arg);
}

void forget_object(const Bytes& bytes) {
  if (const ObjectBytes* object = behind(bytes)) object->forget();
}

}  // namespace monolith
