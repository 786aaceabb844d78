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

import math
from typing import TYPE_CHECKING

from monolith_cli.errors import CorruptionError
from monolith_cli.formats.bundle_files import HINT, BundleFiles, mask_crc32c
from monolith_cli.formats.bundle_index import (
    Slice,
    TensorEntry,
    key_of,
    parse_entry,
    parse_header,
    slice_key,
)
from monolith_cli.formats.bundle_strings import read_strings
from monolith_cli.formats.bundle_values import read_array, read_bytes, read_pieces
from monolith_cli.formats.bundle_variants import read_variants
from monolith_cli.formats.dtypes import DTYPE_BYTES
from monolith_cli.formats.leveldb_table import TableEntry, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np

    from monolith_cli.formats.variant import VariantElement
    from monolith_cli.storage.location import AnyPath

__all__ = ["TensorBundle"]

_READ_BYTES = 1 << 20


class TensorBundle(BundleFiles):
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
        super().__init__(prefix, 0)
        self.entries: dict[str, TensorEntry] = {}
        sliced: dict[str, tuple[TensorEntry, list[Slice]]] = {}
        parts: dict[bytes, TensorEntry] = {}
        for key, value, offset in self._index(strict):
            try:
                if not self.shards:
                    self.shards = parse_header(key, value)
                    continue
                entry, slices = parse_entry(key, value)
                if entry.shard >= self.shards:
                    raise ValueError(f"it is in data file {entry.shard} of {self.shards}")
            except ValueError as error:
                raise self.bad_entry(key, str(error), offset) from error
            if key[:1] == b"\0":
                parts[key] = entry
                continue
            self.entries[entry.name] = entry
            if slices:
                sliced[entry.name] = entry, slices
        if not self.shards:
            raise self.bad_entry(b"", "an index without a header")
        for name, (entry, slices) in sliced.items():
            try:
                found = tuple((part, parts[slice_key(key_of(entry), part)]) for part in slices)
            except KeyError as error:
                raise self.bad_entry(key_of(entry), "a slice of it is not there") from error
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
        BundleFiles.__init__(bundle, prefix, shards)
        bundle.entries = {}
        return bundle

    def _index(self, strict: bool) -> Iterator[TableEntry]:
        try:
            yield from read_table(self.index_path, strict=strict)
        except CorruptionError as error:
            error.hint = error.hint or HINT
            raise

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
        return read_bytes(self, entry)

    def pieces(self, entry: TensorEntry) -> Iterator[np.ndarray[Any, Any]]:
        """The values of a tensor of a fixed size, flat, a mebibyte at a time: as `array` has them.

        The checksum is verified behind the last piece. Raises as `read`.
        """
        return read_pieces(self, entry)

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
            raise self.bad_entry(key_of(entry), what)
        crc, position, end = 0, entry.offset, entry.offset + entry.size_bytes
        with self.opened(entry) as file:
            while position < end:
                chunk = self.read_exactly(file, entry, position, min(_READ_BYTES, end - position))
                crc = crc32c(chunk, crc)
                position += len(chunk)
        if mask_crc32c(crc) != entry.masked_crc32c:
            raise self.bad_data(entry)

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
        return read_array(self, entry)

    def strings(self, entry: TensorEntry) -> list[bytes]:
        """The elements of a string tensor in C order, verified.

        Raises
        ------
        MonolithError
            As `read`; kind `bad_data` for lengths that cannot be.
        """
        return read_strings(self, entry)

    def variants(self, entry: TensorEntry) -> Iterator[VariantElement]:
        """The elements of a tensor of variants, one at a time, each verified.

        Memory is that of the largest element. A length that cannot be is seen before anything is
        read by it. The checksum over all elements is verified after the last.

        Raises
        ------
        MonolithError
            As `read`; kind `bad_data` for an element that is no message.
        """
        return read_variants(self, entry)
