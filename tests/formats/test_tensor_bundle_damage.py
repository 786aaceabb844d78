"""Damaged tensor bundles: each kind gets an error that names the file and the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bundle_support as bs
import pytest
from bundle_support import (
    FLOAT,
    INT32,
    INT64,
    STRING,
    VARIANT,
    Stored,
    field,
    little_memory,
    masked,
)

from monolith_cli._native import crc32c
from monolith_cli.errors import (
    CorruptionError,
)
from monolith_cli.formats.tensor_bundle import TensorBundle


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt-7"


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
