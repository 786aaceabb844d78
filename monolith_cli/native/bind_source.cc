// The part of the Python module that opens files.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "bind_bytes.h"
#include "source.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

Compression compression_named(const std::string& name) {
  if (name == "plain") return Compression::plain;
  if (name == "snappy") return Compression::snappy;
  throw nb::value_error("expected must be 'plain' or 'snappy'");
}

std::shared_ptr<Source> make_source(std::unique_ptr<Bytes> bytes, Compression expected,
                                    uint64_t max_record_bytes,
                                    const std::optional<nb::bytes>& block_map) {
  if (!block_map) return std::make_shared<Source>(std::move(bytes), expected, max_record_bytes);
  return std::make_shared<Source>(std::move(bytes), max_record_bytes, data_of(*block_map),
                                  block_map->size());
}

std::shared_ptr<Source> open_source(const nb::bytes& encoded_path, const std::string& expected,
                                    uint64_t max_record_bytes,
                                    const std::optional<nb::bytes>& block_map,
                                    bool seek_is_cheap) {
  const std::string path(encoded_path.c_str(), encoded_path.size());
  const Compression compression = compression_named(expected);
  Release release;
  return make_source(open_file(path, seek_is_cheap), compression, max_record_bytes, block_map);
}

std::shared_ptr<Source> open_over(nb::object source, const std::string& expected,
                                  uint64_t max_record_bytes,
                                  const std::optional<nb::bytes>& block_map, bool seek_is_cheap) {
  const Compression compression = compression_named(expected);
  std::unique_ptr<Bytes> bytes = open_object(std::move(source), seek_is_cheap);
  Release release;
  return make_source(std::move(bytes), compression, max_record_bytes, block_map);
}

// Objects often keep the File that reads them. A Reader has a reference to its File, and is none of
// the collector's: what it may still read is not garbage.
int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  return visit_object(nb::inst_ptr<Source>(self)->bytes(), visit, arg);
}

int clear(PyObject* self) {
  forget_object(nb::inst_ptr<Source>(self)->bytes());
  return 0;
}

PyType_Slot file_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                            {Py_tp_clear, reinterpret_cast<void*>(clear)},
                            {0, nullptr}};

uint64_t stream_bytes(const Source& source) {
  if (source.mapped()) return source.size();
  Release release;
  return source.size();
}

std::optional<nb::bytes> block_map(const Source& source) {
  if (source.compression() == Compression::plain) return std::nullopt;
  Buffer packed;
  {
    Release release;
    source.map().pack(source.max_block(), packed);
  }
  return to_bytes(packed);
}

}  // namespace

void bind_source(nb::module_& m) {
  nb::class_<Source>(
      m, "File", nb::type_slots(file_slots),
      "An open record file, as a stream of uncompressed bytes.\n\n"
      "A SNAPPY file's blocks must be mapped before it can be read from anywhere. `block_map` is what\n"
      "another File of the same file and `max_record_bytes` has as such, and saves that. Raises\n"
      "OSError; ChangedError if `block_map` is of a file of another size, ValueError if it is none.\n\n"
      "Where seeking is not cheap, the blocks are not mapped before somebody needs that: asks for\n"
      "`stream_bytes` or `block_map`, or has read the file to its end.")
      .def(nb::new_(&open_source), "path"_a, "expected"_a = "plain",
           "max_record_bytes"_a = uint64_t{64} << 20, "block_map"_a = nb::none(),
           "seek_is_cheap"_a = true)
      .def_static(
          "over", &open_over, "source"_a, "expected"_a = "plain",
          "max_record_bytes"_a = uint64_t{64} << 20, "block_map"_a = nb::none(),
          "seek_is_cheap"_a = false,
          nb::sig("def over(source: object, expected: str = 'plain', max_record_bytes: int = 67108864, "
                  "block_map: bytes | None = None, seek_is_cheap: bool = False) -> File"),
          "A file that an object reads.\n\n"
          "`source.size` is how many bytes it has. `source.read_into(offset, buffer)` fills a\n"
          "memoryview from an offset on and returns how many bytes it has read; fewer than asked\n"
          "means that the file got shorter, a ChangedError. It is called by whoever reads, several\n"
          "threads at a time, and by a thread that reads ahead. What it raises reaches the caller of\n"
          "the Reader. `source.version`, if there is one, and `size` must stay as they are for\n"
          "`check_unchanged()`, which calls `source.check_unchanged()` where there is that.\n\n"
          "The object lives as long as the File and its Readers, and until a read ahead is over.\n"
          "Reads are of 1 MiB at first, up to 8 MiB, and one is made ahead.")
      .def_prop_ro("compression", [](const Source& s) {
        return s.compression() == Compression::plain ? "plain" : "snappy";
      })
      .def_prop_ro("stored_bytes", &Source::stored_size)
      .def_prop_ro("stream_bytes", &stream_bytes)
      .def_prop_ro("block_map", &block_map,
                   "Where the blocks lie, a few bytes each; None of a plain file.")
      .def_prop_ro("mapped", &Source::mapped,
                   "Is it known where the blocks lie? Of a plain file there is nothing to know.")
      .def("check_unchanged", [](const Source& s) { s.bytes().check_unchanged(); });
}

}  // namespace monolith
