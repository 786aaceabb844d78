// The part of the Python module that makes statistics of entries.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>

#include "bind.h"
#include "read_on.h"
#include "statistics.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

const RunKernels& kernels_named(const std::optional<std::string>& name) {
  for (const RunKernels* const* set = all_run_kernels(); *set != nullptr; ++set) {
    if (!name || *name == (*set)->name) return **set;
  }
  throw nb::value_error("no such implementation");
}

void make_statistics(Statistics* statistics, int fid_version, bool by_slot, size_t examples,
                     const std::optional<std::string>& implementation) {
  new (statistics)
      Statistics(version_of(fid_version), by_slot, examples, kernels_named(implementation));
}

void read(Reader& reader, Statistics& statistics, const Filter* filter) {
  PlacesReader places(reader);
  read_on(reader, [&] {
    statistics.read(reader, places, filter);
    return false;
  });
}

std::string name_of(uint32_t key) {
  if (key == FieldKey::kEmbedding) return "embedding";
  const OptimizerType& type = kOptimizers[FieldKey::type(key)];
  return "opt." + std::to_string(FieldKey::index(key)) + "." + type.name + "." +
         type.fields[FieldKey::field(key) - 1].name;
}

const char* name_of(Oddity oddity) {
  static const char* const kNames[] = {"norm", "huge", "inf", "nan"};
  return kNames[static_cast<size_t>(oddity)];
}

nb::list examples(const Statistics& statistics, const Reader& reader) {
  nb::list out;
  for (const Example& e : statistics.examples()) {
    const double weight = e.oddity == Oddity::norm ? std::sqrt(e.weight) : e.weight;
    out.append(nb::make_tuple(name_of(e.oddity), weight, name_of(e.key), e.fid,
                              reader.source().stored_offset(e.position)));
  }
  return out;
}

nb::dict field_dict(uint32_t key, const FieldSummary& f) {
  nb::dict out;
  out["name"] = name_of(key);
  out["values"] = f.values;
  out["nan"] = f.nan;
  out["plus_inf"] = f.plus_inf;
  out["minus_inf"] = f.minus_inf;
  out["huge"] = f.huge;
  out["rows"] = f.rows;
  out["zero_rows"] = f.zero_rows;
  const uint64_t n = f.finite();
  const bool is_integer = FieldKey::kind(key) == FieldKind::integer;
  out["min"] = n == 0 ? nb::none() : is_integer ? nb::object(nb::int_(f.least)) : nb::float_(f.min);
  out["max"] = n == 0 ? nb::none() : is_integer ? nb::object(nb::int_(f.most)) : nb::float_(f.max);
  out["mean"] = n == 0 ? nb::none() : nb::object(nb::float_(f.mean()));
  out["std"] = n == 0 ? nb::none()
                      : nb::object(nb::float_(std::sqrt(f.squares / static_cast<double>(n))));
  return out;
}

nb::dict group_dict(const GroupSummary& g, int64_t newest) {
  nb::dict out;
  out["entries"] = g.entries;
  out["dim_min"] = g.dim_min;
  out["dim_max"] = g.dim_max;
  out["nan_entries"] = g.nan_entries;
  out["inf_entries"] = g.inf_entries;
  out["huge_entries"] = g.huge_entries;
  nb::list fields;
  for (const auto& [key, field] : g.fields) fields.append(field_dict(key, field));
  out["fields"] = fields;
  nb::dict norms;
  norms["entries"] = g.normed;
  for (const auto& [name, share] : {std::pair{"p0", 0.0}, {"p1", 0.01}, {"p50", 0.5},
                                    {"p99", 0.99}, {"max", 1.0}}) {
    norms[name] = g.normed == 0 ? nb::none() : nb::object(nb::float_(g.norm_at(share)));
  }
  norms["by_power"] = g.norms_by_power();
  out["norms"] = norms;
  nb::dict ages;
  ages["entries"] = g.timed;
  ages["without"] = g.no_time;
  ages["odd"] = g.odd_times;
  ages["oldest"] = g.timed == 0 ? nb::none() : nb::object(nb::int_(g.oldest));
  ages["newest"] = g.timed == 0 ? nb::none() : nb::object(nb::int_(g.newest));
  for (const auto& [name, share] : {std::pair{"p1", 0.01}, {"p50", 0.5}, {"p99", 0.99}}) {
    ages[name] = g.timed == 0 ? nb::none() : nb::object(nb::int_(g.age_at(share, newest)));
  }
  ages["by_day"] = g.ages_by_day(newest);
  out["ages"] = ages;
  return out;
}

// Ages count from the newest time of all.
nb::list groups(const Summary& summary) {
  int64_t newest = 0;
  for (const auto& [slot, group] : summary.groups) newest = std::max(newest, group.newest);
  nb::list out;
  for (const auto& [slot, group] : summary.groups) {
    out.append(nb::make_tuple(slot == Summary::kAll ? nb::none() : nb::object(nb::int_(slot)),
                              group_dict(group, newest)));
  }
  return out;
}

nb::bytes pack(const Summary& summary) {
  Buffer out;
  summary.pack(out);
  return to_bytes(out);
}

Summary unpack(const nb::bytes& data) {
  Summary summary;
  if (!summary.unpack(data_of(data), data.size())) throw nb::value_error("no packed summary");
  return summary;
}

Summary total(const Summary& summary) {
  Summary out;
  GroupSummary& all = out.groups[Summary::kAll];
  for (const auto& [slot, group] : summary.groups) all.merge(group);
  return out;
}

}  // namespace

void bind_statistics(nb::module_& m, nb::class_<Reader>& reader) {
  nb::class_<Summary>(
      m, "Summary",
      "What statistics found in some entries: by slot, or in all together. Merged in the same order,\n"
      "the same parts give the same, to the last bit.")
      .def(nb::init<>())
      .def("merge", [](Summary& self, const Summary& other) {
        Release release;
        self.merge(other);
      }, "other"_a, "Adds what follows.")
      .def("total", &total, "All slots together.")
      .def("groups", &groups,
           nb::sig("def groups(self) -> list[tuple[int | None, dict[str, typing.Any]]]"),
           "By slot, or None and all of them: numbers of entries, `fields`, `norms` and `ages`\n"
           "(seconds, from the newest time of all on).")
      .def("pack", &pack, "All of it, for unpack().")
      .def_static("unpack", &unpack, "data"_a,
                  "The same again; ValueError if pack() did not make that.");

  nb::class_<Statistics>(
      m, "Statistics",
      "Takes entries, those of one range; by slot or not, and keeps the worst `examples` of them.\n"
      "`implementation` is what `run_implementations()` has.")
      .def("__init__", &make_statistics, "fid_version"_a = 2, "by_slot"_a = false,
           "examples"_a = 0, "implementation"_a = nb::none())
      .def("summary", &Statistics::summary)
      .def("examples", &examples, "reader"_a,
           nb::sig("def examples(self, reader: Reader) -> list[tuple[str, float, str, int, int]]"),
           "The worst first: `nan`, `inf`, `huge` or `norm`; how many, how large; of which field, the\n"
           "first that has it; the feature id, and where in the file its record lies.");

  m.def("run_implementations", [] {
    std::vector<std::string> names;
    for (const RunKernels* const* set = all_run_kernels(); *set != nullptr; ++set) {
      names.emplace_back((*set)->name);
    }
    return names;
  }, "What can add up floats on this processor, the one in use first.");

  reader.def("statistics", &read, "statistics"_a, "filter"_a = nb::none(),
             "Adds all that is left of the range to statistics.");
}

}  // namespace monolith
