"""What tests of the library for trainers begin with: TensorFlow, a graph, a module of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_support import ADDRESS, TOKEN
from save_support import no_thread_is_left
from tf_support import tensorflow


@pytest.fixture
def tf() -> Iterator[Any]:
    """TensorFlow, with a new graph as the default."""
    with tensorflow().Graph().as_default():
        yield tensorflow()


@pytest.fixture
def threads_end() -> Iterator[None]:
    """No thread that a test has started outlives it."""
    tensorflow()
    with no_thread_is_left():
        yield


@pytest.fixture
def job_ends(threads_end: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A job that can be reached leaves neither threads nor files behind; no token is set."""
    for name in ("MONOLITH_CONTROLLER_TOKEN", "MONOLITH_CONTROLLER_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert not (tmp_path / ADDRESS).exists()
    assert not (tmp_path / TOKEN).exists()


@pytest.fixture(scope="session")
def ops() -> Any:
    tensorflow()
    from monolith_cli.training import barrier_ops

    return barrier_ops


@pytest.fixture(scope="session")
def hooks() -> Any:
    tensorflow()
    from monolith_cli.training import ckpt_hooks

    return ckpt_hooks


@pytest.fixture(scope="session")
def save() -> Any:
    tensorflow()
    from monolith_cli.training import save_utils

    return save_utils


@pytest.fixture(scope="session")
def fingerprint() -> Any:
    tensorflow()
    from monolith_cli.training import fingerprint

    return fingerprint


@pytest.fixture
def four_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: part-0 to part-3, of 100 to 400 bytes."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        Path(f"part-{i}").write_bytes(bytes(100 * (i + 1)))
    return tmp_path
