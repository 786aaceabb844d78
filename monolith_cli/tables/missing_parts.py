"""Parts of tables that are missing, of a server: what names and entries tell of that."""

from __future__ import annotations

import math
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from monolith_cli.errors import DifferentError, MissingShardError
from monolith_cli.execution.workers import ALONE, Workers
from monolith_cli.storage.location import parent_of
from monolith_cli.tables.folds.servers import ServersFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.servers import numbered
from monolith_cli.tables.spreading import NO_PARTS, Spread, find_spreads
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monolith_cli.tables.stream import Extent, ReadOptions

__all__ = ["check_parts"]

_SURE_BITS = 20
"""How seldom entries keep to a rule by chance that are taken for proof: once in 2 to this."""

_NAMES_SHOWN = 5


def check_parts(
    extents: Mapping[str, Sequence[Extent]],
    options: ReadOptions,
    *,
    workers: Workers = ALONE,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make sure that dumps whose names end in numbers are not what is left of the parts of one.

    Numbers from 0 with a hole are enough. Of others, and of parts beside a dump without a number,
    the entries tell: theirs are read.

    Parameters
    ----------
    extents
        Where the entries of dumps lie, by base name. All are of single tables, or all of files that
        tables share.

    Raises
    ------
    MissingShardError
        A part is missing.
    DifferentError
        Parts of a dump lie beside a whole one of the same name.
    CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    merged = {spread.name: spread for spread in find_spreads(extents) if spread.servers > 1}
    for name, parts in numbered(extents).items():
        spread = merged.get(name) or Spread(name, max(parts) + 1, parts)
        is_whole = len(parts) == spread.servers
        if is_whole and name not in extents:
            continue
        is_told = not is_whole and name not in extents and (name in merged or 0 in parts)
        if is_told or _are_parts(spread, extents, options, workers, progress):
            raise _beside(spread) if is_whole else _missing(spread, extents)


def _are_parts(
    spread: Spread,
    extents: Mapping[str, Sequence[Extent]],
    options: ReadOptions,
    workers: Workers,
    progress: Callable[[int, int], None] | None,
) -> bool:
    """Whether entries are on the servers that a rule says, and that not by chance."""
    extents_of = {server: extents[base] for server, base in spread.parts.items()}
    places = {
        extent.file.path: (server, spread.servers)
        for server, here in extents_of.items()
        for extent in here
    }
    stream = EntryStream([extent for here in extents_of.values() for extent in here])
    entries, wrong, done = 0, [0, 0], 0
    with closing(read_ranges(stream, options, ServersFold(places), workers=workers)) as pieces:
        for piece in pieces:
            entries += piece.value.entries
            wrong = [sum(pair) for pair in zip(wrong, piece.value.wrong, strict=True)]
            if all(wrong):
                return False
            done += piece.size
            if progress:
                progress(done, stream.size)
    return entries * math.log2(spread.servers) >= _SURE_BITS


def _missing(spread: Spread, extents: Mapping[str, Sequence[Extent]]) -> MissingShardError:
    numbers = (each for each in range(spread.servers) if each not in spread.parts)
    missing = [spread.base_of(each) for each in islice(numbers, _NAMES_SHOWN)]
    count = spread.servers - len(spread.parts)
    files = [extent.file.path for base in spread.parts.values() for extent in extents[base]]
    there = [*spread.parts.values()]
    return MissingShardError(
        f"of {spread.name!r}, which is on {spread.servers:,} servers, {_listed(missing, count)}"
        f" {'is' if count == 1 else 'are'} missing: there are {_listed(there, len(there))}",
        path=parent_of(files[0]) if files else None,
        hint=f"restore the files, or take another step; {NO_PARTS}",
    )


def _beside(spread: Spread) -> DifferentError:
    there = [*spread.parts.values()]
    return DifferentError(
        f"{_listed(there, len(there))} are parts of {spread.name!r}, by their entries, and there is"
        " one of that name without a number, too",
        hint="take another step, or mend this one: nobody knows which of them the job loads",
        kind="no_server_rule",
    )


def _listed(names: Sequence[str], count: int) -> str:
    """Some of so many names."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {count - _NAMES_SHOWN:,} more" if count > _NAMES_SHOWN else shown
