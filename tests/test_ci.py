"""What `.ci/run` and `.ci/lowest` say where something cannot be tried. Nothing is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH on which nothing is but what scripts cannot do without."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("bash", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    return directory


def fake(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(script: Path, programs: Path) -> tuple[int, str]:
    done = subprocess.run(
        [programs / "bash", script],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(programs), "PYENV_ROOT": str(programs / "none")},
    )
    return done.returncode, done.stdout.splitlines()[-1] if done.stdout else done.stderr


def test_without_a_low_python_nothing_is_tried_aloud(programs: Path) -> None:
    code, line = run(CI / "lowest", programs)
    assert code == 77
    assert line.startswith("NOT TRIED: the lowest versions.")


def test_the_lowest_python_is_taken(programs: Path) -> None:
    for version in ("3.11", "3.10"):
        # It has its version, and fails when an environment is to be made with it.
        is_it, made = f"*\"'{version}'\"*) exit 0", f"venv) echo with {version}; exit 9"
        fake(programs / f"python{version}", f'case "$2" in {is_it} ;; {made} ;; esac; exit 1')
    for name in ("mktemp", "rm"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    assert run(CI / "lowest", programs) == (9, "with 3.10")


def test_ci_names_what_was_not_tried_in_its_last_line(tmp_path: Path, programs: Path) -> None:
    for name in ("make", "zsh", "fish", "chromium"):
        fake(programs / name, "exit 0")
    copy = tmp_path / ".ci"
    copy.mkdir()
    shutil.copy(CI / "run", copy / "run")
    fake(copy / "lowest", "exit 77")
    code, line = run(copy / "run", programs)
    assert code == 0
    assert line.endswith(", NOT TRIED: lowest")
    fake(copy / "lowest", "exit 0")
    code, line = run(copy / "run", programs)
    assert (code, "NOT TRIED" in line) == (0, False)


def test_ci_ends_with_the_code_of_what_failed(tmp_path: Path, programs: Path) -> None:
    for name in ("make", "zsh", "fish", "chromium"):
        fake(programs / name, "exit 0")
    copy = tmp_path / ".ci"
    copy.mkdir()
    shutil.copy(CI / "run", copy / "run")
    fake(copy / "lowest", "exit 5")
    code, line = run(copy / "run", programs)
    assert (code, line) == (5, "== lowest")


def test_the_lowest_versions_are_tried_with_every_room() -> None:
    tests = CI.parent / "tests"
    rooms = {path.parent.name for path in tests.glob("*/test_*.py")} - {"training"}
    named = re.findall(r"tests/\{([\w,]+)\}", (CI / "lowest").read_text(encoding="utf-8"))
    assert set(",".join(named).split(",")) == rooms
