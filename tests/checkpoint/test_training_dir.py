"""Which steps a training directory offers: what `checkpoint` commits, and what names tell."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

import pytest
import tf_support

from monolith_cli.checkpoint.checkpoint import Checkpoint
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import (
    MissingShardError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
)
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state
from monolith_cli.storage.atomic import atomic_write
from monolith_cli.storage.local import LocalStore


def save(directory: Path, *steps: int, base: str = "model.ckpt") -> None:
    """The files of complete checkpoints, with one table each."""
    directory.mkdir(parents=True, exist_ok=True)
    for step in steps:
        prefix = directory / f"{base}-{step}"
        assets = Path(f"{prefix}.assets")
        assets.mkdir(exist_ok=True)
        (assets / "t-00000-of-00001").touch()
        for suffix in (".data-00000-of-00001", ".index", ".meta"):
            Path(f"{prefix}{suffix}").touch()


def remove(directory: Path, step: int) -> None:
    """Delete a checkpoint as TensorFlow does, the index first."""
    for suffix in (".index", ".data-00000-of-00001", ".meta"):
        (directory / f"model.ckpt-{step}{suffix}").unlink()
    shutil.rmtree(directory / f"model.ckpt-{step}.assets")


def commit(directory: Path, *paths: str | Path, latest: str | Path | None = None) -> None:
    """Let `checkpoint` list these, the last one (or `latest`) as the latest."""
    state = CheckpointState(str(latest or paths[-1]), tuple(map(str, paths)))
    atomic_write(directory / "checkpoint", format_checkpoint_state(state).encode())


def commit_steps(directory: Path, *steps: int) -> None:
    commit(directory, *(f"model.ckpt-{step}" for step in steps))


def refusal(directory: Path, step: int | None = None) -> StepNotFoundError:
    with pytest.raises(StepNotFoundError) as caught:
        open_model_dir(directory).checkpoint(step)
    return caught.value


def test_listed_steps_are_offered_and_the_named_one_is_the_latest(tmp_path: Path) -> None:
    save(tmp_path, 10, 9, 100)
    commit(tmp_path, "model.ckpt-9", "model.ckpt-10", "model.ckpt-100", latest="model.ckpt-10")
    model = open_model_dir(tmp_path)
    assert model.steps() == [9, 10, 100]
    assert [checkpoint.step for checkpoint in model.checkpoints()] == [9, 10, 100]
    checkpoint = model.checkpoint()
    assert checkpoint.step == 10
    assert checkpoint.prefix == str(tmp_path / "model.ckpt-10")
    assert checkpoint.assets == [str(tmp_path / "model.ckpt-10.assets")]
    assert checkpoint.ckpt_info_path == str(tmp_path / "ckpt.info-10")
    assert checkpoint.notes == []
    assert model.checkpoint(100).step == 100


def test_what_tensorflow_saved(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        tf_support.save_checkpoint(tmp_path, step)
    model = open_model_dir(tmp_path)
    assert model.steps() == [10, 20, 30]
    assert model.checkpoint().step == 30
    assert model.checkpoint().assets == []
    assert model.checkpoint().table_files() == ({}, {}, {}, [], [], [], {}, [], {})


def test_a_moved_directory_of_tensorflow_keeps_stale_paths(tmp_path: Path) -> None:
    prefix = tf_support.save_checkpoint(tmp_path / "old", 10)
    (tmp_path / "old").rename(tmp_path / "new")
    checkpoint = open_model_dir(tmp_path / "new").checkpoint()
    assert checkpoint.prefix == str(tmp_path / "new" / "model.ckpt-10")
    assert checkpoint.notes == [f"'checkpoint' still names {prefix}; read from here"]


def test_an_older_unlisted_step_is_kept_and_a_newer_one_is_not_committed(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30)
    commit_steps(tmp_path, 20)
    assert open_model_dir(tmp_path).steps() == [10, 20]
    assert open_model_dir(tmp_path).checkpoint(10).step == 10
    error = refusal(tmp_path, 30)
    assert str(error) == (
        f"{tmp_path}: step 30 is not committed: it is being written, or was given up; "
        "the steps are 10, 20"
    )


def test_a_step_of_which_only_tables_are_written_yet(tmp_path: Path) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)
    (tmp_path / "model.ckpt-20.assets").mkdir()
    assert open_model_dir(tmp_path).steps() == [10]
    assert "not committed" in str(refusal(tmp_path, 20))


def test_a_step_that_is_not_there(tmp_path: Path) -> None:
    save(tmp_path, *range(1, 13))
    commit_steps(tmp_path, *range(1, 13))
    assert str(refusal(tmp_path, 99)) == (
        f"{tmp_path}: no step 99; the steps are ..., 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    )


def test_a_listed_step_whose_files_are_gone(tmp_path: Path) -> None:
    save(tmp_path, 20)
    commit_steps(tmp_path, 10, 20)
    assert open_model_dir(tmp_path).steps() == [20]
    assert str(refusal(tmp_path, 10)) == (
        f"{tmp_path}/checkpoint: lists 'model.ckpt-10', whose files are gone; the steps are 20"
    )


def test_the_latest_whose_files_are_gone(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    commit_steps(tmp_path, 10, 20, 30)
    assert open_model_dir(tmp_path).steps() == [10, 20]
    assert str(refusal(tmp_path)) == (
        f"{tmp_path}/checkpoint: names 'model.ckpt-30' as the latest, whose files are gone; "
        "the steps are 10, 20"
    )
    assert [checkpoint.step for checkpoint in open_model_dir(tmp_path).checkpoints()] == [10, 20]


def test_all_files_gone(tmp_path: Path) -> None:
    commit_steps(tmp_path, 30)
    assert refusal(tmp_path).hint == "restore the files, or give another directory"
    with pytest.raises(StepNotFoundError):
        open_model_dir(tmp_path).checkpoints()


def test_a_checkpoint_of_dense_variables_alone(tmp_path: Path) -> None:
    save(tmp_path, 10)
    shutil.rmtree(tmp_path / "model.ckpt-10.assets")
    commit_steps(tmp_path, 10)
    assert open_model_dir(tmp_path).checkpoint().assets == []


def test_another_base_name(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, base="my.ckpt")
    save(tmp_path, 7)
    commit(tmp_path, "my.ckpt-10")
    assert open_model_dir(tmp_path).steps() == [5, 10]
    assert open_model_dir(tmp_path).checkpoint().prefix == str(tmp_path / "my.ckpt-10")


def test_a_checkpoint_without_a_number(tmp_path: Path) -> None:
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"model.ckpt{suffix}").touch()
    (tmp_path / "model.ckpt.assets").mkdir()
    commit(tmp_path, "model.ckpt")
    model = open_model_dir(tmp_path)
    assert model.steps() == []
    (checkpoint,) = model.checkpoints()
    assert (checkpoint.step, checkpoint.ckpt_info_path) == (None, None)
    assert checkpoint.assets == [str(tmp_path / "model.ckpt.assets")]


def test_input_iterators_are_no_steps(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / "input_worker_0.ckpt-5.index").touch()
    (tmp_path / "checkpoint_input_worker_0").touch()
    assert open_model_dir(tmp_path).steps() == [10]
    commit_steps(tmp_path, 10)
    assert open_model_dir(tmp_path).steps() == [10]


# --- moved, copied, and elsewhere on purpose ------------------------------------------------


def test_a_copied_directory_reads_its_own_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save(old, 10, 20)
    commit(old, old / "model.ckpt-10", old / "model.ckpt-20")
    assert open_model_dir(old).checkpoint().notes == []
    shutil.copytree(old, new)
    model = open_model_dir(new)
    assert model.steps() == [10, 20]
    assert model.checkpoint().prefix == str(new / "model.ckpt-20")
    assert model.checkpoint().notes == [
        f"'checkpoint' still names {old}/model.ckpt-20; read from here"
    ]


def test_the_same_directory_by_a_link_is_not_stale(tmp_path: Path) -> None:
    save(tmp_path / "model", 10)
    (tmp_path / "link").symlink_to(tmp_path / "model")
    commit(tmp_path / "model", tmp_path / "link" / "model.ckpt-10")
    assert open_model_dir(tmp_path / "model").checkpoint().notes == []


def test_a_checkpoint_in_another_directory_on_purpose(tmp_path: Path) -> None:
    model, kept = tmp_path / "model", tmp_path / "kept"
    save(model, 20)
    save(kept, 10)
    commit(model, kept / "model.ckpt-10", "../kept/model.ckpt-10", "model.ckpt-20")
    (model / "monolith_checkpoint").write_text(
        f'exempt_model_checkpoint_paths: "{kept}/model.ckpt-10"\n'
    )
    assert open_model_dir(model).steps() == [10, 20]
    checkpoint = open_model_dir(model).checkpoint(10)
    assert checkpoint.prefix == str(kept / "model.ckpt-10")
    assert checkpoint.assets == [str(kept / "model.ckpt-10.assets")]
    assert checkpoint.ckpt_info_path == str(kept / "ckpt.info-10")
    assert checkpoint.notes == [f"'checkpoint' names another directory; read from {kept}"]


def test_a_start_from_another_job(tmp_path: Path) -> None:
    """A new directory whose `checkpoint` names the model to start from, and holds nothing yet."""
    save(tmp_path / "base", 500)
    (tmp_path / "fine_tuned").mkdir()
    commit(tmp_path / "fine_tuned", tmp_path / "base" / "model.ckpt-500")
    assert open_model_dir(tmp_path / "fine_tuned").checkpoint().step == 500


# --- without a checkpoint file --------------------------------------------------------------


def test_every_index_is_offered(tmp_path: Path) -> None:
    save(tmp_path, 9, 10)
    save(tmp_path, 10, 11, base="a.ckpt")
    (tmp_path / "model.ckpt-12.assets").mkdir()
    model = open_model_dir(tmp_path)
    assert model.steps() == [9, 10, 11]
    assert model.checkpoint().step == 11
    assert model.checkpoint(10).prefix == str(tmp_path / "model.ckpt-10")
    assert "not committed" in str(refusal(tmp_path, 12))


@pytest.mark.parametrize(("name", "step"), [("model.ckpt-7.assets", 7), ("sparse.assets", None)])
def test_tables_alone(tmp_path: Path, name: str, step: int | None) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "t-00000-of-00001").touch()
    model = open_model_dir(tmp_path)
    assert (model.kind, model.steps()) == ("training", [] if step is None else [step])
    (checkpoint,) = model.checkpoints()
    assert (checkpoint.step, checkpoint.assets) == (step, [str(tmp_path / name)])
    assert checkpoint.ckpt_info_path == (step and str(tmp_path / f"ckpt.info-{step}"))
    assert list(checkpoint.table_files().singles) == ["t"]


def test_several_directories_of_tables_alone(tmp_path: Path) -> None:
    for step in (7, 8, 10):
        (tmp_path / f"model.ckpt-{step}.assets").mkdir()
    assert str(refusal(tmp_path)) == (
        f"{tmp_path}: no 'checkpoint' file, and 3 directories with tables; "
        f"give one of them, such as {tmp_path}/model.ckpt-10.assets"
    )
    assert open_model_dir(tmp_path).steps() == []


def test_the_first_save_of_a_job_is_not_committed(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-0.assets").mkdir()
    (tmp_path / "graph.pbtxt").touch()
    assert "the first checkpoint is not committed" in str(refusal(tmp_path))
    assert "step 0 is not committed" in str(refusal(tmp_path, 0))


def test_a_first_save_that_is_known_to_end_with_the_state_file(tmp_path: Path) -> None:
    save(tmp_path, 2)
    assert open_model_dir(tmp_path).steps() == [2]  # as somebody copied it
    (tmp_path / "ckpt.inputs-2").touch()
    assert open_model_dir(tmp_path).steps() == []
    assert "the first checkpoint is not committed" in str(refusal(tmp_path))
    assert "step 2 is not committed" in str(refusal(tmp_path, 2))
    commit_steps(tmp_path, 2)
    assert open_model_dir(tmp_path).steps() == [2]


def test_a_first_save_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "ckpt.inputs-2").touch()
    assert str(refusal(tmp_path)) == f"{tmp_path}: holds no checkpoint yet"
    assert "step 2 is not committed" in str(refusal(tmp_path, 2))


def test_a_job_that_has_not_saved_yet(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").touch()
    assert str(refusal(tmp_path)) == f"{tmp_path}: holds no checkpoint yet"


# --- damaged state files --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", 'all_model_checkpoint_paths: "model.ckpt-1"'])
def test_a_state_file_that_names_nothing(tmp_path: Path, text: str) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_text(text)
    with pytest.raises(StateFileError, match="checkpoint: names no checkpoint, at byte 0"):
        open_model_dir(tmp_path).checkpoint()


def test_a_malformed_state_file(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ck')
    with pytest.raises(StateFileError, match="checkpoint: not a value, at byte 23"):
        open_model_dir(tmp_path).steps()


# --- beside a running job -------------------------------------------------------------------


def interleave(monkeypatch: pytest.MonkeyPatch, *actions: object) -> None:
    """Run one of the actions before each listing of the directory."""
    todo = list(actions)
    listed = LocalStore.names

    def names(store: LocalStore, directory: str) -> list[str]:
        if todo:
            action = todo.pop(0)
            assert callable(action)
            action()
        return listed(store, directory)

    monkeypatch.setattr(LocalStore, "names", names)


def test_a_step_committed_between_the_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)

    def job() -> None:
        save(tmp_path, 20)
        commit_steps(tmp_path, 10, 20)

    model = open_model_dir(tmp_path)
    interleave(monkeypatch, job)
    assert model.steps() == [10]
    assert model.steps() == [10, 20]


def test_a_latest_step_superseded_and_deleted_between_the_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)

    def job() -> None:
        save(tmp_path, 20)
        commit_steps(tmp_path, 20)
        remove(tmp_path, 10)

    model = open_model_dir(tmp_path)
    interleave(monkeypatch, job)
    assert model.checkpoint().step == 20


def test_the_first_commit_between_the_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "graph.pbtxt").touch()
    model = open_model_dir(tmp_path)

    def job() -> None:
        commit_steps(tmp_path, 10)

    interleave(monkeypatch, job, lambda: save(tmp_path, 10))
    assert model.checkpoint().step == 10


def latest_of(directory: Path) -> Checkpoint:
    return open_model_dir(directory).checkpoint()


def test_a_checkpoint_deleted_before_its_tables_are_listed(tmp_path: Path) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)
    checkpoint = latest_of(tmp_path)
    checkpoint.require()
    remove(tmp_path, 10)
    with pytest.raises(PathNotFoundError, match=r"model.ckpt-10.index: gone: deleted"):
        checkpoint.table_files()
    with pytest.raises(PathNotFoundError):
        checkpoint.require()


def test_a_checkpoint_half_deleted_is_gone_and_not_damaged(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / "model.ckpt-10.assets" / "u-00001-of-00002").touch()
    commit_steps(tmp_path, 10)
    checkpoint = latest_of(tmp_path)
    [broken] = checkpoint.table_files().broken
    assert isinstance(broken.error, MissingShardError)
    (tmp_path / "model.ckpt-10.index").unlink()
    with pytest.raises(PathNotFoundError, match="gone"):
        checkpoint.table_files()


def test_a_shard_deleted_after_it_was_listed(tmp_path: Path) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)
    checkpoint = latest_of(tmp_path)
    checkpoint.table_files()
    checkpoint.require()
    (tmp_path / "model.ckpt-10.assets" / "t-00000-of-00001").unlink()
    with pytest.raises(PathNotFoundError, match="t-00000-of-00001: gone"):
        checkpoint.require()


def test_tables_in_place_of_which_there_is_a_file(tmp_path: Path) -> None:
    save(tmp_path, 10)
    shutil.rmtree(tmp_path / "model.ckpt-10.assets")
    (tmp_path / "model.ckpt-10.assets").touch()
    commit_steps(tmp_path, 10)
    with pytest.raises(PathNotFoundError, match="a file in place of a directory"):
        latest_of(tmp_path).table_files()


def test_beside_a_job_that_saves_and_deletes(tmp_path: Path) -> None:
    """There is always a latest checkpoint; its tables are whole, or it is said to be gone."""
    save(tmp_path, 0)
    commit_steps(tmp_path, 0)
    done = threading.Event()

    def job() -> None:
        for step in range(1, 300):
            save(tmp_path, step)
            commit_steps(tmp_path, step)
            remove(tmp_path, step - 1)
        done.set()

    thread = threading.Thread(target=job)
    thread.start()
    model = open_model_dir(tmp_path)
    seen = 0
    while not done.is_set():
        checkpoint = model.checkpoint()
        assert checkpoint.step is not None
        assert checkpoint.step >= seen
        seen = checkpoint.step
        with contextlib.suppress(PathNotFoundError):
            files = checkpoint.table_files()
            checkpoint.require()
            assert list(files.singles) == ["t"]
    thread.join()
    assert model.steps() == [299]
    assert list(model.checkpoint().table_files().singles) == ["t"]
