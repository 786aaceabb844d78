"""Tables: what a checkpoint's hash tables hold, page by page, by column, by count."""

from __future__ import annotations

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
