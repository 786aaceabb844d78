"""The same commands as processes, which a kill -9 ends; also in the middle of what a store does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kept_support import write_kept
from kill_cases import CASES, Place
from killing import KILLED, count_changes, killed_after, killed_at

NAMES = ("prune", "pin-unlisted", "rollback", "undo", "cp", "rewrite", "export")
"""`make chaos` has all cases, and more kills."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kept(tmp_path_factory.mktemp("kept") / "model")


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_is_finished_by_the_next_run(
    name: str, kept: Path, tmp_path: Path
) -> None:
    place = Place(CASES[name], kept, tmp_path)
    place.prepare()
    changes, seconds, ended = count_changes(tmp_path, *place.words)
    assert ended.returncode == 0, ended
    place.assert_finished()
    chance = random.Random(name)
    place.prepare()
    assert killed_at(chance.randint(1, changes), *place.words).returncode == KILLED
    place.check()
    place.finish()
    place.prepare()
    killed_after(chance.uniform(0, seconds), *place.words)
    place.check()
    place.finish()
