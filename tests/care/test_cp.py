"""Copying steps: what arrives, what is listed, what stays as it is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import repair_support as rs
from repair_support import STEP, bytes_of, scribble
from step_support import START, commit, remove_step, save_step, save_steps, time_of

from monolith_cli.care.copy.part import Part
from monolith_cli.care.copy.plan import Planner, StepPlan
from monolith_cli.care.copy.request import Begun
from monolith_cli.care.copy.step import StepCopy, Way
from monolith_cli.care.copy.steps import Copied, copy_steps, verify_copy
from monolith_cli.care.fsck.check import CheckOptions, check
from monolith_cli.care.journal import begin
from monolith_cli.care.states import StepSurvey
from monolith_cli.checkpoint.names import COPIED, JOURNAL
from monolith_cli.errors import (
    AlreadyExistsError,
    CorruptionError,
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    UsageError,
    WriteError,
)
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.storage.local import LocalStore

NOT_OF_A_STEP = {
    "ckpt.override",
    "controller_server_addr.txt",
    f"model.ckpt-{STEP + 50}_item_pool_0_0_1",
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rs.write_job(tmp_path_factory.mktemp("cp") / "model")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cp") / "three"
    return save_steps(path, 1, 2, 3, multis={"M": {"t": 3}}, manifest=True, inputs=(0, 1))


@pytest.fixture
def model(three: Path, tmp_path: Path) -> Path:
    return shutil.copytree(three, tmp_path / "model")


def state_of(directory: Path) -> CheckpointState:
    return read_checkpoint_state(str(directory / "checkpoint"))


def copied(source: Path, target: Path, step: int | None = None, **options: object) -> Copied:
    """Copy; checks what holds for every copy."""
    before = rs.contents_of(source)
    done = copy_steps(source, target, step, quiet_for_seconds=0, jobs=2, **options)  # type: ignore[arg-type]
    assert rs.contents_of(source) == before
    names = {path.name for path in target.rglob("*")}
    assert JOURNAL not in names
    assert not [name for name in names if name.endswith(".tmp")]
    for each in check(target, "all").findings if names else ():
        assert each.severity == "note" or each.id.startswith("input_"), each
    return done


# --- a step, with all that comes along --------------------------------------------------------


def test_a_step_and_what_a_job_needs(job: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    done = copy_steps(job, target)
    (step,) = done.steps
    assert (step.step, step.fate, step.is_listed, step.error) == (STEP, "copied", True, None)
    assert (done.latest, done.asked_latest, done.resumed) == (STEP, STEP, False)
    assert done.notes == [
        f"{job}/ckpt.override is not copied: inputs go on from the states of their step"
    ]
    there, came = bytes_of(job), bytes_of(target)
    del came[COPIED]
    assert came.keys() == {
        name for name in there if name not in NOT_OF_A_STEP and "ckpt-200" not in name
    }
    made = {"checkpoint", "monolith_checkpoint"} | {
        f"checkpoint_input_worker_{worker}" for worker in (0, 1)
    }
    for name in came.keys() - made:
        assert came[name] == there[name], name
    assert step.files == step.sent_files == len(came.keys() - made - {"restore_ckpt"})
    state = state_of(target)
    assert state.model_checkpoint_path == f"model.ckpt-{STEP}"
    assert state.all_model_checkpoint_paths == (f"model.ckpt-{STEP}",)
    assert state.all_model_checkpoint_timestamps  # TensorFlow writes none where it is told not to
    inputs = read_checkpoint_state(str(target / "checkpoint_input_worker_1"))
    assert inputs.model_checkpoint_path == f"input_worker_1.ckpt-{STEP}"
    exempt = read_monolith_checkpoint_state(str(target / "monolith_checkpoint"))
    assert exempt.exempt_model_checkpoint_paths == (f"model.ckpt-{STEP}",)
    assert exempt.last_checkpoint_save_timestamp == 17
    verified = verify_copy(job, target)
    assert [step.fate for step in verified.steps] == ["there"]


def test_a_worker_without_a_state_of_the_step_brings_an_older_one(
    model: Path, tmp_path: Path
) -> None:
    for path in model.glob("input_worker_1.ckpt-3.*"):
        path.unlink()
    (model / "ckpt.manifest-3").unlink()
    target = tmp_path / "copy"
    copied(model, target, 3)
    assert sorted(path.name for path in target.glob("input_worker_*.index")) == [
        "input_worker_0.ckpt-3.index",
        "input_worker_1.ckpt-2.index",
    ]
    inputs = read_checkpoint_state(str(target / "checkpoint_input_worker_1"))
    assert inputs.model_checkpoint_path == "input_worker_1.ckpt-2"


def test_item_pools_that_are_not_newer(model: Path, tmp_path: Path) -> None:
    for step, worker in ((1, 0), (2, 0), (3, 0), (1, 1)):
        (model / f"model.ckpt-{step}_item_pool_{worker}_0_2").write_bytes(b"pool")
    target = tmp_path / "copy"
    copied(model, target, 2)
    assert sorted(path.name for path in target.glob("*_item_pool_*")) == [
        "model.ckpt-1_item_pool_1_0_2",
        "model.ckpt-2_item_pool_0_0_2",
    ]


def test_item_pools_that_are_newer_in_the_target_are_told(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 10)
    (target / "model.ckpt-10_item_pool_0_0_1").write_bytes(b"pool")
    assert not copied(model, target).notes
    (note,) = copied(model, target, 2, as_latest=True).notes
    assert "newer than step 2" in note


@pytest.mark.parametrize("name", ["ckpt.manifest-3", "model.ckpt-3.assets/stray"])
def test_what_is_of_another_save_or_of_nothing_stays(
    model: Path, tmp_path: Path, name: str
) -> None:
    if name.startswith("ckpt"):
        document = json.loads((model / name).read_text())
        document["index"]["crc32c"] = "00000000"
        (model / name).write_text(json.dumps(document))
    else:
        (model / name).write_text("x")
    target = tmp_path / "copy"
    copied(model, target)
    assert not (target / name).exists()
    assert (target / "ckpt.manifest-3").exists() == (not name.startswith("ckpt"))


def test_all_steps_with_those_kept_unlisted_and_dense_only(model: Path, tmp_path: Path) -> None:
    commit(model, 1, 3)
    save_step(model, 4)  # left of a save that died before its commit
    save_steps(model / "dense_only", 2, 3, 5, tables=())
    target = tmp_path / "copy"
    done = copied(model, target, every=True)
    assert [(s.step, s.is_dense_only, s.fate, s.is_listed) for s in done.steps] == [
        (1, False, "copied", True),
        (2, False, "copied", False),
        (3, False, "copied", True),
        (2, True, "copied", True),
        (3, True, "copied", True),
        (5, True, "copied", True),
    ]
    assert state_of(target).all_model_checkpoint_paths == ("model.ckpt-1", "model.ckpt-3")
    assert state_of(target / "dense_only").model_checkpoint_path == "model.ckpt-5"
    assert not list(target.glob("*ckpt-4*"))
    commit(model, 1, 3, latest=2)  # which is named alone
    copied(model, tmp_path / "again", every=True, as_latest=True)
    assert state_of(tmp_path / "again").model_checkpoint_path == "model.ckpt-2"


@pytest.mark.parametrize(("step", "dense"), [(None, 5), (4, 5), (2, 2)])
def test_dense_only_comes_along_as_far_as_it_is_not_newer(
    tmp_path: Path, step: int | None, dense: int
) -> None:
    model = save_steps(tmp_path / "model", 2, 4)
    save_steps(model / "dense_only", 2, 3, 5, tables=())
    done = copied(model, tmp_path / "copy", step)
    assert [(s.step, s.is_dense_only) for s in done.steps] == [(step or 4, False), (dense, True)]


def test_a_step_that_lies_elsewhere(model: Path, tmp_path: Path) -> None:
    pointing = tmp_path / "pointing"
    pointing.mkdir()
    commit(pointing, f"{model}/model.ckpt-2")
    target = tmp_path / "copy"
    copied(pointing, target)
    assert state_of(target).all_model_checkpoint_paths == ("model.ckpt-2",)
    assert (target / "input_worker_0.ckpt-2.index").exists()


def test_without_a_checkpoint_file_all_that_is_there_is_listed(model: Path, tmp_path: Path) -> None:
    (model / "checkpoint").unlink()
    target = tmp_path / "copy"
    copied(model, target, every=True)
    assert state_of(target).model_checkpoint_path == "model.ckpt-3"
    assert len(state_of(target).all_model_checkpoint_paths) == 3


# --- what the target then lists ---------------------------------------------------------------


def test_steps_are_appended_and_the_latest_is_never_lowered(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 10)
    done = copied(model, target)
    state = state_of(target)
    assert (done.latest, done.asked_latest) == (10, 3)
    assert state.model_checkpoint_path == "model.ckpt-10"
    # What stands behind the latest would count as given up.
    assert state.all_model_checkpoint_paths == ("model.ckpt-3", "model.ckpt-10")
    assert state.all_model_checkpoint_timestamps == (time_of(3), time_of(10))
    done = copied(model, target, 2, as_latest=True)
    state = state_of(target)
    assert done.latest == 2
    assert state.model_checkpoint_path == "model.ckpt-2"
    assert state.all_model_checkpoint_paths == ("model.ckpt-3", "model.ckpt-10", "model.ckpt-2")
    inputs = read_checkpoint_state(str(target / "checkpoint_input_worker_0"))
    assert inputs.model_checkpoint_path == "input_worker_0.ckpt-2"


def test_a_newer_step_becomes_the_latest(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    for step in (1, 2, 3):
        assert copied(model, target, step).latest == step
    assert state_of(target) == state_of(model)


def test_a_higher_number_that_is_older_does_not(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 2)
    text = (target / "checkpoint").read_text()
    (target / "checkpoint").write_text(text.replace(f"{time_of(2)!r}", f"{START + 99!r}"))
    assert copied(model, target, 3).latest == 2
    assert state_of(target).all_model_checkpoint_paths == ("model.ckpt-3", "model.ckpt-2")


def test_times_that_tensorflow_1_did_not_write(model: Path, tmp_path: Path) -> None:
    commit(model, 1, 2, 3, times=False)
    target = save_steps(tmp_path / "other", 1)
    commit(target, f"{target}/model.ckpt-1", times=False)
    shutil.rmtree(target / "model.ckpt-1.assets")
    shutil.copytree(model / "model.ckpt-1.assets", target / "model.ckpt-1.assets")
    copied(model, target)
    state = state_of(target)
    assert state.all_model_checkpoint_paths == ("model.ckpt-1", "model.ckpt-3")
    assert state.all_model_checkpoint_timestamps == (time_of(1), time_of(3))


def test_pins_of_both_are_kept(job: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 10)
    (target / "monolith_checkpoint").write_text(
        'exempt_model_checkpoint_paths: "/somewhere/model.ckpt-10"\n'
        "last_checkpoint_save_timestamp: 5\nbuiltin_hash_table_type: CUCKOO_HASH_MAP\n"
    )
    copied(job, target)
    state = read_monolith_checkpoint_state(str(target / "monolith_checkpoint"))
    assert state.exempt_model_checkpoint_paths == (
        "/somewhere/model.ckpt-10",
        f"model.ckpt-{STEP}",
    )
    assert (state.last_checkpoint_save_timestamp, state.builtin_hash_table_type) == (
        5,
        "CUCKOO_HASH_MAP",
    )


# --- what is there already --------------------------------------------------------------------


def test_what_is_there_and_the_same_is_not_sent_again(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copied(model, target, 2)
    before = rs.contents_of(target)
    again = copied(model, target, 2)
    assert [(s.fate, s.sent_files) for s in again.steps] == [("there", 0)]
    assert rs.contents_of(target) == before
    done = copied(model, target, every=True)
    assert [(s.step, s.fate) for s in done.steps] == [(1, "copied"), (2, "there"), (3, "copied")]
    assert {name: rs.contents_of(target)[name] for name in before if "ckpt-2" in name} == {
        name: each for name, each in before.items() if "ckpt-2" in name
    }


@pytest.mark.parametrize("size", ["same", "other"])
def test_another_step_of_that_number_stays(model: Path, tmp_path: Path, size: str) -> None:
    target = tmp_path / "copy"
    copied(model, target, 2)
    shard = target / "model.ckpt-2.assets" / "user_0-00000-of-00002"
    scribble(shard, 20) if size == "same" else shard.write_bytes(b"")
    before = rs.contents_of(target)
    done = copy_steps(model, target, 2, quiet_for_seconds=0)
    (step,) = done.steps
    assert (step.fate, step.differing) == (
        "different",
        ["model.ckpt-2.assets/user_0-00000-of-00002"],
    )
    assert rs.contents_of(target) == before
    done = copy_steps(model, target, every=True, quiet_for_seconds=0)
    assert [s.fate for s in done.steps] == ["copied", "different", "copied"]
    after = rs.contents_of(target)
    assert {name: after[name] for name in before if "ckpt-2" in name} == {
        name: each for name, each in before.items() if "ckpt-2" in name
    }
    (found,) = verify_copy(model, target, 2).steps
    assert (found.fate, found.differing) == ("different", step.differing)
    assert found.error is not None
    assert "user_0-00000-of-00002" in str(found.error)


def test_verifying_says_what_is_not_there(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copied(model, target, every=True)
    (target / "ckpt.manifest-1").unlink()
    commit(target, 1, 3)
    before = rs.contents_of(target)
    first, second, third = verify_copy(model, target, every=True, jobs=2).steps
    assert (first.fate, first.missing) == ("missing", ["ckpt.manifest-1"])
    assert (second.fate, str(second.error)) == (
        "missing",
        f"{target}: step 2 is there, and is not listed; copy it",
    )
    assert third.fate == "there"
    assert rs.contents_of(target) == before
    with pytest.raises(PathNotFoundError):
        verify_copy(model, tmp_path / "none")


def test_a_dry_run_writes_nothing(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    done = copy_steps(model, target, every=True, dry_run=True, link=True)
    assert not target.exists()
    assert [(s.fate, s.is_listed) for s in done.steps] == [("to_copy", True)] * 3
    assert all(s.linked_files > s.sent_files > 0 for s in done.steps)
    copied(model, target, 1)
    before = rs.contents_of(target)
    done = copy_steps(model, target, every=True, dry_run=True, quiet_for_seconds=0)
    assert [s.fate for s in done.steps] == ["there", "to_copy", "to_copy"]
    assert done.latest == 3
    assert rs.contents_of(target) == before


# --- links ------------------------------------------------------------------------------------


def test_links_are_of_dumps_and_data_alone(job: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    done = copied(job, target, link=True)
    linked = {
        name
        for name in bytes_of(target)
        if (job / name).exists()
        if os.path.samefile(job / name, target / name)
    }
    assert linked == {name for name in bytes_of(target) if ".assets/" in name or ".data-" in name}
    assert done.steps[0].linked_files == len(linked)
    assert [step.fate for step in verify_copy(job, target).steps] == ["there"]


def test_where_no_links_can_be_nothing_is_left(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[str] = []
    most = 1
    link = LocalStore.link

    def sometimes(store: LocalStore, source: str, target: str) -> None:
        links.append(target)
        if len(links) == most:
            raise WriteError(
                "not linked: Invalid cross-device link", path=target, kind="not_linked"
            )
        link(store, source, target)

    monkeypatch.setattr(LocalStore, "link", sometimes)
    for most in (1, 10):  # noqa: B007 it is for `sometimes`
        links.clear()
        with pytest.raises(WriteError, match="cross-device"):
            copy_steps(model, tmp_path / "copy", every=True, link=True)
        assert not (tmp_path / "copy").exists()
    other = save_steps(tmp_path / "other", 10)
    before = rs.contents_of(other)
    links.clear()
    with pytest.raises(WriteError, match="cross-device"):
        copy_steps(model, other, every=True, link=True, quiet_for_seconds=0)
    assert rs.contents_of(other) == before


# --- what does not come -----------------------------------------------------------------------


def test_a_step_that_is_not_whole(model: Path, tmp_path: Path) -> None:
    (model / "model.ckpt-2.assets" / "user_0-00000-of-00002").unlink()
    with pytest.raises(CorruptionError, match="step 2 is not whole"):
        copy_steps(model, tmp_path / "copy", 2)
    assert not (tmp_path / "copy").exists()
    done = copied(model, tmp_path / "copy", every=True)
    assert [s.fate for s in done.steps] == ["copied", "not_whole", "copied"]
    assert len(done.errors) == 1
    assert not list((tmp_path / "copy").glob("*ckpt-2*"))


def test_a_file_that_is_not_what_its_manifest_says(model: Path, tmp_path: Path) -> None:
    check(model, 2, CheckOptions(record=True))
    assert "crc32c" in (model / "ckpt.manifest-2").read_text()
    scribble(model / "model.ckpt-2.assets" / "user_1-00001-of-00002", 20)
    target = tmp_path / "copy"
    done = copy_steps(model, target, 2)
    (step,) = done.steps
    assert step.fate == "damaged"
    assert step.error is not None
    assert step.error.kind == "manifest_differs"
    assert not target.exists()
    done = copy_steps(model, target, every=True)
    assert [s.fate for s in done.steps] == ["copied", "damaged", "copied"]
    assert not list(target.glob("model.ckpt-2*"))
    assert state_of(target).all_model_checkpoint_paths == ("model.ckpt-1", "model.ckpt-3")


@pytest.mark.parametrize("how", ["deleted", "saved again"])
def test_a_step_that_goes_while_it_is_copied(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    send = StepCopy.send

    def late(copy: StepCopy, way: Way) -> None:
        if copy.plan.step == 2:
            if how == "deleted":
                (model / "model.ckpt-2.assets" / "user_1-00000-of-00002").unlink()
            else:
                os.replace(model / "model.ckpt-2.index", model / "x")
                shutil.copy(model / "x", model / "model.ckpt-2.index")
        send(copy, way)

    monkeypatch.setattr(StepCopy, "send", late)
    target = tmp_path / "copy"
    done = copy_steps(model, target, every=True)
    assert [s.fate for s in done.steps] == ["copied", "gone", "copied"]
    assert isinstance(done.errors[0], (PathNotFoundError, StepNotFoundError))
    assert not list(target.glob("model.ckpt-2*"))
    assert state_of(target).all_model_checkpoint_paths == ("model.ckpt-1", "model.ckpt-3")


def test_what_the_target_has_of_steps_that_do_not_come_stays(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = save_steps(tmp_path / "other", 1, 2, 4)
    commit(target, 4)  # 1 and 2 are kept unlisted
    before = rs.contents_of(target)
    (model / "model.ckpt-1.assets" / "user_0-00000-of-00002").unlink()
    plan = Planner.plan

    def late(planner: Planner, step: StepSurvey) -> StepPlan:
        if step.step == 2:
            remove_step(model, 2)
        return plan(planner, step)

    monkeypatch.setattr(Planner, "plan", late)
    done = copy_steps(model, target, every=True, quiet_for_seconds=0)
    assert [s.fate for s in done.steps] == ["not_whole", "gone", "copied"]
    after = rs.contents_of(target)
    assert {name: after[name] for name in before if name != "checkpoint"} == {
        name: each for name, each in before.items() if name != "checkpoint"
    }


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "inner", "..", "../model/inner/more", "link"])
def test_a_directory_into_itself(model: Path, place: str) -> None:
    (model.parent / "model2").symlink_to("model")
    target = model.parent / "model2" if place == "link" else model / place
    with pytest.raises(UsageError):
        copy_steps(model, target)


def test_a_directory_into_itself_by_a_link(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model / "model.ckpt-3.assets")
    with pytest.raises(UsageError, match="lies in"):
        copy_steps(model, tmp_path / "link" / "copy")


def test_what_is_no_jobs_directory(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no job's directory"):
        copy_steps(model / "model.ckpt-1.assets", tmp_path / "copy")
    with pytest.raises(StepNotFoundError):
        copy_steps(model, tmp_path / "copy", 9)
    (tmp_path / "file").touch()
    with pytest.raises(PathNotFoundError, match="a file in place of a directory"):
        copy_steps(model, tmp_path / "file")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "notes.txt").touch()
    with pytest.raises(AlreadyExistsError, match="other things than checkpoints"):
        copy_steps(model, tmp_path / "home")


def test_another_commands_journal(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 10)
    begin(str(target), "prune", ["monolith", "ckpt", "prune"], {})
    for dry_run in (False, True):
        with pytest.raises(DirectoryInUseError, match="monolith ckpt prune"):
            copy_steps(model, target, quiet_for_seconds=0, dry_run=dry_run)


def test_a_job_that_begins_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = save_steps(tmp_path / "other", 1)
    commit_of_part = Part.commit

    def late(part: Part, begun: Begun) -> None:
        save_step(target, 10)
        commit(target, 1, 10)
        commit_of_part(part, begun)

    monkeypatch.setattr(Part, "commit", late)
    with pytest.raises(DirectoryInUseError, match="a job has begun to save there"):
        copy_steps(model, target, 3, quiet_for_seconds=0)
    assert state_of(target).all_model_checkpoint_paths == ("model.ckpt-1", "model.ckpt-10")
    monkeypatch.undo()
    done = copy_steps(model, target, 3, quiet_for_seconds=0)
    assert done.resumed
    assert state_of(target).all_model_checkpoint_paths == (
        "model.ckpt-1",
        "model.ckpt-3",
        "model.ckpt-10",
    )


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_bad_monolith_checkpoint_is_found_before_anything_is_begun(
    model: Path, tmp_path: Path, side: str
) -> None:
    target = save_steps(tmp_path / "other", 10)
    ({"source": model, "target": target}[side] / "monolith_checkpoint").write_text("{")
    before = rs.contents_of(target)
    with pytest.raises(StateFileError):
        copy_steps(model, target, quiet_for_seconds=0)
    assert rs.contents_of(target) == before


def test_a_file_that_does_not_arrive(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.care.copy import files

    def wrong(path: str) -> files.Sum:
        found = sum_of(path)
        return found if path.startswith(str(model)) else found._replace(crc32c="00000000")

    sum_of = files.sum_of
    monkeypatch.setattr(files, "sum_of", wrong)
    target = tmp_path / "copy"
    with pytest.raises(WriteError) as caught:
        copy_steps(model, target, 2)
    assert caught.value.kind == "not_arrived"
    assert not (target / "checkpoint").exists()
    monkeypatch.undo()
    assert copied(model, target, 2).resumed


def test_the_source_is_gone_for_good(model: Path, tmp_path: Path) -> None:
    """A step that was begun, and is not there any more when it is gone on with, is cleared away."""
    target = tmp_path / "copy"
    copied(model, target, 1)
    begun = tmp_path / "begun"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "commit", lambda *_: (_ for _ in ()).throw(MonolithError("cut off")))
        with pytest.raises(MonolithError, match="cut off"):
            copy_steps(model, begun, 2)
    assert list(begun.glob(".model.ckpt-2.index.*"))
    remove_step(model, 2)
    commit(model, 1, 3)
    done = copy_steps(model, begun, 2)
    assert done.resumed
    assert [(s.step, s.fate) for s in done.steps] == [(2, "gone")]
    assert not begun.exists()
