"""Dumps of one table, written and read in a graph by stock ops.

The files are on the machine of the process that runs the ops, for example a parameter server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_dump", "write_dump"]

_PAGE = 4096
"""Entries that are read at once."""

_ALL = 1 << 31
"""The batch size of a batch that holds everything."""

_TAIL = len("00000-of-00000")


def write_dump(
    basename: Any, size: Any, shards: Any, page: int, records: Callable[[Any], Any]
) -> Any:
    """Write entries 0 to `size` as `<basename>-00000-of-0000n`, and make directories as needed.

    Errors of the operating system are noticed, also when a file is closed, for example on a full
    disk. Each file is in memory, up to three times, while it is written.

    Parameters
    ----------
    basename
        String scalar.
    size, shards
        int64 scalars.
    page
        How many entries are made into records at once.
    records
        Makes from the numbers of entries (int64 vector) their records as in a file (string scalar).

    Returns
    -------
    int64 scalar
        How many entries the files hold, available once they are written.

    Raises
    ------
    tf.errors.OpError
        In `session.run`: not written.
    """

    def body(shard: Any, written: Any) -> tuple[Any, Any]:
        first, last = size * shard // shards, size * (shard + 1) // shards
        path = _shard_path(basename, shard, shards)
        file = tf.raw_ops.WriteFile(filename=path, contents=_content(first, last, page, records))
        with tf.control_dependencies([file]):
            return shard + 1, written + last - first

    zero = tf.zeros_like(size)
    # One file after the other, to save memory.
    return tf.while_loop(
        lambda shard, _: shard < shards, body, (zero, zero), parallel_iterations=1
    )[1]


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


def _content(first: Any, last: Any, page: int, records: Callable[[Any], Any]) -> Any:
    """The records of entries first to last, a string scalar."""
    # At least one page, because an empty loop would return nothing.
    starts = tf.data.Dataset.range(first, tf.maximum(last, first + 1), page)
    pages = starts.map(
        lambda start: records(tf.range(start, tf.minimum(start + page, last))),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return tf.strings.reduce_join(pages.batch(_ALL).get_single_element())


def _shard_path(basename: Any, shard: Any, shards: Any) -> Any:
    numbers = [tf.strings.as_string(number, width=5, fill="0") for number in (shard, shards)]
    return tf.strings.join([basename, "-", numbers[0], "-of-", numbers[1]])


def _find_shards(basename: Any) -> Any:
    """The paths of a dump's files in order; fails if one is missing."""
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
