"""Deltas read back: which tables they fit, what they take from them, and what they bring.

Of a delta that is applied an index is kept: of each entry that makes room some 9 bytes. The entries
that it brings are read from its file when they are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli import _native, messages
from monolith_cli.errors import CorruptionError, DifferentError, NotReadableError
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES, DumpFile, read_first_record
from monolith_cli.storage.location import as_location
from monolith_cli.tables.diff.delta import VERSION
from monolith_cli.tables.stream import Extent, ReadOptions, open_reader_of_all, skipped_by

if TYPE_CHECKING:
    from monolith_cli.storage.location import AnyPath

__all__ = ["Delta", "DeltaTable", "read_delta"]

_HINT = "make the delta anew"
_WRAP = (1 << 64) - 1


class DeltaTable(NamedTuple):
    """What a delta does to a table.

    Attributes
    ----------
    name
        Of the table.
    is_in_a, is_in_b
        Whether the base, and what it becomes, have it.
    entries_a, entries_b
        How many entries it has there.
    digest_a, digest_b
        Of all of them: the sum of digests of entries, modulo 2**64.
    dumps_b
        The base names of the files that it shares with others in what the base becomes; none of a
        table that has files of its own.
    path
        Of the delta.
    changes
        How many there are.
    brought
        How many of them bring an entry.
    brought_digest
        Of these entries.
    gone
        The feature ids of which all entries make room.
    start, end
        Where in the delta its changes lie, in uncompressed bytes.
    """

    name: str
    is_in_a: bool
    is_in_b: bool
    entries_a: int
    entries_b: int
    digest_a: int
    digest_b: int
    dumps_b: tuple[str, ...]
    path: str
    changes: int = 0
    brought: int = 0
    brought_digest: int = 0
    gone: _native.FidIndex | None = None
    start: int = 0
    end: int = 0

    def check_base(self, entries: int, digest: int, path: str | None) -> None:
        """Make sure that a table is the one that the delta was made from.

        Raises
        ------
        DifferentError
            It is not.
        """
        if digest == self.digest_a and entries == self.entries_a:
            return
        found = f"{entries:,} entries with the digest {digest:016x}"
        raise DifferentError(
            f"table {self.name!r} is not the base of the delta: it has {found}, where the delta was"
            f" made from {self.entries_a:,} with {self.digest_a:016x}",
            path=path,
            hint="apply it to the step that it was made from",
            kind="another_base",
        )

    def check_result(self, base: int, gone_entries: int, gone_digest: int) -> None:
        """Make sure that the base, without what is gone and with what is brought, is the result.

        Raises
        ------
        CorruptionError
            It is not: the delta does not do what its header says.
        """
        entries = self.entries_a - gone_entries + self.brought
        digest = (base - gone_digest + self.brought_digest) & _WRAP
        if digest == self.digest_b and entries == self.entries_b:
            return
        raise CorruptionError(
            f"table {self.name!r} would become {entries:,} entries with the digest {digest:016x},"
            f" where the delta promises {self.entries_b:,} with {self.digest_b:016x}",
            path=self.path,
            hint=_HINT,
            kind="delta_differs",
        )


class Delta(NamedTuple):
    """What a delta does.

    Attributes
    ----------
    file
        It.
    step_a, step_b
        The steps of the base, and of what it becomes; None where there is none.
    tables
        All tables of either side that were compared, in the order of the header.
    """

    file: DumpFile
    step_a: int | None
    step_b: int | None
    tables: list[DeltaTable]

    @property
    def changes(self) -> int:
        """How many there are, of all tables."""
        return sum(table.changes for table in self.tables)

    @property
    def index_bytes(self) -> int:
        """How much memory the index takes."""
        return sum(table.gone.memory_bytes for table in self.tables if table.gone is not None)

    def extent(self, table: DeltaTable) -> Extent:
        """Where the changes of a table lie."""
        return Extent(self.file, table.start, table.end, table.name)


def read_delta(path: AnyPath, *, max_record_bytes: int = MAX_RECORD_BYTES) -> Delta:
    """Read a delta that `DeltaWriter` has written: check it whole, and make its index.

    Costs one read of it.

    Raises
    ------
    CorruptionError
        It is damaged, cut short, or no delta.
    NotReadableError
        It is of a later version of the format, or cannot be read.
    PathNotFoundError, ChangedWhileReadError
        As `read_records`.
    """
    path = as_location(path)
    header = _read_header(path, max_record_bytes)
    file = DumpFile(path, "plain", max_record_bytes)
    scan = _scan(file, max_record_bytes)
    tables = [_table(each, path) for each in header.tables]
    for part in scan.parts:
        if part.table >= len(tables):
            what = f"changes of table {part.table}, where the header has {len(tables)} tables"
            raise _bad(path, what, part.start)
        if part.entries and not tables[part.table].is_in_b:
            what = f"entries of table {tables[part.table].name!r}, which is to go"
            raise _bad(path, what, part.start)
        tables[part.table] = tables[part.table]._replace(
            changes=part.changes,
            brought=part.entries,
            brought_digest=part.sum,
            gone=part.gone,
            start=part.start,
            end=part.end,
        )
    steps = [
        int(getattr(header, name)) if header.HasField(name) else None
        for name in ("step_a", "step_b")
    ]
    return Delta(file, steps[0], steps[1], tables)


def _read_header(path: str, max_record_bytes: int) -> Any:
    from google.protobuf.message import DecodeError

    record = read_first_record(path, max_record_bytes=max_record_bytes)
    if record is None:
        raise _bad(path, "an empty file, and not a delta", 0)
    try:
        parsed = messages.DeltaRecord.FromString(record)
    except DecodeError:
        parsed = messages.DeltaRecord()
    if parsed.WhichOneof("record") != "header":
        raise _bad(path, "not a delta: it does not begin with a header", 0)
    if parsed.header.version > VERSION:
        raise NotReadableError(
            f"a delta of version {parsed.header.version}, where {VERSION} is the last one known",
            path=path,
            hint="use the version of this program that has written it",
        )
    return parsed.header


def _scan(file: DumpFile, max_record_bytes: int) -> _native.DeltaScan:
    reader = open_reader_of_all(file, ReadOptions(max_record_bytes=max_record_bytes))
    try:
        scan = reader.delta()
    except (OSError, _native.ChangedError) as error:
        raise file.explain(error) from None
    damage = skipped_by(reader, file)
    if damage:
        raise damage[0].error()
    file.check_unchanged()
    file.learn()
    if scan.problem:
        raise _bad(file.path, scan.problem, scan.problem_at)
    if not scan.ended:
        raise CorruptionError(
            "cut short: the end of the delta is missing",
            path=file.path,
            offset=file.stored_bytes,
            hint=_HINT,
            kind="truncated_data",
        )
    return scan


def _table(header: Any, path: str) -> DeltaTable:
    return DeltaTable(
        header.name.decode("utf-8", "surrogateescape"),
        header.in_a,
        header.in_b,
        header.entries_a,
        header.entries_b,
        header.digest_a,
        header.digest_b,
        tuple(each.decode("utf-8", "surrogateescape") for each in header.dumps_b),
        path,
    )


def _bad(path: str, what: str, position: int) -> CorruptionError:
    return CorruptionError(what, path=path, offset=position, hint=_HINT, kind="bad_message")
