"""Which tables a sample has, and how large they are."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Plan", "SampleTable", "default_shards", "plan_tables"]

_SINGLE_PREFIX = "MonolithHashTable_"
_FIELDS = ("user", "item", "author", "query", "city", "device", "topic", "hour")
_SLOT_GAPS = (0, 1, 3, 6, 7)
_SLOTS = 1 << 15


class SampleTable(NamedTuple):
    """One table of a sample: its name, how many entries it got, and the slots that they are in."""

    name: str
    entries: int
    slots: tuple[int, ...]


class Plan(NamedTuple):
    """A table before it is written; `number` (from 0) tells the tables' random bytes apart."""

    number: int
    table: SampleTable


def default_shards(entries: int, tables: int, multi: bool) -> int:
    """Files per dump, as the original picks them."""
    largest = entries if multi else max(_shares(entries, tables))
    return min(4, max(1, largest // 1_000_000))


def plan_tables(entries: int, tables: int, multi: bool) -> list[Plan]:
    """So many tables, the first one largest, each with slots of its own."""
    plans = []
    for index, count in enumerate(_shares(entries, tables)):
        turn, field = divmod(index, len(_FIELDS))
        name = _FIELDS[field] + (str(turn + 1) if turn else "")
        gaps = _SLOT_GAPS[: 2 + index % (len(_SLOT_GAPS) - 1)]
        slots = tuple((10 * index + gap) % _SLOTS for gap in gaps)
        plans.append(
            Plan(index, SampleTable(name if multi else _SINGLE_PREFIX + name, count, slots))
        )
    return plans


def _shares(total: int, parts: int) -> list[int]:
    """`total` cut in proportion to 1, 1/2, 1/3, …"""
    weights = [1 / (part + 1) for part in range(parts)]
    scale = total / sum(weights)
    shares = [int(weight * scale) for weight in weights]
    for part in range(total - sum(shares)):
        shares[part % parts] += 1
    return shares
