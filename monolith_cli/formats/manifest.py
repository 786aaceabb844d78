"""`ckpt.manifest-<step>`: which files and tables belong to a step, and how large they are.

JSON: `{"version": 1, "step", "run_id", "index": {"bytes", "crc32c"}, "files": [{"name", "bytes",
"crc32c"}], "tables": [{"name", "kind", "entries"}]}`. Only files that never change after the commit
are in it: dumps, their contents, the bundles' indexes and data. Names are relative to the model
directory, with `/`; checksums are CRC32C of the bytes, unmasked, as 8 hex digits, or null where
nobody has read the file. The index of the dense variables, to which the manifest is bound, always
has one. Entries are null where they were not counted.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.errors import StateFileError
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.location import AnyPath

__all__ = [
    "Manifest",
    "ManifestFile",
    "ManifestTable",
    "format_manifest",
    "parse_manifest",
    "read_manifest",
    "write_manifest",
]

_VERSION = 1
_CRC32C = re.compile("[0-9a-f]{8}")


class ManifestFile(NamedTuple):
    """A file: its name, its size in bytes, and its checksum as 8 hex digits or None."""

    name: str
    size_bytes: int
    crc32c: str | None = None


class ManifestTable(NamedTuple):
    """A table: its name, its kind (`single`, `multi`, `hash_filter`), its entries or None.

    Of many tables in one dump the dump is named.
    """

    name: str
    kind: str
    entries: int | None = None


class Manifest(NamedTuple):
    """What `ckpt.manifest-<step>` says.

    Attributes
    ----------
    run_id
        Of the run that saved the step; empty in a job without runs.
    index_bytes, index_crc32c
        Of the index of the dense variables.
    files, tables
        In the order in which they are written there.
    """

    step: int
    run_id: str
    index_bytes: int
    index_crc32c: str
    files: tuple[ManifestFile, ...]
    tables: tuple[ManifestTable, ...]


def format_manifest(manifest: Manifest) -> bytes:
    """The bytes of the file."""
    document = {
        "version": _VERSION,
        "step": manifest.step,
        "run_id": manifest.run_id,
        "index": {"bytes": manifest.index_bytes, "crc32c": manifest.index_crc32c},
        "files": [
            {"name": file.name, "bytes": file.size_bytes, "crc32c": file.crc32c}
            for file in manifest.files
        ],
        "tables": [table._asdict() for table in manifest.tables],
    }
    return (json.dumps(document) + "\n").encode("ascii")


def parse_manifest(data: bytes, path: str | None = None) -> Manifest:
    """Parse the file; keys that are not known are fine.

    Raises
    ------
    StateFileError
        It is no JSON, of another version, lacks something, or has a value that cannot be: a
        negative size, a checksum that is none, a name that is absolute, leads elsewhere, or comes
        twice.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StateFileError("not JSON", path=path) from error
    try:
        return _parse(document)
    except _MalformedError as error:
        raise StateFileError(str(error), path=path) from error


def read_manifest(path: AnyPath) -> Manifest:
    """Read the file.

    Raises
    ------
    StateFileError
        As `parse_manifest`.
    PathNotFoundError, NotReadableError
        It is not there, or the operating system refused.
    """
    path = as_location(path)
    return parse_manifest(store_of(path).read(path), path)


def write_manifest(path: AnyPath, manifest: Manifest) -> None:
    """Write the file, whole or not at all.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    path = as_location(path)
    store_of(path).put(path, format_manifest(manifest))


class _MalformedError(Exception):
    pass


def _parse(document: Any) -> Manifest:
    version = _field(document, "version", "the manifest")
    if version != _VERSION or isinstance(version, bool):
        raise _MalformedError(f"version {version!r} of a manifest, which is not known")
    index = _field(document, "index", "the manifest")
    files = tuple(
        ManifestFile(
            _name(file, f"file {i}"),
            _number(file, "bytes", f"file {i}"),
            _crc32c(file, f"file {i}"),
        )
        for i, file in enumerate(_list(document, "files"))
    )
    names: set[str] = set()
    for file in files:
        if file.name in names:
            raise _MalformedError(f"{file.name!r} is there twice")
        names.add(file.name)
    checksum = _crc32c(index, "the index")
    if checksum is None:
        raise _MalformedError("the index has no crc32c")
    return Manifest(
        _number(document, "step", "the manifest"),
        _text(document, "run_id", "the manifest"),
        _number(index, "bytes", "the index"),
        checksum,
        files,
        tuple(
            ManifestTable(
                _text(table, "name", f"table {i}"),
                _text(table, "kind", f"table {i}"),
                None
                if _field(table, "entries", f"table {i}") is None
                else _number(table, "entries", f"table {i}"),
            )
            for i, table in enumerate(_list(document, "tables"))
        ),
    )


def _field(owner: Any, key: str, what: str) -> Any:
    if not isinstance(owner, dict):
        raise _MalformedError(f"{what} is not an object")
    if key not in owner:
        raise _MalformedError(f"{what} has no {key}")
    return owner[key]


def _list(document: Any, key: str) -> list[Any]:
    value = _field(document, key, "the manifest")
    if not isinstance(value, list):
        raise _MalformedError(f"{key} is not a list")
    return value


def _number(owner: Any, key: str, what: str) -> int:
    value = _field(owner, key, what)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _MalformedError(f"{key} of {what} is not a count: {value!r}")
    return value


def _text(owner: Any, key: str, what: str) -> str:
    value = _field(owner, key, what)
    if not isinstance(value, str):
        raise _MalformedError(f"{key} of {what} is not a text: {value!r}")
    return value


def _name(owner: Any, what: str) -> str:
    name = _text(owner, "name", what)
    if not _can_be_a_name(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise _MalformedError(f"name of {what} is not one in the directory: {name!r}")
    return name


def _can_be_a_name(name: str) -> bool:
    """Not with a zero, nor with half a surrogate pair that stands for no byte."""
    try:
        return b"\0" not in name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _crc32c(owner: Any, what: str) -> str | None:
    value = _field(owner, "crc32c", what)
    if value is None:
        return None
    if not isinstance(value, str) or not _CRC32C.fullmatch(value):
        raise _MalformedError(f"crc32c of {what} is not 8 hex digits: {value!r}")
    return value
