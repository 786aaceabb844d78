"""Two jobs in one directory: one of them stops with an error, and deletes nothing."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forked import Program
from save_support import chief, names, steps
from tf_support import save_checkpoint, tensorflow

from monolith_cli.checkpoint import claim as claims
from monolith_cli.checkpoint.claim import Claim, raise_counter, read_claim, write_claim
from monolith_cli.checkpoint.inputs import StepInputs, write_step_inputs
from monolith_cli.errors import DirectoryInUseError
from monolith_cli.storage.local import LOCAL

SECONDS = 90


@pytest.fixture(autouse=True)
def _tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow()
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 3.0)


@contextmanager
def living_chief_elsewhere(directory: Path) -> Iterator[Claim]:
    """The claim of another host, whose counter moves."""
    directory.mkdir(exist_ok=True)
    claim = Claim.of_this_process()._replace(host="elsewhere", pid=12, boot_id="another")
    write_claim(str(directory), claim, overwrite=True)
    over = threading.Event()

    def beat() -> None:
        counter = 0
        while not over.wait(0.2):
            counter += 1
            raise_counter(str(directory), claim._replace(counter=counter), LOCAL.overwrite_in_place)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield claim
    finally:
        over.set()
        thread.join()


def content(directory: Path) -> dict[str, bytes]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths if path.name != "chief_claim"}


def test_a_second_chief_touches_nothing(tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(4)
    save_checkpoint(tmp_path, 6)  # that of the other, under way
    before = content(tmp_path)
    with (
        living_chief_elsewhere(tmp_path),
        pytest.raises(DirectoryInUseError, match="another chief saves here: process 12 on elsewh"),
        chief(tmp_path) as job,
    ):
        pytest.fail("it has begun")
    assert content(tmp_path) == before


def test_a_chief_that_has_ended_leaves_nothing_to_wait_for(tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        said = read_claim(str(tmp_path))
        assert said is not None
        assert said.pid == os.getpid()
        job.train()
    assert "chief_claim" not in os.listdir(tmp_path)
    begin = time.monotonic()
    with chief(tmp_path):
        pass
    assert time.monotonic() - begin < 2.5


def test_a_chief_of_another_host_that_has_died_is_waited_for(tmp_path: Path) -> None:
    dead = Claim.of_this_process()._replace(boot_id="another")
    write_claim(str(tmp_path), dead, overwrite=True)
    begin = time.monotonic()
    with chief(tmp_path) as job:
        assert time.monotonic() - begin >= 3  # once, not when it looks and when it takes
        assert time.monotonic() - begin < 5.9
        job.train(2)
    assert steps(tmp_path) == [2]


def test_a_session_that_recovers_keeps_the_directory(tmp_path: Path) -> None:
    tf = tensorflow()
    failures = [tf.errors.AbortedError(None, None, "lost")]

    class Fail(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
        def after_run(self, *_: Any) -> None:
            if job.at == 3 and failures:
                raise failures.pop()

    with chief(tmp_path, more_hooks=[Fail()]) as job:
        job.train(2)
        held = read_claim(str(tmp_path))
        job.train(2)
        again = read_claim(str(tmp_path))
        assert not failures
        assert held is not None
        assert again is not None
        assert again.id == held.id
    assert "chief_claim" not in os.listdir(tmp_path)


def test_the_counter_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training.run import chief_claim

    assert chief_claim._BEAT_SECONDS == 10
    monkeypatch.setattr(chief_claim, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(chief_claim, "_LOOK_SECONDS", 0.1)
    with chief(tmp_path):
        deadline = time.monotonic() + 20
        while (read_claim(str(tmp_path)) or Claim.of_this_process()).counter < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_claim_that_somebody_has_removed_is_written_again(tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        (tmp_path / "chief_claim").unlink()
        job.train(2)
        assert (tmp_path / "chief_claim").exists()


@pytest.mark.parametrize("asked", [False, True])
def test_one_that_was_replaced_stops_and_deletes_nothing(tmp_path: Path, asked: bool) -> None:
    before: dict[str, bytes] = {}
    results: list[Future[Any]] = []

    def go_on() -> None:
        with (
            ThreadPoolExecutor() as pool,
            chief(
                tmp_path,
                save_steps=1000 if asked else 2,
                ignore_save_errors=True,
                max_to_keep=1,
            ) as job,
        ):
            job.train(1)
            save_checkpoint(tmp_path, 1)  # of the other
            save_checkpoint(tmp_path, 9)
            write_claim(str(tmp_path), Claim.of_this_process(), overwrite=True)
            before.update(content(tmp_path))
            if asked:
                results.append(pool.submit(job.hook.trigger_save, job.session, True))
                while not job.hook._on_demand._requests._waiting:
                    time.sleep(0.01)
            job.train(4)
            pytest.fail("it has gone on")

    with pytest.raises(DirectoryInUseError, match="another chief has taken over here"):
        go_on()
    for result in results:
        with pytest.raises(DirectoryInUseError):
            result.result()
    after = content(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not any("ckpt-4" in name or "ckpt-3" in name for name in names(tmp_path))
    assert (tmp_path / "chief_claim").exists()  # the other's


def test_the_next_session_of_a_process_takes_over_at_once(tmp_path: Path) -> None:
    def go_on() -> None:
        with chief(tmp_path) as job:
            job.train(2)
            with chief(tmp_path) as later:
                later.train(4)
            job.train(2)

    with pytest.raises(DirectoryInUseError, match="another chief has been here since"):
        go_on()
    assert steps(tmp_path) == [2, 4, 6]


def test_a_command_that_was_cut_off(tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(2)
    before = content(tmp_path)
    journal = tmp_path / ".monolith-journal.json"
    journal.write_text('{"command": "monolith ckpt prune model --keep-last 1"}')
    with (
        pytest.raises(DirectoryInUseError, match="monolith ckpt prune model --keep-last 1"),
        chief(tmp_path),
    ):
        pytest.fail("it has begun")
    journal.unlink()
    assert content(tmp_path) == before


CHIEF = """
    import time
    from save_support import chief
    with chief({directory!r}, save_steps=1, max_to_keep=2) as job:
        while True:
            job.train()
            print(job.at, flush=True)
            time.sleep(0.2)
"""


@contextmanager
def chief_process(directory: Path) -> Iterator[Program]:
    """A chief that saves every step, after its first one."""
    with Program(textwrap.dedent(CHIEF.format(directory=str(directory)))) as process:
        assert process.stdout.readline() != "", process.communicate()[1]
        yield process


def test_a_chief_that_was_cut_off_and_comes_back(tmp_path: Path) -> None:
    with chief_process(tmp_path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with chief(tmp_path, save_steps=1, max_to_keep=2) as job:  # after its claim's time
            begun = job.at
            job.train(3)
            os.kill(process.pid, signal.SIGCONT)
            _, said = process.communicate(timeout=SECONDS)
            assert process.returncode == 1
            assert "another chief has taken over here" in said.splitlines()[-1]
            assert steps(tmp_path) == [begun + 2, begun + 3]
            job.train()
        assert steps(tmp_path) == [begun + 3, begun + 4]


def test_a_chief_of_this_host_that_was_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chief_process(tmp_path) as process:
        process.kill()
        process.wait()
    assert (tmp_path / "chief_claim").exists()
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 600)
    with chief(tmp_path, save_steps=1) as job:
        job.train()


def test_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two jobs that are started on one directory, as they are."""
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 30)
    with chief_process(tmp_path) as process:
        with (
            pytest.raises(DirectoryInUseError, match=f"process {process.pid} on "),
            chief(tmp_path, save_steps=1),
        ):
            pytest.fail("it has begun")
        assert process.poll() is None


def test_a_commit_of_another_run(tmp_path: Path) -> None:
    """As of a chief that does not look at claims; a step without a run is a stock saver's."""
    from monolith_cli.checkpoint.commits import CommittedSteps

    mine = CommittedSteps(tmp_path)
    mine.restart()
    for step, run_id in ((10, ""), (20, "theirs")):
        save_checkpoint(tmp_path, step)
        write_step_inputs(str(tmp_path), StepInputs(step, run_id, {}))
        before = sorted(os.listdir(tmp_path))
        if run_id:
            with pytest.raises(DirectoryInUseError, match="step 20 has been committed by another"):
                mine.clear_uncommitted()
            with pytest.raises(DirectoryInUseError, match="of run theirs"):
                mine.commit(12)
            assert sorted(os.listdir(tmp_path)) == before
            continue
        mine.clear_uncommitted()
        assert mine.latest == step
        mine.begin(12, "mine")
    assert json.loads((tmp_path / "ckpt.inputs-12").read_text())["run_id"] == "mine"
