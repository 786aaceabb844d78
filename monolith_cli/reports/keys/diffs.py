"""Of what compares checkpoints: `ckpt diff`, `table diff`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    LINES,
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

SIDE = {
    "model_dir": Key(STRING, "The directory."),
    "step": Key(NUMBER, "The step in it.", null="where it has none"),
}

A = Key(OBJECT, "What is compared with the other side: the older step.", keys=SIDE)
B = Key(OBJECT, "The other side.", keys=SIDE)

FATES = {
    "entries_a": Key(NUMBER, "Entries of side a."),
    "entries_b": Key(NUMBER, "Entries of side b."),
    "added": Key(NUMBER, "Entries that only b has."),
    "removed": Key(NUMBER, "Entries that only a has."),
    "changed": Key(NUMBER, "Entries whose values differ, the sum of the next three."),
    "changed_embedding": Key(NUMBER, "Those whose embedding alone differs."),
    "changed_optimizer": Key(NUMBER, "Those whose optimizer state alone differs."),
    "changed_both": Key(NUMBER, "Those whose embedding and optimizer state differ."),
    "touched": Key(NUMBER, "Entries whose time alone differs."),
    "same": Key(NUMBER, "Entries that do not differ."),
    "again_a": Key(
        NUMBER,
        "Entries of a whose feature id has come before in their table; they count above, too.",
    ),
    "again_b": Key(NUMBER, "The same of b."),
}

MOVE = {
    "fid": Key(STRING, "The feature id; with --json-number-ids a number."),
    "distance": Key(NUMBER, "The L2 norm of the difference of its embeddings."),
    "largest": Key(NUMBER, "The largest difference of one value."),
    "norm": Key(NUMBER, "The L2 norm of its embedding in a."),
}

VALUES = {
    "changed": Key(NUMBER, "Entries on both sides whose values differ."),
    "close": Key(NUMBER, "Of these, those within --atol and --rtol. With these they are `same`."),
    "shapes": Key(NUMBER, "Of these, those with another number of values, or other optimizers."),
    "non_finite": Key(
        NUMBER, "Of these, those whose embeddings are no finite distance from each other."
    ),
    "largest": Key(NUMBER, "The largest difference of one value of an embedding."),
    "distance_mean": Key(
        NUMBER,
        "The mean L2 norm of the differences of their embeddings, where that is finite.",
        null="without any",
    ),
    "moves": Key(OBJECTS, "Those that have moved farthest, --top of them.", keys=MOVE),
}

DIGEST = "A digest of all its entries in {}, whatever their order: 16 hex digits."

CONDITIONS = Key(
    OBJECTS,
    "What came of each --fail-if.",
    only="with --fail-if",
    keys={
        "condition": Key(STRING, "The condition."),
        "holds": Key(BOOLEAN, "Whether it holds.", null="if what it is about is not known here"),
        "held": Key(STRINGS, "What it holds for, with values."),
    },
)

TABLE = {
    "name": Key(STRING, "The table's name."),
    "in_a": Key(BOOLEAN, "Whether a has it."),
    "in_b": Key(BOOLEAN, "Whether b has it."),
    "differs": Key(BOOLEAN, "Whether anything in it differs; with --atol or --rtol by more."),
    **FATES,
    "digest_a": Key(STRING, DIGEST.format("a"), only="with --delta"),
    "digest_b": Key(STRING, DIGEST.format("b"), only="with --delta"),
    "values": Key(
        OBJECT,
        "How far values have moved.",
        only="with --values, --atol or --rtol",
        keys=VALUES,
    ),
}

TABLES = {
    "a": A,
    "b": B,
    "differs": Key(BOOLEAN, "Whether any table differs."),
    **FATES,
    "tables": Key(OBJECTS, "The tables of a, then those that only b has.", keys=TABLE),
    "slots": Key(
        OBJECTS,
        "The slots, ascending.",
        keys={"slot": Key(NUMBER, "The slot."), **FATES},
    ),
    "conditions": CONDITIONS,
}

ROW = {
    "fid": Key(STRING, "The feature id; with --json-number-ids a number."),
    "slot": Key(NUMBER, "The slot in it."),
    "table": Key(STRING, "The name of the table."),
    "change": Key(
        STRING,
        "What became of the entry: added, removed, touched (its time alone differs), or what has"
        " changed: embedding, optimizer, both.",
    ),
    "last_update_ts_sec_a": Key(NUMBER, "Its time in a.", null="if a has it not"),
    "last_update_ts_sec_b": Key(NUMBER, "Its time in b.", null="if b has it not"),
    "again": Key(BOOLEAN, "Whether a side has its feature id several times in the table."),
}

CKPT_TABLE = {
    "name": Key(STRING, "The table's name."),
    "in_a": Key(BOOLEAN, "Whether a has it."),
    "in_b": Key(BOOLEAN, "Whether b has it."),
    "entries_a": Key(
        NUMBER,
        "Its entries in a, as contents files or the manifest say.",
        null="if a has it not, or none of them says it",
    ),
    "entries_b": Key(NUMBER, "The same in b.", null="likewise"),
    "bytes_a": Key(
        NUMBER, "The size of its files in a.", null="if a has it not, or it shares its files"
    ),
    "bytes_b": Key(NUMBER, "The same in b.", null="likewise"),
}

CKPT_SLOT = {
    "slot": Key(NUMBER, "The slot."),
    "entries_a": Key(NUMBER, "Its entries in a."),
    "entries_b": Key(NUMBER, "Its entries in b."),
}

DENSE = {
    "sub_graph": Key(STRING, "Of an export, such as ps_0; else empty."),
    "name": Key(STRING, "The variable."),
    "differs": Key(BOOLEAN, "Whether anything of it does."),
    "dtype_a": Key(STRING, "Its dtype in a.", null="if a has it not"),
    "dtype_b": Key(STRING, "Its dtype in b.", null="if b has it not"),
    "shape_a": Key(NUMBERS, "Its shape in a.", null="if a has it not"),
    "shape_b": Key(NUMBERS, "Its shape in b.", null="if b has it not"),
    "largest": Key(
        NUMBER,
        "The largest difference of a value.",
        null="where there is none: of strings, other dtypes and shapes, and if none is finite",
    ),
    "distance": Key(NUMBER, "The L2 norm of the difference.", null="likewise"),
    "relative": Key(
        NUMBER, "That by the L2 norm in a.", null="likewise, and if the norm in a is 0"
    ),
    "non_finite": Key(NUMBER, "Values that differ by no finite number."),
}

PLACE = {
    "file": Key(STRING, "The file that it is at.", null="if it is at none, or that is not known"),
    "offset": Key(NUMBER, "The byte in its content.", null="likewise"),
    "epoch": Key(NUMBER, "Its epoch, from 1.", null="if there is only one"),
    "read": Key(NUMBER, "How much it has read in that.", null="if that is not known"),
    "consumed": Key(
        NUMBER, "Records that training has got since the start.", null="if that is not known"
    ),
}

INPUT = {
    "worker": Key(NUMBER, "The worker."),
    "iterator": Key(STRING, "Its iterator.", null="if a state cannot be read"),
    "reader": Key(STRING, "The node that reads.", null="likewise"),
    "unit": Key(STRING, "records, lines or elements.", null="likewise"),
    "differs": Key(BOOLEAN, "Whether its iterator's state does, or only one side has it."),
    "consumed": Key(
        NUMBER, "What training has got of them in between.", null="if that is not known"
    ),
    "a": Key(OBJECT, "Where it was.", null="if a has no state of it", keys=PLACE),
    "b": Key(OBJECT, "Where it is then.", null="if b has no state of it", keys=PLACE),
}

CKPT = {
    "a": A,
    "b": B,
    "differs": Key(BOOLEAN, "Whether anything is seen to differ."),
    "entries_a": Key(NUMBER, "Entries of a.", null="if neither files nor counts tell"),
    "entries_b": Key(NUMBER, "Entries of b.", null="likewise"),
    "tables": Key(OBJECTS, "The tables of a, then those that only b has.", keys=CKPT_TABLE),
    "slots": Key(
        OBJECTS,
        "Entries by slot, ascending, as ckpt.info counts them.",
        null="where a side has no ckpt.info",
        keys=CKPT_SLOT,
    ),
    "dense": Key(OBJECTS, "The dense variables, names ascending.", keys=DENSE),
    "inputs": Key(OBJECTS, "The readers of workers' inputs.", keys=INPUT),
    "compared": Key(
        OBJECT, "What 'table diff' tells of all tables.", only="with --entries", keys=TABLES
    ),
    "conditions": CONDITIONS,
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt diff": (Output("With --json the output is an object with these keys:", ONE, CKPT),),
    "table diff": (
        Output("With --json the output is an object with these keys:", ONE, TABLES),
        Output("With --format jsonl, every line is an object with these keys:", LINES, ROW),
    ),
}
