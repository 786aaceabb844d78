"""Tensor bundles for tests: built by hand, byte by byte, and taken apart by TensorFlow.

What is built here knows nothing of the readers and writers that are tested: it has protobuf's
messages from TensorFlow, or none, and another implementation of snappy.
"""

from __future__ import annotations

import math
import struct
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cramjam
from tf_support import tensorflow

from monolith_cli._native import crc32c

FLOAT, INT32, STRING, INT64, VARIANT = 1, 3, 7, 9, 21
DELIMITER = b"@@"


def varint(value: int) -> bytes:
    """As protobuf and LevelDB have it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a message: a number, or something with a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def masked(crc: int) -> bytes:
    """A checksum as it is stored."""
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF)


# ---- LevelDB's tables ----------------------------------------------------------------------------


def block(entries: Sequence[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    """A block's content: keys share prefixes with the one before, but for each 16th."""
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % restart_interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def stored(content: bytes, *, snappy: bool = False, kind: int | None = None) -> bytes:
    """A block as the file has it, with its type and checksum."""
    if snappy:
        content = bytes(cramjam.snappy.compress_raw(content))
    content += bytes([int(snappy) if kind is None else kind])
    return content + masked(crc32c(content))


def table(blocks: Iterable[bytes], names: Iterable[bytes], *, snappy: bool = False) -> bytes:
    """A table of blocks that are stored already; `names` are keys not below any in theirs."""
    out, handles = bytearray(), []
    for content in blocks:
        handles.append(varint(len(out)) + varint(len(content) - 5))
        out += content
    meta = varint(len(out)) + varint(len(block([])))
    out += stored(block([]))
    index = stored(block(list(zip(names, handles, strict=True)), 1), snappy=snappy)
    footer = meta + varint(len(out)) + varint(len(index) - 5)
    return bytes(out + index + footer.ljust(40, b"\0")) + bytes.fromhex("57fb808b247547db")


def table_of(
    entries: Sequence[tuple[bytes, bytes]], *, block_entries: int = 40, snappy: bool = False
) -> bytes:
    """A table of several blocks."""
    cuts = [entries[at : at + block_entries] for at in range(0, len(entries), block_entries)]
    return table(
        [stored(block(cut), snappy=snappy) for cut in cuts],
        [cut[-1][0] for cut in cuts],
        snappy=snappy,
    )


# ---- bundles -------------------------------------------------------------------------------------

HEADER = field(1, 1) + field(3, field(1, 1))
"""One data file, little-endian, version 1."""


class Stored(NamedTuple):
    """A tensor as the index has it; what is None is left out."""

    dtype: int
    shape: Sequence[int] = ()
    content: bytes = b""
    crc: bytes | None = None
    shard: int = 0
    offset: int | None = None
    size: int | None = None
    extra: bytes = b""


def shape_message(shape: Sequence[int]) -> bytes:
    """A TensorShapeProto."""
    return b"".join(field(2, field(1, size)) for size in shape)


def entry_message(tensor: Stored, offset: int) -> bytes:
    """A BundleEntryProto."""
    crc = masked(crc32c(tensor.content)) if tensor.crc is None else tensor.crc
    return (
        field(1, tensor.dtype)
        + field(2, shape_message(tensor.shape))
        + field(3, tensor.shard)
        + field(4, offset if tensor.offset is None else tensor.offset)
        + field(5, len(tensor.content) if tensor.size is None else tensor.size)
        + varint(6 << 3 | 5)
        + crc
        + tensor.extra
    )


def write_bundle(prefix: Path, tensors: Mapping[bytes, Stored], *, header: bytes = HEADER) -> None:
    """An index, and one data file with everything that is not said to lie elsewhere."""
    data = bytearray()
    entries = [(b"", header)]
    for name, tensor in sorted(tensors.items()):
        entries.append((name, entry_message(tensor, len(data))))
        data += tensor.content
    write_index(prefix, table_of(entries))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def write_index(prefix: Path, content: bytes) -> Path:
    """The index file."""
    path = prefix.with_name(prefix.name + ".index")
    path.write_bytes(content)
    return path


def variants(elements: Sequence[bytes], shape: Sequence[int] | None = None) -> Stored:
    """A tensor of variants."""
    content, crc = bytearray(), 0
    for element in elements:
        crc = crc32c(element, crc32c(struct.pack("<Q", len(element)), crc))
        content += varint(len(element)) + element + masked(crc)
        crc = crc32c(masked(crc), crc)
    shape = [len(elements)] if shape is None else shape
    return Stored(21, shape, bytes(content), masked(crc))


def state_part(
    name: bytes, values: Mapping[bytes, tuple[int, Sequence[int], list[bytes]]]
) -> bytes:
    """A part of an iterator's state: by key the number of a dtype, a shape, and the bytes."""
    content = b"".join(b"".join(pieces) for _, _, pieces in values.values())
    compressed = field(1, bytes(cramjam.snappy.compress_raw(content))) + b"".join(
        field(
            2,
            field(1, dtype)
            + field(2, shape_message(shape))
            + field(4, b"".join(varint(len(piece)) for piece in pieces)),
        )
        for dtype, shape, pieces in values.values()
    )
    element = field(1, b"tensorflow.data.CompressedElement") + field(2, compressed)
    tensor = field(1, 21) + field(2, b"") + field(15, element)
    return (
        field(1, b"tensorflow::Iterator")
        + field(2, DELIMITER.join([name, *values]))
        + field(3, tensor)
    )


# ---- as TensorFlow has it ------------------------------------------------------------------------


def save(prefix: Path, tensors: Mapping[str, Any]) -> None:
    """Write tensors with TensorFlow's op."""
    save_slices(prefix, [(name, "", tensor) for name, tensor in tensors.items()])


def save_slices(prefix: Path, parts: Sequence[tuple[str, str, Any]]) -> None:
    """Write tensors or slices of them: name, shape and slice as TensorFlow puts them, tensor."""
    names, slices, tensors = zip(*parts, strict=True)
    tensorflow().raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(names),
        shape_and_slices=list(slices),
        tensors=list(tensors),
    )


def merge(prefixes: Sequence[Path], prefix: Path) -> None:
    """Make one bundle of several, which keeps their data files."""
    tensorflow().raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(path) for path in prefixes], destination_prefix=str(prefix)
    )


def save_iterator(prefix: Path, iterator: Any) -> None:
    """Save an iterator's state the way that users do."""
    written = tensorflow().train.Checkpoint(iterator=iterator).write(str(prefix))
    assert written == str(prefix)


def variants_by_tensorflow(prefix: Path | str, name: str) -> list[Any]:
    """The elements of a variant tensor as TensorFlow restores them, as messages."""
    tf = tensorflow()
    (restored,) = tf.raw_ops.RestoreV2(
        prefix=str(prefix), tensor_names=[name], shape_and_slices=[""], dtypes=[tf.variant]
    )
    return messages_of(restored)


def messages_of(variants: Any) -> list[Any]:
    """The elements of a tensor of variants as TensorFlow serializes them."""
    from tensorflow.core.framework import tensor_pb2

    proto = tensor_pb2.TensorProto.FromString(tensorflow().io.serialize_tensor(variants).numpy())
    # All lengths, and then all elements.
    content, sizes, position = proto.tensor_content, [], 0
    for _ in range(math.prod(dim.size for dim in proto.tensor_shape.dim)):
        size = shift = 0
        while True:
            byte = content[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sizes.append(size)
    found = []
    for size in sizes:
        message = content[position : position + size]
        found.append(tensor_pb2.VariantTensorDataProto.FromString(message))
        position += size
    assert position == len(content)
    return found


def values_by_tensorflow(variant: Any) -> tuple[bytes, dict[bytes, Any]]:
    """A state part's name, and its values by key as arrays, uncompressed by TensorFlow's own op."""
    tf = tensorflow()
    from tensorflow.core.framework import dataset_pb2

    name, *keys = variant.metadata.split(DELIMITER)
    if not keys:
        return name, {}
    (compressed,) = variant.tensors
    element = dataset_pb2.CompressedElement.FromString(compressed.variant_val[0].metadata)
    components = element.component_metadata
    values = tf.raw_ops.UncompressElement(
        compressed=tf.io.parse_tensor(compressed.SerializeToString(), tf.variant),
        output_types=[tf.dtypes.as_dtype(component.dtype) for component in components],
        output_shapes=[tf.TensorShape(component.tensor_shape) for component in components],
    )
    assert len(keys) == len(values) == len(set(keys))
    return name, dict(zip(keys, values, strict=True))


# ---- readers -------------------------------------------------------------------------------------


@contextmanager
def little_memory(limit: int = 4 << 20) -> Iterator[None]:
    """At no moment of the block has it more bytes than that."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
