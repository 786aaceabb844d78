"""The claim by which a chief's hook holds the directory that it saves into."""

from __future__ import annotations

import atexit
import gc
import os
import threading
import weakref
from typing import Any

from absl import logging

from monolith_cli.checkpoint.claim import (
    Claim,
    check_journal,
    in_use,
    is_gone,
    parse_claim,
    raise_counter,
    read_claim,
    read_claim_bytes,
    wait_for_sign_of_life,
    write_claim,
)
from monolith_cli.checkpoint.names import CHECKPOINT, CHIEF_CLAIM
from monolith_cli.errors import AlreadyExistsError, MonolithError, StateFileError
from monolith_cli.storage.atomic import make_directory
from monolith_cli.storage.local import LOCAL

__all__ = ["ChiefClaim"]

_BEAT_SECONDS = 10.0
_LOOK_SECONDS = 1.0

_LOOKS_A_COLLECTION = 3

_TRIES = 5
"""How often to try for a claim that others take and leave at the same time."""

_of_this_process: set[str] = set()
_held: weakref.WeakSet[ChiefClaim] = weakref.WeakSet()


class ChiefClaim:
    """Holds a directory for one hook of a chief, session after session.

    While it is held, a thread raises the counter in `chief_claim` every 10 seconds, with one small
    write. The thread ends with the session. The claim then stays for a session that recovers. It
    counts as left when its counter has not changed for half a minute, or the process has ended.
    Another hook of the same process takes it over at once.

    Parameters
    ----------
    model_dir
        An absolute path.
    """

    def __init__(self, model_dir: str) -> None:
        self._model_dir = model_dir
        self._claim = Claim.of_this_process()
        self._gone: bytes | None = None  # a claim of a chief that is known to be gone
        self._is_held = False
        self._commit: object = None
        self._beat: _Beat | None = None
        self.is_lost = False

    def look(self) -> None:
        """Check that the directory is free, before anything is done there; takes up to 30 s.

        Raises
        ------
        DirectoryInUseError
            Another chief is alive, or a command was cut off and must be run again.
        NotReadableError
            The operating system refused.
        """
        check_journal(self._model_dir)
        data = read_claim_bytes(self._model_dir)
        if data is not None and not self._is_free(data):
            logging.info(
                "Waiting to see whether the chief that has claimed %s lives.", self._model_dir
            )
            data = wait_for_sign_of_life(self._model_dir, data)
        self._gone = data

    def hold(self, session: Any) -> None:
        """Take the directory, if it is not held yet, for as long as a plain session is open.

        Raises
        ------
        DirectoryInUseError, NotReadableError
            As `look`; also if another chief has taken it since.
        WriteError
            The claim cannot be written.
        """
        if self._is_held:
            check_journal(self._model_dir)
            self.check()
        else:
            self._take()
        self._stop()
        self._beat = _Beat(self, session)
        self._beat.start()

    def note_run(self) -> None:
        """The session runs, so it has been made."""
        if self._beat is not None:
            self._beat.has_run = True

    def check(self) -> None:
        """Make sure that the directory is still this chief's, before something changes there.

        Raises
        ------
        DirectoryInUseError
            It is another chief's, or was: there is no claim, but there are commits by others.
        NotReadableError, WriteError
            The claim cannot be read; or is gone, and cannot be written.
        """
        if not self._is_held:
            return
        try:
            found = read_claim(self._model_dir)
        except StateFileError:
            found = None  # it belongs to nobody
        if found is not None and found.id != self._claim.id:
            self.is_lost = True
            data = read_claim_bytes(self._model_dir)
            raise in_use(self._model_dir, data, "another chief has taken over here")
        if found is None:
            if self._commit != self._last_commit():
                self.is_lost = True
                raise in_use(self._model_dir, None, "another chief has been here since")
            logging.warning("%s is gone from %s: written again.", CHIEF_CLAIM, self._model_dir)
            make_directory(self._model_dir)
            write_claim(self._model_dir, self._claim, overwrite=True)

    def note_commit(self) -> None:
        """What `checkpoint` says now is this chief's, or taken over by it."""
        self._commit = self._last_commit()

    def _last_commit(self) -> object:
        try:
            status = os.stat(os.path.join(self._model_dir, CHECKPOINT))
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def release(self) -> None:
        """Release the directory, if it is held; whatever goes wrong is only logged."""
        self._stop()
        if not self._is_held:
            return
        self._is_held = False
        try:
            found = read_claim(self._model_dir)
            if found is not None and found.id == self._claim.id:
                LOCAL.delete(os.path.join(self._model_dir, CHIEF_CLAIM))
        except MonolithError as error:
            logging.warning("The claim of the chief is not removed: %s", error)

    def raise_counter(self) -> None:
        """Give a sign of life."""
        self._claim = self._claim._replace(counter=self._claim.counter + 1)
        try:
            found = raise_counter(self._model_dir, self._claim, LOCAL.overwrite_in_place)
        except OSError as error:
            logging.warning("The claim of the chief is not renewed: %s", error)
            return
        if not found:
            self._note_loss()

    def _note_loss(self) -> None:
        try:
            self.check()
        except MonolithError as error:
            logging.error("Nothing more will be saved: %s", error)

    def _is_free(self, data: bytes) -> bool:
        """Whether a claim is known to be nobody's, without waiting for a sign of life."""
        if data == self._gone:
            return True
        try:
            claim = parse_claim(data, self._model_dir)
        except StateFileError:
            return False
        return claim.id in _of_this_process or is_gone(claim)

    def _take(self) -> None:
        make_directory(self._model_dir)
        for _ in range(_TRIES):
            self.look()
            try:
                write_claim(self._model_dir, self._claim, overwrite=self._gone is not None)
            except AlreadyExistsError:
                continue
            _of_this_process.add(self._claim.id)
            _held.add(self)
            self._is_held = True
            self.note_commit()
            self.check()
            return
        raise in_use(self._model_dir, read_claim_bytes(self._model_dir))

    def _stop(self) -> None:
        if self._beat is not None:
            self._beat.stopped.set()
            self._beat = None


class _Beat(threading.Thread):
    """Raises a claim's counter as long as its session is open."""

    def __init__(self, claim: ChiefClaim, session: Any) -> None:
        super().__init__(name="chief-claim", daemon=True)
        self.stopped = threading.Event()
        self.has_run = False
        self._claim = weakref.ref(claim)
        self._session = weakref.ref(session)

    def run(self) -> None:
        looks = beats = 0
        while not self.stopped.wait(_LOOK_SECONDS):
            looks += 1
            if not self.has_run and looks % _LOOKS_A_COLLECTION == 0:
                # A session whose making has failed is never closed, so it is dropped here.
                gc.collect()
            claim, session = self._claim(), self._session()
            if claim is None or session is None or getattr(session, "_closed", False):
                return
            if looks * _LOOK_SECONDS >= (beats + 1) * _BEAT_SECONDS:
                beats += 1
                claim.raise_counter()
            del claim, session


@atexit.register
def _release_all() -> None:
    """A process that ends by itself leaves no claim; a process that it has forked holds none."""
    for claim in list(_held):
        if claim._claim.pid == os.getpid():
            claim.release()
