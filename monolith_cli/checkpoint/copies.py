"""Copies of a dump's files, as servers of an export have them: whether they are byte for byte."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from monolith_cli.errors import CorruptionError, PathNotFoundError
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["compare_copies"]

_PIECE_BYTES = 1 << 20


def compare_copies(path: str, copy: str) -> CorruptionError | None:
    """The error of a copy that differs, at its first byte that does; None for an equal one.

    Reads both files.

    Raises
    ------
    PathNotFoundError, NotReadableError
        One of them is gone, or cannot be read.
    """
    offset = 0
    for here, there in zip_longest(_pieces(path), _pieces(copy), fillvalue=b""):
        if here != there:
            pairs = zip(here, there, strict=False)
            same = next((i for i, (one, other) in enumerate(pairs) if one != other), None)
            return CorruptionError(
                f"differs from '{path}', which ought to be the same file",
                path=copy,
                offset=offset + (min(len(here), len(there)) if same is None else same),
                hint="export again, or give one server's directory",
                kind="copies_differ",
            )
        offset += len(here)
    return None


def _pieces(path: str) -> Iterator[bytes]:
    offset = 0
    try:
        with store_of(path).open(path) as file:
            while piece := file.read(offset, _PIECE_BYTES):
                yield piece
                offset += len(piece)
    except PathNotFoundError as error:
        raise PathNotFoundError("gone", path=path) from error
