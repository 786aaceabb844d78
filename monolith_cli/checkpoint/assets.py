"""Assets directories: which dumps they hold, which of them are whole, and what else is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import (
    HASH_FILTER_PREFIX,
    INPUT_WORKER_PREFIX,
    META_SUFFIX,
    ShardName,
    natural_key,
    parse_shard_name,
    shard_name,
)
from monolith_cli.checkpoint.shard_set import (
    MISSING_HINT,
    BrokenSet,
    Shard,
    ShardSet,
    set_of,
)
from monolith_cli.errors import CorruptionError, MissingShardError, ShardMismatchError
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from monolith_cli.checkpoint.lost import LostFile

__all__ = ["AssetsListing", "list_assets", "note_lost", "sort_assets"]


class AssetsListing(NamedTuple):
    """What assets directories hold, by base name in natural order.

    Attributes
    ----------
    singles, hash_filters
        Whole dumps.
    multis
        Whole dumps, each data set with its contents file (`.meta`).
    broken
        Dumps that are not whole.
    ignored
        Paths of everything that is no shard; of names that are in several directories the first.
    warnings
        What is odd and no error: a phrase each.
    resized
        What is wrong with dumps of tables that have all files, but one of another size than the
        step's manifest says; by base name.
    beside
        What is wrong with the step, and with no dump: a file that the manifest names, as one of the
        dense variables, or a manifest that says nothing.
    in_the_way
        Files that the training system takes for shards of a single table, and are none: by that
        table, and the base name of what they are of, or of no shard its name. They are among the
        warnings.
    """

    singles: dict[str, ShardSet]
    multis: dict[str, tuple[ShardSet, ShardSet]]
    hash_filters: dict[str, ShardSet]
    broken: list[BrokenSet]
    ignored: list[str]
    warnings: list[str]
    resized: dict[str, CorruptionError]
    beside: list[CorruptionError]
    in_the_way: Mapping[tuple[str, str], list[str]]

    def require_whole(self) -> None:
        """Raise what is wrong with the first dump that is not whole, if there is one.

        Raises
        ------
        MissingShardError
            A number of a set is missing, or one of a `.meta` set and its data.
        ShardMismatchError
            Two totals for one set, or for a `.meta` set and its data, or an index beyond the total.
        CorruptionError
            Copies of a file that differ in size, or a file that differs from the step's manifest.
        """
        for error in (*(broken.error for broken in self.broken), *self.resized.values()):
            raise error

    def sets(self) -> list[ShardSet]:
        """All whole sets, contents files too."""
        pairs = [shards for pair in self.multis.values() for shards in pair]
        return [*self.singles.values(), *self.hash_filters.values(), *pairs]


def list_assets(*directories: str) -> AssetsListing:
    """Sort the files of assets directories into sets.

    Files of the same name in several directories, those of servers of an export, are one file: the
    first is taken, and the others are its copies. One pass over the names; no file is opened, and
    only sizes of copies are looked at.

    Raises
    ------
    PathNotFoundError, NotReadableError
        As `Store.names`; or a copy went away.
    """
    return sort_assets({path: store_of(path).names(path) for path in directories})


def sort_assets(names_in: Mapping[str, Collection[str]]) -> AssetsListing:
    """The same for directories whose names are known; of one directory nothing is looked at.

    Raises
    ------
    PathNotFoundError, NotReadableError
        A copy went away, or cannot be looked at.
    """
    shards: dict[str, list[Shard]] = {}
    others: dict[str, str] = {}
    for directory, names in names_in.items():
        for name in names:
            path = join(directory, name)
            parsed = parse_shard_name(name)
            if parsed is None:
                others.setdefault(name, path)
            else:
                shards.setdefault(parsed.base, []).append(Shard(path, parsed))
    sets = {base: set_of(shards[base]) for base in sorted(shards, key=natural_key)}
    warnings = []
    if len(names_in) > 1:
        warnings = [w for found in sets.values() for w in _partly_copied(shards[found.base], found)]
    filters = {base: sets.pop(base) for base in list(sets) if base.startswith(HASH_FILTER_PREFIX)}
    multis = _take_multis(sets)
    in_the_way = _in_the_way(sets, shards, others)
    warnings += [_unloadable(*which, paths) for which, paths in in_the_way.items()]
    warned = {path for paths in in_the_way.values() for path in paths}
    broken = [each for each in multis.values() if isinstance(each, BrokenSet)]
    singles, hash_filters = _whole(sets, "single", broken), _whole(filters, "filter", broken)
    return AssetsListing(
        singles,
        {base: each for base, each in multis.items() if not isinstance(each, BrokenSet)},
        hash_filters,
        sorted(broken, key=lambda each: natural_key(each.base)),
        [path for path in others.values() if path not in warned],
        warnings,
        {},
        [],
        in_the_way,
    )


def note_lost(listing: AssetsListing, lost: Sequence[LostFile], assets: str) -> None:
    """Count dumps that lack a file of the step's manifest as broken, and note those resized.

    An occurrence filter that is resized is broken, too: nobody reads on behind its damage. A file
    of no dump is noted beside them, but for an iterator's state, for which there is an older one.

    Parameters
    ----------
    lost
        Of the manifest's files those that are not as it says. A dump that is broken anyway stays
        what it is.
    assets
        The name of the assets directory.
    """
    broken = {each.base for each in listing.broken}
    shards: list[tuple[ShardName, CorruptionError]] = []
    for each in lost:
        directory, _, filename = each.name.rpartition("/")
        name = parse_shard_name(filename) if directory == assets else None
        if name is not None:
            shards.append((name, each.error))
        elif not filename.startswith(INPUT_WORKER_PREFIX):
            listing.beside.append(each.error)
    contents = {name.base for name, _ in shards}
    for name, error in shards:
        base = name.base.removesuffix(META_SUFFIX)
        if base in broken:
            continue
        if not isinstance(error, MissingShardError) and base not in listing.hash_filters:
            listing.resized.setdefault(base, error)
            continue
        is_multi = base in listing.multis or base + META_SUFFIX in contents
        sets = list(listing.multis.pop(base, ()))
        for whole in (listing.singles, listing.hash_filters):
            sets += [whole.pop(base)] if base in whole else []
        is_filter = base.startswith(HASH_FILTER_PREFIX)
        kind = "filter" if is_filter else "multi" if is_multi else "single"
        paths = [path for shards_of in sets for path in shards_of.paths]
        listing.broken.append(BrokenSet(base, kind, error, paths))
        listing.resized.pop(base, None)
        broken.add(base)


def _take_multis(
    sets: dict[str, ShardSet | BrokenSet],
) -> dict[str, tuple[ShardSet, ShardSet] | BrokenSet]:
    """Take the sets with a contents file out of all, in natural order, and those with them."""
    multis = {}
    # The longest name first: x.meta.meta is about x.meta, which then is about nothing.
    for base in sorted(sets, key=len, reverse=True):
        if base.endswith(META_SUFFIX) and base in sets:
            data_base = base.removesuffix(META_SUFFIX)
            multis[data_base] = _pair(sets.pop(base), sets.pop(data_base, None), data_base)
    return {base: multis[base] for base in sorted(multis, key=natural_key)}


def _pair(
    meta: ShardSet | BrokenSet, data: ShardSet | BrokenSet | None, base: str
) -> tuple[ShardSet, ShardSet] | BrokenSet:
    """A data set with its contents file."""
    if isinstance(meta, ShardSet) and isinstance(data, ShardSet):
        if len(data.paths) == len(meta.paths):
            return data, meta
        error: CorruptionError = ShardMismatchError(
            f"'{meta.base}' has {len(meta.paths)} shards, its data {len(data.paths)}",
            path=meta.paths[0],
        )
    elif isinstance(data, BrokenSet):
        error = data.error
    elif isinstance(meta, BrokenSet):
        error = meta.error
    else:
        missing = join(meta.directory, shard_name(base, 0, len(meta.paths)))
        error = MissingShardError(
            f"missing, while its '{meta.base}' is there", path=missing, hint=MISSING_HINT
        )
    return BrokenSet(base, "multi", error, [*(data.paths if data else []), *meta.paths])


def _whole(
    sets: dict[str, ShardSet | BrokenSet], kind: str, broken: list[BrokenSet]
) -> dict[str, ShardSet]:
    """Those that are whole; the others go to `broken`, with their kind."""
    whole = {}
    for base, found in sets.items():
        if isinstance(found, BrokenSet):
            broken.append(found._replace(kind=kind))
        else:
            whole[base] = found
    return whole


def _partly_copied(shards: list[Shard], whole: ShardSet | BrokenSet) -> Iterator[str]:
    """A phrase for each directory that has some shards of a whole set, and not all."""
    if isinstance(whole, BrokenSet):
        return
    held: dict[str, set[int]] = {}
    for path, name in shards:
        held.setdefault(parent_of(path), set()).add(name.number)
    for directory, numbers in held.items():
        if len(numbers) < len(whole.paths):
            lacking = next(n for n in range(len(whole.paths)) if n not in numbers)
            yield (
                f"{directory}: holds {len(numbers)} of {len(whole.paths)} shards of '{whole.base}';"
                f" what it lacks was read elsewhere, such as '{whole.paths[lacking]}'"
            )


def _in_the_way(
    singles: Collection[str], shards: dict[str, list[Shard]], others: dict[str, str]
) -> dict[tuple[str, str], list[str]]:
    """Files that the training system takes for shards of a single table, and are none.

    Its restore counts what matches `<table>-*`, and opens `-of-<that number>`. By that table, and
    by the base name of the other one, or for what is no shard the file's name.
    """
    names = [(name, name, path) for name, path in others.items()]
    for base, each in shards.items():
        first = {name_of(path): path for path, _ in reversed(each)}
        names += [(name, base, path) for name, path in sorted(first.items())]
    found: dict[tuple[str, str], list[str]] = {}
    for name, owner, path in names:
        end = name.find("-")
        while end >= 0:
            base = name[:end]
            if base in singles and base != owner:
                found.setdefault((base, owner), []).append(path)
            end = name.find("-", end + 1)
    return found


def _unloadable(table: str, owner: str, paths: list[str]) -> str:
    why = f"the training system mistakes it for a shard of '{table}', and cannot restore that table"
    if name_of(paths[0]) == owner:
        return f"{paths[0]}: {why}; remove this file"
    others = f", like {len(paths) - 1} more of table '{owner}'" if len(paths) > 1 else ""
    return f"{paths[0]}: {why}{others}; keep table '{owner}' elsewhere, or rename it"
