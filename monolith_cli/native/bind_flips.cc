// The part of the Python module that finds flipped bits.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "bytes_view.h"
#include "flips.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace monolith {
namespace {

std::vector<uint64_t> mending(nb::handle block) {
  const BytesView view(block);
  if (view.size() < 4) throw nb::value_error("no checksum");
  Flips flips;
  {
    Release release;
    flips = flips_that_mend(view.data(), view.size() - 4);
  }
  return {flips.bits, flips.bits + flips.count};
}

Message message_of(const std::string& name) {
  if (name == "entry") return Message::entry;
  if (name == "contents") return Message::contents;
  if (name == "filter") return Message::filter;
  if (name == "filter_meta") return Message::filter_meta;
  throw nb::value_error("no such message");
}

nb::object place(nb::handle data, uint64_t bit, const std::string& message) {
  const BytesView view(data);
  const auto found = place_of_bit(view.data(), view.size(), bit, message_of(message));
  if (!found) return nb::none();
  auto bytes = [](const std::string& s) { return nb::bytes(s.data(), s.size()); };
  return nb::make_tuple(bytes(found->field), bytes(found->now), bytes(found->mended));
}

}  // namespace

void bind_flips(nb::module_& m) {
  m.def("flips_that_mend", &mending, "block"_a,
        nb::sig("def flips_that_mend(block: bytes | memoryview) -> list[int]"),
        "The bits of a block, each of which makes its checksum hold if it is flipped: one at most in\n"
        "the data, and one in the masked CRC-32C at its end. Bit 8 * i + j is bit j of byte i.");
  m.def("place_of_bit", &place, "data"_a, "bit"_a, "message"_a,
        nb::sig("def place_of_bit(data: bytes | memoryview, bit: int, message: str)"
                " -> tuple[bytes, bytes, bytes] | None"),
        "The field of a serialized message that a bit belongs to, with its value as it is read now,\n"
        "and with the bit flipped. `message` is entry, contents, filter or filter_meta. None if it is\n"
        "no such message with the bit flipped.");
}

}  // namespace monolith
