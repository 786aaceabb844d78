"""Two checkpoints as wholes: tables, slots, dense variables, inputs, held against each other.

Entries are told by numbers; `tables/diff` compares them one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from monolith_cli.care.dense_diff import DenseDiff, diff_dense
from monolith_cli.care.inputs_diff import InputDiff, diff_inputs
from monolith_cli.checkpoint.manifests import read_step_manifest
from monolith_cli.errors import DifferentError, MonolithError, PathNotFoundError
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info
from monolith_cli.storage.location import HERE, parent_of
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.gone import gone_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.tables.diff.compare import TablesDiff

__all__ = ["CkptDiff", "CkptMeasured", "TableNumbers", "diff_checkpoints"]

_T = TypeVar("_T")

_COUNTS = ("added", "removed", "changed")


class TableNumbers(NamedTuple):
    """A table on both sides, by numbers.

    Attributes
    ----------
    name
        Of the table, or of the one that servers have parts of.
    is_in_a, is_in_b
        Whether the sides have it.
    entries
        On both sides, as contents files or manifests say; None where nobody says it.
    bytes
        Of its files; None where it has none, or shares them.
    """

    name: str
    is_in_a: bool
    is_in_b: bool
    entries: tuple[int | None, int | None]
    bytes: tuple[int | None, int | None]

    @property
    def differs(self) -> bool:
        """Whether a number does, or a side has it not."""
        return (
            self.is_in_a != self.is_in_b
            or self.entries[0] != self.entries[1]
            or self.bytes[0] != self.bytes[1]
        )


class CkptDiff(NamedTuple):
    """How two checkpoints differ.

    Attributes
    ----------
    tables
        Those of the first side in its order, then those that only the other one has.
    slots
        Entries of both sides by slot, ascending, as `ckpt.info` of single tables counts them; None
        where a side has no such file.
    entries
        All, on both sides; None where that is not known.
    dense
        Dense variables, names ascending.
    inputs
        What became of each reader of workers' inputs.
    compared
        The tables' entries, compared one by one; None if that was not asked for.
    errors
        What is wrong with either side; the rest was compared.
    """

    tables: list[TableNumbers]
    slots: dict[int, tuple[int, int]] | None
    entries: tuple[int | None, int | None]
    dense: list[DenseDiff]
    inputs: list[InputDiff]
    compared: TablesDiff | None
    errors: list[MonolithError]

    @property
    def differs(self) -> bool:
        """Whether anything is seen to differ."""
        return (
            any(table.differs for table in self.tables)
            or any(before != after for before, after in (self.slots or {}).values())
            or any(variable.differs for variable in self.dense)
            or any(reader.differs for reader in self.inputs)
            or (self.compared is not None and self.compared.differs)
        )

    def error(self) -> DifferentError:
        """The error of checkpoints that differ, where they should not."""
        parts = {
            "table": sum(table.differs for table in self.tables),
            "dense variable": sum(variable.differs for variable in self.dense),
            "input": sum(reader.differs for reader in self.inputs),
        }
        if self.compared is not None:
            parts["table"] = sum(table.differs for table in self.compared.tables)
        told = [f"{count} {part}{'' if count == 1 else 's'}" for part, count in parts.items()]
        return DifferentError(f"different: {', '.join(told)}")


def diff_checkpoints(
    a: Checkpoint,
    b: Checkpoint,
    *,
    merge_servers: bool = False,
    compared: TablesDiff | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CkptDiff:
    """Compare two checkpoints. Of tables no entry is read; dense variables and inputs are.

    Parameters
    ----------
    merge_servers
        Take the parts of a table on several servers as one.
    compared
        What `diff_tables` has found.
    progress
        As of `diff_dense`.

    Raises
    ------
    PathNotFoundError, NotReadableError
        A checkpoint was deleted meanwhile, or cannot be read.
    """
    sides = [_Side(checkpoint, merge_servers) for checkpoint in (a, b)]
    errors = [error for side in sides for error in side.errors]
    dense: list[DenseDiff] = []
    inputs: list[InputDiff] = []
    try:
        dense = diff_dense(a, b, progress)
    except MonolithError as error:
        a.require()
        b.require()
        errors.append(error)
    try:
        inputs = diff_inputs(a, b)
    except MonolithError as error:
        errors.append(error)
    errors += [reader.problem for reader in inputs if reader.problem is not None]
    if compared is not None:
        errors += [error for error in compared.errors if str(error) not in map(str, errors)]
    for side in (a, b):
        side.require()
    return CkptDiff(
        _tables(*sides),
        _slots(*sides),
        (sides[0].entries, sides[1].entries),
        dense,
        inputs,
        compared,
        errors,
    )


class _Side:
    """What one checkpoint says of its tables."""

    def __init__(self, checkpoint: Checkpoint, merge_servers: bool) -> None:
        self.errors: list[MonolithError] = []
        self.tables: dict[str, tuple[int | None, int | None]] = {}
        self.is_whole = True
        self._info = self._read(lambda: _info_of(checkpoint))
        manifest = self._read(lambda: _manifest_of(checkpoint)) or {}
        try:
            found = find_tables(checkpoint)
        except MonolithError as error:
            checkpoint.require()
            self.errors.append(error)
            self.is_whole = False
            return
        self.errors += [*found.problems, *found.filter_problems]
        gone = gone_error(checkpoint.ckpt_info_path, found)
        self.errors += [gone] if gone is not None else []
        self.is_whole = not found.problems
        names = {table.name: table.name for table in found.tables}
        if merge_servers:
            from monolith_cli.tables.servers import merge_servers as merged

            names = merged(names)
        for table in found.tables:
            entries = table.promised_entries
            if entries is None:
                entries = manifest.get(table.name)
            name = names[table.name]
            numbers = entries, table.stored_bytes
            if name in self.tables:
                numbers = (
                    _sum(self.tables[name][0], entries),
                    _sum(self.tables[name][1], table.stored_bytes),
                )
            self.tables[name] = numbers

    @property
    def entries(self) -> int | None:
        """All that it has; None if that is not known."""
        if self._info is not None:
            counts = [*self._info.slot_counts.values(), *self._info.feature_counts.values()]
            return sum(counts)
        total: int | None = 0
        for entries, _ in self.tables.values():
            total = _sum(total, entries)
        return total if self.tables else None

    @property
    def slots(self) -> Mapping[int, int] | None:
        """Entries by slot; None if that is not known."""
        return None if self._info is None else self._info.slot_counts

    def _read(self, read: Callable[[], _T | None]) -> _T | None:
        try:
            return read()
        except PathNotFoundError:
            return None
        except MonolithError as error:
            self.errors.append(error)
            return None


def _info_of(checkpoint: Checkpoint) -> CkptInfo | None:
    path = checkpoint.ckpt_info_path
    return None if path is None else read_ckpt_info(path)


def _manifest_of(checkpoint: Checkpoint) -> dict[str, int | None] | None:
    """By the name of a dump what the manifest says of its entries."""
    if checkpoint.prefix is None or checkpoint.step is None:
        return None
    manifest = read_step_manifest(parent_of(checkpoint.prefix) or HERE, checkpoint.step)
    return {table.name: table.entries for table in manifest.tables} if manifest else None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _tables(a: _Side, b: _Side) -> list[TableNumbers]:
    """One that is not on a side that is not whole may be among what is lost: it is left out."""
    none = (None, None)
    found = []
    for name in {**a.tables, **b.tables}:
        is_in_a, is_in_b = name in a.tables, name in b.tables
        if (is_in_a or a.is_whole) and (is_in_b or b.is_whole):
            before, after = a.tables.get(name, none), b.tables.get(name, none)
            pairs = zip(before, after, strict=True)
            found.append(TableNumbers(name, is_in_a, is_in_b, *pairs))
    return found


def _slots(a: _Side, b: _Side) -> dict[int, tuple[int, int]] | None:
    if a.slots is None or b.slots is None:
        return None
    names = sorted({*a.slots, *b.slots})
    return {slot: (a.slots.get(slot, 0), b.slots.get(slot, 0)) for slot in names}


class CkptMeasured:
    """A comparison, for conditions: of the second side, before is the first one."""

    def __init__(self, found: CkptDiff) -> None:
        self.found = found

    def measured(self, scope: str, name: str) -> Mapping[str | int, float | None] | None:
        """Entries and bytes; if entries were compared, what became of them, too."""
        if self.found.compared is not None and (name in _COUNTS or scope == "slot"):
            from monolith_cli.care.diff import TablesMeasured

            return TablesMeasured(self.found.compared).measured(scope, name)
        return self._side(scope, name, 1)

    def before(self, scope: str, name: str) -> Mapping[str | int, float | None] | None:
        """The same of the first side."""
        if self.found.compared is not None and scope == "slot":
            from monolith_cli.care.diff import TablesMeasured

            return TablesMeasured(self.found.compared).before(scope, name)
        return self._side(scope, name, 0)

    def _side(self, scope: str, name: str, side: int) -> Mapping[str | int, float | None] | None:
        found = self.found
        if scope == "" and name == "entries":
            return None if found.entries[side] is None else {"": found.entries[side]}
        if scope == "slot" and name == "entries" and found.slots is not None:
            return {slot: counts[side] for slot, counts in found.slots.items()}
        if scope == "table" and name in ("entries", "bytes"):
            tables = [table for table in found.tables if (table.is_in_a, table.is_in_b)[side]]
            return {table.name: getattr(table, name)[side] for table in tables}
        return None
