"""Tables written into folders, one each, in a format that analysts read."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import UsageError
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of
from monolith_cli.tables.export.arrow import ArrowFormat
from monolith_cli.tables.export.files import FileWriter, Format, Part
from monolith_cli.tables.export.names import folder_names
from monolith_cli.tables.export.npy import NpyFormat
from monolith_cli.tables.export.parquet import ParquetFormat
from monolith_cli.tables.extents import find_extents
from monolith_cli.tables.folds.batches import BatchesFold
from monolith_cli.tables.folds.shape import Shape, ShapeFold
from monolith_cli.tables.layout import COLUMNS, Layout, layout_of
from monolith_cli.tables.ranges import RangeTask, read_ranges
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import EntryStream
from monolith_cli.tables.table import shared_dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from monolith_cli.execution.workers import Workers
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.layout import ColumnLayout
    from monolith_cli.tables.stream import EntryFilter, ReadOptions
    from monolith_cli.tables.table import Table

__all__ = ["FORMATS", "ExportOptions", "ExportedTable", "TablesExport"]

FORMATS = ("parquet", "arrow", "npy")

_RANGE_BYTES = 4 << 20
"""Of a range all values are held, and what they become."""

_FILE_BYTES = 512 << 20
"""Of a table's entries as they are stored, for each file of it."""

_LOOK_BYTES = 64 << 10


class ExportOptions(NamedTuple):
    """How tables are written.

    Attributes
    ----------
    format
        One of `FORMATS`.
    columns
        Of `monolith_cli.tables.layout.COLUMNS`.
    compress
        Whether with Zstandard; None for what suits the format: Parquet alone is compressed.
    files
        How many for each table; None for one for each 512 MiB of its entries. Arrays of NumPy are
        one.
    chosen
        Which entries.
    """

    format: str = "parquet"
    columns: Sequence[str] = COLUMNS
    compress: bool | None = None
    files: int | None = None
    chosen: EntryFilter | None = None

    def make_format(self) -> Format:
        """What writes it.

        Raises
        ------
        UsageError
            There is no such format or column, or the format cannot be compressed or in several
            files.
        """
        unknown = sorted(set(self.columns) - set(COLUMNS))
        if unknown or not self.columns:
            hint = f"there are {', '.join(COLUMNS)}"
            raise UsageError(f"no column {', '.join(unknown)}".rstrip(), hint=hint)
        if self.files is not None and self.files < 1:
            raise UsageError(f"{self.files} files: at least one for each table")
        if self.format == "parquet":
            return ParquetFormat(self.compress is not False)
        if self.format == "arrow":
            return ArrowFormat(self.compress is True)
        if self.format != "npy":
            raise UsageError(f"no format {self.format!r}", hint=f"there are {', '.join(FORMATS)}")
        if self.compress:
            raise UsageError("arrays of NumPy cannot be compressed")
        if self.files not in (None, 1):
            raise UsageError("arrays of NumPy are in one file each")
        return NpyFormat()


class ExportedTable(NamedTuple):
    """A table that was written.

    Attributes
    ----------
    name, folder
        Its own name, and that of its folder.
    entries
        How many there are in it.
    files, bytes
        How many files there are in the folder, and how large they are together.
    columns
        What they hold.
    """

    name: str
    folder: str
    entries: int
    files: int
    bytes: int
    columns: Sequence[ColumnLayout]


class _OtherShapeError(Exception):
    """An entry does not fit into the columns that those before it had."""


class TablesExport:
    """Tables that are written into folders below a directory.

    Parameters
    ----------
    tables, reading
        What is read, and how.
    options
        How it is written.
    metadata
        What every file says, besides its table.
    workers
        Who reads and encodes. What is held at a time is some 15 MiB for each job, and 32 MiB.
    progress
        Called with the bytes read so far, and those to read.

    Attributes
    ----------
    skipped
        Damage that was skipped.

    Raises
    ------
    UsageError
        As `ExportOptions.make_format`.
    CorruptionError
        Damage met when the entries of multi tables were looked for, unless it is to be skipped.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        reading: ReadOptions,
        options: ExportOptions,
        metadata: Mapping[str, bytes],
        workers: Workers,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.skipped: list[Skipped] = []
        self._tables = tables
        self._reading = reading
        self._options = options
        self._format = options.make_format()
        self._metadata = metadata
        self._workers = workers
        self._progress = progress
        self._done = 0
        dumps = shared_dumps(tables)
        if dumps:
            find_extents(dumps, workers)
        self._total = sum(extent.size for table in tables for extent in table.extents())

    def write(self, directory: str) -> list[ExportedTable]:
        """Write all tables into a directory that is there, and is empty.

        Files do not depend on who does the work.

        Raises
        ------
        CorruptionError
            Damage, unless it is to be skipped.
        UsageError
            An entry has more than 64 optimizers; or optimizers alone are wanted, and a table has no
            state of any.
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            A file went away, or changed.
        WriteError
            The store refused.
        """
        names = folder_names([table.name for table in self._tables])
        return [
            self._write(table, directory, name)
            for table, name in zip(self._tables, names, strict=True)
        ]

    def _write(self, table: Table, directory: str, name: str) -> ExportedTable:
        stream = EntryStream(table.extents())
        folder = join(directory, name)
        store = store_of(folder)
        store.make_directory(folder)
        shape = Shape() if self._format.counts_first else self._look(stream)
        if shape.rows == 0 and stream.size:
            shape = self._shape(stream)
        layout = layout_of(shape, self._options.columns)
        if not layout.columns:
            raise UsageError(
                f"table {table.name!r} has no state of optimizers, and nothing else is wanted",
                hint="take another column as well, or leave the table out",
            )
        try:
            entries = self._files(table, stream, folder, layout, shape)
        except _OtherShapeError:
            shape = self._shape(stream)
            layout = layout_of(shape, self._options.columns)
            entries = self._files(table, stream, folder, layout, shape)
        sizes = store.sizes(folder).values()
        size = sum(each or 0 for each in sizes)
        return ExportedTable(table.name, name, entries, len(sizes), size, layout.columns)

    def _look(self, stream: EntryStream) -> Shape:
        """The columns of the first entries: mostly those of all."""
        for extent in stream.extents:
            end = min(extent.end, extent.start + _LOOK_BYTES)
            fold = self._shape_fold()
            found = RangeTask(extent, self._reading, fold, extent.start, end).run().value
            if found.rows:
                return found
        return Shape()

    def _shape_fold(self) -> ShapeFold:
        wanted = self._options.columns
        return ShapeFold("embedding" in wanted, "opt" in wanted, self._options.chosen)

    def _shape(self, stream: EntryStream) -> Shape:
        """The columns of all entries, in a pass of its own."""
        self._total += stream.size
        shape = Shape()
        pieces = read_ranges(stream, self._reading, self._shape_fold(), workers=self._workers)
        with closing(pieces):
            for piece in pieces:
                shape.merge(piece.value)
                self._tell(piece.size)
        return shape

    def _files(
        self, table: Table, stream: EntryStream, folder: str, layout: Layout, shape: Shape
    ) -> int:
        """Write all files of a table; how many entries there are."""
        options = self._options
        count = options.files or 1
        if options.files is None and options.format != "npy":
            count = max(1, -(-stream.size // _FILE_BYTES))
        name = table.name.encode("utf-8", "replace")
        metadata = {**self._metadata, "monolith.table": name}
        entries = at = 0
        skipped: list[Skipped] = []
        pieces = read_ranges(
            stream,
            self._reading,
            BatchesFold(self._format, layout, options.chosen),
            workers=self._workers,
            # So that small tables are spread over their files, too.
            range_bytes=min(_RANGE_BYTES, -(-stream.size // count) or 1),
        )
        parts = _Parts(self._format, folder, count, layout, shape, metadata)
        done = self._done
        with closing(pieces), parts:
            for piece in pieces:
                parts.go_to(min(at * count // (stream.size or 1), count - 1))
                for shape, columns in piece.value:
                    if columns is None:
                        self._total += self._done - done
                        raise _OtherShapeError
                    parts.file.add(shape.rows, columns)
                    entries += shape.rows
                skipped += piece.skipped
                at = piece.stop
                self._tell(piece.size)
            parts.go_to(count - 1)
        self.skipped = distinct([*self.skipped, *skipped])
        return entries

    def _tell(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, max(self._total, self._done))


class _Parts:
    """The files of a table, one after another; a context manager.

    Attributes
    ----------
    file
        The one that is being written.
    """

    file: FileWriter

    def __init__(
        self,
        format: Format,
        folder: str,
        count: int,
        layout: Layout,
        shape: Shape,
        metadata: Mapping[str, bytes],
    ) -> None:
        self._format = format
        self._folder = folder
        self._count = count
        self._layout = layout
        self._shape = shape
        self._metadata = metadata
        self._number = -1
        self._open = ExitStack()

    def go_to(self, number: int) -> None:
        """End all files before that one, and begin it."""
        while self._number < number:
            self._open.close()
            self._number += 1
            part = Part(self._folder, self._number, self._count)
            begun = self._format.writer(part, self._layout, self._shape, self._metadata)
            self.file = self._open.enter_context(begun)

    def __enter__(self) -> _Parts:
        self.go_to(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)
