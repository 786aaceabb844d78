"""Writing dumps: a table's files, or those of many tables with their contents files.

A dump appears whole: its files are written in a hidden directory beside where they belong, each
synced to disk, and get their names when all are complete, contents files last. Whoever reads
in between, or after a crash there, finds shards missing and says so; never parts of two dumps.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import META_SUFFIX, parse_shard_name, shard_name
from monolith_cli.errors import AlreadyExistsError, MonolithError, UsageError
from monolith_cli.formats.tfrecord import RecordWriter
from monolith_cli.formats.wire import encode_table_meta
from monolith_cli.storage.atomic import leftovers, temporary_path
from monolith_cli.storage.location import as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from monolith_cli.storage.location import AnyPath

__all__ = ["DumpWriter", "ShardWriter", "check_base"]


class DumpWriter:
    """Writes one dump; a context manager. The dump appears when the block ends well.

    With an exception nothing appears, and what was there stays. Only if files cannot be moved once
    an old dump is removed, it is gone, and the error says where the new one is.

    It can be pickled within the block: its copy writes shards in another process, and what that has
    in `contents` of each is to be handed to `keep` here.

    Parameters
    ----------
    directory
        Where the files belong: a checkpoint's assets, which exist.
    base
        The base name of the files: a table's name, or with `multi` that of the dump. It can be a
        part of a file's name, and readers find it again in that.
    shards
        How many files there are, each of which is to be written with `shard`.
    multi
        Whether tables share the files: these are in SNAPPY blocks then, each with a contents
        file (`.meta`).
    overwrite
        Whether a dump of that base name may be replaced, whatever its number of files.

    Raises
    ------
    UsageError
        `base` or `shards` is not possible, or the store cannot rename files. At the end: a shard
        was not written.
    AlreadyExistsError
        At the start, or at the end: there is a dump, or a part of one, be it only since a moment
        ago, and `overwrite` is false; or a directory has the name of a file, whatever it is.
    WriteError
        The store refused to write, or a file is in the way of the directory.
    PathNotFoundError, NotReadableError
        The directory is not there, or cannot be listed.
    """

    def __init__(
        self,
        directory: AnyPath,
        base: str,
        shards: int = 1,
        *,
        multi: bool = False,
        overwrite: bool = False,
    ) -> None:
        if shards < 1:
            raise UsageError(f"{shards} shards: a dump has at least one")
        check_base(base)
        self._directory = as_location(directory)
        self._store = store_of(self._directory)
        if not self._store.abilities.rename:
            raise UsageError("no dump can be written where files keep their names", path=directory)
        self._base = base
        self._shards = shards
        self._multi = multi
        self._overwrite = overwrite
        self._stage = temporary_path(join(self._directory, base))
        self._contents: dict[int, dict[str, int]] = {}
        self._stays = False

    @property
    def counts(self) -> dict[str, int]:
        """Entries by table in the files that are complete, in order of first mention."""
        counts: dict[str, int] = {}
        for number in sorted(self._contents):
            for table, entries in self._contents[number].items():
                counts[table] = counts.get(table, 0) + entries
        return counts

    def shard(self, number: int) -> ShardWriter:
        """A writer of one file, a context manager; each of several may have a thread of its own."""
        if not 0 <= number < self._shards:
            raise UsageError(f"no shard {number} of {self._shards}")
        path = join(self._stage, shard_name(self._base, number, self._shards))
        table = None if self._multi else self._base
        return ShardWriter(path, table, lambda entries: self._contents.update({number: entries}))

    def contents(self, number: int) -> dict[str, int]:
        """Entries by table in a file that is complete, in order."""
        return self._contents[number]

    def keep(self, number: int, contents: dict[str, int]) -> None:
        """Take a file for complete: a copy of this writer has written it elsewhere."""
        self._contents[number] = contents

    def __enter__(self) -> DumpWriter:
        self._old()  # refused at once, where it is
        for name, target in leftovers(self._store.names(self._directory)):
            if target == self._base:
                self._store.delete(join(self._directory, name))
        self._store.make_directory(self._stage)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._appear(self._finish())
        finally:
            if not self._stays:
                self._store.delete(self._stage)

    def _finish(self) -> list[str]:
        """Write what is missing to a whole dump; the names of its files, in order of appearance."""
        for number in range(self._shards):
            if number not in self._contents:
                raise UsageError(f"shard {number} of {self._shards} was not written")
        names = [shard_name(self._base, number, self._shards) for number in range(self._shards)]
        if not self._multi:
            return names
        every = self.counts
        for number in range(self._shards):
            name = shard_name(self._base + META_SUFFIX, number, self._shards)
            names.append(name)
            here = self._contents[number]
            with RecordWriter(join(self._stage, name)) as writer:
                # Each contents file names all tables; those without entries come last.
                for table in [*here, *(each for each in every if each not in here)]:
                    writer.write(encode_table_meta(table, here.get(table, 0)))
        return names

    def _appear(self, names: list[str]) -> None:
        for path in self._old():
            self._stays = True
            self._store.delete(path)
        move = self._store.replace if self._overwrite else self._store.rename_if_absent
        moved: list[str] = []
        try:
            for name in names:
                moved.append(name)  # before, as an interrupt may come right behind the move
                move(join(self._stage, name), join(self._directory, name))
        except BaseException as error:
            for name in reversed(moved):
                with suppress(MonolithError):
                    self._take_back(join(self._directory, name), join(self._stage, name))
            if self._stays and isinstance(error, MonolithError):
                error.hint = f"what was to take the old dump's place is in '{self._stage}'"
            raise
        self._stays = False

    def _take_back(self, path: str, staged: str) -> None:
        if not self._store.exists(staged):
            self._store.replace(path, staged)
        elif self._store.is_same(path, staged):  # interrupted when it had both names
            self._store.delete(path)

    def _old(self) -> list[str]:
        """The files of a dump that is there, contents files first; refused if it must stay."""
        bases = (self._base + META_SUFFIX, self._base)
        found = []
        for name in self._store.names(self._directory):
            parsed = parse_shard_name(name)
            if parsed is not None and parsed.base in bases:
                found.append((bases.index(parsed.base), join(self._directory, name)))
        if found and not self._overwrite:
            _, first = min(found, key=lambda each: (-each[0], each[1]))
            raise AlreadyExistsError("exists already", path=first, hint="name another directory")
        for _, path in found:
            if self._store.status(path, follow=False).kind == "directory":
                what = "a directory in place of a file"
                raise AlreadyExistsError(what, path=path, hint="move it away")
        return [path for _, path in sorted(found)]


def check_base(base: str) -> None:
    """Make sure that files can be named after it, which readers then take for a dump of it.

    Raises
    ------
    UsageError
        They cannot.
    """
    try:
        base.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"no dump can be named {base!r}: that is no text") from None
    parsed = parse_shard_name(shard_name(base, 0, 1))
    is_whole = parsed is not None and parsed.base == base
    if not is_whole or base.startswith(".") or base.endswith(META_SUFFIX):
        raise UsageError(f"no dump can be named {base!r}: readers would not find it")
    if any(character in base for character in "/:\0"):
        raise UsageError(f"no dump can be named {base!r}: it holds a '/', a ':' or a null")


class ShardWriter:
    """Writes one file of a dump; a context manager, for one thread at a time.

    Parameters
    ----------
    path
        The file.
    table
        Whose entries come; None where tables share the file, and `begin` says it.
    done
        Is told the entries by table when the file is complete.
    """

    def __init__(
        self, path: str, table: str | None, done: Callable[[dict[str, int]], None]
    ) -> None:
        self._contents: dict[str, int] = {}
        self._done = done
        self._table: str | None = None
        self._is_single = table is not None
        self._writer = RecordWriter(path, "plain" if self._is_single else "snappy")
        if table is not None:
            self._begin(table)

    def begin(self, table: str) -> None:
        """Say whose entries come next, also if none do. Only where tables share the files.

        Raises
        ------
        UsageError
            It is no such dump, or the table has had its turn.
        """
        if self._is_single:
            raise UsageError(f"no table {table!r} in the files of another")
        if table in self._contents:
            raise UsageError(f"table {table!r} comes twice in one file")
        self._begin(table)

    def _begin(self, table: str) -> None:
        self._table = table
        self._contents[table] = 0

    def write(self, entry: bytes) -> None:
        """Append an entry, a serialized EntryDump. Raises `WriteError`."""
        self._count(1)
        self._writer.write(entry)

    def write_framed(self, frames: bytes, entries: int) -> None:
        """Append so many entries in their frames. Raises `WriteError`."""
        self._count(entries)
        self._writer.write_framed(frames)

    def _count(self, entries: int) -> None:
        if self._table is None:
            raise UsageError("entries of no table: begin one first")
        self._contents[self._table] += entries

    def __enter__(self) -> ShardWriter:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)
        if kind is None:
            self._done(self._contents)
