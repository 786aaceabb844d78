"""Deltas: files that make the tables of one checkpoint those of another.

TFRecords, each a `DeltaRecord` (protos/delta.proto): a header with both steps and digests of all
tables on both sides; what changes, table by table, entries as they are stored; and how many changes
there were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli import messages
from monolith_cli.formats.tfrecord import RecordWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from monolith_cli.tables.diff.compare import TableDiff

__all__ = ["VERSION", "DeltaWriter"]

VERSION = 1
"""Of the format."""


class DeltaWriter:
    """Writes a delta; a context manager. The file appears whole, when its block ends well.

    Parameters
    ----------
    path
        Where.
    step_a, step_b
        The steps of both sides; None where there is none.
    overwrite
        Whether a file that is there may be replaced.

    Attributes
    ----------
    changes
        How many have been written.

    Raises
    ------
    AlreadyExistsError
        At the end: the file is there.
    WriteError
        At any time: the operating system refused.
    """

    def __init__(
        self, path: str, step_a: int | None, step_b: int | None, *, overwrite: bool = False
    ) -> None:
        self._file = RecordWriter(path, overwrite=overwrite)
        self._steps = step_a, step_b
        self.changes = 0

    def begin(self, tables: Iterable[TableDiff], dumps_b: Mapping[str, Sequence[str]]) -> None:
        """Write the header. The index of a table there is its number in changes.

        Parameters
        ----------
        dumps_b
            Of a table of the other side that shares its files the base names of these.
        """
        record = messages.DeltaRecord()
        header = record.header
        header.version = VERSION
        for name, step in zip(("step_a", "step_b"), self._steps, strict=True):
            if step is not None:
                setattr(header, name, step)
        for table in tables:
            added = header.tables.add()
            added.name = table.name.encode("utf-8", "surrogateescape")
            added.in_a, added.in_b = table.is_in_a, table.is_in_b
            added.entries_a, added.entries_b = table.fates.entries_a, table.fates.entries_b
            added.digest_a, added.digest_b = table.sum_a or 0, table.sum_b or 0
            added.dumps_b.extend(
                base.encode("utf-8", "surrogateescape") for base in dumps_b.get(table.name, ())
            )
        self._file.write(record.SerializeToString())

    def write(self, frames: bytes, changes: int) -> None:
        """Append so many changes, framed already."""
        self._file.write_framed(frames)
        self.changes += changes

    def __enter__(self) -> DeltaWriter:
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            end = messages.DeltaRecord()
            end.end.changes = self.changes
            self._file.write(end.SerializeToString())
        self._file.__exit__(kind, error, trace)
