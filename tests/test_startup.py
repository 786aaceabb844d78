"""What a start imports. Timings belong to the benchmarks; a set of modules does not flicker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dump_support import write_model_dir
from fake_jobs import OurJob, serving
from iterator_support import write_job
from step_support import save_steps

from monolith_cli.care.fsck import CheckOptions, check

HEAVY = {
    "asyncio",
    "google.protobuf",
    "grpc",
    "importlib.metadata",
    "numpy",
    "rich",
    "tensorflow",
}

COMPLETE = """
import os
os.environ["_MONOLITH_COMPLETE"] = "bash_complete"
from monolith_cli.cli import main; assert main() == 0
"""


def imported(code: str, *args: str) -> set[str]:
    """The modules that a fresh interpreter has imported after running `code`."""
    script = f"""
import sys
{code}
print(*sorted(sys.modules), file=sys.stderr)
"""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MONOLITH_")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, *args],
        check=False,
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def run(*args: str) -> set[str]:
    return imported("from monolith_cli.cli import main; assert main() == 0", *args)


def test_the_package_alone() -> None:
    before = imported("pass")
    added = imported("import monolith_cli") - before - {"__future__", "typing"}
    mine = {name for name in added if name.startswith("monolith_cli")}
    assert mine == {"monolith_cli"}
    assert "click" not in added


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["table", "--help"]])
def test_help_imports_no_command(args: list[str]) -> None:
    modules = run(*args)
    assert not modules & HEAVY
    commands = {name for name in modules if name.startswith("monolith_cli.commands.")}
    assert commands == {f"monolith_cli.commands.{each}" for each in ("base", "options", "types")}
    assert not any(name.startswith("monolith_cli.formats") for name in modules)


def test_completion_of_commands_reads_the_table_alone() -> None:
    modules = imported(COMPLETE, "monolith table ", "", "")
    assert not modules & HEAVY
    commands = {name for name in modules if name.startswith("monolith_cli.commands.")}
    own = ("base", "options", "types", "completion", "completion_scripts", "shell_words")
    assert commands == {f"monolith_cli.commands.{each}" for each in own}
    assert not any(
        name.startswith(("monolith_cli.formats", "monolith_cli.tab")) for name in modules
    )


def test_completion_from_a_directory(tmp_path: Path) -> None:
    write_model_dir(tmp_path / "model")
    for option in ("--table", "--step", "--slot"):
        modules = imported(COMPLETE, f"monolith ckpt-info {tmp_path}/model {option} ", "", "")
        assert not modules & (HEAVY | {"dataclasses", "pathlib", "tempfile"})


def test_help_of_a_command_imports_no_library() -> None:
    modules = run("ckpt-info", "--help")
    assert not modules & HEAVY
    libraries = ("checkpoint", "formats", "reports", "tables", "_native")
    assert not [
        name for name in modules if name.startswith(tuple(f"monolith_cli.{x}" for x in libraries))
    ]


def test_counting_a_small_directory(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model_dir(model, hash_filters=1)
    modules = run("ckpt-info", "--json", "--dry-run", str(model))
    assert not modules & HEAVY
    assert not modules & {"dataclasses", "pathlib", "tempfile", "concurrent.futures"}
    for command in (["ckpt-info", "--dry-run"], ["table", "ls"], ["table", "dump"]):
        assert not run(*command, str(model)) & HEAVY


def test_looking_at_inputs(tmp_path: Path) -> None:
    write_job(tmp_path / "model", {1: [10]}, 10)
    for command in ("ls", "show"):
        modules = run("iterator", command, str(tmp_path / "model"))
        assert not modules & (HEAVY | {"dataclasses", "pathlib", "tempfile", "zlib"})


def test_looking_at_steps(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    check(tmp_path, 2, CheckOptions(record=True))
    prune = ["prune", "--keep-last", "1", "-n"]
    for command in (["ls"], ["history"], ["latest", "--complete"], ["wait", "--step", "1"], prune):
        modules = run("ckpt", *command, str(tmp_path))
        assert not modules & (HEAVY | {"dataclasses", "pathlib", "tempfile", "concurrent.futures"})
    for command in (["metrics"], ["report", "--no-stats", "-o", "-"]):
        assert not run("ckpt", *command, str(tmp_path)) & HEAVY


def test_looking_at_a_job(tmp_path: Path) -> None:
    with serving(OurJob(tmp_path)):
        for command in (["barrier", "status"], ["job", "status", "--json"]):
            assert run(*command, str(tmp_path)) & HEAVY <= {"grpc", "google.protobuf", "asyncio"}


@pytest.mark.parametrize("command", [["barrier", "status"], ["barrier", "hold"], ["job", "save"]])
def test_help_of_commands_for_jobs_imports_no_grpc(command: list[str]) -> None:
    assert not run(*command, "--help") & HEAVY
