"""Entries as raw columns, a buffer a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monolith_cli import _native
from monolith_cli.fid import version_number

if TYPE_CHECKING:
    from monolith_cli.tables.stream import EntryFilter, Extent

__all__ = ["ColumnsFold", "RawColumns"]

_ALL = 2**63 - 1


class RawColumns(list[dict[str, Any]]):
    """The columns of some entries as `_native.Reader.columns` gives them, part by part."""

    def merge(self, other: RawColumns, /) -> None:
        """Add what follows."""
        self += other


class ColumnsFold:
    """Chosen entries as columns.

    Parameters
    ----------
    embedding, optimizers
        Whether their columns are wanted, beside those of numbers.
    chosen
        Which entries are wanted.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    """

    def __init__(
        self, embedding: bool = True, optimizers: bool = True, chosen: EntryFilter | None = None
    ) -> None:
        self.embedding = embedding
        self.optimizers = optimizers
        self.chosen = chosen
        self._filter = chosen.native() if chosen else None
        self._version = version_number(chosen.fid_version) if chosen else 2

    def __reduce__(self) -> tuple[object, ...]:
        return (ColumnsFold, (self.embedding, self.optimizers, self.chosen))

    def run(self, reader: _native.Reader, extent: Extent, /) -> RawColumns:
        """All that the reader gives."""
        found = reader.columns(
            _ALL,
            self._filter,
            fid_version=self._version,
            with_embedding=self.embedding,
            with_optimizers=self.optimizers,
        )
        return RawColumns([found] if found["fid"] else [])
