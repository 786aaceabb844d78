// Statistics of entries: of the floats of each field, of the embeddings' norms, of their times.
//
// A Statistics takes the entries of one range; what it found is a Summary, and summaries merge. Sums
// are made about a value of the field that is met first, so that a mean far from zero costs no
// digits, and in a fixed order, whatever the processor: the same ranges give the same bits.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "entry.h"
#include "run_sums.h"
#include "summary.h"

namespace monolith {

// Where the values of entries of one shape lie, by field: what a ShapeMemory keeps of a shape.
class ValuePlaces : public Visitor {
 public:
  struct Run {
    uint32_t key;
    uint32_t how;   // of RunKernels, for floats
    size_t at;      // of the first value; an integer, which is a varint, ends at `end`
    size_t count;
    size_t end;     // 0 of floats
  };

  // Of a message that starts at `data`.
  explicit ValuePlaces(const uint8_t* data) : data_(data) {}
  void begin_again(const uint8_t* data);
  void end();  // sorts the runs, those of a field stay in their order

  const std::vector<Run>& runs() const { return runs_; }
  uint64_t dim() const { return dim_; }
  // Of any message of the shape; 0 without one.
  int64_t fid(const uint8_t* data) const {
    return fid_at_ == kNone ? 0 : load<int64_t>(data + fid_at_);
  }
  // Where that is; null without one.
  const uint8_t* fid_at(const uint8_t* data) const {
    return fid_at_ == kNone ? nullptr : data + fid_at_;
  }
  int64_t time(const uint8_t* data) const { return varint(data + time_at_, data + time_end_); }
  // Reads up to seven bytes past its end.
  static int64_t varint(const uint8_t* p, const uint8_t* end);

  void id(int64_t, const uint8_t* at) { fid_at_ = static_cast<size_t>(at - data_); }
  void timestamp(int64_t, const uint8_t* at, const uint8_t* end);
  void embedding(const Floats& f);
  void optimizer();
  void optimizer_type(uint32_t type);
  void optimizer_floats(uint32_t field, const Floats& f);
  void optimizer_scalar(uint32_t field, float, const uint8_t* at);
  void optimizer_integer(uint32_t field, int64_t, const uint8_t* at, const uint8_t* end);

 private:
  static constexpr size_t kNone = SIZE_MAX;
  void add(uint32_t key, const Floats& f);
  Run& the_one(uint32_t field);

  const uint8_t* data_;
  std::vector<Run> runs_;
  uint64_t dim_ = 0;
  size_t fid_at_ = kNone;
  size_t time_at_ = 0, time_end_ = 0;
  uint32_t optimizers_ = 0;  // how many have begun
  uint32_t type_ = 0;        // of the last one
  size_t state_at_ = 0;      // where its runs begin
  std::array<size_t, 5> single_at_{};  // of those, where fields are that are no lists
};

class PlacesReader {
 public:
  explicit PlacesReader(Reader& reader) : memory_(reader) {}

  // Of the reader's last record; null if that is no entry. Good until the next one is read.
  __attribute__((always_inline)) const ValuePlaces* read(const Frame& frame) {
    const ValuePlaces* places = memory_.of(frame);
    return places != nullptr ? places : parse(frame);
  }

 private:
  const ValuePlaces* parse(const Frame& frame);

  ShapeMemory<ValuePlaces> memory_;
  ValuePlaces parsed_{nullptr};
};

// What is odd about an entry, the worst last.
enum class Oddity : uint8_t { norm, huge, infinite, nan };

struct Example {
  Oddity oddity;
  double weight;      // among those with the same oddity: a norm, a size, how many values
  uint32_t key;       // the first field that has it
  int64_t fid;
  uint64_t position;  // in the stream
};

class Statistics {
 public:
  // `examples` is how many of the worst entries are kept.
  Statistics(FidVersion version, bool by_slot, size_t examples,
             const RunKernels& kernels = *all_run_kernels()[0]);
  ~Statistics();
  Statistics(const Statistics&) = delete;
  Statistics& operator=(const Statistics&) = delete;

  // Takes the entries that the filter wants, to the next pause.
  void read(Reader& reader, PlacesReader& places, const Filter* filter);
  void add(const Frame& frame, int64_t fid, const ValuePlaces& places);

  Summary summary() const;
  // The worst ones, worst first.
  std::vector<Example> examples() const;

 private:
  struct Field;
  struct Group;
  struct Row;

  Group& group_of(int64_t fid);
  void add_field(Field& field, const uint8_t* data, const ValuePlaces::Run* run,
                 const ValuePlaces::Run* end, Row& row);
  static RunFound add_one_by_one(Field& field, const uint8_t* p, size_t count, size_t stride,
                                 Row& row);
  void add_time(Group& group, int64_t time);
  void keep(const Row& row, const Frame& frame, int64_t fid);

  const RunKernels& kernels_;
  FidVersion version_;
  bool by_slot_;
  std::vector<std::unique_ptr<Group>> groups_;  // by slot, or one
  size_t most_examples_;
  std::vector<Example> examples_;  // a heap, the least bad first
  double least_norm_;              // squared: from here on a norm is an example
};

}  // namespace monolith
