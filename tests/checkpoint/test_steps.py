"""The order of steps is that of `checkpoint`, and of times; numbers may go down."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.steps import comes_later, order_of_steps, recorded_checkpoints
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state


@pytest.mark.parametrize(
    ("listed", "unlisted", "latest", "order"),
    [
        ([(10, 1.0), (20, 2.0)], {}, 20, [10, 20]),
        # A run that started over: 100 and 200 came before 5.
        ([(100, 1.0), (200, 2.0), (5, 3.0)], {}, 5, [100, 200, 5]),
        # One a day is kept unlisted.
        ([(30, 3.0), (40, 4.0)], {10: 1.0, 20: 2.0}, 40, [10, 20, 30, 40]),
        ([(5, 30.0), (10, 40.0)], {100: 1.0, 200: 2.0}, 10, [100, 200, 5, 10]),
        # A copy has the times of the copying: numbers tell.
        ([(30, 3.0), (40, 4.0)], {35: 90.0, 10: 91.0}, 40, [10, 30, 35, 40]),
        # TensorFlow 1 writes no times.
        ([(30, None), (40, None)], {10: 1.0}, 40, [10, 30, 40]),
        # Equal times: numbers tell.
        ([], {7: 1.0, 3: 1.0, 1: 2.0}, None, [3, 7, 1]),
        # What was gone back to is named, and not the last of the list.
        ([(10, 1.0), (20, 2.0), (30, 3.0)], {}, 10, [10, 20, 30]),
        # It may be named alone: by its time, in a copy or without a time by its number.
        ([(10, 1.0), (20, 2.0), (40, 4.0)], {30: 3.0}, 30, [10, 20, 30, 40]),
        ([(10, 1.0), (20, 2.0), (40, 4.0)], {30: 90.0, 35: 91.0}, 30, [10, 20, 30, 35, 40]),
        ([(10, 1.0), (20, 2.0), (40, 4.0)], {30: math.inf}, 30, [10, 20, 30, 40]),
        ([(10, 1.0), (20, 2.0)], {30: 3.0, 15: 1.5}, 30, [10, 15, 20, 30]),
        ([(100, 1.0), (200, 2.0)], {5: 0.5}, 5, [5, 100, 200]),
    ],
)
def test_order(
    listed: list[tuple[int, float | None]],
    unlisted: dict[int, float],
    latest: int | None,
    order: list[int],
) -> None:
    assert order_of_steps(listed, unlisted, latest) == order


@given(
    st.lists(st.integers(0, 50), unique=True, max_size=6),
    st.dictionaries(st.integers(51, 90), st.floats(0, 100), max_size=6),
    st.data(),
)
def test_the_order_of_the_list_is_kept(
    listed: list[int], unlisted: dict[int, float], data: st.DataObject
) -> None:
    times = [data.draw(st.none() | st.floats(0, 100)) for _ in listed]
    latest = data.draw(st.sampled_from(listed)) if listed else None
    order = order_of_steps(list(zip(listed, times, strict=True)), unlisted, latest)
    assert [step for step in order if step in listed] == listed
    assert sorted(order) == sorted([*listed, *unlisted])


def test_who_comes_later() -> None:
    assert comes_later(30, 9.0, 20, 5.0)
    assert comes_later(30, None, 20, 5.0)
    assert not comes_later(30, 4.0, 20, 5.0)  # of a run before, which went further
    assert not comes_later(10, 9.0, 20, 5.0)  # a copy


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("model.ckpt-20", "model.ckpt-20"),
        ("/a/b/model.ckpt-20", "model.ckpt-20"),
        ("model.ckpt-20.index", "model.ckpt-20"),
        ("C:\\jobs\\model\\model.ckpt-20", "model.ckpt-20"),
        ("jobs\\model.ckpt-20.data-00000-of-00001", "model.ckpt-20"),
        ("odd\\name.ckpt-20", "odd\\name.ckpt-20"),
        ("a.index-20", "a.index-20"),
    ],
)
def test_the_name_that_a_path_means(path: str, name: str) -> None:
    names = ["model.ckpt-20.index", "odd\\name.ckpt-20.index", "a.index-20.index"]
    (only,) = recorded_checkpoints(CheckpointState(path), names)
    assert (only.path, only.name, only.step) == (path, name, 20)
    assert only.is_listed


def test_a_latest_that_is_named_alone() -> None:
    state = CheckpointState("model.ckpt-2", ("model.ckpt-1", "model.ckpt-3"), (1.0, 3.0))
    assert [(each.step, each.time, each.is_listed) for each in recorded_checkpoints(state)] == [
        (1, 1.0, True),
        (3, 3.0, True),
        (2, None, False),
    ]


def save(directory: Path, step: int, at: float) -> None:
    for suffix in (".data-00000-of-00001", ".index"):
        file = directory / f"model.ckpt-{step}{suffix}"
        file.touch()
        os.utime(file, (at, at))


def test_a_run_that_started_over(tmp_path: Path) -> None:
    """It counts from 1 again; the steps of the run before are older, and still there."""
    for step, at in ((100, 1000.0), (200, 2000.0), (5, 3000.0), (10, 4000.0), (15, 5000.0)):
        save(tmp_path, step, at)
    state = CheckpointState("model.ckpt-10", ("model.ckpt-5", "model.ckpt-10"), (3000.0, 4000.0))
    (tmp_path / "checkpoint").write_text(format_checkpoint_state(state))
    model = open_model_dir(tmp_path)
    assert model.steps() == [100, 200, 5, 10]
    assert model.checkpoint().step == 10
    assert model.checkpoint(200).step == 200
    assert model.offer().withheld == {
        15: "step 15 is not committed: it is being written, or was given up"
    }


def test_without_a_list_times_tell_and_that_is_said(tmp_path: Path) -> None:
    save(tmp_path, 200, 1000.0)
    save(tmp_path, 5, 2000.0)
    model = open_model_dir(tmp_path)
    assert model.steps() == [200, 5]
    assert model.checkpoint().notes == [
        "no 'checkpoint' file: step 5 is taken as the latest, because its index is the newest;"
        " there is also a step 200"
    ]
