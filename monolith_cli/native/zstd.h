// Writes Zstandard frames (RFC 8878), for columns of numbers.
//
// Only bytes are coded, by their frequency in blocks of up to 128 KiB; nothing looks for strings that
// come again, which columns whose bytes are split by significance do not have. Blocks that this does
// not make smaller are stored, so that mantissas cost little more than a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bytes.h"

namespace monolith {

// Appends one frame that holds n bytes, fewer than 4 GiB. Blocks never span the `cuts`, ascending
// offsets where other kinds of bytes begin.
void zstd_frame(const uint8_t* data, size_t n, const std::vector<size_t>& cuts, Buffer& out);

}  // namespace monolith
