"""Which step is the newest, and waiting for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from step_support import commit, remove_step, save_step, save_steps

from monolith_cli.care import newest
from monolith_cli.care.newest import latest_step, newest_complete, wait_for_step
from monolith_cli.errors import PathNotFoundError, StepNotFoundError, TimedOutError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_steps(tmp_path / "model", 1, 2, 3)


@contextmanager
def meanwhile(do: Callable[[], object]) -> Iterator[None]:
    """Something that happens while the block waits."""
    thread = threading.Timer(0.3, do)
    thread.start()
    yield
    thread.join()


def test_the_latest_and_the_newest_that_is_complete(model: Path) -> None:
    assert (latest_step(model), newest_complete(model)) == (3, 3)
    (model / "model.ckpt-3.assets/user_0-00000-of-00002").unlink()
    assert (latest_step(model), newest_complete(model)) == (3, 2)
    commit(model, 1, 2, 3, latest=1)
    assert (latest_step(model), newest_complete(model)) == (1, 2)
    save_step(model, 9)  # not committed
    assert (latest_step(model), newest_complete(model)) == (1, 2)


def test_the_newest_by_the_order_of_steps(tmp_path: Path) -> None:
    for step in (100, 5):
        save_step(tmp_path, step)
    commit(tmp_path, 100, 5)
    assert newest_complete(tmp_path) == 5


def test_no_such_step(model: Path) -> None:
    for path in model.glob("model.ckpt-*.assets/user_0-00000*"):
        path.unlink()
    with pytest.raises(StepNotFoundError, match="no step is complete"):
        newest_complete(model)
    remove_step(model, 3)
    with pytest.raises(StepNotFoundError, match="whose files are gone"):
        latest_step(model)
    with pytest.raises(PathNotFoundError):
        latest_step(model / "nothing")


def test_what_is_there_is_not_waited_for(model: Path) -> None:
    assert wait_for_step(model, step=2, timeout_seconds=0) == 2
    assert wait_for_step(model, newer_than=1, timeout_seconds=0) == 3
    assert wait_for_step(model, newer_than=0, complete=True, timeout_seconds=0) == 3


def test_time_runs_out(model: Path) -> None:
    with pytest.raises(TimedOutError) as caught:
        wait_for_step(model, step=4, timeout_seconds=0.15)
    assert str(caught.value) == (
        f"{model}/checkpoint: step 4 is not committed in time: the newest is step 3"
    )
    with pytest.raises(TimedOutError, match="no step newer than 3 is complete in time"):
        wait_for_step(model, newer_than=3, complete=True, timeout_seconds=0)


def test_a_step_that_comes(model: Path) -> None:
    save_step(model, 4)
    with meanwhile(lambda: commit(model, 2, 3, 4)):
        assert wait_for_step(model, step=4, timeout_seconds=30) == 4


def test_the_next_step_may_have_a_lower_number(model: Path) -> None:
    save_step(model, 1000)
    commit(model, 2, 3, 1000)
    save_step(model, 7)
    with meanwhile(lambda: commit(model, 3, 1000, 7)):
        assert wait_for_step(model, newer_than=1000, timeout_seconds=30) == 7


def test_the_next_step_where_the_one_before_is_gone_by_then(model: Path) -> None:
    def go_on() -> None:
        save_step(model, 1)
        commit(model, 1)
        for step in (2, 3):
            remove_step(model, step)

    remove_step(model, 1)
    commit(model, 2, 3)
    with meanwhile(go_on):
        assert wait_for_step(model, newer_than=3, timeout_seconds=30) == 1


def test_the_first_step_of_a_job(tmp_path: Path) -> None:
    def begin() -> None:
        save_step(tmp_path, 1)
        commit(tmp_path, 1)

    with meanwhile(begin):
        assert wait_for_step(tmp_path, newer_than=0, timeout_seconds=30) == 1
    with pytest.raises(PathNotFoundError):
        wait_for_step(tmp_path / "nothing", step=1, timeout_seconds=30)


def test_a_step_is_not_taken_before_it_is_complete(model: Path) -> None:
    path = model / "model.ckpt-3.assets/user_0-00000-of-00002"
    data = path.read_bytes()
    path.unlink()
    assert wait_for_step(model, step=3, timeout_seconds=0) == 3
    with meanwhile(lambda: path.write_bytes(data)):
        assert wait_for_step(model, step=3, complete=True, timeout_seconds=30) == 3


def test_little_is_done_while_nothing_happens(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, slept = [], []
    clock = [time.monotonic()]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    real = newest._committed
    monkeypatch.setattr(newest, "_committed", lambda path: looks.append(1) or real(path))
    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with pytest.raises(TimedOutError):
        wait_for_step(model, step=4, timeout_seconds=60)
    assert len(looks) == 2
    assert slept[0] == 0.1
    assert max(slept) == 2
    assert len(slept) < 50
