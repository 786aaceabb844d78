"""The tables of a checkpoint: those that are whole, and what is wrong with the others.

A table is whole or left out: of one that several dumps hold parts of, no part may be missing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import META_SUFFIX, natural_key, parse_shard_name, shard_name
from monolith_cli.checkpoint.shard_set import MISSING_HINT
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    MonolithError,
    TableNotFoundError,
)
from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.storage.location import join, name_of
from monolith_cli.tables.single import SingleTable
from monolith_cli.tables.stream import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monolith_cli.checkpoint.assets import AssetsListing
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.shard_set import BrokenSet, ShardSet
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.multi_dump import MultiDump
    from monolith_cli.tables.table import Table

__all__ = ["NO_TABLES", "FoundTables", "find_tables", "open_tables"]

NO_TABLES = "no hash tables: the model has none, its tables are elsewhere, or they are gone"
"""What there is to say where none were found and some were wanted."""


class FoundTables(NamedTuple):
    """What `find_tables` found.

    Attributes
    ----------
    tables
        The whole tables that are asked for: single ones first, then multi ones, by name in natural
        order.
    problems
        What is wrong with dumps of tables that are asked for, or may be: of a multi dump without
        its contents file nobody knows the tables. These tables are left out.
    filter_problems
        What is wrong with occurrence filters, and with the step beside its dumps, such as a
        manifest that does not parse; none where tables are picked.
    warnings
        What is odd and no error: a phrase each.
    files
        All dumps, whatever was asked for.
    others
        Where tables are picked: what is wrong with dumps of others, with filters, and beside dumps.
    shared_names
        The names of all tables that share their files, whatever was asked for.
    resized
        Those of the problems whose tables are read all the same, as damage is to be skipped: a file
        is of another size than the step's manifest says.
    """

    tables: list[Table]
    problems: list[CorruptionError]
    filter_problems: list[CorruptionError]
    warnings: list[str]
    files: AssetsListing
    others: Sequence[CorruptionError] = ()
    shared_names: frozenset[str] = frozenset()
    resized: Sequence[CorruptionError] = ()

    def holds_nothing(self) -> bool:
        """Whether all dumps are empty, whatever was asked for, by their sizes. Raises as `sizes`.

        Occurrence filters are no tables.
        """
        dumps = [*self.files.singles.values(), *(data for data, _ in self.files.multis.values())]
        return not any(size for shards in dumps for size in shards.sizes())

    def copy_of(self, path: str | None) -> str | None:
        """Where another server of an export has the same file, equally large; None if none has."""
        pairs = (pair for shards in self.files.sets() for pair in shards.copies)
        return next((copy for original, copy in pairs if original == path), None)

    def copies_of(self, damages: Iterable[Skipped]) -> list[str]:
        """A phrase for each damaged file of which another server has a copy."""
        copies = {damage.path: self.copy_of(damage.path) for damage in damages}
        return [
            f"{path}: '{copy}' is a copy of the same size, which may be sound"
            for path, copy in copies.items()
            if copy is not None
        ]

    @contextmanager
    def naming_copies(self) -> Iterator[None]:
        """Within it the error of a damaged file says where a copy is, in an export."""
        try:
            yield
        except CorruptionError as error:
            self._name_copy(error)
            raise

    def _name_copy(self, error: CorruptionError) -> None:
        copy = self.copy_of(error.path)
        if copy is not None and error.kind not in ("copies_differ", "empty_shard"):
            hint = error.hint or "restore it"
            error.hint = f"{hint}, perhaps from '{copy}', a copy of the same size"

    @property
    def is_empty(self) -> bool:
        """Whether there are no tables, not even such that are not whole."""
        return not self.tables and not self.problems


def open_tables(
    checkpoint: Checkpoint,
    patterns: Sequence[str] = (),
    options: ReadOptions | None = None,
) -> list[Table]:
    """The tables of a checkpoint: single ones first, then multi ones, by name in natural order.

    Reads directories, contents files (`.meta`), and of each single table the beginning of a
    file. `find_tables` goes on with what is whole, where this raises.

    Parameters
    ----------
    patterns
        Names, or shell patterns (`*`, `?`, `[…]`) of names, one or several; a table is wanted if
        one matches. One that is the very name of a table means that table alone. None: all.

    Raises
    ------
    TableNotFoundError
        A pattern matches no table.
    MissingShardError, ShardMismatchError
        A dump of a wanted table is not whole.
    CorruptionError
        A contents file is damaged, or promises more than its data can be; copies of a file
        differ in size; a pattern matches no table, and ckpt.info counts tables that are gone.
    PathNotFoundError, NotReadableError
        Files went away, or cannot be read.
    """
    found = find_tables(checkpoint, patterns, options)
    if found.problems:
        raise found.problems[0]
    return found.tables


def find_tables(
    checkpoint: Checkpoint,
    patterns: Sequence[str] = (),
    options: ReadOptions | None = None,
) -> FoundTables:
    """The whole tables of a checkpoint, and what is wrong with others; else as `open_tables`.

    With `options.skip` a data file that is too small is no problem of the dump, but damage to be
    met when it is read; and one of another size than the step's manifest says is a problem, but its
    tables are not left out.

    Raises
    ------
    TableNotFoundError
        A pattern matches no table, not even one that is not whole.
    CorruptionError
        The same, and ckpt.info counts tables that are gone.
    PathNotFoundError, NotReadableError
        As `open_tables`.
    """
    options = options or ReadOptions()
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    files = checkpoint.table_files()
    lost = [_lost(broken, options) for broken in files.broken if broken.kind != "filter"]
    resized: list[_Lost] = []
    singles: list[Table] = []
    for name, shards in files.singles.items():
        if name in files.resized:
            resized.append(_Lost(files.resized[name], frozenset([name])))
            if not options.skip:
                continue
        table = SingleTable(name, shards, options)
        if _is_snappy(table.files):
            lost.append(_Lost(_lost_contents(shards), None))
        else:
            singles.append(table)
    warnings = list(files.warnings)
    holders: dict[str, list[MultiDump]] = {}
    if files.multis:
        from monolith_cli.tables.multi_dump import MultiDump
    for data, meta in files.multis.values():
        try:
            dump = MultiDump(data, meta, options)
        except CorruptionError as error:
            lost.append(_Lost(error, _names_in(meta.paths, options)))
            continue
        short = None if options.skip else dump.shortfall()
        if data.base in files.resized:
            resized.append(_Lost(files.resized[data.base], frozenset(dump.entries())))
            if not options.skip:
                continue
        if short is not None:
            lost.append(_Lost(short, frozenset(dump.entries())))
            continue
        for name in dump.entries():
            holders.setdefault(name, []).append(dump)
    if lost:
        checkpoint.require()  # being deleted, it is not damaged
    if not options.skip:
        lost += resized
        resized = []
    partly_lost = frozenset[str]().union(*(each.tables or () for each in lost))
    multis: list[Table] = []
    if holders:
        from monolith_cli.tables.multi import MultiTable

        multis += [
            MultiTable(name, holders[name], options)
            for name in sorted(sorted(holders), key=natural_key)
            if name not in partly_lost
        ]
    names = frozenset(holders)
    every = [*singles, *multis]
    found = _choose(every, [*lost, *resized], patterns, checkpoint, warnings, files, names)
    read = {each.error for each in resized}
    found = found._replace(resized=[each for each in found.problems if each in read])
    for problem in (*found.problems, *found.others):
        found._name_copy(problem)
    return found


class _Lost(NamedTuple):
    """A dump that is not whole: why, and its tables; None where nobody knows."""

    error: CorruptionError
    tables: frozenset[str] | None


def _lost(broken: BrokenSet, options: ReadOptions) -> _Lost:
    if broken.kind == "single" and not _is_snappy(map(DumpFile, broken.paths)):
        return _Lost(broken.error, frozenset([broken.base]))
    contents = [path for path in broken.paths if _is_contents(path, broken.base)]
    return _Lost(broken.error, _names_in(contents, options))


def _choose(
    tables: list[Table],
    lost: list[_Lost],
    patterns: list[str],
    checkpoint: Checkpoint,
    warnings: list[str],
    files: AssetsListing,
    names: frozenset[str],
) -> FoundTables:
    filters = [broken.error for broken in files.broken if broken.kind == "filter"]
    filters += files.beside
    problems = [each.error for each in lost]
    every = FoundTables(tables, problems, filters, warnings, files, shared_names=names)
    if not patterns:
        return every
    from fnmatch import fnmatchcase

    known = {table.name for table in tables}.union(*(each.tables or () for each in lost))
    wanted: set[str] = set()
    for pattern in patterns:
        # A name may look like a pattern: `user[0]` would else never be the table of that name.
        matching = {pattern} & known or {name for name in known if fnmatchcase(name, pattern)}
        if not matching and all(each.tables is not None for each in lost):
            raise _no_match(pattern, checkpoint, every)
        wanted |= matching
    problems = []
    others: list[CorruptionError] = []
    for each in lost:
        asked_for = each.tables is None or wanted & each.tables
        (problems if asked_for else others).append(each.error)
    chosen = [table for table in tables if table.name in wanted]
    return FoundTables(chosen, problems, [], warnings, files, [*others, *filters], names)


def _no_match(pattern: str, checkpoint: Checkpoint, every: FoundTables) -> MonolithError:
    """The error of a pattern that no table matches, or may match one that is gone."""
    from monolith_cli.tables.gone import gone_error

    what = f"no table matches {pattern!r}"
    gone = gone_error(checkpoint.ckpt_info_path, every)
    if gone is not None:
        gone.what = f"{gone.what}; {what}"
        return gone
    where = checkpoint.assets[0] if checkpoint.assets else checkpoint.prefix
    return TableNotFoundError(what, path=None if where is None else where)


def _names_in(contents: Iterable[str], options: ReadOptions) -> frozenset[str] | None:
    """The tables that those contents files name that can be read; None without any.

    Each names all tables of its dump.
    """
    from monolith_cli.tables.multi_dump import read_contents

    names: set[str] = set()
    for path in contents:
        try:
            names.update(table.table_name for table in read_contents(path, options))
        except MonolithError:
            continue
    return frozenset(names) if names else None


def _is_contents(path: str, base: str) -> bool:
    name = parse_shard_name(name_of(path))
    return name is not None and name.base == base + META_SUFFIX


def _is_snappy(files: Iterable[DumpFile]) -> bool:
    """Whether they are in SNAPPY blocks, as the training system writes many tables.

    The first file tells that is not empty.
    """
    for file in files:
        try:
            opened = file.open()
        except MonolithError:
            continue  # whoever reads it will say so
        if opened.stored_bytes:
            return opened.compression == "snappy"
    return False


def _lost_contents(shards: ShardSet) -> MissingShardError:
    """The error of data of many tables without its contents files, which appear last."""
    name = shard_name(shards.base + META_SUFFIX, 0, len(shards.paths))
    return MissingShardError(
        "missing, while data of many tables is there: the save is not whole",
        path=join(shards.directory, name),
        hint=MISSING_HINT,
    )
