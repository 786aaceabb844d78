"""What small files say of steps: entries, tables, inputs, pins."""

from __future__ import annotations

from pathlib import Path

import pytest
import step_support
from step_support import commit, save_step, save_steps

from monolith_cli.care.listing import StepListing, list_steps
from monolith_cli.care.survey import survey
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info

MULTI = {"M": {"a": 3, "b": 2}}


def steps(model: Path, *, contents: bool = False) -> dict[int | None, StepListing]:
    listing = list_steps(survey(model), contents=contents)
    assert listing.problems == []
    return {each.survey.step: each for each in listing.steps}


def entries(model: Path, *, contents: bool = False) -> list[int | None]:
    return [each.entries for each in steps(model, contents=contents).values()]


def test_entries_of_a_manifest(tmp_path: Path) -> None:
    for step, count in ((1, 4), (2, 6), (3, 5)):
        save_step(tmp_path, step, entries=count, manifest=True)
    commit(tmp_path, 1, 2, 3)
    found = steps(tmp_path)
    assert [(each.entries, each.change) for each in found.values()] == [
        (12, None),
        (18, 6),
        (15, -3),
    ]
    assert [each.tables for each in found.values()] == [3, 3, 3]


def test_entries_of_ckpt_info(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3)
    write_ckpt_info(tmp_path / "ckpt.info-1", CkptInfo({3: 7, 5: 2}, {}))
    (tmp_path / "ckpt.info-2").touch()  # not counted
    write_ckpt_info(tmp_path / "ckpt.info-3", CkptInfo({3: 8}, {}))
    found = steps(tmp_path)
    assert [(each.entries, each.change) for each in found.values()] == [
        (9, None),
        (None, None),
        (8, -1),
    ]


def test_a_manifest_that_does_not_count_leaves_it_to_ckpt_info(tmp_path: Path) -> None:
    save_step(tmp_path, 1, manifest=True)
    commit(tmp_path, 1)
    path = tmp_path / "ckpt.manifest-1"
    path.write_text(path.read_text().replace('"entries": 4', '"entries": null'))
    assert entries(tmp_path) == [None]
    write_ckpt_info(tmp_path / "ckpt.info-1", CkptInfo({3: 7}, {}))
    assert entries(tmp_path) == [7]


def test_entries_of_contents_files(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, tables=(), multis=MULTI)
    assert (entries(tmp_path), steps(tmp_path)[1].tables) == ([None], None)
    assert entries(tmp_path, contents=True) == [5]
    assert steps(tmp_path, contents=True)[1].tables == 2
    write_ckpt_info(tmp_path / "ckpt.info-1", CkptInfo({}, {"a": 4, "b": 2}))
    assert (entries(tmp_path), steps(tmp_path)[1].tables) == ([6], 2)


def test_counts_that_leave_out_tables_say_nothing_of_all(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, tables=("user",), multis=MULTI)
    write_ckpt_info(tmp_path / "ckpt.info-1", CkptInfo({}, {"a": 3, "b": 2}))
    assert (entries(tmp_path, contents=True), steps(tmp_path)[1].tables) == ([None], 3)
    write_ckpt_info(tmp_path / "ckpt.info-1", CkptInfo({1: 4}, {"a": 3, "b": 2}))
    assert entries(tmp_path) == [9]
    write_ckpt_info(tmp_path / "ckpt.info-1", CkptInfo({1: 4}, {}))
    assert entries(tmp_path) == [None]


def test_inputs_and_pins(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, inputs=(0, 1, 2))
    for path in tmp_path.glob("input_worker_1.ckpt-1*"):
        path.unlink()
    (tmp_path / "monolith_checkpoint").write_text(
        'exempt_model_checkpoint_paths: "/old/place/model.ckpt-1"\n'
    )
    for worker in (2, 7):  # its states are gone
        (tmp_path / f"checkpoint_input_worker_{worker}").touch()
    found = steps(tmp_path)
    assert [(each.workers_with_input, each.workers) for each in found.values()] == [(2, 4), (3, 4)]
    assert [each.is_pinned for each in found.values()] == [True, False]


def test_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 10, 20)
    monkeypatch.setattr("time.time", lambda: step_support.START + 15)
    assert [each.age_seconds for each in steps(tmp_path).values()] == [5, 0]


def test_small_files_that_are_damaged(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    (tmp_path / "ckpt.info-1").write_text("slot_counts {")
    (tmp_path / "monolith_checkpoint").write_text("exempt_model_checkpoint_paths: 3")
    listing = list_steps(survey(tmp_path))
    assert [each.entries for each in listing.steps] == [None, None]
    assert [error.kind for error in listing.problems] == ["bad_state_file"] * 2


def test_contents_files_that_are_damaged(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, tables=(), multis=MULTI)
    with (tmp_path / "model.ckpt-1.assets/M.meta-00000-of-00002").open("r+b") as file:
        file.seek(12)
        file.write(b"\xff")
    listing = list_steps(survey(tmp_path), contents=True)
    assert [each.entries for each in listing.steps] == [None]
    assert [error.kind for error in listing.problems] == ["bad_data_crc"]
