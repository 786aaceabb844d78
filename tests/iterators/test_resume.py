"""Which state of a worker's input is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from iterator_support import write_job, write_states

from monolith_cli.errors import PathNotFoundError, StepNotFoundError, UsageError
from monolith_cli.iterators.resume import SavedInput, find_input, read_iterators
from monolith_cli.iterators.rollback import roll_back


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_job(tmp_path / "model", {1: [10, 20, 30], 2: [10]}, 10, 20)


def prefix(model: Path, worker: int, step: int) -> str:
    return str(model / f"input_worker_{worker}.ckpt-{step}")


def test_where_the_job_goes_on(model: Path) -> None:
    # 30 is of a save that has not been committed.
    assert find_input(model, 1) == SavedInput(1, 20, prefix(model, 1, 20))
    older = find_input(model, 2)
    assert older == SavedInput(2, 10, prefix(model, 2, 10), instead_of=20)
    assert older.note == (
        "there is no state of worker 2's input at step 20: this is the one of step 10"
    )
    roll_back(model, 10, workers=[1])
    assert find_input(model, 1).step == 10
    assert find_input(model, 1).note is None


def test_without_a_model_the_latest(tmp_path: Path) -> None:
    write_states(tmp_path / "input_worker_0.ckpt-5", it=1)
    write_states(tmp_path / "input_worker_0.ckpt-7", it=1)
    assert find_input(tmp_path, None) == SavedInput(0, 7, prefix(tmp_path, 0, 7))


def test_a_step(model: Path) -> None:
    assert find_input(model, 1, 30).prefix == prefix(model, 1, 30)
    with pytest.raises(StepNotFoundError) as caught:
        find_input(model, 1, 15)
    assert str(caught.value) == (
        f"{model}: no state of worker 1's input at step 15; there are those of steps 10, 20, 30"
    )


def test_only_newer_ones(model: Path) -> None:
    for step in (10, 20):
        Path(prefix(model, 1, step) + ".index").unlink()
    with pytest.raises(
        StepNotFoundError, match="no state of worker 1's input at step 20 or before"
    ):
        find_input(model, 1)


def test_workers(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"which worker\? There are 1, 2"):
        find_input(model, None)
    with pytest.raises(StepNotFoundError, match=r"no states of worker 0's input; .*workers 1, 2"):
        find_input(model, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StepNotFoundError):
        find_input(tmp_path / "empty", None)
    with pytest.raises(PathNotFoundError):
        find_input(tmp_path / "absent", 1)


def test_a_file(model: Path, tmp_path: Path) -> None:
    path = prefix(model, 1, 20)
    assert find_input(path, None) == find_input(path + ".index", None) == SavedInput(1, 20, path)
    with pytest.raises(UsageError, match="a file has no other workers or steps"):
        find_input(path, 1)
    write_states(tmp_path / "notebook", it=1)
    assert find_input(tmp_path / "notebook", None) == SavedInput(
        None, None, str(tmp_path / "notebook")
    )


def test_names_of_iterators(tmp_path: Path) -> None:
    write_states(tmp_path / "states", IteratorV2=1, OneShotIterator=2)
    assert read_iterators(str(tmp_path / "states")) == {
        "IteratorV2:0": "IteratorV2:0_STATE",
        "OneShotIterator:0": "OneShotIterator:0_STATE",
    }
