// Shortest decimal form of float32.
#pragma once

#include <cstdint>

namespace monolith {

constexpr int kFloatBytes = 32;  // room that write_float() needs; it may scribble on all of it

// Writes a finite float as the fewest digits that read back as the same float32, in a form that
// JSON takes. Returns the end of what was written.
char* write_float(char* to, float value);

}  // namespace monolith
