"""examples/train.py as a user meets it: all processes by one command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tf_support import tensorflow

import monolith_cli

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "train.py"
SMALL = ["--records", "600", "--save-steps", "25"]


def environment() -> dict[str, str]:
    package = Path(monolith_cli.__file__ or "").parents[1]
    return dict(os.environ, PYTHONPATH=str(package), PYTHONUNBUFFERED="1")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=environment(),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    tensorflow()
    model = tmp_path_factory.mktemp("example") / "model"
    result = run(model, *SMALL)
    assert result.returncode == 0, result.stderr + result.stdout
    assert result.stderr == ""
    return model, result.stdout


def test_the_output_is_what_a_user_wants_to_know(trained: tuple[Path, str]) -> None:
    model, said = trained
    lines = said.splitlines()
    assert lines[:3] == [
        f"Writing 600 records to {model}/input.",
        "Starting anew.",
        f"Started ps_0, chief_0, worker_0, worker_1; what they say is in {model}/log.",
    ]
    assert all(line.startswith("Step ") and line.endswith(" is saved.") for line in lines[3:-1])
    assert lines[-1] == "The job has ended; step 150 is the last."


def test_what_the_processes_say_and_consume(trained: tuple[Path, str]) -> None:
    model, _ = trained
    consumed = [f"input_{worker}.jsonl" for worker in range(3)]
    said = [f"{name}.log" for name in ("input_0", "ps_0", "chief_0", "worker_0", "worker_1")]
    assert {path.name for path in (model / "log").iterdir()} == {*consumed, *said}
    assert "Worker 2 is in run" in (model / "log" / "worker_1.log").read_text()


def test_started_again_it_has_nothing_left_to_do(trained: tuple[Path, str]) -> None:
    model, _ = trained
    before = (model / "checkpoint").read_bytes()
    result = run(model, *SMALL)
    assert result.returncode == 0
    assert "Going on from step 150.\n" in result.stdout
    assert result.stdout.endswith("The job has ended; step 150 is the last.\n")
    assert (model / "checkpoint").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{file}"], "MODEL_DIR: Not a directory"),
        (["{file}/model"], "MODEL_DIR: Not a directory"),
        (["{new}", "--workers", "0"], "must be at least 1"),
        (["{new}", "--input", "{empty}"], "--input: no part-*.tfrecord in"),
    ],
)
def test_what_cannot_be(tmp_path: Path, arguments: list[str], said: str) -> None:
    places = {"file": tmp_path / "file", "new": tmp_path / "new", "empty": tmp_path / "empty"}
    places["file"].touch()
    places["empty"].mkdir()
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def processes_of(model: Path) -> list[int]:
    """The processes that have a directory in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if str(model) in (entry / "cmdline").read_text().split("\0"):
                found.append(int(entry.name))
    return found


@pytest.fixture
def launched(trained: tuple[Path, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A launcher whose processes have been started, on input that is there."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("there is no /proc")
    given = [*SMALL, "--input", str(trained[0] / "input")]
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), str(tmp_path / "model"), *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as launcher:
        try:
            assert launcher.stdout is not None
            while not launcher.stdout.readline().startswith("Started"):
                assert launcher.poll() is None
            # One that has just been started may have no command line yet.
            end = time.monotonic() + 10
            while len(processes_of(tmp_path / "model")) != 5:
                assert time.monotonic() < end
                time.sleep(0.01)
            yield launcher
        finally:
            launcher.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_it_ends_at_once_and_leaves_no_process(
    launched: subprocess.Popen[str], tmp_path: Path, number: int, code: int
) -> None:
    began = time.monotonic()
    launched.send_signal(number)
    assert launched.wait(10) == code
    assert launched.stderr is not None
    assert launched.stderr.read() == ""
    # Those whose launcher cannot tell them notice it by themselves.
    while processes_of(tmp_path / "model"):
        assert time.monotonic() - began < (10 if number == signal.SIGKILL else 2)
        time.sleep(0.05)


def test_a_process_that_dies_ends_the_job(launched: subprocess.Popen[str], tmp_path: Path) -> None:
    [worker] = [
        pid
        for pid in processes_of(tmp_path / "model")
        if b'"type": "worker", "index": 1' in Path(f"/proc/{pid}/environ").read_bytes()
    ]
    os.kill(worker, signal.SIGKILL)
    assert launched.wait(10) == 1
    assert launched.stderr is not None
    log = tmp_path / "model" / "log" / "worker_1.log"
    assert launched.stderr.read() == f"worker_1 has ended with -9: see {log}\n"
    assert not processes_of(tmp_path / "model")
