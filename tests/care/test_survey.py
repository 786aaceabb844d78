"""The states of steps: what is whole, what is not, and what lies there besides."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import step_support
import tf_support
from step_support import commit, remove_step, save_step, save_steps

from monolith_cli.care import survey as survey_module
from monolith_cli.care.leftovers import Leftovers
from monolith_cli.care.states import Missing, Survey
from monolith_cli.care.survey import survey
from monolith_cli.errors import PathNotFoundError, StateFileError
from monolith_cli.samples.sample import write_sample
from monolith_cli.storage.local import LocalStore


def states(found: Survey) -> dict[int | None, str]:
    """By step, in the order of steps, those before the latest marked with nothing."""
    return {step.step: step.state for step in found.steps}


def only(found: Survey, step: int) -> survey_module.StepSurvey:
    return next(each for each in found.steps if each.step == step)


def cut(path: Path, to: int = 0) -> None:
    os.truncate(path, to)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three steps of a job of the original: no manifests."""
    return save_steps(tmp_path / "model", 1, 2, 3)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Two steps with manifests, and inputs of two workers."""
    return save_steps(tmp_path / "ours", 1, 2, manifest=True, inputs=(0, 1))


def test_whole_steps(model: Path) -> None:
    found = survey(model)
    assert states(found) == {1: "complete", 2: "complete", 3: "complete"}
    last = found.steps[-1]
    assert (last.proof, last.missing, last.is_latest, last.is_listed) == ("formats", [], True, True)
    assert last.time == step_support.time_of(3)
    assert dict(last.dumps) == {"item_0": "single", "user_0": "single", "user_1": "single"}
    assert last.checkpoint is not None
    assert last.checkpoint.assets == [str(model / "model.ckpt-3.assets")]
    tables = [path.stat().st_size for path in (model / "model.ckpt-3.assets").iterdir()]
    assert last.table_bytes == sum(tables)
    dense = [
        (model / f"model.ckpt-3{s}").stat().st_size for s in (".index", ".data-00000-of-00001")
    ]
    assert last.dense_bytes == sum(dense)
    assert found.latest is last
    assert found.leftovers == Leftovers(0, 0, 0, 0)


def test_a_manifest_is_the_better_proof(ours: Path) -> None:
    found = survey(str(ours))
    assert [(step.state, step.proof) for step in found.steps] == [("complete", "manifest")] * 2
    assert found.steps[0].dense_bytes > 0
    assert found.steps[0].names == [
        "ckpt.manifest-1",
        "input_worker_0.ckpt-1.data-00000-of-00001",
        "input_worker_0.ckpt-1.index",
        "input_worker_1.ckpt-1.data-00000-of-00001",
        "input_worker_1.ckpt-1.index",
        "model.ckpt-1.assets",
        "model.ckpt-1.data-00000-of-00001",
        "model.ckpt-1.index",
    ]


def test_a_table_that_is_gone_is_seen_by_a_manifest_alone(model: Path, ours: Path) -> None:
    for directory in (model, ours):
        for path in (directory / "model.ckpt-2.assets").glob("item_0*"):
            path.unlink()
    assert only(survey(model), 2).state == "complete"
    step = only(survey(ours), 2)
    assert step.state == "incomplete"
    what = "missing: the manifest of step 2 names it"
    assert step.missing == [
        Missing("model.ckpt-2.assets/item_0-00000-of-00002", what),
        Missing("model.ckpt-2.assets/item_0-00001-of-00002", what),
    ]


def test_every_missing_shard_is_named(tmp_path: Path) -> None:
    save_step(tmp_path, 1, shards=4)
    commit(tmp_path, 1)
    for shard in (1, 3):
        (tmp_path / f"model.ckpt-1.assets/user_1-0000{shard}-of-00004").unlink()
    (step,) = survey(tmp_path).steps
    assert (step.state, step.proof) == ("incomplete", "formats")
    assert step.missing == [
        Missing("model.ckpt-1.assets/user_1-00001-of-00004", "missing: 2 of 4 shards are there"),
        Missing("model.ckpt-1.assets/user_1-00003-of-00004", "missing"),
    ]


def test_contents_of_many_tables_are_missed(tmp_path: Path) -> None:
    assets = save_step(tmp_path, 1, tables=(), multis={"M": {"a": 3, "b": 2}})
    commit(tmp_path, 1)
    assert dict(survey(tmp_path).steps[0].dumps) == {"M": "multi"}
    (assets / "M.meta-00001-of-00002").unlink()
    (step,) = survey(tmp_path).steps
    assert [each.file for each in step.missing] == ["model.ckpt-1.assets/M.meta-00001-of-00002"]


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_dense_variables_that_are_missing_or_cut(model: Path, ours: Path, suffix: str) -> None:
    for directory in (model, ours):
        path = directory / f"model.ckpt-2{suffix}"
        cut(path, path.stat().st_size - 1)
        step = only(survey(directory), 2)
        assert step.state == "incomplete"
        assert [each.file for each in step.missing] == [path.name]
        path.unlink()
        step = only(survey(directory), 2)
        assert step.state == "incomplete"
        assert [each.file for each in step.missing] == [path.name]


def test_a_file_that_is_shorter_than_its_manifest_has_it(ours: Path) -> None:
    path = ours / "model.ckpt-1.assets/user_0-00000-of-00002"
    size = path.stat().st_size
    cut(path, 16)
    step = only(survey(ours), 1)
    what = f"has 16 bytes, but {size} in the manifest of step 1"
    assert (step.state, step.missing) == (
        "incomplete",
        [Missing(f"model.ckpt-1.assets/{path.name}", what)],
    )


def test_a_manifest_of_another_save_is_ignored(ours: Path) -> None:
    shutil.copy(ours / "ckpt.manifest-1", ours / "ckpt.manifest-2")
    text = (ours / "ckpt.manifest-2").read_text().replace('"step": 1', '"step": 2')
    (ours / "ckpt.manifest-2").write_text(
        text.replace("ckpt-1", "ckpt-2").replace("assets/user_0", "assets/x_0")
    )
    step = only(survey(ours), 2)
    # Its index is that of step 1, byte for byte: then it counts.
    assert (step.state, step.proof) == ("incomplete", "manifest")
    document = (ours / "ckpt.manifest-2").read_text()
    at = document.index('"crc32c": "') + len('"crc32c": "')
    (ours / "ckpt.manifest-2").write_text(f"{document[:at]}00000000{document[at + 8 :]}")
    step = only(survey(ours), 2)
    assert (step.state, step.proof) == ("complete", "formats")


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "step": 2, "files": 3}', "[" * 100_000])
def test_a_manifest_that_says_nothing(ours: Path, text: str) -> None:
    (ours / "ckpt.manifest-2").write_text(text)
    assert (only(survey(ours), 2).state, only(survey(ours), 2).proof) == ("complete", "formats")


def test_iterator_states_may_go_before_their_step(ours: Path) -> None:
    for path in ours.glob("input_worker_1.ckpt-1*"):
        path.unlink()
    assert only(survey(ours), 1).state == "complete"


def test_one_unlisted_step_a_day(model: Path) -> None:
    commit(model, 2, 3)
    found = survey(model)
    assert states(found) == {1: "unlisted", 2: "complete", 3: "complete"}
    assert not found.steps[0].is_listed
    assert found.steps[0].time == step_support.time_of(1)
    (model / "model.ckpt-1.assets/user_0-00001-of-00002").unlink()
    found = survey(model)
    assert states(found)[1] == "uncommitted"
    assert found.leftovers.uncommitted == 1


def test_a_job_that_died_before_the_commit(model: Path) -> None:
    save_step(model, 4)
    assert states(survey(model)) == {1: "complete", 2: "complete", 3: "complete", 4: "unlisted"}


def test_a_save_that_is_running(model: Path) -> None:
    temporary = model / "model.ckpt-4_temp"
    temporary.mkdir()
    (temporary / "part-00000-of-00001.index").write_bytes(b"12345")
    (model / "model.ckpt-5.assets").mkdir()
    (model / "model.ckpt-5.assets" / ".user_0-00000-of-00001.12.0123456789abcdef.tmp").write_bytes(
        b"123"
    )
    found = survey(model)
    assert list(states(found).items())[-2:] == [(4, "uncommitted"), (5, "uncommitted")]
    assert only(found, 4).missing == [Missing("model.ckpt-4_temp", "not finished")]
    assert only(found, 4).checkpoint is None
    assert only(found, 5).missing == [Missing("model.ckpt-5.index", "missing")]
    assert found.leftovers == Leftovers(uncommitted=2, temporaries=2, rolled_back=0, bytes=8)


def test_what_is_of_a_step_and_not_of_a_model_is_no_step(model: Path) -> None:
    for name in (
        *("ckpt.info-7", "ckpt.inputs-7", "ckpt.manifest-7", "input_worker_0.ckpt-7.index"),
        *("model.ckpt-7.meta", "model.ckpt-7_item_pool_0_0_1", "backup-20250101", "events-7"),
    ):
        (model / name).touch()
    assert list(states(survey(model))) == [1, 2, 3]


def test_data_that_a_deletion_has_left(model: Path) -> None:
    commit(model, 2, 3)
    (model / "model.ckpt-1.index").unlink()
    shutil.rmtree(model / "model.ckpt-1.assets")
    found = survey(model)
    assert states(found)[1] == "uncommitted"
    assert found.leftovers.bytes == (model / "model.ckpt-1.data-00000-of-00001").stat().st_size


def test_a_listed_step_whose_files_are_gone(model: Path) -> None:
    remove_step(model, 3)
    found = survey(model)
    assert states(found) == {1: "complete", 2: "complete", 3: "incomplete"}
    assert found.latest is not None
    assert (found.latest.step, found.latest.checkpoint) == (3, None)
    assert found.latest.missing == [
        Missing("model.ckpt-3", "names 'model.ckpt-3' as the latest, whose files are gone")
    ]


def test_steps_that_start_over(tmp_path: Path) -> None:
    for step in (100, 200, 5, 10):
        save_step(tmp_path, step)
    for number, step in enumerate((100, 200, 5, 10)):
        at = step_support.START + number
        os.utime(tmp_path / f"model.ckpt-{step}.index", (at, at))
    commit(tmp_path, 5, 10, times=False)
    assert states(survey(tmp_path)) == {
        100: "unlisted",
        200: "unlisted",
        5: "complete",
        10: "complete",
    }


def test_times_of_files_where_tensorflow_1_has_written_none(model: Path) -> None:
    commit(model, 1, 2, 3, times=False)
    assert [step.time for step in survey(model).steps] == [
        step_support.time_of(n) for n in (1, 2, 3)
    ]


def test_a_directory_that_was_moved(model: Path) -> None:
    commit(model, "/gone/model.ckpt-2", "/gone/model.ckpt-3")
    assert states(survey(model)) == {1: "unlisted", 2: "complete", 3: "complete"}


def test_a_step_that_lies_elsewhere(model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    save_step(elsewhere, 9, manifest=True)
    commit(model, 1, f"{elsewhere}/model.ckpt-9", 2, 3)
    found = survey(model)
    assert states(found) == {1: "complete", 9: "complete", 2: "complete", 3: "complete"}
    assert only(found, 9).names == []
    assert only(found, 9).table_bytes > 0
    path = elsewhere / "model.ckpt-9.assets/user_0-00001-of-00002"
    path.unlink()
    assert [each.file for each in only(survey(model), 9).missing] == [str(path)]


def test_without_a_checkpoint_file_nothing_is_listed(model: Path) -> None:
    (model / "checkpoint").unlink()
    found = survey(model)
    assert states(found) == {1: "unlisted", 2: "unlisted", 3: "unlisted"}
    assert found.latest is not None
    assert found.latest.step == 3


def test_tables_alone(model: Path) -> None:
    for path in model.iterdir():
        if path.name != "model.ckpt-3.assets":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert states(survey(model)) == {3: "unlisted"}


def test_the_latest_may_not_be_the_last(model: Path) -> None:
    commit(model, 1, 2, 3, latest=2)
    found = survey(model)
    assert [step.is_latest for step in found.steps] == [False, True, False]
    commit(model, 1, 2, 3, latest=f"{model}/model.ckpt-2")
    assert [step.is_latest for step in survey(model).steps] == [False, True, False]


def test_dense_only_is_a_directory_of_its_own(model: Path) -> None:
    save_steps(model / "dense_only", 1, 2, tables=())
    cut(model / "dense_only" / "model.ckpt-2.index")
    found = survey(model)
    assert set(states(found).values()) == {"complete"}
    assert found.dense_only is not None
    assert states(found.dense_only) == {1: "complete", 2: "incomplete"}
    (model / "dense_only" / "model.ckpt-3_temp").mkdir()
    assert survey(model).leftovers.uncommitted == 1


def test_what_rollbacks_have_moved_away(model: Path) -> None:
    aside = model / "rolled-back" / "2025-06-15T12-00-00"
    aside.mkdir(parents=True)
    (aside / "model.ckpt-9.index").write_bytes(b"1234")
    (aside / "endless").symlink_to(model)
    found = survey(model)
    assert list(states(found)) == [1, 2, 3]
    assert (found.leftovers.rolled_back, found.leftovers.bytes >= 4) == (1, True)


def test_one_assets_directory_and_an_export(model: Path, tmp_path: Path) -> None:
    assets = model / "model.ckpt-3.assets"
    (step,) = survey(assets).steps
    assert (step.step, step.state, step.is_listed) == (3, "complete", False)
    for server in ("ps_0", "ps_1", "ps_2"):
        shutil.copytree(assets, tmp_path / "export" / server / "1" / "assets")
    (step,) = survey(tmp_path / "export").steps
    assert (step.step, step.state) == (None, "complete")
    shutil.rmtree(tmp_path / "export" / "ps_1")
    (step,) = survey(tmp_path / "export").steps
    assert (step.state, step.missing) == (
        "incomplete",
        [Missing("ps_1", "missing beside the other servers")],
    )


def test_a_step_that_is_deleted_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LocalStore.sizes

    def sizes(store: LocalStore, directory: str) -> object:
        if directory.endswith("-1.assets") and (model / "model.ckpt-1.index").exists():
            commit(model, 2, 3)
            remove_step(model, 1)
        return real(store, directory)

    monkeypatch.setattr(LocalStore, "sizes", sizes)
    assert states(survey(model)) == {2: "complete", 3: "complete"}


def test_a_step_that_is_committed_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(model, 1, 2)
    real = LocalStore.sizes

    def sizes(store: LocalStore, directory: str) -> object:
        if directory.endswith("-3.assets"):
            commit(model, 1, 2, 3)
        return real(store, directory)

    monkeypatch.setattr(LocalStore, "sizes", sizes)
    assert states(survey(model)) == {1: "complete", 2: "complete", 3: "complete"}


def test_one_listing_for_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, *range(1, 21))
    listed: list[str] = []
    real = LocalStore.names

    def names(store: LocalStore, directory: str) -> list[str]:
        listed.append(directory)
        return real(store, directory)

    monkeypatch.setattr(LocalStore, "names", names)
    survey(tmp_path)
    assert sum(directory == str(tmp_path) for directory in listed) == 2  # what it is, what is in it
    assert len(listed) == 22


def test_a_directory_that_cannot_be_listed(model: Path, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError):
        survey(tmp_path / "nothing")
    (model / "checkpoint").write_text("model_checkpoint_path: 3\n")
    with pytest.raises(StateFileError):
        survey(model)


def test_what_tensorflow_has_saved(tmp_path: Path) -> None:
    for step in (10, 20):
        tf_support.save_checkpoint(tmp_path, step)
    found = survey(tmp_path)
    assert states(found) == {10: "unlisted", 20: "complete"}
    assert [step.table_bytes for step in found.steps] == [0, 0]
    data = next(tmp_path.glob("model.ckpt-20.data*"))
    cut(data, data.stat().st_size - 1)
    assert states(survey(tmp_path)) == {10: "unlisted", 20: "incomplete"}


def test_a_sample(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=100, multi=True)
    (step,) = survey(tmp_path).steps
    assert (step.state, step.proof) == ("complete", "formats")


def test_every_file_of_a_manifest_is_missed(ours: Path) -> None:
    """Each is taken away, and cut, in turn; the state of an input alone may go."""
    names = [file["name"] for file in json.loads((ours / "ckpt.manifest-2").read_text())["files"]]
    assert len(names) == 12
    for name in names:
        path = ours / name
        data = path.read_bytes()
        for is_cut in (False, True):
            if is_cut:
                cut(path, len(data) // 2)
            else:
                path.unlink()
            step = only(survey(ours), 2)
            if name.startswith("input_worker_") or (data == b"" and path.exists()):
                assert step.state == "complete", name
            else:
                assert step.state == "incomplete"
                assert [each.file for each in step.missing] == [name]
            path.write_bytes(data)
    assert {step.proof for step in survey(ours).steps} == {"manifest"}
