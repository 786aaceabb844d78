"""The record of a full check, and the manifest that it leaves: written, and looked at again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.check_records import pin_file
from monolith_cli.care.fsck.manifest import ChecksumTask
from monolith_cli.checkpoint.manifests import (
    make_manifest,
    read_step_manifest,
    write_step_manifest,
)
from monolith_cli.checkpoint.names import (
    INDEX_SUFFIX,
    ckpt_checked_name,
    ckpt_info_name,
    ckpt_inputs_name,
    ckpt_manifest_name,
    parse_checkpoint_name,
    parse_step_file,
)
from monolith_cli.errors import ChangedWhileReadError, MonolithError, PathNotFoundError
from monolith_cli.formats.check_record import (
    CheckedFile,
    CheckRecord,
    format_check_record,
)
from monolith_cli.formats.manifest import Manifest
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook

__all__ = ["Recorded", "has_all", "pin", "write_records"]


class Recorded(NamedTuple):
    """A step of which a record was written.

    Attributes
    ----------
    forgotten
        Where the new manifest says something else than the one before, a phrase each.
    """

    step: int
    forgotten: Sequence[str]


def has_all(record: CheckRecord, look: StepLook) -> bool:
    """Whether a record is about all files that the step has now."""
    return {file.name for file in record.files} == set(_names(look))


def pin(look: StepLook) -> list[CheckedFile]:
    """The files of a step as they are now: those that a record is about.

    Raises
    ------
    PathNotFoundError, NotReadableError
        One is gone, or cannot be looked at.
    """
    return [pin_file(look.directory, name) for name in _names(look)]


def _names(look: StepLook) -> list[str]:
    assert look.step is not None
    small = {ckpt_info_name(look.step), ckpt_inputs_name(look.step)}
    names = [name for name in look.found.names if name in small or _is_input(name)]
    return sorted({*look.sizes, *look.found.dense_files, *names})


def _is_input(name: str) -> bool:
    file = parse_step_file(name)
    parts = parse_checkpoint_name(name)
    if file is None or file.kind != "input" or file.is_temporary or parts is None:
        return False
    return parts.suffix == INDEX_SUFFIX or parts.suffix.startswith(".data-")


def write_records(
    look: StepLook, pins: Sequence[CheckedFile], verdict: str, reading: Reading
) -> Recorded:
    """Write the manifest of a step, with checksums of all files, and the record of its check.

    Reads every file once more for that. Nothing is left if the step goes meanwhile.

    Parameters
    ----------
    pins
        The files as they were before the check.

    Raises
    ------
    ChangedWhileReadError
        A file is no longer the one that was checked.
    PathNotFoundError
        The step is gone.
    WriteError
        The operating system refused.
    """
    assert look.step is not None
    assert look.checkpoint.prefix is not None
    directory, step = look.directory, look.step
    before = None
    with contextlib.suppress(MonolithError):
        before = read_step_manifest(directory, step)
    manifest = _manifest(look, before, reading)
    written: list[str] = []
    try:
        _check(look, pins)
        written.append(join(directory, ckpt_manifest_name(step)))
        write_step_manifest(directory, manifest)
        record = CheckRecord(time.time(), verdict, tuple(pins))
        path = join(directory, ckpt_checked_name(step))
        written.append(path)
        store_of(path).put(path, format_check_record(record))
        _check(look, pins)
    except (PathNotFoundError, ChangedWhileReadError):
        for path in reversed(written):
            store_of(path).delete(path)
        raise
    return Recorded(step, _forgotten(before, manifest))


def _check(look: StepLook, pins: Sequence[CheckedFile]) -> None:
    for file in pins:
        if pin_file(look.directory, file.name) != file:
            path = join(look.directory, file.name)
            hint = "check it again when nobody writes here"
            raise ChangedWhileReadError("changed since it was checked", path=path, hint=hint)


def _manifest(look: StepLook, before: Manifest | None, reading: Reading) -> Manifest:
    """As the saver makes it, with checksums; of tables what was known before stays, if it fits."""
    assert look.step is not None
    assert look.checkpoint.prefix is not None
    parts = parse_checkpoint_name(name_of(look.checkpoint.prefix))
    assert parts is not None
    states = [parse_step_file(name) for name in look.found.names if _is_input(name)]
    workers = {state.worker for state in states if state and state.worker is not None}
    run_id = before.run_id if before else (look.inputs.run_id if look.inputs else "")
    known = {table.name: table.entries for table in before.tables} if before else {}
    entries = {name: count for name, count in known.items() if count is not None}
    made = make_manifest(
        look.directory,
        parts.base,
        look.step,
        run_id,
        workers=workers,
        entries=entries | look.entries,
    )
    tasks = [ChecksumTask(look.path(file.name)) for file in made.files]
    sizes = [file.size_bytes for file in made.files]
    files = []
    for file, (_, (size, crc32c)) in zip(made.files, reading.each(tasks, sizes), strict=True):
        files.append(file._replace(size_bytes=size, crc32c=crc32c))
    return made._replace(files=tuple(files))


def _forgotten(before: Manifest | None, now: Manifest) -> list[str]:
    if before is None:
        return []
    files = {file.name: file for file in now.files}
    phrases = []
    for old in before.files:
        new = files.get(old.name)
        if new is None:
            phrases.append(f"{old.name}, of {old.size_bytes} bytes, which is gone")
        elif new.size_bytes != old.size_bytes:
            phrases.append(f"that {old.name} had {old.size_bytes} bytes, not {new.size_bytes}")
        elif old.crc32c not in (None, new.crc32c):
            phrases.append(f"that {old.name} had the checksum {old.crc32c}, not {new.crc32c}")
    tables = {table.name for table in now.tables}
    phrases += [f"table {t.name}, which is gone" for t in before.tables if t.name not in tables]
    return phrases
