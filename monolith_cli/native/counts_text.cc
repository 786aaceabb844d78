#include "counts_text.h"

#include <cstring>

namespace monolith {
namespace {

template <uint64_t kBytes>
bool take(const char** at, const char* end, const char (&text)[kBytes]) {
  constexpr uint64_t kLength = kBytes - 1;  // without the zero
  if (static_cast<uint64_t>(end - *at) < kLength || std::memcmp(*at, text, kLength) != 0) {
    return false;
  }
  *at += kLength;
  return true;
}

// At most 18 digits, which fit; no other digit follows.
bool take_number(const char** at, const char* end, int64_t* number) {
  const char* start = *at;
  int64_t value = 0;
  const char* p = start;
  for (; p != end && *p >= '0' && *p <= '9'; ++p) {
    if (p - start == 18) return false;
    value = 10 * value + (*p - '0');
  }
  if (p == start || (*start == '0' && p - start > 1)) return false;
  *at = p;
  *number = value;
  return true;
}

// What needs no escape in quotes.
bool is_plain(char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; }

}  // namespace

const char* read_count_pair(const char* at, const char* end, CountPair* pair) {
  if (take(&at, end, "slot_counts {\n  key: ")) {
    pair->name = nullptr;
    if (!take_number(&at, end, &pair->slot) || pair->slot > INT32_MAX) return nullptr;
  } else if (take(&at, end, "feature_counts {\n  key: \"")) {
    pair->name = at;
    while (at != end && is_plain(*at)) ++at;
    pair->name_bytes = static_cast<uint64_t>(at - pair->name);
    if (!take(&at, end, "\"")) return nullptr;
  } else {
    return nullptr;
  }
  if (!take(&at, end, "\n  value: ") || !take_number(&at, end, &pair->count)) return nullptr;
  return take(&at, end, "\n}\n") ? at : nullptr;
}

}  // namespace monolith
