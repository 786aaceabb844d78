"""Sharded files: which of them make a whole set, and what is wrong with one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import ShardName, shard_name
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    ShardMismatchError,
)
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MISSING_HINT", "BrokenSet", "Shard", "ShardSet", "set_of"]

MISSING_HINT = "restore it, or take another step"
_LEFTOVER_HINT = "move away what is left over from another dump"


class ShardSet(NamedTuple):
    """The files of one sharded dump: all that there are, in order of shard number.

    `directory` is where its first shard is. `copies` are pairs of one of `paths` and the same file
    in the assets of another server, equally large.
    """

    directory: str
    base: str
    paths: list[str]
    copies: Sequence[tuple[str, str]] = ()

    @property
    def stored_bytes(self) -> int:
        """The size of all shards together, in bytes as they are now on disk. Raises as `sizes`."""
        return sum(self.sizes())

    def sizes(self) -> list[int]:
        """The size of each shard, in bytes as they are now on disk.

        Raises
        ------
        PathNotFoundError, NotReadableError
            A shard is gone or cannot be looked at.
        """
        return [_file_bytes(path) for path in self.paths]


class BrokenSet(NamedTuple):
    """A dump that is not whole.

    Attributes
    ----------
    base
        Its base name, without `.meta`.
    kind
        `single`, `multi` or `filter`, as far as names tell; `server` stands for all dumps of a
        server of an export that is missing.
    error
        What is wrong: a MissingShardError, a ShardMismatchError, or copies that differ.
    paths
        Those of its files that are there, contents files too.
    """

    base: str
    kind: str
    error: CorruptionError
    paths: list[str]


class Shard(NamedTuple):
    """A shard where it is, with the parts of its name."""

    path: str
    name: ShardName


def set_of(shards: list[Shard]) -> ShardSet | BrokenSet:
    """What the shards of one base name are together, those of several directories too.

    Raises
    ------
    PathNotFoundError, NotReadableError
        One of several files of the same name went away.
    """
    base, _, total = shards[0].name
    paths: dict[int, str] = {}
    copies = []
    try:
        for path, name in shards:
            if name.total != total:
                first = shards[0].path
                here = parent_of(first) == parent_of(path)
                other = name_of(first) if here else first
                raise ShardMismatchError(
                    f"two totals: '{other}' is there as well", path=path, hint=_LEFTOVER_HINT
                )
            if name.number >= total:
                raise ShardMismatchError(
                    f"numbers begin at 0: shard {name.number} is not one of {total}",
                    path=path,
                    hint="move it away",
                )
            if paths.setdefault(name.number, path) != path:
                copies.append((paths[name.number], path))
        for index in range(total):
            if index not in paths:
                path = join(parent_of(shards[0].path), shard_name(base, index, total))
                raise MissingShardError(
                    f"missing: {len(paths)} of {total} shards are there",
                    path=path,
                    hint=MISSING_HINT,
                )
        for original, copy in copies:
            _compare_sizes(original, copy)
    except CorruptionError as error:
        return BrokenSet(base, "", error, [shard.path for shard in shards])
    ordered = [paths[index] for index in range(total)]
    return ShardSet(parent_of(ordered[0]), base, ordered, tuple(copies))


def _compare_sizes(path: str, copy: str) -> None:
    here, there = _file_bytes(path), _file_bytes(copy)
    if here != there:
        raise CorruptionError(
            f"has {there} bytes, but '{path}', which ought to be the same file, has {here}",
            path=copy,
            hint="export again, or give one server's directory",
            kind="copies_differ",
        )


def _file_bytes(path: str) -> int:
    try:
        return store_of(path).status(path).size
    except PathNotFoundError as error:
        raise PathNotFoundError("gone", path=path) from error
