"""A file for what does not fit into memory: it has no name, and goes with whoever has opened it."""

from __future__ import annotations

import os
import tempfile
from threading import Lock
from typing import TYPE_CHECKING

from monolith_cli.storage.atomic import write_error

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Scratch"]


class Scratch:
    """Bytes that are written once and read again; a context manager. Threads may share it.

    The file is made when something is written. It is removed from its directory at once, so nothing
    is left of it, however the process ends.

    Parameters
    ----------
    directory
        Where on this machine; None for the system's temporary directory.

    Attributes
    ----------
    size
        How many bytes have been written.
    """

    __slots__ = ("_directory", "_file", "_lock", "size")

    def __init__(self, directory: str | None = None) -> None:
        self.size = 0
        self._directory = directory or tempfile.gettempdir()
        self._lock = Lock()
        self._file: int | None = None

    def write(self, data: bytes) -> int:
        """Append bytes; returns where they are.

        Raises
        ------
        WriteError
            The operating system refused.
        """
        with self._lock:
            try:
                if self._file is None:
                    with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
                        self._file = os.dup(file.fileno())
                offset = self.size
                view = memoryview(data)
                while view:
                    view = view[os.pwrite(self._file, view, offset + len(data) - len(view)) :]
            except OSError as error:
                raise write_error(self._directory, error, "no room to sort in") from error
            self.size += len(data)
            return offset

    def read(self, offset: int, size: int) -> bytes:
        """What was written there.

        Raises
        ------
        WriteError
            The operating system refused.
        """
        assert self._file is not None
        try:
            data = os.pread(self._file, size, offset)
            while len(data) < size:
                more = os.pread(self._file, size - len(data), offset + len(data))
                if not more:
                    raise OSError(0, "what was written is gone")
                data += more
        except OSError as error:
            raise write_error(self._directory, error, "not read again") from error
        return data

    def clear(self) -> None:
        """Forget what was written, and give its room back; raises `WriteError`."""
        self.size = 0
        if self._file is not None:
            try:
                os.ftruncate(self._file, 0)
            except OSError as error:
                raise write_error(self._directory, error, "not cleared") from error

    def close(self) -> None:
        """Give its room back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
