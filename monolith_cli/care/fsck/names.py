"""What names and sizes say of a step's tables, and the contents files beside them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from monolith_cli.care.findings import finding, finding_of
from monolith_cli.care.fsck.manifest import gone_tables
from monolith_cli.checkpoint.names import (
    parse_shard_name,
    shard_name,
    target_of_temporary,
)
from monolith_cli.checkpoint.shard_set import MISSING_HINT
from monolith_cli.errors import MissingShardError, NotReadableError, PathNotFoundError
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.tables.multi_dump import least_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.step import StepLook
    from monolith_cli.checkpoint.shard_set import BrokenSet, ShardSet

__all__ = ["check_contents", "check_names", "check_tables_before"]

_SHARDS_NAMED = 100
_UNEVEN = 4
"""How many times as large as the others, or as small, a shard is that is said to be uneven."""

_UNEVEN_BYTES = 1 << 16
"""Smaller ones say nothing."""

_NOT_EMPTY_BYTES = 1 << 14
"""Beside such as these none is empty by chance: entries go to shards by their hash."""


def check_names(look: StepLook) -> Iterator[Finding]:
    """Sets that are not whole, what is in the way of a restore, and what is no part of a table.

    Shards that are no files are in `look.unread`.
    """
    if None in look.sizes.values():
        for name, size in look.sizes.items():
            if size is None and parse_shard_name(name_of(name)) is not None:
                what = "not readable: not a regular file"
                look.unread.append(NotReadableError(what, path=look.path(name)))
    if look.has_odd_files:
        for broken in look.listing.broken:
            yield from _broken(look, broken)
        for (table, owner), paths in look.listing.in_the_way.items():
            for path in paths:
                yield _in_the_way(look, table, owner, path)
        for path in look.listing.ignored:
            yield _beside(look, path)
    if max(map(_or_0, look.sizes.values()), default=0) < _NOT_EMPTY_BYTES:
        return
    listing = look.listing
    for base, shards in listing.singles.items():
        yield from _uneven(look, base, shards)


def _or_0(size: int | None) -> int:
    return size or 0


def _broken(look: StepLook, broken: BrokenSet) -> Iterator[Finding]:
    table = broken.base if broken.kind != "server" else None
    yield finding_of(broken.error, step=look.step, table=table)
    if not isinstance(broken.error, MissingShardError):
        return
    first = parse_shard_name(name_of(broken.error.path or ""))
    if first is None:
        return
    names = [name for name in map(parse_shard_name, map(name_of, broken.paths)) if name]
    there = {name.number for name in names if name.base == first.base}
    missing = [n for n in range(first.number + 1, first.total) if n not in there]
    for number in missing[:_SHARDS_NAMED]:
        path = join(parent_of(broken.error.path or ""), shard_name(*first._replace(number=number)))
        yield finding(
            "missing_shard",
            broken.error.what,
            step=look.step,
            table=table,
            file=path,
            suggest=MISSING_HINT,
        )


def _in_the_way(look: StepLook, table: str, owner: str, path: str) -> Finding:
    is_file = name_of(path) == owner
    return finding(
        "unloadable_leftover",
        f"the training system mistakes it for a shard of '{table}', and cannot restore that table",
        step=look.step,
        table=table,
        file=path,
        suggest="remove this file" if is_file else f"keep table '{owner}' elsewhere, or rename it",
    )


def _beside(look: StepLook, path: str) -> Finding:
    name = name_of(path)
    if target_of_temporary(name) is not None or "-tmp-" in name:
        what = "left by a writer that died"
        hint = "remove it when no job saves here"
        return finding("leftover", what, step=look.step, file=path, suggest=hint)
    return finding("foreign_file", "not a shard of any table", step=look.step, file=path)


def _uneven(look: StepLook, base: str, shards: ShardSet) -> Iterator[Finding]:
    sizes = [look.size(path) or 0 for path in shards.paths]
    if len(sizes) < 2:
        return
    middle = sorted(sizes)[len(sizes) // 2]  # of two the larger: what is lost makes small
    for path, size in zip(shards.paths, sizes, strict=True):
        if _is_uneven(size, middle):
            what = f"has {size} bytes, where the others of its table have about {middle}"
            yield finding("shard_uneven", what, step=look.step, table=base, file=path)


def _is_uneven(size: int, middle: int) -> bool:
    if not size:
        return middle >= _NOT_EMPTY_BYTES
    if max(size, middle) < _UNEVEN_BYTES:
        return False
    return size > _UNEVEN * middle or size * _UNEVEN < middle


def check_contents(look: StepLook) -> Iterator[Finding]:
    """Whether contents files fit each other, and the sizes of their data files what they promise.

    Contents files that are damaged are in `look.problems`.
    """
    if not look.named.multis:
        return
    for base, (data, meta) in look.listing.multis.items():
        contents = [look.contents[path] for path in meta.paths]
        names = [{table.table_name for table in each or ()} for each in contents]
        every = set[str]().union(*names)
        sizes = [look.size(path) or 0 for path in data.paths]
        table = next(iter(every)) if len(every) == 1 else None
        for path, here, size, each in zip(meta.paths, names, sizes, contents, strict=True):
            if each is None:
                continue
            if not each and (size or every):
                what = "an empty contents file, beside entries, or others that name tables"
                id = "empty_contents"
            elif len(here) < len(every):
                what = (
                    f"names {len(here)} of the {len(every)} tables that the contents files of"
                    f" '{base}' name together: it may be cut short"
                )
                id = "short_contents"
            else:
                continue
            hint = "restore it: without it nobody knows which entries are of which table"
            look.wrong_contents.add(path)
            yield finding(id, what, step=look.step, file=path, suggest=hint)
        for path, size, each in zip(data.paths, sizes, contents, strict=True):
            promised = sum(meta.num_entries for meta in each or ())
            if size < least_bytes(promised):
                yield _too_small(look, path, size, promised, table)


def _too_small(look: StepLook, path: str, size: int, promised: int, table: str | None) -> Finding:
    id = "too_few_entries" if size else "empty_shard"
    what = f"has {size} bytes, too few for the {promised} entries that its contents file promises"
    hint = "restore it"
    if size:
        from monolith_cli.formats.magic import what_the_file_is

        known = what_the_file_is(path)
        if known is not None:
            id, what, hint = "not_records", f"this is {known.name}", known.remedy
    return finding(id, what, step=look.step, table=table, file=path, suggest=hint)


def check_tables_before(look: StepLook, before: StepLook | None) -> Iterator[Finding]:
    """Tables that came or went since the step before, as far as both say which they have."""
    here = look.table_names
    there = None
    with suppress(PathNotFoundError):  # deleted meanwhile
        there = before.table_names if before else None
    if before is None or here is None or there is None:
        return
    for name in sorted(here - there):
        what = f"it is not in step {before.step}, the one before"
        yield finding("table_came", what, step=look.step, table=name, file=_place(look))
    for name in sorted(there - here - set(gone_tables(look))):
        what = f"it was in step {before.step}, the one before, and is not in this one"
        yield finding("table_went", what, step=look.step, table=name, file=_place(look))


def _place(look: StepLook) -> str | None:
    assets: Sequence[str] = look.checkpoint.assets
    return assets[0] if assets else None
