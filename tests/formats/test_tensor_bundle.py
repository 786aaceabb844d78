"""Dense tensors and strings of tensor bundles, value by value as TensorFlow reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bundle_support as bs
import numpy as np
import pytest
import table_support
import tf_support
from bundle_support import (
    FLOAT,
    INT32,
    STRING,
    Stored,
    field,
    masked,
)
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli._native import crc32c
from monolith_cli.errors import (
    MissingShardError,
    NotReadableError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt-7"


def equal(ours: Any, theirs: Any) -> bool:
    """Same shape, same dtype, same bits."""
    theirs = np.asarray(theirs)
    if theirs.dtype.kind in "OS":
        return ours.shape == theirs.shape and ours.tolist() == theirs.tolist()
    same: bool = ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return same and ours.tobytes() == theirs.tobytes()


def check_against_tensorflow(prefix: Path) -> TensorBundle:
    """Everything in a bundle; returns it for more."""
    reader = tf_support.tensorflow().train.load_checkpoint(str(prefix))
    bundle = TensorBundle(prefix)
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    assert list(bundle.entries) == sorted(shapes, key=str.encode)
    for name, entry in bundle.entries.items():
        assert entry.name == name
        assert list(entry.shape) == shapes[name]
        assert entry.dtype == dtypes[name].name
        assert equal(bundle.array(entry), reader.get_tensor(name)), name
    return bundle


# ---- what TensorFlow writes ----------------------------------------------------------------------

NUMBERS = ["float32", "float64", "float16", "int8", "int16", "int32", "int64"]
NUMBERS += ["uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers(prefix: Path, dtype: str) -> None:
    rng = np.random.default_rng(7)
    shapes = [(), (1,), (0,), (3, 0, 2), (5, 7), (2, 3, 4, 1, 5), (4000,)]
    with np.errstate(over="ignore"):
        tensors = {
            f"v{number}": rng.integers(0, 2**64, shape, np.uint64).astype(dtype)
            for number, shape in enumerate(shapes)
        }
    bs.save(prefix, {name: tf_support.tensorflow().constant(t) for name, t in tensors.items()})
    bundle = check_against_tensorflow(prefix)
    for name, array in tensors.items():
        entry = bundle.entries[name]
        assert (entry.shard, entry.size_bytes) == (0, array.nbytes)
        assert bundle.read(entry) == array.tobytes()


def test_numbers_that_are_no_numbers(prefix: Path) -> None:
    tf = tf_support.tensorflow()
    odd = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e-45]
    bs.save(prefix, {dtype: tf.constant(odd, dtype) for dtype in ("float32", "float64", "float16")})
    check_against_tensorflow(prefix)


def test_bfloat16_becomes_float32(prefix: Path) -> None:
    tf = tf_support.tensorflow()
    values = [1.0, -2.5, 3.140625, float("inf"), -0.0]
    bs.save(prefix, {"b": tf.constant(values, tf.bfloat16), "scalar": tf.constant(7, tf.bfloat16)})
    bundle = TensorBundle(prefix)
    array = bundle.array(bundle.entries["b"])
    assert (array.dtype, array.tolist()) == (np.dtype("float32"), values)
    scalar = bundle.array(bundle.entries["scalar"])
    assert (scalar.shape, scalar.tolist()) == ((), 7.0)


@pytest.mark.parametrize(
    ("dtype", "as_what"),
    [
        ("qint8", "int8"),
        ("quint8", "uint8"),
        ("qint16", "int16"),
        ("quint16", "uint16"),
        ("qint32", "int32"),
        ("float8_e5m2", "uint8"),
        ("float8_e4m3fn", "uint8"),
        ("float8_e4m3fnuz", "uint8"),
        ("float8_e4m3b11fnuz", "uint8"),
        ("float8_e5m2fnuz", "uint8"),
        ("int4", "uint8"),
        ("uint4", "uint8"),
        ("int2", "uint8"),
        ("uint2", "uint8"),
        ("float4_e2m1fn", "uint8"),
    ],
)
def test_dtypes_that_numpy_does_not_have(prefix: Path, dtype: str, as_what: str) -> None:
    tf = tf_support.tensorflow()
    try:
        kind = tf.dtypes.as_dtype(dtype)
    except TypeError:
        pytest.skip(f"this TensorFlow has no {dtype}")
    small = np.array([0, 1, 2, 3], as_what)
    if dtype.startswith("q"):
        tensor = tf.bitcast(tf.constant(small), kind)
    else:
        tensor = tf.constant(small.view(kind.as_numpy_dtype))
    bs.save(prefix, {"v": tensor})
    bundle = TensorBundle(prefix)
    assert bundle.entries["v"].dtype == dtype
    assert equal(bundle.array(bundle.entries["v"]), small)


STRINGS = {
    "scalar": b"text",
    "empty": b"",
    "none": np.empty((0, 3), object),
    "some": [b"", b"a", b"\0\0", b"\xff\xfe", "größe".encode(), b"\n"],
    "lengths": [[b"x" * length for length in (126, 127, 128)], [b"y" * 129, b"z" * 20000, b""]],
    "empty ones": [[b""] * 3] * 2,
}


def test_strings(prefix: Path) -> None:
    tf = tf_support.tensorflow()
    bs.save(prefix, {name: tf.constant(value, tf.string) for name, value in STRINGS.items()})
    bundle = check_against_tensorflow(prefix)
    assert bundle.strings(bundle.entries["scalar"]) == [b"text"]
    assert bundle.strings(bundle.entries["some"]) == STRINGS["some"]
    assert bundle.strings(bundle.entries["none"]) == []


NAMES = ["a", "a/b:0", "grö/ße", "\x01", "with\xffodd", "a b\tc", "日本" * 40, "\x7f|@@", "A\x00b"]


def test_names(prefix: Path) -> None:
    tf = tf_support.tensorflow()
    bs.save(prefix, {name: tf.constant(number) for number, name in enumerate(NAMES)})
    bundle = check_against_tensorflow(prefix)
    assert [int(bundle.array(bundle.entries[name])) for name in NAMES] == list(range(len(NAMES)))


def test_names_that_are_no_text(prefix: Path) -> None:
    bs.write_bundle(prefix, {b"\xff\xfe/w": Stored(INT32, (), b"\7\0\0\0")})
    bundle = TensorBundle(prefix)
    (entry,) = bundle.entries.values()
    assert entry.name.encode("utf-8", "surrogateescape") == b"\xff\xfe/w"
    assert bundle.array(entry) == 7


def test_many_names(prefix: Path) -> None:
    tf = tf_support.tensorflow()
    tensors = {f"tower_{n % 7}/layer_{n}/kernel": tf.constant([n] * (n % 5)) for n in range(3000)}
    bs.save(prefix, tensors)
    bundle = check_against_tensorflow(prefix)
    assert len(bundle.entries) == 3000


SLICED = {
    "rows": ((7, 3), ["0,2:-", "2,4:-", "6,1:-"]),
    "columns": ((2, 200), ["-:0,130", "-:130,70"]),
    "blocks": ((4, 4), ["0,2:0,2", "0,2:2,2", "2,2:0,4"]),
    "one": ((5,), ["0,5"]),
    "long": ((70000,), ["0,63", "63,1", "64,8128", "8192,8192", "16384,53616"]),
    "odd \0\xff\x01name/\xff": ((4,), ["0,1", "1,3"]),
}


@pytest.mark.parametrize("dtype", ["float32", "int64", "string", "bfloat16"])
def test_partitioned_variables(prefix: Path, dtype: str) -> None:
    tf = tf_support.tensorflow()
    parts, wholes = [], {}
    for name, (shape, slices) in SLICED.items():
        whole = np.arange(np.prod(shape)).reshape(shape) % 128
        wholes[name] = whole.astype(str).astype("S").astype(object) if dtype == "string" else whole
        for text in slices:
            place = tuple(
                slice(None)
                if extent == "-"
                else slice(int(extent.split(",")[0]), sum(map(int, extent.split(","))))
                for extent in text.split(":")
            )
            spec = " ".join([*map(str, shape), text])
            parts.append((name, spec, tf.constant(wholes[name][place], dtype)))
    bs.save_slices(prefix, parts)
    bundle = TensorBundle(prefix)
    reader = tf.train.load_checkpoint(str(prefix))
    assert list(bundle.entries) == sorted(SLICED, key=str.encode)
    for name, (shape, slices) in SLICED.items():
        entry = bundle.entries[name]
        assert (entry.shape, entry.dtype) == (shape, dtype)
        # One slice that is the whole is none.
        assert len(entry.slices) == (0 if len(slices) == 1 else len(slices))
        if dtype != "string":  # TensorFlow cannot join those itself
            theirs = reader.get_tensor(name)
            assert equal(bundle.array(entry), theirs if dtype != "bfloat16" else np.float32(theirs))
        assert bundle.array(entry).tolist() == wholes[name].tolist()
        if entry.slices:
            assert entry.size_bytes == sum(part.size_bytes for _, part in entry.slices)
            with pytest.raises(UsageError):
                bundle.read(entry)


def test_a_saver_with_partitioned_variables(tmp_path: Path) -> None:
    v1 = tf_support.tensorflow().compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        for name, shape, count, axis in (("w", (300, 7), 3, 0), ("part/q", (5, 200), 4, 1)):
            v1.get_variable(
                name,
                shape,
                partitioner=v1.fixed_size_partitioner(count, axis),
                initializer=v1.random_normal_initializer(seed=1),
            )
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=3)
    bundle = check_against_tensorflow(Path(prefix))
    assert [len(entry.slices) for entry in bundle.entries.values()] == [4, 3]


def test_several_data_files(tmp_path: Path, prefix: Path) -> None:
    tf = tf_support.tensorflow()
    parts = [tmp_path / f"part{number}" for number in range(3)]
    for number, part in enumerate(parts):
        tensors = [(f"v{number}/{n}", "", tf.constant([number, n])) for n in range(5)]
        first = 2 * number
        sliced = ("s", f"6 {first},2", tf.constant([first, first + 1]))
        bs.save_slices(part, [*tensors, sliced])
    bs.merge(parts, prefix)
    bundle = TensorBundle(prefix)
    assert bundle.shards == 3
    assert sorted(os.path.basename(bundle.data_path(shard)) for shard in range(3)) == sorted(
        path.name for path in tmp_path.glob("*.data-*")
    )
    reader = tf.train.load_checkpoint(str(prefix))
    for name, entry in bundle.entries.items():
        assert equal(bundle.array(entry), reader.get_tensor(name))
    assert bundle.array(bundle.entries["s"]).tolist() == [0, 1, 2, 3, 4, 5]
    assert {part.shard for _, part in bundle.entries["s"].slices} == {0, 1, 2}


def test_a_sharded_saver(tmp_path: Path) -> None:
    v1 = tf_support.tensorflow().compat.v1
    two = v1.ConfigProto(device_count={"CPU": 2})
    with v1.Graph().as_default(), v1.Session(config=two) as session:
        for number in range(4):
            with v1.device(f"/cpu:{number % 2}"):
                v1.get_variable(f"v{number}", initializer=[float(number)] * 5)
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver(sharded=True).save(session, str(tmp_path / "m"), global_step=1)
    assert check_against_tensorflow(Path(prefix)).shards == 2


def test_nothing(prefix: Path) -> None:
    write_tensor_bundle(prefix, {})
    assert TensorBundle(prefix).entries == {}


@given(
    st.dictionaries(
        # What begins with a zero is a slice.
        st.text(min_size=1, max_size=10).filter(lambda name: name[0] != "\0"),
        st.tuples(
            st.sampled_from(NUMBERS), st.lists(st.integers(0, 4), max_size=4), st.binary(min_size=1)
        ),
        max_size=8,
    )
)
def test_what_we_write_we_read(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, tuple[str, list[int], bytes]]
) -> None:
    arrays = {
        name: np.resize(np.frombuffer(content, np.uint8), shape).astype(dtype)
        for name, (dtype, shape, content) in drawn.items()
    }
    prefix = tmp_path_factory.getbasetemp() / "any.ckpt-1"
    write_tensor_bundle(prefix, arrays)
    bundle = TensorBundle(prefix)
    assert list(bundle.entries) == sorted(arrays, key=str.encode)
    for name, entry in bundle.entries.items():
        assert equal(bundle.array(entry), arrays[name])


@table_support.needs_export
def test_an_export_by_monolith() -> None:
    paths = sorted(table_support.EXPORT.glob("*/*/variables/variables.index"))
    assert len(paths) == 4
    for path in paths:
        bundle = check_against_tensorflow(path.with_suffix(""))
        assert bundle.entries


# ---- what is not there, or is something else -----------------------------------------------------


def test_no_index(prefix: Path) -> None:
    with pytest.raises(PathNotFoundError) as caught:
        TensorBundle(prefix)
    assert caught.value.path == f"{prefix}.index"


def test_a_data_file_that_is_missing(prefix: Path) -> None:
    header = field(1, 3)
    there = Stored(INT32, (), b"\7\0\0\0")
    bs.write_bundle(prefix, {b"a": there, b"b": there._replace(shard=2)}, header=header)
    data = prefix.with_name(prefix.name + ".data-00000-of-00001")
    data.rename(prefix.with_name(prefix.name + ".data-00000-of-00003"))
    bundle = TensorBundle(prefix)
    assert bundle.array(bundle.entries["a"]) == 7
    with pytest.raises(MissingShardError) as caught:
        bundle.array(bundle.entries["b"])
    assert caught.value.path == f"{prefix}.data-00002-of-00003"


def test_a_data_file_that_cannot_be_read(prefix: Path) -> None:
    bs.write_bundle(prefix, {b"a": Stored(INT32, (), b"\7\0\0\0")})
    bundle = TensorBundle(prefix)
    path = Path(bundle.data_path(0))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NotReadableError, match="not a regular file") as caught:
        bundle.array(bundle.entries["a"])
    assert caught.value.path == str(path)


def test_tensors_that_are_no_arrays(prefix: Path) -> None:
    tensors = {
        b"resource": Stored(20),
        b"unknown": Stored(99),
        b"variant": bs.variants([b""]),
        b"string": Stored(STRING, (0,), masked(0), masked(crc32c(masked(0)))),
        b"number": Stored(INT32, (), bytes(4)),
        b"rank": Stored(FLOAT, [1] * 100, bytes(4)),
        b"long": Stored(FLOAT, (0, 2**62, 2**62)),
    }
    bs.write_bundle(prefix, tensors)
    bundle = TensorBundle(prefix)
    for name in ("resource", "unknown", "variant", "rank", "long"):
        with pytest.raises(UsageError, match=name):
            bundle.array(bundle.entries[name])
    for name in ("resource", "unknown", "variant", "string"):
        with pytest.raises(UsageError, match=name):
            bundle.read(bundle.entries[name])
    with pytest.raises(UsageError, match="number"):
        bundle.strings(bundle.entries["number"])
    with pytest.raises(UsageError, match="number"):
        next(bundle.variants(bundle.entries["number"]))
    assert bundle.entries["unknown"].dtype == "dtype 99"
    assert bundle.strings(bundle.entries["string"]) == []
    assert bundle.read(bundle.entries["rank"]) == bytes(4)
