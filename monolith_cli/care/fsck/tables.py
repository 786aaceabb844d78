"""Every byte of a step's tables and filters, and what they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.care.findings import finding, finding_of
from monolith_cli.care.fsck.contents import blamed_contents
from monolith_cli.care.fsck.flips import flips_in, with_flip
from monolith_cli.care.fsck.scan import Scanned, scan_files
from monolith_cli.checkpoint.names import META_SUFFIX, parse_shard_name, shard_name
from monolith_cli.checkpoint.shard_set import MISSING_HINT
from monolith_cli.errors import CorruptionError
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES, DumpFile
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.tables.folds.count import CountFold, Tally
from monolith_cli.tables.folds.record_count import RecordCount, RecordCountFold
from monolith_cli.tables.hash_filters import FilterTask
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.formats.wire import TableMeta

__all__ = ["TableFile", "TablesRead", "check_copies", "read_tables", "table_files"]

_CELLS_A_RECORD = 10_000
_MORE_CELLS = 64
"""A filter has so many cells more than it has room for."""

SINGLE, MULTI, FILTER = "single", "multi", "filter"


class TableFile(NamedTuple):
    """A shard with entries, or of a filter: no contents file.

    Attributes
    ----------
    base
        The base name of its dump, which is the name of a single table.
    contents
        What its contents file says; None of others, and where it cannot be read.
    """

    path: str
    kind: str
    base: str
    contents: Sequence[TableMeta] | None = None

    @property
    def table(self) -> str | None:
        """The only table in it; None where there are several, or nobody knows."""
        if self.kind != MULTI:
            return self.base
        names = {table.table_name for table in self.contents or ()}
        return names.pop() if len(names) == 1 else None

    @property
    def promised(self) -> int | None:
        """How many entries its contents file promises."""
        if self.contents is None:
            return None
        return sum(table.num_entries for table in self.contents)


class TablesRead(NamedTuple):
    """What there is in a step's tables.

    Attributes
    ----------
    findings
        Damage, and what does not fit the contents files.
    by_file
        The counts of each file with entries, by path.
    is_whole
        Whether all of it was read, without damage.
    extra
        Records that no contents file promises.
    """

    findings: list[Finding]
    by_file: dict[str, tuple[TableFile, Tally]]
    is_whole: bool
    extra: int


def table_files(look: StepLook) -> list[TableFile]:
    """The files to read, in natural order: those of dumps that are not whole, too."""
    listing = look.listing
    files = [
        TableFile(path, SINGLE, base)
        for base, shards in listing.singles.items()
        for path in shards.paths
    ]
    for base, (data, meta) in listing.multis.items():
        for path, contents in zip(data.paths, meta.paths, strict=True):
            # An empty one, which is said already, promises nothing.
            files.append(TableFile(path, MULTI, base, look.contents[contents] or None))
    for base, shards in listing.hash_filters.items():
        files += [TableFile(path, FILTER, base) for path in shards.paths]
    for broken in listing.broken:
        contents_of = {name_of(path): look.contents.get(path) for path in broken.paths}
        for path in broken.paths:
            name = parse_shard_name(name_of(path))
            if name is None or name.base != broken.base:
                continue
            own = shard_name(broken.base + META_SUFFIX, name.number, name.total)
            files.append(TableFile(path, broken.kind, broken.base, contents_of.get(own)))
    return files


def read_tables(look: StepLook, reading: Reading) -> TablesRead:
    """Read every file once, whatever is wrong with others.

    Raises
    ------
    PathNotFoundError, ChangedWhileReadError
        A file went away, or is being written to.
    """
    files = {file.path: file for file in table_files(look)}
    entries = [file for file in files.values() if file.kind != FILTER]
    filters = [file for file in files.values() if file.kind == FILTER]
    read = TablesRead([], {}, not look.listing.broken, 0)
    scan = scan_files(map(_named, entries), CountFold(EntryFilter()), reading)
    of_filters = scan_files(map(_named, filters), RecordCountFold(), reading)
    look.unread += [*scan.unread, *of_filters.unread]
    extra = 0
    entries_in: dict[str, int] = {}
    for path, found in scan.files.items():
        file = files[path]
        read.by_file[path] = file, found.value
        read.findings.extend(_of_damage(look, file, found))
        promised = file.promised
        if promised is not None and not found.damage:
            extra += max(found.value.entries - promised, 0)
            entries_in[path] = found.value.entries
    blamed = blamed_contents(look, entries_in)
    for path, number in entries_in.items():
        if path in blamed:
            read.findings.extend(blamed[path])
        else:
            read.findings.extend(_against_contents(look, files[path], number))
    for path, counted in of_filters.files.items():
        file = files[path]
        read.findings.extend(_of_damage(look, file, counted))
        if not counted.damage:
            read.findings.extend(_against_head(look, file, counted))
    hidden = list(_lost_contents(look, entries))
    look.has_contents_missing = bool(hidden)
    read.findings.extend(hidden)
    read.findings.extend(_dims(look, read, scan.files, blamed) if not hidden else ())
    is_whole = (
        read.is_whole
        and not look.unread
        and not any(finding.severity == "error" for finding in read.findings)
    )
    return read._replace(is_whole=is_whole, extra=extra)


def _named(file: TableFile) -> tuple[str, str]:
    return file.path, "snappy" if file.kind == MULTI else "plain"


def _of_damage(
    look: StepLook, file: TableFile, found: Scanned[Tally] | Scanned[RecordCount]
) -> Iterator[Finding]:
    flips = flips_in(file.path, found.damage, "filter" if file.kind == FILTER else "entry")
    for damage, flip in zip(found.damage, flips, strict=True):
        made = finding_of(damage.error(), step=look.step, table=file.table)
        yield with_flip(made, flip)
    if found.unstable:
        yield unstable(look, file, found.unstable)


def unstable(look: StepLook, file: TableFile, damage: Sequence[Skipped]) -> Finding:
    """The finding of damage that was met once, and not the second time."""
    places = "a damaged place" if len(damage) == 1 else f"{len(damage)} damaged places"
    return finding(
        "unstable_read",
        f"{places} when it was read once, and none there when it was read again",
        step=look.step,
        table=file.table,
        file=file.path,
        offset=damage[0].offset,
        suggest="test this host's memory, and the network to the files",
    )


def _against_contents(look: StepLook, file: TableFile, found: int) -> Iterator[Finding]:
    promised = file.promised
    assert promised is not None
    if found < promised:
        id = "too_few_entries" if look.size(file.path) else "empty_shard"
        what = f"has {found} of the {promised} entries that its contents file promises"
        suggest = "restore it"
    elif found > promised:
        id = "extra_entries"
        what = f"has {found} entries, but its contents file promises {promised}"
        suggest = "restore both from one copy; nobody reads those behind"
    else:
        return
    yield finding(id, what, step=look.step, table=file.table, file=file.path, suggest=suggest)


def _against_head(
    look: StepLook, file: TableFile, found: Scanned[RecordCount]
) -> Iterator[Finding]:
    """Whether a filter has the records that its first one speaks of."""
    records = found.value.records
    try:
        head = FilterTask(file.path, MAX_RECORD_BYTES).run()
    except CorruptionError as error:
        yield finding_of(error, step=look.step, table=file.base)
        return
    if head is None:
        what = "has no bytes, where each file of a filter has a record at least"
        yield finding(
            "empty_shard",
            what,
            step=look.step,
            table=file.base,
            file=file.path,
            suggest="restore it",
        )
        return
    expected = 1 - (head.total_size + _MORE_CELLS) // -_CELLS_A_RECORD
    if records < expected:
        what = f"has {records} of the {expected} records of a filter of {head.total_size} cells"
        yield finding(
            "too_few_entries",
            what,
            step=look.step,
            table=file.base,
            file=file.path,
            suggest="restore it",
        )


def _lost_contents(look: StepLook, files: Sequence[TableFile]) -> Iterator[Finding]:
    """Data of many tables, which is in SNAPPY blocks, without its contents files."""
    said: set[str] = set()
    for file in files:
        if file.kind != SINGLE or file.base in said or not look.size(file.path):
            continue
        if DumpFile(file.path).open().compression != "snappy":
            continue
        said.add(file.base)
        name = parse_shard_name(name_of(file.path))
        assert name is not None
        for number in range(name.total):
            contents = shard_name(name.base + META_SUFFIX, number, name.total)
            yield finding(
                "missing_shard",
                "missing, while data of many tables is there: the save is not whole",
                step=look.step,
                file=join(parent_of(file.path), contents),
                suggest=MISSING_HINT,
            )


def _dims(
    look: StepLook,
    read: TablesRead,
    scanned: dict[str, Scanned[Tally]],
    unknown: Collection[str],
) -> Iterator[Finding]:
    """Tables whose entries are not alike, at the first file in which one is unlike those before.

    Nobody knows which entries are of which table in the files that are `unknown`.
    """
    shapes: dict[str, tuple[int, int]] = {}
    said: set[str] = set()
    for path, (file, tally) in read.by_file.items():
        if path in unknown:
            continue
        for table, run in _runs(file, tally, bool(scanned[path].damage)):
            known = shapes.setdefault(table, run)
            if known == run or table in said:
                continue
            said.add(table)
            yield finding(
                "dims_differ",
                f"has entries with {_shape(run)} beside such with {_shape(known)}",
                step=look.step,
                table=table,
                file=path,
                suggest="the training system trusts the first: look for tables that were merged",
            )


def _runs(file: TableFile, tally: Tally, damaged: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    """The kinds of entries in a file, with the table that each is of, where that is known."""
    runs = tally.runs
    if file.kind == SINGLE:
        for _, dim, types in runs:
            yield file.base, (dim, types)
        return
    if damaged or file.contents is None or tally.runs_cut:
        return
    ends = [first for first, _, _ in runs[1:]] + [tally.entries]
    at = start = 0
    for table in file.contents:
        end = start + table.num_entries
        while start < end and at < len(runs) and runs[at][0] < end:
            if ends[at] > start:
                yield table.table_name, runs[at][1:]
            if ends[at] > end:
                break  # it goes on in the next table
            at += 1
        start = end


def _shape(run: tuple[int, int]) -> str:
    names = _native.optimizer_names(run[1])
    return f"{run[0]} floats" + (f" and {', '.join(names)}" if names else " and no optimizer")


def check_copies(look: StepLook, reading: Reading) -> Iterator[Finding]:
    """Whether files that several servers of an export have are the same, byte for byte."""
    from monolith_cli.tables.counting import CopyTask

    pairs = list(dict.fromkeys(p for shards in look.listing.sets() for p in shards.copies))
    sizes = [look.size(copy) or 0 for _, copy in pairs]
    tasks = [CopyTask(*pair) for pair in pairs]
    for (_, copy), (_, error) in zip(pairs, reading.each(tasks, sizes), strict=True):
        if error is not None:
            name = parse_shard_name(name_of(copy))
            table = name.base.removesuffix(META_SUFFIX) if name else None
            yield finding_of(error, step=look.step, table=table)
