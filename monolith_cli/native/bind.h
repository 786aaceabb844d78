// What the files of the Python module share. Each has a topic, and adds it to the module.
#pragma once

#include <nanobind/nanobind.h>

#include "bytes.h"
#include "entry.h"

namespace monolith {

using Release = nanobind::gil_scoped_release;

inline const uint8_t* data_of(const nanobind::bytes& b) {
  return reinterpret_cast<const uint8_t*>(b.c_str());
}
inline nanobind::bytes to_bytes(const Buffer& b) { return nanobind::bytes(b.data(), b.size()); }

// Raises ValueError for anything but 1 and 2.
FidVersion version_of(int v);

void bind_batch(nanobind::module_& m, nanobind::class_<Reader>& reader);
void bind_counts_text(nanobind::module_& m);
void bind_crc32c(nanobind::module_& m);
void bind_encode(nanobind::module_& m);
void bind_source(nanobind::module_& m);
void bind_entry(nanobind::module_& m);
void bind_flips(nanobind::module_& m);
void bind_reader(nanobind::module_& m);
void bind_delta(nanobind::module_& m, nanobind::class_<Reader>& reader);
void bind_diff(nanobind::module_& m, nanobind::class_<Reader>& reader);
void bind_output(nanobind::class_<Reader>& reader);
void bind_rewrite(nanobind::module_& m, nanobind::class_<Reader>& reader);
void bind_statistics(nanobind::module_& m, nanobind::class_<Reader>& reader);
void bind_variant(nanobind::module_& m);

}  // namespace monolith
