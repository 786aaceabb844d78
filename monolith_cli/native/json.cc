#include "json.h"

#include <charconv>
#include <cmath>

#include "number.h"

namespace monolith {
namespace {

constexpr size_t kIntegerBytes = 20;  // what the longest int64 takes

class Writer {
 public:
  Writer(Buffer& out, uint64_t& non_finite, bool name_non_finite)
      : out_(out), non_finite_(non_finite), name_non_finite_(name_non_finite) {}

  template <size_t N>
  void text(const char (&s)[N]) {
    out_.append(s, N - 1);
  }
  void text(const char* s) { out_.append(s, std::strlen(s)); }

  void number(int64_t v) {
    char* at = reinterpret_cast<char*>(out_.tail(kIntegerBytes));
    out_.advance(static_cast<size_t>(std::to_chars(at, at + kIntegerBytes, v).ptr - at));
  }

  void scalar(float v) {
    char* at = reinterpret_cast<char*>(out_.tail(kFloatBytes));
    out_.advance(static_cast<size_t>(put(at, v) - at));
  }

  void array(const std::vector<Floats>& runs) {
    out_.push('[');
    bool first = true;
    for (const Floats& run : runs) {
      // One reservation a run: no check for room at each value.
      char* at = reinterpret_cast<char*>(out_.tail(run.count * kFloatBytes));
      char* const start = at;
      for (size_t i = 0; i < run.count; ++i) {
        *at = ',';
        at += !first;
        first = false;
        at = put(at, run[i]);
      }
      out_.advance(static_cast<size_t>(at - start));
    }
    out_.push(']');
  }

 private:
  char* put(char* at, float v) {
    if (std::isfinite(v)) return write_float(at, v);
    ++non_finite_;
    const char* const word = !name_non_finite_ ? "null"
                             : std::isnan(v)   ? "NaN"
                             : v > 0           ? "Infinity"
                                               : "-Infinity";
    const size_t n = std::strlen(word);
    std::memcpy(at, word, n);
    return at + n;
  }

  Buffer& out_;
  uint64_t& non_finite_;
  const bool name_non_finite_;
};

void write_optimizer(Writer& w, const OptimizerState& state) {
  if (state.type == 0) {
    w.text("{}");
    return;
  }
  const OptimizerType& type = kOptimizers[state.type];
  w.text("{\"");
  w.text(type.name);
  w.text("\":{");
  bool first = true;
  for (size_t i = 0; i < optimizer_fields(state.type); ++i) {
    const OptimizerField& field = type.fields[i];
    if (field.kind != FieldKind::floats && !state.set[i]) continue;
    if (!first) w.text(",");
    first = false;
    w.text("\"");
    w.text(field.name);
    w.text("\":");
    switch (field.kind) {
      case FieldKind::floats: w.array(state.floats[i]); break;
      case FieldKind::scalar: w.scalar(state.scalar[i]); break;
      case FieldKind::integer: w.number(state.integer[i]); break;
    }
  }
  w.text("}}");
}

}  // namespace

void append_json(const Entry& entry, const JsonOptions& options, Buffer& out,
                 uint64_t& non_finite) {
  Writer w(out, non_finite, options.name_non_finite);
  char separator = '{';
  auto key = [&](JsonOptions::Column column, auto&& text) {
    if ((options.columns & column) == 0) return false;
    out.push(static_cast<uint8_t>(separator));
    separator = ',';
    w.text(text);
    return true;
  };
  if (key(JsonOptions::fid, "\"fid\":")) {
    if (!options.number_ids) w.text("\"");
    w.number(entry.fid);
    if (!options.number_ids) w.text("\"");
  }
  if (key(JsonOptions::slot, "\"slot\":")) w.number(slot_of(entry.fid, options.version));
  if (key(JsonOptions::table, "\"table\":")) {
    out.append(options.table_name.data(), options.table_name.size());
  }
  if (key(JsonOptions::embedding, "\"embedding\":")) w.array(entry.embeddings);
  if (key(JsonOptions::opt, "\"opt\":")) {
    w.text("[");
    for (const OptimizerState& state : entry) {
      if (&state != entry.begin()) w.text(",");
      write_optimizer(w, state);
    }
    w.text("]");
  }
  if (key(JsonOptions::time, "\"last_update_ts_sec\":")) w.number(entry.time);
  if (separator == '{') out.push('{');
  w.text("}\n");
}

}  // namespace monolith
