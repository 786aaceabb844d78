"""TFRecords of EntryDumps, framed in a graph by stock ops, many at a time.

TensorFlow's ops write records one by one, at 2 µs each. Entries of one table differ only in a few
fixed places, so a page of them is a matrix of bytes. CRC32C is linear: the checksum of an entry is
that of one with zeros in those places, xor what each byte there adds to it. A table has these
summands.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["RecordFormat"]

_ID_TAG = b"\x09"
_NUM_TAG = b"\x15"
_TIME_TAG = b"\x20"

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8

_LONGEST_VARINT = 10
_FRAME_BYTES = 16
"""Of each record: its length, 8 bytes, and the checksums of the length and of the data."""

_PAGE_BYTES = 1 << 19
_LARGEST_PAGE = 8192


def _byte_table() -> Any:
    """What the last byte adds to a checksum, a uint32 for each byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


_BYTES = _byte_table()


class RecordFormat:
    """How the entries of a table with rows of `dim_size` floats are stored in a file.

    The bytes are those of `entry_ops.encode_entries` and TensorFlow's record writer together.

    Parameters
    ----------
    dim_size
        Floats of each entry.

    Attributes
    ----------
    longest
        The largest number of bytes of a record.
    page
        How many entries should be given to `frame` at once.
    """

    def __init__(self, dim_size: int) -> None:
        self._dim_size = dim_size
        nums = (_NUM_TAG + bytes(4)) * dim_size
        self._prefix = _ID_TAG + bytes(8) + nums + _TIME_TAG
        first = len(_ID_TAG) + 8 + len(_NUM_TAG)
        floats = [first + 5 * k + byte for k in range(dim_size) for byte in range(4)]
        self._variable = np.array([*range(1, 9), *floats])
        self.longest = len(self._prefix) + _LONGEST_VARINT + _FRAME_BYTES
        self.page = max(1, min(_LARGEST_PAGE, _PAGE_BYTES // len(self._prefix)))

    def checksum_parts(self) -> Any:
        """A further argument of `frame`; make it once for many pages.

        Costs some 10 µs, and 1 KB, for each byte of a record.

        Returns
        -------
        uint32 vector
            What each byte adds to the checksum up to the time, 256 values for each place.
        """
        after = len(self._prefix) - 1 - self._variable
        places = len(self._prefix)
        table = tf.constant(_BYTES)

        def body(place: Any, part: Any, parts: Any) -> tuple[Any, Any, Any]:
            return (
                place + 1,
                _next(table, part, tf.constant(0, tf.uint32)),
                parts.write(place, part),
            )

        parts = tf.TensorArray(tf.uint32, places, element_shape=[256])
        state = (tf.constant(0), table, parts)
        parts = tf.while_loop(lambda place, *_: place < places, body, state)[-1]
        return tf.reshape(parts.gather(tf.constant(after, tf.int32)), [-1])

    def frame(self, ids: Any, rows: Any, times: Any, parts: Any) -> Any:
        """Records, one after the other.

        Costs about 1 µs for an entry of 16 floats, on one core, and some 20 times the records'
        bytes of memory. If the varints of the times differ in length, it costs half as much again.

        Parameters
        ----------
        ids, times
            int64 vectors; may be empty.
        rows
            float32 matrix, a row for each entry.
        parts
            From `checksum_parts`.

        Returns
        -------
        string scalar
        """
        count = tf.size(ids)
        id_bytes = tf.bitcast(ids, tf.uint8)
        row_bytes = tf.bitcast(rows, tf.uint8)
        variable = [id_bytes, tf.reshape(row_bytes, [count, 4 * self._dim_size])]
        lengths = _varint_lengths(times)
        checksums = self._checksum(tf.concat(variable, axis=1), parts)
        varint, checksums = _varints(times, lengths, checksums)

        def repeated(data: bytes, *shape: int) -> Any:
            return tf.tile(tf.reshape(_uint8(data), [1, *shape]), [count] + [1] * len(shape))

        tags = repeated(_NUM_TAG * self._dim_size, self._dim_size, 1)
        nums = tf.concat([tags, row_bytes], axis=2)
        front = [
            tf.gather(self._headers(), lengths),
            repeated(_ID_TAG, 1),
            id_bytes,
            tf.reshape(nums, [count, 5 * self._dim_size]),
            repeated(_TIME_TAG, 1),
        ]
        back = tf.bitcast(_masked(checksums), tf.uint8)
        longest = tf.reduce_max(lengths)

        def of_one_length() -> Any:
            return tf.reshape(tf.concat([*front, varint[:, :longest], back], axis=1), [-1])

        def of_several() -> Any:
            before, after = (
                tf.fill([count, 12 + len(self._prefix)], True),
                tf.fill([count, 4], True),
            )
            there = [before, tf.sequence_mask(lengths, _LONGEST_VARINT), after]
            records = tf.concat([*front, varint, back], axis=1)
            return tf.boolean_mask(records, tf.concat(there, axis=1))

        one_length = tf.equal(tf.reduce_min(lengths), longest)
        return _as_string(tf.cond(one_length, of_one_length, of_several))

    def _headers(self) -> Any:
        """What precedes a record, by the length of its varint."""
        headers = []
        for length in range(_LONGEST_VARINT + 1):
            size = struct.pack("<Q", len(self._prefix) + length)
            checksum = _crc(size) ^ 0xFFFFFFFF
            masked = (checksum >> 15 | checksum << 17) + _MASK_DELTA
            headers.append(size + struct.pack("<I", masked & 0xFFFFFFFF))
        return tf.reshape(_uint8(b"".join(headers)), [len(headers), 12])

    def _checksum(self, variable: Any, parts: Any) -> Any:
        """The checksums up to the time, not inverted, from the bytes that vary (a row each)."""
        # By place, so that halves of it lie together.
        places = 256 * tf.range(len(self._variable))[:, None]
        left = tf.gather(parts, tf.cast(tf.transpose(variable), tf.int32) + places)
        checksums = tf.constant(_crc(self._prefix), tf.uint32)
        length = len(self._variable)
        while length > 1:
            if length % 2:
                checksums = tf.bitwise.bitwise_xor(checksums, left[length - 1])
            length //= 2
            left = tf.bitwise.bitwise_xor(left[:length], left[length : 2 * length])
        return tf.bitwise.bitwise_xor(checksums, left[0])


def _crc(data: bytes) -> int:
    """CRC32C, not inverted at the end."""
    table = _BYTES.tolist()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def _uint8(data: bytes) -> Any:
    return tf.constant(np.frombuffer(data, np.uint8))


def _next(table: Any, checksums: Any, byte: Any) -> Any:
    """Checksums after one more byte (uint32)."""
    low = tf.bitwise.bitwise_and(
        tf.bitwise.bitwise_xor(checksums, byte), tf.constant(0xFF, tf.uint32)
    )
    rest = tf.bitwise.right_shift(checksums, tf.constant(8, tf.uint32))
    return tf.bitwise.bitwise_xor(tf.gather(table, tf.cast(low, tf.int32)), rest)


def _masked(checksums: Any) -> Any:
    """Masked as in TFRecord files."""
    inverted = tf.bitwise.invert(checksums)
    rotated = tf.bitwise.bitwise_or(
        tf.bitwise.right_shift(inverted, tf.constant(15, tf.uint32)),
        tf.bitwise.left_shift(inverted, tf.constant(17, tf.uint32)),
    )
    return rotated + tf.constant(_MASK_DELTA, tf.uint32)


def _varint_lengths(numbers: Any) -> Any:
    """How many bytes the varints of int64 numbers have."""
    lengths = tf.ones_like(numbers, tf.int32)
    for bits in range(7, 63, 7):
        lengths += tf.cast(numbers >= 1 << bits, tf.int32)
    return tf.where(numbers < 0, _LONGEST_VARINT, lengths)


def _varints(numbers: Any, lengths: Any, checksums: Any) -> tuple[Any, Any]:
    """The varints, ten bytes each whatever their lengths, and the checksums after them."""
    table = tf.constant(_BYTES)
    left = tf.bitcast(numbers, tf.uint64)
    columns = []
    for place in range(_LONGEST_VARINT):
        byte = tf.bitwise.bitwise_and(tf.cast(left, tf.uint32), tf.constant(0x7F, tf.uint32))
        left = tf.bitwise.right_shift(left, tf.constant(7, tf.uint64))
        byte = tf.where(lengths > place + 1, byte + tf.constant(0x80, tf.uint32), byte)
        checksums = tf.where(lengths > place, _next(table, checksums, byte), checksums)
        columns.append(tf.cast(byte, tf.uint8))
    return tf.stack(columns, axis=1), checksums


def _as_string(data: Any) -> Any:
    """A uint8 vector as a string scalar: a serialized tensor ends with its content."""
    size = tf.size(data)
    return tf.strings.substr(tf.io.serialize_tensor(data), -size, size)
