"""The dumps of a step in a new directory: what is undamaged of them, in a form that loads."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from monolith_cli.care.repair.files import (
    Mended,
    MendTask,
    is_filter_head,
    keep_cells,
    keep_entries,
    keep_tables,
    records_of_filter,
    write_contents,
    write_empty_cells,
)
from monolith_cli.checkpoint.names import (
    HASH_FILTER_PREFIX,
    META_SUFFIX,
    parse_shard_name,
    shard_name,
)
from monolith_cli.checkpoint.shard_set import ShardSet
from monolith_cli.errors import CorruptionError, MissingShardError
from monolith_cli.formats.ckpt_info import read_ckpt_info
from monolith_cli.formats.tfrecord import RecordWriter, read_first_record
from monolith_cli.storage.location import join, name_of
from monolith_cli.tables.multi_dump import MultiDump, read_contents
from monolith_cli.tables.stream import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.care.repair.step import StepRepair
    from monolith_cli.checkpoint.assets import AssetsListing
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.formats.wire import TableMeta
    from monolith_cli.tables.stream import Extent

__all__ = ["mend_tables"]

SINGLE, MULTI, FILTER = "single", "multi", "hash_filter"


class _Dump:
    """The files of a dump that are there, by their numbers, of `total`."""

    def __init__(self, base: str, kind: str) -> None:
        self.base = base
        self.kind = kind
        self.total = 0
        self.data: dict[int, str] = {}
        self.contents: dict[int, str] = {}

    def add(self, path: str) -> None:
        name = parse_shard_name(name_of(path))
        if name is not None:
            is_data = name.base == self.base
            self.total = max(self.total, name.total)
            (self.data if is_data else self.contents)[name.number] = path


def _spans(tables: Sequence[TableMeta], extents: Sequence[Extent]) -> list[tuple[int, int | None]]:
    """Between which positions of a file each table's entries lie; None for its end.

    What is damaged is in no extent: a table goes from where those before it end to where those
    behind it begin.
    """
    order = {table.table_name: at for at, table in enumerate(tables)}
    places = [(order[each.table], each) for each in extents if each.table is not None]
    return [
        (
            max((each.end for place, each in places if place < at), default=0),
            min((each.start for place, each in places if place > at), default=None),
        )
        for at in range(len(tables))
    ]


def _take(damage: list[Skipped], span: tuple[int, int | None], lost: int) -> str | None:
    """What the first damage between two positions is, where a table has lost so many records.

    A damaged record is of one table, and so is taken out; what is not known to be a single one may
    reach from one table into the next.
    """
    start, end = span
    here = [each for each in damage if each.end > start and (end is None or each.position < end)]
    for each in here[:lost]:
        if each.one_record:
            damage.remove(each)
    return here[0].what if here else None


class _Tables:
    """The dumps of a step, while they are written into a directory of their own."""

    def __init__(self, repair: StepRepair, directory: str) -> None:
        self.repair = repair
        self.directory = directory
        self.mended: dict[str, Mended] = {}

    def path(self, base: str, number: int, total: int) -> str:
        return join(self.directory, shard_name(base, number, total))

    def tasks(self, dump: _Dump) -> Iterable[MendTask]:
        """What copies its files, and puts bits back."""
        message = "filter" if dump.kind == FILTER else "entry"
        expected = "snappy" if dump.kind == MULTI else "plain"
        limit = self.repair.max_record_bytes
        for number, path in dump.data.items():
            target = self.path(dump.base, number, dump.total)
            yield MendTask(path, target, message, expected, limit)
        for number, path in dump.contents.items():
            target = self.path(dump.base + META_SUFFIX, number, dump.total)
            yield MendTask(path, target, "contents", "plain", limit)

    def note(self, dump: _Dump, task: MendTask, mended: Mended) -> None:
        """Keep what became of a file."""
        self.mended[task.target] = mended
        self.repair.copied(task.target, mended.copied)
        self.repair.put_back(task.source, mended.flips, dump.base)

    def settle(self, dump: _Dump) -> None:
        """Make it load, once its files are copied."""
        if dump.kind == FILTER:
            self._settle_filter(dump)
            return
        files = [self.path(dump.base, number, dump.total) for number in dump.data]
        if dump.kind == MULTI or any(self.mended[path].is_snappy for path in files):
            self._settle_multi(dump)
        else:
            self._settle_single(dump)

    def _settle_single(self, dump: _Dump) -> None:
        kept = 0
        for number in range(dump.total):
            path = self.path(dump.base, number, dump.total)
            mended = self.mended.get(path)
            if mended is None:
                self._empty(path, "plain")
                self.repair.left_out(path, "missing", table=dump.base)
            elif mended.damage:
                entries, lost = keep_entries(path, self.repair.max_record_bytes)
                kept += entries
                self.repair.left_out(path, mended.damage[0].what, lost, table=dump.base)
                self.repair.rewritten(path)
            else:
                kept += mended.records
        self.repair.entries[dump.base] = kept

    def _settle_multi(self, dump: _Dump) -> None:
        data = [self.path(dump.base, number, dump.total) for number in range(dump.total)]
        meta_base = dump.base + META_SUFFIX
        metas = [self.path(meta_base, number, dump.total) for number in range(dump.total)]
        contents = [self._contents(path, number, dump) for number, path in enumerate(metas)]
        tables = self._tables_of(dump, contents)
        for number, path in enumerate(data):
            here = contents[number]
            mended = self.mended.get(path)
            if here is None or len(here) < len(tables):
                lost = mended.records if mended else None
                what = "without its contents file nobody knows which entries are whose"
                self._leave_out(path, metas[number], tables, what, lost)
            elif mended is None:
                lost = sum(table.num_entries for table in here)
                self._leave_out(path, metas[number], tables, "missing", lost)
        dumps = (
            ShardSet(self.directory, dump.base, data),
            ShardSet(self.directory, meta_base, metas),
        )
        limit = self.repair.max_record_bytes
        written = MultiDump(*dumps, ReadOptions(skip=True, max_record_bytes=limit))
        kept = 0
        for number, path in enumerate(data):
            mended = self.mended.get(path)
            promised = written.expected(number)
            if mended is None or not (mended.damage or mended.records < promised):
                kept += promised
                continue
            before = written.contents[number]
            spans = _spans(before, written.shard_extents(number).extents)
            after = keep_tables(written, number, metas[number])
            damage = list(mended.damage)
            for table, span in zip(before, spans, strict=True):
                lost = table.num_entries - after[table.table_name]
                if lost:
                    what = _take(damage, span, lost) or "cut short at the end of a record"
                    self.repair.left_out(path, what, lost, table=table.table_name)
            self.repair.rewritten(path, metas[number])
            kept += sum(after.values())
        self.repair.entries[dump.base] = kept

    def _contents(self, path: str, number: int, dump: _Dump) -> list[TableMeta] | None:
        """What a contents file says, as it is now; None if it is missing or damaged."""
        mended = self.mended.get(path)
        if mended is None or mended.damage:
            return None
        limit = self.repair.max_record_bytes
        try:
            found = read_contents(path, ReadOptions(max_record_bytes=limit))
        except CorruptionError:
            return None
        data = self.mended.get(self.path(dump.base, number, dump.total))
        return found if found or data is None or not data.copied.bytes else None

    def _tables_of(self, dump: _Dump, contents: list[list[TableMeta] | None]) -> dict[str, int]:
        """The tables of a dump, each with no entry."""
        names = [table.table_name for each in contents for table in each or ()]
        if not names and None in contents and self.repair.info_path is not None:
            # The counts have the names of all dumps; those of the others are known by now.
            with suppress(OSError, ValueError):
                names = list(read_ckpt_info(self.repair.info_path).feature_counts)
            names = [name for name in names if name not in self.repair.shared]
        self.repair.shared.update(names)
        return dict.fromkeys(names, 0)

    def _leave_out(
        self, path: str, meta: str, tables: dict[str, int], what: str, lost: int | None
    ) -> None:
        self._empty(path, "snappy")
        write_contents(meta, tables)
        self.repair.left_out(path, what, lost)
        self.repair.rewritten(path, meta)
        self.mended.pop(path, None)

    def _settle_filter(self, dump: _Dump) -> None:
        heads = [self._head(dump, number) for number in range(dump.total)]
        head = next((each for each in heads if each), None)
        for number in range(dump.total):
            path = self.path(dump.base, number, dump.total)
            mended = self.mended.get(path)
            if mended is None:
                if head is None:
                    what = "missing, like all of its hash filter, of which nobody knows the size"
                    raise MissingShardError(what, path=self.repair.source_of(path))
                write_empty_cells(path, head)
                what = "missing; its cells of a hash filter are empty now"
                self.repair.left_out(path, what, 0)
                self.repair.rewritten(path)
            elif mended.damage or mended.records < records_of_filter(heads[number]):
                own = heads[number] or head
                try:
                    cells = keep_cells(path, own, self.repair.max_record_bytes)
                except CorruptionError as error:
                    error.path = self.repair.source_of(path)
                    raise
                what = mended.damage[0].what if mended.damage else "cut short between two records"
                what += f"; {cells:,} cells of a hash filter are empty now"
                self.repair.left_out(path, what, 0)
                self.repair.rewritten(path)

    def _head(self, dump: _Dump, number: int) -> bytes | None:
        """The first record of a split; None if that is damaged, or is none."""
        path = self.path(dump.base, number, dump.total)
        mended = self.mended.get(path)
        if mended is None or any(each.position == 0 for each in mended.damage):
            return None
        record = read_first_record(path, max_record_bytes=self.repair.max_record_bytes)
        return record if record and is_filter_head(record) else None

    def _empty(self, path: str, compression: str) -> None:
        with RecordWriter(path, compression):
            pass
        self.repair.rewritten(path)


def mend_tables(repair: StepRepair, listing: AssetsListing, directory: str) -> None:
    """Write the dumps of a step into a directory, and tell the repair what became of them.

    Raises
    ------
    CorruptionError
        Nobody knows which files are the dump's, or a hash filter cannot be made whole.
    PathNotFoundError, NotReadableError, ChangedWhileReadError, WriteError
        As `CopyTask.run`.
    """
    tables = _Tables(repair, directory)
    dumps = _dumps(listing, repair)
    tasks = [(dump, task) for dump in dumps for task in tables.tasks(dump)]
    for (dump, task), mended in zip(tasks, repair.run([task for _, task in tasks]), strict=True):
        tables.note(dump, task, mended)
    for dump in dumps:
        tables.settle(dump)


def _dumps(listing: AssetsListing, repair: StepRepair) -> list[_Dump]:
    found: list[_Dump] = []

    def add(base: str, kind: str, paths: Iterable[str]) -> None:
        dump = _Dump(base, kind)
        for path in paths:
            dump.add(path)
        found.append(dump)

    for base, shards in listing.singles.items():
        add(base, SINGLE, shards.paths)
    for base, (data, meta) in listing.multis.items():
        add(base, MULTI, [*data.paths, *meta.paths])
    for base, shards in listing.hash_filters.items():
        add(base, FILTER, shards.paths)
    for broken in listing.broken:
        if broken.error.kind not in ("missing_shard", "manifest_differs"):
            raise broken.error  # which of the files are the right ones?
        kind = FILTER if broken.base.startswith(HASH_FILTER_PREFIX) else broken.kind
        add(broken.base, kind, broken.paths)
        # Of a dump of which nothing is left, the manifest knows how many files there were.
        totals = [parse_shard_name(name) for name in repair.manifest_files]
        for name in totals:
            if name is not None and name.base == broken.base:
                found[-1].total = name.total
            elif name is not None and name.base == broken.base + META_SUFFIX:
                found[-1].kind, found[-1].total = MULTI, name.total
    return found
