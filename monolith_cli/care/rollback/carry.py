"""Carrying a rollback out, and taking it back: each may be cut off anywhere, and done again.

The way there: the record, the small files, of which `checkpoint` is the last, then the moves. The
way back is the same from its end. `checkpoint` is looked at before each change: if a job begins to
save in the middle, what was done is undone. But once it lists again what was moved away, a way back
goes on to its end: a job may have begun from that.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from monolith_cli.care.come_since import list_too, model_indexes
from monolith_cli.care.journal import check_mine, finish
from monolith_cli.care.leftovers import ROLLED_BACK
from monolith_cli.care.rollback.plan import Plan
from monolith_cli.care.rollback.texts import Text, read_text, write_text
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    MONOLITH_CHECKPOINT,
    is_one_shot_flag,
    parse_step_file,
)
from monolith_cli.errors import (
    AlreadyExistsError,
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.formats.checkpoint_state import parse_checkpoint_state
from monolith_cli.storage.atomic import leftovers
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from monolith_cli.care.journal import Journal

__all__ = ["RECORD", "carry_out", "is_as_left", "is_ours", "last_record", "take_back"]

_AGAIN = "run the same command again, which goes on with it"

RECORD = "rollback.json"
"""In a directory below `rolled-back`: what was moved there, and what small files said before."""


def read_record(directory: str, to: str) -> Plan | None:
    """What a rollback has left in a directory below `rolled-back`; None where it has left none.

    Raises
    ------
    StateFileError
        It is malformed.
    NotReadableError
        The store refused.
    """
    path = join(directory, to, RECORD)
    try:
        data = store_of(path).read(path)
    except PathNotFoundError:
        return None
    try:
        said = json.loads(data)
        plan = Plan.from_json(said, path)
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        if isinstance(error, StateFileError):
            raise
        raise StateFileError("not the record of a rollback", path=path) from error
    return plan


def last_record(directory: str) -> Plan | None:
    """What the last rollback has left that was not undone; None where there is none.

    Raises
    ------
    MonolithError
        As `read_record`.
    """
    path = join(directory, ROLLED_BACK)
    store = store_of(path)
    names = store.names(path) if store.is_directory(path) else []
    plans = (read_record(directory, join(ROLLED_BACK, name)) for name in reversed(names))
    return next((plan for plan in plans if plan is not None), None)


def is_as_left(directory: str, plan: Plan) -> bool:
    """Whether `checkpoint` says what a rollback has let it say, there and in `dense_only`."""
    return all(read_text(join(directory, each.name)) == each.after for each in _lists(plan))


def is_ours(directory: str, plan: Plan) -> bool:
    """Whether nobody else has written `checkpoint` since a rollback, or an undo, has begun."""
    return all(
        read_text(join(directory, each.name)) in (each.before, each.after) for each in _lists(plan)
    )


def _lists(plan: Plan) -> list[Text]:
    return [text for text in plan.texts if name_of(text.name) == CHECKPOINT]


def carry_out(directory: str, plan: Plan, journal: Journal) -> None:
    """Go back to the step of a plan, whatever of it is done already.

    Raises
    ------
    DirectoryInUseError
        A job has begun to save here meanwhile; what was done is undone.
    MonolithError
        The store refused. What was done is undone, or, if it refuses that as well, the journal
        stays, and the same command goes on with it.
    """
    work = _Work(directory, plan)
    try:
        for each in plan.directories:
            store_of(directory).make_directory(join(directory, each))
        work.write_record()
        for text in plan.texts:
            work.check()
            work.change(text.name, text.before, text.after)
        for source, target in plan.moves:
            work.check(is_back=True)
            work.move(source, target)
        work.check(is_back=True)
    except MonolithError as error:
        _undone(error, work, journal, work.restore)
        raise
    finish(directory, journal)


def take_back(directory: str, plan: Plan, journal: Journal) -> None:
    """Bring all back that a plan has moved away, and what small files said; then the record goes.

    Raises
    ------
    MonolithError
        As `carry_out`.
    """
    work = _Work(directory, plan)
    try:
        is_done = work.lists_what_was_moved
        for source, target in reversed(plan.moves):
            if not is_done:
                work.check()
            work.move(target, source)
        for text in reversed(plan.texts):
            if not is_done and not work.lists_what_was_moved:
                work.check()
            _say_again(work, text)
        work.remove_record()
    except MonolithError as error:
        if work.lists_what_was_moved:
            error.hint = f"{error.hint}; {_AGAIN}" if error.hint else _AGAIN
        else:
            _undone(error, work, journal, work.go_back_again)
        raise
    finish(directory, journal)


def _say_again(work: _Work, text: Text) -> None:
    """Let a small file say what it said before a rollback, unless a job has begun from that."""
    found = read_text(join(work.directory, text.name))
    if name_of(text.name) != CHECKPOINT:
        # A save that died may have written it; it was not committed.
        if work.is_before:
            work.change(text.name, found, text.before)
    elif found == text.after or not work.lists_what_was_moved:
        work.change(text.name, text.after, text.before)


def _undone(
    error: MonolithError, work: _Work, journal: Journal, undo: Callable[[], list[str]]
) -> None:
    """Undo what was done before an error, which then says so."""
    try:
        check_mine(work.directory, journal)
        left = undo()
        finish(work.directory, journal)
    except MonolithError:
        hint = _AGAIN
    else:
        hint = "all is as it was before"
        if left:
            hint = f"as before, but for {len(left)} names that are taken, such as '{left[0]}':"
            hint += f" what had them is in {work.plan.to}"
    error.hint = f"{error.hint}; {hint}" if error.hint else hint


class _Work:
    """The changes of a plan, one at a time."""

    def __init__(self, directory: str, plan: Plan) -> None:
        self.directory = directory
        self.plan = plan
        self.store = store_of(directory)
        self.lists = _lists(plan)
        self.known = {text.name: self._known(parent_of(text.name)) for text in self.lists}

    def _known(self, below: str) -> set[str]:
        """The indexes of models in a place, and those that are moved from there, or back."""
        moved = {name_of(source) for source, _ in self.plan.moves if parent_of(source) == below}
        directory = join(self.directory, below) if below else self.directory
        return model_indexes(directory) | moved if self.store.is_directory(directory) else moved

    @property
    def is_before(self) -> bool:
        """Whether `checkpoint` says what it said before the rollback."""
        return read_text(self._path(self.lists[-1].name)) == self.lists[-1].before

    @property
    def lists_what_was_moved(self) -> bool:
        """Whether `checkpoint` lists steps that a rollback has taken out of it.

        Then there is no way back from an undo, whoever has written `checkpoint` since.
        """
        text = self.lists[-1]
        path = self._path(text.name)
        before, after = (set(_paths(each, path)) for each in (text.before, text.after))
        return bool((before - after).intersection(_paths(read_text(path), path)))

    def check(self, *, is_back: bool = False) -> None:
        """Make sure that nobody else has written `checkpoint`; that it `is_back`, if it must be."""
        for text in self.lists:
            found = read_text(self._path(text.name))
            if found != text.after and (is_back or found != text.before):
                raise self._changed(text.name)

    def change(self, name: str, before: str | None, after: str | None) -> None:
        """Let a small file say something else; it is compared before, and read after."""
        path = self._path(name)
        found = read_text(path)
        if found == after:
            return
        if found != before:
            raise self._changed(name)
        write_text(path, after)
        if read_text(path) != after:
            raise self._changed(name)
        if name_of(name) == CHECKPOINT and found is not None:
            come = model_indexes(parent_of(path)) - self.known[name]
            if come:
                said = parse_checkpoint_state(found.encode("utf-8", "surrogateescape"), path)
                list_too(path, said, come)
                raise self._changed(name)

    def move(self, source: str, target: str) -> None:
        """Give something its other name, unless it has it already."""
        old, new = self._path(source), self._path(target)
        try:
            self.store.rename_if_absent(old, new)
        except PathNotFoundError:
            file = parse_step_file(name_of(source))
            if not self.store.exists(new) and not (file and file.is_temporary):
                raise
        except AlreadyExistsError:
            if not self.store.is_same(old, new):
                raise
            self.store.delete(old)  # cut off between its two names

    def restore(self) -> list[str]:
        """Undo a rollback, as far as nobody else has written; return the names that are taken."""
        left = self._move_all([(target, source) for source, target in reversed(self.plan.moves)])
        for text in reversed(self.plan.texts):
            if read_text(self._path(text.name)) == text.after:
                self.change(text.name, text.after, text.before)
        if not left:
            self.remove_record()
        return left

    def go_back_again(self) -> list[str]:
        """Undo an undo, likewise."""
        for text in self.plan.texts:
            if read_text(self._path(text.name)) == text.before:
                self.change(text.name, text.before, text.after)
        self.write_record()
        return self._move_all(self.plan.moves)

    def write_record(self) -> None:
        """Leave what an undo needs, beside what is moved."""
        data = (json.dumps(self.plan.as_json()) + "\n").encode("ascii")
        self.store.put(self._path(self.plan.to, RECORD), data)

    def remove_record(self) -> None:
        """Remove it, and the directories that are empty then."""
        self.store.delete(self._path(self.plan.to, RECORD))
        for each in self.plan.directories:
            names = self._names(each)
            dead = {name for name, _ in leftovers(names)}
            for name in names:
                if name in dead or _is_of_copy(name):
                    self.store.delete(self._path(each, name))
        for each in [*reversed(self.plan.directories), ROLLED_BACK]:
            with suppress(MonolithError):
                if not self.store.names(self._path(each)):
                    self.store.delete(self._path(each))

    def _names(self, directory: str) -> list[str]:
        try:
            return self.store.names(self._path(directory))
        except PathNotFoundError:
            return []

    def _move_all(self, moves: Iterable[tuple[str, str]]) -> list[str]:
        left = []
        for source, target in moves:
            if not self.store.exists(self._path(source)):
                continue
            try:
                self.move(source, target)
            except AlreadyExistsError:
                left.append(target)
        return left

    def _path(self, *names: str) -> str:
        return join(self.directory, *names)

    def _changed(self, name: str) -> MonolithError:
        return DirectoryInUseError(
            "somebody else has written it meanwhile: a job has begun to save here",
            path=self._path(name),
            hint="stop the job first",
        )


def _paths(text: str | None, path: str) -> tuple[str, ...]:
    """What a `checkpoint` lists; nothing where it is none."""
    if text is None:
        return ()
    with suppress(StateFileError):
        state = parse_checkpoint_state(text.encode("utf-8", "surrogateescape"), path)
        return tuple(map(name_of, state.all_model_checkpoint_paths))
    return ()


def _is_of_copy(name: str) -> bool:
    """Whether it is of a model directory of its own that was to be made, and was not."""
    is_text = name == MONOLITH_CHECKPOINT or name.startswith(CHECKPOINT)
    return is_text or is_one_shot_flag(name)
