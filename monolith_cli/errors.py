"""Every error of the library, in one tree.

An error knows where it happened (`path`, `offset`, `record`) and what the reader of the message
can do about it (`hint`). Each class also derives from the built-in exception that describes it,
so that callers who know nothing of this package can still catch it. The command line turns a
class into an exit code; the library itself knows nothing of exit codes.
"""

from __future__ import annotations

import os

__all__ = [
    "AlreadyExistsError",
    "BarrierAlreadyPlacedError",
    "BrokenExecutorError",
    "BusyError",
    "ChangedWhileReadError",
    "CorruptionError",
    "CursorError",
    "DatasetError",
    "DifferentError",
    "DirectoryInUseError",
    "EntryNotFoundError",
    "GoneError",
    "MissingShardError",
    "MonolithError",
    "NotMeasuredError",
    "NotReadableError",
    "NotYoursError",
    "PathNotFoundError",
    "ProtectedError",
    "RecordCountError",
    "RefusedError",
    "ShardMismatchError",
    "StateFileError",
    "StepNotFoundError",
    "TableNotFoundError",
    "TimedOutError",
    "UnfinishedWorkersError",
    "UnimplementedError",
    "UnreachableError",
    "UsageError",
    "WriteError",
]


class MonolithError(Exception):
    """The root of the tree.

    Parameters
    ----------
    what
        What is wrong, without the path, as a phrase that starts in lower case.
    path
        The file or directory concerned.
    offset
        Byte offset in that file; for a compressed file the offset in the stored bytes.
    record
        Index of the record in that file, counted from 0, where it is known.
    hint
        What to do about it, as an imperative phrase.
    kind
        A short machine-readable name, the class's own by default.
    """

    kind = "error"

    def __init__(
        self,
        what: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        record: int | None = None,
        hint: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        self.record = record
        self.hint = hint
        if kind is not None:
            self.kind = kind

    def __str__(self) -> str:
        """One line: `<path>: <what>, at byte <offset>; <hint>`."""
        text = self.what if self.path is None else f"{self.path}: {self.what}"
        if self.offset is not None:
            text += f", at byte {self.offset}"
        if self.record is not None:
            text += f" (record {self.record})"
        if self.hint:
            text += f"; {self.hint}"
        return text.replace("\n", "\\n")

    @property
    def reason(self) -> str:
        """What the operating system said, as far as that is known here; else `what`."""
        cause = self.__cause__
        said = cause.strerror if isinstance(cause, OSError) else None
        return said or self.what

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles keep the place, so that errors survive a process boundary."""
        return (_rebuild, (type(self), self.what, self.__dict__.copy()))


def _rebuild(cls: type[MonolithError], what: str, state: dict[str, object]) -> MonolithError:
    error = cls.__new__(cls)
    MonolithError.__init__(error, what)  # a class may want to know more in its own
    error.__dict__.update(state)
    return error


class UsageError(MonolithError, ValueError):
    """An argument that cannot be meant: a bad range, two options that exclude each other."""

    kind = "usage"


class CursorError(UsageError):
    """A cursor that does not point at a record of the table (or of the partition) it is used on."""

    kind = "bad_cursor"


class PathNotFoundError(MonolithError, FileNotFoundError):
    """A path that does not exist, or that is not the kind of thing it should be."""

    kind = "not_found"


class StepNotFoundError(MonolithError, LookupError):
    """A step that the directory does not hold, or that is not committed yet."""

    kind = "no_such_step"


class TableNotFoundError(MonolithError, LookupError):
    """A table name or pattern that matches nothing."""

    kind = "no_such_table"


class EntryNotFoundError(MonolithError, LookupError):
    """A feature id that is in none of the tables."""

    kind = "no_such_entry"


class NotMeasuredError(MonolithError, LookupError):
    """A metric that a condition is about, and that is not known here."""

    kind = "not_measured"


class NotReadableError(MonolithError, PermissionError):
    """The operating system refused to open or to read."""

    kind = "not_readable"

    @classmethod
    def because(cls, error: OSError, path: str | os.PathLike[str]) -> NotReadableError:
        """What the operating system's refusal to open or to read a file means."""
        hint = "get permission to read it" if isinstance(error, PermissionError) else None
        return cls(f"not readable: {error.strerror}", path=path, hint=hint)


class WriteError(MonolithError, OSError):
    """The operating system refused to write: no space, no permission, a file-size limit."""

    kind = "not_written"


class AlreadyExistsError(MonolithError, FileExistsError):
    """Something is in the way and was not overwritten."""

    kind = "exists"


class DifferentError(MonolithError):
    """Two things that were compared and ought to say the same, but do not."""

    kind = "different"


class DatasetError(MonolithError, RuntimeError):
    """A dataset that a function was to build, and has not; or one that gives no elements."""

    kind = "no_dataset"


class CorruptionError(MonolithError, ValueError):
    """Bytes that are not what the format demands; `kind` says which way.

    The kinds of record files: `truncated_header`, `bad_length_crc`, `record_too_long`,
    `truncated_data`, `bad_data_crc`, `bad_message`; of SNAPPY files besides: `truncated_block`,
    `bad_block_length`, `bad_block`; and `not_records`, for a file that has the beginning of another
    format.
    """

    kind = "corrupt"


class ChangedWhileReadError(MonolithError, RuntimeError):
    """A file that shrank, grew or was replaced while it was read; what it held is not judged."""

    kind = "changed_while_read"


class MissingShardError(CorruptionError):
    """A sharded file with a number missing."""

    kind = "missing_shard"


class ShardMismatchError(CorruptionError):
    """Shards of one file that disagree about their total, or a shard index beyond it."""

    kind = "shard_mismatch"


class RecordCountError(CorruptionError):
    """Fewer records than the contents file (`.meta`) promises."""

    kind = "too_few_records"


class StateFileError(CorruptionError):
    """A text file (`checkpoint`, `monolith_checkpoint`, `ckpt.info-*`) that does not parse."""

    kind = "bad_state_file"


class BrokenExecutorError(MonolithError, RuntimeError):
    """An executor that does not do the work it was given: a process of it died, for example."""

    kind = "broken_executor"


class UnfinishedWorkersError(MonolithError, RuntimeError):
    """Workers that have not saved their input in time, where all were required."""

    kind = "unfinished_workers"


class DirectoryInUseError(MonolithError, RuntimeError):
    """A directory that is another chief's, or that a command has left in the middle of a change.

    Nothing has been written there, and nothing will be.
    """

    kind = "in_use"


class ProtectedError(MonolithError, RuntimeError):
    """What was asked for would take away something that is kept on purpose; nothing was done."""

    kind = "protected"


class UnreachableError(MonolithError, ConnectionError):
    """A part of a running job that does not answer, and has not for too long."""

    kind = "unreachable"


class UnimplementedError(UnreachableError):
    """A method that the job does not have."""


class RefusedError(MonolithError, PermissionError):
    """A running job that answers, and says no."""

    kind = "refused"


class BusyError(RefusedError):
    """A job that cannot do just now what it may do in a moment."""


class NotYoursError(RefusedError):
    """A barrier that somebody else has placed, and that only force removes."""


class GoneError(RefusedError):
    """A barrier that is not there any more."""


class BarrierAlreadyPlacedError(MonolithError, RuntimeError):
    """The barrier is placed already."""

    kind = "refused"


class TimedOutError(MonolithError, TimeoutError):
    """Something that was waited for has not happened in time."""

    kind = "timed_out"
