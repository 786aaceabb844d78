"""Names of files: shards, checkpoints, steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.checkpoint.names import (
    CheckpointName,
    ShardName,
    StepFile,
    ckpt_info_name,
    is_one_shot_flag,
    is_sync_flag,
    natural_key,
    parse_checkpoint_name,
    parse_shard_name,
    parse_step_file,
    shard_name,
    step_of,
    target_of_temporary,
    unfinished_save,
)
from monolith_cli.storage.atomic import left_behind, temporary_path


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


@pytest.mark.parametrize(
    ("filename", "file"),
    [
        ("model.ckpt-12", ("bundle", 12, "model.ckpt", None, False)),
        ("model.ckpt-12.index", ("bundle", 12, "model.ckpt", None, False)),
        ("model.ckpt-12.assets", ("tables", 12, "model.ckpt", None, False)),
        ("model.ckpt-12.assets.tmp3f", ("tables", 12, "model.ckpt", None, True)),
        ("my-1.ckpt-0.data-00000-of-00001", ("bundle", 0, "my-1.ckpt", None, False)),
        ("input_worker_3.ckpt-12.index", ("input", 12, "input_worker_3.ckpt", 3, False)),
        ("input_worker_3.ckpt-12.parts", ("input", 12, "input_worker_3.ckpt", 3, True)),
        ("input.ckpt-12.meta", ("input", 12, "input.ckpt", None, False)),
        ("input_chief_0.ckpt-12.index", ("input", 12, "input_chief_0.ckpt", None, False)),
        ("model.ckpt-12_temp_3f2a", ("bundle", 12, "model.ckpt", None, True)),
        ("model.ckpt-12_temp", ("bundle", 12, "model.ckpt", None, True)),
        ("model.ckpt-12.index.tempstate123", ("bundle", 12, "model.ckpt", None, True)),
        (f"model.ckpt-12.meta.tmp{'0a' * 16}", ("bundle", 12, "model.ckpt", None, True)),
        ("ckpt.info-12", ("info", 12, "ckpt.info", None, False)),
        ("ckpt.inputs-12", ("inputs", 12, "ckpt.inputs", None, False)),
        ("ckpt.manifest-12", ("manifest", 12, "ckpt.manifest", None, False)),
        ("ckpt.checked-12", ("checked", 12, "ckpt.checked", None, False)),
        ("ckpt.repaired-12", ("repaired", 12, "ckpt.repaired", None, False)),
        (".ckpt.info-12.4711.00112233445566aa.tmp", ("info", 12, "ckpt.info", None, True)),
        ("model.ckpt-12_item_pool_1_0_4", ("item_pool", 12, "model.ckpt", 1, False)),
        ("model.ckpt-12_item_pool_1_0_4_tmp", ("item_pool", 12, "model.ckpt", 1, True)),
        ("model.ckpt-12_item_pool_1_0_4_old", ("item_pool", 12, "model.ckpt", 1, True)),
    ],
)
def test_what_is_of_a_step(filename: str, file: tuple[object, ...]) -> None:
    assert parse_step_file(filename) == StepFile(*file)  # type: ignore[arg-type]  # a row a test


@pytest.mark.parametrize(
    "filename",
    [
        "checkpoint",
        ".checkpoint.4711.00112233445566aa.tmp",
        "checkpoint_input_worker_1",
        "model.ckpt-12.tar.gz",
        "model.ckpt-12_template.txt",
        "model.ckpt-12_item_pool_1_0",
        "part-00000-of-00002.index",
        "part-00000-of-00002.data-00000-of-00001",
        "graph.pbtxt",
        "dump_12",
        "clear_nn",
    ],
)
def test_what_is_of_no_step(filename: str) -> None:
    assert parse_step_file(filename) is None
    assert step_of(filename) is None


def test_flags() -> None:
    flags = ["restore_ckpt", "clear_nn", "ONLINE", "dump_100", "stop_7", "limit_req_time", "stop"]
    assert [name for name in flags if is_one_shot_flag(name)] == ["restore_ckpt", "clear_nn"]
    assert [name for name in flags if is_sync_flag(name)] == flags[2:6]


def test_a_save_in_parts() -> None:
    assert unfinished_save("model.ckpt-30_temp_0a1b") == 30
    assert unfinished_save("model.ckpt-30_temp") == 30
    assert unfinished_save("model.ckpt-30") is None
    assert unfinished_save("model.ckpt-30_template") is None


def test_the_counts_of_a_step() -> None:
    assert ckpt_info_name(12) == "ckpt.info-12"


@given(st.lists(st.text(alphabet="٣²a1-"), max_size=4))
def test_any_names_have_an_order(names: list[str]) -> None:
    odd = ["٣", "1", "t", "t1", "9" * 5000, "t" + "9" * 5000]
    assert len(sorted([*names, *odd], key=natural_key)) == len(names) + len(odd)


def test_natural_order() -> None:
    names = ["ps_10", "ps_2", "ps", "ps_2a", "2", "10", "ps_02"]
    assert sorted(names, key=natural_key) == ["2", "10", "ps", "ps_2", "ps_02", "ps_2a", "ps_10"]


@pytest.mark.parametrize("digits", [1, 19, 20])
def test_storage_and_names_agree_on_temporaries(tmp_path: Path, digits: int) -> None:
    name = f".checkpoint.{'9' * digits}.{'0' * 16}.tmp"
    (tmp_path / name).touch()
    targets = [target for _, target in left_behind(tmp_path)]
    assert targets == ([] if digits == 20 else ["checkpoint"])
    assert target_of_temporary(name) == (targets[0] if targets else None)
    assert target_of_temporary(os.path.basename(temporary_path("d/a\nb"))) == "a\nb"


def test_temporaries_of_tensorflow() -> None:
    assert target_of_temporary(f"checkpoint.tmp{'0a' * 16}") == "checkpoint"
