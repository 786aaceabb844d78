"""`.monolith-journal.json`: what a command that moves or removes steps is in the middle of.

It is written before anything is changed, and removed last. A command that finds one of its own kind
goes on with that plan; every other one, and a chief of ours, stops with an error that names the
command to run again.

JSON: `version`, `kind`, `command` (what to run again), `at` (seconds since 1970), `plan`, which is
the command's own, and `by`, the process as in `chief_claim`.

`unlisted` works beside a job, which would stop if it found that: it has a file of its own.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.checkpoint.claim import Claim, being_done, check_journal, lives
from monolith_cli.checkpoint.names import JOURNAL, UNLISTED_JOURNAL
from monolith_cli.errors import (
    AlreadyExistsError,
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.storage.location import as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, TypeAlias

    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.protocols import Store

    Kind: TypeAlias = Literal["prune", "unlisted", "rollback", "undo", "cp"]

__all__ = ["Journal", "begin", "check_mine", "finish", "pick_up", "read_journal", "replan"]

KINDS = ("prune", "unlisted", "rollback", "undo", "cp")
_VERSION = 1
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Journal(NamedTuple):
    """What a journal says.

    Attributes
    ----------
    kind
        Of the command: `prune`, `unlisted`, `rollback`, `undo` or `cp`.
    command
        The words to run again.
    plan
        What the command does: a JSON object of its own.
    at
        When it began, in seconds since 1970.
    by
        The process that writes here; its `id` tells this journal from all others.
    """

    kind: str
    command: tuple[str, ...]
    plan: Mapping[str, Any]
    at: float
    by: Claim

    def as_bytes(self) -> bytes:
        """The file's contents."""
        document = {
            "version": _VERSION,
            "kind": self.kind,
            "command": list(self.command),
            "at": self.at,
            "by": self.by._asdict(),
            "plan": self.plan,
        }
        return (json.dumps(document) + "\n").encode("ascii")


def begin(
    model_dir: AnyPath,
    kind: Kind,
    command: Sequence[str],
    plan: Mapping[str, Any],
    store: Store | None = None,
) -> Journal:
    """Write the journal, before anything is changed.

    Parameters
    ----------
    command
        The words that finish it when they are run again, in whatever directory: paths in them are
        absolute.
    plan
        A JSON object. Names in it may hold bytes that are no text.
    store
        By default the one that the directory is in.

    Raises
    ------
    DirectoryInUseError
        There is one, be it only since a moment ago.
    WriteError
        The store refused.
    """
    directory = as_location(model_dir)
    journal = Journal(kind, tuple(command), plan, time.time(), Claim.of_this_process())
    path = _path(directory, kind)
    try:
        (store or store_of(path)).put_if_absent(path, journal.as_bytes())
    except AlreadyExistsError as error:
        check_journal(directory)
        raise _in_use(path, "another command has just begun here") from error
    return journal


def read_journal(model_dir: AnyPath, *, beside_job: bool = False) -> Journal | None:
    """What the journal says; None without one.

    Parameters
    ----------
    beside_job
        That of the kind `unlisted`.

    Raises
    ------
    StateFileError
        It is malformed, or of a later version.
    NotReadableError
        The store refused.
    """
    path = _path(as_location(model_dir), "unlisted" if beside_job else "prune")
    try:
        data = store_of(path).read(path)
    except PathNotFoundError:
        if store_of(path).is_directory(path):
            raise
        return None
    try:
        said = json.loads(data)
        by = said["by"]
        claim = Claim(**{name: by[name] for name in Claim._fields})
        command = tuple(str(word) for word in said["command"])
        journal = Journal(said["kind"], command, said["plan"], float(said["at"]), claim)
        if said["version"] != _VERSION or journal.kind not in KINDS:
            raise ValueError("of another version")
        if not isinstance(journal.plan, dict) or not isinstance(said["command"], list):
            raise ValueError("no plan, or no command")
    except _MALFORMED as error:
        raise StateFileError(
            "not the journal of a command that moves or removes steps",
            path=path,
            hint="see that no such command runs, and remove it",
        ) from error
    return journal


def pick_up(model_dir: AnyPath, kind: Kind) -> Journal | None:
    """The journal of a command of this kind that was cut off, from now on this process's.

    Whoever gets one goes on with its plan, whatever it was itself asked for. None without one.

    Raises
    ------
    DirectoryInUseError
        A command of another kind was cut off: the error names it. Or the process that writes this
        one lives.
    StateFileError, NotReadableError
        As `read_journal`.
    WriteError
        The store refused.
    """
    directory = as_location(model_dir)
    journal = read_journal(directory, beside_job=kind == "unlisted")
    if journal is None:
        return None
    path = _path(directory, kind)
    if journal.kind != kind:
        check_journal(directory)
        raise _in_use(path, "another command has just ended here")
    if lives(journal.by):
        raise being_done(path, journal.by)
    journal = journal._replace(by=Claim.of_this_process())
    store_of(path).put(path, journal.as_bytes())
    return journal


def replan(
    model_dir: AnyPath, journal: Journal, command: Sequence[str], plan: Mapping[str, Any]
) -> Journal:
    """Write down that this process, whose journal it is, does something else from now on.

    Raises
    ------
    MonolithError
        As `check_mine`.
    WriteError
        The store refused.
    """
    check_mine(model_dir, journal)
    journal = journal._replace(command=tuple(command), plan=plan)
    path = _path(as_location(model_dir), journal.kind)
    store_of(path).put(path, journal.as_bytes())
    return journal


def check_mine(model_dir: AnyPath, journal: Journal) -> None:
    """Make sure that nobody has taken a journal over, before the next thing is changed.

    Raises
    ------
    DirectoryInUseError
        Somebody has, or it is gone.
    StateFileError, NotReadableError
        As `read_journal`.
    """
    found = read_journal(model_dir, beside_job=journal.kind == "unlisted")
    if found is None or found.by.id != journal.by.id:
        path = _path(as_location(model_dir), journal.kind)
        raise _in_use(path, "another command goes on with it, or has finished it")


def finish(model_dir: AnyPath, journal: Journal) -> None:
    """Remove a journal, as all is done; one that somebody has taken over stays.

    Raises
    ------
    WriteError
        The store refused.
    """
    with suppress(DirectoryInUseError, StateFileError):
        check_mine(model_dir, journal)
        path = _path(as_location(model_dir), journal.kind)
        store_of(path).delete(path)


def _path(directory: str, kind: str) -> str:
    return join(directory, UNLISTED_JOURNAL if kind == "unlisted" else JOURNAL)


def _in_use(path: str, what: str) -> MonolithError:
    return DirectoryInUseError(what, path=path, hint="wait for it, and try again")
