#include "flips.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "crc32c.h"
#include "number.h"
#include "wire.h"

namespace monolith {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;

inline uint32_t unmask_crc(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

// What undoes the step of a checksum over a zero byte, by the byte that is on top behind that step.
constexpr std::array<uint32_t, 256> kBefore = [] {
  std::array<uint32_t, 256> before{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t c = b;
    for (int i = 0; i < 8; ++i) c = (c >> 1) ^ ((c & 1) ? kPolynomial : 0);
    before[c >> 24] = (c << 8) | b;
  }
  return before;
}();

inline bool is_one_bit(uint32_t v) { return v != 0 && (v & (v - 1)) == 0; }

inline uint64_t number_of(uint32_t bit) { return static_cast<uint64_t>(__builtin_ctz(bit)); }

// ---- places -------------------------------------------------------------------------------------

std::string text_of(int64_t v) { return std::to_string(v); }
std::string text_of(uint64_t v) { return std::to_string(v); }

std::string text_of(float v) {
  if (std::isnan(v)) return std::signbit(v) ? "-NaN" : "NaN";
  if (std::isinf(v)) return v > 0 ? "Infinity" : "-Infinity";
  char text[kFloatBytes];
  return std::string(text, write_float(text, v));
}

std::string text_of(double v) {
  char text[32];
  return std::string(text, static_cast<size_t>(std::snprintf(text, sizeof text, "%.17g", v)));
}

std::string text_of(uint8_t v) {
  char text[8];
  return std::string(text, static_cast<size_t>(std::snprintf(text, sizeof text, "0x%02x", v)));
}

std::string element(const std::string& list, uint64_t index) {
  return list + '[' + std::to_string(index) + ']';
}

// Finds what a byte belongs to, among the values that a walk over the mended message comes by.
class Finder {
 public:
  Finder(const uint8_t* now, const uint8_t* mended, size_t n, size_t at)
      : now_(now), mended_(mended), n_(n), at_(at) {}

  // A value of a fixed size, at `p` in the mended message.
  template <class T>
  void fixed(const std::string& field, const uint8_t* p) {
    const size_t start = start_of(p);
    if (!holds(field, start, start + sizeof(T))) return;
    found_ = {field, text_of(load<T>(now_ + start)), text_of(load<T>(mended_ + start))};
  }

  template <class T>
  void varint(const std::string& field, const uint8_t* p, const uint8_t* end) {
    const size_t start = start_of(p);
    if (!holds(field, start, start_of(end))) return;
    Input was{now_ + start, now_ + n_}, is{p, end};
    uint64_t value = 0;
    const std::string now = read_varint(was, value) ? text_of(static_cast<T>(value)) : "no number";
    read_varint(is, value);
    found_ = {field, now, text_of(static_cast<T>(value))};
  }

  void bytes(const std::string& field, const Input& content) {
    const size_t start = start_of(content.p), n = content.left();
    if (!holds(field, start, start + n)) return;
    found_ = {field, std::string(reinterpret_cast<const char*>(now_ + start), n),
              std::string(reinterpret_cast<const char*>(content.p), n)};
  }

  void floats(const std::string& list, uint64_t first, const Floats& f) {
    const size_t start = start_of(f.p);
    if (f.count == 0 || found_ || at_ >= start + (f.count - 1) * f.stride + 4) return;
    uint64_t i = at_ < start ? 0 : (at_ - start) / f.stride;
    if (at_ >= start && (at_ - start) % f.stride >= 4) ++i;  // the tag of the one behind
    fixed<float>(element(list, first + i), f.p + i * f.stride);
  }

  std::optional<Place> found() const {
    if (found_) return found_;
    const char* const what = "a tag, a length or an unknown field";
    return Place{before_.empty() ? what : std::string(what) + " before " + before_,
                 text_of(now_[at_]), text_of(mended_[at_])};
  }

 private:
  size_t start_of(const uint8_t* p) const { return static_cast<size_t>(p - mended_); }

  bool holds(const std::string& field, size_t start, size_t end) {
    if (at_ < start && before_.empty()) before_ = field;
    return !found_ && start <= at_ && at_ < end;
  }

  const uint8_t* now_;
  const uint8_t* mended_;
  size_t n_;
  size_t at_;
  std::string before_;  // the first value behind the byte
  std::optional<Place> found_;
};

struct EntryFinder : Visitor {
  explicit EntryFinder(Finder& finder) : finder(finder) {}
  Finder& finder;
  uint64_t dim = 0;
  int64_t optimizers = 0;
  uint32_t type = 0;
  std::array<uint64_t, 5> counts{};

  std::string state(uint32_t field) const {
    return element("opt", static_cast<uint64_t>(optimizers - 1)) + '.' + kOptimizers[type].name +
           '.' + kOptimizers[type].fields[field - 1].name;
  }
  void id(int64_t, const uint8_t* at) { finder.fixed<int64_t>("fid", at); }
  void timestamp(int64_t, const uint8_t* at, const uint8_t* end) {
    finder.varint<int64_t>("last_update_ts_sec", at, end);
  }
  void embedding(const Floats& f) {
    finder.floats("num", dim, f);
    dim += f.count;
  }
  void optimizer() {
    ++optimizers;
    optimizer_type(0);
  }
  void optimizer_type(uint32_t next) {
    if (next != type) counts.fill(0);
    type = next;
  }
  void optimizer_floats(uint32_t field, const Floats& f) {
    finder.floats(state(field), counts[field - 1], f);
    counts[field - 1] += f.count;
  }
  void optimizer_scalar(uint32_t field, float, const uint8_t* at) {
    finder.fixed<float>(state(field), at);
  }
  void optimizer_integer(uint32_t field, int64_t, const uint8_t* at, const uint8_t* end) {
    finder.varint<int64_t>(state(field), at, end);
  }
};

struct FlatField {
  const char* name;
  bool repeated;
};

struct FlatMessage {
  FlatField fields[5];  // field number - 1; a null name ends them
};

constexpr FlatMessage kContents = {{{"table_name", false}, {"num_entries", false}}};
constexpr FlatMessage kFilter = {{{"offset", false}, {"data", true}}};
constexpr FlatMessage kFilterMeta = {{{"failure_count", false},
                                      {"total_size", false},
                                      {"num_elements", false},
                                      {"fill_rate", false},
                                      {"sliding_hash_filter_meta", false}}};

bool walk(Input in, const FlatMessage& message, Finder& finder) {
  uint64_t counts[5] = {};
  while (in.p < in.end) {
    uint32_t tag;
    if (!read_tag(in, tag)) return false;
    const uint32_t number = tag >> 3;
    const FlatField* field = number <= 5 && message.fields[number - 1].name != nullptr
                                 ? &message.fields[number - 1]
                                 : nullptr;
    const uint8_t* const start = in.p;
    if (!skip_field(in, tag)) return false;
    if (field == nullptr) continue;
    auto name = [&] {
      return field->repeated ? element(field->name, counts[number - 1]++) : std::string(field->name);
    };
    switch (static_cast<WireType>(tag & 7)) {
      case WireType::varint:
        finder.varint<uint64_t>(name(), start, in.p);
        break;
      case WireType::fixed64:
        finder.fixed<double>(name(), start);
        break;
      case WireType::bytes: {
        Input rest{start, in.end}, content{nullptr, nullptr};
        read_bytes(rest, content);
        if (!field->repeated) {
          finder.bytes(name(), content);
          break;
        }
        while (content.p < content.end) {
          const uint8_t* const value = content.p;
          uint64_t ignored;
          if (!read_varint(content, ignored)) return false;
          finder.varint<uint64_t>(name(), value, content.p);
        }
        break;
      }
      default:
        break;
    }
  }
  return true;
}

}  // namespace

Flips flips_that_mend(const uint8_t* p, size_t n) {
  Flips flips;
  const uint32_t stored = load<uint32_t>(p + n);
  const uint32_t crc = crc32c(p, n);
  // A flipped bit changes the checksum by what follows from its distance to the end alone. Going back
  // from there, zero byte by zero byte, that becomes the bit itself when its byte is reached.
  uint32_t syndrome = crc ^ unmask_crc(stored);
  if (syndrome == 0) return flips;
  for (size_t i = n; i-- > 0;) {
    syndrome = (syndrome << 8) ^ kBefore[syndrome >> 24];
    if (syndrome < 256 && is_one_bit(syndrome)) {
      flips.bits[flips.count++] = 8 * static_cast<uint64_t>(i) + number_of(syndrome);
      break;  // the next such bit is gigabytes away
    }
  }
  const uint32_t differs = mask_crc(crc) ^ stored;
  if (is_one_bit(differs)) flips.bits[flips.count++] = 8 * static_cast<uint64_t>(n) + number_of(differs);
  return flips;
}

std::optional<Place> place_of_bit(const uint8_t* p, size_t n, uint64_t bit, Message message) {
  const size_t at = static_cast<size_t>(bit / 8);
  if (at >= n) return std::nullopt;
  std::vector<uint8_t> mended(p, p + n);
  mended[at] ^= static_cast<uint8_t>(1u << (bit % 8));
  Finder finder(p, mended.data(), n, at);
  const Input in{mended.data(), mended.data() + n};
  bool good = false;
  switch (message) {
    case Message::entry: {
      EntryFinder visitor(finder);
      good = parse_entry(in.p, n, visitor);
      break;
    }
    case Message::contents:
      good = walk(in, kContents, finder);
      break;
    case Message::filter:
      good = walk(in, kFilter, finder);
      break;
    case Message::filter_meta:
      good = walk(in, kFilterMeta, finder);
      break;
  }
  return good ? finder.found() : std::nullopt;
}

}  // namespace monolith
