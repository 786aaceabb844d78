"""Of `table export`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import NUMBER, OBJECTS, ONE, STRING, Key, Output

EXPORT = {
    "model_dir": Key(STRING, "MODEL_DIR as it was given."),
    "step": Key(NUMBER, "The step.", null="where the directory has none"),
    "to": Key(STRING, "The directory that was made."),
    "format": Key(STRING, '"parquet", "arrow" or "npy".'),
    "tables": Key(
        OBJECTS,
        "The tables that were written.",
        keys={
            "name": Key(STRING, "The table."),
            "folder": Key(STRING, "The name of its folder in that directory."),
            "entries": Key(NUMBER, "How many were written."),
            "files": Key(NUMBER, "How many files there are in the folder."),
            "bytes": Key(NUMBER, "Their size."),
            "columns": Key(
                OBJECTS,
                "What they hold, in order.",
                keys={
                    "name": Key(STRING, "The column."),
                    "type": Key(
                        STRING,
                        '"int16", "int64" or "float"; "float[33]" is a list of 33, "float[]" one'
                        " of any length.",
                    ),
                },
            ),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "table export": (Output("With --json the output is one object with these keys:", ONE, EXPORT),),
}
