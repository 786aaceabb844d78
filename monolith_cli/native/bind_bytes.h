// Stored bytes that a Python object reads.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "stored.h"

namespace monolith {

// The object has `size` and `read_into(offset, buffer)`, and may have `version` and
// `check_unchanged()`. Needs the GIL, as does what follows; reading takes it when it needs it.
std::unique_ptr<Bytes> open_object(nanobind::object object, bool seek_is_cheap);

// For the garbage collector: shows it the object behind the bytes if there is one, and lets go of it.
int visit_object(const Bytes& bytes, visitproc visit, void* arg);
void forget_object(const Bytes& bytes);

}  // namespace monolith
