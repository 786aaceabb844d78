"""A hash table of stock TensorFlow ops: runs wherever TensorFlow does, on a parameter server too.

Trainers have their own tables, in C++; this one is for trainers without any, for examples and for
tests. It writes dumps in the training system's format.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from monolith_cli.checkpoint.names import HASH_FILTER_PREFIX, META_SUFFIX, parse_shard_name
from monolith_cli.errors import UsageError
from monolith_cli.training.tables.dump_ops import read_dump, write_dump
from monolith_cli.training.tables.entry_ops import decode_entries
from monolith_cli.training.tables.iteration import HASH_TABLES
from monolith_cli.training.tables.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HashTable", "dump_name"]

_FILE_BYTES = 32 << 20
"""The largest size of a file of a dump, which is made in memory."""


def dump_name(name: str) -> str:
    """The base name of a table's dump files: its name, where `:` and `/` become `-`."""
    return re.sub("[:/]", "-", name)


class HashTable:
    """A table from int64 ids to vectors of `dim_size` floats, each with a timestamp in seconds.

    It is made in a graph, on the device of the current scope. Its contents stay on that device as
    long as the process there lives. All sessions and processes whose graphs have a table of that
    name there share them. It needs no initializer: it starts empty, and a process that joins later
    changes nothing. It is in no checkpoint of dense variables.

    Every op of it holds the table's mutex while it runs, so it sees all of another op, or nothing.
    A save and a restore hold it until they end, `save_as_tensor` for one page. An op that fails or
    is cancelled releases it.

    `assign`, `assign_add`, `save` and `restore` return the table as it is after them: ops made from
    that result run later. Without that, ops of one `session.run` have no order. A table can be
    given to `session.run`, `tf.group` and `tf.control_dependencies`, and so can `as_op()`.

    Memory: 4 * dim_size + 16 bytes for a row, up to twice as many rows as entries, and some 50
    bytes for each entry in the index; while the table grows, also the old rows.

    Parameters
    ----------
    name
        The name of its dumps, where `:` and `/` become `-`.
    dim_size
        Floats of each entry.

    Raises
    ------
    UsageError
        The name is used in this graph, or cannot be the name of a dump; or `dim_size` < 1. It is a
        ValueError.
    """

    def __init__(self, name: str, dim_size: int) -> None:
        _check_name(name)
        if dim_size < 1:
            raise UsageError(f"dim_size {dim_size}: at least one float")
        self._name = name
        self._dim_size = int(dim_size)
        self._after: list[Any] = []
        self._done: Any = None
        with tf.compat.v1.name_scope(None), tf.control_dependencies(None):
            # These names, not those of the ops, decide what graphs and processes share.
            scope = "monolith_hash_table/" + re.sub("[^A-Za-z0-9_.-]", "_", name)
            with tf.name_scope(scope):
                self._rows = Rows(f"monolith_hash_table/{name}", self._dim_size)
        self._table = self._rows.index
        tf.compat.v1.add_to_collection(HASH_TABLES, self)

    def __repr__(self) -> str:
        return f"<HashTable {self._name!r}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim_size(self) -> int:
        return self._dim_size

    @property
    def table(self) -> Any:
        """The resource; its `device` is where the table is."""
        return self._table

    @property
    def device(self) -> str:
        """Where it is, as `table.device`."""
        device: str = self._rows.index.device
        return device

    def as_op(self, name: str | None = None) -> Any:
        """An operation that is done when everything is done that this table was returned from."""
        with tf.control_dependencies(None), tf.device(self._rows.index.device):
            return tf.group(*self._after, name=name)

    def _as_graph_element(self) -> Any:
        """Used by TensorFlow for an object that is neither tensor nor operation."""
        return self._after[-1] if self._after else self._rows.index.op

    # --- what the table does --------------------------------------------------------------------

    def assign(self, ids: Any, values: Any, req_time: Any = None) -> HashTable:
        """Set entries; if an id is given twice, the last one counts.

        Costs time in proportion to the number of ids, and sometimes a copy of the table that
        doubles its room.

        Parameters
        ----------
        ids
            int64 vector.
        values
            float32, a row of `dim_size` for each id.
        req_time
            Seconds since the epoch: one number, or one for each id. Without it, entries keep their
            time, and new ones have 0.
        """
        return self._write(ids, values, req_time, add=False)

    def assign_add(self, ids: Any, values: Any, req_time: Any = None) -> HashTable:
        """Add to entries; missing ones start from zeros, and an id given twice is added twice.

        Costs and parameters are those of `assign`.
        """
        return self._write(ids, values, req_time, add=True)

    def lookup(self, ids: Any) -> Any:
        """The values of ids; zeros for ids that are not there.

        Parameters
        ----------
        ids
            int64, of any shape.

        Returns
        -------
        float32, that shape and `dim_size`
        """

        def find(ids: Any) -> Any:
            shape = tf.concat([tf.shape(ids), [self._dim_size]], axis=0)
            return tf.reshape(self._rows.find(tf.reshape(ids, [-1])), shape)

        ids = tf.convert_to_tensor(ids, tf.int64)
        return tf.ensure_shape(self._locked("Lookup", find, ids), [*ids.shape, self._dim_size])

    def size(self) -> Any:
        """The number of entries, an int64 scalar."""
        return self._locked("Size", self._rows.size)

    def save_as_tensor(
        self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any
    ) -> tuple[Any, Any]:
        """A page of the entries of a partition, in time proportional to the page.

        Entries are dealt out to the partitions one by one, in the order in which they came. So
        entries that come between two pages do not move others: each is still seen once.

        Parameters
        ----------
        shard_idx, num_shards, limit, offset
            Numbers or integer scalar tensors.

        Returns
        -------
        new offset, entries
            int64 scalar, > 0, and larger than the given one unless the page is empty; string vector
            of serialized EntryDumps, shorter than `limit` exactly when the partition is finished.

        Raises
        ------
        UsageError
            If numbers are given: `limit` < 1, not 0 <= shard_idx < num_shards, `offset` < 0.
        tf.errors.InvalidArgumentError
            The same, in `session.run`, if tensors are given.
        """
        values = [shard_idx, num_shards, limit, offset]
        numbers = [tf.get_static_value(value) for value in values]
        _check_page(*[None if number is None else int(number) for number in numbers])

        def page(shard: Any, nshards: Any, limit: Any, offset: Any) -> tuple[Any, Any]:
            fine = [limit >= 1, shard >= 0, shard < nshards, offset >= 0]
            told = ["shard", shard, "of", nshards, "limit", limit, "offset", offset]
            tf.debugging.Assert(tf.reduce_all(fine), ["no such page:", *told])
            # An offset is 1 + the first row that may be next, rounded up to the partition's own
            # rows; a limit beyond the table must not overflow.
            first = tf.maximum(offset - 1, shard)
            first += tf.math.floormod(shard - first, nshards)
            left = tf.maximum(self._rows.size() - first + nshards - 1, 0) // nshards
            count = tf.minimum(limit, left)
            rows = first + nshards * tf.range(count)
            next_offset = tf.where(
                count > 0, first + (count - 1) * nshards + 2, tf.maximum(offset, 1)
            )
            return next_offset, self._rows.encode(rows)

        arguments = [tf.cast(value, tf.int64) for value in values]
        next_offset, dump = self._locked("SaveAsTensor", page, *arguments)
        return next_offset, dump

    def save(self, basename: Any) -> HashTable:
        """Write a dump: `<basename>-00000-of-0000n`; makes directories as needed.

        The process that has the table writes, with as many files as it takes for none to exceed
        32 MiB. Files of the same name are replaced, and left half written if that fails;
        `HashTableCheckpointSaverListener` prevents that.

        Costs one pass over the table, about 1 µs of one core for an entry of 16 floats; memory for
        three files, and 1 KB for each byte of an entry.

        Parameters
        ----------
        basename
            Directory and name, a string or a string scalar tensor.

        Raises
        ------
        tf.errors.OpError
            In `session.run`: not written.
        """

        def write(basename: Any) -> Any:
            records = self._rows.records
            size = self._rows.size()
            shards = tf.maximum(-(-size // max(1, _FILE_BYTES // records.longest)), 1)
            parts = records.checksum_parts()

            def frame(rows: Any) -> Any:
                return self._rows.frame(rows, parts)

            return write_dump(basename, size, shards, records.page, frame)

        return self._then("Save", write, tf.convert_to_tensor(basename, tf.string))

    @property
    def written_entries(self) -> Any:
        """For a table that `save` returned: how many entries its dump holds, an int64 scalar."""
        return self._done

    def restore(self, basename: Any) -> HashTable:
        """Replace the contents with those of a dump, from any writer.

        The process that has the table reads. The dump may have any number of files, but all must be
        there. Optimizers' state and unknown fields are left out. An id that is there twice gets the
        values of the later one. After an error the contents are undefined.

        Costs one pass over the files; memory for some thousand entries.

        Parameters
        ----------
        basename
            Directory and name, a string or a string scalar tensor.

        Raises
        ------
        tf.errors.InvalidArgumentError
            In `session.run`: there is no such dump, one of its files is missing, or an entry does
            not have `dim_size` floats.
        tf.errors.DataLossError
            A file is damaged.
        """

        def read(basename: Any) -> Any:
            self._rows.clear()

            def insert(dump: Any) -> Any:
                ids, rows, dims, times = decode_entries(dump)
                wrong = tf.boolean_mask(dims, tf.not_equal(dims, self._dim_size))
                told = f"table {self._name} has {self._dim_size} floats an entry, the dump"
                fine = tf.debugging.Assert(tf.equal(tf.size(wrong), 0), [told, wrong, basename])
                with tf.control_dependencies([fine]):
                    rows = tf.identity(rows)
                rows = tf.ensure_shape(rows, [None, self._dim_size])
                return self._rows.put(ids, rows, times, True, False)

            return read_dump(basename, insert)

        return self._then("Restore", read, tf.convert_to_tensor(basename, tf.string))

    def clear(self) -> HashTable:
        """Remove every entry. Its room is kept."""
        return self._then("Clear", self._rows.clear)

    # --- how ------------------------------------------------------------------------------------

    def _locked(self, name: str, body: Callable[..., Any], *inputs: Any) -> Any:
        return self._rows.locked(name, body, *inputs, after=self._after)

    def _then(self, name: str, body: Callable[..., Any], *inputs: Any) -> HashTable:
        """The table after `body`, which returns a tensor."""
        done = self._locked(name, body, *inputs)
        after = object.__new__(HashTable)
        after.__dict__.update(self.__dict__)
        after._after, after._done = [done.op], done
        with tf.control_dependencies(after._after), tf.device(self._rows.index.device):
            after._table = tf.identity(self._rows.index)
        return after

    def _write(self, ids: Any, values: Any, req_time: Any, *, add: bool) -> HashTable:
        ids = tf.ensure_shape(tf.convert_to_tensor(ids, tf.int64), [None])
        values = tf.convert_to_tensor(values, tf.float32)
        values = tf.ensure_shape(values, [None, self._dim_size])
        timed = req_time is not None
        times = tf.broadcast_to(tf.cast(req_time if timed else 0, tf.int64), tf.shape(ids))

        def put(ids: Any, values: Any, times: Any) -> Any:
            return self._rows.put(ids, values, times, timed, add)

        return self._then("AssignAdd" if add else "Assign", put, ids, values, times)


def _check_page(
    shard: int | None, nshards: int | None, limit: int | None, offset: int | None
) -> None:
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: at least one entry")
    if nshards is not None and nshards < 1:
        raise UsageError(f"num_shards {nshards}: at least one shard")
    if shard is not None and not 0 <= shard < (shard + 1 if nshards is None else nshards):
        raise UsageError(f"shard {shard}: not in 0..{nshards}")
    if offset is not None and offset < 0:
        raise UsageError(f"offset {offset}: not negative")


def _check_name(name: str) -> None:
    base = dump_name(name)
    if (
        not base
        or base.startswith((".", HASH_FILTER_PREFIX))
        or base.endswith(META_SUFFIX)
        or "\0" in base
        or parse_shard_name(base)
    ):
        raise UsageError(f"{name!r} cannot be the name of a table: its dump would be taken wrongly")
    for table in tf.compat.v1.get_collection(HASH_TABLES):
        taken = getattr(table, "name", None)
        if isinstance(taken, str) and dump_name(taken) == base:
            raise UsageError(f"there is a table {taken!r} in this graph already")
