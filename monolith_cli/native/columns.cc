#include "columns.h"

namespace monolith {
namespace {

void append_run(Buffer& values, const Floats& run) {
  uint8_t* to = values.tail(4 * run.count);
  if (run.stride == 4) {
    std::memcpy(to, run.p, 4 * run.count);
  } else {
    for (size_t i = 0; i < run.count; ++i) store(to + 4 * i, load<uint32_t>(run.p + i * run.stride));
  }
  values.advance(4 * run.count);
}

// Entries that have not had a column until now have no values in it.
template <class Column>
Column& column_at(std::map<Columns::Key, Column>& columns, const Columns::Key& key, size_t row) {
  Column& column = columns[key];
  column.lengths.resize(row);
  return column;
}

}  // namespace

void FloatColumn::append(const std::vector<Floats>& runs) {
  uint32_t n = 0;
  for (const Floats& run : runs) {
    append_run(values, run);
    n += static_cast<uint32_t>(run.count);
  }
  lengths.push_back(n);
}

void Columns::append(const Entry& entry, FidVersion version, bool with_embedding,
                     bool with_optimizers) {
  const size_t row = fids.size();
  fids.push_back(entry.fid);
  slots.push_back(slot_of(entry.fid, version));
  times.push_back(entry.time);
  if (with_embedding) embedding.append(entry.embeddings);
  if (!with_optimizers) return;
  uint32_t index = 0;
  for (const OptimizerState& state : entry) {
    for (uint32_t f = 0; state.type != 0 && f < optimizer_fields(state.type); ++f) {
      const Key key{index, state.type, f + 1};
      switch (kOptimizers[state.type].fields[f].kind) {
        case FieldKind::floats:
          column_at(floats, key, row).append(state.floats[f]);
          break;
        case FieldKind::scalar: {
          FloatColumn& column = column_at(floats, key, row);
          if (state.set[f]) column.values.append(&state.scalar[f], 4);
          column.lengths.push_back(state.set[f]);
          break;
        }
        case FieldKind::integer: {
          IntegerColumn& column = column_at(integers, key, row);
          if (state.set[f]) column.values.push_back(state.integer[f]);
          column.lengths.push_back(state.set[f]);
          break;
        }
      }
    }
    ++index;
  }
}

}  // namespace monolith
