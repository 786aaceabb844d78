"""TensorFlow's tensor bundle: `<prefix>.index` and `<prefix>.data-00000-of-00001`.

A data file is tensors' bytes one after another. The index is a LevelDB table. Key "" holds a
BundleHeaderProto; every other key is a tensor's name and holds a BundleEntryProto with dtype,
shape, data file, offset, size and checksum. Of a tensor that was saved in slices (a partitioned
variable's) the entry under its name says which; each has an entry of its own under a key that is
made of name and slice.

Source: tensorflow/core/protobuf/tensor_bundle.proto, and how tensorflow/core/util/tensor_bundle and
tensorflow/core/util/saved_tensor_slice_util write it.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.formats import wire
from monolith_cli.formats.dtypes import (
    DTYPE_BYTES,
    dtype_name,
    parse_shape,
)
from monolith_cli.formats.leveldb_table import TableEntry, read_table
from monolith_cli.formats.variant import VariantElement
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np

    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.protocols import OpenFile

__all__ = [
    "Slice",
    "TensorBundle",
    "TensorEntry",
    "cut_off",
    "mask_crc32c",
    "other_format",
    "parse_header",
]

# What NumPy does not know, as what it is stored as.
_STORED_AS = {
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "qint16": "int16",
    "quint16": "uint16",
    "bfloat16": "uint16",
    "float8_e5m2": "uint8",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e4m3b11fnuz": "uint8",
    "float8_e5m2fnuz": "uint8",
    "int4": "uint8",
    "uint4": "uint8",
    "int2": "uint8",
    "uint2": "uint8",
    "float4_e2m1fn": "uint8",
}
_BIG_ENDIAN = 1
_VERSION = 1
_READ_BYTES = 1 << 20
_MAX_SHARDS = 100_000
_HINT = "restore it from a copy, or take another step"


class Slice(NamedTuple):
    """A part of a tensor: where it starts in each dimension, and how far it goes; None: all."""

    starts: tuple[int, ...]
    lengths: tuple[int | None, ...]


class TensorEntry(NamedTuple):
    """What the index says of a tensor.

    Attributes
    ----------
    name
        Bytes that are no UTF-8 become surrogates.
    dtype
        Such as `float32`, `string` or `variant`; `dtype 99` for one that is not known.
    shape
        Of the whole tensor.
    shard, offset, size_bytes
        The number of the data file, and where in it the bytes are; of a tensor in slices, the sum
        of their bytes.
    masked_crc32c
        As it is stored; what it covers depends on the dtype.
    slices
        Entries of its parts; empty if it is stored in one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int
    masked_crc32c: int
    slices: tuple[tuple[Slice, TensorEntry], ...] = ()


class TensorBundle:
    """An index, read whole and verified; data files are opened for each tensor that is read.

    Opening takes 12 µs an entry. Nothing of a data file is read before it is asked for.

    Parameters
    ----------
    prefix
        Path without suffix, such as `model/model.ckpt-10`.
    strict
        As of `read_table`.

    Attributes
    ----------
    prefix
    shards
        How many data files there are.
    entries
        By name, in the order of the index: names ascending as bytes.

    Raises
    ------
    PathNotFoundError, NotReadableError
        The operating system refused to open the index.
    CorruptionError
        As `read_table`; and kind `bad_entry` for what is no header or no entry.
    """

    def __init__(self, prefix: AnyPath, *, strict: bool = False) -> None:
        self.prefix = as_location(prefix)
        self.index_path = f"{self.prefix}.index"
        self.shards = 0
        self.entries: dict[str, TensorEntry] = {}
        sliced: dict[str, tuple[TensorEntry, list[Slice]]] = {}
        parts: dict[bytes, TensorEntry] = {}
        for key, value, offset in self._index(strict):
            try:
                if not self.shards:
                    self.shards = parse_header(key, value)
                    continue
                entry, slices = _parse_entry(key, value)
                if entry.shard >= self.shards:
                    raise ValueError(f"it is in data file {entry.shard} of {self.shards}")
            except ValueError as error:
                raise self._bad_entry(key, str(error), offset) from error
            if key[:1] == b"\0":
                parts[key] = entry
                continue
            self.entries[entry.name] = entry
            if slices:
                sliced[entry.name] = entry, slices
        if not self.shards:
            raise self._bad_entry(b"", "an index without a header")
        for name, (entry, slices) in sliced.items():
            try:
                found = tuple((part, parts[_slice_key(_key(entry), part)]) for part in slices)
            except KeyError as error:
                raise self._bad_entry(_key(entry), "a slice of it is not there") from error
            total = sum(part.size_bytes for _, part in found)
            self.entries[name] = entry._replace(size_bytes=total, slices=found)

    @classmethod
    def of_values(cls, prefix: AnyPath, shards: int) -> TensorBundle:
        """One without its index, which has been read elsewhere: it reads values by their entries.

        Parameters
        ----------
        shards
            How many data files there are.
        """
        bundle = cls.__new__(cls)
        bundle.prefix = as_location(prefix)
        bundle.index_path = f"{bundle.prefix}.index"
        bundle.shards = shards
        bundle.entries = {}
        return bundle

    def _index(self, strict: bool) -> Iterator[TableEntry]:
        try:
            yield from read_table(self.index_path, strict=strict)
        except CorruptionError as error:
            error.hint = error.hint or _HINT
            raise

    def data_path(self, shard: int) -> str:
        """The path of a data file."""
        return f"{self.prefix}.data-{shard:05d}-of-{self.shards:05d}"

    def read(self, entry: TensorEntry) -> bytes:
        """A tensor's bytes in C order, little-endian, verified; fixed-size dtypes in one part.

        Raises
        ------
        UsageError
            Its elements have no fixed size, or it is in slices: `array` joins them.
        MissingShardError
            The data file is not there.
        NotReadableError
            The operating system refused.
        CorruptionError
            Kinds `truncated_data`, `bad_data_crc`; `not_data` for a file of another format;
            `bad_entry` if dtype, shape and size disagree.
        """
        from monolith_cli._native import masked_crc32c

        self._element_bytes(entry)
        with self._open(entry) as file:
            data = self._read_exactly(file, entry, entry.offset, entry.size_bytes)
        if masked_crc32c(data) != entry.masked_crc32c:
            raise self._bad_data(entry)
        return data

    def pieces(self, entry: TensorEntry) -> Iterator[np.ndarray[Any, Any]]:
        """The values of a tensor of a fixed size, flat, a mebibyte at a time: as `array` has them.

        The checksum is verified behind the last piece. Raises as `read`.
        """
        from monolith_cli._native import crc32c

        size = self._element_bytes(entry)
        step = _READ_BYTES // size * size
        crc = 0
        with self._open(entry) as file:
            for start in range(0, entry.size_bytes, step):
                wanted = min(step, entry.size_bytes - start)
                data = self._read_exactly(file, entry, entry.offset + start, wanted)
                crc = crc32c(data, crc)
                yield self._values(entry, data)
        if mask_crc32c(crc) != entry.masked_crc32c:
            raise self._bad_data(entry)

    def verify(self, entry: TensorEntry) -> None:
        """Read a value that is stored in one part, and check it against its checksum.

        Memory is that of a megabyte, but for strings and variants, of which it is that of the
        whole, or of the largest element. A dtype that is not known is read as bytes.

        Raises
        ------
        MonolithError
            As `read`, `strings` and `variants`.
        """
        from monolith_cli._native import crc32c

        if entry.dtype == "string":
            self.strings(entry)
            return
        if entry.dtype == "variant":
            for _ in self.variants(entry):
                pass
            return
        count = math.prod(entry.shape)
        size = DTYPE_BYTES.get(entry.dtype)
        if size is not None and count * size != entry.size_bytes:
            what = f"{entry.size_bytes} bytes are no {count} {entry.dtype}"
            raise self._bad_entry(_key(entry), what)
        crc, position, end = 0, entry.offset, entry.offset + entry.size_bytes
        with self._open(entry) as file:
            while position < end:
                chunk = self._read_exactly(file, entry, position, min(_READ_BYTES, end - position))
                crc = crc32c(chunk, crc)
                position += len(chunk)
        if mask_crc32c(crc) != entry.masked_crc32c:
            raise self._bad_data(entry)

    def array(self, entry: TensorEntry) -> np.ndarray[Any, Any]:
        """A tensor as an array; strings as an object array of bytes.

        bfloat16 becomes float32 of the same value, and quantized integers become integers. Floats
        of 8 bits, and what has fewer, become uint8 of the same bits.

        Raises
        ------
        UsageError
            A variant, a resource, or a dtype that is not known; a shape that NumPy cannot have.
        MonolithError
            As `read`; kind `bad_entry` for slices that do not make the tensor.
        """
        import numpy as np

        if entry.dtype == "string" and not entry.slices:
            strings = self.strings(entry)
            found = np.empty(len(strings), object)
            found[:] = strings
            return self._shaped(found, entry)
        if entry.dtype not in DTYPE_BYTES and entry.dtype != "string":
            raise UsageError(f"{entry.name} is a {entry.dtype}, which is not an array")
        if entry.slices:
            return self._joined(entry)
        return self._shaped(self._values(entry, self.read(entry)), entry)

    def _element_bytes(self, entry: TensorEntry) -> int:
        """The size of an element, of a tensor that is stored in one; raises as `read`."""
        if entry.slices or entry.dtype not in DTYPE_BYTES:
            raise UsageError(f"{entry.name} has no bytes that could be read in one")
        count, size = math.prod(entry.shape), DTYPE_BYTES[entry.dtype]
        if count * size != entry.size_bytes:
            what = f"{entry.size_bytes} bytes are no {count} {entry.dtype}"
            raise self._bad_entry(_key(entry), what)
        return size

    def _values(self, entry: TensorEntry, data: bytes) -> np.ndarray[Any, Any]:
        """Some of a tensor's bytes as what `array` says, flat."""
        import numpy as np

        stored = np.dtype(_STORED_AS.get(entry.dtype, entry.dtype)).newbyteorder("<")
        values = np.frombuffer(data, stored)
        if entry.dtype == "bfloat16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values

    def strings(self, entry: TensorEntry) -> list[bytes]:
        """The elements of a string tensor in C order, verified.

        Raises
        ------
        MonolithError
            As `read`; kind `bad_data` for lengths that cannot be.
        """
        from monolith_cli._native import crc32c

        if entry.dtype != "string" or entry.slices:
            raise UsageError(f"{entry.name} is not a tensor of strings in one part")
        count = math.prod(entry.shape)
        if count > entry.size_bytes:  # each has a length, of a byte at least
            raise self._bad_data(entry, f"{count} strings in {entry.size_bytes} bytes", "bad_data")
        with self._open(entry) as file:
            data = self._read_exactly(file, entry, entry.offset, entry.size_bytes)
        lengths, position = [], 0
        try:
            for _ in range(count):
                length, position = wire.read_varint(data, position)
                lengths.append(length)
        except ValueError as error:
            raise self._bad_data(entry, str(error), "bad_data") from error
        # Its checksums cover the lengths as numbers of four bytes, or of eight where needed.
        crc = crc32c(b"".join(n.to_bytes(4 if n < 1 << 32 else 8, "little") for n in lengths))
        stored = data[position : position + 4]
        position += 4
        if stored != struct.pack("<I", mask_crc32c(crc)):
            raise self._bad_data(entry, "the checksum of its lengths is wrong")
        if sum(lengths) != len(data) - position:
            raise self._bad_data(entry, "its strings do not fill its bytes", "bad_data")
        crc = crc32c(stored, crc)
        if mask_crc32c(crc32c(memoryview(data)[position:], crc)) != entry.masked_crc32c:
            raise self._bad_data(entry)
        found = []
        for length in lengths:
            found.append(data[position : position + length])
            position += length
        return found

    def variants(self, entry: TensorEntry) -> Iterator[VariantElement]:
        """The elements of a tensor of variants, one at a time, each verified.

        Memory is that of the largest element. A length that cannot be is seen before anything is
        read by it. The checksum over all elements is verified after the last.

        Raises
        ------
        MonolithError
            As `read`; kind `bad_data` for an element that is no message.
        """
        from monolith_cli._native import scan_variants

        if entry.dtype != "variant" or entry.slices:
            raise UsageError(f"{entry.name} is not a tensor of variants")
        left, crc, wanted = math.prod(entry.shape), 0, 0
        with self._open(entry) as file:
            position, end = entry.offset, entry.offset + entry.size_bytes
            while left:
                size = min(max(wanted, _READ_BYTES), end - position)
                is_rest = size == end - position
                chunk = self._read_exactly(file, entry, position, size)
                places, consumed, crc, stop, wanted = scan_variants(chunk, left, crc)
                view = memoryview(chunk)
                del chunk  # or two large elements would be in memory
                for start, stop_at in places:
                    try:
                        element = VariantElement(view[start:stop_at])
                    except ValueError as error:
                        where = position + start
                        raise self._bad_data(entry, str(error), "bad_data", where) from error
                    yield element
                    del element
                del view
                position += consumed
                left -= len(places)
                if stop == "bad_crc":
                    what = "an element's checksum is wrong"
                    raise self._bad_data(entry, what, offset=position)
                if stop == "bad_length":
                    what = "an element's length is no number"
                    raise self._bad_data(entry, what, "bad_data", position)
                if stop == "cut" and (is_rest or wanted > end - position):
                    what = "an element reaches beyond the end of its tensor"
                    raise self._bad_data(entry, what, "truncated_data", position)
        if position != end or mask_crc32c(crc) != entry.masked_crc32c:
            raise self._bad_data(entry)

    def _joined(self, entry: TensorEntry) -> np.ndarray[Any, Any]:
        """The slices of a tensor, each where it belongs."""
        import numpy as np

        # As many elements as all slices have, so no more memory than they take.
        if math.prod(entry.shape) != sum(math.prod(part.shape) for _, part in entry.slices):
            raise self._bad_entry(_key(entry), "its slices are not the whole of it")
        whole: np.ndarray[Any, Any] | None = None
        for place, part in entry.slices:
            array = self.array(part)
            if whole is None:
                whole = self._shaped(np.empty(math.prod(entry.shape), array.dtype), entry)
                is_there = np.zeros(entry.shape, bool)
            extents = tuple(
                slice(start, None if length is None else start + length)
                for start, length in zip(*place, strict=True)
            )
            if (
                part.dtype != entry.dtype
                or len(extents) != len(entry.shape)
                or whole[extents].shape != array.shape
                or is_there[extents].any()
            ):
                raise self._bad_entry(_key(entry), "a slice does not fit")
            whole[extents] = array
            is_there[extents] = True
        assert whole is not None
        return whole

    def _shaped(self, array: np.ndarray[Any, Any], entry: TensorEntry) -> np.ndarray[Any, Any]:
        try:
            return array.reshape(entry.shape)
        except ValueError as error:  # more dimensions than NumPy has, or longer ones
            raise UsageError(f"{entry.name} is not an array: {error}") from error

    @contextlib.contextmanager
    def _open(self, entry: TensorEntry) -> Iterator[OpenFile]:
        """The data file; it is known to reach to the tensor's end."""
        path = self.data_path(entry.shard)
        end = entry.offset + entry.size_bytes
        try:
            opened = store_of(path).open(path)
        except PathNotFoundError as error:
            what = "the data file is not there"
            raise MissingShardError(what, path=path, hint=_HINT) from error
        with opened as file:
            if end > file.size:
                raise cut_off(path, file.size, entry.name, end, _HINT)
            yield file

    def _read_exactly(self, file: OpenFile, entry: TensorEntry, offset: int, size: int) -> bytes:
        data = file.read(offset, size)
        if len(data) < size:
            raise self._bad_data(entry, "the file has shrunk", "truncated_data")
        return data

    def _bad_entry(self, key: bytes, what: str, offset: int | None = None) -> CorruptionError:
        name = key.decode("utf-8", "backslashreplace")
        text = f"the entry of {name}: {what}" if name else f"the header: {what}"
        path = self.index_path
        return CorruptionError(text, path=path, offset=offset, hint=_HINT, kind="bad_entry")

    def _bad_data(
        self,
        entry: TensorEntry,
        what: str = "the checksum is wrong",
        kind: str = "bad_data_crc",
        offset: int | None = None,
    ) -> CorruptionError:
        path = self.data_path(entry.shard)
        return other_format(path) or CorruptionError(
            f"{entry.name}: {what}",
            path=path,
            offset=entry.offset if offset is None else offset,
            hint=_HINT,
            kind=kind,
        )


def cut_off(path: str, size: int, name: str, end: int, hint: str) -> CorruptionError:
    """The error for a data file that ends before a tensor does; or is no data file at all."""
    what = f"cut off at {size} bytes: {name} ends at {end}"
    return other_format(path) or CorruptionError(
        what, path=path, offset=size, hint=hint, kind="truncated_data"
    )


def other_format(path: str) -> CorruptionError | None:
    """The error for a data file with the beginning of another format; None for any other.

    Tensors may begin like that too: ask only about a file that is known not to be right.
    """
    from monolith_cli.formats.magic import what_the_file_is

    known = what_the_file_is(path)
    if known is None:
        return None
    return CorruptionError(f"this is {known.name}", path=path, hint=known.remedy, kind="not_data")


def _key(entry: TensorEntry) -> bytes:
    return entry.name.encode("utf-8", "surrogateescape")


def mask_crc32c(crc: int) -> int:
    """A CRC32C as bundles and records store it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF


def parse_header(key: bytes, data: bytes) -> int:
    """How many data files there are, as a BundleHeaderProto says; the first value of an index.

    Raises
    ------
    ValueError
        It is none, or one of a version that is not known.
    """
    if key:
        raise ValueError("an index without a header")
    shards = 0
    for number, _, value in wire.fields(data):
        if number == 1 and isinstance(value, int):
            shards = value
        elif number == 2 and value == _BIG_ENDIAN:
            raise ValueError("written on a big-endian machine, which is not supported")
        elif number == 3 and isinstance(value, bytes):
            for inner_number, _, inner in wire.fields(value):
                if inner_number == 2 and isinstance(inner, int) and inner > _VERSION:
                    raise ValueError(f"a reader of version {inner} is needed")
    if not 0 < shards <= _MAX_SHARDS:
        raise ValueError(f"{shards} data files")
    return shards


def _parse_entry(key: bytes, data: bytes) -> tuple[TensorEntry, list[Slice]]:
    """A BundleEntryProto."""
    dtype, shard, offset, size, crc = 0, 0, 0, 0, 0
    shape: tuple[int, ...] = ()
    slices: list[Slice] = []
    for field in wire.fields(data):
        match field:
            case 1, 0, int(dtype):
                pass
            case 2, 2, bytes(value):
                shape = parse_shape(value)
            case 3, 0, int(shard):
                pass
            case 4, 0, int(offset):
                pass
            case 5, 0, int(size):
                pass
            case 6, 5, bytes(value):
                (crc,) = struct.unpack("<I", value)
            case 7, 2, bytes(value):
                slices.append(_parse_slice(value))
    if max(offset, size) >= 1 << 63:
        raise ValueError("a negative place")
    name = key.decode("utf-8", "surrogateescape")
    return TensorEntry(name, dtype_name(dtype), shape, shard, offset, size, crc), slices


def _parse_slice(data: bytes) -> Slice:
    """A TensorSliceProto."""
    starts: list[int] = []
    lengths: list[int | None] = []
    for number, _, extent in wire.fields(data):
        if number == 1 and isinstance(extent, bytes):
            start, length = 0, None
            for inner_number, _, value in wire.fields(extent):
                if isinstance(value, int) and value < 1 << 63:
                    if inner_number == 1:
                        start = value
                    elif inner_number == 2:
                        length = value
            starts.append(start)
            lengths.append(length)
    return Slice(tuple(starts), tuple(lengths))


def _slice_key(name: bytes, part: Slice) -> bytes:
    """The key of a slice: zero, name, rank, and start and length in each dimension.

    Numbers are coded so that their order is that of the bytes (tensorflow/core/lib/strings/
    ordered_code.h); a length of the whole dimension is -1.
    """
    key = b"\0" + re.sub(rb"[\0\xff]", _escaped, name) + b"\0\1"
    rank = len(part.starts)
    key += bytes([1, rank]) if rank else b"\0"
    for start, length in zip(part.starts, part.lengths, strict=True):
        key += _signed_code(start) + _signed_code(-1 if length is None else length)
    return key


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\0\xff" if found[0] == b"\0" else b"\xff\0"


def _signed_code(value: int) -> bytes:
    """As many bytes as the leading ones say: the code's own, flipped for numbers below 0."""
    bits = (~value if value < 0 else value).bit_length()
    size = bits // 7 + 1
    code = bytearray((value & (1 << 80) - 1).to_bytes(10, "big")[10 - size :])
    marks = ((1 << size) - 1) << (16 - size)
    code[0] ^= marks >> 8
    if size > 1:
        code[1] ^= marks & 0xFF
    return bytes(code)
