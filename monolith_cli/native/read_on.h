// How the bindings read on: without the GIL, and with a look for signals now and then.
#pragma once

#include <nanobind/nanobind.h>

#include "bind.h"
#include "entry.h"
#include "reader.h"

namespace monolith {

// Calls part() without the GIL until it says that it has enough, or the reader is done. Where it
// pauses, signals are handled: a handler may raise.
template <class F>
void read_on(Reader& reader, F part) {
  while (true) {
    bool enough;
    {
      Release release;
      reader.go_on();
      enough = part();
      if (enough) reader.settle();
    }
    if (enough || reader.done()) return;
    if (PyErr_CheckSignals() != 0) throw nanobind::python_error();
  }
}

// Calls take(entry) for each record that the filter wants, until it returns false. Where few are
// wanted, few are parsed whole.
template <class F>
void each_whole_entry(Reader& reader, const Filter* filter, F take) {
  Entry entry;
  HeadReader heads(reader);
  read_on(reader, [&] {
    while (const Frame* frame = reader.next()) {
      if (filter != nullptr) {
        EntryHead head;
        if (heads.read(*frame, head) && !filter->wants(head.fid)) continue;
      }
      if (!entry.parse(frame->data, static_cast<size_t>(frame->length))) {
        reader.bad_message();
      } else if (!take(entry)) {
        return true;
      }
    }
    return false;
  });
}

}  // namespace monolith
