// The part of the Python module that selects and counts entries.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "entry.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

nb::dict slot_counts(const Counter& counter) {
  nb::dict out;
  for (size_t s = 0; s < counter.slots.size(); ++s) {
    if (counter.slots[s] != 0) out[nb::int_(s)] = nb::int_(counter.slots[s]);
  }
  return out;
}

nb::list runs(const Counter& counter) {
  nb::list out;
  for (const Run& run : counter.runs) out.append(nb::make_tuple(run.first, run.dim, run.types));
  return out;
}

std::vector<std::string> optimizer_names(uint32_t types) {
  std::vector<std::string> out;
  for (size_t t = 0; t < kOptimizerTypes; ++t) {
    if ((types & (1u << t)) && kOptimizers[t].name != nullptr) out.emplace_back(kOptimizers[t].name);
  }
  return out;
}

}  // namespace

FidVersion version_of(int v) {
  if (v != 1 && v != 2) throw nb::value_error("fid_version must be 1 or 2");
  return static_cast<FidVersion>(v);
}

void bind_entry(nb::module_& m) {
  nb::class_<Filter>(m, "Filter", "Which entries are wanted, by slot and by fid.")
      .def("__init__", [](Filter* f, int v) { new (f) Filter(version_of(v)); }, "fid_version"_a = 2)
      .def("add_slots", &Filter::add_slots, "first"_a, "last"_a)
      .def("set_fids", &Filter::set_fids, "fids"_a);

  nb::class_<Counter>(m, "Counter", "Entries by slot, with what else counting sees.")
      .def("__init__", [](Counter* c, int v) { new (c) Counter(version_of(v)); },
           "fid_version"_a = 2)
      .def_prop_ro("entries", &Counter::entries)
      .def_prop_ro("dim_min", [](const Counter& c) { return std::min(c.dim_min, c.dim_max); })
      .def_ro("dim_max", &Counter::dim_max)
      .def("slot_counts", &slot_counts, nb::sig("def slot_counts(self) -> dict[int, int]"))
      .def_ro("types", &Counter::types)
      .def_prop_ro("runs", &runs, nb::sig("def runs(self) -> list[tuple[int, int, int]]"))
      .def_ro("runs_cut", &Counter::runs_cut);

  m.def("optimizer_names", &optimizer_names, "types"_a,
        "The names of optimizer types, given as a bit for each (`Counter.types`).");
}

}  // namespace monolith
