"""TensorFlow goes on from what a copy has made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import repair_support as rs
import tf_support
from repair_support import DENSE, MULTI, SINGLE, STEP, bytes_of

from monolith_cli.care.copy.steps import copy_steps
from monolith_cli.checkpoint.restart import restart_point


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rs.write_job(tmp_path_factory.mktemp("cp") / "model")


@pytest.fixture(params=[False, True], ids=["copy", "link"])
def target(request: pytest.FixtureRequest, job: Path, tmp_path: Path) -> Path:
    copy_steps(job, tmp_path / "copy", link=request.param)
    return tmp_path / "copy"


def test_dense_variables_tables_and_inputs_are_read(job: Path, target: Path) -> None:
    rs.assert_restores(target)
    tf = tf_support.tensorflow()
    for worker in (0, 1):
        path = tf.train.latest_checkpoint(str(target), f"checkpoint_input_worker_{worker}")
        assert path == str(target / f"input_worker_{worker}.ckpt-{STEP}")
        state = tf.train.load_checkpoint(path).get_tensor("state")
        np.testing.assert_array_equal(state, np.arange(worker + STEP))
    assert rs.records_of(target, SINGLE) == rs.records_of(job, SINGLE)
    assert rs.records_of(target, MULTI, snappy=True) == rs.records_of(job, MULTI, snappy=True)
    assert restart_point(target).step == STEP


def test_a_stock_saver_saves_on(job: Path, target: Path) -> None:
    """And saves the same step once more: what is linked stays as it is where it comes from."""
    before = bytes_of(job)
    v1 = tf_support.tensorflow().compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        step = v1.train.create_global_step()
        for name, value in DENSE.items():
            v1.get_variable(name, shape=value.shape, dtype=value.dtype)
        saver = v1.train.Saver(max_to_keep=2)
        state = v1.train.get_checkpoint_state(str(target))
        saver.restore(session, state.model_checkpoint_path)
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
        session.run(step.assign_add(1))
        for number in (STEP, STEP + 1, STEP + 2):
            saver.save(session, f"{target}/model.ckpt", global_step=number)
    state = v1.train.get_checkpoint_state(str(target))
    assert [Path(path).name for path in state.all_model_checkpoint_paths] == [
        f"model.ckpt-{STEP + 1}",
        f"model.ckpt-{STEP + 2}",
    ]
    assert bytes_of(job) == before
