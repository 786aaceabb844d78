"""Tables written into folders, one each, in a format that analysts read."""

from __future__ import annotations

from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import MonolithError, UsageError
from monolith_cli.execution.workers import ALONE, Workers, is_given_up
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of
from monolith_cli.tables.export.arrays import require_pyarrow
from monolith_cli.tables.export.arrow import ArrowFormat
from monolith_cli.tables.export.files import Format, Part
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
            files, or PyArrow is not installed and it needs that.
        """
        unknown = sorted(set(self.columns) - set(COLUMNS))
        if unknown or not self.columns:
            hint = f"there are {', '.join(COLUMNS)}"
            raise UsageError(f"no column {', '.join(unknown)}".rstrip(), hint=hint)
        if self.files is not None and self.files < 1:
            raise UsageError(f"{self.files} files: at least one for each table")
        if self.format == "parquet":
            require_pyarrow("Parquet")
            return ParquetFormat(self.compress is not False)
        if self.format == "arrow":
            require_pyarrow("Arrow")
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
        Who reads and writes. What is held at a time is some 50 MiB for each job.
    progress
        Called with the bytes read so far, and those to read, by one thread at a time.

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
        self._telling = Lock()
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
        done = self._done
        try:
            entries = self._files(table, stream, folder, layout, shape)
        except _OtherShapeError:
            self._total += self._done - done
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
        # A writer keeps a processor busy, and each file has one: so files are written at a time,
        # each by who reads it. An executor may be elsewhere, and only reads.
        apart = count > 1 and not self._workers.elsewhere
        tasks = (
            _FileTask(
                self._format,
                Part(folder, number, count),
                stream,
                self._reading,
                options.chosen,
                layout,
                shape,
                metadata,
                ALONE if apart else self._workers,
                self._tell,
            )
            for number in range(count)
        )
        entries = 0
        skipped: list[Skipped] = []
        with closing((self._workers if apart else ALONE).in_order(tasks)) as done:
            for _, (rows, damage) in done:
                entries += rows
                skipped += damage
        self.skipped = distinct([*self.skipped, *skipped])
        return entries

    def _tell(self, size: int) -> None:
        with self._telling:
            self._done += size
            if self._progress is not None:
                self._progress(self._done, max(self._total, self._done))


class _FileTask(NamedTuple):
    """A file of a table, which is written in this process.

    Attributes
    ----------
    format, part, layout, shape, metadata
        What is written.
    stream, reading, chosen
        The table, of which the file has a share, how it is read, and which entries.
    workers
        Who reads.
    tell
        Called with how many bytes more have been read.
    """

    format: Format
    part: Part
    stream: EntryStream
    reading: ReadOptions
    chosen: EntryFilter | None
    layout: Layout
    shape: Shape
    metadata: Mapping[str, bytes]
    workers: Workers
    tell: Callable[[int], None]

    def run(self) -> tuple[int, list[Skipped]]:
        """Write it; how many entries there are, and damage that was skipped.

        Raises
        ------
        _OtherShapeError
            An entry does not fit into the layout.
        CorruptionError, UsageError, PathNotFoundError, NotReadableError, ChangedWhileReadError,
        WriteError
            As `TablesExport.write`.
        """
        part = self.part
        entries = 0
        skipped: list[Skipped] = []
        pieces = read_ranges(
            self.stream,
            self.reading,
            BatchesFold(self.format, self.layout, self.chosen),
            shard=part.number,
            nshards=part.of,
            workers=self.workers,
            range_bytes=_RANGE_BYTES,
        )
        begun = self.format.writer(part, self.layout, self.shape, self.metadata)
        with closing(pieces), begun as file:
            for piece in pieces:
                for shape, columns in piece.value:
                    if columns is None:
                        raise _OtherShapeError
                    file.add(shape.rows, columns)
                    entries += shape.rows
                skipped += piece.skipped
                self.tell(piece.size)
                if is_given_up():
                    raise MonolithError(
                        "not written to the end", path=part.folder
                    )  # nobody hears it
        return entries, skipped
