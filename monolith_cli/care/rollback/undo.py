"""Bringing back what a rollback has moved away: to where it was, or into a directory of its own."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from monolith_cli.care.journal import pick_up
from monolith_cli.care.leftovers import ROLLED_BACK
from monolith_cli.care.new_directory import check_new_directory
from monolith_cli.care.rollback.back import (
    RolledBack,
    begin_quietly,
    check_alive,
    open_job,
    unfinished,
)
from monolith_cli.care.rollback.carry import RECORD, last_record, take_back
from monolith_cli.care.rollback.plan import Plan
from monolith_cli.care.rollback.texts import read_text, write_text
from monolith_cli.care.survey import DENSE_ONLY
from monolith_cli.checkpoint.claim import check_journal
from monolith_cli.checkpoint.inputs import list_inputs, list_task_inputs, write_input_state
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    JOURNAL,
    MONOLITH_CHECKPOINT,
    is_one_shot_flag,
    parse_step_file,
)
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.errors import (
    AlreadyExistsError,
    DifferentError,
    DirectoryInUseError,
    PathNotFoundError,
    WriteError,
)
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    parse_checkpoint_state,
    replace_exempt_paths,
)
from monolith_cli.storage.location import (
    HERE,
    absolute,
    as_location,
    join,
    name_of,
    normal,
    parent_of,
)
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.journal import Journal
    from monolith_cli.storage.location import AnyPath

__all__ = ["undo_rollback", "undo_rollback_to"]


def undo_rollback(
    model_dir: AnyPath,
    *,
    command: Sequence[str],
    dry_run: bool = False,
    quiet_for_seconds: float | None = None,
) -> RolledBack:
    """Undo the last rollback: what it has moved away comes back, and small files as they were.

    If an undo was cut off here, it is finished.

    Parameters
    ----------
    command, dry_run, quiet_for_seconds
        As in `roll_back`.

    Raises
    ------
    PathNotFoundError
        There is no rollback to undo, or something of what it moved away is gone.
    DifferentError
        A step was committed since, or `checkpoint` was changed by somebody else. The kind is
        `committed_since`.
    AlreadyExistsError
        A name is taken by now.
    DirectoryInUseError
        As `roll_back`.
    StateFileError, NotReadableError, WriteError
        What the rollback has left cannot be read; or the operating system refused.
    """
    opened = open_job(model_dir)
    directory = opened.directory
    journal = unfinished(directory, "undo")
    if journal is not None:
        return _finish(opened.path, directory, journal, dry_run, quiet_for_seconds)
    plan = _last(directory)
    done = _undone(opened.path, plan, is_dry_run=dry_run, is_resumed=False)
    _check_unchanged(directory, plan)
    for source, target in plan.moves:
        _check_move(directory, source, target)
    if not dry_run:
        check_alive(directory, quiet_for_seconds)
        take_back(directory, plan, begin_quietly(directory, "undo", command, plan))
        return done
    try:
        check_alive(directory, quiet_for_seconds)
    except DirectoryInUseError as error:
        done = done._replace(warnings=[f"not now: {error.what}"])
    return done


def undo_rollback_to(model_dir: AnyPath, to: AnyPath, *, dry_run: bool = False) -> RolledBack:
    """Make a model directory of what the last rollback has moved away; the job's stays as it is.

    It gets the steps by one rename, with a `checkpoint` that lists those of them that were listed,
    the states of inputs, and flags of what was done already. So a job may run meanwhile.

    Parameters
    ----------
    to
        The directory to make, in one that is there, on the same file system. It must not exist.

    Raises
    ------
    AlreadyExistsError
        It exists.
    UsageError
        It would lie in the model directory.
    MonolithError
        As `undo_rollback`.
    """
    opened = open_job(model_dir)
    directory, target = opened.directory, absolute(as_location(to))
    check_journal(directory)
    plan = _last(directory)
    place = normal(as_location(to))
    check_new_directory(place, directory)
    above = parent_of(place) or HERE
    if not store_of(above).is_directory(above):
        raise PathNotFoundError("no such directory", path=above, hint="make it first")
    for source, moved in plan.moves:
        _check_there(directory, source, moved)
    source = join(directory, plan.to)
    latest = _listed(plan, CHECKPOINT)
    done = _undone(opened.path, plan, is_dry_run=dry_run, is_resumed=False)
    done = done._replace(
        directory=as_location(to), step=latest[-1] if latest else None, before=None, texts=()
    )
    if dry_run:
        return done
    names = store_of(directory).names(directory)
    for name in [each for each in names if is_one_shot_flag(each)]:
        write_text(join(source, name), read_text(join(directory, name)))
    _make_model_dir(directory, "", plan.to, plan)
    for below in set(plan.directories) - {plan.to}:
        inner = join(plan.to, DENSE_ONLY)
        if below != inner:
            _rename(join(directory, below), join(directory, inner))
        _make_model_dir(directory, DENSE_ONLY, inner, plan)
    _rename(source, target)
    store_of(target).delete(join(target, RECORD))
    return done


def _finish(
    path: str, directory: str, journal: Journal, dry_run: bool, quiet_for_seconds: float | None
) -> RolledBack:
    plan = Plan.from_json(journal.plan, join(directory, JOURNAL))
    if not dry_run:
        check_alive(directory, quiet_for_seconds)
        mine = pick_up(directory, "undo")
        if mine is not None:
            take_back(directory, plan, mine)
    return _undone(path, plan, is_dry_run=dry_run, is_resumed=True)


def _undone(path: str, plan: Plan, *, is_dry_run: bool, is_resumed: bool) -> RolledBack:
    done = RolledBack.of(path, plan, is_dry_run=is_dry_run, is_resumed=is_resumed)
    texts = list(reversed(done.texts))
    return done._replace(step=plan.latest, before=plan.step, texts=texts, is_undo=True)


def _last(directory: str) -> Plan:
    """What the last rollback has left.

    Raises
    ------
    PathNotFoundError
        There was none, or nothing is left of it.
    """
    plan = last_record(directory)
    if plan is None:
        raise PathNotFoundError("no rollback to undo", path=join(directory, ROLLED_BACK))
    return plan


def _check_unchanged(directory: str, plan: Plan) -> None:
    """Refuse where `checkpoint` says something else than the rollback has let it say."""
    for text in plan.texts:
        path = join(directory, text.name)
        now = read_text(path)
        if name_of(text.name) != CHECKPOINT or now == text.after:
            continue
        steps = _steps(now, path)
        new = [each for each in steps if each not in _steps(text.after, path)]
        what = "has been changed since the rollback"
        if new:
            what = f"step {new[-1]} has been committed since the rollback"
        raise DifferentError(
            what,
            path=path,
            hint="bring the steps into a directory of their own",
            kind="committed_since",
        )


def _check_move(directory: str, source: str, target: str) -> None:
    path = join(directory, source)
    if store_of(path).exists(path):
        raise AlreadyExistsError(
            "exists by now, so what was moved away cannot come back",
            path=path,
            hint="bring the steps into a directory of their own",
        )
    _check_there(directory, source, target)


def _check_there(directory: str, source: str, target: str) -> None:
    path = join(directory, target)
    if not store_of(path).exists(path):
        file = parse_step_file(name_of(source))
        if not (file and file.is_temporary):
            what = "is gone, so the rollback cannot be undone"
            raise PathNotFoundError(what, path=path)


def _steps(text: str | None, path: str) -> list[int]:
    if text is None:
        return []
    state = parse_checkpoint_state(text.encode("utf-8", "surrogateescape"), path)
    return [each.step for each in recorded_checkpoints(state) if each.step is not None]


def _listed(plan: Plan, name: str) -> list[int]:
    """The steps that were listed before, and were moved away; the latest last."""
    below = parent_of(name)
    moved = {each.step for each in plan.steps if each.directory == below}
    text = next((each for each in plan.texts if each.name == name), None)
    before = _steps(text.before, name) if text else []
    latest = plan.latest if not below else None
    return sorted([step for step in before if step in moved], key=lambda step: step == latest)


def _rename(source: str, target: str) -> None:
    try:
        store_of(source).rename_if_absent(source, target)
    except WriteError as error:
        if error.errno == errno.EXDEV:
            error.hint = "give a directory on the same file system"
        raise


def _make_model_dir(directory: str, was_in: str, to: str, plan: Plan) -> None:
    """Let small files in a directory say what was moved into it."""
    place = join(directory, to)
    was = join(was_in, CHECKPOINT)
    steps = set(_listed(plan, was))
    text = next((each for each in plan.texts if each.name == was), None)
    if text is not None and text.before is not None and steps:
        state = parse_checkpoint_state(text.before.encode("utf-8", "surrogateescape"), was)
        kept = [each for each in recorded_checkpoints(state) if each.step in steps]
        kept.sort(key=lambda each: each.path == state.model_checkpoint_path)
        names = tuple(each.name for each in kept)
        times = tuple(each.time or 0.0 for each in kept if state.all_model_checkpoint_timestamps)
        said = CheckpointState(names[-1], names, times, state.last_preserved_timestamp)
        write_text(join(place, CHECKPOINT), format_checkpoint_state(said))
    there = store_of(place).names(place)
    for worker in list_inputs(there):
        write_input_state(place, worker)
    for task, at in list_task_inputs(there).items():
        if at:
            names = tuple(f"{task}.ckpt-{step}" for step in at)
            said = CheckpointState(names[-1], names)
            write_text(join(place, f"{CHECKPOINT}_{task}"), format_checkpoint_state(said))
    of_tables = join(directory, was_in, MONOLITH_CHECKPOINT)
    pins = read_text(of_tables)
    if pins is not None:
        data = replace_exempt_paths(pins.encode("utf-8", "surrogateescape"), (), of_tables)
        write_text(join(place, MONOLITH_CHECKPOINT), data.decode("utf-8", "surrogateescape"))
