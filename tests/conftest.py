"""Jobs to try clients and commands on, an environment in which nobody has set anything, and what
`make test` needs to run tests in several processes.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fake_jobs import OriginalJob, OurJob

TESTS = Path(__file__).parent

# Files with jobs of several processes, which are killed and time each other. They mostly wait, and
# take long, so they begin first; but in half of xdist's workers at most, as long as there are other
# files to run: two jobs at once on two processors take longer than some of them wait.
JOBS = [
    "training/test_chaos.py",
    "training/test_job_ends.py",
    "training/test_running_job.py",
    "training/test_train_example.py",
    "training/test_job_trouble.py",
    "training/test_iterator_job.py",
    "training/test_care_job.py",
    "training/test_moving_over.py",
    "training/test_barrier_processes.py",
    "training/test_session_config.py",
    "test_job_scripts.py",
]


MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30
"""Many tests write small files again and again, for which some disks take milliseconds each. Where
there is no such directory, or less room, they go where pytest puts them; PYTEST_DEBUG_TEMPROOT and
--basetemp say otherwise.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one process a logical processor, and two at least: many tests wait for others."""
    is_known = hasattr(os, "sched_getaffinity")
    return max(2, len(os.sched_getaffinity(0)) if is_known else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file share what takes long to start, so each worker gets whole files."""
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0]

        def _assign_work_unit(self, node: Any) -> None:
            """Give a worker the first file that is left, or the first without a job."""
            with_a_job = sum(
                any(_has_a_job(file) and not all(tests.values()) for file, tests in files.items())
                for other, files in self.assigned_work.items()
                if other is not node
            )
            if with_a_job >= max(1, len(self.nodes) // 2):
                for file in self.workqueue:
                    if not _has_a_job(file):
                        self.workqueue.move_to_end(file, last=False)
                        break
            super()._assign_work_unit(node)

    config.option.loadscopereorder = False  # by their numbers of tests, which say little
    return WholeFiles(config, log)


def _has_a_job(file: str) -> bool:
    return file.removeprefix("tests/") in JOBS


def pytest_configure() -> None:
    """Whatever tests write goes into memory; an example that takes long says only that the machine
    is busy.
    """
    from hypothesis import settings

    if has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    settings.register_profile("tests", deadline=None)
    settings.load_profile("tests")


def has_room(directory: Path) -> bool:
    """Whether tests can write there, and run programs that they have written."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    can_run = not found.f_flag & getattr(os, "ST_NOEXEC", 0)
    is_free = found.f_bavail * found.f_frsize >= MEMORY_BYTES
    return can_run and is_free and os.access(directory, os.W_OK | os.X_OK)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without the collector of garbage, which finds none: whatever is made here stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


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
