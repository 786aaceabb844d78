"""The rows of a `HashTable`: growing variables, and a stock table from ids to rows.

TensorFlow's own tables export everything at each call; rows can be read page by page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from monolith_cli.training.tables.entry_ops import encode_entries
from monolith_cli.training.tables.record_ops import RecordFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Rows"]

_FIRST_ROWS = 1024


class Rows:
    """The resources of one table. All methods but `locked` are for functions run by `locked`.

    An entry keeps its row until the table is cleared. Rows are given out in order: 0 to `size` - 1
    have entries.

    Parameters
    ----------
    shared
        All that use this name on the same device share the same rows.
    dim_size
        Floats of each row.

    Attributes
    ----------
    index
        The resource of the stock table, from ids to rows.
    """

    def __init__(self, shared: str, dim_size: int) -> None:
        self._dim_size = dim_size
        self._records = RecordFormat(dim_size)

        def variable(part: str, dtype: Any, shape: list[int | None]) -> Any:
            return tf.raw_ops.VarHandleOp(
                dtype=dtype, shape=shape, shared_name=f"{shared}/{part}", name=part
            )

        self.index = tf.raw_ops.MutableHashTableV2(
            key_dtype=tf.int64, value_dtype=tf.int64, shared_name=f"{shared}/index", name="index"
        )
        with tf.device(self.index.device):
            self._mutex = tf.raw_ops.MutexV2(shared_name=f"{shared}/mutex", name="mutex")
            # Row k of each belongs to one entry; only the first `size` rows mean anything. The
            # index says how many these are. So one op adds entries, and none is half there if a
            # client dies and its step is cancelled.
            self._ids = variable("ids", tf.int64, [None])
            self._values = variable("rows", tf.float32, [None, self._dim_size])
            self._times = variable("times", tf.int64, [None])

    def locked(
        self, name: str, body: Callable[..., Any], *inputs: Any, after: Sequence[Any] = ()
    ) -> Any:
        """What `body` returns, one tensor or several, run on the table's device under its mutex.

        Parameters
        ----------
        name
            Used in the names of the ops.
        body
            Gets `inputs` and uses the methods below; it becomes a `tf.function`.
        after
            Operations to wait for.
        """

        def run(*inputs: Any) -> Any:
            self._make_room_at_first()
            return body(*inputs)

        convert = tf.autograph.experimental.do_not_convert
        with (
            tf.name_scope(f"{name}HashTable"),
            tf.device(None),
            tf.device(self.index.device),
            tf.control_dependencies(after),
        ):
            # Inputs may come from another process, or depend on another op of this table: an op
            # that took the mutex before they are here would wait while it holds it.
            inputs = tuple(tf.identity(value) for value in inputs)
            with tf.control_dependencies(inputs):
                lock = tf.raw_ops.MutexLock(mutex=self._mutex)
            with tf.control_dependencies([lock]):
                # A function ends only when everything that it does to the table is done.
                results = tf.function(convert(run), autograph=False)(*inputs)
            with tf.control_dependencies(tf.nest.flatten(results)):
                unlock = tf.raw_ops.ConsumeMutexLock(mutex_lock=lock)
            with tf.control_dependencies([unlock]):
                return tf.nest.map_structure(tf.identity, results)

    def _make_room_at_first(self) -> None:
        def make() -> Any:
            size = self.clear()
            self._set_rooms(
                tf.zeros([_FIRST_ROWS], tf.int64),
                tf.zeros([_FIRST_ROWS, self._dim_size]),
                tf.zeros([_FIRST_ROWS], tf.int64),
            )
            return size

        there = tf.raw_ops.VarIsInitializedOp(resource=self._ids)
        tf.cond(there, lambda: tf.constant(0, tf.int64), make)

    def clear(self) -> Any:
        """Remove every entry, but keep the room; returns the new size."""
        nothing = tf.zeros([0], tf.int64)
        tf.raw_ops.LookupTableImportV2(table_handle=self.index, keys=nothing, values=nothing)
        return tf.constant(0, tf.int64)

    def _set_rooms(self, ids: Any, rows: Any, times: Any) -> None:
        others = [
            tf.raw_ops.AssignVariableOp(resource=variable, value=value)
            for variable, value in ((self._values, rows), (self._times, times))
        ]
        # The ids last, because they say how much room there is.
        with tf.control_dependencies(others):
            tf.raw_ops.AssignVariableOp(resource=self._ids, value=ids)

    def size(self) -> Any:
        """The number of entries, an int64 scalar."""
        return tf.raw_ops.LookupTableSizeV2(table_handle=self.index)

    def find(self, ids: Any) -> Any:
        """The values of ids (int64 vector), a row each; zeros for ids that are not there."""
        rows = self._find(ids)
        values = self._gather(self._values, tf.maximum(rows, 0), tf.float32)
        return tf.where((rows >= 0)[:, None], values, tf.zeros_like(values))

    def _find(self, ids: Any) -> Any:
        """The rows of ids, -1 for ids that are not there."""
        return tf.raw_ops.LookupTableFindV2(
            table_handle=self.index, keys=ids, default_value=tf.constant(-1, tf.int64)
        )

    def _gather(self, variable: Any, rows: Any, dtype: Any) -> Any:
        # Reading the variable would copy all of it.
        return tf.raw_ops.ResourceGather(resource=variable, indices=rows, dtype=dtype)

    def encode(self, rows: Any) -> Any:
        """The entries in these rows (int64 vector), serialized."""
        return encode_entries(*self._entries(rows))

    @property
    def records(self) -> RecordFormat:
        """How the entries are stored in a file."""
        return self._records

    def frame(self, rows: Any, parts: Any) -> Any:
        """The records of the entries in these rows, a string scalar; see `RecordFormat.frame`."""
        return self._records.frame(*self._entries(rows), parts)

    def _entries(self, rows: Any) -> tuple[Any, Any, Any]:
        return (
            self._gather(self._ids, rows, tf.int64),
            tf.ensure_shape(self._gather(self._values, rows, tf.float32), [None, self._dim_size]),
            self._gather(self._times, rows, tf.int64),
        )

    def put(self, ids: Any, values: Any, times: Any, timed: bool, add: bool) -> Any:
        """Write entries, repeated ids as if one after the other; returns how many were given.

        Parameters
        ----------
        ids, values, times
            int64 vector, float32 matrix, int64 vector.
        timed
            Whether `times` are used; otherwise an entry keeps its time, and a new one has 0.
        add
            Whether values are added to those that are there, instead of replacing them.
        """
        given = tf.size(ids, out_type=tf.int64)
        with tf.control_dependencies([tf.debugging.assert_equal(given, _length(values))]):
            ids, places = tf.unique(ids, out_idx=tf.int64)
        count = tf.size(ids, out_type=tf.int64)
        last = tf.math.unsorted_segment_max(tf.range(given), places, count)
        if add:
            values = tf.math.unsorted_segment_sum(values, places, count)
        else:
            values = tf.gather(values, last)
        rows = self._find(ids)
        absent = rows < 0
        size = self.size()
        self._grow(size + tf.math.count_nonzero(absent))
        rows = tf.where(absent, size + tf.cumsum(tf.cast(absent, tf.int64)) - 1, rows)
        # A new row may still hold an entry that was cleared.
        if add:
            old = self._gather(self._values, rows, tf.float32)
            values += tf.where(absent[:, None], tf.zeros_like(old), old)
        if timed:
            times = tf.gather(times, last)
        else:
            old_times = self._gather(self._times, rows, tf.int64)
            times = tf.where(absent, tf.zeros_like(old_times), old_times)
        written = [
            tf.raw_ops.ResourceScatterUpdate(resource=variable, indices=rows, updates=update)
            for variable, update in ((self._ids, ids), (self._values, values), (self._times, times))
        ]
        with tf.control_dependencies(written):
            tf.raw_ops.LookupTableInsertV2(table_handle=self.index, keys=ids, values=rows)
        return given

    def _grow(self, rows: Any) -> None:
        room = tf.raw_ops.VariableShape(input=self._ids, out_type=tf.int64)[0]

        def grow() -> Any:
            more = tf.maximum(room, rows - room)
            ids, values, times = (
                tf.raw_ops.ReadVariableOp(resource=variable, dtype=dtype)
                for variable, dtype in (
                    (self._ids, tf.int64),
                    (self._values, tf.float32),
                    (self._times, tf.int64),
                )
            )
            empty = tf.zeros([more], tf.int64)
            # The others may have more room than the ids, if a step was cancelled.
            self._set_rooms(
                tf.concat([ids, empty], axis=0),
                tf.concat([values[:room], tf.zeros([more, self._dim_size])], axis=0),
                tf.concat([times[:room], empty], axis=0),
            )
            return room + more

        tf.cond(rows > room, grow, lambda: room)


def _length(values: Any) -> Any:
    return tf.shape(values, out_type=tf.int64)[0]
