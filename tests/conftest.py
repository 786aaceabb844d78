"""Jobs to try clients and commands on, an environment in which nobody has set anything, and what
`make test` needs to run tests in several processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fake_jobs import OriginalJob, OurJob

TESTS = Path(__file__).parent

# Files with jobs of several processes, which are killed and time each other: one after the other,
# all in one process of xdist. They take long, so they begin first.
JOBS = [
    "training/test_chaos.py",
    "training/test_job_ends.py",
    "training/test_train_example.py",
    "training/test_running_job.py",
    "training/test_job_trouble.py",
    "training/test_iterator_job.py",
    "training/test_moving_over.py",
    "training/test_barrier_processes.py",
    "training/test_session_config.py",
    "test_job_scripts.py",
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one process a logical processor, and two at least: many tests wait for others."""
    is_known = hasattr(os, "sched_getaffinity")
    return max(2, len(os.sched_getaffinity(0)) if is_known else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file share what takes long to start, so each process gets whole files."""
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "jobs" if file.removeprefix("tests/") in JOBS else file

    config.option.loadscopereorder = False  # by their numbers of tests, which say little
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {TESTS / name: rank for rank, name in enumerate(JOBS)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any variable that the commands know."""
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def ann(no_variables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is ann@box who does not say otherwise, and no other variable is set."""
    monkeypatch.setenv("MONOLITH_OWNER", "ann@box")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[OurJob]:
    """A job of ours that saves into `tmp_path`."""
    from fake_jobs import OurJob, serving

    made = OurJob(tmp_path)
    with serving(made):
        yield made


@pytest.fixture
def original(tmp_path: Path) -> Iterator[OriginalJob]:
    """The same, of the original service."""
    from fake_jobs import OriginalJob, serving

    made = OriginalJob(tmp_path)
    with serving(made):
        yield made
