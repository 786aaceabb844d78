"""How a run ends: codes, messages, signals, pipes; and what the root group knows."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pexpect
import pytest
from cli_support import MONOLITH, monolith
from dump_support import write_model_dir
from fake_commands import argv, run_fake

import monolith_cli
from monolith_cli.cli import COMMANDS, cli, run


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


# --- the root -------------------------------------------------------------------------------


def test_version() -> None:
    done = monolith("--version")
    assert (done.returncode, done.stdout) == (0, f"monolith {monolith_cli.__version__}\n")


def test_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{monolith_cli.__version__}"\n' in project


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str) -> None:
    done = monolith(flag, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    for name, entry in COMMANDS.items():
        if " " not in name:
            assert re.search(rf"^  {name} +{re.escape(entry.help)}$", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_nothing_asked_for() -> None:
    done = monolith()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: monolith")


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monolith_cli", "--version"],
        check=False,
        capture_output=True,
        cwd="/",
    )
    assert done.stdout == f"monolith {monolith_cli.__version__}\n".encode()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ckpt-inf"], "No such command 'ckpt-inf' (did you mean 'ckpt-info'?); see"),
        (["frobnicate"], "No such command 'frobnicate'; see 'monolith --help'"),
        (["ckpt-info"], "Missing argument 'MODEL_DIR'; see 'monolith ckpt-info --help'"),
        (["ckpt-info", "--jobs", "0", "x"], "Invalid value for '--jobs': 0 is not in the range"),
        (["ckpt-info", "--frob", "x"], "--frob"),
        (["--frob"], "--frob"),
    ],
)
def test_usage_errors_are_one_line(args: list[str], message: str) -> None:
    done = monolith(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [["--json", "--frob", "x"], ["--frob", "--json", "x"], ["--json"], ["--jobs=0", "--json"]],
)
def test_usage_errors_under_json(args: list[str]) -> None:
    done = monolith("ckpt-info", *args)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert done.returncode == 2
    assert (error["code"], error["kind"]) == (2, "usage")
    assert list(error) == ["code", "kind", "message", "file", "offset"]


def test_completion_knows_the_commands_without_importing_them() -> None:
    done = monolith("monolith ckpt", "", "ckpt", _MONOLITH_COMPLETE="bash_complete")
    assert (done.returncode, done.stdout) == (0, "values\nckpt-info\nckpt\n")


# --- the table of commands ------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_table_of_commands(name: str) -> None:
    context = click.Context(cli)
    command: click.Command | None = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
    assert command is not None
    first_line = (command.help or "").strip().partition("\n")[0]
    assert first_line == COMMANDS[name].help
    assert command.name == name.rpartition(" ")[2]


# --- errors ---------------------------------------------------------------------------------


def test_library_error() -> None:
    done = run_fake("corrupt")
    assert (done.returncode, done.stdout) == (4, "a row\n")
    assert done.stderr == "Error: t-00000-of-00001: bad checksum, at byte 12; restore it\n"


def test_library_error_under_json() -> None:
    done = run_fake("corrupt", "--json")
    line, document = done.stderr.splitlines()
    assert line == "Error: t-00000-of-00001: bad checksum, at byte 12; restore it"
    assert json.loads(document) == {
        "error": {
            "code": 4,
            "kind": "corrupt",
            "message": "t-00000-of-00001: bad checksum, at byte 12; restore it",
            "file": "t-00000-of-00001",
            "offset": 12,
        }
    }


def test_json_from_the_environment() -> None:
    done = run_fake("corrupt", env=os.environ | {"MONOLITH_CORRUPT_JSON": "1"})
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == 4


@pytest.mark.parametrize("args", [["--debug", "corrupt"], ["corrupt", "--debug"]])
def test_debug_shows_the_traceback(args: list[str]) -> None:
    done = run_fake(*args)
    assert done.returncode == 4
    assert done.stderr.startswith("Traceback ")
    assert done.stderr.endswith("at byte 12; restore it\n")


def test_debug_from_the_environment() -> None:
    done = run_fake("corrupt", env=os.environ | {"MONOLITH_DEBUG": "1"})
    assert done.stderr.startswith("Traceback ")


def test_a_bug() -> None:
    done = run_fake("bug")
    assert done.returncode == 70
    assert done.stderr == (
        "Error: internal error: ZeroDivisionError: division by zero;"
        " run it again with --debug and report it\n"
    )
    assert "Traceback" in run_fake("bug", "--debug").stderr


def test_run_returns_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert run(["frobnicate"]) == 2
    assert capsys.readouterr().err.startswith("Error: No such command")


# --- pipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["rows", "one-row"])
def test_closed_pipe(command: str) -> None:
    # `true` reads nothing; a short output fails only when it is flushed at the end.
    script = f"set -o pipefail; {{ sleep 0.2; {shlex.join(argv(command))}; }} | true"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "")


def test_head_of_a_pipe() -> None:
    script = f"set -o pipefail; {shlex.join(argv('rows'))} | head -1"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (141, "x" * 100 + "\n", "")


def test_closed_pipe_of_both_streams() -> None:
    script = f"set -o pipefail; {{ sleep 0.2; {shlex.join(argv('corrupt'))} 2>&1; }} | true"
    assert subprocess.run(["bash", "-c", script], check=False).returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", ["rows", "one-row"])
def test_full_disk_below_stdout(command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run_fake(command, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert done.stderr == (
        "Error: standard output: No space left on device; what was written is incomplete\n"
    )


CLOSED = [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """Nothing that was to be printed is lost unsaid; what prints nothing does not care."""
    model = tmp_path / "model"
    write_model_dir(model)
    lost = re.search(r"(?<!2)>&-", closed) is not None
    monolith = str(MONOLITH)
    for command, code in [
        (argv("one-row"), 141 if lost else 0),
        (argv("corrupt"), 141 if lost else 4),
        (argv("bug"), 70),
        (argv("write", str(tmp_path / "file")), 0),
        ([monolith, "--version"], 141 if lost else 0),
        ([monolith, "table", "dump", "--help"], 141 if lost else 0),
        ([monolith, "ckpt-info", str(model)], 141 if lost else 0),
        ([monolith, "ckpt-info", "--dry-run", "--json", str(model)], 141 if lost else 0),
        ([monolith, "ckpt", "show", str(model)], 141 if lost else 4),
        ([monolith, "table", "ls", str(model)], 141 if lost else 0),
        ([monolith, "table", "dump", str(model)], 141 if lost else 0),
        ([monolith, "table", "dump", "--format", "tfrecord", str(model)], 141 if lost else 0),
        ([monolith, "table", "dump", "--fid", "77", str(model)], 0),
        ([monolith, "table", "ls", str(tmp_path / "gone")], 3),
    ]:
        script = f"{shlex.join(command)} {closed}"
        done = subprocess.run(
            ["bash", "-c", script], check=False, capture_output=True, text=True, errors="replace"
        )
        assert done.returncode == code, script
        assert "Traceback" not in done.stderr
    assert (tmp_path / "file").stat().st_size == 1 << 20
    assert (model / "ckpt.info-300").exists()


def test_file_size_limit(tmp_path: Path) -> None:
    script = f"ulimit -f 8; {shlex.join(argv('write', str(tmp_path / 'file')))}"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert "file: not written: File too large" in done.stderr
    assert names(tmp_path) == []


# --- signals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signum", "code", "kind"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_signals_clean_up(tmp_path: Path, signum: int, code: int, kind: str) -> None:
    process = subprocess.Popen(
        argv("hang", "--json", str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert names(tmp_path) == [".busy.tmp"]
    os.killpg(process.pid, signum)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert names(tmp_path) == []
    line, document = stderr.splitlines()
    assert line == f"Error: {kind}"
    assert json.loads(document)["error"]["code"] == code


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    script = f"trap '' TERM; exec {shlex.join(argv('hang', str(tmp_path)))}"
    process = subprocess.Popen(
        ["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
    finally:
        process.kill()
        process.communicate()


def test_control_c_on_a_terminal(tmp_path: Path) -> None:
    first, *rest = argv("hang", str(tmp_path))
    child = pexpect.spawn(first, rest, encoding="utf-8", timeout=20)
    child.expect("ready")
    child.sendintr()
    child.expect("Error: interrupted")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


# --- the public names -----------------------------------------------------------------------


def test_public_names() -> None:
    for name in monolith_cli.__all__:
        assert getattr(monolith_cli, name) is not None
    assert set(monolith_cli.__all__) <= set(dir(monolith_cli))
    with pytest.raises(AttributeError, match="has no attribute 'frobnicate'"):
        monolith_cli.frobnicate  # noqa: B018  # reading it is the test
