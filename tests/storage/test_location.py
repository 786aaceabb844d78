"""Paths as `os.path` has them, URLs as they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.storage.location import (
    absolute,
    as_location,
    common_parent,
    is_absolute_path,
    join,
    name_of,
    normal,
    parent_of,
    relative,
    scheme_of,
    split,
)

PATHS = [
    "",
    ".",
    "..",
    "/",
    "//",
    "a",
    "a/",
    "a//b",
    "/a/../b/",
    "./a",
    "a/./b",
    "a:b/c",
    "model/hdfs://cluster/x",
    "./s3://bucket/x",
    "://x",
    "1s3://x",
    "a b://x",
    os.fsdecode(b"/data/\xff\xfe/model"),
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_those_of_the_operating_system(path: str) -> None:
    assert scheme_of(path) == ""
    assert split(path) == os.path.split(path)
    assert name_of(path) == os.path.basename(path)
    assert parent_of(path) == os.path.dirname(path)
    assert normal(path) == os.path.normpath(path)
    assert absolute(path) == os.path.abspath(path)
    assert is_absolute_path(path) == os.path.isabs(path)
    for rest in (["b"], ["b", "c/"], ["/b"], [""], ["x", "/b", "c"], ["s3://bucket/x"]):
        assert join(path, *rest) == os.path.join(path, *rest)


@given(st.text(alphabet="a./:~%\udcff"), st.text(alphabet="a./:~%\udcff"))
def test_any_path(one: str, other: str) -> None:
    if not scheme_of(one):
        assert join(one, other) == os.path.join(one, other)
        assert split(one) == os.path.split(one)


def test_what_callers_may_give() -> None:
    assert as_location(Path("a") / "b") == "a/b"
    assert as_location("a//b/") == "a//b/"


@pytest.mark.parametrize(
    ("url", "parent", "name"),
    [
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/", "s3://bucket", ""),
        ("s3://bucket/a", "s3://bucket", "a"),
        ("s3://bucket/a/", "s3://bucket/a", ""),
        ("S3://bucket/a/b", "S3://bucket/a", "b"),
        ("gs://bucket/a//b", "gs://bucket/a//", "b"),
        ("gs://bucket/a/../b", "gs://bucket/a/..", "b"),
        ("https://host:80/a?x=1#y%2F", "https://host:80", "a?x=1#y%2F"),
        ("file:///data/model", "file:///data", "model"),
    ],
)
def test_urls_are_never_mangled(url: str, parent: str, name: str) -> None:
    assert scheme_of(url) == url.partition("://")[0].lower()
    assert split(url) == (parent, name) == (parent_of(url), name_of(url))
    if name:
        assert join(parent, name) == url
    assert absolute(url) == url
    assert not is_absolute_path(url)


def test_what_urls_have_in_common() -> None:
    urls = ["s3://b/m/../a", "S3://b/m//a", "s3://b/m/c"]
    assert common_parent(urls) == "s3://b/m"
    assert common_parent(urls[:1]) == urls[0]
    assert common_parent(["s3://b/x", "s3://c/x"]) == "s3://"
    assert [relative(url, "s3://b/m") for url in urls] == ["../a", "/a", "c"]
    assert relative("s3://c/x", "s3://") == "c/x"
    for mixed in (["s3://b/x", "gs://b/x"], ["s3://b/x", "/b/x"]):
        with pytest.raises(ValueError, match="nothing in common"):
            common_parent(mixed)
    assert common_parent(["/a/b", "/a/c/d"]) == "/a"
    assert relative("/a/c", "/a/b") == "../c"


def test_names_below_urls() -> None:
    assert join("s3://bucket/model", "a", "b") == "s3://bucket/model/a/b"
    assert join("s3://bucket/model/", "a") == "s3://bucket/model/a"
    assert join("s3://bucket/model", "..", "a") == "s3://bucket/model/../a"
    assert join("s3://bucket/model", "s3://other/a", "b") == "s3://other/a/b"
    assert join("s3://bucket/model", "/data", "b") == "/data/b"
    assert normal("s3://bucket/model/") == "s3://bucket/model"
    assert normal("s3://bucket/a/../b//c") == "s3://bucket/a/../b//c"
    assert normal("s3://bucket") == "s3://bucket"
