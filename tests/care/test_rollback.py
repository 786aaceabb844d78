"""Going back to an older step: what is moved away, what small files say, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from dump_support import write_plain
from rollback_support import (
    bytes_in,
    list_rolled,
    of_step,
    save_rolled,
    tree,
    write_rolled,
)
from step_support import commit, remove_step, save_step, time_of

from monolith_cli.care.exports import EXPORT_STATE
from monolith_cli.care.pins import pin
from monolith_cli.care.rollback.back import RolledBack, newer_pins, roll_back
from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    find_input_step,
    read_step_inputs,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.checkpoint.override import Override, read_override, write_override
from monolith_cli.checkpoint.restart import restart_point
from monolith_cli.errors import (
    CorruptionError,
    DirectoryInUseError,
    PathNotFoundError,
    ProtectedError,
    StepNotFoundError,
)
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state

COMMAND = ["monolith", "ckpt", "rollback"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_rolled(tmp_path / "model", 100, 200, 300, 400)


def back(model: Path, step: int, **how: Any) -> RolledBack:
    return roll_back(model, step, command=COMMAND, **how)


def state_of(model: Path, name: str = "checkpoint") -> CheckpointState:
    return read_checkpoint_state(str(model / name))


def latest_of(model: Path, worker: int) -> str:
    return state_of(model, f"checkpoint_input_worker_{worker}").model_checkpoint_path


def steps_of(done: RolledBack) -> list[tuple[int, str]]:
    return [(each.step, each.state) for each in done.steps]


def moved_of(model: Path, *steps: int) -> set[str]:
    return {path.name for step in steps for path in of_step(model, step)}


def test_newer_steps_are_moved_with_all_their_files(model: Path) -> None:
    before, moved = tree(model), moved_of(model, 300, 400)
    assert len(moved) == 2 * 12
    done = back(model, 200)
    assert (done.step, done.before, steps_of(done)) == (
        *(200, 400),
        [(300, "complete"), (400, "complete")],
    )
    away = model / done.directory
    assert away.parent == model / "rolled-back"
    assert {path.name for path in away.iterdir()} == moved | {"rollback.json"}
    assert done.files == len(moved)
    after = tree(model)
    written = ("checkpoint_input_worker_0", "checkpoint_input_worker_1", "checkpoint")
    assert done.texts == list(written)
    for name, kept in before.items():
        if name.partition("/")[0] in moved:
            assert after.pop(f"{done.directory}/{name}") == kept  # a rename changes no time
        elif name not in written:
            assert after.pop(name) == kept
    assert after.keys() == {*written, f"{done.directory}/rollback.json"}


def test_a_job_goes_on_from_the_step(model: Path) -> None:
    back(model, 200)
    state = state_of(model)
    assert state.model_checkpoint_path == "model.ckpt-200"
    assert state.all_model_checkpoint_paths == ("model.ckpt-100", "model.ckpt-200")
    assert state.all_model_checkpoint_timestamps == (time_of(100), time_of(200))
    restart = restart_point(model)
    assert restart.step == 200
    for worker in (0, 1):
        assert latest_of(model, worker) == f"input_worker_{worker}.ckpt-200"
        assert find_input_step(str(model), worker, restart) == 200
    assert [(each.step, each.state) for each in survey(model).steps] == [
        (100, "complete"),
        (200, "complete"),
    ]
    assert survey(model).leftovers.rolled_back == 1


def test_a_dry_run_changes_nothing(model: Path) -> None:
    before = tree(model)
    os.utime(model / "model.ckpt-400.index")
    done = back(model, 200, dry_run=True)
    assert (done.is_dry_run, done.files, steps_of(done)) == (
        *(True, 24),
        [(300, "complete"), (400, "complete")],
    )
    assert "'model.ckpt-400.index' was written" in done.warnings[0]
    assert bytes_in(model) == {name: kept.data for name, kept in before.items()}


def test_the_newest_step_is_gone_back_to_already(model: Path) -> None:
    before = tree(model)
    done = back(model, 400)
    assert (done.files, done.texts, done.steps) == (0, [], [])
    assert tree(model) == before


def test_numbers_that_go_down(tmp_path: Path) -> None:
    model = write_rolled(tmp_path / "model", 900, 950, 100, 200)
    times = dict(zip((900, 950, 100, 200), (1, 2, 3, 4), strict=True))
    for step, at in times.items():
        for path in of_step(model, step):
            os.utime(path, (time_of(at), time_of(at)))
    names = [f"model.ckpt-{step}" for step in times]
    stamps = "".join(f"all_model_checkpoint_timestamps: {time_of(at)}\n" for at in times.values())
    paths = "".join(f'all_model_checkpoint_paths: "{name}"\n' for name in names)
    (model / "checkpoint").write_text(f'model_checkpoint_path: "model.ckpt-200"\n{paths}{stamps}')
    os.utime(model / "checkpoint", (time_of(0), time_of(0)))
    done = back(model, 950)
    assert [step for step, _ in steps_of(done)] == [100, 200]
    assert state_of(model).all_model_checkpoint_paths == ("model.ckpt-900", "model.ckpt-950")
    assert find_input_step(str(model), 1, restart_point(model)) == 950
    assert latest_of(model, 1) == "input_worker_1.ckpt-950"


def test_an_older_step_with_a_higher_number_stays(tmp_path: Path) -> None:
    model = write_rolled(tmp_path / "model", 900, 100, 200)
    for step, at in ((900, 1), (100, 2), (200, 3)):
        for path in of_step(model, step):
            os.utime(path, (time_of(at), time_of(at)))
    commit(model, 900, 100, 200, times=False)
    os.utime(model / "checkpoint", (time_of(0), time_of(0)))
    done = back(model, 100)
    assert [step for step, _ in steps_of(done)] == [200]
    assert latest_of(model, 0) == "input_worker_0.ckpt-100"
    assert of_step(model, 900)
    assert done.warnings == [
        "the newest item pool of worker 0 is of step 900, by its number: training loads none with"
        " step 100"
    ]


def test_what_was_never_committed_or_is_left_of_a_step_goes_too(model: Path) -> None:
    save_rolled(model, 350)  # whole, and not listed
    (model / "model.ckpt-500.assets").mkdir()  # a save that died
    (model / "model.ckpt-500_temp_abc").mkdir()
    (model / ".ckpt.inputs-500.17.0123456789abcdef.tmp").write_text("{")
    remove_step(model, 300)
    commit(model, 100, 200, 400)
    (model / "model.ckpt-410_item_pool_0_0_1_tmp").write_text("")
    write_plain(model / "model.ckpt-250_item_pool_1_0_1", [b"between"])
    for name in ("model.ckpt-250_item_pool_1_0_1", "ckpt.info-50"):
        (model / name).touch()
        os.utime(model / name, (time_of(1), time_of(1)))  # as if it were older
    foreign = {path.name for path in model.iterdir() if "-" not in path.name}
    foreign |= {"events.out.tfevents.17.host-999", "ckpt.info-50"}
    done = back(model, 200, quiet_for_seconds=0)
    assert set(steps_of(done)) == {
        *[(250, "gone"), (300, "gone"), (350, "unlisted"), (400, "complete")],
        *[(410, "gone"), (500, "uncommitted")],
    }
    there = {path.name for path in model.iterdir()}
    assert there == moved_of(model, 100, 200) | foreign | {"rolled-back"}


def test_the_step_may_be_one_that_was_kept_unlisted(model: Path) -> None:
    list_rolled(model, 100, 300, 400)
    done = back(model, 200)
    assert state_of(model).all_model_checkpoint_paths == ("model.ckpt-100", "model.ckpt-200")
    assert state_of(model).all_model_checkpoint_timestamps == (time_of(100), time_of(200))
    assert done.notes == [
        "step 200 was not listed, so no save deleted it; it is listed now: pin it to keep it"
    ]
    assert restart_point(model).step == 200


def test_what_restore_ckpt_has_rewritten(model: Path) -> None:
    """The training system names a step in the middle of the list when it goes back by a flag."""
    list_rolled(model, 100, 200, 300, 400, latest=200)
    done = back(model, 200)
    assert [step for step, _ in steps_of(done)] == [300, 400]
    assert state_of(model).all_model_checkpoint_paths == ("model.ckpt-100", "model.ckpt-200")


def test_stale_absolute_paths(model: Path, tmp_path: Path) -> None:
    commit(model, "/old/model.ckpt-100", "/old/model.ckpt-200", f"{model}/model.ckpt-300")
    back(model, 200, quiet_for_seconds=0)
    assert state_of(model).all_model_checkpoint_paths == ("model.ckpt-100", "model.ckpt-200")


def test_a_newer_step_that_is_elsewhere_stays_there(model: Path, tmp_path: Path) -> None:
    other = write_rolled(tmp_path / "other", 900)
    before = tree(other)
    commit(model, "model.ckpt-100", "model.ckpt-200", f"{other}/model.ckpt-900")
    remove_step(model, 300)
    remove_step(model, 400)
    done = back(model, 200, quiet_for_seconds=0)
    assert (900, "complete") in steps_of(done)
    assert state_of(model).model_checkpoint_path == "model.ckpt-200"
    assert tree(other) == before


def test_dense_only_goes_along(tmp_path: Path) -> None:
    model = write_rolled(tmp_path / "model", 100, 200, 300, beside=(150, 200, 250))
    done = back(model, 200)
    assert [(each.directory, each.step) for each in done.steps] == [("", 300), ("dense_only", 250)]
    inner = model / "dense_only"
    assert state_of(inner).all_model_checkpoint_paths == ("model.ckpt-150", "model.ckpt-200")
    away = model / done.directory / "dense_only"
    assert {path.name for path in away.iterdir()} == {
        *("model.ckpt-250.index", "model.ckpt-250.data-00000-of-00001", "model.ckpt-250.assets")
    }
    assert done.texts[-2:] == ["dense_only/checkpoint", "checkpoint"]
    done = back(model, 100, quiet_for_seconds=0)
    assert {(each.directory, each.step) for each in done.steps} == {
        *(("", 200), ("dense_only", 150), ("dense_only", 200))
    }
    assert not (inner / "checkpoint").exists()


def test_dense_only_by_the_times_of_commits(tmp_path: Path) -> None:
    model = write_rolled(tmp_path / "model", 900, 100, 200, beside=(950, 150))
    for step, at in ((900, 1), (950, 2), (100, 3), (150, 4), (200, 5)):
        for path in [*of_step(model, step), *of_step(model / "dense_only", step)]:
            os.utime(path, (time_of(at), time_of(at)))
    commit(model, 900, 100, 200, times=False)
    commit(model / "dense_only", 950, 150, times=False)
    done = back(model, 100, quiet_for_seconds=0)
    assert {(each.directory, each.step) for each in done.steps} == {("", 200), ("dense_only", 150)}
    assert state_of(model / "dense_only").model_checkpoint_path == "model.ckpt-950"


def test_a_dense_only_that_is_a_link(tmp_path: Path) -> None:
    model = write_rolled(tmp_path / "model", 100, 200, beside=(100, 150))
    shutil.move(model / "dense_only", tmp_path / "elsewhere")
    (model / "dense_only").symlink_to(tmp_path / "elsewhere")
    done = back(model, 100)
    away = tmp_path / "elsewhere" / done.directory
    assert (away / "model.ckpt-150.index").exists()


def test_a_job_without_inputs(tmp_path: Path) -> None:
    for step in (1, 2):
        save_step(tmp_path, step)
    list_rolled(tmp_path, 1, 2)
    done = back(tmp_path, 1)
    assert done.texts == ["checkpoint"]
    assert restart_point(tmp_path).step == 1


def test_a_worker_that_has_no_state_of_the_step(model: Path) -> None:
    for path in model.glob("input_worker_1.ckpt-200*"):
        path.unlink()
    (model / "ckpt.manifest-200").unlink()
    write_input_state(str(model), 1)
    (warning,) = back(model, 200, quiet_for_seconds=0).warnings
    assert "worker 1" in warning
    assert latest_of(model, 1) == "input_worker_1.ckpt-100"
    assert find_input_step(str(model), 1, restart_point(model)) == 100


def test_states_of_tensorflows_own_hook(model: Path) -> None:
    for step in (200, 300):
        for suffix in (".index", ".data-00000-of-00001"):
            shutil.copy(
                model / f"input_worker_0.ckpt-{step}{suffix}", model / f"input.ckpt-{step}{suffix}"
            )
    (model / "checkpoint_input").write_text('model_checkpoint_path: "input.ckpt-300"\n')
    back(model, 200, quiet_for_seconds=0)
    assert state_of(model, "checkpoint_input").model_checkpoint_path == "input.ckpt-200"


def test_a_state_file_that_does_not_parse_is_written_anew(model: Path) -> None:
    path = model / "checkpoint_input_worker_1"
    path.write_bytes(b"\xff{")
    back(model, 200, quiet_for_seconds=0)
    assert latest_of(model, 1) == "input_worker_1.ckpt-200"


def test_a_worker_whose_states_are_all_newer(model: Path) -> None:
    for step in (100, 200):
        for path in model.glob(f"input_worker_1.ckpt-{step}*"):
            path.unlink()
        (model / f"ckpt.manifest-{step}").unlink()
        workers = {0: WorkerInput(True, {"files": 3})}
        write_step_inputs(str(model), StepInputs(step, "run", workers))
    back(model, 200, quiet_for_seconds=0)
    assert not (model / "checkpoint_input_worker_1").exists()
    assert find_input_step(str(model), 1, restart_point(model)) is None


# --- rollbacks of inputs ----------------------------------------------------------------------


def test_a_rollback_of_inputs_ends(model: Path) -> None:
    write_override(model, 400, {1: 300})
    done = back(model, 200)
    assert done.notes == ["a rollback of inputs that was asked for ends"]
    assert read_override(model) is None
    assert restart_point(model).input_step(1) == 200


def test_what_the_step_has_left_of_a_rollback_of_inputs_holds_again(model: Path) -> None:
    """Worker 1 had not gone back to step 100 yet when step 200 was committed."""
    honoured = Override(150, {0: 100, 1: 100}, 5)
    note = honoured.as_note(honoured.rest([1]))
    saved = read_step_inputs(str(model), 200)
    assert saved is not None
    write_step_inputs(str(model), saved._replace(override=note))
    for path in model.glob("input_worker_1.ckpt-200*"):
        path.unlink()
    (model / "ckpt.manifest-200").unlink()
    save_step(model, 150, inputs=(1,))  # of the future that it was to go back from
    list_rolled(model, 100, 150, 200, 300, 400)
    done = back(model, 200, quiet_for_seconds=0)
    assert done.notes == ["inputs that had not gone back by step 200 do so again"]
    restart = restart_point(model)
    assert find_input_step(str(model), 1, restart) == 100
    assert find_input_step(str(model), 0, restart) == 200


# --- what is refused ----------------------------------------------------------------------------


def refused(model: Path, step: int, error: type[Exception], what: str, **how: Any) -> None:
    before = bytes_in(model)
    with pytest.raises(error, match=what):
        back(model, step, **how)
    assert bytes_in(model) == before


def test_a_step_that_is_not_one_to_go_back_to(model: Path) -> None:
    refused(model, 250, StepNotFoundError, "no step 250")
    (model / "model.ckpt-500.assets").mkdir()
    refused(model, 500, StepNotFoundError, "step 500 is not committed")
    (model / "model.ckpt-200.assets" / "user_0-00001-of-00002").unlink()
    refused(model, 200, CorruptionError, "step 200 is not one to go back to", dry_run=True)
    refused(model, 200, CorruptionError, "step 200 is not one to go back to")
    back(model, 100)


def test_damage_elsewhere_does_not_matter(model: Path) -> None:
    (model / "model.ckpt-400.index").unlink()
    (model / "model.ckpt-100.assets" / "user_0-00001-of-00002").unlink()
    assert back(model, 200).step == 200


def test_a_newer_step_that_is_pinned(model: Path) -> None:
    pin(model, 400)
    pin(model, 100)
    refused(model, 200, ProtectedError, "newer step 400 is pinned; end the pin first")
    pin(model, 300)
    refused(model, 200, ProtectedError, "newer steps 300, 400 are pinned; end these pins first")
    assert newer_pins(model, 200) == [300, 400]
    assert newer_pins(model, 400) == []
    path = model / "monolith_checkpoint"
    path.write_text(f'exempt_model_checkpoint_paths: "/old/place/model.ckpt-{300}"\n')
    refused(model, 200, ProtectedError, "newer step 300 is pinned")


def write_export(base: Path, step: int, *, tables: bool) -> None:
    version = base / "ps_0" / str(1000 + step)
    (version / "assets").mkdir(parents=True)
    if tables:
        write_plain(version / "assets" / "user_0-00000-of-00001", [])
    with (base / "ps_0" / EXPORT_STATE).open("a") as file:
        file.write(f'entries {{ export_dir: "{version}" global_step: {step} }}\n')


def test_exports_that_the_next_save_would_delete(model: Path, tmp_path: Path) -> None:
    write_export(model / "exported", 300, tables=True)
    write_export(model / "exported", 200, tables=False)
    write_export(tmp_path / "elsewhere", 400, tables=True)
    refused(model, 200, ProtectedError, r"delete exports .*/1300 \(step 300\)")
    refused(model, 200, ProtectedError, "/1400", exports=[tmp_path / "elsewhere"])
    done = back(model, 200, exports_may_go=True)
    assert [each.step for each in done.exports] == [300]
    assert not survey(model).steps[-1].missing


def test_an_export_that_reads_the_tables_of_what_would_be_moved(model: Path) -> None:
    list_rolled(model, 100, 200, 400)
    write_export(model / "exported", 300, tables=False)
    refused(model, 200, ProtectedError, r"/1300 \(step 300\)")


def test_an_export_of_nobody_knows_which_step(model: Path) -> None:
    version = model / "exported" / "ps_0" / "1300"
    (version / "variables").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    assert back(model, 400).warnings == []  # nothing is moved
    for dry_run in (True, False):
        (warning,) = back(model, 200, dry_run=dry_run).warnings
        assert warning.startswith(f"{version}: an export without tables, and no {EXPORT_STATE}")


def test_a_job_that_is_alive(model: Path) -> None:
    os.utime(model / "model.ckpt-400.index")
    refused(model, 200, DirectoryInUseError, r"'model\.ckpt-400\.index' was written")
    assert back(model, 200, quiet_for_seconds=0).step == 200


def test_a_chief_that_comes_in_the_last_moment(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.care import journal
    from monolith_cli.care.rollback import back as module

    def begin(directory: str, *args: Any) -> Any:
        made = journal.begin(directory, *args)
        (model / "chief_claim").write_text("{}")
        return made

    monkeypatch.setattr(module, "begin", begin)
    with pytest.raises(DirectoryInUseError, match="a job has just begun here"):
        back(model, 200)
    (model / "chief_claim").unlink()
    assert not (model / "rolled-back").exists()
    assert not (model / ".monolith-journal.json").exists()


def test_nothing_is_committed(model: Path) -> None:
    (model / "checkpoint").unlink()
    refused(model, 200, StepNotFoundError, "nothing is committed")
    (model / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    shutil.copy(model / "model.ckpt-400.index", model / "model.ckpt.index")
    what = "the latest checkpoint's name has no step"
    refused(model, 200, StepNotFoundError, what, quiet_for_seconds=0)


def test_not_the_directory_of_a_job(model: Path) -> None:
    with pytest.raises(PathNotFoundError, match="no directory of a job"):
        back(model / "model.ckpt-200.assets", 200)


def test_another_command_was_cut_off_here(model: Path) -> None:
    journal = model / ".monolith-journal.json"
    by = {"id": "x", "host": "h", "pid": 1, "started": 1.0, "counter": 0}
    by |= dict.fromkeys(("boot_id", "pid_namespace", "process_started"))
    said = {"version": 1, "kind": "prune", "command": ["monolith", "x"], "at": 1.0}
    journal.write_text(json.dumps({**said, "plan": {}, "by": by}))
    for dry_run in (False, True):
        refused(model, 200, DirectoryInUseError, "monolith x", dry_run=dry_run)


def test_a_rolled_back_from_before(model: Path) -> None:
    first = back(model, 300)
    second = back(model, 200, quiet_for_seconds=0)
    assert first.directory != second.directory
    assert {path.name for path in (model / "rolled-back").iterdir()} == {
        Path(each.directory).name for each in (first, second)
    }
    assert restart_point(model).step == 200
