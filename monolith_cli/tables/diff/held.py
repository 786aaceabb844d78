"""Parts of tables that wait for their join: in memory, and beyond a limit in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from monolith_cli import _native

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.storage.scratch import Scratch

__all__ = ["Held", "HeldParts", "load_all", "shared_out"]

_PIECES_A_JOB = 4
_LITTLE_BYTES = 1 << 20
_SMALL_BYTES = 1 << 16
"""What is not worth a place in a file."""


class Spilled:
    """Parts in a file.

    Attributes
    ----------
    size
        In bytes.
    """

    __slots__ = ("_ends", "_offset", "_scratch", "size")

    def __init__(self, parts: _native.Parts, scratch: Scratch) -> None:
        self.size = parts.size
        self._ends = parts.ends
        self._scratch = scratch
        self._offset = scratch.write(parts.data)

    def load(self, first: int, last: int) -> _native.Parts:
        """The parts [first, last) of it, or more. Raises as `Scratch.read`."""
        if not self._ends:
            return _native.Parts(self._scratch.read(self._offset, self.size))
        ends = memoryview(self._ends).cast("Q")
        start, stop = (ends[first - 1] if first else 0), ends[last - 1]
        data = self._scratch.read(self._offset + start, stop - start)
        return _native.Parts(data, self._ends, first, last)


Held: TypeAlias = _native.Parts | Spilled


def load_all(side: Sequence[Held], first: int, last: int) -> list[_native.Parts]:
    """The parts [first, last) of all, or more. Raises as `Scratch.read`."""
    return [each.load(first, last) if isinstance(each, Spilled) else each for each in side]


def shared_out(held: Sequence[Held], jobs: int, memory_bytes: int) -> list[int]:
    """Where to cut the parts, so that each piece is work for one of so many threads.

    Together they load no more of what is spilled than `memory_bytes`.
    """
    spilled = sum(each.size for each in held if isinstance(each, Spilled))
    # Few, because what came of a piece is held for twice as many as there are threads.
    count = _PIECES_A_JOB * jobs if sum(each.size for each in held) > _LITTLE_BYTES else 1
    count = min(max(count, jobs * spilled // memory_bytes + 1), _native.PARTS)
    return [_native.PARTS * number // count for number in range(count + 1)]


class HeldParts:
    """What there is of tables, by table.

    Parameters
    ----------
    memory_bytes
        How much may be in memory.
    scratch
        Takes what is more.

    Attributes
    ----------
    by_table
        In the order in which they came.
    left_bytes
        How much more may be in memory.
    """

    def __init__(self, memory_bytes: int, scratch: Scratch) -> None:
        self.by_table: dict[str, list[Held]] = {}
        self.left_bytes = memory_bytes
        self._scratch = scratch

    def add(self, table: str, parts: Iterable[_native.Parts]) -> None:
        """Keep parts of a table. Raises as `Scratch.write`."""
        held = self.by_table.setdefault(table, [])
        for each in parts:
            if not each.size:
                continue
            if each.size > self.left_bytes and each.size >= _SMALL_BYTES:
                held.append(Spilled(each, self._scratch))
                continue
            self.left_bytes -= each.size
            held.append(each)

    def everything(self) -> list[Held]:
        """What there is of all tables."""
        return [each for held in self.by_table.values() for each in held]

    def take(self, table: str) -> list[Held]:
        """What there is of a table, which is forgotten here."""
        return self.by_table.pop(table, [])
