"""Of `ckpt repair`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    NUMBER,
    OBJECTS,
    ONE,
    STRING,
    Key,
    Output,
)

_BELOW = "A path below the model directory."
_UNKNOWN = "where nobody knows what the record holds"

REPAIR = {
    "model_dir": Key(STRING, "MODEL_DIR as it was given."),
    "step": Key(NUMBER, "The step."),
    "to": Key(STRING, "The directory that was made."),
    "whole": Key(BOOLEAN, "Whether nothing was left out."),
    "files": Key(NUMBER, "How many files were written of the step."),
    "bytes": Key(NUMBER, "Their size."),
    "bits": Key(
        OBJECTS,
        "The bits that were put back.",
        keys={
            "file": Key(STRING, _BELOW),
            "table": Key(STRING, "The base name of the file's dump.", null="of other files"),
            "offset": Key(NUMBER, "The byte in that file."),
            "bit": Key(NUMBER, "The bit in that byte, 0 is the lowest one."),
            "part": Key(STRING, 'Of the record: "length", "length_crc", "data" or "data_crc".'),
            "field": Key(STRING, "What the bit belongs to, such as num[4].", null=_UNKNOWN),
            "old": Key(STRING, "Its value as it was read.", null=_UNKNOWN),
            "new": Key(STRING, "Its value with the bit put back.", null=_UNKNOWN),
            "one_in": Key(
                NUMBER,
                "If more than that bit was damaged, chance names one in one of so many records.",
            ),
        },
    ),
    "left_out": Key(
        OBJECTS,
        "What was left out, a place or a table of a file each.",
        keys={
            "file": Key(STRING, _BELOW),
            "table": Key(STRING, "The table.", null="if it is not of one, or nobody knows"),
            "worker": Key(NUMBER, "The worker whose input it is.", null="of other files"),
            "entries": Key(NUMBER, "How many entries are lost.", null="if nobody knows"),
            "what": Key(STRING, "What is wrong there."),
        },
    ),
    "made_anew": Key(
        OBJECTS,
        "Damaged files that were made anew from what others hold: nothing of them is lost.",
        keys={
            "file": Key(STRING, _BELOW),
            "what": Key(STRING, "What was wrong with it."),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt repair": (Output("With --json the output is one object with these keys:", ONE, REPAIR),),
}
