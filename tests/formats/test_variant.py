"""Iterator states, each key and value as TensorFlow itself reads them."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundle_support as bs
import cramjam
import numpy as np
import pytest
import tf_support
from bundle_support import FLOAT, INT64, STRING, VARIANT, Stored, field, masked
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.errors import CorruptionError
from monolith_cli.formats.dtypes import dtype_name
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.variant import StatePart, VariantElement, parse_state_part

NUMBERS = ["float32", "float64", "float16", "int8", "int16", "int32", "int64"]
NUMBERS += ["uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"]
STATE = "iterator/.ATTRIBUTES/ITERATOR_STATE"

Parts = list[tuple[StatePart, dict[str, Any]]]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "input_worker_1.ckpt-7"


def parts_of(prefix: Path, name: str = STATE) -> list[StatePart]:
    bundle = TensorBundle(prefix)
    return [parse_state_part(element) for element in bundle.variants(bundle.entries[name])]


def check_against_tensorflow(prefix: Path, name: str = STATE) -> Parts:
    """Every part, and of each every value; returns them with TensorFlow's values by our keys."""
    bundle = TensorBundle(prefix)
    ours = list(bundle.variants(bundle.entries[name]))
    theirs = bs.variants_by_tensorflow(prefix, name)
    assert len(ours) == len(theirs)
    found = []
    for element, variant in zip(ours, theirs, strict=True):
        assert element.type_name == variant.type_name
        assert bytes(element.metadata) == variant.metadata
        assert len(element.tensors) == len(variant.tensors)
        part = parse_state_part(element)
        their_name, values = bs.values_by_tensorflow(variant)
        assert part.name.encode() == their_name
        found.append((part, check_values(part, their_name, values)))
    return found


def check_values(part: StatePart, name: bytes, values: dict[bytes, Any]) -> dict[str, Any]:
    assert len(part.values) == len(values)
    assert part.size_bytes == sum(value.size_bytes for value in part.values)
    by_key = {}
    for i, (value, (key, tensor)) in enumerate(zip(part.values, values.items(), strict=True)):
        assert key.endswith(value.key.encode())
        # Short, but with all that tells it from others.
        assert value.key.encode() in (key, key.rpartition(b"|" + name)[2])
        assert value.dtype == tensor.dtype.name
        assert value.shape == tuple(tensor.shape)
        array = tensor.numpy()
        if value.dtype == "string":
            strings = np.atleast_1d(array).ravel().tolist()
            assert value.sizes == tuple(map(len, strings))
            assert part.content(i) == b"".join(strings)
            expected = strings[0] if len(strings) == 1 else None
        else:
            assert value.sizes == (array.nbytes,)
            assert part.content(i) == array.tobytes()
            expected = array.item() if array.size == 1 and array.dtype.kind in "iub" else None
        assert part.scalar(i) == expected
        assert part.get(value.key) == expected
        by_key[value.key] = tensor.numpy()
    return by_key


def get(parts: Parts, name: str, key: str) -> Any:
    """A value of the one part that has this name at its end."""
    (part,) = (part for part, _ in parts if part.name.endswith(name))
    return part.get(key)


# ---- every kind of dataset -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """TFRecord files of 20 records."""
    directory = tmp_path_factory.mktemp("records")
    paths = [str(directory / f"part-{number}") for number in range(3)]
    for number, path in enumerate(paths):
        tf_support.write_plain(path, [b"%d-%d" % (number, n) * (3 + n) for n in range(20)])
    return paths


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Text files of 20 lines."""
    directory = tmp_path_factory.mktemp("texts")
    paths = [directory / f"t{number}.txt" for number in range(3)]
    for path in paths:
        path.write_text("".join(f"line {path.stem} {n}\n" for n in range(20)))
    return list(map(str, paths))


Make = Callable[[Any, list[str], list[str]], Any]


def stateful(dataset: Any) -> Any:
    """With its state left out where TensorFlow cannot save it."""
    options = tf_support.tensorflow().data.Options()
    policy = tf_support.tensorflow().data.experimental.ExternalStatePolicy
    options.experimental_external_state_policy = policy.IGNORE
    return dataset.with_options(options)


DATASETS: dict[str, Make] = {
    "slices": lambda d, r, t: d.Dataset.from_tensor_slices(list(range(50))),
    "range": lambda d, r, t: d.Dataset.range(100).batch(4).prefetch(2),
    "records": lambda d, r, t: d.TFRecordDataset(r).batch(4).prefetch(2),
    "a file": lambda d, r, t: d.TFRecordDataset(r[0], num_parallel_reads=1),
    "lines": lambda d, r, t: d.TextLineDataset(t).take(50).skip(3).repeat(2),
    "fixed length": lambda d, r, t: d.FixedLengthRecordDataset(t, 5),
    "flat_map": lambda d, r, t: (
        d.Dataset.from_tensor_slices(r).flat_map(d.TFRecordDataset).repeat(3).shuffle(7, seed=1)
    ),
    "interleave": lambda d, r, t: (
        d.Dataset.from_tensor_slices(r).interleave(d.TFRecordDataset, cycle_length=2).batch(3)
    ),
    "parallel interleave": lambda d, r, t: d.Dataset.from_tensor_slices(r).interleave(
        d.TFRecordDataset, cycle_length=2, num_parallel_calls=2, deterministic=True
    ),
    "shuffle": lambda d, r, t: d.TFRecordDataset(r).shuffle(30, seed=3).batch(3),
    "shuffle and repeat": lambda d, r, t: d.Dataset.range(20).shuffle(5, seed=3).repeat(),
    "repeat": lambda d, r, t: d.Dataset.range(3).repeat(4),
    "map": lambda d, r, t: d.Dataset.range(50).map(lambda x: x + 1),
    "parallel map": lambda d, r, t: d.Dataset.range(50).map(
        lambda x: (x, d.Dataset.range(3).cardinality()), num_parallel_calls=2
    ),
    "batch": lambda d, r, t: d.Dataset.range(50).batch(7, num_parallel_calls=2),
    "padded batch": lambda d, r, t: d.Dataset.range(50).padded_batch(7),
    "cache": lambda d, r, t: d.Dataset.range(20).cache().shuffle(5).repeat(),
    "zip": lambda d, r, t: d.Dataset.zip((d.Dataset.range(30), d.Dataset.range(50).batch(2))),
    "concatenate": lambda d, r, t: d.Dataset.range(2).concatenate(d.Dataset.range(9)),
    "shard": lambda d, r, t: d.Dataset.range(100).shard(3, 1).prefetch(1),
    "filter": lambda d, r, t: d.Dataset.range(100).filter(lambda x: x % 2 == 0),
    "take and skip": lambda d, r, t: d.Dataset.range(100).skip(2).take(30).enumerate(),
    "numpy_function": lambda d, r, t: stateful(
        d.Dataset.range(30).map(
            lambda x: tf_support.tensorflow().numpy_function(lambda y: y * 2, [x], "int64")
        )
    ),
    "window": lambda d, r, t: d.Dataset.range(50).window(5).flat_map(lambda w: w.batch(5)),
    "large": lambda d, r, t: (
        d.Dataset.range(50).map(lambda x: tf_support.tensorflow().zeros([300, 7]) + 1.5).prefetch(3)
    ),
    "mixed": lambda d, r, t: d.Dataset.from_tensor_slices(
        {
            "f16": np.arange(8, dtype=np.float16),
            "f64": np.arange(16, dtype=np.float64).reshape(8, 2),
            "bool": np.arange(8) % 2 == 0,
            "u8": np.arange(8, dtype=np.uint8),
            "c64": np.arange(8, dtype=np.complex64),
            "text": [b"", b"a", b"\0\xff", b"x" * 200, b"y" * 70000, b"f", b"g", b"h"],
        }
    ).shuffle(6, seed=1),
}


@pytest.mark.parametrize("steps", [0, 5])
@pytest.mark.parametrize("kind", DATASETS)
def test_every_kind(
    prefix: Path, kind: str, steps: int, files: list[str], texts: list[str]
) -> None:
    iterator = iter(DATASETS[kind](tf_support.tensorflow().data, files, texts))
    for _ in range(steps):
        next(iterator)
    bs.save_iterator(prefix, iterator)
    parts = check_against_tensorflow(prefix)
    assert parts
    if steps == 0:
        return
    match kind:
        case "records":
            assert get(parts, "TFRecord", "current_file_index") == 0
            assert get(parts, "FlatMap", "inputs[0]") in [path.encode() for path in files]
            # As many as a thread of its own has fetched by then.
            assert get(parts, "Prefetch", "buffer_size") in (0, 1, 2)
        case "fixed length":
            assert get(parts, "FixedLengthRecordV2", "current_pos") % 5 == 0
        case "shuffle":
            assert get(parts, "Shuffle:buffer", "num_elements") == 30
            buffered = [by_key for part, by_key in parts if "Shuffle:buffer::" in part.name]
            assert len(buffered) == 30
        case "large":
            _, by_key = next(pair for pair in parts if pair[0].name.endswith("Prefetch::0"))
            assert by_key["buffer[0]"].shape == (300, 7)


def test_a_graph(prefix: Path) -> None:
    """The way of a job: a resource's state is a tensor, saved under the iterator's name."""
    tf = tf_support.tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        dataset = tf.data.Dataset.range(100).shuffle(10, seed=1).batch(2)
        iterator = v1.data.make_one_shot_iterator(dataset)
        element = iterator.get_next()
        state = tf.raw_ops.SerializeIterator(resource_handle=iterator._iterator_resource)
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=["IteratorV2:0_STATE", "IteratorV2_1:0_STATE"],
            shape_and_slices=["", ""],
            tensors=[state, state],
        )
        session.run([element])
        session.run([element])
        session.run(save)
    for name in ("IteratorV2:0_STATE", "IteratorV2_1:0_STATE"):
        parts = check_against_tensorflow(prefix, name)
        assert get(parts, "Shuffle:buffer", "num_elements") == 10


def test_a_state_that_was_merged_with_others(tmp_path: Path, prefix: Path) -> None:
    tf = tf_support.tensorflow()
    iterator = iter(tf.data.Dataset.range(10).prefetch(3))
    next(iterator)
    bs.save(tmp_path / "dense", {"v": tf.constant(1.0)})
    bs.save_iterator(tmp_path / "state", iterator)
    bs.merge([tmp_path / "dense", tmp_path / "state"], prefix)
    assert TensorBundle(prefix).entries[STATE].shard == 1
    check_against_tensorflow(prefix)


# ---- older states, whose values are tensors each -------------------------------------------------


def test_values_that_are_tensors_each() -> None:
    """TensorFlow's own way to put tensors in a variant, here of lists of tensors."""
    tf = tf_support.tensorflow()
    from tensorflow.core.framework import tensor_pb2

    rng = np.random.default_rng(3)
    arrays = {name: rng.integers(0, 100, (3, 2)).astype(name) for name in NUMBERS}
    arrays |= {f"{name} negative": -arrays[name] for name in ("int8", "int32", "int64", "float64")}
    arrays |= {
        f"{name} scalar": np.array(arrays[name][1, 1]) for name in ("int32", "float32", "uint64")
    }
    arrays |= {"no": np.zeros((0, 4), np.int16), "bool": arrays["bool"], "true": np.array(True)}
    arrays |= {"strings": np.array([b"a", b"", b"\0\xff" * 200], object)}
    arrays |= {"string": np.array(b"/data/part-0", object)}
    element = None
    for key, array in arrays.items():
        variant = tf.raw_ops.TensorListFromTensor(
            tensor=tf.constant(array[None]),
            element_shape=tf.constant(array.shape, tf.int32),
        )
        (message,) = bs.messages_of(variant)
        (tensor,) = message.tensors
        if element is None:
            element = message
            element.type_name = "tensorflow::Iterator"
            element.metadata = b"Iterator::Root::Shuffle"
            del element.tensors[:]
        element.metadata += b"@@" + key.encode()
        element.tensors.append(tensor)
    assert element is not None
    part = parse_state_part(VariantElement(element.SerializeToString()))
    values = {key.encode(): tf.constant(array) for key, array in arrays.items()}
    check_values(part, b"Iterator::Root::Shuffle", values)

    # TensorFlow takes it for an iterator's state, too.
    whole = tensor_pb2.TensorProto(dtype=VARIANT, variant_val=[element])
    restored = tf.io.parse_tensor(whole.SerializeToString(), tf.variant)
    _, theirs = bs.values_by_tensorflow(bs.messages_of(restored)[0])
    assert list(theirs) == list(values)
    for key, value in values.items():
        assert np.array_equal(theirs[key].numpy(), value.numpy())


def test_a_tensor_with_its_content_as_bytes() -> None:
    tensor = field(1, INT64) + field(4, (7).to_bytes(8, "little"))
    part = StatePart(memoryview(field(2, b"name@@key") + field(3, tensor) + field(3, b"")[:0]))
    assert part.get("key") == 7


@pytest.mark.parametrize(
    "tensor",
    [
        field(1, INT64) + field(2, bs.shape_message([3])) + field(10, b"\1\2"),
        field(1, INT64) + field(10, b"\1\2"),
        field(1, INT64),
        field(1, FLOAT) + field(2, bs.shape_message([2**40, 2**40])) + field(5, bytes(8)),
        field(1, INT64) + field(10, b"\x80"),
    ],
)
def test_tensors_with_other_values_than_their_shape_says(tensor: bytes) -> None:
    other = field(1, INT64) + field(10, b"\5")
    part = StatePart(memoryview(field(2, b"n@@a@@b") + field(3, tensor) + field(3, other)))
    assert part.get("b") == 5
    with pytest.raises(ValueError, match=r"bytes in a|beyond the end"):
        part.content(0)


def test_a_value_that_is_a_variant() -> None:
    tensor = field(1, VARIANT) + field(15, field(1, b"tensorflow::Tensors"))
    part = StatePart(memoryview(field(2, b"n@@a@@b") + 2 * field(3, tensor)))
    assert [value.size_bytes for value in part.values] == [len(tensor)] * 2
    assert part.content(1) == tensor
    assert part.scalar(1) is None


def test_a_part_of_many_values_takes_no_time() -> None:
    """One for each element in a buffer, as older versions have it."""
    count = 20_000
    number = field(1, INT64) + field(10, b"\x07")
    keys = b"@@".join([b"n", *(b"buffer_%d_size" % n for n in range(count))])
    old = StatePart(memoryview(field(2, keys) + count * field(3, number)))
    values = {b"k%d" % n: (INT64, (), [n.to_bytes(8, "little")]) for n in range(count)}
    new = StatePart(memoryview(bs.state_part(b"n", values)))
    assert [old.scalar(i) for i in range(count)] == [7] * count
    assert [new.scalar(i) for i in range(count)] == list(range(count))


# ---- parts built by hand -------------------------------------------------------------------------


def part_of(values: dict[bytes, Any], name: bytes = b"Iterator::Root") -> StatePart:
    return StatePart(memoryview(bs.state_part(name, values)))


def test_keys_with_the_name_in_them() -> None:
    names = [b"Iterator::Root::TensorSlice", b"", b"\xff|\xfe"]
    for name in names:
        number = (INT64, (), [bytes(8)])
        part = part_of({b"60d8|" + name + b":index": number, b"next": number, b"": number}, name)
        assert part.name.encode("utf-8", "surrogateescape") == name
        assert part.values[1].key == "next"
        assert part.values[2].key == ""
        if b"|" not in name:
            assert part.values[0].key == ":index"


def test_large_values_are_uncompressed_alone() -> None:
    rng = random.Random(1)
    values: dict[bytes, Any] = {}
    for n in range(50):
        values[b"number %d" % n] = (INT64, (), [rng.randbytes(8)])
        values[b"large %d" % n] = (STRING, (2,), [rng.randbytes(70_000), rng.randbytes(n)])
    part = part_of(values)
    tracemalloc.start()
    for i, (_, _, pieces) in enumerate(values.values()):
        assert part.content(i) == b"".join(pieces)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(STRING), st.lists(st.binary(max_size=300), max_size=5)),
            st.tuples(st.just(INT64), st.binary(min_size=8, max_size=8).map(lambda b: [b])),
            st.tuples(st.just(STRING), st.integers(0, 9000).map(lambda n: [b"ab" * n])),
        ),
        max_size=8,
    )
)
def test_any_part(drawn: list[tuple[int, list[bytes]]]) -> None:
    values = {
        b"key %d" % n: (dtype, (len(pieces),), pieces) for n, (dtype, pieces) in enumerate(drawn)
    }
    part = part_of(values)
    assert part.name == "Iterator::Root"
    assert part.size_bytes == sum(len(piece) for _, pieces in drawn for piece in pieces)
    for i, (dtype, pieces) in enumerate(drawn):
        value = part.values[i]
        assert (value.key, value.dtype) == (f"key {i}", dtype_name(dtype))
        assert value.sizes == tuple(map(len, pieces))
        assert part.content(i) == b"".join(pieces)


def test_what_has_no_key_and_what_is_no_number() -> None:
    part = part_of(
        {
            b"f": (FLOAT, (), [bytes(4)]),
            b"two": (INT64, (2,), [bytes(16)]),
            b"long": (INT64, (), [bytes(100)]),
            b"strings": (STRING, (2,), [b"a", b"b"]),
            b"none": (STRING, (1,), []),
            b"i": (INT64, (1, 1), [b"\xff" * 8]),
            b"u": (23, (), [b"\xff" * 8]),
            b"b": (10, (), [b"\1"]),
        }
    )
    for key in ("f", "two", "long", "strings", "none", "gone"):
        assert part.get(key) is None
    assert (part.get("i"), part.get("u"), part.get("b")) == (-1, 2**64 - 1, 1)


# ---- damage --------------------------------------------------------------------------------------


def compressed(element: bytes, keys: bytes = b"n@@a") -> bytes:
    """A part with this for a CompressedElement."""
    variant = field(1, b"tensorflow.data.CompressedElement") + field(2, element)
    return field(2, keys) + field(3, field(1, VARIANT) + field(15, variant))


NUMBER = field(2, field(1, INT64) + field(4, 8))
BLOCK = field(1, bytes(cramjam.snappy.compress_raw(bytes(8))))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x0a\x05ab", "no variant"),
        (b"\x07", "no variant"),
        (field(2, b"n@@a"), "more keys than values"),
        (field(2, b"n") + field(3, b""), "fewer keys than values"),
        (field(2, b"n@@a") + field(3, b"\xff"), "no tensor"),
        (field(2, b"n@@a") + field(3, field(15, b"\xff")), "no tensor"),
        (field(2, b"n@@a") + field(3, field(2, b"\x18\1")), "no tensor"),  # rank unknown
        (compressed(BLOCK + NUMBER, b"n"), "fewer keys"),
        (compressed(BLOCK + NUMBER, b"n@@a@@b"), "more keys"),
        (compressed(BLOCK + b"\xff"), "no CompressedElement"),
        (compressed(BLOCK + field(2, field(2, b"\xff"))), "no CompressedElement"),
        (compressed(BLOCK + field(2, field(4, b"\x80"))), "no CompressedElement"),
        (compressed(NUMBER), "not as long as"),
        (compressed(BLOCK + field(2, field(4, 9))), "not as long as"),
        (compressed(BLOCK + field(2, field(4, 2**64 - 1))), "not as long as"),
        # Four gigabytes out of a few bytes.
        (
            compressed(field(1, b"\xff\xff\xff\xff\x0f\0") + field(2, field(4, 2**32 - 1))),
            "not as long as",
        ),
    ],
)
def test_parts_that_cannot_be(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        StatePart(memoryview(data))
    if what == "no variant":
        with pytest.raises(ValueError, match=what):
            VariantElement(data)


def test_values_that_do_not_decompress() -> None:
    part = StatePart(memoryview(compressed(field(1, b"\x08\x04ab\x01\x00") + NUMBER)))
    assert part.size_bytes == 8
    with pytest.raises(ValueError, match="snappy"):
        part.get("a")


def test_an_element_without_anything() -> None:
    part = StatePart(memoryview(b""))
    assert (part.name, part.values, part.size_bytes) == ("", (), 0)
    part = StatePart(memoryview(compressed(b"", b"n")))
    assert (part.name, part.values, part.size_bytes) == ("n", (), 0)


ELEMENTS = [bs.state_part(b"It::Range", {b"next": (INT64, (), [bytes(8)])}), b"", field(1, b"x")]


def corruption(prefix: Path, tensor: Stored, limit: int = 4 << 20) -> CorruptionError:
    bs.write_bundle(prefix, {b"before": Stored(FLOAT, (), bytes(4)), b"v": tensor})
    bundle = TensorBundle(prefix)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError) as caught:
            for _ in bundle.variants(bundle.entries["v"]):
                pass
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
    assert caught.value.path == bundle.data_path(0)
    return caught.value


def test_elements_one_by_one(prefix: Path) -> None:
    bs.write_bundle(prefix, {b"v": bs.variants(ELEMENTS), b"none": bs.variants([])})
    bundle = TensorBundle(prefix)
    assert list(bundle.variants(bundle.entries["none"])) == []
    found = [bytes(element.data) for element in bundle.variants(bundle.entries["v"])]
    assert found == ELEMENTS


def test_elements_longer_than_what_is_read_at_once(prefix: Path) -> None:
    rng = random.Random(4)
    sizes = [3 << 20, 10, 1 << 20, (1 << 20) - 9, 700_000, 700_000, 0, 127, 128, 2 << 20]
    elements = [field(2, rng.randbytes(size)) for size in sizes]
    bs.write_bundle(prefix, {b"v": bs.variants(elements)})
    bundle = TensorBundle(prefix)
    for number, element in enumerate(bundle.variants(bundle.entries["v"])):
        assert element.data == elements[number]
    assert number == len(sizes) - 1


@pytest.mark.parametrize("count", [4, 2**40, 2**62])
def test_fewer_elements_than_the_shape_says(prefix: Path, count: int) -> None:
    error = corruption(prefix, bs.variants(ELEMENTS, [count]))
    assert (error.kind, error.offset) == ("truncated_data", 4 + len(bs.variants(ELEMENTS).content))


def test_more_elements_than_the_shape_says(prefix: Path) -> None:
    error = corruption(prefix, bs.variants(ELEMENTS, [2]))
    assert (error.kind, error.offset) == ("bad_data_crc", 4)


@pytest.mark.parametrize(
    ("length", "kind"),
    [
        (bs.varint(2**62), "truncated_data"),
        (bs.varint(2**64 - 1), "truncated_data"),
        (bs.varint(10**9), "truncated_data"),
        (b"\x80", "truncated_data"),
        (b"\xff" * 11, "bad_data"),
    ],
)
def test_lengths_that_cannot_be(prefix: Path, length: bytes, kind: str) -> None:
    good = bs.variants(ELEMENTS)
    tensor = Stored(VARIANT, (4,), good.content + length)
    error = corruption(prefix, tensor)
    assert (error.kind, error.offset) == (kind, 4 + len(good.content))


def test_an_element_that_is_no_message(prefix: Path) -> None:
    error = corruption(prefix, bs.variants([*ELEMENTS, b"\x0a\x05ab"]))
    assert (error.kind, error.offset) == ("bad_data", 4 + len(bs.variants(ELEMENTS).content) + 1)
    assert "no variant" in str(error)


def test_checksums(prefix: Path) -> None:
    good = bs.variants(ELEMENTS)
    wrong = bytearray(good.content)
    wrong[-1] ^= 1
    last = 4 + len(bs.variants(ELEMENTS[:-1]).content)
    error = corruption(prefix, good._replace(content=bytes(wrong)))
    assert (error.kind, error.offset) == ("bad_data_crc", last)
    error = corruption(prefix, good._replace(crc=masked(1)))
    assert (error.kind, error.offset) == ("bad_data_crc", 4)
