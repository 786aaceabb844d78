"""`monolith ckpt cp`: what it shows, how it ends, and that it goes on where it was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import call, environment, failed
from repair_support import bytes_of, scribble
from step_support import save_steps

from monolith_cli.checkpoint.names import COPIED, JOURNAL


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_steps(tmp_path / "model", 1, 2, tables=("user_0",), manifest=True, inputs=(0,))


def test_what_it_shows(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    done = call("ckpt", "cp", "--all", model, target)
    assert (done.code, done.err) == (0, "")
    title, head, first, second, verdict = filter(None, done.out.splitlines())
    assert title == f"{target}, from {model}"
    assert head.split() == ["step", "files", "size", "written", "linked", "listed"]
    assert first.split()[:2] == ["1", "copied"]
    assert first.split()[-2:] == ["0", "yes"]
    assert second.split()[0] == "2"
    assert verdict.endswith("written, read back and compared; the latest step is 2")
    again = call("ckpt", "cp", "--all", "--quiet-for", 0, model, target)
    assert again.code == 0
    assert "there, the same" in again.out
    same = call("ckpt", "cp", "--verify-only", "--all", model, target)
    assert same.out.splitlines()[-1].startswith("the same: 2 steps, ")


def test_json(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    done = call("ckpt", "cp", "--json", "--link", f"{model}@1", target)
    assert done.code == 0
    (step,) = done.document["steps"]
    assert done.document == {
        "source": str(model),
        "to": str(target),
        "dry_run": False,
        "verify_only": False,
        "resumed": False,
        "latest": 1,
        "steps": [step],
    }
    assert (step["step"], step["state"], step["listed"], step["error"]) == (
        1,
        "copied",
        True,
        None,
    )
    assert step["sent_files"] + step["linked_files"] == step["files"]


def test_the_step_behind_the_directory(model: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(model, tmp_path / "model@3")
    for place, step in ((f"{model}@1", 1), (f"{model}@latest", 2), (odd, 2), (f"{odd}@1", 1)):
        target = tmp_path / "copy"
        assert call("ckpt", "cp", place, target).code == 0
        assert call("ckpt", "latest", target).out == f"{step}\n"
        shutil.rmtree(target)
    assert "no such directory" in failed(call("ckpt", "cp", f"{model}@x", tmp_path / "copy"), 3)
    assert "no step 9" in failed(call("ckpt", "cp", f"{model}@9", tmp_path / "copy"), 3)


def test_the_latest_step_stays_and_it_says_so(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 10, tables=("user_0",))
    done = call("ckpt", "cp", "--quiet-for", 0, model, target)
    assert done.code == 0
    assert done.err == "Note: the latest step there is 10, not 2: --as-latest changes that\n"
    done = call("ckpt", "cp", "--quiet-for", 0, "--as-latest", model, target)
    assert (done.code, done.err) == (0, "")
    assert call("ckpt", "latest", target).out == "2\n"


def test_a_step_that_did_not_come_is_not_made_the_latest(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 1, 10, tables=("user_0",), entries=9)
    for more in ([], ["--as-latest"]):
        done = call("ckpt", "cp", "--quiet-for", 0, *more, f"{model}@1", target)
        assert done.code == 1
        assert "--as-latest" not in done.err


def test_an_empty_name(model: Path, tmp_path: Path) -> None:
    assert "SRC is empty" in failed(call("ckpt", "cp", "", tmp_path / "copy"), 2)
    assert "DST is empty" in failed(call("ckpt", "cp", model, ""), 2)


def test_a_dry_run(model: Path, tmp_path: Path) -> None:
    done = call("ckpt", "cp", "-n", model, tmp_path / "copy")
    assert done.code == 0
    assert "to copy" in done.out
    assert done.out.splitlines()[-1].endswith(" to write; the latest step is then 2")
    assert not (tmp_path / "copy").exists()


def test_how_it_ends(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    assert call("ckpt", "cp", model, target).code == 0
    assert call("ckpt", "cp", f"{model}@1", target).code == 0
    (target / "model.ckpt-2.index").touch()
    line = failed(call("ckpt", "cp", model, target), 5)
    assert "a job may save here" in line
    assert "--quiet-for 0" in line
    done = call("ckpt", "cp", "-n", model, target)
    assert done.code == 0
    assert done.err.startswith("Note: not now: a job may save here: ")
    scribble(target / "model.ckpt-2.assets" / "user_0-00000-of-00002", 20)
    for more in (["--quiet-for", 0], ["--verify-only"]):
        done = call("ckpt", "cp", *more, model, target)
        assert done.code == 1
        assert "has another step 2: model.ckpt-2.assets/user_0-00000-of-00002" in done.err
    shard = model / "model.ckpt-1.assets" / "user_0-00000-of-00002"
    shard.unlink()
    done = call("ckpt", "cp", "--all", model, tmp_path / "more")
    assert done.code == 4
    assert "not whole" in done.out
    assert "user_0-00000-of-00002: missing" in done.err
    assert call("ckpt", "latest", tmp_path / "more").out == "2\n"
    assert "lies in" in failed(call("ckpt", "cp", model, model / "in"), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--all", "{model}@1"],
        ["--verify-only", "--link", "{model}"],
        ["-n", "--verify-only", "{model}"],
    ],
)
def test_what_makes_no_sense(model: Path, tmp_path: Path, arguments: list[str]) -> None:
    words = [word.format(model=model) for word in arguments]
    failed(call("ckpt", "cp", *words, tmp_path / "copy"), 2)


def test_what_overrules_a_guard_is_no_variable(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = save_steps(tmp_path / "other", 10, tables=("user_0",))
    (target / "model.ckpt-10.index").touch()
    monkeypatch.setenv("MONOLITH_CKPT_CP_QUIET_FOR", "0")
    failed(call("ckpt", "cp", model, target), 5)
    monkeypatch.setenv("MONOLITH_CKPT_CP_AS_LATEST", "1")
    assert call("ckpt", "cp", "--quiet-for", 0, model, target).code == 0
    assert call("ckpt", "latest", target).out == "10\n"


def test_other_file_systems_are_not_linked(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        if source.startswith(f"{model}/"):
            raise OSError(18, "Invalid cross-device link")
        link(source, target)

    link = os.link
    monkeypatch.setattr(os, "link", refuse)
    line = failed(call("ckpt", "cp", "--link", model, tmp_path / "copy"), 3)
    assert "not linked: Invalid cross-device link" in line
    assert line.endswith("leave out --link, and they are copied")
    assert not (tmp_path / "copy").exists()


DYING = """
import os, signal, sys
from monolith_cli import cli
from monolith_cli.storage.local import LocalStore

original = LocalStore.create
seen = 0

def create(store, location, **options):
    global seen
    seen += 1
    if seen == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(store, location, **options)

LocalStore.create = create
sys.exit(cli.run(sys.argv[2:]))
"""


@pytest.mark.parametrize("at", [1, 5, 9])
def test_killed_and_gone_on_with(model: Path, tmp_path: Path, at: int) -> None:
    target, whole = tmp_path / "copy", tmp_path / "whole"
    assert call("ckpt", "cp", "--all", model, whole).code == 0
    words = ["ckpt", "cp", "--all", "--jobs", "1", str(model), str(target)]
    (tmp_path / "dying.py").write_text(DYING)
    done = subprocess.run(
        [sys.executable, tmp_path / "dying.py", str(at), *words],
        check=False,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert (target / JOURNAL).exists()
    assert not (target / "checkpoint").exists()
    assert f"ckpt cp --all {model} {target}" in failed(call("ckpt", "cp", f"{model}@1", target), 5)
    again = call("ckpt", *words[1:])
    assert again.code == 0
    assert again.err.startswith(f"Note: {target}: what was begun from {model} and cut off")
    there, wanted = bytes_of(target), bytes_of(whole)
    state = "checkpoint_input_worker_0"
    assert there.pop(state).splitlines()[0] == wanted.pop(state).splitlines()[0]
    del there[COPIED], wanted[COPIED]
    assert there == wanted
