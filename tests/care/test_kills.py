"""Commands that move, remove and write steps, disturbed at each change that they make.

A few changes of each by default; KILLS=0 in the environment takes all, another number so many.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dying_store import each_death, each_failure, each_hook
from forked import command
from kept_support import LATER, assert_sound, commit_another, files_of, write_kept
from kill_cases import CASES, Place

MOST = int(os.environ.get("KILLS", "4"))
IN_PLACE = [name for name, case in CASES.items() if not case.makes_new]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kept(tmp_path_factory.mktemp("kept") / "model")


@pytest.fixture(scope="module")
def places(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Place]:
    """The place of each case, made once: every try begins anew there."""

    @functools.cache
    def place_of(name: str) -> Place:
        return Place(CASES[name], kept, tmp_path_factory.mktemp(name))

    return place_of


@pytest.fixture
def place(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    return places(request.param)


@pytest.mark.parametrize("place", CASES, indirect=True)
def test_killed_it_is_finished_by_the_next_run(place: Place) -> None:
    for _ in each_death(place.prepare, place.run, most=MOST):
        place.check()
        place.finish()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("place", CASES, indirect=True)
def test_where_the_disk_refuses(place: Place, error: int) -> None:
    for tried in each_failure(place.prepare, place.run, error, most=(MOST + 1) // 2):
        place.check()
        if tried.result.code == 0:
            place.assert_finished()
        else:
            assert tried.result.code == 3, tried
            assert tried.result.err.splitlines()[-1].startswith("Error: ")
            assert os.strerror(error) in tried.result.err
            place.finish()


@pytest.mark.parametrize("place", IN_PLACE, indirect=True)
def test_where_another_job_begins_in_the_middle(place: Place) -> None:
    """One of the original, which knows of no journal: what it commits is there, and listed."""
    saved: dict[str, bytes] = {}

    def begin() -> None:
        commit_another(place.directory)
        saved.update(files_of(place.directory, LATER))

    for tried in each_hook(place.prepare, place.run, begin, most=MOST):
        assert tried.result.code in (0, 5), tried
        place.check()
        assert files_of(place.directory, LATER) == saved
        assert LATER in assert_sound(place.directory)


@pytest.mark.parametrize("place", IN_PLACE, indirect=True)
def test_two_at_once(place: Place) -> None:
    """The second one does it all, or is refused while the first one does."""
    ends = []
    for tried in each_hook(
        place.prepare, place.run, lambda: ends.append(command(*place.words)), most=(MOST + 1) // 2
    ):
        codes = {ends[-1].returncode, tried.result.code}
        assert 0 in codes, (ends[-1], tried)
        assert codes <= {0, 1, 3, 5}, (ends[-1], tried)
        place.check()
        place.assert_finished()


@pytest.mark.parametrize("place", IN_PLACE, indirect=True)
def test_where_another_one_takes_it_over(place: Place) -> None:
    """The first one lives, but cannot be known to, as from another host."""
    for tried in each_hook(place.prepare, place.run, place.run, most=MOST):
        assert tried.result.code in (0, 1, 3, 5), tried
        place.check()
        place.assert_finished()
