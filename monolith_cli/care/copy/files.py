"""Single files on their way: compared with what is there, written and read back, or linked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import CorruptionError, MonolithError, WriteError
from monolith_cli.execution.workers import is_given_up
from monolith_cli.storage import machine
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.protocols import OpenFile

__all__ = ["CompareTask", "SendTask", "Sum", "hold", "is_one_file", "sum_of"]

_CHUNK_BYTES = 128 << 10
"""ext4 takes four times as long to write a megabyte at once (Linux 6.18), and caches like less."""


class Sum(NamedTuple):
    """What a file is compared by: its size in bytes, and its CRC-32C as 8 hex digits."""

    bytes: int
    crc32c: str


class CompareTask(NamedTuple):
    """Two files of the same size, to be compared by what is in them.

    Attributes
    ----------
    crc32c
        What the manifest of the step has; None where it has nothing.
    """

    source: str
    target: str
    crc32c: str | None

    def run(self) -> bool:
        """Read both; whether they are the same.

        Raises
        ------
        CorruptionError
            The source is not what its manifest says, kind `manifest_differs`.
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            A file went away, changed, or cannot be read.
        """
        found = sum_of(self.source)
        hold(self.source, found.crc32c, self.crc32c)
        return sum_of(self.target) == found


class SendTask(NamedTuple):
    """A file to be copied and read back.

    Attributes
    ----------
    crc32c
        As of `CompareTask`.
    overwrite
        Whether a file that is there already is one that was sent before, and may go.
    """

    source: str
    target: str
    crc32c: str | None
    overwrite: bool

    def run(self) -> Sum:
        """Copy it. It is synced when its directory is: see `Store.sync`.

        Raises
        ------
        WriteError
            The store refused; or gave back something else than was written, kind `not_arrived`.
        AlreadyExistsError
            Somebody else has written a file of that name meanwhile.
        MonolithError
            As `CompareTask.run`.
        """
        sent = self._write()
        if sum_of(self.target) == sent:
            return sent
        machine.forget_cached(self.target)
        if sum_of(self.target) == sent:
            return sent
        store_of(self.target).delete(self.target)
        raise WriteError(
            "not written: what was read back is not what was sent",
            path=self.target,
            hint="suspect the disk, or this host's memory",
            kind="not_arrived",
        )

    def _write(self) -> Sum:
        size = crc = 0
        writer = store_of(self.target).create(self.target, overwrite=self.overwrite, sync=False)
        with store_of(self.source).open(self.source) as file, writer:
            buffer = _buffer_for(file)
            while count := file.read_into(size, buffer):
                crc = _native.crc32c(buffer[:count], crc)
                writer.write(buffer[:count])
                size += count
                _go_on(self.source)
            file.check_unchanged()
            sent = Sum(size, f"{crc:08x}")
            hold(self.source, sent.crc32c, self.crc32c)
        return sent


def sum_of(path: str) -> Sum:
    """Read a file.

    Raises
    ------
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        It is not there, cannot be read, or changes meanwhile.
    """
    size = crc = 0
    with store_of(path).open(path) as file:
        buffer = _buffer_for(file)
        while count := file.read_into(size, buffer):
            crc = _native.crc32c(buffer[:count], crc)
            size += count
            _go_on(path)
        file.check_unchanged()
    return Sum(size, f"{crc:08x}")


def _buffer_for(file: OpenFile) -> memoryview:
    return memoryview(bytearray(min(max(file.size, 1), _CHUNK_BYTES)))


def is_one_file(one: str, other: str) -> bool:
    """Whether two names are of one file, so that nothing needs to be compared."""
    return store_of(one) is store_of(other) and store_of(one).is_same(one, other)


def hold(path: str, found: str, crc32c: str | None) -> None:
    """Make sure that a file has the checksum of the manifest, if that has one.

    Raises
    ------
    CorruptionError
        It has another one, kind `manifest_differs`.
    """
    if crc32c is not None and crc32c != found:
        raise CorruptionError(
            f"has the checksum {found}, and {crc32c} in the manifest of its step",
            path=path,
            hint="check the step in full, and copy another",
            kind="manifest_differs",
        )


def _go_on(path: str) -> None:
    if is_given_up():
        raise MonolithError("not copied to the end", path=path)  # nobody hears it
