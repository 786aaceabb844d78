#include "statistics.h"

#include <algorithm>
#include <cmath>

namespace monolith {

// ---- where values lie ---------------------------------------------------------------------------

void ValuePlaces::begin_again(const uint8_t* data) {
  std::vector<Run> kept = std::move(runs_);  // for its allocation
  kept.clear();
  *this = ValuePlaces(data);
  runs_ = std::move(kept);
}

void ValuePlaces::end() {
  auto earlier = [](const Run& a, const Run& b) { return a.key < b.key; };
  if (!std::is_sorted(runs_.begin(), runs_.end(), earlier)) {
    std::stable_sort(runs_.begin(), runs_.end(), earlier);
  }
}

int64_t ValuePlaces::varint(const uint8_t* p, const uint8_t* end) {
  const size_t n = static_cast<size_t>(end - p);
  if (n == 0) return 0;
  uint64_t v = load<uint64_t>(p) & 0x7f7f7f7f7f7f7f7fu;
  if (n < 8) v &= (uint64_t{1} << (8 * n)) - 1;
  // Seven bits of each byte, then fourteen, then twenty-eight.
  v = (v & 0x007f007f007f007fu) | (v & 0x7f007f007f007f00u) >> 1;
  v = (v & 0x00003fff00003fffu) | (v & 0x3fff00003fff0000u) >> 2;
  v = (v & 0x000000000fffffffu) | (v & 0x0fffffff00000000u) >> 4;
  for (size_t i = 8; i < n && 7 * i < 64; ++i) v |= static_cast<uint64_t>(p[i] & 0x7f) << (7 * i);
  return static_cast<int64_t>(v);
}

void ValuePlaces::timestamp(int64_t, const uint8_t* at, const uint8_t* end) {
  time_at_ = static_cast<size_t>(at - data_);
  time_end_ = static_cast<size_t>(end - data_);
}

void ValuePlaces::add(uint32_t key, const Floats& f) {
  if (f.count == 0) return;
  runs_.push_back({key, RunKernels::how(f.stride == 4, key == FieldKey::kEmbedding),
                   static_cast<size_t>(f.p - data_), f.count, 0});
}

void ValuePlaces::embedding(const Floats& f) {
  dim_ += f.count;
  add(FieldKey::kEmbedding, f);
}

void ValuePlaces::optimizer() {
  ++optimizers_;
  state_at_ = runs_.size();
  type_ = 0;
  single_at_.fill(kNone);
}

// Another type replaces what there was.
void ValuePlaces::optimizer_type(uint32_t type) {
  if (type == type_) return;
  type_ = type;
  runs_.resize(state_at_);
  single_at_.fill(kNone);
}

void ValuePlaces::optimizer_floats(uint32_t field, const Floats& f) {
  add(FieldKey::of(optimizers_ - 1, type_, field), f);
}

// The run of a field that is no list: the last value wins.
ValuePlaces::Run& ValuePlaces::the_one(uint32_t field) {
  size_t& at = single_at_[field - 1];
  if (at == kNone) {
    at = runs_.size();
    const uint32_t key = FieldKey::of(optimizers_ - 1, type_, field);
    runs_.push_back({key, RunKernels::how(true, false), 0, 1, 0});
  }
  return runs_[at];
}

void ValuePlaces::optimizer_scalar(uint32_t field, float, const uint8_t* at) {
  the_one(field).at = static_cast<size_t>(at - data_);
}

void ValuePlaces::optimizer_integer(uint32_t field, int64_t, const uint8_t* at,
                                    const uint8_t* end) {
  Run& run = the_one(field);
  run.at = static_cast<size_t>(at - data_);
  run.end = static_cast<size_t>(end - data_);
}

const ValuePlaces* PlacesReader::parse(const Frame& frame) {
  parsed_.begin_again(frame.data);
  if (!parse_entry(frame.data, static_cast<size_t>(frame.length), parsed_)) return nullptr;
  parsed_.end();
  return &parsed_;
}

// ---- entries ------------------------------------------------------------------------------------

struct Statistics::Field {
  explicit Field(uint32_t key) : key(key) {}

  uint32_t key;
  bool begun = false;  // the shift is known
  RunSums sums;
  uint64_t values = 0, nan = 0, plus_inf = 0, minus_inf = 0, huge = 0, rows = 0, zero_rows = 0;
  int64_t least = std::numeric_limits<int64_t>::max();  // of integers
  int64_t most = std::numeric_limits<int64_t>::min();

  void begin(double value) {
    if (begun) return;
    begun = true;
    sums.shift = value;
  }
  // With the first of some floats that is finite.
  void begin(const uint8_t* p, size_t count, size_t stride) {
    for (size_t i = 0; i < count && !begun; ++i, p += stride) {
      if (size_bits(load<float>(p)) < kInfinityBits) begin(load<float>(p));
    }
  }
  void add_one(double value, size_t lane) {
    const double from = value - sums.shift;
    const double squared = from * from;
    sums.sum[lane] += from;
    sums.square[lane] += squared;
  }
  FieldSummary summary() const;
};

struct Statistics::Group {
  GroupSummary found;         // but for what follows
  std::vector<Field> fields;  // by key
  NearCounts<512, 256> norms;
  NearCounts<2048, 1280> hours;

  Field& field(size_t& at, uint32_t key) {
    while (at < fields.size() && fields[at].key < key) ++at;
    if (at == fields.size() || fields[at].key != key) {
      fields.insert(fields.begin() + static_cast<ptrdiff_t>(at), Field(key));
    }
    return fields[at];
  }
};

// What is seen of one entry.
struct Statistics::Row {
  bool has_embedding = false;
  double square = 0;  // of the embedding's norm
  uint64_t nan = 0, inf = 0, huge = 0;
  double largest = 0;  // of the huge ones
  uint32_t nan_key = 0, inf_key = 0, huge_key = 0;

  bool odd() const { return (nan | inf | huge) != 0; }
};

Statistics::Statistics(FidVersion version, bool by_slot, size_t examples,
                       const RunKernels& kernels)
    : kernels_(kernels),
      version_(version),
      by_slot_(by_slot),
      groups_(by_slot ? kSlots : 1),
      most_examples_(examples),
      least_norm_(examples > 0 ? 0 : std::numeric_limits<double>::infinity()) {}

Statistics::~Statistics() = default;

Statistics::Group& Statistics::group_of(int64_t fid) {
  std::unique_ptr<Group>& group = groups_[by_slot_ ? slot_of(fid, version_) : 0];
  if (!group) group = std::make_unique<Group>();
  return *group;
}

void Statistics::read(Reader& reader, PlacesReader& places, const Filter* filter) {
  while (const Frame* frame = reader.next()) {
    const ValuePlaces* found = places.read(*frame);
    if (found == nullptr) {
      reader.bad_message();
      continue;
    }
    const int64_t fid = found->fid(frame->data);
    if (filter == nullptr || filter->wants(fid)) add(*frame, fid, *found);
  }
}

void Statistics::add(const Frame& frame, int64_t fid, const ValuePlaces& places) {
  Group& group = group_of(fid);
  GroupSummary& found = group.found;
  ++found.entries;
  found.dim_min = std::min(found.dim_min, places.dim());
  found.dim_max = std::max(found.dim_max, places.dim());
  Row row;
  const ValuePlaces::Run* run = places.runs().data();
  const ValuePlaces::Run* const end = run + places.runs().size();
  for (size_t at = 0; run < end;) {
    const ValuePlaces::Run* next = run + 1;
    while (next < end && next->key == run->key) ++next;
    Field& field = group.field(at, run->key);
    RunFound now{RunFound::odd, 0};
    if (next == run + 1 && run->end == 0) {
      if (!field.begun) field.begin(frame.data + run->at, run->count, RunKernels::stride(run->how));
      now = kernels_.add[run->how](frame.data + run->at, run->count, field.sums);
    }
    if (now.what == RunFound::odd) {
      add_field(field, frame.data, run, next, row);
    } else {
      field.values += run->count;
      field.zero_rows += now.what == RunFound::zeros;
      if (run->key == FieldKey::kEmbedding) {
        row.has_embedding = true;
        row.square = now.square;
      }
    }
    ++field.rows;
    run = next;
  }
  if (row.odd()) {
    found.nan_entries += row.nan > 0;
    found.inf_entries += row.inf > 0;
    found.huge_entries += row.huge > 0;
  }
  if (row.has_embedding) {
    if (found.normed == 0 || row.square < found.least_square) found.least_square = row.square;
    found.most_square = std::max(found.most_square, row.square);
    ++found.normed;
    group.norms.add(norm_bin(row.square));
  }
  add_time(group, places.time(frame.data));
  if (row.odd() || row.square > least_norm_) keep(row, frame, fid);
}

// The runs [run, end) are of one field; several, or odd in some way.
void Statistics::add_field(Field& field, const uint8_t* data, const ValuePlaces::Run* run,
                           const ValuePlaces::Run* end, Row& row) {
  const uint64_t nan = row.nan, inf = row.inf, huge = row.huge;
  bool is_zero = true;
  double square = 0;
  for (; run < end; ++run) {
    field.values += run->count;
    if (run->end != 0) {
      const int64_t value = ValuePlaces::varint(data + run->at, data + run->end);
      field.begin(static_cast<double>(value));
      field.add_one(static_cast<double>(value), 0);
      field.least = std::min(field.least, value);
      field.most = std::max(field.most, value);
      is_zero = is_zero && value == 0;
      continue;
    }
    const uint8_t* const p = data + run->at;
    if (!field.begun) field.begin(p, run->count, RunKernels::stride(run->how));
    RunFound now = kernels_.add[run->how](p, run->count, field.sums);
    if (now.what == RunFound::odd) {
      now = add_one_by_one(field, p, run->count, RunKernels::stride(run->how), row);
    }
    is_zero = is_zero && now.what == RunFound::zeros;
    square += now.square;
  }
  field.zero_rows += is_zero;
  if (row.nan > nan && nan == 0) row.nan_key = field.key;
  if (row.inf > inf && inf == 0) row.inf_key = field.key;
  if (row.huge > huge && huge == 0) row.huge_key = field.key;
  if (field.key == FieldKey::kEmbedding && row.nan == nan && row.inf == inf) {
    row.has_embedding = true;
    row.square = square;
  }
}

RunFound Statistics::add_one_by_one(Field& field, const uint8_t* p, size_t count, size_t stride,
                                    Row& row) {
  RunFound found{RunFound::zeros, 0};
  for (size_t i = 0; i < count; ++i, p += stride) {
    const float value = load<float>(p);
    const uint32_t size = size_bits(value);
    if (size != 0) found.what = RunFound::values;
    if (size > kInfinityBits) {
      ++field.nan;
      ++row.nan;
    } else if (size == kInfinityBits) {
      ++(value > 0 ? field.plus_inf : field.minus_inf);
      ++row.inf;
    } else {
      if (size > kHugeBits) {
        ++field.huge;
        ++row.huge;
        row.largest = std::max(row.largest, std::abs(static_cast<double>(value)));
      }
      field.add_one(value, i % 4);
      float& min = field.sums.min[i % 8];
      float& max = field.sums.max[i % 8];
      min = value < min ? value : min;
      max = value > max ? value : max;
      const double squared = static_cast<double>(value) * value;
      found.square += squared;
    }
  }
  return found;
}

void Statistics::add_time(Group& group, int64_t time) {
  GroupSummary& found = group.found;
  if (time <= 0 || time >= kTimesEnd) {
    ++(time == 0 ? found.no_time : found.odd_times);
    return;
  }
  if (found.timed == 0 || time < found.oldest) found.oldest = time;
  found.newest = std::max(found.newest, time);
  ++found.timed;
  group.hours.add(static_cast<uint32_t>(time / kHour));
}

namespace {

// Which of two is to be shown first.
bool worse(const Example& a, const Example& b) {
  if (a.oddity != b.oddity) return a.oddity > b.oddity;
  if (a.weight != b.weight) return a.weight > b.weight;
  return a.position < b.position;
}

}  // namespace

void Statistics::keep(const Row& row, const Frame& frame, int64_t fid) {
  if (most_examples_ == 0) return;
  Example example{Oddity::norm, row.square, FieldKey::kEmbedding, fid, frame.position};
  if (row.nan > 0) {
    example.oddity = Oddity::nan;
    example.weight = static_cast<double>(row.nan);
    example.key = row.nan_key;
  } else if (row.inf > 0) {
    example.oddity = Oddity::infinite;
    example.weight = static_cast<double>(row.inf);
    example.key = row.inf_key;
  } else if (row.huge > 0) {
    example.oddity = Oddity::huge;
    example.weight = row.largest;
    example.key = row.huge_key;
  }
  if (examples_.size() == most_examples_) {
    if (!worse(example, examples_.front())) return;
    std::pop_heap(examples_.begin(), examples_.end(), worse);
    examples_.pop_back();
  }
  examples_.push_back(example);
  std::push_heap(examples_.begin(), examples_.end(), worse);
  if (examples_.size() == most_examples_) {
    const Example& least = examples_.front();
    least_norm_ = least.oddity == Oddity::norm ? least.weight
                                               : std::numeric_limits<double>::infinity();
  }
}

std::vector<Example> Statistics::examples() const {
  std::vector<Example> sorted = examples_;
  std::sort(sorted.begin(), sorted.end(), worse);
  return sorted;
}

// ---- what was found -----------------------------------------------------------------------------

FieldSummary Statistics::Field::summary() const {
  FieldSummary s;
  s.values = values;
  s.nan = nan;
  s.plus_inf = plus_inf;
  s.minus_inf = minus_inf;
  s.huge = huge;
  s.rows = rows;
  s.zero_rows = zero_rows;
  const uint64_t n = s.finite();
  if (n == 0) return s;
  const double low = sums.sum[0] + sums.sum[2], high = sums.sum[1] + sums.sum[3];
  const double sum = low + high;
  const double squares_low = sums.square[0] + sums.square[2];
  const double squares_high = sums.square[1] + sums.square[3];
  s.about = sums.shift;
  s.off = sum / static_cast<double>(n);
  const double of_off = sum * s.off;
  s.squares = std::max(0.0, squares_low + squares_high - of_off);
  if (FieldKey::kind(key) == FieldKind::integer) {
    s.least = least;
    s.most = most;
    s.min = static_cast<double>(least);
    s.max = static_cast<double>(most);
  } else {
    // With 0 added, -0 is 0.
    s.min = *std::min_element(sums.min, sums.min + 8) + 0.0;
    s.max = *std::max_element(sums.max, sums.max + 8) + 0.0;
  }
  return s;
}

Summary Statistics::summary() const {
  Summary summary;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (!groups_[i]) continue;
    GroupSummary& group = summary.groups[by_slot_ ? static_cast<int64_t>(i) : Summary::kAll];
    group = groups_[i]->found;
    groups_[i]->norms.add_to(group.norms);
    groups_[i]->hours.add_to(group.hours);
    for (const Field& field : groups_[i]->fields) group.fields[field.key] = field.summary();
  }
  return summary;
}

}  // namespace monolith
