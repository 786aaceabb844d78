"""TensorFlow's own Saver saves on in a pruned directory, and reads from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tf_support
from prune_support import listed, make_old, plan

from monolith_cli.care.prune.proof import prove
from monolith_cli.care.prune.run import carry_out
from monolith_cli.care.survey import survey


class Job:
    """One variable, a Saver, and a session that counts steps; as a job that starts again."""

    def __init__(self, directory: Path, **options: Any) -> None:
        tf = tf_support.tensorflow()
        self.v1 = tf.compat.v1
        self.prefix = str(directory / "model.ckpt")
        with tf.Graph().as_default() as graph:
            self.step = self.v1.train.get_or_create_global_step()
            self.weight = self.v1.get_variable("weight", [3], use_resource=True)
            self.placed = self.v1.placeholder(tf.int64)
            self.assign = self.step.assign(self.placed)
            self.fill = self.weight.assign(tf.cast(self.placed, tf.float32) * tf.ones([3]))
            self.init = self.v1.global_variables_initializer()
            self.saver = self.v1.train.Saver(**options)
        self.graph = graph
        self.session = self.v1.Session(graph=graph)
        self.session.run(self.init)

    def save(self, step: int) -> None:
        self.session.run([self.assign, self.fill], {self.placed: step})
        with self.graph.as_default():
            self.saver.save(self.session, self.prefix, global_step=step)

    def restore(self, path: str) -> float:
        with self.graph.as_default():
            self.saver.restore(self.session, path)
        return float(self.session.run(self.weight)[0])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    job = Job(tmp_path, max_to_keep=6)
    for step in (10, 20, 30, 40, 50):
        job.save(step)
    for path in tmp_path.iterdir():
        make_old(path, 1_750_000_000.0)
    make_old(tmp_path)
    return tmp_path


def prune(directory: Path) -> None:
    made = plan(directory, last=2, steps=(20,))
    prove(made)
    carry_out(made)


def states(directory: Path) -> dict[int | None, str]:
    return {step.step: step.state for step in survey(str(directory)).steps}


def test_it_reads_and_saves_on(model: Path) -> None:
    """A new Saver that takes over what `checkpoint` lists, as a session manager has it do."""
    prune(model)
    tf = tf_support.tensorflow()
    state = tf.train.get_checkpoint_state(str(model))
    assert [os.path.basename(path) for path in state.all_model_checkpoint_paths] == [
        f"model.ckpt-{step}" for step in (20, 40, 50)
    ]
    assert tf.train.latest_checkpoint(str(model)) == str(model / "model.ckpt-50")
    job = Job(model, max_to_keep=3)
    for path, step in zip(state.all_model_checkpoint_paths, (20, 40, 50), strict=True):
        assert job.restore(path) == step
    job.saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
    job.save(60)
    assert states(model) == {40: "complete", 50: "complete", 60: "complete"}
    assert len(list(model.glob("model.ckpt-10*"))) == 0


def test_a_saver_that_remembers_what_is_gone(tmp_path: Path) -> None:
    """As one that was told that nobody saves, and did: it lists what is gone, and goes on."""
    job = Job(tmp_path, max_to_keep=4)
    for step in (10, 20, 30, 40):
        job.save(step)
    made = plan(tmp_path, last=2)
    carry_out(made, quiet_for_seconds=0)
    assert [os.path.basename(path) for path in listed(tmp_path)] == [
        "model.ckpt-30",
        "model.ckpt-40",
    ]
    for step in (50, 60):
        job.save(step)
    assert states(tmp_path) == dict.fromkeys((30, 40, 50, 60), "complete")


def test_the_original_keeps_one_unlisted_every_so_often(tmp_path: Path) -> None:
    """Daily keeps: not listed, whole, and never removed by the job; here one every 0 hours."""
    job = Job(tmp_path, max_to_keep=2, keep_checkpoint_every_n_hours=1e-9)
    for step in (10, 20, 30, 40, 50):
        job.save(step)
    for number, step in enumerate((10, 20, 30, 40, 50)):
        at = 1_750_000_000.0 + number * 86_400
        for path in tmp_path.glob(f"model.ckpt-{step}.*"):
            os.utime(path, (at, at))
    unlisted = [step for step, state in states(tmp_path).items() if state == "unlisted"]
    assert unlisted
    made = plan(tmp_path, unlisted=True, daily=4)
    prove(made)
    carry_out(made)
    assert states(tmp_path)[unlisted[-1]] == "unlisted"
    assert 10 not in states(tmp_path)
    job.save(60)
    assert states(tmp_path)[60] == "complete"
