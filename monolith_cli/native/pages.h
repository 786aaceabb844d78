// Columns as data pages of Parquet.
#pragma once

#include <cstddef>
#include <cstdint>

namespace monolith {

// What a page of Parquet holds.
enum class PageType : uint8_t { int32_delta, int64_delta, int64_plain, float_split };
enum class PageLevels : uint8_t {
  none,      // one value a row
  optional,  // one or none
  list,      // a list a row, which may be empty
  lists,     // a list a row, or none: rows without values have none
};

// A column, page by page: data pages of version 1, without their headers. `lengths` is null for one
// value a row. No page has more than about `page_bytes` before it is compressed, but a row is never cut.
class Pages {
 public:
  Pages(const uint8_t* values, const uint32_t* lengths, size_t rows, PageType type,
        PageLevels levels, size_t page_bytes, bool compress)
      : values_(values), lengths_(lengths), rows_(rows), type_(type), levels_(levels),
        page_bytes_(page_bytes), compress_(compress) {}

  // Makes the next page, in memory that the thread's next page overwrites; false if there is none.
  bool next();
  const uint8_t* data() const { return data_; }
  size_t stored_bytes() const { return stored_bytes_; }
  size_t bytes() const { return bytes_; }         // before it was compressed
  size_t value_count() const { return count_; }   // rows, or values in lists and rows without any

 private:
  const uint8_t* values_;
  const uint32_t* lengths_;
  size_t rows_;
  PageType type_;
  PageLevels levels_;
  size_t page_bytes_;
  bool compress_;
  const uint8_t* data_ = nullptr;
  size_t stored_bytes_ = 0, bytes_ = 0, count_ = 0;
};

}  // namespace monolith
