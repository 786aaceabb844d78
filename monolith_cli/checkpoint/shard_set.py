"""Sharded files: complete sets, and all those of one assets directory."""

from __future__ import annotations

import os
from typing import NamedTuple

from monolith_cli.checkpoint.names import (
    HASH_FILTER_PREFIX,
    META_SUFFIX,
    ShardName,
    natural_key,
    parse_shard_name,
    shard_name,
)
from monolith_cli.errors import (
    MissingShardError,
    NotReadableError,
    PathNotFoundError,
    ShardMismatchError,
)

__all__ = ["AssetsListing", "ShardSet", "list_assets", "list_names"]

_MISSING_HINT = "restore it, or take another step"


class ShardSet(NamedTuple):
    """The files of one sharded dump: all that there are, in order of shard number."""

    directory: str
    base: str
    paths: list[str]

    @property
    def stored_bytes(self) -> int:
        """The size of all shards together, in bytes as they are now on disk.

        Raises
        ------
        PathNotFoundError, NotReadableError
            A shard is gone or cannot be looked at.
        """
        return sum(_file_bytes(path) for path in self.paths)


class AssetsListing(NamedTuple):
    """What an assets directory holds, by base name in natural order.

    `multis` has each data set with its table of contents (`.meta`); `ignored` the names of
    everything that is no shard.
    """

    singles: dict[str, ShardSet]
    multis: dict[str, tuple[ShardSet, ShardSet]]
    hash_filters: dict[str, ShardSet]
    ignored: list[str]


def list_names(directory: str) -> list[str]:
    """The names in a directory, sorted.

    Raises
    ------
    PathNotFoundError
        It does not exist, or is no directory.
    NotReadableError
        The operating system refused to list it.
    """
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError as error:
        raise PathNotFoundError("no such directory", path=directory) from error
    except NotADirectoryError as error:
        raise PathNotFoundError("a file in place of a directory", path=directory) from error
    except OSError as error:
        raise NotReadableError(f"not readable: {error.strerror}", path=directory) from error


def list_assets(directory: str) -> AssetsListing:
    """Sort the files of an assets directory into complete sets.

    One pass over the names; no file is opened.

    Raises
    ------
    MissingShardError
        A number of a set is missing, or a `.meta` set has no data beside it.
    ShardMismatchError
        Two totals for one set, or for a `.meta` set and its data, or an index beyond the total.
    PathNotFoundError, NotReadableError
        As `list_names`.
    """
    shards: dict[str, list[ShardName]] = {}
    ignored = []
    for name in list_names(directory):
        shard = parse_shard_name(name)
        if shard is None:
            ignored.append(name)
        else:
            shards.setdefault(shard.base, []).append(shard)
    sets = {
        base: _complete_set(directory, shards[base]) for base in sorted(shards, key=natural_key)
    }
    filters = {base: sets.pop(base) for base in list(sets) if base.startswith(HASH_FILTER_PREFIX)}
    multis = {}
    # The longest name first: x.meta.meta is about x.meta, which then is about nothing.
    for base in sorted(sets, key=len, reverse=True):
        if base.endswith(META_SUFFIX) and base in sets:
            data_base = base.removesuffix(META_SUFFIX)
            meta = sets.pop(base)
            multis[data_base] = (_data_of(meta, sets.pop(data_base, None)), meta)
    multis = {base: multis[base] for base in sorted(multis, key=natural_key)}
    return AssetsListing(sets, multis, filters, ignored)


def _complete_set(directory: str, shards: list[ShardName]) -> ShardSet:
    base, _, total = shards[0]
    paths = {}
    for shard in shards:
        path = os.path.join(directory, shard_name(*shard))
        if shard.total != total:
            other = shard_name(*shards[0])
            raise ShardMismatchError(
                f"two totals: '{other}' is there as well",
                path=path,
                hint="move away what is left over from another dump",
            )
        if shard.number >= total:
            raise ShardMismatchError(
                f"numbers begin at 0: shard {shard.number} is not one of {total}",
                path=path,
                hint="move it away",
            )
        paths[shard.number] = path
    for index in range(total):
        if index not in paths:
            path = os.path.join(directory, shard_name(base, index, total))
            raise MissingShardError(
                f"missing: {len(paths)} of {total} shards are there", path=path, hint=_MISSING_HINT
            )
    return ShardSet(directory, base, [paths[index] for index in range(total)])


def _data_of(meta: ShardSet, data: ShardSet | None) -> ShardSet:
    if data is None:
        base, total = meta.base.removesuffix(META_SUFFIX), len(meta.paths)
        missing = os.path.join(meta.directory, shard_name(base, 0, total))
        raise MissingShardError(
            f"missing, while its '{meta.base}' is there", path=missing, hint=_MISSING_HINT
        )
    if len(data.paths) != len(meta.paths):
        raise ShardMismatchError(
            f"'{meta.base}' has {len(meta.paths)} shards, its data {len(data.paths)}",
            path=meta.paths[0],
        )
    return data


def _file_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError as error:
        raise PathNotFoundError("gone", path=path) from error
    except OSError as error:
        raise NotReadableError(f"not readable: {error.strerror}", path=path) from error
