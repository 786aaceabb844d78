"""How tables are spread over servers: which files are parts of one, and by which rule.

An entry is on server `fid mod N`, and the training system has two ways to take that: of the signed
number, floored, and of the unsigned one. They differ for feature ids with the top bit, unless the
number of servers is a power of two.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import DifferentError
from monolith_cli.execution.workers import ALONE, Workers
from monolith_cli.tables.folds.servers import ServersFold, SpreadCounts
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.servers import merge_servers
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from monolith_cli.tables.stream import Extent, ReadOptions

__all__ = ["NO_PARTS", "RULES", "Spread", "choose_rule", "count_rules", "find_rule", "find_spreads"]

RULES = ("floored", "unsigned")
"""The two ways to take `fid mod N`."""

NO_PARTS = "tables whose names end in numbers, and that are no parts of others, cannot be spread"
"""What to say where names are taken for those of parts."""

_NAMES_SHOWN = 5

_RULE_NAMES = ("the signed floored rule", "the unsigned rule")


class Spread(NamedTuple):
    """Dumps that are the parts of one on several servers; or one that is on a single server.

    Attributes
    ----------
    name
        Of the files, without the number of a server.
    servers
        How many servers there are.
    parts
        By server the base name of its files. That of one server may have no number. Some may be
        missing.
    """

    name: str
    servers: int
    parts: dict[int, str]

    @property
    def is_numbered(self) -> bool:
        """Whether the names of its files end in the number of a server."""
        return self.parts.get(0) != self.name

    def base_of(self, server: int) -> str:
        """The base name of the files of a server."""
        return f"{self.name}_{server}" if self.is_numbered else self.name


def find_spreads(bases: Iterable[str]) -> list[Spread]:
    """Which of these base names of files are parts of one, in order of first mention.

    All are of single tables, or all of files that tables share.
    """
    bases = list(bases)
    groups: dict[str, list[str]] = {}
    for base, name in merge_servers(bases).items():
        groups.setdefault(name, []).append(base)
    most = max((len(parts) for parts in groups.values()), default=1)
    spreads = []
    for name, parts in groups.items():
        if parts == [name]:
            spreads.append(Spread(name, 1, {0: name}))
            continue
        numbers = sorted(int(part.rpartition("_")[2]) for part in parts)
        is_gapless = numbers[-1] == len(numbers) - 1
        servers = len(numbers) if is_gapless else max(most, numbers[-1] + 1)
        spreads.append(Spread(name, servers, {number: f"{name}_{number}" for number in numbers}))
    return spreads


def find_rule(
    spreads: Sequence[Spread],
    extents: Mapping[str, Sequence[Extent]],
    servers: int,
    options: ReadOptions,
    *,
    rule: str | None = None,
    brought: SpreadCounts | None = None,
    workers: Workers = ALONE,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The rule that all entries obey, one of `RULES`. Costs one read of the tables.

    Parameters
    ----------
    extents
        Where the entries of dumps lie, by base name.
    servers, rule
        As of `choose_rule`.
    brought
        The counts of entries that are to come to these.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Raises
    ------
    DifferentError
        As `choose_rule`.
    CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    counts = count_rules(spreads, extents, options, workers=workers, progress=progress)
    if brought is not None:
        counts.merge(brought)
    return choose_rule(counts, spreads, servers, rule)


def choose_rule(
    counts: SpreadCounts, spreads: Sequence[Spread], servers: int, rule: str | None = None
) -> str:
    """The rule that entries obey of which these are the counts.

    Where the two rules do not differ it is the first one.

    Parameters
    ----------
    servers
        How many servers there are to be.
    rule
        Which one to take where the entries obey both.

    Raises
    ------
    DifferentError
        They obey neither; or both, and it makes a difference which one is meant.
    """
    obeyed = [name for name, wrong in zip(RULES, counts.wrong, strict=True) if not wrong]
    if not obeyed:
        raise _neither(counts, spreads)
    if len(obeyed) == 1:
        return obeyed[0]
    if rule is not None:
        return rule
    if counts.high and servers & (servers - 1):
        raise DifferentError(
            f"{counts.high:,} feature ids have the top bit, and the entries do not tell by which of"
            f" the two rules they are spread, which differ for {servers} servers",
            hint="say which rule the job has",
            kind="no_server_rule",
        )
    return RULES[0]


def count_rules(
    spreads: Sequence[Spread],
    extents: Mapping[str, Sequence[Extent]],
    options: ReadOptions,
    *,
    workers: Workers = ALONE,
    progress: Callable[[int, int], None] | None = None,
) -> SpreadCounts:
    """How all entries keep to the two rules. Parameters and errors are those of `find_rule`."""
    places: dict[str, tuple[int, int]] = {}
    every: list[Extent] = []
    for spread in spreads:
        for server, base in spread.parts.items():
            for extent in extents[base]:
                places[extent.file.path] = (server, spread.servers)
                every.append(extent)
    stream = EntryStream(every)
    counts = SpreadCounts()
    done = 0
    with closing(read_ranges(stream, options, ServersFold(places), workers=workers)) as pieces:
        for piece in pieces:
            counts.merge(piece.value)
            done += piece.size
            if progress:
                progress(done, stream.size)
    return counts


def _neither(counts: SpreadCounts, spreads: Sequence[Spread]) -> DifferentError:
    shown = []
    for name, wrong, example in zip(_RULE_NAMES, counts.wrong, counts.examples, strict=True):
        if example is not None:
            fid, _ = example
            shown.append(f"{wrong:,} break {name}" + ("" if fid is None else f", as fid {fid}"))
    path = next((example[1] for example in counts.examples if example), None)
    split = [spread.name for spread in spreads if spread.servers > 1]
    return DifferentError(
        f"the entries of {', '.join(split)} are spread over servers by neither rule:"
        f" {'; '.join(shown)}",
        path=path,
        hint=_hint_of_lost(spreads) + NO_PARTS,
        kind="no_server_rule",
    )


def _hint_of_lost(spreads: Sequence[Spread]) -> str:
    """What to restore, where some tables have fewer parts than others; else empty."""
    split = [spread for spread in spreads if spread.servers > 1]
    most = max((spread.servers for spread in split), default=0)
    lost = [f"{each.name}_{number}" for each in split for number in range(each.servers, most)]
    if not lost:
        return ""
    some = ", ".join(lost[:_NAMES_SHOWN])
    return f"other tables are on {most} servers: restore {some} if that is lost; "
