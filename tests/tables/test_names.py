"""The names of a checkpoint's tables, from its listing and contents files alone."""

from __future__ import annotations

import os
from pathlib import Path

from dump_support import write_model_dir

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.tables.names import table_names


def names(model: Path) -> list[str]:
    return table_names(open_model_dir(model).checkpoint())


def test_single_and_multi_tables(tmp_path: Path) -> None:
    write_model_dir(
        tmp_path,
        singles={"s_10": [], "s_2": [], "x": []},
        multis={"M": {"b": [b""], "a": []}, "N": {"b": [], "x": []}},
        hash_filters=2,
        shards=3,
    )
    assert names(tmp_path) == ["a", "b", "s_2", "s_10", "x"]


def test_tables_that_are_not_whole(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path, singles={"s": [], "t": []}, multis={"M": {"a": []}})
    os.unlink(assets / "s-00001-of-00002")
    os.unlink(assets / "t-00000-of-00002")
    assert names(tmp_path) == ["a", "s"]
    (assets / "M.meta-00000-of-00002").write_bytes(b"damaged")
    assert names(tmp_path) == ["s"]


def test_files_that_are_no_first_shards(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path, singles={"s": []}, shards=1)
    for name in (
        "a-00000-of-",
        "b-00000-of-0001",
        "c-00000-of-00001-00001-of-00002",
        "-00000-of-1",
    ):
        (assets / name).write_bytes(b"")
    assert names(tmp_path) == ["s"]


def test_a_checkpoint_without_tables(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path)
    for path in assets.iterdir():
        path.unlink()
    assert names(tmp_path) == []
