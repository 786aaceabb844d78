// The part of the Python module that computes checksums, and what tests ask of its kernels.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "bytes_view.h"
#include "crc32c.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

// What takes less time than other threads need to take over.
constexpr size_t kLongBytes = size_t{1} << 16;

const Kernels& kernels_named(const std::string& name) {
  for (const Kernels* const* set = all_kernels(); *set != nullptr; ++set) {
    if (name == (*set)->name) return **set;
  }
  throw nb::value_error("no such implementation");
}

std::tuple<size_t, size_t, uint64_t, const char*> check_frames(
    const std::string& name, const nb::bytes& data, std::optional<uint64_t> own,
    uint64_t max_record_bytes, size_t lead) {
  static const char* const kStops[] = {"end",        "full",     "header",  "data",
                                       "bad_length", "too_long", "bad_data"};
  const Kernels& k = kernels_named(name);
  Buffer in;
  in.resize(lead + data.size() + kSlack);
  std::memset(in.data(), 0xa5, in.size());  // so that what lies around the frames counts if it is used
  std::memcpy(in.data() + lead, data.c_str(), data.size());
  const uint8_t* start = in.data() + lead;
  const uint64_t owned = own.value_or(data.size());
  std::vector<Frame> frames(data.size() / kFrameBytes + 1);
  Walk walk = k.walk(start, data.size(), owned, 0, max_record_bytes, frames.data(), frames.size());
  const size_t good = k.verify(frames.data(), walk.frames);
  Walk read = k.read(start, data.size(), owned, 0, max_record_bytes, nullptr, frames.data(), nullptr,
                     frames.size());
  if (read.frames != good) throw std::runtime_error("read() finds other frames than verify()");
  return {walk.frames, good, read.consumed, kStops[static_cast<size_t>(read.stop)]};
}

std::vector<bool> matches(const std::string& name, const nb::bytes& mask, const nb::bytes& want,
                          const nb::bytes& data) {
  const Kernels& k = kernels_named(name);
  const size_t n = want.size();
  if (mask.size() != n || n > kLongestShape) throw nb::value_error("no shape");
  auto shape = std::make_unique<Shape>();
  std::memset(shape->mask, 0, sizeof shape->mask);
  std::memset(shape->want, 0, sizeof shape->want);
  std::memcpy(shape->mask + Shape::lead(n), mask.c_str(), n);
  std::memcpy(shape->want + Shape::lead(n), want.c_str(), n);
  shape->length = n;
  Shapes shapes;
  for (size_t index = 0; index < 2 * Shapes::kLengths; ++index) shapes.set(index, shape.get());
  Buffer in;
  in.append(data_of(data), data.size());
  const size_t most = in.size() / kFrameBytes + 1;
  std::vector<Frame> frames(most);
  std::vector<const Shape*> like(most), compared(most);
  Walk read = k.read(in.data(), in.size(), in.size(), 0, UINT32_MAX, &shapes, frames.data(),
                     like.data(), most);
  k.compare(frames.data(), read.frames, shapes, compared.data());
  if (like != compared) throw std::runtime_error("read() finds other shapes than compare()");
  std::vector<bool> out;
  for (size_t i = 0; i < read.frames; ++i) out.push_back(like[i] != nullptr);
  return out;
}

}  // namespace

void bind_crc32c(nb::module_& m) {
  m.def("crc32c", [](nb::handle data, uint32_t value) {
    const BytesView view(data);
    if (view.size() < kLongBytes) return crc32c(view.data(), view.size(), value);
    nb::gil_scoped_release others_go_on;
    return crc32c(view.data(), view.size(), value);
  }, "data"_a, "value"_a = 0, nb::sig("def crc32c(data: bytes | memoryview, value: int = 0) -> int"),
        "CRC-32C of `data`, continuing from `value`.");
  m.def("masked_crc32c", [](nb::handle data) {
    const BytesView view(data);
    return mask_crc(crc32c(view.data(), view.size()));
  }, "data"_a, nb::sig("def masked_crc32c(data: bytes | memoryview) -> int"),
        "The masked CRC-32C that TFRecord files and tensor bundles store.");
  m.def("implementations", [] {
    std::vector<std::string> names;
    for (const Kernels* const* set = all_kernels(); *set != nullptr; ++set) {
      names.emplace_back((*set)->name);
    }
    return names;
  }, "The kernel sets that this processor can run, the one in use first.");
  m.def("crc32c_by", [](const std::string& name, const nb::bytes& data, uint32_t value) {
    return kernels_named(name).crc(data_of(data), data.size(), value);
  }, "implementation"_a, "data"_a, "value"_a = 0, "crc32c() by one kernel set.");
  m.def("check_frames", &check_frames, "implementation"_a, "data"_a, "own"_a = nb::none(),
        "max_record_bytes"_a = uint64_t{UINT32_MAX}, "lead"_a = 0,
        "Of the frames that start in the first `own` bytes of `data` (all of it): how many whole ones\n"
        "it starts with, how many of those have good data, where the last good one ends, and why\n"
        "reading stops there. `data` lies `lead` bytes behind an aligned address.");

  m.def("matches", &matches, "implementation"_a, "mask"_a, "want"_a, "data"_a,
        "Which of the frames that `data` starts with equal `want`, as far as `mask` keeps their bytes.");
}

}  // namespace monolith
