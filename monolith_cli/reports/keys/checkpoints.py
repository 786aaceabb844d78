"""Of what looks at whole checkpoints: `ckpt-info`, `ckpt show`, `sample`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    MAP,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECTS,
    ONE,
    STRING,
    STRINGS,
    Key,
    Output,
)

ONE_OR_ALL = (
    "With --json the output is one object, or with --step all a list of objects, with these keys:"
)
KIND = '"single" (has its files to itself) or "multi" (shares them).'
SHARED = "for a multi table, which shares its files"
MODEL_DIR = Key(STRING, "MODEL_DIR as it was given.")
STEP = Key(NUMBER, "The step of the checkpoint.", null="where it has none")

CKPT_INFO = {
    "model_dir": MODEL_DIR,
    "step": STEP,
    "fid_version": Key(STRING, '"v1" or "v2": which bits of a fid were taken for its slot.'),
    "entries": Key(NUMBER, "The number of entries of all tables together."),
    "slot_counts": Key(MAP, "Entries by slot, of tables whose entries were read."),
    "feature_counts": Key(MAP, "Entries by table name, of multi tables."),
    "tables": Key(
        OBJECTS,
        "The tables.",
        keys={
            "name": Key(STRING, "The table's name."),
            "kind": Key(STRING, KIND),
            "entries": Key(NUMBER, "The number of entries."),
            "shards": Key(NUMBER, "The number of files."),
            "bytes": Key(NUMBER, "Their size as stored.", null=SHARED),
            "verified": Key(BOOLEAN, "Whether the entries were read with their checksums."),
        },
    ),
    "written": Key(STRING, "The name of the file that was written.", null="if none was"),
    "hash_filters": Key(
        OBJECTS,
        "The occurrence filters.",
        only="where there are any",
        keys={
            "name": Key(STRING, "The filter's name."),
            "splits": Key(NUMBER, "The number of files."),
            "bytes": Key(NUMBER, "Their size."),
            "elements": Key(NUMBER, "How many feature ids are in it."),
            "cells": Key(NUMBER, "How many there is room for."),
            "fill_rate": Key(NUMBER, "The share of cells that are taken.", null="without cells"),
            "failures": Key(NUMBER, "How many insertions have failed."),
        },
    ),
    "skipped": Key(
        OBJECTS,
        "The damaged places.",
        only="with --on-corrupt skip, where something was skipped",
        keys={
            "file": Key(STRING, "The damaged file."),
            "kind": Key(STRING, "The kind of damage, as of errors."),
            "offset": Key(NUMBER, "The byte of the file, as stored, where it is."),
        },
    ),
    "problems": Key(
        STRINGS,
        "What is wrong with them, as on stderr.",
        only="where tables or filters are not whole, and were left out",
    ),
    "check": Key(
        OBJECT,
        "What the check has found.",
        only="with --check, of undamaged data",
        keys={
            "file": Key(STRING, "The file that was checked."),
            "verdict": Key(STRING, '"same", "more", "empty", "rank_0", "gone" or "different".'),
            "compared": Key(STRING, '"entries", or "contents" where multi tables were not read.'),
            "differences": Key(
                OBJECTS,
                "The counts that differ.",
                keys={
                    "slot": Key(NUMBER, "The slot.", only="of a count by slot"),
                    "table": Key(STRING, "The table's name.", only="of a count by name"),
                    "file": Key(NUMBER, "What the file counts."),
                    "dump": Key(
                        NUMBER, "What there is.", null="for a table of which there is no dump"
                    ),
                },
            ),
        },
    ),
}

CKPT_SHOW = {
    "model_dir": MODEL_DIR,
    "step": STEP,
    "dense_bytes": Key(
        NUMBER, "The size of all dense variables.", null="if some of them cannot be read"
    ),
    "table_bytes": Key(
        NUMBER,
        "The size of all files of tables and occurrence filters.",
        null="if some of them cannot be read",
    ),
    "tables": Key(
        OBJECTS,
        "The tables and occurrence filters.",
        keys={
            "name": Key(STRING, "Its name."),
            "kind": Key(
                STRING,
                '"single" (has its files to itself), "multi" (shares them) or "filter" (an'
                " occurrence filter).",
            ),
            "entries": Key(NUMBER, "The number of entries.", null="where only counting would tell"),
            "shards": Key(NUMBER, "The number of files."),
            "bytes": Key(NUMBER, "Their size.", null=SHARED),
        },
    ),
    "variables": Key(
        OBJECTS,
        "The dense variables.",
        keys={
            "name": Key(STRING, "The variable's name."),
            "dtype": Key(STRING, "The type of its values, such as float32."),
            "shape": Key(NUMBERS, "Its dimensions."),
            "bytes": Key(NUMBER, "Its size."),
            "slices": Key(
                NUMBER, "In how many parts a partitioned variable is stored; 1 for others."
            ),
            "sub_graph": Key(
                STRING, "Which part of an export it is in, such as ps_0.", null="outside of exports"
            ),
        },
    ),
    "files": Key(
        OBJECTS,
        "Files other than tables'.",
        keys={
            "path": Key(STRING, "Its path."),
            "bytes": Key(NUMBER, "Its size.", null="for one that is missing"),
            "what": Key(
                STRING,
                "What it is, such as dense variables, counts, item pool, or a flag that steers the"
                " job.",
            ),
        },
    ),
    "problems": Key(STRINGS, "What is damaged or missing, as on stderr."),
}

MORE = "with --steps, --drift, --nan or --flip-bit"
SAMPLE = {
    "model_dir": MODEL_DIR,
    "step": Key(NUMBER, "The step of its checkpoint, the latest."),
    "entries": Key(NUMBER, "The number of entries of all tables together, in that step."),
    "tables": Key(
        OBJECTS,
        "The tables.",
        keys={
            "name": Key(STRING, "The table's name."),
            "entries": Key(NUMBER, "The number of its entries."),
            "slots": Key(NUMBERS, "The slots that they are in."),
        },
    ),
    "shards": Key(NUMBER, "Files per table; with --multi, files of all tables."),
    "bytes": Key(NUMBER, "The size of the tables' files, in all steps."),
    "steps": Key(NUMBERS, "All steps, the latest last.", only=MORE),
    "nan_fids": Key(STRINGS, "The feature ids of entries that are NaN.", only=MORE),
    "flipped": Key(
        OBJECT,
        "The bit that was flipped.",
        null="if none was",
        only=MORE,
        keys={
            "file": Key(STRING, "The file, relative to MODEL_DIR."),
            "offset": Key(NUMBER, "Its byte."),
            "bit": Key(NUMBER, "Which bit of it: 0 is the lowest."),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt-info": (Output(ONE_OR_ALL, ONE, CKPT_INFO),),
    "ckpt show": (Output(ONE_OR_ALL, ONE, CKPT_SHOW),),
    "sample": (Output("With --json the output is one object with these keys:", ONE, SAMPLE),),
}
