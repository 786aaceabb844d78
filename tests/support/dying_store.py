"""The store of this machine, which fails or dies at a change, or lets others act before it.

A command goes through `store_of`, so all that it does to a directory comes by here. Killed between
two calls, or in the middle of one, it leaves what a kill -9 leaves; in this process, without one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, TypeVar

from monolith_cli.errors import MonolithError, WriteError
from monolith_cli.storage import atomic
from monolith_cli.storage import store as stores
from monolith_cli.storage.local import LOCAL, LocalStore

NEEDS_ROOM = {"put", "put_if_absent", "create", "finish", "rename_if_absent", "link", "make"}
LASTING = {errno.ENOSPC: NEEDS_ROOM, errno.EROFS: None, errno.EACCES: None}
"""Errors that stay once they are there, and which calls then fail; None for all that change."""

Moment = TypeVar("Moment")


class Died(BaseException):
    """In place of a kill -9: nothing in the way of it is to catch it."""


class Change(NamedTuple):
    """A call that changes something: its name, and where. `create` ends with a `finish`."""

    call: str
    location: str
    can_tear: bool = False

    @property
    def name(self) -> str:
        """The last name of the location."""
        return os.path.basename(self.location)


class DyingStore(LocalStore):
    """See `Store`. What changes nothing, as removing what is not there, does not count.

    Attributes
    ----------
    changes
        All calls that changed something, or were to when it ended, in order.
    is_dead
        Nothing changes any more: each call that would raises `Died`.

    Parameters
    ----------
    at
        At which change it happens, counted from 1; never with 0. An attribute as well.
    torn
        Die in the middle of it, and not before: with half of a file in its temporary, half of a
        directory removed, both names given.
    error
        An `errno`: fail in place of dying. A full disk stays full, though files can be removed
        there, and a read-only one stays as it is; any other error comes once.
    hook
        Called before it, in place of dying; it may do what it wants with any store.
    """

    def __init__(
        self,
        at: int = 0,
        *,
        torn: bool = False,
        error: int | None = None,
        hook: Callable[[], object] | None = None,
    ) -> None:
        self.changes: list[Change] = []
        self.is_dead = False
        self.at = at
        self._torn = torn
        self._error = error
        self._hook = hook
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def installed(self) -> Iterator[DyingStore]:
        """It is the store of paths in this block, at whose end `Died` is not heard any more."""
        fsync = os.fsync
        stores._stores[""] = self
        os.fsync = lambda _: None  # what is not synced outlives a kill as well
        try:
            yield self
        except Died:
            pass
        finally:
            os.fsync = fsync
            stores._stores[""] = LOCAL
            if self.is_dead:  # so that temporaries are those of a process that is gone
                atomic._OURS = os.urandom(3).hex()

    @property
    def has_happened(self) -> bool:
        """Whether there were that many changes."""
        return 0 < self.at <= len(self.changes)

    # Each counts, and does it or dies.

    def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        if self._dies_in("put", location, can_tear=True):
            self._leave_half(location, data)
        super().put(location, data, mode=mode)

    def put_if_absent(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        if not self.exists(location) and self._dies_in("put_if_absent", location, can_tear=True):
            self._leave_half(location, data)
        super().put_if_absent(location, data, mode=mode)

    def sync(self, directory: str) -> None:
        """Changes nothing that a kill could undo."""

    def create(
        self, location: str, *, overwrite: bool = True, mode: int = 0o666, sync: bool = True
    ) -> DyingFile:
        return DyingFile(self, location, overwrite=overwrite, mode=mode)

    def replace(self, source: str, target: str) -> None:
        if self.exists(source):
            self._dies_in("replace", target)
        super().replace(source, target)

    def rename_if_absent(self, source: str, target: str) -> None:
        if self.exists(source) and not self.exists(target):
            can_tear = self.is_file(source)
            if self._dies_in("rename_if_absent", target, can_tear=can_tear):
                os.link(source, target)
                raise Died
        super().rename_if_absent(source, target)

    def link(self, source: str, target: str) -> None:
        if not self.exists(target):
            self._dies_in("link", target)
        super().link(source, target)

    def make_directory(self, location: str) -> None:
        missing = []
        while location and not self.exists(location):
            missing.append(location)
            location = os.path.dirname(location)
        if missing and self._dies_in("make", missing[0], can_tear=len(missing) > 1):
            os.mkdir(missing[-1])
            raise Died
        super().make_directory(missing[0] if missing else location)

    def delete(self, location: str) -> bool:
        if self.exists(location):
            inside = self.is_directory(location) and not os.path.islink(location)
            names = self.names(location) if inside else []
            if self._dies_in("delete", location, can_tear=bool(names)):
                for name in names[: (len(names) + 1) // 2]:
                    LOCAL.delete(os.path.join(location, name))
                raise Died
        return super().delete(location)

    def overwrite_in_place(
        self, location: str, data: bytes, is_expected: Callable[[bytes], bool]
    ) -> bool:
        if self.exists(location):
            self._dies_in("overwrite", location)
        return super().overwrite_in_place(location, data, is_expected)

    def _dies_in(self, call: str, location: str, *, can_tear: bool = False) -> bool:
        """Count a change, and die before it or fail; whether it is to be torn, and then `Died`."""
        with self._lock:
            if self.is_dead:
                raise Died
            self.changes.append(Change(call, location, can_tear))
            number = len(self.changes)
            if self._error is None and self._hook is None and number == self.at:
                self.is_dead = True
                if self._torn and can_tear:
                    return True
                raise Died
        if self._hook is not None and number == self.at:
            stores._stores[""] = LOCAL
            try:
                self._hook()
            finally:
                stores._stores[""] = self
        if self._error is not None and self._fails(call, number):
            failure = OSError(self._error, os.strerror(self._error))
            what = "not removed" if call == "delete" else "not written"
            raise atomic.write_error(location, failure, what)
        return False

    def _fails(self, call: str, number: int) -> bool:
        if not self.at or self._error not in LASTING:
            return number == self.at
        calls = LASTING[self._error]
        return number >= self.at and (calls is None or call in calls)

    def _leave_half(self, location: str, data: bytes) -> None:
        with open(atomic.temporary_path(location), "xb") as file:
            file.write(data[: len(data) // 2])
        raise Died


class DyingFile:
    """See `Writer`: as an `AtomicFile`, but one whose process may die."""

    def __init__(self, store: DyingStore, location: str, *, overwrite: bool, mode: int) -> None:
        self._store = store
        self._location = location
        self._overwrite = overwrite
        self._mode = mode
        self._temporary = atomic.temporary_path(location)

    def __enter__(self) -> DyingFile:
        self._store._dies_in("create", self._location)
        try:
            self._file = open(self._temporary, "xb", buffering=0, opener=self._open)
        except (OSError, ValueError) as error:
            raise atomic.write_error(self._location, error) from error
        return self

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags, self._mode)

    def write(self, data: bytes, /) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if self._store.is_dead:
                return
            if kind is not None:
                os.unlink(self._temporary)
                return
            try:
                if self._store._dies_in("finish", self._location, can_tear=True):
                    self._file.truncate(self._file.tell() // 2)
                    raise Died
            except WriteError:
                os.unlink(self._temporary)
                raise
        if self._overwrite:
            LOCAL.replace(self._temporary, self._location)
        else:
            LOCAL.rename_if_absent(self._temporary, self._location)


class Try(NamedTuple):
    """One run that was disturbed.

    Attributes
    ----------
    store
        What it changed until then.
    change
        Before which change it was, or in which.
    result
        What it returned; the error that it raised.
    """

    store: DyingStore
    change: Change
    torn: bool
    result: object


def rehearse(act: Callable[[], object]) -> list[Change]:
    """Run something undisturbed; what it changed."""
    with DyingStore().installed() as store:
        act()
    return store.changes


def each_death(
    prepare: Callable[[], object], act: Callable[[], object], *, most: int = 0
) -> Iterator[Try]:
    """Let something die before each of its changes, and in the middle of each that takes time.

    Parameters
    ----------
    prepare
        Makes what it works on anew, each time.
    most
        So many deaths, spread evenly; 0 for all.
    """
    prepare()
    changes = rehearse(act)
    assert changes
    moments = [
        (at, torn)
        for at, change in enumerate(changes, 1)
        for torn in ((False, True) if change.can_tear else (False,))
    ]
    for at, torn in _spread(moments, most):
        prepare()
        tried = _try(DyingStore(at, torn=torn), act, torn)
        assert tried.store.is_dead
        yield tried


def each_failure(
    prepare: Callable[[], object], act: Callable[[], object], error: int, *, most: int = 0
) -> Iterator[Try]:
    """Let each change of something fail with an `errno`; what it raises of ours is its result."""
    prepare()
    for at in _spread(range(1, len(rehearse(act)) + 1), most):
        prepare()
        yield _try(DyingStore(at, error=error), act)


def each_hook(
    prepare: Callable[[], object],
    act: Callable[[], object],
    hook: Callable[[], object],
    *,
    most: int = 0,
) -> Iterator[Try]:
    """Let somebody else act before each change of something; what it raises is its result."""
    prepare()
    for at in _spread(range(1, len(rehearse(act)) + 1), most):
        prepare()
        yield _try(DyingStore(at, hook=hook), act)


def _spread(moments: Sequence[Moment], most: int) -> Sequence[Moment]:
    """So many of them, the first among them."""
    if not 0 < most < len(moments):
        return moments
    return [moments[i * len(moments) // most] for i in range(most)]


def _try(store: DyingStore, act: Callable[[], object], torn: bool = False) -> Try:
    result: object = None
    with store.installed():
        try:
            result = act()
        except MonolithError as error:
            result = error
    assert store.has_happened, store.changes
    return Try(store, store.changes[store.at - 1], torn, result)
