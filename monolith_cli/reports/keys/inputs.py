"""Of what looks at inputs: `iterator ls`, `iterator show`, `iterator peek`, `iterator rollback`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    LINES,
    LIST,
    LISTS,
    MAP,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECTS,
    ONE,
    SCALAR,
    STRING,
    STRINGS,
    Key,
    Output,
)

MODEL_STEP = Key(
    NUMBER,
    "The step of the model that the job's next run begins with; with --step that step.",
    null="without one",
)
REMARKS = Key(STRINGS, "What else there is to say.")
UNKNOWN = "if that is not known"

LS = {
    "worker": Key(
        NUMBER,
        "The worker; 0 is the chief.",
        null="for an input of TensorFlow's own hook whose task is not a worker",
    ),
    "name": Key(
        STRING,
        "What the names of its files begin with: input_worker_1, or input and input_chief_0 as that"
        " hook names them.",
    ),
    "step": Key(
        NUMBER, "The step of its latest state, as its state file has it.", null="if it has none"
    ),
    "bytes": Key(
        NUMBER, "The size of the states of all its iterators.", null="if they cannot be read"
    ),
    "iterators": Key(NUMBER, "How many iterators have a state.", null="if they cannot be read"),
    "behind": Key(
        NUMBER,
        "How many steps that is behind the model's, negative if it is ahead.",
        null="where one of the two is not known, the state is damaged or gone, or is of a run"
        " before this one",
    ),
    "model_step": MODEL_STEP,
    "resumes_from": Key(
        NUMBER,
        "The step of the state that our jobs go on from with that model: of its own step,"
        " or the newest older one.",
        null="for none",
    ),
    "problem": Key(STRING, "What is wrong with the state.", null="if nothing is"),
    "remarks": REMARKS,
}

FILE = {
    "path": Key(STRING, "Its path.", null=UNKNOWN),
    "number": Key(NUMBER, "7 for file 7 of 20.", null=UNKNOWN),
    "of": Key(NUMBER, "20 for file 7 of 20.", null=UNKNOWN),
    "offset": Key(
        NUMBER,
        "Up to which byte it is read; in a compressed file, of the content.",
        null=UNKNOWN,
    ),
    "bytes": Key(NUMBER, "Its size when the state was saved.", null=UNKNOWN),
    "compression": Key(STRING, "Such as ZLIB; empty without.", null=UNKNOWN),
    "records": Key(
        NUMBER, "How many records lie before the offset.", null="if they could not be counted"
    ),
    "why": Key(STRING, "Why they could not be counted.", null="if they were"),
}

BUFFERED = {
    "node": Key(STRING, "The path of the node that holds them."),
    "elements": Key(NUMBER, "How many elements; a batch is one."),
    "records": Key(NUMBER, "How many records they are.", null=UNKNOWN),
    "rows": Key(
        NUMBER, "Rows of batches that no function has changed since.", null="for other elements"
    ),
}

CONSUMED = {
    "records": Key(
        NUMBER,
        "How many training has got, and those that skip and shard have left out before the last of"
        " them.",
        null=UNKNOWN,
    ),
    "skipped": Key(NUMBER, "Those that were left out.", null=UNKNOWN),
    "epoch": Key(
        NUMBER, "The epoch of the last one.", null="if it is not known, or nothing repeats"
    ),
    "records_in_epoch": Key(NUMBER, "How many of that epoch.", null=UNKNOWN),
    "why": Key(STRING, "Why records is not known.", null="if it is, or there is nothing to say"),
    "hidden_by": Key(STRING, "The path of the node that hides it.", null="if none does"),
    "counted_at": Key(
        STRING, "The path of a node that has counted what it returned.", null="if none has"
    ),
    "elements": Key(
        NUMBER, "How many training has got of the elements of that node.", null="without one"
    ),
}

READER = {
    "node": Key(STRING, "The path of the node that reads."),
    "unit": Key(STRING, '"records", "lines" or "elements": what is counted here.'),
    "file": Key(OBJECT, "The file that it reads.", null="for other sources", keys=FILE),
    "ended": Key(BOOLEAN, "Whether it has read all there is."),
    "epoch": Key(NUMBER, "The epoch that it is in.", null="if nothing repeats"),
    "read": Key(NUMBER, "How many it has read in this epoch.", null=UNKNOWN),
    "buffered": Key(OBJECTS, "What was read, and is on its way.", keys=BUFFERED),
    "consumed": Key(OBJECT, "What training has got.", keys=CONSUMED),
}

ITERATOR = {
    "name": Key(STRING, "The iterator's name."),
    "bytes": Key(NUMBER, "The size of its state."),
    "readers": Key(OBJECTS, "The sources that it reads now.", keys=READER),
    "nodes": Key(
        OBJECTS,
        "The dataset's nodes, largest first.",
        keys={
            "path": Key(STRING, "Its path; empty for what belongs to none."),
            "op": Key(STRING, "Its type."),
            "bytes": Key(NUMBER, "The size of its values."),
            "elements": Key(NUMBER, "How many elements are in its buffer."),
        },
    ),
    "odd_ends": Key(
        OBJECTS,
        "Files that end where TensorFlow sees no fault.",
        keys={
            "path": Key(STRING, "The file."),
            "kind": Key(
                STRING,
                '"cut_header": inside a record\'s header; "cut_stream": inside a compressed stream;'
                ' "unread_rest": behind the first ZLIB stream, which is all that is read.',
            ),
            "content_bytes": Key(NUMBER, "Where in the content the end is."),
            "rest_bytes": Key(NUMBER, "How much is left after it.", null="for cut_stream"),
            "message": Key(STRING, "The same as a sentence."),
        },
    ),
    "fingerprint": Key(OBJECT, "As ckpt.inputs-<step> has it.", null="without one"),
}

SHOW = {
    "worker": Key(
        NUMBER, "The worker; 0 is the chief.", null="for a file that says nothing of one"
    ),
    "step": Key(NUMBER, "The step of the state.", null="for a file that says nothing of one"),
    "model_step": MODEL_STEP,
    "behind": Key(
        NUMBER,
        "How many steps the state is behind that.",
        null="where one of the two is not known",
    ),
    "path": Key(STRING, "The path of the state, without suffix."),
    "bytes": Key(NUMBER, "The size of the states of all iterators."),
    "iterators": Key(OBJECTS, "The iterators.", keys=ITERATOR),
    "remarks": REMARKS,
}

PART = {
    "name": Key(STRING, "The part's name."),
    "values": Key(
        OBJECTS,
        "What it holds.",
        keys={
            "key": Key(STRING, "The name of the value."),
            "dtype": Key(STRING, "Its type, such as int64."),
            "shape": Key(NUMBERS, "Its dimensions."),
            "bytes": Key(NUMBER, "Its size."),
            "value": Key(SCALAR, "The value of a number or a short string.", null="for others"),
        },
    ),
}

VALUE = {
    "indices": Key(LISTS, "Where the values of a sparse tensor are.", only="of a sparse tensor"),
    "values": Key(NUMBERS, "Its values.", only="of a sparse tensor"),
    "dense_shape": Key(NUMBERS, "Its dimensions.", only="of a sparse tensor"),
    "base64": Key(STRING, "The string.", only="of a string that is not UTF-8"),
    "type": Key(
        STRING,
        "The name of its type.",
        only="of what has no values to show, such as a dataset in a dataset",
    ),
}

OVERRIDE = {
    "model_step": Key(
        NUMBER, "The model's step that it holds for.", null="where only inputs were left"
    ),
    "inputs": Key(MAP, "By worker, the step that its input goes on from."),
}

ROLLBACK = {
    "model_dir": Key(STRING, "The directory as it was given."),
    "model_step": Key(NUMBER, "The latest committed step, which the model is restored from."),
    "step": Key(NUMBER, "The step that inputs resume from."),
    "workers": Key(
        OBJECTS,
        "The workers that were meant.",
        keys={
            "worker": Key(NUMBER, "The worker; 0 is the chief."),
            "before": Key(
                NUMBER, "The step that its input would have gone on from.", null="for the start"
            ),
            "after": Key(NUMBER, "The step that it does go on from."),
        },
    ),
    "override": Key(
        OBJECT,
        "What ckpt.override says.",
        null="if no input goes on from another step than the model's",
        keys=OVERRIDE,
    ),
    "replaced": Key(
        OBJECT,
        "What it said before, as far as that had not taken effect.",
        null="if there was nothing",
        keys=OVERRIDE,
    ),
    "files": Key(
        STRINGS,
        "The names of what is written, in that order; ckpt.override also where it is removed.",
    ),
    "dry_run": Key(BOOLEAN, "Whether nothing was written."),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "iterator ls": (
        Output("With --json the output is a list of objects with these keys:", LIST, LS),
    ),
    "iterator show": (
        Output("With --json the output is one object with these keys:", ONE, SHOW),
        Output(
            "With --raw it is an object with a key for each iterator, whose value is a list of"
            " objects, the parts of its state, with these keys:",
            LIST,
            PART,
        ),
    ),
    "iterator peek": (
        Output(
            "Every line is an element: its dictionaries and named tuples are objects, tuples and"
            " tensors are lists. A float is the shortest number that reads back as the same"
            " float32, null if it is not finite. Objects with these keys stand for values of other"
            " kinds:",
            LINES,
            VALUE,
        ),
    ),
    "iterator rollback": (
        Output("With --json the output is one object with these keys:", ONE, ROLLBACK),
    ),
}
