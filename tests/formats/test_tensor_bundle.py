"""Dense tensors and strings of tensor bundles, value by value as TensorFlow reads them."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bundle_support as bs
import numpy as np
import pytest
import table_support
import tf_support
from bundle_support import Stored, field, masked
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli._native import crc32c
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    NotReadableError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

FLOAT, INT32, STRING, INT64, VARIANT = 1, 3, 7, 9, 21


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt-7"


@contextmanager
def little_memory(limit: int = 4 << 20) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


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
    with pytest.raises(NotReadableError, match="no regular file") as caught:
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


# ---- damage --------------------------------------------------------------------------------------


def corruption(action: Any) -> CorruptionError:
    with little_memory(), pytest.raises(CorruptionError) as caught:
        action()
    return caught.value


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (b"", "0 data files"),
        (field(1, 0), "0 data files"),
        (field(1, 2**40), "1099511627776 data files"),
        (field(1, 1) + field(2, 1), "big-endian"),
        (field(1, 1) + field(3, field(2, 2)), "a reader of version 2"),
        (b"\xff", "beyond the end"),
    ],
)
def test_headers(prefix: Path, header: bytes, what: str) -> None:
    bs.write_bundle(prefix, {}, header=header)
    error = corruption(lambda: TensorBundle(prefix))
    assert (error.path, error.offset, error.kind) == (f"{prefix}.index", 0, "bad_entry")
    assert "the header" in str(error)
    assert what in str(error)


def test_no_header(prefix: Path) -> None:
    bs.write_index(prefix, bs.table_of([(b"a", b"")]))
    assert "without a header" in str(corruption(lambda: TensorBundle(prefix)))
    bs.write_index(prefix, bs.table([], []))
    assert "without a header" in str(corruption(lambda: TensorBundle(prefix)))


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"\xff", "beyond the end"),
        (field(1, 1) + field(3, 1), "in data file 1 of 1"),
        (field(1, 1) + field(3, 2**64 - 1), "in data file"),
        (field(4, 2**64 - 1), "a negative place"),
        (field(5, 2**63), "a negative place"),
        (field(2, b"\x18\x01"), "unknown rank"),
        (field(7, field(1, field(1, 0) + field(2, 3))), "a slice of it is not there"),
        (field(7, b"\xff"), "beyond the end"),
    ],
)
def test_entries(prefix: Path, message: bytes, what: str) -> None:
    bs.write_index(prefix, bs.table_of([(b"", bs.HEADER), (b"some/name", message)]))
    error = corruption(lambda: TensorBundle(prefix))
    assert (error.path, error.kind) == (f"{prefix}.index", "bad_entry")
    assert "some/name" in str(error)
    assert what in str(error)


@pytest.mark.parametrize(
    "tensor",
    [
        Stored(FLOAT, (2,), bytes(4)),
        Stored(FLOAT, (), bytes(8)),
        Stored(FLOAT, (2**40,), bytes(8)),
        Stored(FLOAT, [2**62] * 200, bytes(8)),
        Stored(FLOAT, (0,), bytes(8)),
    ],
)
def test_sizes_that_are_not_those_of_the_shape(prefix: Path, tensor: Stored) -> None:
    bs.write_bundle(prefix, {b"v": tensor})
    bundle = TensorBundle(prefix)
    error = corruption(lambda: bundle.array(bundle.entries["v"]))
    assert (error.path, error.kind) == (f"{prefix}.index", "bad_entry")


@pytest.mark.parametrize("size", [5, 2**40, 2**62])
@pytest.mark.parametrize("dtype", [FLOAT, STRING, VARIANT])
def test_places_beyond_the_data_file(prefix: Path, size: int, dtype: int) -> None:
    bs.write_bundle(
        prefix,
        {
            b"at": Stored(dtype, (1,), offset=size, size=4),
            b"size": Stored(dtype, (size // 4,), b"1234", size=size // 4 * 4 + 4 * (size == 5)),
        },
    )
    bundle = TensorBundle(prefix)
    read = {
        FLOAT: bundle.array,
        STRING: bundle.strings,
        VARIANT: lambda e: list(bundle.variants(e)),
    }
    error = corruption(lambda: read[dtype](bundle.entries["at"]))
    assert (error.path, error.offset, error.kind) == (bundle.data_path(0), 4, "truncated_data")
    entry = bundle.entries["size"]._replace(shape=(size // 4 + (size == 5),))
    error = corruption(lambda: read[dtype](entry))
    assert error.path in (bundle.data_path(0), bundle.index_path)
    assert error.kind in ("truncated_data", "bad_entry")


@pytest.mark.parametrize(
    ("content", "count", "what"),
    [
        (b"", 1, "1 strings in 0 bytes"),
        (b"\1" + bytes(5), 2**62, "strings in 6 bytes"),
        (b"\1\1", 2, "the checksum of its lengths is wrong"),
        (b"\x80", 1, "beyond the end"),
        (b"\xff" * 11 + bytes(5), 1, "more than ten bytes"),
        (b"\2" + masked(crc32c(b"\2\0\0\0")) + b"a", 1, "do not fill its bytes"),
        (b"\1" + masked(crc32c(b"\1\0\0\0")) + b"ab", 1, "do not fill its bytes"),
        (b"\1" + masked(crc32c(b"\1\0\0\0")) + b"a", 1, "the checksum is wrong"),
        # A petabyte, which the file does not have.
        (
            b"\x80\x80\x80\x80\x80\x80\x80\2" + masked(crc32c((1 << 50).to_bytes(8, "little"))),
            1,
            "do not fill its bytes",
        ),
    ],
)
def test_strings_that_cannot_be(prefix: Path, content: bytes, count: int, what: str) -> None:
    bs.write_bundle(
        prefix, {b"a": Stored(INT32, (), bytes(4)), b"s": Stored(STRING, (count,), content)}
    )
    bundle = TensorBundle(prefix)
    for read in (bundle.strings, bundle.array):
        error = corruption(lambda read=read: read(bundle.entries["s"]))
        assert (error.path, error.offset) == (bundle.data_path(0), 4)
        assert error.kind in ("bad_data", "bad_data_crc")
        assert what in str(error)


def slice_message(*extents: tuple[int, int]) -> bytes:
    """A TensorSliceProto, as a field of an entry."""
    return field(7, b"".join(field(1, field(1, at) + field(2, size)) for at, size in extents))


@pytest.mark.parametrize(
    ("shape", "parts", "what"),
    [
        ((4,), {(0, 2): (2,)}, "are not the whole of it"),
        ((2,), {(0, 2): (2,), (1, 1): (1,)}, "are not the whole of it"),
        ((4,), {(0, 2): (2,), (1, 2): (2,)}, "does not fit"),  # they overlap
        ((4,), {(0, 2): (1,), (2, 2): (3,)}, "does not fit"),
        ((4,), {(0, 2): (2,), (3, 2): (2,)}, "does not fit"),  # beyond the end
        ((4,), {(0, 2): (2,), (9, 2): (2,)}, "does not fit"),
        ((2, 2), {(0, 2): (4,)}, "does not fit"),
        ((2**40,), {(0, 2): (2,)}, "are not the whole of it"),
    ],
)
def test_slices_that_do_not_make_the_tensor(
    prefix: Path, shape: tuple[int, ...], parts: dict[tuple[int, int], tuple[int, ...]], what: str
) -> None:
    def key(at: int, size: int) -> bytes:
        return b"\0s\0\1\1\1" + bytes([0x80 | at, 0x80 | size])

    tensors = {
        key(*place): Stored(INT32, part, bytes(4 * part[0])) for place, part in parts.items()
    }
    extra = b"".join(slice_message(place) for place in parts)
    tensors[b"s"] = Stored(INT32, shape, extra=extra)
    bs.write_bundle(prefix, tensors)
    bundle = TensorBundle(prefix)
    error = corruption(lambda: bundle.array(bundle.entries["s"]))
    assert (error.path, error.kind) == (f"{prefix}.index", "bad_entry")
    assert what in str(error)


def test_a_slice_of_another_dtype(prefix: Path) -> None:
    part = Stored(FLOAT, (2,), bytes(8))
    keys = [b"\0s\0\1\1\1" + bytes([0x80 | at, 0x82]) for at in (0, 2)]
    extra = slice_message((0, 2)) + slice_message((2, 2))
    bs.write_bundle(prefix, {keys[0]: part, keys[1]: part, b"s": Stored(INT32, (4,), extra=extra)})
    bundle = TensorBundle(prefix)
    assert "does not fit" in str(corruption(lambda: bundle.array(bundle.entries["s"])))


def small_bundle(prefix: Path) -> dict[str, Any]:
    """One of each kind; what is read of it."""
    strings = b"\2\1" + masked(crc32c(b"\2\0\0\0\1\0\0\0")) + b"abc"
    crc = crc32c(b"abc", crc32c(strings[2:6], crc32c(b"\2\0\0\0\1\0\0\0")))
    bs.write_bundle(
        prefix,
        {
            b"f": Stored(FLOAT, (2,), b"\0\0\x80\x3f\0\0\0\xc0"),
            b"s": Stored(STRING, (2,), strings, masked(crc)),
            b"v": bs.variants(
                [bs.state_part(b"It::Range", {b"next": (INT64, (), [bytes(8)])})] * 2
            ),
        },
    )
    return read_all(prefix)


def read_all(prefix: Path) -> dict[str, Any]:
    bundle = TensorBundle(prefix)
    found: dict[str, Any] = {}
    for name, entry in bundle.entries.items():
        if entry.dtype == "variant":
            found[name] = [bytes(element.data) for element in bundle.variants(entry)]
        else:
            found[name] = bundle.array(entry).tolist()
    return found


def test_a_flipped_bit_anywhere_is_seen(prefix: Path) -> None:
    good = small_bundle(prefix)
    assert good["f"] == [1.0, -2.0]
    assert good["s"] == [b"ab", b"c"]
    paths = [Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")]
    for path in paths:
        content = path.read_bytes()
        for at in range(len(content)):
            damaged = bytearray(content)
            damaged[at] ^= 1 << at % 8
            path.write_bytes(damaged)
            try:
                found = read_all(prefix)
            except CorruptionError as error:
                where = (error.path, error.offset is not None)
            else:
                # The index's footer is padded with bytes that mean nothing; the data has none.
                assert path is paths[0]
                assert at >= len(content) - 48
                assert found == good
                continue
            assert where == (str(path), True)
        path.write_bytes(content)


def test_a_data_file_that_is_cut_off_anywhere(prefix: Path) -> None:
    small_bundle(prefix)
    path = Path(f"{prefix}.data-00000-of-00001")
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        error = corruption(lambda: read_all(prefix))
        assert (error.path, error.offset, error.kind) == (str(path), size, "truncated_data")
    path.write_bytes(content + b"more")
    assert read_all(prefix)
