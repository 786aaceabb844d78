"""A job of three workers on 20 files: where its inputs are, and going back with them.

The job's own log of what each process has consumed is the witness.
"""

from __future__ import annotations

import glob
import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import MONOLITH, call, environment
from live_job import NAMES, ROOT, LiveJob, live_job
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.formats.tensor_bundle import TensorBundle

BATCH = 2
FILES = 20
OPTIONS = ["--files", str(FILES), "--records", "1600", "--batch", str(BATCH)]
OPTIONS += ["--save-steps", "60", "--pause", "0.02"]
SAVES = 3


class History:
    """What a stopped job has left; the processes append to their logs in all their lives."""

    def __init__(self, model: Path, lines_before: dict[int, int] | None = None) -> None:
        self.model = model
        self.steps = open_model_dir(model).steps()
        self._global_steps = {step: self._read_global_step(step) for step in self.steps}
        self._lines: dict[int, list[dict[str, Any]]] = {}
        for worker in NAMES:
            text = (model / "log" / f"input_{worker}.jsonl").read_text()
            lines = text.splitlines()[: text.count("\n")]  # one may have been cut short
            self._lines[worker] = [
                json.loads(line) for line in lines[(lines_before or {}).get(worker, 0) :]
            ]

    def _read_global_step(self, step: int) -> int:
        bundle = TensorBundle(self.model / f"model.ckpt-{step}")
        return int(bundle.array(bundle.entries["global_step"]))

    def global_step(self, step: int) -> int:
        """The job's step when a step's files were written: workers stop after theirs only."""
        return self._global_steps[step]

    def consumed(self, worker: int, step: int) -> list[int]:
        """The records that a worker has consumed up to the save of a step."""
        end = self.global_step(step)
        return [r for line in self._lines[worker] if line["step"] <= end for r in line["records"]]

    def following(self, worker: int, step: int | None = None) -> list[int]:
        """Those after it; of this life all, without a step."""
        end = -1 if step is None else self.global_step(step)
        return [r for line in self._lines[worker] if line["step"] > end for r in line["records"]]

    def first_step(self) -> int:
        """The first global step of this life."""
        return min(lines[0]["step"] for lines in self._lines.values())

    def trained(self, step: int) -> int:
        """How often any record was trained on, as the model of a step has it."""
        done = call("table", "dump", self.model, "--table", "*seen", "--step", step)
        assert done.code == 0, done.err
        return sum(round(json.loads(line)["embedding"][0]) for line in done.out.splitlines())


def iterator(command: str, model: Path, *args: object) -> Any:
    done = call("iterator", command, model, *args, "--json")
    assert done.code == 0, done.err
    return done.document


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveJob, History]]:
    """A job that was killed at some moment after its third save."""
    directory = tmp_path_factory.mktemp("inputs")
    with live_job(directory, options=OPTIONS) as job:
        saved: set[int | None] = set()

        def has_saved() -> bool:
            saved.add(job.step)
            return len(saved - {None}) >= SAVES

        job.wait_for(has_saved)
        job.goes_on()
        time.sleep(random.uniform(0, 0.4))
        job.kill_all()
        history = History(job.model_dir)
        assert len(history.steps) == SAVES
        yield job, history


@pytest.fixture
def copy(stopped: tuple[LiveJob, History], tmp_path: Path) -> Path:
    """The directory as it was when the job was stopped, somewhere else."""
    shutil.copytree(stopped[1].model, tmp_path / "model")
    return tmp_path / "model"


def test_all_workers_are_where_the_model_is(stopped: tuple[LiveJob, History]) -> None:
    _, history = stopped
    latest = history.steps[-1]
    rows = iterator("ls", history.model, "--step", latest)
    assert [(row["worker"], row["step"], row["iterators"]) for row in rows] == [
        (worker, latest, 1) for worker in NAMES
    ]


def test_what_is_shown_as_consumed_is_what_the_job_has_logged(
    stopped: tuple[LiveJob, History],
) -> None:
    _, history = stopped
    # What a killed process had consumed last may be missing in its log.
    for step in history.steps[:-1]:
        for worker in NAMES:
            shown = iterator("show", history.model, "--worker", worker, "--step", step)
            [reader] = shown["iterators"][0]["readers"]
            assert reader["consumed"]["records"] == len(history.consumed(worker, step))
            assert reader["file"]["of"] == FILES // len(NAMES)
            held = reader["file"]["path"]
            assert f"part-{(reader['file']['number'] - 1) * 4 + worker:03d}.tfrecord" in held


def test_a_dry_run_and_a_refusal(copy: Path, stopped: tuple[LiveJob, History]) -> None:
    _, history = stopped
    oldest = history.steps[0]
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    dry = iterator("rollback", copy, "--step", oldest, "--dry-run")
    assert dry["override"]["inputs"] == {str(worker): oldest for worker in NAMES}
    done = call("iterator", "rollback", copy, "--step", oldest - 1)
    assert done.code == 3
    assert f"(there are steps {', '.join(map(str, history.steps))})" in done.err
    assert {p.name: p.read_bytes() for p in copy.iterdir() if p.is_file()} == before


def test_eager_iterators_go_on_where_the_workers_were(
    copy: Path, stopped: tuple[LiveJob, History]
) -> None:
    tensorflow()
    import train  # the example, which live_job has found

    from monolith_cli.training.iterator_restore import restore_iterator

    _, history = stopped
    files = sorted(glob.glob(f"{copy}/input/part-*.tfrecord"))
    for worker, step in [(1, history.steps[0]), (3, history.steps[1]), (0, history.steps[0])]:
        elements = iter(train.make_dataset(files[worker :: len(NAMES)], BATCH))
        restored = restore_iterator(elements, copy, worker, step)
        assert restored.warnings == []
        expected = history.following(worker, step)
        found = [int(r) for _ in range(len(expected) // BATCH) for r in next(elements)["record"]]
        assert len(found) > 10
        assert found == expected
    others = iter(train.make_dataset(files[2 :: len(NAMES)], BATCH))
    [warning] = restore_iterator(others, copy, 1, history.steps[0]).warnings[:1]
    assert "was part-001.tfrecord, is part-002.tfrecord" in warning


def test_peek_shows_the_same(copy: Path, stopped: tuple[LiveJob, History], tmp_path: Path) -> None:
    _, history = stopped
    (tmp_path / "peeked_job.py").write_text(
        f"import glob, sys\nsys.path.append({str(ROOT / 'examples')!r})\nimport train\n"
        "def input_of(worker):\n"
        f"    files = sorted(glob.glob({str(copy / 'input' / '*')!r}))[worker::{len(NAMES)}]\n"
        f"    return train.make_dataset(files, {BATCH})\n"
    )
    step = history.steps[0]
    # Where the job ran, as the state has the name of the file that it was at.
    command = [MONOLITH, "iterator", "peek", copy, "--worker", "2", "--step", str(step)]
    done = subprocess.run(
        [*command, "--dataset", "peeked_job:input_of", "-n", "5"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(PYTHONPATH=str(tmp_path)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    elements = [json.loads(line) for line in done.stdout.splitlines()]
    found = [int(record) for element in elements for record in element["record"]]
    assert found == history.following(2, step)[: 5 * BATCH]
    assert sorted(elements[0]) == ["item", "label", "record", "user"]


def test_going_back_with_the_inputs(stopped: tuple[LiveJob, History]) -> None:
    """All to the oldest step, then one to a later one; the model stays where it is."""
    job, first = stopped
    model, latest = job.model_dir, first.steps[-1]
    back = dict.fromkeys(NAMES, first.steps[0])
    back[2] = first.steps[1]
    iterator("rollback", model, "--step", first.steps[0])
    said = iterator("rollback", model, "--step", first.steps[1], "--worker", 2)
    assert said["override"] == {
        "model_step": latest,
        "inputs": {str(worker): step for worker, step in back.items()},
    }
    trained, at = first.trained(latest), first.global_step(latest)
    lines_before = {worker: job.steps(worker) for worker in NAMES}

    job.start_all()
    job.wait_for(lambda: job.step != latest and not (model / "ckpt.override").exists())
    job.goes_on()
    job.kill_all()

    second = History(model, lines_before)
    assert at < second.first_step() <= at + len(NAMES)
    for worker, step in back.items():
        expected, found = first.following(worker, step), second.following(worker)
        length = min(len(expected), len(found))
        assert length > 10
        assert found[:length] == expected[:length]
        assert f"Restored the input of worker {worker} from step {step}." in job.said(worker)
        assert "is not the one of step" not in job.said(worker)
    # Tables are those of the latest step: what was trained again counts twice.
    new = next(step for step in second.steps if step > latest)
    again = sum(len(second.consumed(worker, new)) for worker in NAMES)
    assert second.trained(new) == trained + again
    inputs = read_step_inputs(str(model), new)
    assert inputs is not None
    assert inputs.override["inputs"] == said["override"]["inputs"]
    assert iterator("ls", model)[0]["step"] in second.steps
