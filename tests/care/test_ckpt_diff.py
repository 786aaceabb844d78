"""Two checkpoints as wholes, with dense variables by TensorFlow."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
import tf_support
from iterator_support import write_job, write_states

from monolith_cli.care.ckpt_diff import CkptDiff, diff_checkpoints
from monolith_cli.care.dense_diff import diff_dense
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import CorruptionError, PathNotFoundError
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle
from monolith_cli.samples.sample import write_sample

RNG = np.random.default_rng(1)
NAN = np.array([1.0, np.nan, np.inf, -0.0], np.float32)

A: dict[str, Any] = {
    "same": RNG.normal(size=(3, 4)).astype(np.float32),
    "moved": RNG.normal(size=(700, 500)).astype(np.float32),  # more than a piece
    "nan": NAN,
    "zero": np.zeros(3, np.float64),
    "counts": np.array([1, -5, 1 << 40], np.int64),
    "half": np.array([1.0, 2.0], np.float16),
    "flag": np.array([True, False]),
    "complex": np.array([1 + 1j, 2], np.complex64),
    "text": np.array([b"a", b"bc"], object),
    "shape": np.zeros(3, np.float32),
    "dtype": np.zeros(3, np.float32),
    "gone": np.float32(1.0),
}
B: dict[str, Any] = {
    **{name: value for name, value in A.items() if name != "gone"},
    "moved": A["moved"] + RNG.normal(size=(700, 500)).astype(np.float32),
    "nan": np.array([1.0, 2.0, np.inf, 0.0], np.float32),
    "zero": np.array([0.0, 3.0, -4.0]),
    "counts": np.array([1, -5, 1 << 41], np.int64),
    "half": np.array([1.0, 2.5], np.float16),
    "flag": np.array([True, True]),
    "complex": np.array([1 + 4j, 6], np.complex64),
    "text": np.array([b"a", b"bd"], object),
    "shape": np.zeros((3, 1), np.float32),
    "dtype": np.zeros(3, np.float64),
    "new": np.float32(1.0),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of TensorFlow's, of numbers that go down."""
    root = tmp_path_factory.mktemp("saved")
    tf_support.save_checkpoint(root, 20, A)
    tf_support.save_checkpoint(root, 10, B)
    ds.write_checkpoint_state(root, [20, 10])
    return root


def diff(model: Path, a: int = 20, b: int = 10, **more: Any) -> CkptDiff:
    directory = open_model_dir(model)
    return diff_checkpoints(directory.checkpoint(a), directory.checkpoint(b), **more)


def test_dense_variables(saved: Path) -> None:
    found = {variable.name: variable for variable in diff(saved).dense}
    assert list(found) == sorted([*A, "new", "global_step"])
    assert not found["same"].differs
    assert found["same"].distance == found["same"].relative == 0
    for name, zero in (("moved", False), ("zero", True), ("counts", False), ("half", False)):
        before, after = A[name].astype(np.float64), B[name].astype(np.float64)
        moved = found[name]
        assert moved.differs
        assert moved.largest == np.abs(after - before).max()
        distance = np.linalg.norm((after - before).ravel())
        assert moved.distance == pytest.approx(distance, rel=1e-12)
        norm = np.linalg.norm(before.ravel())
        assert moved.relative == (None if zero else pytest.approx(distance / norm, rel=1e-12))
    assert (found["flag"].largest, found["global_step"].largest) == (1, 10)
    assert found["complex"].distance == 5
    nan = found["nan"]
    assert nan.differs
    assert (nan.non_finite, nan.largest) == (1, 0)  # -0.0 to 0.0, infinity stays
    assert (found["text"].differs, found["text"].distance) == (True, None)
    assert found["shape"].shapes == ((3,), (3, 1))
    assert found["dtype"].dtypes == ("float32", "float64")
    assert found["gone"].dtypes == ("float32", None)
    assert found["new"].shapes == (None, ())
    for name in ("shape", "dtype", "gone", "new"):
        assert (found[name].differs, found[name].largest) == (True, None)


def test_a_damaged_value(saved: Path, tmp_path: Path) -> None:
    model = shutil.copytree(saved, tmp_path / "model")
    data = model / "model.ckpt-10.data-00000-of-00001"
    stored = bytearray(data.read_bytes())
    stored[len(stored) // 2] ^= 1
    data.write_bytes(stored)
    [error] = diff(model).errors
    assert isinstance(error, CorruptionError)
    assert error.path == str(data)


def test_variables_in_slices(tmp_path: Path) -> None:
    """Partitioned otherwise, they are joined first."""
    tf = tf_support.tensorflow()
    v1 = tf.compat.v1
    values = RNG.normal(size=(6, 2)).astype(np.float32)
    for step, parts in ((1, 2), (2, 2), (3, 3)):
        with tf.Graph().as_default(), v1.Session() as session, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            partitioner = v1.fixed_size_partitioner(parts)
            initializer = v1.zeros_initializer()
            variable = v1.get_variable(
                "v", values.shape, tf.float32, initializer, partitioner=partitioner
            )
            session.run(v1.global_variables_initializer())
            for part, some in zip(variable, np.split(values + (step == 2), parts), strict=True):
                session.run(part.assign(some))
            v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=step)
    ds.write_checkpoint_state(tmp_path, [1, 2, 3])
    directory = open_model_dir(tmp_path)
    one, two, three = (directory.checkpoint(step) for step in (1, 2, 3))
    [moved] = diff_dense(one, two)
    assert moved.largest == pytest.approx(1, rel=1e-6)
    assert [each.differs for each in diff_dense(one, three)] == [False]


def test_tables_and_slots(tmp_path: Path) -> None:
    records = ds.random_entries(1, 30)
    ds.write_model_dir(
        tmp_path, 20, singles={"s": records, "gone": records[:3]}, multis={"M": {"m": records}}
    )
    ds.write_model_dir(tmp_path, 10, singles={"s": records}, multis={"M": {"m": [], "n": []}})
    ds.write_checkpoint_state(tmp_path, [20, 10])
    for step in (20, 10):
        write_tensor_bundle(tmp_path / f"model.ckpt-{step}", {"x": np.float32(1)})
    write_ckpt_info(tmp_path / "ckpt.info-20", CkptInfo({1: 10, 2: 5}, {}))
    found = diff(tmp_path)
    tables = {table.name: table for table in found.tables}
    assert list(tables) == ["gone", "s", "m", "n"]
    assert not tables["s"].differs
    assert (tables["gone"].is_in_b, tables["n"].is_in_a) == (False, False)
    assert tables["m"].entries == (30, 0)
    assert tables["s"].bytes[0] == tables["s"].bytes[1] != None  # noqa: E711
    assert (found.slots, found.entries) == (None, (15, None))
    write_ckpt_info(tmp_path / "ckpt.info-10", CkptInfo({1: 12, 3: 1}, {}))
    found = diff(tmp_path)
    assert found.slots == {1: (10, 12), 2: (5, 0), 3: (0, 1)}
    assert found.entries == (15, 13)
    assert "tables" in str(found.error())


def test_inputs(tmp_path: Path) -> None:
    write_job(tmp_path, {0: [1, 2], 1: [2]}, 1, 2)
    for step in (1, 2):
        write_tensor_bundle(tmp_path / f"model.ckpt-{step}", {"x": np.float32(1)})
    write_states(tmp_path / "input_worker_0.ckpt-2", IteratorV2=7)
    first, second = diff(tmp_path, 1, 2).inputs
    assert (first.worker, first.unit, first.consumed) == (0, "elements", None)
    assert first.differs
    assert first.a is not None
    assert (second.worker, second.a) == (1, None)
    same = diff(tmp_path, 2, 2).inputs
    assert [reader.differs for reader in same] == [False, False]
    (tmp_path / "input_worker_1.ckpt-2.index").write_bytes(b"x")
    found = diff(tmp_path, 1, 2)
    assert [reader.problem is None for reader in found.inputs] == [True, False]
    assert len(found.errors) == 1


def test_what_was_consumed(tmp_path: Path) -> None:
    write_sample(tmp_path / "model", entries=200, steps=2)
    found = diff(tmp_path / "model", 1000, 2000).inputs
    assert [reader.worker for reader in found] == [0, 1, 2]
    for reader in found:
        assert reader.differs
        assert reader.a is not None
        assert reader.b is not None
        assert reader.consumed == (reader.b.consumed or 0) - (reader.a.consumed or 0) > 0


def test_a_step_that_goes_meanwhile(saved: Path, tmp_path: Path) -> None:
    model = shutil.copytree(saved, tmp_path / "model")
    directory = open_model_dir(model)
    a, b = directory.checkpoint(20), directory.checkpoint(10)
    for path in model.glob("model.ckpt-20*"):
        path.unlink()
    with pytest.raises(PathNotFoundError, match="gone"):
        diff_checkpoints(a, b)
