"""Names of folders for tables, whose own names may hold anything."""

from __future__ import annotations

import hashlib
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["folder_names"]

_MOST_BYTES = 200
_PLAIN = frozenset((string.ascii_letters + string.digits + "_-.+@,:").encode())


def folder_names(tables: Sequence[str]) -> list[str]:
    """A name for each table, no two alike.

    It is the table's own as far as file systems, shells and readers take that for nothing else:
    other bytes become `%` and two hex digits, such as `/`, `*`, and `=`, which readers take for a
    column's value; so does a dot or an underscore that it begins with, which hides a folder from
    them. What is too long is cut, and has a digest in place of the rest.
    """
    names: list[str] = []
    for table in tables:
        name = _safe(table)
        if name in names:  # a single table and a multi table
            number = 2
            while f"{name}%{number}" in names:
                number += 1
            name = f"{name}%{number}"
        names.append(name)
    return names


def _safe(table: str) -> str:
    data = table.encode("utf-8", "surrogateescape")
    name = "".join(
        chr(byte) if byte in _PLAIN and not (i == 0 and byte in b"._") else f"%{byte:02X}"
        for i, byte in enumerate(data)
    )
    if not name:
        return "%"
    if len(name) > _MOST_BYTES:
        digest = hashlib.sha256(data).hexdigest()[:16]
        cut = name[: _MOST_BYTES - 17]
        return f"{cut}%{digest}"
    return name
