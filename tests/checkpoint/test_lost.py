"""What a step's manifest names is missed when it is gone, by all who ask for a whole step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monolith_cli.checkpoint.inputs import StepInputs, write_step_inputs
from monolith_cli.checkpoint.lost import LostFile, hold_against_manifest
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.restart import restart_point
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.formats.leveldb_table import format_table
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle
from monolith_cli.samples.sample import write_sample
from monolith_cli.tables.counts import CountOptions, count_checkpoint
from monolith_cli.tables.found import find_tables, open_tables
from monolith_cli.tables.listing import list_checkpoint
from monolith_cli.tables.stream import ReadOptions

USER, ITEM = "MonolithHashTable_user-00000-of-00001", "MonolithHashTable_item-00000-of-00001"
MULTI = "MonolithMultiHashTable"


def write_manifest(model: Path) -> None:
    manifest = make_manifest(str(model), "model.ckpt", 1000, workers={0})
    write_step_manifest(str(model), manifest)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two tables in files of their own, a filter, and the state of a worker's input."""
    write_sample(tmp_path / "model", entries=100, tables=2)
    filters = tmp_path / "model" / "model.ckpt-1000.assets" / "hash_filter_0-00000-of-00001"
    filters.touch()
    write_tensor_bundle(tmp_path / "model" / "input_worker_0.ckpt-1000", {"x": ("int8", [], b"1")})
    write_manifest(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    """Two tables in one dump of two shards."""
    write_sample(tmp_path / "multi", entries=100, tables=2, multi=True, shards=2)
    write_manifest(tmp_path / "multi")
    return tmp_path / "multi"


def assets(model: Path) -> Path:
    return model / "model.ckpt-1000.assets"


def prefix(model: Path) -> str:
    return str(model / "model.ckpt-1000")


def lost_files(prefix: str, step: int) -> list[LostFile]:
    held = hold_against_manifest(prefix, step)
    assert (held.problem, held.note) == (None, None)
    return held.lost


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_nothing_is_lost(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = os.open

    def noting(path: str, flags: int) -> int:
        opened.append(os.path.basename(path))
        return real(path, flags)

    monkeypatch.setattr(os, "open", noting)
    assert lost_files(prefix(model), 1000) == []
    assert opened == ["ckpt.manifest-1000"]
    monkeypatch.undo()
    assert list_checkpoint(open_model_dir(model).checkpoint()).problems == []
    assert restart_point(model).step == 1000


def test_what_is_lost(model: Path) -> None:
    (assets(model) / USER).unlink()
    cut(assets(model) / ITEM)
    (model / "input_worker_0.ckpt-1000.data-00000-of-00001").unlink()
    size = (assets(model) / ITEM).stat().st_size
    found = {lost.name: lost.error for lost in lost_files(prefix(model), 1000)}
    assert list(map(str, found.values())) == [
        f"{model}/input_worker_0.ckpt-1000.data-00000-of-00001: missing: the manifest of step 1000"
        " names it; restore it, or take another step",
        f"{assets(model)}/{ITEM}: has {size} bytes, but {2 * size} in the manifest of step 1000;"
        " restore it, or take another step",
        f"{assets(model)}/{USER}: missing: the manifest of step 1000 names it;"
        " restore it, or take another step",
    ]
    assert [error.kind for error in found.values()] == [
        "missing_shard",
        "manifest_differs",
        "missing_shard",
    ]


def test_a_directory_in_place_of_a_file(model: Path) -> None:
    (assets(model) / USER).unlink()
    (assets(model) / USER).mkdir()
    [lost] = lost_files(prefix(model), 1000)
    assert isinstance(lost.error, MissingShardError)


def test_a_manifest_of_another_save_is_ignored(model: Path) -> None:
    (assets(model) / USER).unlink()
    index = model / "model.ckpt-1000.index"
    data = bytearray(index.read_bytes())
    data[0] ^= 1  # of the same size
    index.write_bytes(data)
    note = f"{model}/ckpt.manifest-1000: of another save than the index beside it, and ignored"
    assert hold_against_manifest(prefix(model), 1000) == ([], None, note)
    index.write_bytes(format_table([(b"", b"x")]))  # whole, and shorter
    assert hold_against_manifest(prefix(model), 1000) == ([], None, note)
    checkpoint = open_model_dir(model).checkpoint()
    assert find_tables(checkpoint).problems == []
    assert checkpoint.notes == [note]


@pytest.mark.parametrize("index_bytes", [None, 0, 5, 200, -1])
def test_an_index_that_is_gone_or_was_cut_is_lost(model: Path, index_bytes: int | None) -> None:
    (assets(model) / USER).unlink()
    index = model / "model.ckpt-1000.index"
    if index_bytes is None:
        index.unlink()
    else:
        os.truncate(index, index.stat().st_size - 1 if index_bytes < 0 else index_bytes)
    lost = [each.name for each in lost_files(prefix(model), 1000)]
    assert lost == [index.name, f"model.ckpt-1000.assets/{USER}"]


def damaged(path: Path, how: str) -> None:
    if how == "directory":
        path.unlink()
        path.mkdir()
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif how == "cut":
        os.truncate(path, path.stat().st_size - 20)
    else:
        path.write_text(how)


OF_ANOTHER_STEP = (
    '{"version": 1, "step": 7, "run_id": "", "index": {"bytes": 1, "crc32c": "00000000"},'
    ' "files": [], "tables": []}'
)


@pytest.mark.parametrize(
    "how", ["", "{}", '{"version": 9}', OF_ANOTHER_STEP, "cut", "directory", "pipe"]
)
def test_a_manifest_that_says_nothing(model: Path, how: str) -> None:
    manifest = model / "ckpt.manifest-1000"
    damaged(manifest, how)
    (assets(model) / USER).unlink()
    held = hold_against_manifest(prefix(model), 1000)
    assert (held.lost, held.note) == ([], None)
    assert isinstance(held.problem, StateFileError)
    assert (held.problem.path, held.problem.kind) == (str(manifest), "bad_state_file")
    assert "whether step 1000 is whole is not known" in held.problem.what
    checkpoint = open_model_dir(model).checkpoint()
    assert list(map(str, find_tables(checkpoint).filter_problems)) == [str(held.problem)]
    assert list(map(str, find_tables(checkpoint, "*_item").others)) == [str(held.problem)]
    assert list(map(str, list_checkpoint(checkpoint).problems)) == [str(held.problem)]
    assert restart_point(model).step == 1000  # as without one


def test_without_a_manifest(model: Path) -> None:
    (assets(model) / USER).unlink()
    (model / "ckpt.manifest-1000").unlink()
    assert lost_files(prefix(model), 1000) == []
    assert find_tables(open_model_dir(model).checkpoint()).problems == []


@pytest.mark.parametrize("by_assets", [False, True])
def test_a_table_that_is_gone(model: Path, by_assets: bool) -> None:
    (assets(model) / USER).unlink()
    checkpoint = open_model_dir(assets(model) if by_assets else model).checkpoint()
    found = find_tables(checkpoint)
    assert [table.name for table in found.tables] == ["MonolithHashTable_item"]
    [problem] = found.problems
    assert (problem.path, problem.kind) == (str(assets(model) / USER), "missing_shard")
    item = find_tables(checkpoint, "*_item")
    assert (item.problems, [str(other) for other in item.others]) == ([], [str(problem)])
    with pytest.raises(MissingShardError):
        open_tables(checkpoint, "*_user")
    with pytest.raises(MissingShardError):
        checkpoint.table_files().require_whole()


def test_all_tables_gone(model: Path) -> None:
    for path in assets(model).iterdir():
        path.unlink()
    assets(model).rmdir()
    found = find_tables(open_model_dir(model).checkpoint())
    assert sorted(Path(str(problem.path)).name for problem in found.problems) == [ITEM, USER]
    assert [problem.kind for problem in found.filter_problems] == ["missing_shard"]


def test_a_shard_that_is_missed_anyway_is_said_once(multi: Path) -> None:
    (assets(multi) / f"{MULTI}-00001-of-00002").unlink()
    [problem] = find_tables(open_model_dir(multi).checkpoint()).problems
    assert problem.what == "missing: 1 of 2 shards are there"


@pytest.mark.parametrize("bases", [(MULTI, f"{MULTI}.meta"), (f"{MULTI}.meta",)])
def test_a_dump_of_many_tables_that_is_gone(multi: Path, bases: tuple[str, ...]) -> None:
    for base in bases:
        for path in assets(multi).glob(f"{base}-*"):
            path.unlink()
    found = find_tables(open_model_dir(multi).checkpoint())
    [problem] = found.problems
    assert (found.tables, problem.kind) == ([], "missing_shard")
    assert problem.what == "missing: the manifest of step 1000 names it"
    asked_for = find_tables(open_model_dir(multi).checkpoint(), "user")  # which may be in it
    assert [str(each) for each in asked_for.problems] == [str(problem)]


def test_a_dump_of_other_shards(model: Path) -> None:
    (assets(model) / USER).rename(assets(model) / "MonolithHashTable_user-00000-of-00002")
    (assets(model) / "MonolithHashTable_user-00001-of-00002").touch()
    [problem] = find_tables(open_model_dir(model).checkpoint()).problems
    assert problem.path == str(assets(model) / USER)


@pytest.mark.parametrize("kind", ["model", "multi"])
def test_a_table_of_another_size(kind: str, request: pytest.FixtureRequest) -> None:
    directory: Path = request.getfixturevalue(kind)
    name = USER if kind == "model" else f"{MULTI}-00000-of-00002"
    path = assets(directory) / name
    os.truncate(path, path.stat().st_size - 1)
    checkpoint = open_model_dir(directory).checkpoint()
    found = find_tables(checkpoint)
    [problem] = found.problems
    assert (problem.kind, problem.path, found.resized) == ("manifest_differs", str(path), [])
    left = ["MonolithHashTable_item"] if kind == "model" else []
    assert [table.name for table in found.tables] == left

    skipping = find_tables(checkpoint, options=ReadOptions(skip=True))
    assert len(skipping.tables) == 2
    assert skipping.problems == skipping.resized
    assert [problem.kind for problem in skipping.problems] == ["manifest_differs"]


def test_a_table_that_ends_with_another_record_is_not_whole(model: Path) -> None:
    """Nothing else shows it: every record that is there is sound."""
    path = assets(model) / USER
    first = 12 + int.from_bytes(path.read_bytes()[:8], "little") + 4
    os.truncate(path, first)
    checkpoint = open_model_dir(model).checkpoint()
    counts = count_checkpoint(checkpoint, CountOptions(partial=True, skip_corrupt=True))
    assert [problem.kind for problem in counts.problems] == ["manifest_differs"]
    assert [(table.name, table.entries) for table in counts.tables] == [
        ("MonolithHashTable_item", 33),
        ("MonolithHashTable_user", 1),
    ]
    assert not counts.is_whole
    with pytest.raises(CorruptionError, match="in the manifest of step 1000"):
        count_checkpoint(checkpoint)


def test_a_filter_of_another_size(model: Path) -> None:
    (assets(model) / "hash_filter_0-00000-of-00001").write_bytes(b"x")
    found = find_tables(open_model_dir(model).checkpoint())
    assert (len(found.tables), found.problems) == (2, [])
    assert [problem.kind for problem in found.filter_problems] == ["manifest_differs"]
    with pytest.raises(CorruptionError):
        open_model_dir(model).checkpoint().table_files().require_whole()


def test_a_listing_names_each_lost_file_once(model: Path) -> None:
    (assets(model) / USER).unlink()
    data = model / "model.ckpt-1000.data-00000-of-00001"
    cut(data)
    state = model / "input_worker_0.ckpt-1000.index"
    state.unlink()
    problems = list_checkpoint(open_model_dir(model).checkpoint()).problems
    assert [(problem.path, problem.kind) for problem in problems] == [
        (str(data), "truncated_data"),
        (str(state), "missing_shard"),
        (str(assets(model) / USER), "missing_shard"),
    ]


def test_dense_values_that_are_longer(model: Path) -> None:
    data = model / "model.ckpt-1000.data-00000-of-00001"
    with data.open("ab") as file:
        file.write(b"more")
    [problem] = list_checkpoint(open_model_dir(model).checkpoint()).problems
    assert (problem.path, problem.kind) == (str(data), "manifest_differs")


def test_no_job_goes_on_from_a_step_that_lacks_a_file(model: Path) -> None:
    write_step_inputs(str(model), StepInputs(1000, "run", {}))
    (model / "input_worker_0.ckpt-1000.index").unlink()
    assert restart_point(model).step == 1000  # the worker has an older state, or starts over
    (assets(model) / USER).unlink()
    with pytest.raises(MissingShardError, match="the manifest of step 1000 names it"):
        restart_point(model)


def test_a_step_that_is_being_deleted_is_not_damaged(model: Path) -> None:
    checkpoint = open_model_dir(model).checkpoint()
    (assets(model) / USER).unlink()
    assert [lost.name for lost in checkpoint.lost_files()] == [f"model.ckpt-1000.assets/{USER}"]
    (model / "model.ckpt-1000.index").unlink()
    with pytest.raises(PathNotFoundError, match="gone: deleted since"):
        checkpoint.lost_files()
    with pytest.raises(PathNotFoundError, match="gone: deleted since"):
        checkpoint.require()
