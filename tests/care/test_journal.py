"""The journal of a command that moves or removes steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from monolith_cli.care.journal import begin, check_mine, finish, pick_up, read_journal
from monolith_cli.checkpoint.claim import Claim, check_journal
from monolith_cli.errors import DirectoryInUseError, StateFileError
from monolith_cli.storage import machine

COMMAND = ["monolith", "ckpt", "prune", "--yes", "a model"]
PLAN = {"steps": [1, 2], "names": ["not\udcfftext"]}


def by(path: Path, **changes: object) -> None:
    """Let the journal be of another process."""
    said = json.loads(path.read_text())
    said["by"] |= {"id": "another", **changes}
    path.write_text(json.dumps(said))


def test_what_is_written(tmp_path: Path) -> None:
    assert read_journal(tmp_path) is None
    journal = begin(tmp_path, "prune", COMMAND, PLAN)
    said = json.loads((tmp_path / ".monolith-journal.json").read_text())
    assert sorted(said) == ["at", "by", "command", "kind", "plan", "version"]
    assert (said["version"], said["kind"], said["command"]) == (1, "prune", COMMAND)
    assert read_journal(tmp_path) == journal
    assert journal.plan == PLAN
    check_mine(tmp_path, journal)
    finish(tmp_path, journal)
    assert list(tmp_path.iterdir()) == []
    finish(tmp_path, journal)


def test_a_chief_names_the_command(tmp_path: Path) -> None:
    begin(tmp_path, "rollback", COMMAND, {})
    with pytest.raises(DirectoryInUseError) as caught:
        check_journal(str(tmp_path))
    assert caught.value.hint == (
        "run it again, which finishes it: monolith ckpt prune --yes 'a model'"
    )


def test_there_is_one(tmp_path: Path) -> None:
    begin(tmp_path, "prune", COMMAND, {})
    with pytest.raises(DirectoryInUseError) as caught:
        begin(tmp_path, "rollback", ["another"], {})
    assert caught.value.kind == "unfinished_command"
    with pytest.raises(DirectoryInUseError, match="was cut off here"):
        pick_up(tmp_path, "undo")


def test_the_same_kind_goes_on(tmp_path: Path) -> None:
    assert pick_up(tmp_path, "prune") is None
    first = begin(tmp_path, "prune", COMMAND, PLAN)
    second = pick_up(tmp_path, "prune")
    assert second is not None
    assert (second.plan, second.command, second.at) == (first.plan, first.command, first.at)
    check_mine(tmp_path, second)
    with pytest.raises(DirectoryInUseError, match="another command goes on with it"):
        check_mine(tmp_path, first)
    finish(tmp_path, first)  # no longer its own
    assert read_journal(tmp_path) == second
    finish(tmp_path, second)
    with pytest.raises(DirectoryInUseError, match="has finished it"):
        check_mine(tmp_path, second)


@pytest.mark.skipif(machine.boot_id() is None, reason="the system does not say which boot it is")
def test_while_the_other_process_lives(tmp_path: Path) -> None:
    begin(tmp_path, "prune", COMMAND, PLAN)
    code = "import sys; from monolith_cli.checkpoint.claim import Claim\n"
    code += "import json; print(json.dumps(Claim.of_this_process()._asdict()), flush=True)\n"
    code += "sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        by(tmp_path / ".monolith-journal.json", **json.loads(process.stdout.readline()))
        with pytest.raises(
            DirectoryInUseError, match=f"is still being done: process {process.pid} "
        ):
            pick_up(tmp_path, "prune")
        for look in (check_journal, lambda path: begin(path, "undo", COMMAND, PLAN)):
            with pytest.raises(
                DirectoryInUseError, match=f"still being done: process {process.pid} "
            ):
                look(str(tmp_path))
        process.stdin.close()
    assert pick_up(tmp_path, "prune") is not None


def test_a_process_that_cannot_be_known(tmp_path: Path) -> None:
    begin(tmp_path, "cp", COMMAND, PLAN)
    by(tmp_path / ".monolith-journal.json", boot_id="another", host="elsewhere", pid=1)
    assert pick_up(tmp_path, "cp") is not None


def test_beside_a_job(tmp_path: Path) -> None:
    """A chief would stop at the journal of others, and not at this one."""
    journal = begin(tmp_path, "unlisted", COMMAND, PLAN)
    check_journal(str(tmp_path))
    assert read_journal(tmp_path) is None
    assert read_journal(tmp_path, beside_job=True) == journal
    assert pick_up(tmp_path, "prune") is None
    taken = pick_up(tmp_path, "unlisted")
    assert taken is not None
    check_mine(tmp_path, taken)
    finish(tmp_path, taken)
    assert list(tmp_path.iterdir()) == []


def claim() -> dict[str, object]:
    return Claim.of_this_process()._asdict()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{",
        json.dumps({"version": 1, "kind": "prune", "command": [], "at": 1, "plan": {}}),
        json.dumps(
            {"version": 1, "kind": "odd", "command": [], "at": 1, "plan": {}, "by": claim()}
        ),
        json.dumps(
            {"version": 2, "kind": "prune", "command": [], "at": 1, "plan": {}, "by": claim()}
        ),
        json.dumps(
            {"version": 1, "kind": "prune", "command": [], "at": 1, "plan": [], "by": claim()}
        ),
        json.dumps(
            {"version": 1, "kind": "prune", "command": "x", "at": 1, "plan": {}, "by": claim()}
        ),
    ],
)
def test_a_malformed_journal(tmp_path: Path, text: str) -> None:
    (tmp_path / ".monolith-journal.json").write_text(text)
    with pytest.raises(StateFileError, match="not the journal of a command"):
        read_journal(tmp_path)
    with pytest.raises(StateFileError):
        pick_up(tmp_path, "prune")
    assert (tmp_path / ".monolith-journal.json").exists()
