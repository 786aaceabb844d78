"""What a stream can show, and what stderr says when."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pexpect
import pytest
from cli_support import environment
from dump_support import write_model_dir

from monolith_cli.reports.model import Report, Section, Text, Title
from monolith_cli.reports.terminal import Messages, Progress, look_of, show_report


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_pipe_has_80_columns_and_no_colours() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert look_of(stream) == (80, False, True)
    assert look_of(io.TextIOWrapper(io.BytesIO(), encoding="latin-1")).unicode is False


def test_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert look_of(Terminal()) == (120, True, True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert look_of(Terminal()).colour is False
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert look_of(Terminal()).colour is False


def test_messages(capsys: pytest.CaptureFixture[str]) -> None:
    messages = Messages()
    messages.warnings("a\nb", None)
    messages.notes("c")
    messages.took("d")
    assert capsys.readouterr() == ("", "Warning: a\\nb\nNote: c\n")
    Messages(verbose=True).took("done")
    assert re.fullmatch(r"Note: done in [0-9]\.[0-9]{2} s\n", capsys.readouterr().err)
    quiet = Messages(quiet=True, verbose=True)
    quiet.warnings("a")
    quiet.notes("b")
    quiet.took("c")
    assert capsys.readouterr().err == ""


def test_no_progress_bar_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("counting", delay_seconds=0) as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("delay_seconds=0", True),
        ("delay_seconds=60", False),
        ("delay_seconds=0, quiet=True", False),
        ("delay_seconds=0, rows=True", False),
        ("delay_seconds=0, unit='entries'", True),
    ],
)
def test_progress_bar_on_a_terminal(tmp_path: Path, arguments: str, shown: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from monolith_cli.reports.terminal import Progress\n"
        f"with Progress('counting', {arguments}) as progress:\n"
        "    for done in range(5):\n"
        "        progress(done << 20, 5 << 20)\n"
        "        time.sleep(0.05)\n"
        "print('rich' in sys.modules)\n"
    )
    child = pexpect.spawn(sys.executable, [str(script)], encoding="utf-8", timeout=20)
    output = child.read()
    assert ("counting" in output) == shown
    assert f"{shown}" in output
    assert ("/5,242,880 entries" in output) == ("entries" in arguments)


COMMANDS = {
    "counting": "ckpt-info --dry-run {model} > /dev/null",
    "reading": "table ls {model} > /dev/null",
    "looking": "table get {model} 1 > /dev/null",
    "dumping": "table dump {model} > /dev/null",
    "writing": "sample --entries 5000 {model}/sample > /dev/null",
}


@pytest.mark.parametrize("label", COMMANDS)
@pytest.mark.parametrize("delay_seconds", [0, 60])
def test_progress_bar_of_a_command(tmp_path: Path, label: str, delay_seconds: int) -> None:
    assert (label in on_a_terminal(tmp_path, COMMANDS[label], delay_seconds)) == (not delay_seconds)


def test_no_progress_bar_among_rows(tmp_path: Path) -> None:
    output = on_a_terminal(tmp_path, "table dump --columns fid {model}", 0)
    assert '{"fid":' in output
    assert "dumping" not in output


def on_a_terminal(tmp_path: Path, command: str, delay_seconds: int) -> str:
    """What a command shows on a terminal, when work may take so long without a bar."""
    model = tmp_path / "model"
    write_model_dir(model)
    script = tmp_path / "monolith.py"
    script.write_text(
        "from monolith_cli.cli import main\n"
        "from monolith_cli.reports.terminal import Progress\n"
        f"Progress.__init__.__kwdefaults__['delay_seconds'] = {delay_seconds}\n"
        "raise SystemExit(main())\n"
    )
    line = f"{sys.executable} {script} {command.format(model=model)}"
    child = pexpect.spawn("bash", ["-c", line], encoding="utf-8", timeout=20, env=environment())
    output: str = child.read()
    child.close()
    assert child.exitstatus in (0, 1)  # there is no feature id 1
    return output


class Numbers(Report):
    """A report that tells which of its faces were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def sections(self) -> list[Section]:
        self.asked.append("sections")
        return [[Title("two", " of them")], [Text("1, 2")]]

    def document(self) -> list[dict[str, int]]:
        self.asked.append("document")
        return [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("options", "face", "out"),
    [
        ({}, "sections", "two of them\n\n1, 2\n"),
        ({"json": True}, "document", '[{"n": 1}, {"n": 2}]\n'),
        ({"json": True, "rows": True}, "document", '{"n": 1}\n{"n": 2}\n'),
    ],
)
def test_only_the_face_that_is_shown_is_made(
    capsys: pytest.CaptureFixture[str], options: dict[str, bool], face: str, out: str
) -> None:
    report = Numbers()
    show_report(report, **options)
    assert (report.asked, capsys.readouterr().out) == ([face], out)
