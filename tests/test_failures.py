"""Every error has its exit code, its line and its JSON object."""

from __future__ import annotations

import errno
import signal
from itertools import pairwise

import click
import pytest

from monolith_cli import errors
from monolith_cli.failures import EXIT_CODES, Failure, Terminated, describe, raise_worst

CODES = {
    "AlreadyExistsError": 1,
    "BarrierAlreadyPlacedError": 5,
    "BrokenExecutorError": 3,
    "BusyError": 5,
    "ChangedWhileReadError": 3,
    "CorruptionError": 4,
    "CursorError": 2,
    "DatasetError": 3,
    "DifferentError": 1,
    "DirectoryInUseError": 5,
    "EntryNotFoundError": 1,
    "GoneError": 5,
    "MissingShardError": 4,
    "MonolithError": 3,
    "NotMeasuredError": 3,
    "NotReadableError": 3,
    "NotYoursError": 5,
    "PathNotFoundError": 3,
    "ProtectedError": 1,
    "RecordCountError": 4,
    "RefusedError": 5,
    "ShardMismatchError": 4,
    "StateFileError": 4,
    "StepNotFoundError": 3,
    "TableNotFoundError": 3,
    "TimedOutError": 6,
    "UnfinishedWorkersError": 5,
    "UnimplementedError": 5,
    "UnreachableError": 5,
    "UsageError": 2,
    "WriteError": 3,
}


def test_codes_of_the_library() -> None:
    found = {name: describe(getattr(errors, name)("x")).code for name in errors.__all__}
    assert found == CODES


def test_place_and_hint() -> None:
    error = errors.CorruptionError(
        "bad checksum of the data",
        path="m/t-00000-of-00001",
        offset=17,
        hint="restore the file",
        kind="bad_data_crc",
    )
    failure = describe(error)
    assert failure.line == (
        "Error: m/t-00000-of-00001: bad checksum of the data, at byte 17; restore the file"
    )
    assert failure.document == {
        "error": {
            "code": 4,
            "kind": "bad_data_crc",
            "message": "m/t-00000-of-00001: bad checksum of the data, at byte 17; restore the file",
            "file": "m/t-00000-of-00001",
            "offset": 17,
        }
    }


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (click.UsageError("No such option: -x."), Failure(2, "usage", "No such option: -x")),
        (KeyboardInterrupt(), Failure(130, "interrupted", "interrupted")),
        (Terminated(signal.SIGTERM), Failure(143, "terminated", "terminated")),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            Failure(
                3,
                "not_written",
                "standard output: No space left on device; what was written is incomplete",
            ),
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            Failure(3, "not_readable", "Too many open files; --debug shows where"),
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "a\nb"),
            Failure(3, "not_readable", "a b: Permission denied", "a\nb"),
        ),
        (
            MemoryError(),
            Failure(70, "out_of_memory", "out of memory; lower --jobs or --max-record-bytes"),
        ),
        (
            ZeroDivisionError("division\nby zero"),
            Failure(
                70,
                "internal",
                "internal error: ZeroDivisionError: division by zero;"
                " run it again with --debug and report it",
            ),
        ),
    ],
)
def test_everything_else(error: BaseException, failure: Failure) -> None:
    assert describe(error) == failure


def test_usage_names_the_help() -> None:
    context = click.Context(click.Command("ckpt-info"), info_name="ckpt-info")
    error = click.UsageError("Missing argument 'MODEL_DIR'.", context)
    assert describe(error).message == "Missing argument 'MODEL_DIR'; see 'ckpt-info --help'"


def test_codes_are_documented() -> None:
    assert set(CODES.values()) <= set(EXIT_CODES)
    assert list(EXIT_CODES) == sorted(EXIT_CODES)


def test_the_worst_of_several() -> None:
    told: list[str] = []
    raise_worst([None, None], told.append)
    different, missing = errors.DifferentError("a"), errors.MissingShardError("b")
    with pytest.raises(errors.MissingShardError):
        raise_worst([different, None, missing, different], told.append)
    assert told == ["a", "a"]


def test_which_of_two_is_worse() -> None:
    order = [
        errors.CorruptionError("4"),
        errors.PathNotFoundError("3"),
        errors.TimedOutError("6"),
        errors.RefusedError("5"),
        errors.DifferentError("1"),
    ]
    assert [describe(error).code for error in order] == [4, 3, 6, 5, 1]
    for worse, better in pairwise(order):
        for pair in ([worse, better], [better, worse]):
            with pytest.raises(type(worse)):
                raise_worst(pair, lambda text: None)
