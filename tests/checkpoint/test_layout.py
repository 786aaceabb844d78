"""Names of files: shards, checkpoints, steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.checkpoint.layout import (
    CheckpointName,
    ShardName,
    ckpt_info_name,
    natural_key,
    parse_checkpoint_name,
    parse_shard_name,
    shard_name,
    step_of,
)


@pytest.mark.parametrize(
    ("filename", "parts"),
    [
        ("t-00000-of-00001", ("t", 0, 1)),
        ("t_1-00003-of-00004", ("t_1", 3, 4)),
        ("t-1-00003-of-00004", ("t-1", 3, 4)),
        ("x.meta-00000-of-00002", ("x.meta", 0, 2)),
        ("t-00000-of-00001-00001-of-00002", ("t-00000-of-00001", 1, 2)),
        ("t-99999-of-123456", ("t", 99999, 123456)),
        ("t-100000-of-123456", ("t", 100000, 123456)),
        ("t-00007-of-00004", ("t", 7, 4)),
    ],
)
def test_shards(filename: str, parts: tuple[str, int, int]) -> None:
    assert parse_shard_name(filename) == ShardName(*parts)
    assert shard_name(*parts) == filename


@pytest.mark.parametrize(
    "filename",
    [
        "",
        "t",
        "-00000-of-00001",
        "t-0-of-1",
        "t-0000-of-0001",
        "t-000000-of-000001",
        "t-00000-of-00001-tmp-3f2a",
        "t-00000-of-00001.tmp",
        "t-00000-of-00001\n",
        "t-\u0660\u0660\u0660\u0660\u0660-of-00001",
        "t-00000_of_00001",
    ],
)
def test_no_shards(filename: str) -> None:
    assert parse_shard_name(filename) is None


@given(st.text(min_size=1), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_shard_name_reads_back(base: str, number: int, total: int) -> None:
    assert parse_shard_name(shard_name(base, number, total)) == (base, number, total)


@pytest.mark.parametrize(
    ("filename", "parts"),
    [
        ("model.ckpt-12", ("model.ckpt", 12, "")),
        ("model.ckpt-12.index", ("model.ckpt", 12, ".index")),
        ("model.ckpt-12.assets", ("model.ckpt", 12, ".assets")),
        ("model.ckpt-12.meta", ("model.ckpt", 12, ".meta")),
        ("my.ckpt-0.data-00000-of-00001", ("my.ckpt", 0, ".data-00000-of-00001")),
        ("a-1-2.index", ("a-1", 2, ".index")),
    ],
)
def test_checkpoints(filename: str, parts: tuple[str, int, str]) -> None:
    assert parse_checkpoint_name(filename) == CheckpointName(*parts)
    assert step_of(filename) == parts[1]


@pytest.mark.parametrize(
    "filename",
    [
        "checkpoint",
        "model.ckpt",
        "model.ckpt.index",
        "model.ckpt-.index",
        "model.ckpt-12.index.tempstate123",
        "model.ckpt-12_temp_3f2a",
        "-12.index",
        "variables.index",
    ],
)
def test_no_checkpoints(filename: str) -> None:
    assert parse_checkpoint_name(filename) is None
    assert step_of(filename) is None


def test_the_counts_of_a_step() -> None:
    assert ckpt_info_name(12) == "ckpt.info-12"


def test_natural_order() -> None:
    names = ["ps_10", "ps_2", "ps", "ps_2a", "2", "10", "ps_02"]
    assert sorted(names, key=natural_key) == ["2", "10", "ps", "ps_2", "ps_02", "ps_2a", "ps_10"]
