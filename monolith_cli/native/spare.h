// Large buffers for the next one who needs such.
//
// What one thread allocates and another frees goes back to the system, page by page; to get as many
// new pages takes longer than to fill them.
#pragma once

#include <memory>

#include "bytes.h"

namespace monolith {

// One that is empty, and may have room already.
std::unique_ptr<Buffer> take_spare();

// Keeps a few large ones, and frees the others.
void give_spare(std::unique_ptr<Buffer> buffer);

}  // namespace monolith
