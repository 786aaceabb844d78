"""What kind of directory it is, by the names in it; assets directories and exports."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from monolith_cli.checkpoint.model_dir import ModelDir, open_model_dir
from monolith_cli.errors import (
    MissingShardError,
    NotReadableError,
    PathNotFoundError,
    StepNotFoundError,
)

EXPORT = Path(__file__).parents[3] / "shared" / "data" / "monolith_export"


def touch(directory: Path, *names: str) -> Path:
    """Make empty files; names that end in a slash are directories."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = directory / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return directory


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["checkpoint"], "training"),
        (["model.ckpt-1.index"], "training"),
        (["model.ckpt-1.assets/"], "training"),
        (["monolith_checkpoint"], "training"),
        (["graph.pbtxt"], "training"),
        (["controller_server_addr.txt"], "training"),
        (["checkpoint_input_worker_3"], "training"),
        (["ckpt.info-1"], "training"),
        (["model.ckpt-1.index", "1622716114/saved_model.pb"], "training"),
        (["assets/"], "export"),
        (["variables/"], "export"),
        (["saved_model.pb"], "export"),
        (["1/assets/"], "export"),
        (["ps_0/1/assets/t-00000-of-00001"], "export"),
        (["entry/1/saved_model.pbtxt"], "export"),
        (["t-00000-of-00001"], "assets"),
    ],
)
def test_kinds(tmp_path: Path, names: list[str], kind: str) -> None:
    model = open_model_dir(touch(tmp_path / "model", *names))
    assert (model.path, model.kind) == (str(tmp_path / "model"), kind)


def test_wrong_paths(tmp_path: Path) -> None:
    touch(tmp_path, "empty/", "other/notes.txt", "file", "variables/variables.data-00000-of-00001")
    hint = "give a model directory, one *.assets directory or an exported SavedModel"
    for name, what in (
        ("absent", f"no such directory; {hint}"),
        ("file", f"a file in place of a directory; give the directory, such as {tmp_path}"),
        ("file/below", f"a file in place of a directory; {hint}"),
        ("empty", f"an empty directory; {hint}"),
        ("other", f"neither checkpoints nor tables in it; {hint}"),
        ("variables", f"neither checkpoints nor tables in it; {hint}"),
    ):
        with pytest.raises(PathNotFoundError) as caught:
            open_model_dir(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {what}"


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_a_checkpoint_in_place_of_its_directory(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001")
    with pytest.raises(PathNotFoundError) as caught:
        open_model_dir(tmp_path / f"model.ckpt-7{suffix}")
    assert caught.value.hint == f"give the directory {tmp_path} and step 7"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_no_permission(tmp_path: Path) -> None:
    directory = touch(tmp_path / "model", "checkpoint")
    directory.chmod(0)
    try:
        with pytest.raises(NotReadableError):
            open_model_dir(directory)
    finally:
        directory.chmod(0o755)


def test_a_refusal_of_the_operating_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(NotReadableError) as caught:
        open_model_dir(tmp_path)
    assert (
        str(caught.value)
        == f"{tmp_path}: not readable: Permission denied; get permission to read it"
    )


def test_a_directory_that_goes_away(tmp_path: Path) -> None:
    for names in (["checkpoint"], ["ps_0/1/assets/t-00000-of-00001"], ["t-00000-of-00001"]):
        model = open_model_dir(touch(tmp_path / "model", *names))
        shutil.rmtree(tmp_path / "model")
        with pytest.raises(PathNotFoundError):
            model.steps()


# --- one assets directory -------------------------------------------------------------------


def test_an_assets_directory_has_the_step_of_its_name(tmp_path: Path) -> None:
    path = touch(tmp_path / "model.ckpt-12.assets", "t-00000-of-00001")
    model = open_model_dir(path)
    assert model.steps() == [12]
    checkpoint = model.checkpoint()
    assert checkpoint.step == 12
    assert checkpoint.assets == [str(path)]
    assert checkpoint.prefix == str(tmp_path / "model.ckpt-12")
    assert checkpoint.ckpt_info_path == str(tmp_path / "ckpt.info-12")
    assert list(checkpoint.table_files().singles) == ["t"]
    assert model.checkpoint(12).step == 12
    with pytest.raises(StepNotFoundError, match="no step 3; the steps are 12"):
        model.checkpoint(3)


def test_an_assets_directory_without_a_step(tmp_path: Path) -> None:
    for name in ("converted.assets", "assets", "backup"):
        model = open_model_dir(touch(tmp_path / name, "t-00000-of-00001"))
        assert (model.kind, model.steps()) == ("assets", [])
        (checkpoint,) = model.checkpoints()
        assert (checkpoint.step, checkpoint.ckpt_info_path) == (None, None)


@pytest.mark.parametrize("path", [".", "model.ckpt-3.assets/", "../model.ckpt-3.assets", "./."])
def test_an_assets_directory_by_other_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    directory = touch(tmp_path / "model.ckpt-3.assets", "t-00000-of-00001")
    monkeypatch.chdir(directory if path.startswith(".") else tmp_path)
    model = open_model_dir(path)
    assert model.path == path
    checkpoint = model.checkpoint()
    assert checkpoint.step == 3
    assert checkpoint.ckpt_info_path is not None
    assert Path(checkpoint.ckpt_info_path).resolve() == tmp_path / "ckpt.info-3"
    assert Path(checkpoint.assets[0]).samefile(directory)


# --- exports --------------------------------------------------------------------------------


def assets_of(model: ModelDir) -> list[str]:
    checkpoint = model.checkpoint()
    assert (checkpoint.step, checkpoint.prefix, checkpoint.ckpt_info_path) == (None, None, None)
    return [os.path.relpath(path, model.path) for path in checkpoint.assets]


def test_an_export_of_several_servers_in_natural_order(tmp_path: Path) -> None:
    names = [f"ps_{number}/5/assets/t-00000-of-00001" for number in range(11)]
    model = open_model_dir(touch(tmp_path, *names, "entry/5/variables/", "dense_0/5/assets/"))
    assert assets_of(model) == [f"ps_{number}/5/assets" for number in range(11)]
    assert model.steps() == []
    (checkpoint,) = model.checkpoints()
    assert checkpoint.notes == []
    [shards] = checkpoint.table_files().singles.values()
    assert (len(shards.paths), len(shards.copies)) == (1, 10)
    checkpoint.table_files()
    assert checkpoint.notes == [
        "1 dump is in several servers' assets, in files of the same size: read once; only a scan"
        " compares their bytes"
    ]
    with pytest.raises(StepNotFoundError, match="no step 5"):
        model.checkpoint(5)


def test_the_newest_version_of_an_export(tmp_path: Path) -> None:
    touch(tmp_path, *(f"ps_0/{version}/assets/t-00000-of-00001" for version in (9, 10, 8)))
    assert assets_of(open_model_dir(tmp_path)) == ["ps_0/10/assets"]
    assert assets_of(open_model_dir(tmp_path / "ps_0")) == ["10/assets"]
    assert assets_of(open_model_dir(tmp_path / "ps_0" / "9")) == ["assets"]


def test_a_version_that_some_servers_lack_is_not_read(tmp_path: Path) -> None:
    shard = "assets/t-00000-of-00001"
    touch(tmp_path, f"ps_0/1/{shard}", f"ps_0/2/{shard}", f"ps_1/1/{shard}", "ps_1/temp-2/x")
    model = open_model_dir(tmp_path)
    assert assets_of(model) == ["ps_0/1/assets", "ps_1/1/assets"]
    assert model.checkpoint().notes == [f"{tmp_path}: version 2 is not complete; read from 1"]


def test_servers_without_a_version_in_common(tmp_path: Path) -> None:
    touch(tmp_path, "ps_0/1/assets/t-00000-of-00001", "ps_1/2/assets/t-00000-of-00001")
    with pytest.raises(
        MissingShardError, match="no version of which all of ps_0, ps_1 have tables"
    ):
        open_model_dir(tmp_path)


def test_a_server_that_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "ps_0/1/assets/t-00000-of-00001", "ps_2/1/assets/t-00000-of-00001")
    checkpoint = open_model_dir(tmp_path).checkpoint()
    [broken] = checkpoint.table_files().broken
    assert isinstance(broken.error, MissingShardError)
    assert str(broken.error) == (
        f"{tmp_path / 'ps_1'}: missing beside the other servers; restore it, or give one server's"
        " directory"
    )
    assert open_model_dir(tmp_path / "ps_2").checkpoint().notes == []


def test_a_standalone_export(tmp_path: Path) -> None:
    touch(tmp_path, "3/assets/t-00000-of-00001", "3/saved_model.pb")
    assert assets_of(open_model_dir(tmp_path)) == ["3/assets"]


def test_other_assets_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "assets/t-00000-of-00001", "assets/vocabulary.txt", "saved_model.pb")
    checkpoint = open_model_dir(tmp_path).checkpoint()
    assert list(checkpoint.table_files().singles) == ["t"]
    checkpoint.table_files()
    assert checkpoint.notes == [
        f"{tmp_path}/assets: left out what is not a shard of a table: vocabulary.txt"
    ]


def test_an_export_that_shares_the_dumps_of_the_checkpoint(tmp_path: Path) -> None:
    touch(tmp_path, "ps_0/1/variables/", "entry/1/assets/vocabulary.txt")
    checkpoint = open_model_dir(tmp_path).checkpoint()
    assert checkpoint.assets == []
    assert checkpoint.table_files() == ({}, {}, {}, [], [], [], {}, [], {})
    assert checkpoint.notes == [
        f"{tmp_path}: this export holds no tables; it shares those of the checkpoint"
    ]


@pytest.mark.skipif(not EXPORT.is_dir(), reason="the export of ../shared/data is not there")
@pytest.mark.parametrize(("path", "servers"), [("", 3), ("ps_1", 1), ("ps_2/1622716114", 1)])
def test_an_export_made_by_monolith(path: str, servers: int) -> None:
    checkpoint = open_model_dir(EXPORT / path).checkpoint()
    files = checkpoint.table_files()
    assert len(files.singles) == 20
    assert {len(shards.paths) for shards in files.singles.values()} == {4}
    assert {len(shards.copies) for shards in files.singles.values()} == {4 * (servers - 1)}
    assert (files.multis, files.hash_filters, files.broken, files.warnings) == ({}, {}, [], [])
    note = (
        "20 dumps are in several servers' assets, in files of the same size: read once; only a scan"
        " compares their bytes"
    )
    assert checkpoint.notes == ([note] if servers > 1 else [])


@pytest.mark.skipif(not EXPORT.is_dir(), reason="the export of ../shared/data is not there")
def test_the_entry_graph_of_an_export_made_by_monolith() -> None:
    assert open_model_dir(EXPORT / "entry").checkpoint().assets == []


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_directory_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(PathNotFoundError):
        open_model_dir(f"{tmp_path}/{name}")


@pytest.mark.parametrize("name", [r"a\000b-5", r"a\000b/model.ckpt-5", r"/a\377b/m-5"])
def test_a_listed_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    model = touch(tmp_path / "model", "model.ckpt-9.index", "model.ckpt-9.assets/")
    text = 'model_checkpoint_path: "model.ckpt-9"\n'
    text += f'all_model_checkpoint_paths: "{name}"\nall_model_checkpoint_paths: "model.ckpt-9"\n'
    (model / "checkpoint").write_text(text)
    assert open_model_dir(model).checkpoint().step == 9
