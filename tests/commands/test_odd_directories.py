"""Directories that people really have: files missing, paths of elsewhere, saves that died."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tf_support
from cli_support import call, failed
from dump_support import put_fixed64, write_checkpoint_state, write_model_dir

ENTRIES = [put_fixed64(1, 7 << 48 | n) for n in range(3)]
NO_INDEX = ": missing, without which the dense variables cannot be restored"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two steps that TensorFlow's Saver wrote, with a table of three entries each."""
    for step in (20, 30):
        tf_support.save_checkpoint(tmp_path / "model", step)
        source = tmp_path / f"source-{step}"
        write_model_dir(source, step, singles={"t": ENTRIES}, shards=1)
        name = f"model.ckpt-{step}.assets"
        shutil.move(source / name, tmp_path / "model" / name)
    write_checkpoint_state(tmp_path / "model", [20, 30])
    return tmp_path / "model"


def point_at(model: Path, path: str) -> None:
    (model / "checkpoint").write_text(f"model_checkpoint_path: {json.dumps(path)}\n")


def test_only_the_index_is_missing(model: Path) -> None:
    index = model / "model.ckpt-30.index"
    index.unlink()
    done = call("ckpt-info", "--json", model)
    assert (done.code, done.document["step"], done.document["entries"]) == (0, 30, 3)
    assert f"Warning: {index}{NO_INDEX}" in done.err
    done = call("ckpt", "show", "--json", model)
    assert done.code == 4
    assert done.document["tables"][0]["name"] == "t"
    assert (done.error["kind"], done.error["file"]) == ("missing_shard", str(index))
    assert "Warning" not in done.err
    assert [(Path(file["path"]).name, file["bytes"]) for file in done.document["files"]][:2] == [
        ("model.ckpt-30.index", None),
        ("model.ckpt-30.data-00000-of-00001", next(model.glob("*-30.data*")).stat().st_size),
    ]
    assert call("table", "dump", "--columns", "fid", model).out.count("\n") == 3


def test_an_index_that_is_missing_because_the_step_is_being_deleted(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow takes a step from the list, and then its files, the index first."""
    (model / "model.ckpt-30.index").unlink()
    from monolith_cli.tables import counting

    opened = counting.find_tables

    def unlisted(*args: object, **kwargs: object) -> object:
        found = opened(*args, **kwargs)  # type: ignore[arg-type]  # whatever it takes
        write_checkpoint_state(model, [20])
        return found

    monkeypatch.setattr(counting, "find_tables", unlisted)
    line = failed(call("ckpt-info", "--quiet", model), 3)
    assert "model.ckpt-30.index: gone" in line


def test_a_job_does_not_start_from_a_step_without_index(model: Path) -> None:
    from monolith_cli.checkpoint.restart import restart_point
    from monolith_cli.errors import StepNotFoundError

    (model / "model.ckpt-30.index").unlink()
    with pytest.raises(StepNotFoundError, match="no dense variables to restore"):
        restart_point(model)


def test_a_place_that_cannot_be_reached(model: Path) -> None:
    point_at(model, "/nowhere/job/model.ckpt-40")
    line = failed(call("ckpt-info", model), 3)
    assert line == (
        f"Error: {model}/checkpoint: names '/nowhere/job/model.ckpt-40' as the latest, and there is"
        " no 'model.ckpt-40' here; /nowhere/job cannot be reached: No such file or directory;"
        " the steps are 20, 30"
    )
    point_at(model, f"{model.parent}/model.ckpt-40")
    line = failed(call("ckpt-info", model), 3)
    assert "no 'model.ckpt-40' here; its files are gone from there; the steps" in line
    point_at(model, "hdfs://cluster/job/model.ckpt-40")
    line = failed(call("ckpt-info", model), 3)
    assert "no 'model.ckpt-40' here; that is not a path on this machine; the steps" in line


@pytest.mark.parametrize(
    "path", ["C:\\jobs\\model\\model.ckpt-20", "model.ckpt-20.index", "..\\model.ckpt-20.meta"]
)
def test_a_path_that_somebody_wrote_by_hand(model: Path, path: str) -> None:
    point_at(model, path)
    done = call("ckpt-info", "--json", "--dry-run", model)
    assert (done.code, done.document["step"]) == (0, 20)


def test_the_old_format(model: Path) -> None:
    (model / "model.ckpt-40").write_bytes(b"a table of leveldb")
    (model / "model.ckpt-40.meta").touch()
    point_at(model, "model.ckpt-40")
    done = call("ckpt", "show", "--json", model)
    assert (done.code, done.error["kind"]) == (3, "v1_format")
    assert "a file in TensorFlow's V1 format" in done.error["message"]


def test_checkpoint_is_a_directory_of_checkpoints(model: Path) -> None:
    job = model.parent / "job"
    job.mkdir()
    model.rename(job / "checkpoint")
    line = failed(call("ckpt-info", job), 3)
    assert line == (
        f"Error: {job}/checkpoint: a directory in place of the file that lists the checkpoints;"
        f" give {job}/checkpoint"
    )
    assert call("ckpt-info", "--dry-run", job / "checkpoint").code == 0


def test_only_tables_are_left(model: Path) -> None:
    """The training system loads single tables where no checkpoint and one such directory is."""
    for path in model.glob("model.ckpt-*"):
        if path.name != "model.ckpt-30.assets":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = call("ckpt-info", "--json", "--dry-run", model)
    assert (done.code, done.document["step"], done.document["entries"]) == (0, 30, 3)
    assert "a job would load only the single tables that are here" in done.err
    (model / "model.ckpt-20.assets").mkdir()
    line = failed(call("ckpt-info", model), 3)
    assert "whose tables are here, but no index and no data of its dense variables" in line
    assert line.endswith(f"restore them, or give {model}/model.ckpt-30.assets")


def test_nothing_is_written_into_another_directory(model: Path, tmp_path: Path) -> None:
    """A job that starts from another's model: `checkpoint` of its directory points there."""
    started = tmp_path / "started"
    started.mkdir()
    point_at(started, str(model / "model.ckpt-30"))
    info = model / "ckpt.info-30"
    done = call("ckpt-info", "--json", started)
    assert (done.code, done.document["entries"], done.document["written"]) == (0, 3, None)
    assert not info.exists()
    assert f"Note: no ckpt.info was written: {info} is in another directory" in done.err
    assert "; --force writes it\n" in done.err
    assert call("ckpt-info", "--json", "--force", started).document["written"] == str(info)
    assert "up to date" in call("ckpt-info", started).err


# --- saves that died ------------------------------------------------------------------------


def test_a_save_that_died(model: Path) -> None:
    died = model / "model.ckpt-40_temp_0a1b"
    died.mkdir()
    for part in ("part-00000-of-00002.index", "part-00000-of-00002.data-00000-of-00001"):
        shutil.copy(model / f"model.ckpt-30{part.removeprefix('part-00000-of-00002')}", died / part)
    for command in (("ckpt", "show"), ("ckpt-info",), ("table", "ls")):
        line = failed(call(*command, died), 3)
        assert line == (
            f"Error: {died}: an unfinished save of step 40: it is being written, or its writer"
            f" died; give {model}, which holds what is committed"
        )
        assert "step 40 is not committed" in failed(call(*command, "--step", 40, model), 3)
    renamed = model.parent / "parts"
    died.rename(renamed)
    assert "neither checkpoints nor tables in it" in failed(call("ckpt", "show", renamed), 3)


# --- pipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoint", "ckpt.info-30", "model.ckpt-30.index"])
def test_a_pipe_in_place_of_a_file(model: Path, name: str) -> None:
    """It is not waited for: nobody may ever write to it."""
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    commands: list[tuple[str, ...]] = [("ckpt", "show")]
    if name != "model.ckpt-30.index":
        commands = [("ckpt-info",), ("ckpt-info", "--check")]
    for command in commands:
        done = call(*command, model)
        assert done.code == 3
        assert f"{name}: " in done.err.splitlines()[-1]
        assert "not a regular file" in done.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["ckpt.inputs-30", "ckpt.override", "checkpoint_input_worker_1"])
def test_a_pipe_among_the_files_of_inputs(model: Path, name: str) -> None:
    (model / "input_worker_1.ckpt-30.index").touch()
    os.mkfifo(model / name)
    done = call("iterator", "ls", model)
    assert done.code in (3, 4)
    assert f"{name}: not a regular file" in done.err


# --- every step -----------------------------------------------------------------------------


def cut(model: Path) -> None:
    shard = model / "model.ckpt-20.assets" / "t-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-1])


def lose(model: Path) -> None:
    for path in model.glob("model.ckpt-20*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("command", [("ckpt-info", "--dry-run"), ("table", "ls"), ("ckpt", "show")])
@pytest.mark.parametrize(("break_it", "code"), [(cut, 4), (lose, 3)])
def test_a_step_that_fails_does_not_hide_the_others(
    model: Path, command: tuple[str, ...], break_it: Callable[[Path], None], code: int
) -> None:
    break_it(model)
    if break_it is cut and command == ("ckpt", "show"):
        code = 0  # it reads no entries
    done = call(*command, "--json", "--step", "all", model)
    assert done.code == code
    steps = [element["step"] for element in done.document]
    assert steps == ([20, 30] if code == 0 else [30])
    if code:
        assert done.error["code"] == code
    assert "tables" in done.document[-1]
    text = call(*command, "--step", "all", model)
    assert (text.code, "step 30" in text.out) == (code, True)


def test_steps_that_are_not_offered_are_named(model: Path) -> None:
    write_checkpoint_state(model, [20])
    done = call("table", "ls", "--step", "all", model)
    assert done.code == 0
    assert "Note: left out: step 30 is not committed" in done.err


def test_what_to_do_where_no_step_is_left(tmp_path: Path) -> None:
    model = tmp_path / "copy"
    model.mkdir()
    point_at(model, "model.ckpt-20")
    assert failed(call("ckpt-info", model), 3) == (
        f"Error: {model}/checkpoint: names 'model.ckpt-20' as the latest, whose files are gone;"
        " restore the files, or give another directory"
    )
    point_at(model, "/nowhere/run7/model.ckpt-20")
    assert failed(call("ckpt-info", model), 3) == (
        f"Error: {model}/checkpoint: names '/nowhere/run7/model.ckpt-20' as the latest, and there"
        " is no 'model.ckpt-20' here; /nowhere/run7 cannot be reached: No such file or directory;"
        " mount it, or copy its files here"
    )
    point_at(model, "gs://bucket/run7/model.ckpt-20")
    line = failed(call("ckpt-info", model), 3)
    assert line.endswith("that is not a path on this machine; copy its files here")


@pytest.mark.parametrize(
    ("text", "what"),
    [("model_step: 20", "not JSON"), ("{}", "not an override of a job's inputs")],
)
def test_what_to_do_about_a_rollback_that_does_not_parse(model: Path, text: str, what: str) -> None:
    from monolith_cli.checkpoint.restart import restart_point
    from monolith_cli.errors import StateFileError

    path = model / "ckpt.override"
    path.write_text(text)
    with pytest.raises(StateFileError) as caught:
        restart_point(model)
    assert str(caught.value) == f"{path}: {what}; remove it to start from the latest step"


def test_what_to_do_about_counts_that_do_not_parse(model: Path) -> None:
    path = model / "ckpt.info-30"
    path.write_text("slot_counts {")
    line = failed(call("ckpt-info", "--check", model), 4)
    assert line.endswith("; write it again with 'monolith ckpt-info --force'")
    path.write_text("<html><body>404</body></html>")
    line = failed(call("ckpt-info", "--check", model), 4)
    assert line.startswith(f"Error: {path}: this is an HTML page; fetch the file again")


def test_a_pipe_in_place_of_dense_variables(model: Path) -> None:
    path = model / "model.ckpt-30.data-00000-of-00001"
    path.unlink()
    os.mkfifo(path)
    done = call("ckpt", "show", model)
    assert done.code == 3
    assert done.err == f"Error: {path}: not a regular file; restore it, or take another step\n"
