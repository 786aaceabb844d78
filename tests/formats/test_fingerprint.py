"""The JSON of fingerprints: what is written, and what is read of it, without TensorFlow."""

from __future__ import annotations

from typing import Any

import pytest

from monolith_cli.errors import StateFileError
from monolith_cli.formats.fingerprint import (
    AT_RUN_TIME,
    Fingerprint,
    InputFile,
    format_fingerprint,
    parse_files,
    parse_fingerprint,
    relative_names,
    version_of,
)

NODES = [
    {"op": "TensorSliceDataset", "parameters": {"components": [{"files": True}]}},
    {
        "op": "FlatMapDataset",
        "parameters": {"f": {"nodes": [{"op": "TFRecordDatasetV2", "parameters": {}}]}},
    },
]
FILES: list[InputFile | None] = [InputFile("/data/a", 10), InputFile("/data/b", None)]


def test_what_is_written() -> None:
    document = format_fingerprint(Fingerprint(NODES, FILES, [], [1]))
    assert list(document) == ["version", "digest", "files", "nodes"]
    assert document["version"] == version_of(document) == 1
    assert document["digest"] == "80fc34456de70437"
    assert document["files"] == [
        {"path": "/data/a", "bytes": 10},
        {"path": "/data/b", "bytes": None},
    ]
    assert document["nodes"] is NODES


def test_what_is_read_is_what_was_written() -> None:
    for files in (FILES, [], [None, *FILES]):
        fingerprint = Fingerprint(NODES, files, ["/data/*"], [0, 1])
        assert parse_fingerprint(format_fingerprint(fingerprint)) == fingerprint


@pytest.mark.parametrize("files", [None, [None], [None, None]])
def test_files_that_are_not_known(files: Any) -> None:
    assert format_fingerprint(Fingerprint(NODES, files, [], []))["files"] is None


def test_an_iterator_without_an_initializer() -> None:
    document = format_fingerprint(Fingerprint([], [], [], []))
    assert (document["files"], document["nodes"]) == (None, [])
    assert parse_fingerprint(document) == ([], None, [], [])


def test_the_digest_is_of_nodes_and_names() -> None:
    def digest(files: list[InputFile | None], op: str = "RangeDataset") -> str:
        nodes = [{"op": op, "parameters": {}}]
        text = format_fingerprint(Fingerprint(nodes, files, [], []))["digest"]
        assert isinstance(text, str)
        return text

    here = digest([InputFile("/a/1", 5), InputFile("/a/2", 5)])
    assert here == digest([InputFile("/b/c/1", 7), InputFile("/b/c/2", None)])
    assert here == digest([InputFile("/a/1", 5), InputFile("/a/2", 5)], "RangeDatasetV2")
    assert here != digest([InputFile("/a/2", 5), InputFile("/a/1", 5)])
    assert here != digest([InputFile("/a/1", 5), InputFile("/a/2", 5)], "SkipDataset")


BAD_NODE = "malformed fingerprint: a node without an op or parameters"
BAD_FILE = "malformed fingerprint: a file without a path, or with a bad size"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"version": 2}, "not a fingerprint of a known version"),
        ({"version": None}, "not a fingerprint of a known version"),
        ({"nodes": None}, "malformed fingerprint: the nodes are not a list"),
        ({"nodes": [None]}, BAD_NODE),
        ({"nodes": [{"op": "X"}]}, BAD_NODE),
        ({"nodes": [{"op": 1, "parameters": {}}]}, BAD_NODE),
        ({"nodes": [{"op": "X", "parameters": {"f": {"nodes": [1]}}}]}, BAD_NODE),
        ({"files": {}}, "malformed fingerprint: the files are not a list"),
        ({"files": [{"path": 1}]}, BAD_FILE),
        ({"files": [{"path": "a", "bytes": "1"}]}, BAD_FILE),
        ({"patterns": "a"}, "malformed fingerprint: the patterns are not a list of strings"),
        ({"patterns": [1]}, "malformed fingerprint: the patterns are not a list of strings"),
        ({"outputs": {}}, "malformed fingerprint: the outputs are not a list"),
    ],
)
def test_what_is_malformed(change: dict[str, Any], what: str) -> None:
    document = format_fingerprint(Fingerprint(NODES, FILES, [], []))
    with pytest.raises(StateFileError) as caught:
        parse_fingerprint(document | change)
    assert str(caught.value) == what


def test_what_is_no_document() -> None:
    for value in (None, [], "x", 1):
        assert version_of(value) is None
        with pytest.raises(StateFileError):
            parse_fingerprint(value)


def test_functions_that_are_nested_too_deeply() -> None:
    nodes: list[Any] = []
    for _ in range(100_000):
        nodes = [{"op": "X", "parameters": {"f": {"nodes": nodes}}}]
    with pytest.raises(StateFileError, match="nested too deeply"):
        parse_fingerprint({"version": 1, "nodes": nodes, "files": None})
    while nodes:  # taken apart from the outside, as freeing it at once would nest as deeply
        nodes = nodes.pop()["parameters"]["f"]["nodes"]


def test_more_keys_are_fine() -> None:
    document = format_fingerprint(Fingerprint(NODES, FILES, [], [])) | {"new": 1}
    assert parse_fingerprint(document).nodes == NODES
    assert parse_files([{"path": "a", "bytes": 1, "new": 2}]) == [("a", 1)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([], []),
        (["/a/b/1", "/a/b/2"], ["1", "2"]),
        (["/a/b/1", "/a/c/1"], ["b/1", "c/1"]),
        (["/1", "/a/1"], ["1", "a/1"]),
        (["s3://x/1", "/a/1"], ["s3://x/1", "/a/1"]),
        (["/a/1", None], ["1", AT_RUN_TIME]),
        ([None], [AT_RUN_TIME]),
    ],
)
def test_names_below_the_directory_of_all(paths: list[str | None], names: list[str]) -> None:
    assert relative_names(paths) == names
