// The part of the Python module that reads the variants of tensor bundles.
#pragma once

#include <nanobind/nanobind.h>

namespace monolith {

void bind_variants(nanobind::module_& m);

}  // namespace monolith
