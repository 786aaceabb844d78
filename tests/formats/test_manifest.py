"""`ckpt.manifest-<step>`: its bytes, and each way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monolith_cli.errors import PathNotFoundError, StateFileError
from monolith_cli.formats.manifest import (
    Manifest,
    ManifestFile,
    ManifestTable,
    format_manifest,
    parse_manifest,
    read_manifest,
    write_manifest,
)

MANIFEST = Manifest(
    step=7,
    run_id="run",
    index_bytes=200,
    index_crc32c="0000abcd",
    files=(
        ManifestFile("model.ckpt-7.data-00000-of-00001", 40),
        ManifestFile("model.ckpt-7.assets/t-00000-of-00001", 0, "12345678"),
    ),
    tables=(ManifestTable("t", "single", 0), ManifestTable("many", "multi")),
)
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "step": 7,
    "run_id": "run",
    "index": {"bytes": 200, "crc32c": "0000abcd"},
    "files": [
        {"name": "model.ckpt-7.data-00000-of-00001", "bytes": 40, "crc32c": None},
        {"name": "model.ckpt-7.assets/t-00000-of-00001", "bytes": 0, "crc32c": "12345678"},
    ],
    "tables": [
        {"name": "t", "kind": "single", "entries": 0},
        {"name": "many", "kind": "multi", "entries": None},
    ],
}


def test_what_is_written() -> None:
    assert json.loads(format_manifest(MANIFEST)) == DOCUMENT
    assert format_manifest(MANIFEST).endswith(b"]}\n")


def test_what_is_read(tmp_path: Path) -> None:
    assert parse_manifest(json.dumps({**DOCUMENT, "more": [1]}).encode()) == MANIFEST
    path = tmp_path / "ckpt.manifest-7"
    write_manifest(path, MANIFEST)
    assert read_manifest(path) == MANIFEST
    with pytest.raises(PathNotFoundError):
        read_manifest(tmp_path / "ckpt.manifest-8")


def test_names_that_are_no_utf_8() -> None:
    odd = MANIFEST._replace(files=(ManifestFile("t\udcff-00000-of-00001", 1),))
    assert parse_manifest(format_manifest(odd)) == odd


FILE = {"name": "a", "bytes": 1, "crc32c": None}
TABLE = {"name": "a", "kind": "single", "entries": None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2 of a manifest, which is not known"),
        ({"version": True}, "version True of a manifest, which is not known"),
        ({"step": -1}, "step of the manifest is not a count: -1"),
        ({"step": "7"}, "step of the manifest is not a count: '7'"),
        ({"run_id": None}, "run_id of the manifest is not a text: None"),
        ({"index": None}, "the index is not an object"),
        ({"index": {"bytes": 1}}, "the index has no crc32c"),
        ({"index": {"bytes": 1, "crc32c": None}}, "the index has no crc32c"),
        ({"index": {"bytes": 1.5, "crc32c": "00000000"}}, "bytes of the index is not a count: 1.5"),
        ({"index": {"bytes": 1, "crc32c": "ABCDEF01"}}, "crc32c of the index is not 8 hex digits"),
        ({"files": {}}, "files is not a list"),
        ({"files": ["a"]}, "file 0 is not an object"),
        ({"files": [FILE, {"name": "b", "bytes": 1}]}, "file 1 has no crc32c"),
        ({"files": [FILE, FILE]}, "'a' is there twice"),
        ({"files": [{**FILE, "bytes": True}]}, "bytes of file 0 is not a count: True"),
        ({"files": [{**FILE, "crc32c": 7}]}, "crc32c of file 0 is not 8 hex digits: 7"),
        *(
            ({"files": [{**FILE, "name": name}]}, "name of file 0 is not one in the directory")
            for name in (
                "",
                "/etc/passwd",
                "../a",
                "a/../b",
                "a//b",
                "a/",
                "./a",
                "a\0",
                "a\ud800b",
            )
        ),
        ({"tables": None}, "tables is not a list"),
        ({"tables": [{"name": "a", "kind": "single"}]}, "table 0 has no entries"),
        ({"tables": [{**TABLE, "entries": -1}]}, "entries of table 0 is not a count: -1"),
        ({"tables": [{**TABLE, "kind": 1}]}, "kind of table 0 is not a text: 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "ckpt.manifest-7"
    path.write_text(json.dumps({**DOCUMENT, **change}))
    with pytest.raises(StateFileError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("key", list(DOCUMENT))
def test_a_key_that_is_missing(key: str) -> None:
    document = {name: value for name, value in DOCUMENT.items() if name != key}
    with pytest.raises(StateFileError, match=f"the manifest has no {key}"):
        parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("text", [b"", b"\xff", b"{", b"[" * 100_000])
def test_no_json(text: bytes) -> None:
    with pytest.raises(StateFileError, match="not JSON"):
        parse_manifest(text)


@pytest.mark.parametrize("text", [b"[]", b"7", b"null"])
def test_no_object(text: bytes) -> None:
    with pytest.raises(StateFileError, match="the manifest is not an object"):
        parse_manifest(text)
