"""Counts of many steps: their order, what was not counted, and conditions on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from step_support import START, commit, remove_step, save_step, save_steps

from monolith_cli.care.conditions import check_all, parse_condition
from monolith_cli.care.history import History, read_history
from monolith_cli.errors import (
    NotMeasuredError,
    PathNotFoundError,
    StateFileError,
    TableNotFoundError,
)
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info


def count(
    model: Path, step: int, slots: dict[int, int], tables: dict[str, int] | None = None
) -> None:
    path = model / f"ckpt.info-{step}"
    write_ckpt_info(path, CkptInfo(slots, tables or {}))
    os.utime(path, (START + step, START + step))


def steps(found: History) -> list[int]:
    return [step.step for step in found.steps]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Five steps were counted, and two of them are left."""
    save_steps(tmp_path, 40, 50)
    for step in (10, 20, 30, 40, 50):
        count(tmp_path, step, {1: step, 2: 100 - step})
    return tmp_path


def holds(found: History, text: str) -> bool:
    ((_, held, problem),) = check_all([parse_condition(text)], found)
    if problem is not None:
        raise problem
    return bool(held)


def test_counts_outlive_their_steps(model: Path) -> None:
    found = read_history(model)
    assert steps(found) == [10, 20, 30, 40, 50]
    assert found.latest == 50
    assert [step.entries for step in found.steps] == [100] * 5
    assert [step.time for step in found.steps] == [START + n for n in (10, 20, 30, 40, 50)]
    assert found.steps[0].slot_counts == {1: 10, 2: 90}


def test_numbers_may_go_down(model: Path) -> None:
    for step in (1, 2):
        save_step(model, step)
        count(model, step, {1: 5})
        for name in (f"ckpt.info-{step}", f"model.ckpt-{step}.index"):
            os.utime(model / name, (START + 100 + step, START + 100 + step))
    for step in (40, 50):
        remove_step(model, step)
    commit(model, 1, 2, times=False)
    assert steps(read_history(model)) == [10, 20, 30, 40, 50, 1, 2]


def test_a_step_that_was_counted_anew_keeps_its_place(model: Path) -> None:
    os.utime(model / "ckpt.info-20", (START + 1000, START + 1000))
    assert steps(read_history(model)) == [10, 20, 30, 40, 50]


def test_a_save_that_is_running_has_no_counts_yet(model: Path) -> None:
    (model / "model.ckpt-60.assets").mkdir()
    count(model, 60, {1: 60})
    (model / ".ckpt.info-70.12.0123456789abcdef.tmp").touch()
    assert steps(read_history(model)) == [10, 20, 30, 40, 50]


def test_an_empty_file_says_that_nobody_counted(model: Path) -> None:
    (model / "ckpt.info-40").write_bytes(b"")
    found = read_history(model)
    assert [step.entries for step in found.steps] == [100, 100, 100, None, 100]
    assert holds(found, "change(slot[1].entries) eq 20")  # against step 30
    (model / "ckpt.info-50").write_bytes(b"\n")
    with pytest.raises(NotMeasuredError, match="step 50 was not counted: its"):
        holds(read_history(model), "entries gt 0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entries eq 100", True),
        ("slot[*].entries gt 50", False),
        ("change(slot[*].entries) gt 20%", True),
        ("change(slot[*].entries) gt 25%", False),
        ("change(slot[2].entries) lt -16%", True),
        ("change(entries) ne 0", False),
        ("slot[7].entries eq 0", True),
    ],
)
def test_conditions_are_about_the_latest_step(model: Path, text: str, expected: bool) -> None:
    assert holds(read_history(model), text) is expected


@pytest.mark.parametrize("text", ["nan gt 0", "table[*].entries gt 0", "dense[*].bytes gt 0"])
def test_what_is_not_counted_is_not_known(model: Path, text: str) -> None:
    with pytest.raises(NotMeasuredError):
        holds(read_history(model), text)


def test_conditions_without_counts(model: Path) -> None:
    (model / "ckpt.info-50").unlink()
    with pytest.raises(NotMeasuredError, match="step 50 was not counted: it has"):
        holds(read_history(model), "entries gt 0")
    for path in model.glob("ckpt.info-*"):
        path.unlink()
    with pytest.raises(NotMeasuredError, match="no step was counted"):
        holds(read_history(model), "entries gt 0")
    count(model, 50, {1: 1})
    with pytest.raises(NotMeasuredError, match="no step before the latest was counted"):
        holds(read_history(model), "change(entries) gt 0")


def test_the_latest_is_what_checkpoint_names(model: Path) -> None:
    commit(model, 40, 50, latest=40)
    assert holds(read_history(model), "slot[1].entries eq 40")
    assert holds(read_history(model), "change(slot[1].entries) eq 10")


def test_what_comes_after_the_latest_is_told_apart(model: Path) -> None:
    assert read_history(model).later == []
    count(model, 99, {1: 7})
    found = read_history(model)
    assert steps(found) == [10, 20, 30, 40, 50, 99]
    assert found.later == [99]
    assert [step.step for step in found.counted] == [10, 20, 30, 40, 50]
    (model / "ckpt.info-50").unlink()
    found = read_history(model)
    assert found.later == [99]
    assert [step.step for step in found.counted] == [10, 20, 30, 40]
    commit(model, 40, 50, latest=40)
    assert read_history(model).later == [99]


def test_a_damaged_file_does_not_hide_the_others(model: Path) -> None:
    (model / "ckpt.info-20").write_text("slot_counts { key: x }")
    (model / "ckpt.info-30").unlink()
    (model / "ckpt.info-30").mkdir()
    found = read_history(model)
    assert steps(found) == [10, 40, 50]
    assert [error.kind for error in found.problems] == ["bad_state_file"]


def test_tables_and_servers(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    count(tmp_path, 1, {}, {"user_0": 1, "user_1": 2, "item": 3})
    count(tmp_path, 2, {}, {"user_0": 1, "user_1": 5, "new": 1})
    found = read_history(tmp_path, merge_servers=True)
    assert [step.feature_counts for step in found.steps] == [
        {"user": 3, "item": 3},
        {"user": 6, "new": 1},
    ]
    assert holds(found, "change(table[user].entries) eq 100%")
    assert holds(found, "change(table[*].entries) eq -3")
    picked = found.pick(patterns=["u*"])
    assert [step.feature_counts for step in picked.steps] == [{"user": 3}, {"user": 6}]
    with pytest.raises(TableNotFoundError):
        found.pick(patterns=["user_0"])


def test_slots_are_picked(model: Path) -> None:
    picked = read_history(model).pick(slots=[(2, 5), (9, 9)])
    assert [step.slot_counts for step in picked.steps][-2:] == [{2: 60}, {2: 50}]


def test_what_has_no_history(model: Path) -> None:
    with pytest.raises(PathNotFoundError, match="no model directory of a job"):
        read_history(model / "model.ckpt-50.assets")
    (model / "checkpoint").write_text("x")
    with pytest.raises(StateFileError):
        read_history(model)
