"""Completion in real shells: what is typed, a tab and Enter; and what a program is given then.

Each shell runs in a terminal, with a `monolith` in its PATH that completes as the installed one
does, and otherwise only leaves its arguments in a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from cli_support import MONOLITH, environment
from dump_support import write_model_dir

SECONDS = 60
NAMES = (
    "user a",
    "user:b",
    "it's",
    'q"uote',
    "$HOME",
    "comma,a",
    "new\nline",
    "bad\udcff",
    "excl!",
    "back\\slash",
    "star*",
    "#hash",
    "~tilde",
    "(all)&;|<>",
    "[x]{y}",
    "`tick`",
    "ctl\x01",
    "café",
)
PROGRAM = """#!/bin/sh
if [ -n "$_MONOLITH_COMPLETE" ]; then exec "{monolith}" "$@"; fi
for argument; do printf '%s\\0' "$argument"; done > "{home}/given.part"
mv "{home}/given.part" "{home}/given"
"""
BASHRC = r"""
PS1='ready\#> '
bind 'set enable-bracketed-paste off'
eval "$(_MONOLITH_COMPLETE=bash_source monolith)"
"""
ZSHRC = """
PS1='ready%i> '
autoload -Uz compinit && compinit -u -D
eval "$(_MONOLITH_COMPLETE=zsh_source monolith)"
"""
CONFIG_FISH = """
set -g fish_greeting
set -g fish_autosuggestion_enabled 0
function count_prompts --on-event fish_prompt; set -g prompts $prompts x; end
function fish_prompt; echo -n ready(count $prompts)'> '; end
_MONOLITH_COMPLETE=fish_source monolith | source
"""
START = {
    "bash": ["--noprofile", "--rcfile", ".bashrc", "-i"],
    "zsh": ["-d", "-i"],
    "fish": ["-i"],
}


class Shell:
    """A shell at its prompt, in a directory with a model."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        variables = {
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home),
            "XDG_DATA_HOME": str(home),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
        }
        self.environment = environment(**variables)
        self._child = pexpect.spawn(
            name,
            START[name],
            cwd=str(home),
            env=self.environment,
            encoding="utf-8",
            codec_errors="surrogateescape",
            dimensions=(40, 160),
            timeout=SECONDS,
        )
        self._prompts = -1
        self._wait_for_prompt()

    def given(self, typed: str, after: str = "") -> list[str]:
        """What a program gets of the line that is completed; `after` is behind the cursor."""
        file = self.home / "given"
        file.unlink(missing_ok=True)
        back = "\x02" * len(after)  # Ctrl-B: a character to the left
        self._child.send(f"{typed}{after}{back}\t\r")
        end = time.monotonic() + SECONDS
        while not file.exists():
            assert time.monotonic() < end, self._child.before
            time.sleep(0.01)
        self._wait_for_prompt()
        return os.fsdecode(file.read_bytes()).split("\0")[:-1]

    def _wait_for_prompt(self) -> None:
        """Read up to a prompt that was not there before: a shell may paint one several times."""
        number = self._prompts
        while number == self._prompts:
            self._child.expect(r"ready(\d+)> ")
            number = int(self._child.match[1])
        self._prompts = number

    def close(self) -> None:
        self._child.close(force=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    (path / "bin").mkdir()
    program = path / "bin" / "monolith"
    program.write_text(PROGRAM.format(monolith=MONOLITH, home=path))
    program.chmod(0o755)
    (path / ".bashrc").write_text(BASHRC)
    (path / ".zshrc").write_text(ZSHRC)
    (path / "fish").mkdir()
    (path / "fish" / "config.fish").write_text(CONFIG_FISH)
    model = path / "my model"
    write_model_dir(model, singles={name: [b""] for name in NAMES}, shards=1)
    (model / "ckpt.info-300").write_text("slot_counts { key: 35 value: 2 }\n")
    (model / "input_worker_12.ckpt-300.index").write_bytes(b"")
    (path / "m").symlink_to(model)
    return path


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, home: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not there")
    started = Shell(request.param, home)
    yield started
    started.close()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (r"user\ ", "user a"),
        ("'user ", "user a"),
        ('"user ', "user a"),
        ("user:", "user:b"),
        ('"user:', "user:b"),
        ("it", "it's"),
        ("'it", "it's"),
        ('"it', "it's"),
        ("q", 'q"uote'),
        ('"q', 'q"uote'),
        (r"\$", "$HOME"),
        ("'$", "$HOME"),
        ("comm", "comma,a"),
        ("comma,", "comma,a"),
        ("new", "new\nline"),
        ("'new", "new\nline"),
        ("bad", "bad\udcff"),
        ("exc", "excl!"),
        ('"exc', "excl!"),
        ("back", "back\\slash"),
        (r"back\\", "back\\slash"),
        ("star", "star*"),
        (r"\#", "#hash"),
        (r"\~", "~tilde"),
        (r"\(", "(all)&;|<>"),
        (r"\[", "[x]{y}"),
        (r"\`", "`tick`"),
        ("ctl", "ctl\x01"),
        ("caf", "café"),
    ],
)
def test_names_arrive_as_they_are(shell: Shell, typed: str, name: str) -> None:
    given = shell.given(f"monolith table dump m --table {typed}")
    assert given == ["table", "dump", "m", "--table", name]


def test_with_an_equals_sign(shell: Shell) -> None:
    assert shell.given("monolith table ls m --table=user:")[-1] == "--table=user:b"
    assert shell.given("monolith table ls m --table='user ")[-1] == "--table=user a"
    assert shell.given("monolith table get --fids-from=bin/mono")[-1] == "--fids-from=bin/monolith"


def test_values_of_other_options(shell: Shell) -> None:
    assert shell.given("monolith ckpt-info m --step 3")[-1] == "300"
    assert shell.given("monolith ckpt-info m --slot ")[-1] == "35"
    assert shell.given("monolith ckpt-info m --slot 3,3")[-1] == "3,35"
    assert shell.given("monolith iterator show m --worker ")[-1] == "12"
    assert shell.given("monolith table dump m --columns fid,em")[-1] == "fid,embedding"


def test_commands_and_options(shell: Shell) -> None:
    assert shell.given("monolith tab") == ["table"]
    assert shell.given("monolith table dump --col") == ["table", "dump", "--columns"]


def test_directories(shell: Shell, home: Path) -> None:
    given = shell.given("monolith table ls my")[-1]
    assert given.rstrip("/") == "my model"
    assert shell.given("monolith table ls 'my model' --table user:")[-1] == "user:b"
    assert shell.given("monolith table ls ~/m --table user:")[2:] == [
        f"{home}/m",
        "--table",
        "user:b",
    ]
    assert shell.given("monolith table ls $HOME/m --table user:")[-1] == "user:b"


def test_behind_the_cursor(shell: Shell) -> None:
    if shell.name == "fish":
        pytest.skip("fish does not say what is behind the cursor")
    given = shell.given("monolith table ls --table user:", " m")
    assert [word for word in given if word] == ["table", "ls", "--table", "user:b", "m"]


def test_beside_other_commands(shell: Shell) -> None:
    assert shell.given("true; monolith table ls m --table user:")[-1] == "user:b"
    assert shell.given("echo a | monolith table ls m --table user:")[-1] == "user:b"
    assert shell.given("./bin/monolith table ls m --table user:")[-1] == "user:b"
    assert shell.given("~/bin/monolith table ls m --table user:")[-1] == "user:b"


def test_a_wrong_directory_leaves_the_line(shell: Shell) -> None:
    assert shell.given("monolith table ls nowhere --table us")[-1] == "us"


def test_fish_has_descriptions_to_their_ends(shell: Shell) -> None:
    if shell.name != "fish":
        pytest.skip("others show none, or in columns")
    script = "_MONOLITH_COMPLETE=fish_source monolith | source; complete -C 'monolith iterator '"
    done = subprocess.run(
        ["fish", "-c", script],
        env=shell.environment,
        cwd=shell.home,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(line.split("\t") for line in done.stdout.splitlines())
    what = "List the workers of a job, and how far behind the model each one's input is."
    assert lines["ls"] == what
