// Columns as data pages of Parquet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "bytes.h"

namespace monolith {

// What a page of Parquet holds.
enum class PageType : uint8_t { int32_delta, int64_delta, int64_plain, float_split };
enum class PageLevels : uint8_t {
  none,      // one value a row
  optional,  // one or none
  list,      // a list a row, which may be empty
  lists,     // a list a row, or none: rows without values have none
};

struct Page {
  Buffer stored;
  size_t bytes = 0;   // before it was compressed
  size_t values = 0;  // rows, or values in lists, counting rows without any
};

// Appends a column as data pages of version 1, without their headers. `lengths` is null for one value
// a row. No page has more than about `page_bytes` before it is compressed, but one row is never cut.
void append_pages(const uint8_t* values, const uint32_t* lengths, size_t rows, PageType type,
                  PageLevels levels, size_t page_bytes, bool compress, std::deque<Page>& pages);

}  // namespace monolith
