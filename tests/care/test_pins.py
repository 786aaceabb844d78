"""Pins: the exempt steps of `monolith_checkpoint`, written beside whoever writes it too."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from rollback_support import save_rolled, tree, write_rolled
from step_support import commit, remove_step, time_of

from monolith_cli.care.pins import pin, unpin
from monolith_cli.care.survey import survey
from monolith_cli.errors import (
    DirectoryInUseError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
)
from monolith_cli.formats.checkpoint_state import (
    parse_exempt_paths,
    read_checkpoint_state,
    replace_exempt_paths,
)
from monolith_cli.storage.local import LOCAL, LocalStore


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_rolled(tmp_path / "model", 1, 2, 3)


def pins(directory: Path) -> list[str]:
    path = directory / "monolith_checkpoint"
    return parse_exempt_paths(path.read_bytes(), str(path))


def listed(directory: Path) -> list[str]:
    return list(read_checkpoint_state(str(directory / "checkpoint")).all_model_checkpoint_paths)


def test_a_step_is_pinned_and_that_file_alone_is_written(model: Path) -> None:
    before = tree(model)
    done = pin(model, 2)
    assert (done.step, done.pinned, done.listed, done.files) == (
        *(2, True, False),
        ("monolith_checkpoint",),
    )
    assert (model / "monolith_checkpoint").read_text() == (
        'exempt_model_checkpoint_paths: "model.ckpt-2"\n'
        "last_checkpoint_save_timestamp: 17\nbuiltin_hash_table_type: MULTI_CUCKOO_HASH_MAP\n"
    )
    after = tree(model)
    assert {name for name in after if after[name] != before.get(name)} == {"monolith_checkpoint"}
    assert pin(model, 2).files == ()
    assert pin(model, 1).files == ("monolith_checkpoint",)
    assert pins(model) == ["model.ckpt-2", "model.ckpt-1"]
    assert unpin(model, 2).files == ("monolith_checkpoint",)
    assert pins(model) == ["model.ckpt-1"]
    assert unpin(model, 2) == unpin(model, 2)._replace(files=())
    unpin(model, 1)
    assert tree(model)["monolith_checkpoint"].data == before["monolith_checkpoint"].data


def test_beside_a_job_that_has_just_saved(model: Path) -> None:
    os.utime(model / "model.ckpt-3.index")
    assert pin(model, 2).files
    assert unpin(model, 2).files


def test_what_else_is_in_the_file_stays_as_it_is_written(model: Path) -> None:
    path = model / "monolith_checkpoint"
    path.write_text(
        "# by hand\nfield_of_tomorrow { a: [1, 2] b: 'x # no comment' }\n"
        'exempt_model_checkpoint_paths: ["/old/place/model.ckpt-3", "model.ckpt-1"]\n'
        "builtin_hash_table_type: 2 last_checkpoint_save_timestamp: 0x11 # seconds\n"
    )
    pin(model, 2)
    assert path.read_text() == (
        "# by hand\n"
        'exempt_model_checkpoint_paths: "/old/place/model.ckpt-3"\n'
        'exempt_model_checkpoint_paths: "model.ckpt-1"\n'
        'exempt_model_checkpoint_paths: "model.ckpt-2"\n'
        "field_of_tomorrow { a: [1, 2] b: 'x # no comment' }\n"
        "builtin_hash_table_type: 2 last_checkpoint_save_timestamp: 0x11 # seconds\n"
    )
    assert replace_exempt_paths(b"# nothing", ["a"], "") == (
        b'# nothing\nexempt_model_checkpoint_paths: "a"\n'
    )
    assert replace_exempt_paths(b"", [], "") == b""


def test_a_path_of_an_old_place_is_written_anew(model: Path, tmp_path: Path) -> None:
    path = model / "monolith_checkpoint"
    path.write_text(f'exempt_model_checkpoint_paths: "{model}/model.ckpt-2"\n')
    assert pin(model, 2).files == ()  # it holds here
    moved = Path(shutil.move(model, tmp_path / "moved"))
    assert [each.step for each in survey(moved).steps] == [1, 2, 3]
    assert pin(moved, 2).files == ("monolith_checkpoint",)
    assert pins(moved) == ["model.ckpt-2"]
    (moved / "monolith_checkpoint").write_text(
        'exempt_model_checkpoint_paths: "/a/model.ckpt-2"\n'
        'exempt_model_checkpoint_paths: "C:\\\\b\\\\model.ckpt-2.index"\n'
    )
    unpin(moved, 2)
    assert pins(moved) == []


def test_a_step_that_is_elsewhere_on_purpose(model: Path, tmp_path: Path) -> None:
    other = write_rolled(tmp_path / "other", 9)
    commit(model, f"{other}/model.ckpt-9", 1, 2, 3)
    pin(model, 9)
    assert pins(model) == [f"{other}/model.ckpt-9"]
    assert pin(model, 9).files == ()


def test_an_unlisted_step_is_listed_at_its_place(model: Path) -> None:
    commit(model, 1, 3)
    os.utime(model / "model.ckpt-3.index")
    with pytest.raises(DirectoryInUseError, match=r"'model\.ckpt-3\.index' was written"):
        pin(model, 2)
    os.utime(model / "model.ckpt-3.index", (time_of(3), time_of(3)))
    assert pin(model, 2).files == ("monolith_checkpoint", "checkpoint")
    state = read_checkpoint_state(str(model / "checkpoint"))
    assert state.model_checkpoint_path == "model.ckpt-3"
    assert listed(model) == ["model.ckpt-1", "model.ckpt-2", "model.ckpt-3"]
    assert state.all_model_checkpoint_timestamps == (time_of(1), time_of(2), time_of(3))
    unpin(model, 2)
    assert len(listed(model)) == 3
    commit(model, 3, times=False)
    assert pin(model, 1, quiet_for_seconds=0).listed
    assert listed(model) == ["model.ckpt-1", "model.ckpt-3"]
    state = read_checkpoint_state(str(model / "checkpoint"))
    assert state.all_model_checkpoint_timestamps == ()


def test_a_latest_that_is_named_alone_is_listed_at_its_place(model: Path) -> None:
    commit(model, 1, 3, latest=2)
    assert pin(model, 2, quiet_for_seconds=0).files == ("monolith_checkpoint", "checkpoint")
    state = read_checkpoint_state(str(model / "checkpoint"))
    assert state.model_checkpoint_path == "model.ckpt-2"
    assert listed(model) == ["model.ckpt-1", "model.ckpt-2", "model.ckpt-3"]


def test_what_is_not_committed_is_not_pinned(model: Path) -> None:
    save_rolled(model, 4)
    (model / "model.ckpt-5.assets").mkdir()
    before = tree(model)
    for step in (4, 5):
        with pytest.raises(StepNotFoundError, match=f"step {step} is not committed"):
            pin(model, step)
    with pytest.raises(StepNotFoundError, match="no step 6"):
        pin(model, 6)
    with pytest.raises(StepNotFoundError, match="no step 6"):
        unpin(model, 6)
    (model / "checkpoint").unlink()
    with pytest.raises(StepNotFoundError, match="nothing is committed"):
        pin(model, 2)
    assert tree(model) == {name: kept for name, kept in before.items() if name != "checkpoint"}


def test_the_pin_of_a_step_that_is_gone_ends(model: Path) -> None:
    pin(model, 1)
    remove_step(model, 1)
    commit(model, 2, 3)
    assert unpin(model, 1).files == ("monolith_checkpoint",)
    assert pins(model) == []


def test_a_step_that_is_not_whole_is_pinned_and_that_is_said(model: Path) -> None:
    (model / "model.ckpt-2.assets/user_0-00000-of-00002").unlink()
    (note,) = pin(model, 2).notes
    assert note.startswith("step 2 is incomplete: 'model.ckpt-2.assets/user_0-00000-of-00002'")


def test_no_file_for_pins(model: Path) -> None:
    (model / "monolith_checkpoint").unlink()
    for change in (pin, unpin):
        with pytest.raises(PathNotFoundError, match="monolith_checkpoint: no such file"):
            change(model, 2)
    assert not (model / "monolith_checkpoint").exists()
    (model / "monolith_checkpoint").write_text("exempt_model_checkpoint_paths: [")
    for change in (pin, unpin):
        with pytest.raises(StateFileError):
            change(model, 2)


def test_not_the_directory_of_a_job(model: Path) -> None:
    with pytest.raises(PathNotFoundError, match="no directory of a job"):
        pin(model / "model.ckpt-2.assets", 2)


def test_a_command_that_was_cut_off_here(model: Path) -> None:
    (model / ".monolith-journal.json").write_text('{"command": ["monolith", "x"]}')
    with pytest.raises(DirectoryInUseError, match="run it again, which finishes it: monolith x"):
        pin(model, 2)
    assert pins(model) == []


def test_dense_only_goes_along(tmp_path: Path) -> None:
    model = write_rolled(tmp_path / "model", 1, 2, beside=(2, 3))
    (note,) = pin(model, 2).notes
    assert note == "not in dense_only: no such file"
    with pytest.raises(PathNotFoundError, match="dense_only/monolith_checkpoint: no such file"):
        pin(model, 3)
    shutil.copy(model / "monolith_checkpoint", model / "dense_only")
    unpin(model, 2)
    assert pin(model, 2).files == ("monolith_checkpoint", "dense_only/monolith_checkpoint")
    assert pin(model, 3).files == ("dense_only/monolith_checkpoint",)
    assert unpin(model, 2).files == ("monolith_checkpoint", "dense_only/monolith_checkpoint")
    assert (pins(model), pins(model / "dense_only")) == ([], ["model.ckpt-3"])


class Meanwhile(LocalStore):
    """Somebody else writes just before, or just after."""

    def __init__(self, name: str, *others: str, is_after: bool = False) -> None:
        self.name = name
        self.others = list(others)
        self.is_after = is_after

    def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        if location.endswith(self.name) and self.others and not self.is_after:
            LOCAL.put(location, self.others.pop().encode())
        LOCAL.put(location, data)
        if location.endswith(self.name) and self.others and self.is_after:
            LOCAL.put(location, self.others.pop().encode())


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> object:
    def install(store: LocalStore) -> None:
        monkeypatch.setattr("monolith_cli.care.pins.store_of", lambda _: store)

    return install


@pytest.mark.parametrize("is_after", [False, True])
def test_what_a_job_writes_meanwhile(model: Path, meanwhile: object, is_after: bool) -> None:
    said = "last_checkpoint_save_timestamp: 18\n"
    meanwhile(Meanwhile("monolith_checkpoint", said, said, is_after=is_after))  # type: ignore[operator]
    pin(model, 2)
    assert pins(model) == ["model.ckpt-2"]


@pytest.mark.parametrize("name", ["chief_claim", "controller_server_addr.txt"])
def test_what_a_job_writes_that_had_read_it_before(
    model: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (model / name).touch()
    path = model / "monolith_checkpoint"
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            path.write_text("last_checkpoint_save_timestamp: 18\n")

    monkeypatch.setattr("monolith_cli.care.pins.time.sleep", sleep)
    pin(model, 2)
    assert pins(model) == ["model.ckpt-2"]
    assert b"18" in path.read_bytes()
    assert waited == [0.2]
    pin(model, 2)
    assert waited == [0.2]  # nothing was written


def test_a_job_that_writes_all_the_while(model: Path, meanwhile: object) -> None:
    said = ["last_checkpoint_save_timestamp: 18\n"] * 50
    meanwhile(Meanwhile("monolith_checkpoint", *said, is_after=True))  # type: ignore[operator]
    with pytest.raises(DirectoryInUseError, match="writes it all the while"):
        pin(model, 2)


def test_a_step_that_is_dropped_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropping(LocalStore):
        def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
            LOCAL.put(location, data)
            commit(model, 3)

    monkeypatch.setattr("monolith_cli.care.pins.store_of", lambda _: Dropping())
    with pytest.raises(StepNotFoundError, match="has been dropped meanwhile"):
        pin(model, 2)
    assert pins(model) == []


def test_a_job_that_commits_while_a_step_is_listed(model: Path, meanwhile: object) -> None:
    commit(model, 1, 3)
    os.utime(model / "checkpoint", (time_of(0), time_of(0)))
    said = 'model_checkpoint_path: "model.ckpt-3"\n'
    meanwhile(Meanwhile("/checkpoint", said, is_after=True))  # type: ignore[operator]
    with pytest.raises(DirectoryInUseError, match="writes it all the while"):
        pin(model, 2)
    assert pins(model) == []
    assert (model / "checkpoint").read_text() == said


def test_a_disk_that_is_full(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.errors import WriteError

    class Full(LocalStore):
        def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
            if location.endswith("/checkpoint"):
                raise WriteError("no space", path=location)
            LOCAL.put(location, data)

    commit(model, 1, 3)
    os.utime(model / "checkpoint", (time_of(0), time_of(0)))
    before = tree(model)
    monkeypatch.setattr("monolith_cli.care.pins.store_of", lambda _: Full())
    with pytest.raises(WriteError):
        pin(model, 2)
    # The training system would not start with a pin of what is not listed.
    after = tree(model)
    assert after["monolith_checkpoint"].data == before["monolith_checkpoint"].data
    assert after["checkpoint"] == before["checkpoint"]


def test_a_clock_in_the_future(model: Path) -> None:
    commit(model, 1, 3)
    ahead = time.time() + 3600
    os.utime(model / "model.ckpt-3.index", (ahead, ahead))
    with pytest.raises(DirectoryInUseError):
        pin(model, 2)
    assert pins(model) == []


def test_a_step_that_a_job_commits_in_the_last_moment_stays_listed(
    model: Path, meanwhile: object
) -> None:
    class Committing(LocalStore):
        def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
            if location.endswith("/checkpoint") and not (model / "model.ckpt-4.index").exists():
                save_rolled(model, 4)
                commit(model, 1, 3, 4)
            LOCAL.put(location, data)

    commit(model, 1, 3)
    os.utime(model / "checkpoint", (time_of(0), time_of(0)))
    meanwhile(Committing())  # type: ignore[operator]
    with pytest.raises(DirectoryInUseError, match="writes it all the while"):
        pin(model, 2)
    assert pins(model) == []
    assert listed(model) == ["model.ckpt-1", "model.ckpt-3", "model.ckpt-4"]
    latest = read_checkpoint_state(str(model / "checkpoint")).model_checkpoint_path
    assert latest == "model.ckpt-4"
