"""Removing what a plan says: killed anywhere, beside jobs, and beside another prune."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dying_store import DyingStore, each_death, each_failure, each_hook
from prune_support import (
    exempt,
    going,
    list_steps,
    listed,
    make_old,
    names,
    plan,
    save_job,
)
from step_support import save_step, time_of

from monolith_cli.care.fsck import CheckOptions, check
from monolith_cli.care.journal import begin, read_journal
from monolith_cli.care.prune.proof import proofs_of, prove
from monolith_cli.care.prune.run import carry_out, go_on
from monolith_cli.care.survey import survey
from monolith_cli.errors import (
    CorruptionError,
    DirectoryInUseError,
    ProtectedError,
    WriteError,
)
from monolith_cli.formats.checkpoint_state import read_checkpoint_state

KEPT = (4, 5)
AGAIN = "run the same command again, which finishes it"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five steps with inputs, of which one is not listed; and dense variables alone."""
    directory = tmp_path_factory.mktemp("prune") / "model"
    save_job(directory, 1, 2, 3, 4, 5, workers=(0, 1), tables=("t",), manifest=True)
    list_steps(directory, 1, 3, 4, 5)
    save_job(directory / "dense_only", 2, 3, 6, tables=())
    (directory / "ckpt.manifest-0").touch()
    make_old(directory, time_of(0) - 1)
    for step in range(1, 6):
        for path in directory.glob(f"*-{step}*"):
            os.utime(path, (time_of(step), time_of(step)))
    return directory


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def version(path: Path) -> tuple[int, int, bytes]:
    return path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()


def whole(directory: Path) -> dict[int | None, str]:
    return {step.step: step.state for step in survey(str(directory)).steps}


def check_nothing_is_lost(directory: Path) -> None:
    """What `checkpoint` lists is whole, and what was said to stay is there."""
    for place in (directory, directory / "dense_only"):
        found = survey(str(place))
        assert all(step.state == "complete" for step in found.steps if step.is_listed)
    states = whole(directory)
    assert [states[step] for step in KEPT] == ["complete", "complete"]
    for step in KEPT:
        assert (directory / f"input_worker_1.ckpt-{step}.index").exists()
    assert all((directory / f"ckpt.info-{step}").exists() for step in range(1, 6))


def check_it_is_done(directory: Path) -> None:
    check_nothing_is_lost(directory)
    assert whole(directory) == dict.fromkeys(KEPT, "complete")
    assert whole(directory / "dense_only") == {3: "complete", 6: "complete"} or whole(
        directory / "dense_only"
    ) == {6: "complete"}
    left = {name for name in names(directory) if "/" not in name and name.endswith(("-1", "-2"))}
    assert left == {"ckpt.info-1", "ckpt.info-2"}
    assert not (directory / ".monolith-journal.json").exists()
    for worker in (0, 1):
        states = listed(directory, f"checkpoint_input_worker_{worker}")
        assert states == [f"input_worker_{worker}.ckpt-{step}" for step in KEPT]


def test_what_is_removed(model: Path) -> None:
    made = plan(model, last=2, leftovers=True)
    done = carry_out(made)
    assert done.steps == [("", 1), ("", 2), ("", 3), ("dense_only", 2)]
    assert (done.others, done.left, done.resumed) == (["ckpt.manifest-0"], [], False)
    assert done.bytes == made.bytes
    check_it_is_done(model)
    state = read_checkpoint_state(str(model / "checkpoint"))
    assert state.all_model_checkpoint_paths == ("model.ckpt-4", "model.ckpt-5")
    assert state.all_model_checkpoint_timestamps == (time_of(4), time_of(5))
    assert go_on(model) is None
    assert plan(model, last=2, leftovers=True).is_empty
    assert carry_out(plan(model, last=2)).steps == ()


def test_checkpoint_is_left_alone_if_only_unlisted_steps_go(model: Path) -> None:
    shutil.rmtree(model / "dense_only")
    before = version(model / "checkpoint")
    made = plan(model, steps=(1, 3, 4, 5))
    assert going(made) == [2]
    carry_out(made)
    assert version(model / "checkpoint") == before


def test_monolith_checkpoint_is_not_touched(model: Path) -> None:
    exempt(model, "model.ckpt-1")
    make_old(model)
    before = version(model / "monolith_checkpoint")
    carry_out(plan(model, last=2))
    assert version(model / "monolith_checkpoint") == before
    assert listed(model) == ["model.ckpt-1", "model.ckpt-4", "model.ckpt-5"]


# --- killed -------------------------------------------------------------------------------------


def anew(original: Path, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(original, directory)


def prune(directory: Path) -> object:
    return carry_out(plan(directory, last=2, leftovers=True))


def cut_off(directory: Path, at: int) -> None:
    """Kill a prune before one of its changes."""
    with DyingStore(at).installed():
        carry_out(plan(directory, last=2))


def test_killed_at_every_change(original: Path, tmp_path: Path) -> None:
    """And in the middle of it. Listed steps are whole, and running it again finishes it."""
    model = tmp_path / "model"
    deaths = 0
    for _ in each_death(lambda: anew(original, model), lambda: prune(model)):
        deaths += 1
        check_nothing_is_lost(model)
        if (model / ".monolith-journal.json").exists():
            done = go_on(model)
            assert done is not None
            assert done.resumed
        else:
            assert len(listed(model)) == 4
            prune(model)
        check_it_is_done(model)
    assert deaths > 40


def test_killed_again_and_again(original: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    anew(original, model)
    cut_off(model, 3)
    for at in range(2, 200):
        with DyingStore(at % 3 + 2).installed() as store:
            go_on(model)
        check_nothing_is_lost(model)
        if not store.is_dead:
            break
    check_it_is_done(model)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_store_that_fails_at_every_change(original: Path, tmp_path: Path, error: int) -> None:
    """Without a change no journal stays, if that can be removed; else it says what to do."""
    model = tmp_path / "model"
    for tried in each_failure(lambda: anew(original, model), lambda: prune(model), error):
        check_nothing_is_lost(model)
        has_begun = len(listed(model)) == 2
        if isinstance(tried.result, WriteError):
            assert (
                tried.result.hint == "run the same command again, which finishes it"
            ) == has_begun
            if not has_begun and error != errno.EROFS:
                assert not (model / ".monolith-journal.json").exists()
        if go_on(model) is None:
            prune(model)
        check_it_is_done(model)


def test_what_was_cut_off_names_the_command(model: Path) -> None:
    cut_off(model, 4)
    journal = read_journal(model)
    assert journal is not None
    assert journal.command == ("monolith", "ckpt", "prune", "--yes", str(model))
    with pytest.raises(DirectoryInUseError, match="was cut off here"):
        carry_out(plan(model, last=2))


# --- others in the same directory ---------------------------------------------------------------


def commit_another(directory: Path, step: int = 9) -> Callable[[], None]:
    """A job that saves and commits a step."""

    def do() -> None:
        save_step(directory, step, tables=("t",))
        steps = [int(name.rpartition("-")[2]) for name in listed(directory)]
        list_steps(directory, *steps, step)

    return do


def test_a_job_that_begins_before_checkpoint_is_written(model: Path) -> None:
    made = plan(model, last=2)
    commit_another(model)()
    make_old(model / "checkpoint", time_of(0))
    with pytest.raises(DirectoryInUseError):
        carry_out(made, quiet_for_seconds=0)
    assert len(listed(model)) == 5
    assert set(whole(model).values()) == {"complete", "unlisted"}
    assert not (model / ".monolith-journal.json").exists()


def test_a_commit_between_compare_and_write_is_not_lost(original: Path, tmp_path: Path) -> None:
    """Of the model, and of dense variables alone: the second and the third change."""
    for at, place in ((2, ""), (3, "dense_only")):
        directory = shutil.copytree(original, tmp_path / str(at))
        with (
            DyingStore(at, hook=commit_another(directory / place)).installed(),
            pytest.raises(DirectoryInUseError),
        ):
            carry_out(plan(directory, last=2))
        found = survey(str(directory / place))
        assert found.latest is not None
        assert found.latest.step == 9
        assert {step.step for step in found.steps if step.state == "complete"} >= {3, 9}
        assert all(step.is_whole for step in found.steps)
        assert not (directory / ".monolith-journal.json").exists()


def test_a_job_that_begins_in_the_middle(original: Path, tmp_path: Path) -> None:
    """It stops at once; when the job is stopped, what was begun is finished, and no more."""
    model = tmp_path / "model"
    stopped = 0
    tries = each_hook(lambda: anew(original, model), lambda: prune(model), commit_another(model))
    for number, tried in enumerate(tries, 1):
        if number < 4:
            continue  # before it has begun: above
        if isinstance(tried.result, DirectoryInUseError):
            stopped += 1
            assert AGAIN in (tried.result.hint or "")
            go_on(model, quiet_for_seconds=0)
        states = whole(model)
        assert states.pop(9) == "complete"
        assert set(states) == set(KEPT)
        assert listed(model)[-1] == "model.ckpt-9"
    assert stopped > 3


def test_a_pin_since_the_plan(model: Path) -> None:
    made = plan(model, last=2)
    exempt(model, "model.ckpt-1")
    with pytest.raises(DirectoryInUseError, match=r"step 1 is not what it was .* kept: pinned"):
        carry_out(made)
    assert len(listed(model)) == 4
    assert not (model / ".monolith-journal.json").exists()


def test_what_has_come_back_since_it_was_cut_off_stays(model: Path) -> None:
    """A job that knows of no journal has saved step 1 again, and somebody has pinned step 3."""
    cut_off(model, 4)
    states = whole(model)
    assert (states[2], states[3]) == ("unlisted", "unlisted")
    for path in model.glob("model.ckpt-1*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    save_step(model, 1, tables=("t",))
    os.utime(model / "model.ckpt-1.index", (time_of(50), time_of(50)))
    list_steps(model, 3, 4, 5, 1)
    exempt(model, "model.ckpt-3")
    done = go_on(model, quiet_for_seconds=0)
    assert done is not None
    assert done.steps == [("", 2), ("dense_only", 2)]
    assert [(each.step, each.why) for each in done.left] == [
        (1, "'checkpoint' names it as the latest by now"),
        (3, "by now it is kept: pinned"),
    ]
    assert listed(model) == [f"model.ckpt-{step}" for step in (3, 4, 5, 1)]
    assert set(whole(model).values()) == {"complete"}
    assert (model / "input_worker_1.ckpt-3.index").exists()


def test_a_step_that_is_being_saved_again_stays(model: Path) -> None:
    """Its tables come first, and its index last: there is nothing else to see of it."""
    cut_off(model, 5)
    assert not (model / "model.ckpt-1.index").exists()
    (model / "model.ckpt-1.assets/t-00000-of-00002").write_bytes(b"new")
    done = go_on(model)
    assert done is not None
    assert [(each.step, each.why) for each in done.left] == [(1, "it is being saved again")]
    assert (model / "model.ckpt-1.assets/t-00000-of-00002").read_bytes() == b"new"
    assert (model / "model.ckpt-1.data-00000-of-00001").exists()
    assert set(whole(model)) == {1, *KEPT}


def test_two_prunes_at_once(model: Path) -> None:
    """The second goes on with what the first has begun; the first stops when it notices."""

    def other() -> None:
        done = go_on(model)
        assert done is not None

    with (
        DyingStore(6, hook=other).installed(),
        pytest.raises(DirectoryInUseError, match="or has finished it"),
    ):
        carry_out(plan(model, last=2))
    check_it_is_done(model)


def test_another_command_was_cut_off(model: Path) -> None:
    begin(model, "rollback", ["monolith", "ckpt", "rollback"], {})
    for attempt in (lambda: carry_out(plan(model, last=2)), lambda: go_on(model)):
        with pytest.raises(DirectoryInUseError) as caught:
            attempt()
        assert caught.value.kind == "unfinished_command"
    with pytest.raises(DirectoryInUseError):
        carry_out(plan(model, unlisted=True))
    assert len(listed(model)) == 4


def test_a_plan_of_something_else_is_not_carried_out(model: Path) -> None:
    begin(model, "prune", ["monolith", "ckpt", "prune"], {"places": 7})
    with pytest.raises(DirectoryInUseError, match="not one of this command"):
        go_on(model)


def test_a_job_that_lives(model: Path) -> None:
    (model / "model.ckpt-5.index").touch()
    with pytest.raises(DirectoryInUseError) as caught:
        carry_out(plan(model, last=2))
    assert caught.value.kind == "just_saved"
    assert not (model / ".monolith-journal.json").exists()


def test_exports_refuse(model: Path) -> None:
    saved = model / "exported" / "ps_0" / "1"
    (saved / "assets").mkdir(parents=True)
    (saved / "assets" / "t-00000-of-00001").touch()
    text = f'entries {{ export_dir: "{saved}" global_step: 1 }}\n'
    (saved.parent / "ExportSaverListenerState").write_text(text)
    with pytest.raises(ProtectedError):
        carry_out(plan(model, last=2))
    assert len(listed(model)) == 4
    carry_out(plan(model, last=2, exports_may_go=True))
    assert listed(model) == ["model.ckpt-4", "model.ckpt-5"]


# --- beside a job -------------------------------------------------------------------------------


def test_unlisted_steps_beside_a_job(model: Path) -> None:
    """`checkpoint` stays as it is, and a chief finds no journal."""
    list_steps(model, 4, 5)
    (model / "model.ckpt-5.index").touch()
    before = version(model / "checkpoint")
    made = plan(model, unlisted=True)
    done = carry_out(made)
    assert done.steps == [("", 1), ("", 2), ("", 3)]
    assert version(model / "checkpoint") == before
    assert set(whole(model)) == {4, 5}
    assert not (model / ".monolith-unlisted.json").exists()


def test_beside_a_job_killed_at_every_change(original: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"

    def prepare() -> None:
        anew(original, model)
        list_steps(model, 4, 5)

    for _ in each_death(prepare, lambda: carry_out(plan(model, unlisted=True)), most=20):
        check_nothing_is_lost(model)
        assert not (model / ".monolith-journal.json").exists()
        go_on(model, unlisted=True)
        carry_out(plan(model, unlisted=True))
        assert set(whole(model)) == {4, 5}
        assert not (model / ".monolith-unlisted.json").exists()


def test_a_step_that_is_listed_meanwhile_stays(model: Path) -> None:
    """`checkpoint` is looked at before each."""
    list_steps(model, 4, 5)
    made = plan(model, unlisted=True)
    with DyingStore(2, hook=lambda: list_steps(model, 2, 4, 5)).installed():
        done = carry_out(made)
    assert [(each.step, each.why) for each in done.left] == [(2, "'checkpoint' lists it by now")]
    assert whole(model)[2] == "complete"
    list_steps(model, 2, 3)  # a job that has gone back, to a latest that is older
    assert plan(model, unlisted=True).is_empty


# --- proofs -------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    at = path.stat().st_mtime
    path.write_bytes(data)
    os.utime(path, (at, at))


def test_what_must_be_right(model: Path) -> None:
    list_steps(model, 1, 3, 4, 5, latest=4)
    proofs = proofs_of(plan(model, last=1))
    assert [(proof.place, proof.step) for proof in proofs] == [
        ("", 4),
        ("", 5),
        ("dense_only", 6),
    ]
    assert all(proof.bytes > 0 and proof.checked_seconds_ago is None for proof in proofs)
    assert proofs_of(plan(model, last=9)) == []
    assert prove(plan(model, last=9)) == []


@pytest.mark.parametrize("step", [4, 5])
def test_a_rotten_step_that_is_to_stay(model: Path, step: int) -> None:
    list_steps(model, 1, 3, 4, 5, latest=4)
    prove(plan(model, last=1))
    flip(model / f"model.ckpt-{step}.assets/t-00000-of-00002")
    with pytest.raises(CorruptionError, match=f"step {step}, which is to stay, is not right"):
        prove(plan(model, last=1))
    prove(plan(model, last=1), quick=True)


def test_a_rotten_step_that_goes(model: Path) -> None:
    flip(model / "model.ckpt-1.assets/t-00000-of-00002")
    prove(plan(model, last=1))


def test_dense_variables_alone_that_are_rotten(model: Path) -> None:
    flip(model / "dense_only/model.ckpt-6.data-00000-of-00001")
    with pytest.raises(CorruptionError, match="step 6, which is to stay"):
        prove(plan(model, last=1))


def test_what_is_in_the_way_and_goes_too(model: Path) -> None:
    """A shard of the latest that was not finished: the training system would trip over it."""
    left = model / "model.ckpt-5.assets" / "t-00000-of-00002-tmp-77"
    left.touch()
    with pytest.raises(CorruptionError) as caught:
        prove(plan(model, last=1))
    assert caught.value.kind == "unloadable_leftover"
    assert caught.value.hint == "nothing was removed: remove this file"
    make_old(left)
    made = plan(model, last=1, leftovers=True)
    prove(made)
    carry_out(made)
    assert not left.exists()
    assert listed(model) == ["model.ckpt-5"]


def test_a_latest_that_is_not_whole(model: Path) -> None:
    (model / "model.ckpt-5.assets/t-00000-of-00002").unlink()
    with pytest.raises(CorruptionError, match="step 5, which is to stay"):
        prove(plan(model, last=1))


def test_a_record_spares_the_reading(model: Path) -> None:
    check(str(model), 5, CheckOptions(record=True))
    made = plan(model, last=1)
    proofs = {(proof.place, proof.step): proof for proof in proofs_of(made)}
    assert proofs["", 5].bytes == 0
    assert proofs["", 5].checked_seconds_ago is not None
    flip(model / "model.ckpt-5.assets/t-00000-of-00002")  # unseen: of the same size and time
    record = json.loads((model / "ckpt.checked-5").read_text())
    for file in record["files"]:
        status = (model / file["name"]).stat()
        file["mtime_ns"] = status.st_mtime_ns
        file["version"] = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    (model / "ckpt.checked-5").write_text(json.dumps(record))
    prove(plan(model, last=1))
    record["at"] -= 8 * 86400
    (model / "ckpt.checked-5").write_text(json.dumps(record))
    with pytest.raises(CorruptionError):
        prove(plan(model, last=1))
