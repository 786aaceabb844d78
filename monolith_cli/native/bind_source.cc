// The part of the Python module that opens files.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "source.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

std::shared_ptr<Source> open_source(const nb::bytes& encoded_path, const std::string& expected,
                                    uint64_t max_record_bytes) {
  const std::string path(encoded_path.c_str(), encoded_path.size());
  if (expected != "plain" && expected != "snappy") {
    throw nb::value_error("expected must be 'plain' or 'snappy'");
  }
  Release release;
  return std::make_shared<Source>(open_file(path),
                                  expected == "plain" ? Compression::plain : Compression::snappy,
                                  max_record_bytes);
}

}  // namespace

void bind_source(nb::module_& m) {
  nb::class_<Source>(m, "File", "An open record file, as a stream of uncompressed bytes.")
      .def(nb::new_(&open_source), "path"_a, "expected"_a = "plain",
           "max_record_bytes"_a = uint64_t{64} << 20)
      .def_prop_ro("compression", [](const Source& s) {
        return s.compression() == Compression::plain ? "plain" : "snappy";
      })
      .def_prop_ro("stored_bytes", &Source::stored_size)
      .def_prop_ro("stream_bytes", &Source::size)
      .def("check_unchanged", [](const Source& s) { s.bytes().check_unchanged(); });
}

}  // namespace monolith
