"""Of `table stats`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.checkpoints import CKPT_INFO, MODEL_DIR, ONE_OR_ALL, SHARED, STEP
from monolith_cli.reports.keys.conditions import CONDITIONS
from monolith_cli.reports.keys.declare import (
    MAP,
    NUMBER,
    OBJECT,
    OBJECTS,
    ONE,
    STRING,
    STRINGS,
    Key,
    Output,
)

NONE = "without finite values"
NORMS = {
    "entries": Key(
        NUMBER, "How many embeddings have a norm: those that have values, all of them finite."
    ),
    "zero": Key(NUMBER, "How many of these are 0."),
    "p0": Key(NUMBER, "The smallest norm.", null="without norms"),
    "p1": Key(
        NUMBER,
        "A norm that 1 % of all are not above; off by 0.4 % of itself at most, as the next two.",
        null="without norms",
    ),
    "p50": Key(NUMBER, "The same for 50 %.", null="without norms"),
    "p99": Key(NUMBER, "The same for 99 %.", null="without norms"),
    "max": Key(NUMBER, "The largest norm.", null="without norms"),
    "histogram": Key(
        OBJECTS,
        "Norms above 0 by powers of two, ascending; powers that none is in are left out.",
        keys={
            "from": Key(NUMBER, "The smallest norm that counts here."),
            "below": Key(NUMBER, "Twice that, which does not."),
            "entries": Key(NUMBER, "How many are between."),
        },
    ),
}
AGES = {
    "entries": Key(NUMBER, "How many entries have a time of their last update."),
    "without": Key(NUMBER, "How many have none, or 0."),
    "odd": Key(NUMBER, "How many have one before 1970 or after 2242, which may not be in seconds."),
    "newest_ts_sec": Key(NUMBER, "The newest time, in seconds since 1970.", null="without times"),
    "oldest_ts_sec": Key(NUMBER, "The oldest one.", null="without times"),
    "p1_days": Key(
        NUMBER,
        "An age that 1 % of all are not above, in days, counted back from the newest entry of the"
        " table; off by less than an hour, as are the next two and by_days.",
        null="without times",
    ),
    "p50_days": Key(NUMBER, "The same for 50 %.", null="without times"),
    "p99_days": Key(NUMBER, "The same for 99 %.", null="without times"),
    "by_days": Key(MAP, "Entries by age in whole days."),
}
FIELD = {
    "field": Key(
        STRING,
        '"embedding", or "opt.", the index of the optimizer, its type and its field, with dots'
        " between; optimizers behind the 64th are one.",
    ),
    "values": Key(NUMBER, "How many values there are."),
    "nan": Key(NUMBER, "How many are NaN."),
    "plus_inf": Key(NUMBER, "How many are infinite."),
    "minus_inf": Key(NUMBER, "How many are infinite, and negative."),
    "huge": Key(NUMBER, "How many are finite, but above 1e30 or below -1e30."),
    "rows": Key(NUMBER, "How many entries have values of it."),
    "zero_rows": Key(NUMBER, "How many of these have nothing but zeros."),
    "min": Key(NUMBER, "The smallest finite value.", null=NONE),
    "max": Key(NUMBER, "The largest finite value.", null=NONE),
    "mean": Key(NUMBER, "The mean of finite values, in double precision.", null=NONE),
    "std": Key(NUMBER, "Their standard deviation, of all of them.", null=NONE),
}
GROUP = {
    "table": Key(STRING, "The name of the table.", null="where damage hides it"),
    "slot": Key(NUMBER, "The slot.", null="where all slots are together"),
    "tables": Key(NUMBER, "How many tables are together here."),
    "bytes": Key(NUMBER, "The size of its files.", null=f"of a slot, and {SHARED}"),
    "entries": Key(NUMBER, "The number of entries."),
    "dim_min": Key(
        NUMBER, "The smallest number of values of an embedding.", null="without entries"
    ),
    "dim_max": Key(NUMBER, "The largest one.", null="without entries"),
    "nan_entries": Key(NUMBER, "How many entries have a NaN, in any field."),
    "inf_entries": Key(NUMBER, "How many have an infinite value."),
    "huge_entries": Key(NUMBER, "How many have a huge one."),
    "fields": Key(OBJECTS, "The embedding, and the fields of optimizers.", keys=FIELD),
    "norms": Key(OBJECT, "The Euclidean norms of embeddings.", keys=NORMS),
    "ages": Key(OBJECT, "How long ago entries were updated.", keys=AGES),
}
EXAMPLE = {
    "table": Key(STRING, "The name of the table.", null="where damage hides it"),
    "slot": Key(NUMBER, "The slot of the feature id."),
    "fid": Key(STRING, "The feature id, a signed 64-bit number; with --json-number-ids a number."),
    "what": Key(STRING, '"nan", "inf" or "huge", or "norm" where nothing is odd but the norm.'),
    "field": Key(STRING, "The first field where that is."),
    "value": Key(
        NUMBER, "How many values are NaN or infinite; the size of the largest one; the norm."
    ),
    "file": Key(STRING, "The file that the entry is in."),
    "offset": Key(
        NUMBER,
        "The byte of the file, as stored, where its record begins; in SNAPPY, where the block that"
        " the record begins in does.",
    ),
}
STATS = {
    "model_dir": MODEL_DIR,
    "step": STEP,
    "fid_version": CKPT_INFO["fid_version"],
    "by": Key(STRING, '"table" or "slot": what each of groups is.'),
    "entries": Key(NUMBER, "The number of entries of all groups together."),
    "groups": Key(OBJECTS, "The tables, or the slots of each table, ascending.", keys=GROUP),
    "examples": Key(
        OBJECTS,
        "The worst entries of each table, worst first.",
        only="with --examples",
        keys=EXAMPLE,
    ),
    "duplicates": Key(
        OBJECTS,
        "The tables, and which feature ids they have more than once.",
        only="with --duplicates",
        keys={
            "table": Key(STRING, "The name of the table."),
            "fids": Key(NUMBER, "How many feature ids are in it more than once."),
            "entries": Key(NUMBER, "How many entries there are too many, therefore."),
            "examples": Key(
                STRINGS,
                "Some of these feature ids, signed 64-bit numbers; with --json-number-ids numbers.",
            ),
        },
    ),
    "conditions": CONDITIONS._replace(only="with --fail-if"),
    "skipped": CKPT_INFO["skipped"],
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {"table stats": (Output(ONE_OR_ALL, ONE, STATS),)}
