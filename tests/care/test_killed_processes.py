"""The same commands as processes, which a kill -9 ends; also in the middle of what a store does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kept_support import write_kept
from kill_cases import CASES, Place
from killing import KILLED, count_changes, killed_after, killed_at

KILLS = 3


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kept(tmp_path_factory.mktemp("kept") / "model")


@pytest.mark.parametrize("name", CASES)
def test_a_killed_process_is_finished_by_the_next_run(
    name: str, kept: Path, tmp_path: Path
) -> None:
    place = Place(CASES[name], kept, tmp_path)
    place.prepare()
    changes, seconds, ended = count_changes(tmp_path, *place.words)
    assert ended.returncode == 0, ended
    place.assert_finished()
    chance = random.Random(name)
    for change in chance.sample(range(1, changes + 1), min(KILLS, changes)):
        place.prepare()
        assert killed_at(change, *place.words).returncode == KILLED
        place.check()
        place.finish()
    place.prepare()
    killed_after(chance.uniform(0, seconds), *place.words)
    place.check()
    place.finish()
