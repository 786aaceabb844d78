"""Tables that are split over parameter servers: `user_0`, ..., `user_7` are parts of `user`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.tables.counts import TableCount

__all__ = ["merge_counts", "merge_servers", "numbered"]

_PART = re.compile(r"(?s)(.+)_(0|[1-9][0-9]{0,8})")


def numbered(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """The names that end in a number, by it, and by what comes before."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        match = _PART.fullmatch(name)
        if match:
            found.setdefault(match[1], {})[int(match[2])] = name
    return found


def merge_servers(names: Iterable[str]) -> dict[str, str]:
    """By the name of a table the name of what it is a part of; its own for a whole one.

    Parts are numbered from 0, without gaps. A table `age_18` is whole, and so are `t_0` and `t_1`
    beside a table `t`. Where others are split over more servers, some parts may be missing.
    """
    names = list(names)
    numbers = {base: set(found) for base, found in numbered(names).items()}
    servers = max((len(found) for found in numbers.values() if _is_gapless(found)), default=0)
    for base in set(names) & numbers.keys():
        del numbers[base]
    split = {
        base
        for base, found in numbers.items()
        if _is_gapless(found) or (len(found) > 1 and max(found) < servers)
    }
    merged = {}
    for name in names:
        match = _PART.fullmatch(name)
        merged[name] = match[1] if match and match[1] in split else name
    return merged


def merge_counts(tables: Sequence[TableCount]) -> list[TableCount]:
    """The counts of whole tables; what is the same of all parts is kept, and numbers are added."""
    name_of = merge_servers(table.name for table in tables)
    parts: dict[tuple[str, str], list[TableCount]] = {}
    for table in tables:
        parts.setdefault((name_of[table.name], table.kind), []).append(table)
    return [_merged(name, found) for (name, _), found in parts.items()]


def _merged(name: str, parts: list[TableCount]) -> TableCount:
    first = parts[0]
    if len(parts) == 1:
        return first._replace(name=name)
    sizes = [part.bytes for part in parts if part.bytes is not None]
    dims = [part.dims for part in parts if part.dims is not None]
    smallest = min((low for low, _ in dims), default=None)
    largest = max((high for _, high in dims), default=None)
    optimizers = [part.optimizers for part in parts if part.optimizers is not None]
    slot_counts: dict[int, int] = {}
    for part in parts:
        for slot, count in (part.slot_counts or {}).items():
            slot_counts[slot] = slot_counts.get(slot, 0) + count
    is_read = all(part.slot_counts is not None for part in parts)
    return first._replace(
        name=name,
        entries=sum(part.entries for part in parts),
        shards=sum(part.shards for part in parts),
        bytes=sum(sizes) if len(sizes) == len(parts) else None,
        verified=all(part.verified for part in parts),
        dim=smallest if smallest == largest else None,
        dims=None if smallest is None or largest is None else (smallest, largest),
        optimizers=list(dict.fromkeys(each for names in optimizers for each in names))
        if len(optimizers) == len(parts)
        else None,
        slot_counts=slot_counts if is_read else None,
        damaged=any(part.damaged for part in parts),
    )


def _is_gapless(numbers: set[int]) -> bool:
    return max(numbers) == len(numbers) - 1
