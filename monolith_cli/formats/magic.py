"""Files of other formats, known by their first bytes.

What should be a table, an index or a text file is often one of these: fetched as a pointer,
downloaded as a page that says no, or packed on the way.
"""

from __future__ import annotations

from typing import NamedTuple

from monolith_cli.errors import MonolithError, StateFileError
from monolith_cli.storage.store import store_of

__all__ = ["HEAD_BYTES", "Known", "malformed", "what_it_is", "what_the_file_is"]

HEAD_BYTES = 512
"""So many of the first bytes decide."""


class Known(NamedTuple):
    """What a file is.

    `name` is a phrase, such as `a gzip file`; `remedy` what to do about it, an imperative phrase.
    """

    name: str
    remedy: str


_UNPACK = "unpack it"
_RESTORE = "restore the file"

_GIT_LFS = Known(
    "a git-lfs pointer, not the file itself", "fetch the file, with 'git lfs pull' for example"
)
_HTML = Known("an HTML page", "fetch the file again: this is a web server's answer instead of it")
_XML = Known("an XML document", "fetch the file again: this may be a server's answer instead of it")
_TAR = Known("a tar archive", _UNPACK)

_BEGINNINGS = (
    (b"version https://git-lfs.github.com/spec/", _GIT_LFS),
    (b"\x1f\x8b\x08", Known("a gzip file", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Known("a zstd file", _UNPACK)),
    (b"PK\x03\x04", Known("a zip archive", _UNPACK)),
    (b"PK\x05\x06", Known("an empty zip archive", _RESTORE)),
    (b"BZh", Known("a bzip2 file", _UNPACK)),
    (b"\xfd7zXZ\0", Known("an xz file", _UNPACK)),
    (b"\x04\x22\x4d\x18", Known("an lz4 file", _UNPACK)),
    (b"\xff\x06\0\0sNaPpY", Known("a snappy file in the framing format", _UNPACK)),
    (b"PAR1", Known("a parquet file", _RESTORE)),
    (b"\x89HDF\r\n\x1a\n", Known("an HDF5 file", _RESTORE)),
    (b"\x93NUMPY", Known("a NumPy file", _RESTORE)),
    (b"SQLite format 3\0", Known("an SQLite database", _RESTORE)),
)
_MARKUP = ((b"<!doctype html", _HTML), (b"<html", _HTML), (b"<?xml", _XML))
_TAR_AT = 257


def what_it_is(head: bytes) -> Known | None:
    """What a file is that begins like this; None for what has no such beginning.

    Files of records and text files may have any beginning: ask only where one does not parse.
    """
    for beginning, known in _BEGINNINGS:
        if head.startswith(beginning):
            return known
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return _TAR
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((known for beginning, known in _MARKUP if text.startswith(beginning)), None)


def what_the_file_is(path: str) -> Known | None:
    """The same for a file; None for one that cannot be read, too."""
    try:
        with store_of(path).open(path) as file:
            return what_it_is(file.read(0, HEAD_BYTES))
    except MonolithError:
        return None


def malformed(
    what: str,
    data: bytes,
    path: str | None,
    offset: int | None = None,
    hint: str | None = None,
) -> StateFileError:
    """The error for a small file that does not parse; it says which other format this is, if any.

    Parameters
    ----------
    what, path, offset, hint
        As in `MonolithError`.
    data
        What the file holds.
    """
    known = what_it_is(data[:HEAD_BYTES])
    if known is not None:
        return StateFileError(f"this is {known.name}", path=path, hint=known.remedy)
    return StateFileError(what, path=path, offset=offset, hint=hint)
