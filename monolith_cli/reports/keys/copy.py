"""Of `ckpt cp`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    NUMBER,
    OBJECTS,
    ONE,
    STRING,
    STRINGS,
    Key,
    Output,
)

_ZERO = "0 of a step that did not come."

COPY = {
    "source": Key(STRING, "The directory that steps come from."),
    "to": Key(STRING, "The directory that they go to."),
    "dry_run": Key(BOOLEAN, "Whether nothing was written, and numbers are of what would be."),
    "verify_only": Key(BOOLEAN, "Whether it was only compared."),
    "resumed": Key(BOOLEAN, "Whether this finished what another run had begun."),
    "latest": Key(NUMBER, "The latest step there in the end.", null="without one"),
    "steps": Key(
        OBJECTS,
        "The steps, oldest first; those of dense_only behind the others.",
        keys={
            "step": Key(NUMBER, "The step."),
            "dense_only": Key(BOOLEAN, "Whether it is one of dense_only."),
            "state": Key(
                STRING,
                '"copied"; "there": it was there already, and is the same (with dry_run: its files'
                ' have the same sizes); "to_copy"; or why it did not come: "different" (another one'
                ' is there), "not_whole", "gone", "unreadable", "damaged". With verify_only also'
                ' "missing".',
            ),
            "files": Key(NUMBER, "How many files belong to it."),
            "bytes": Key(NUMBER, "Their size."),
            "sent_files": Key(NUMBER, f"How many were written. {_ZERO}"),
            "sent_bytes": Key(NUMBER, f"Their size. {_ZERO}"),
            "linked_files": Key(NUMBER, f"How many were linked. {_ZERO}"),
            "listed": Key(BOOLEAN, "Whether checkpoint there lists it in the end."),
            "different": Key(STRINGS, "The files that are there and differ."),
            "missing": Key(STRINGS, "With verify_only: the files that are not there."),
            "error": Key(STRING, "Why it did not come, or differs.", null="of all others"),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt cp": (Output("With --json the output is one object with these keys:", ONE, COPY),),
}
