"""Tables: what a checkpoint's hash tables hold, page by page, by column, by count.

The names below are imported on first use: who counts needs no pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monolith_cli.tables.found import FoundTables, find_tables, open_tables
    from monolith_cli.tables.pages import Page
    from monolith_cli.tables.stream import EntryFilter, ReadOptions
    from monolith_cli.tables.table import Table

__all__ = [
    "EntryFilter",
    "FoundTables",
    "Page",
    "ReadOptions",
    "Table",
    "find_tables",
    "open_tables",
]

_HOMES = {
    "EntryFilter": "stream",
    "FoundTables": "found",
    "Page": "pages",
    "ReadOptions": "stream",
    "Table": "table",
    "find_tables": "found",
    "open_tables": "found",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
