"""Tensor bundles that we write, as TensorFlow reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_support

from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

ARRAYS = {
    "global_step": np.array(7, np.int64),
    "dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "dense/bias": np.zeros(0, np.float64),
    "flags": np.array([True, False]),
    "big_endian": np.array([1, 2, 3], ">i4"),
    "transposed": np.arange(6, dtype=np.uint8).reshape(2, 3).T,
    "half": np.array([1.5, -2], np.float16),
    "complex": np.array([1 + 2j], np.complex64),
    "größe": np.array([[[2**64 - 1]]], np.uint64),
}


def test_tensorflow_reads_every_array(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt-7"
    write_tensor_bundle(prefix, ARRAYS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.ckpt-7.data-00000-of-00001",
        "model.ckpt-7.index",
    ]
    reader = tf_support.tensorflow().train.load_checkpoint(str(prefix))
    assert set(reader.get_variable_to_shape_map()) == set(ARRAYS)
    for name, array in ARRAYS.items():
        theirs = reader.get_tensor(name)
        assert theirs.shape == array.shape
        assert theirs.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(theirs, array)


def test_the_parts_of_a_tensor_will_do(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt-7"
    write_tensor_bundle(
        prefix, {"b": ("bfloat16", (2,), b"\x80\x3f\x00\xc0"), "a": ("int8", (), b"\xff")}
    )
    reader = tf_support.tensorflow().train.load_checkpoint(str(prefix))
    assert reader.get_tensor("a") == -1
    assert [float(value) for value in reader.get_tensor("b")] == [1.0, -2.0]


def test_a_saver_restores_it(tmp_path: Path) -> None:
    v1 = tf_support.tensorflow().compat.v1
    prefix = str(tmp_path / "model.ckpt-7")
    write_tensor_bundle(prefix, ARRAYS)
    with v1.Graph().as_default(), v1.Session() as session:
        kernel = v1.get_variable("dense/kernel", (2, 3), use_resource=True)
        v1.train.Saver().restore(session, prefix)
        np.testing.assert_array_equal(session.run(kernel), ARRAYS["dense/kernel"])


def test_many_names_and_none(tmp_path: Path) -> None:
    load = tf_support.tensorflow().train.load_checkpoint
    many = {f"v{number}": np.array(number, np.int32) for number in range(5000)}
    write_tensor_bundle(tmp_path / "many", many)
    reader = load(str(tmp_path / "many"))
    assert [int(reader.get_tensor(f"v{number}")) for number in (0, 4999)] == [0, 4999]
    write_tensor_bundle(tmp_path / "none", {})
    assert load(str(tmp_path / "none")).get_variable_to_shape_map() == {}


def test_strings_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_tensor_bundle(tmp_path / "model.ckpt-7", {"name": np.array(["text"])})
    assert list(tmp_path.iterdir()) == []
