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
  uint64_t v = 0;
  for (int shift = 0; p < end && shift < 64; shift += 7) {
    v |= static_cast<uint64_t>(*p++ & 0x7f) << shift;
  }
  return static_cast<int64_t>(v);
}

void ValuePlaces::timestamp(int64_t, const uint8_t* at, const uint8_t* end) {
  time_at_ = static_cast<size_t>(at - data_);
  time_end_ = static_cast<size_t>(end - data_);
}

void ValuePlaces::embedding(const Floats& f) {
  dim_ += f.count;
  if (f.count == 0) return;
  runs_.push_back({FieldKey::kEmbedding, static_cast<size_t>(f.p - data_), f.count, f.stride, 0});
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
  if (f.count == 0) return;
  runs_.push_back({FieldKey::of(optimizers_ - 1, type_, field), static_cast<size_t>(f.p - data_),
                   f.count, f.stride, 0});
}

// The run of a field that is no list: the last value wins.
ValuePlaces::Run& ValuePlaces::the_one(uint32_t field) {
  size_t& at = single_at_[field - 1];
  if (at == kNone) {
    at = runs_.size();
    runs_.push_back({FieldKey::of(optimizers_ - 1, type_, field), 0, 1, 4, 0});
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
  void add_one(double value, size_t lane) {
    const double from = value - sums.shift;
    const double squared = from * from;
    sums.sum[lane] += from;
    sums.square[lane] += squared;
  }
  FieldSummary summary() const;
};

struct Statistics::Group {
  GroupSummary found;         // but for the fields
  std::vector<Field> fields;  // by key

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
    add_field(group.field(at, run->key), frame.data, run, next, row);
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
    found.norms.add(norm_bin(row.square));
  }
  add_time(group, places.time(frame.data));
  if (row.odd() || row.square > least_norm_) keep(row, frame, fid);
}

// The runs [run, end) are of one field.
void Statistics::add_field(Field& field, const uint8_t* data, const ValuePlaces::Run* run,
                           const ValuePlaces::Run* end, Row& row) {
  const bool is_embedding = field.key == FieldKey::kEmbedding;
  RunOut out;
  uint64_t nan = 0, inf = 0;
  for (; run < end; ++run) {
    field.values += run->count;
    if (run->end != 0) {
      const int64_t value = ValuePlaces::varint(data + run->at, data + run->end);
      field.begin(static_cast<double>(value));
      field.add_one(static_cast<double>(value), 0);
      field.least = std::min(field.least, value);
      field.most = std::max(field.most, value);
      out.zero = out.zero && value == 0;
      continue;
    }
    const Floats floats{data + run->at, run->count, run->stride};
    if (field.begun && (is_embedding ? kernels_.add_with_norm(floats, field.sums, out)
                                     : kernels_.add(floats, field.sums, out))) {
      continue;
    }
    // One by one, as one of them is odd, or the first of all.
    uint64_t huge = 0;
    for (size_t i = 0; i < floats.count; ++i) {
      const float value = floats[i];
      const uint32_t size = size_bits(value);
      out.zero = out.zero && size == 0;
      if (size >= kInfinityBits) {
        if (size > kInfinityBits) ++nan;
        else if (value > 0) ++field.plus_inf, ++inf;
        else ++field.minus_inf, ++inf;
        continue;
      }
      if (size > kHugeBits) {
        ++huge;
        row.largest = std::max(row.largest, std::abs(static_cast<double>(value)));
      }
      field.begin(value);
      field.add_one(value, i % 4);
      float& min = field.sums.min[i % 8];
      float& max = field.sums.max[i % 8];
      min = value < min ? value : min;
      max = value > max ? value : max;
      const double squared = static_cast<double>(value) * value;
      out.square += squared;
    }
    if (huge > 0) {
      if (row.huge == 0) row.huge_key = field.key;
      row.huge += huge;
      field.huge += huge;
    }
  }
  ++field.rows;
  field.zero_rows += out.zero;
  field.nan += nan;
  if (nan > 0) {
    if (row.nan == 0) row.nan_key = field.key;
    row.nan += nan;
  }
  if (inf > 0) {
    if (row.inf == 0) row.inf_key = field.key;
    row.inf += inf;
  }
  if (is_embedding && (nan | inf) == 0) {
    row.has_embedding = true;
    row.square = out.square;
  }
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
  found.hours.add(static_cast<uint32_t>(time / kHour));
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
    for (const Field& field : groups_[i]->fields) group.fields[field.key] = field.summary();
  }
  return summary;
}

}  // namespace monolith
