// The part of the Python module that opens files.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
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
      m, "File",
      "An open record file, as a stream of uncompressed bytes.\n\n"
      "A SNAPPY file's blocks must be mapped before it can be read from anywhere. `block_map` is what\n"
      "another File of the same file and `max_record_bytes` has as such, and saves that. Raises\n"
      "OSError; ChangedError if `block_map` is of a file of another size, ValueError if it is none.\n\n"
      "Where seeking is not cheap, the blocks are not mapped before somebody needs that: asks for\n"
      "`stream_bytes` or `block_map`, or has read the file to its end.")
      .def(nb::new_(&open_source), "path"_a, "expected"_a = "plain",
           "max_record_bytes"_a = uint64_t{64} << 20, "block_map"_a = nb::none(),
           "seek_is_cheap"_a = true)
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
