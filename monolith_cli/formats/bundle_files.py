"""The data files of a tensor bundle: opened at a tensor's place; and the errors that name it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from monolith_cli.errors import CorruptionError, MissingShardError, PathNotFoundError
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.formats.bundle_index import TensorEntry
    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.protocols import OpenFile

__all__ = ["HINT", "BundleFiles", "cut_off", "mask_crc32c", "other_format"]

HINT = "restore it from a copy, or take another step"


class BundleFiles:
    """Where the files of a bundle are; none is open.

    Attributes
    ----------
    prefix
        Path without suffix, such as `model/model.ckpt-10`.
    index_path
    shards
        How many data files there are.
    """

    def __init__(self, prefix: AnyPath, shards: int) -> None:
        self.prefix = as_location(prefix)
        self.index_path = f"{self.prefix}.index"
        self.shards = shards

    def data_path(self, shard: int) -> str:
        """The path of a data file."""
        return f"{self.prefix}.data-{shard:05d}-of-{self.shards:05d}"

    @contextlib.contextmanager
    def opened(self, entry: TensorEntry) -> Iterator[OpenFile]:
        """The data file that a tensor is in; it is known to reach to the tensor's end.

        Raises
        ------
        MissingShardError
            It is not there.
        NotReadableError
            The operating system refused.
        CorruptionError
            As `cut_off`.
        """
        path = self.data_path(entry.shard)
        end = entry.offset + entry.size_bytes
        try:
            opened = store_of(path).open(path)
        except PathNotFoundError as error:
            what = "the data file is not there"
            raise MissingShardError(what, path=path, hint=HINT) from error
        with opened as file:
            if end > file.size:
                raise cut_off(path, file.size, entry.name, end, HINT)
            yield file

    def read_exactly(self, file: OpenFile, entry: TensorEntry, offset: int, size: int) -> bytes:
        """Some of a file that `opened` has given."""
        data = file.read(offset, size)
        if len(data) < size:
            raise self.bad_data(entry, "the file has shrunk", "truncated_data")
        return data

    def bad_entry(self, key: bytes, what: str, offset: int | None = None) -> CorruptionError:
        """The error for what the index says of a key."""
        name = key.decode("utf-8", "backslashreplace")
        text = f"the entry of {name}: {what}" if name else f"the header: {what}"
        path = self.index_path
        return CorruptionError(text, path=path, offset=offset, hint=HINT, kind="bad_entry")

    def bad_data(
        self,
        entry: TensorEntry,
        what: str = "the checksum is wrong",
        kind: str = "bad_data_crc",
        offset: int | None = None,
    ) -> CorruptionError:
        """The error for what a data file has of a tensor."""
        path = self.data_path(entry.shard)
        return other_format(path) or CorruptionError(
            f"{entry.name}: {what}",
            path=path,
            offset=entry.offset if offset is None else offset,
            hint=HINT,
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


def mask_crc32c(crc: int) -> int:
    """A CRC32C as bundles and records store it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF
