"""Dumps of one table, written and read in a graph by stock ops.

The files are those of the process that runs the ops, on a parameter server for example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_dump", "write_dump"]

_PAGE = 4096
"""Entries that are in memory at once."""

_TAIL = len("00000-of-00000")


def write_dump(basename: Any, size: Any, shards: Any, encode: Callable[[Any], Any]) -> Any:
    """Write entries 0 to `size` as `<basename>-00000-of-0000n`, and make directories as needed.

    Each file is read again: the ops do not notice what the operating system says when a file is
    closed, on a full disk for example.

    Parameters
    ----------
    basename
        String scalar.
    size, shards
        int64 scalars.
    encode
        From the numbers of entries (int64 vector) to the serialized entries (string vector).

    Returns
    -------
    int64 scalar
        How many entries the files hold, once they do.

    Raises
    ------
    tf.errors.OpError
        In `session.run`: not written, or not whole.
    """

    def body(shard: Any, written: Any) -> tuple[Any, Any]:
        first, last = size * shard // shards, size * (shard + 1) // shards
        path = _shard_path(basename, shard, shards)
        return shard + 1, written + _write_file(path, first, last, encode)

    zero = tf.zeros_like(size)
    return tf.while_loop(lambda shard, _: shard < shards, body, (zero, zero))[1]


def read_dump(basename: Any, insert: Callable[[Any], Any]) -> Any:
    """Hand the entries of a dump to `insert`, in order of the files, some thousand at a time.

    Parameters
    ----------
    basename
        String scalar.
    insert
        Gets serialized entries (string vector, not empty), returns their number (int64 scalar).

    Returns
    -------
    int64 scalar
        The number of entries.

    Raises
    ------
    tf.errors.InvalidArgumentError
        In `session.run`: there is no such dump, or a file of it is missing.
    tf.errors.DataLossError
        A file is damaged.
    """
    dataset = tf.data.TFRecordDataset(_find_shards(basename)).batch(_PAGE)
    return dataset.reduce(tf.constant(0, tf.int64), lambda count, dump: count + insert(dump))


def _write_file(path: Any, first: Any, last: Any, encode: Callable[[Any], Any]) -> Any:
    """Write entries first to last; returns how many are in the file."""

    def page(start: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices(
            encode(tf.range(start, tf.minimum(start + _PAGE, last)))
        )

    # An empty file is an empty dump; this op makes the directories, as the next one does not.
    made = tf.raw_ops.WriteFile(filename=path, contents="")
    with tf.control_dependencies([made]):
        path = tf.identity(path)
    entries = tf.data.Dataset.range(first, last, _PAGE).flat_map(page)
    written = tf.raw_ops.DatasetToTFRecord(
        input_dataset=tf.data.experimental.to_variant(entries), filename=path, compression_type=""
    )
    with tf.control_dependencies([written]):
        path = tf.identity(path)
    pages = tf.data.TFRecordDataset(path).batch(_PAGE)
    there = pages.reduce(
        tf.constant(0, tf.int64), lambda count, dump: count + tf.size(dump, out_type=tf.int64)
    )
    told = ["not written whole:", path, "entries", there, "of", last - first]
    tf.debugging.Assert(tf.equal(there, last - first), told)
    return there


def _shard_path(basename: Any, shard: Any, shards: Any) -> Any:
    numbers = [tf.strings.as_string(number, width=5, fill="0") for number in (shard, shards)]
    return tf.strings.join([basename, "-", numbers[0], "-of-", numbers[1]])


def _find_shards(basename: Any) -> Any:
    """The paths of a dump's files in order; fails where one is missing."""
    pattern = tf.strings.regex_replace(basename, r"([\\*?\[\]])", r"\\\1")
    found = tf.io.matching_files(tf.strings.join([pattern, "-?????-of-?????"]))
    tails = tf.strings.substr(found, -_TAIL, _TAIL)
    shards = tf.strings.regex_full_match(tails, "[0-9]{5}-of-[0-9]{5}")
    found, tails = tf.boolean_mask(found, shards), tf.boolean_mask(tails, shards)
    some = tf.debugging.Assert(tf.size(found) > 0, ["there is no dump", basename])
    with tf.control_dependencies([some]):
        total = tf.strings.to_number(tf.strings.substr(tails[0], -5, 5), tf.int64)
    wanted = tf.map_fn(
        lambda shard: _shard_path(basename, shard, total),
        tf.range(total),
        fn_output_signature=tf.TensorSpec([], tf.string),
    )
    # As one string each: there may be more of the ones than of the others.
    whole = tf.equal(
        tf.strings.reduce_join(tf.strings.substr(wanted, -_TAIL, _TAIL)),
        tf.strings.reduce_join(tails),
    )
    told = ["shards of a dump are missing, or disagree on their number:", found]
    with tf.control_dependencies([tf.debugging.Assert(whole, told)]):
        return tf.identity(wanted)
