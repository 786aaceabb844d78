"""Going back with the model, its tables and its inputs to an older step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.alive import check_quiet
from monolith_cli.care.exports import EXPORT_STATE, check_exports, endangered, find_exports, unnoted
from monolith_cli.care.findings import ERROR, WARNING
from monolith_cli.care.fsck import CheckOptions, check
from monolith_cli.care.journal import begin, finish, pick_up, read_journal
from monolith_cli.care.rollback.carry import (
    carry_out,
    is_as_left,
    is_ours,
    last_record,
)
from monolith_cli.care.rollback.plan import Plan, free_name, places_of, plan_rollback
from monolith_cli.care.rollback.texts import read_text
from monolith_cli.care.survey import DENSE_ONLY, survey
from monolith_cli.checkpoint.claim import check_journal, lives, read_claim_bytes
from monolith_cli.checkpoint.exempt import exempt_steps
from monolith_cli.checkpoint.model_dir import ModelDir, open_model_dir
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    CKPT_OVERRIDE,
    JOURNAL,
    MONOLITH_CHECKPOINT,
    parse_step_file,
)
from monolith_cli.errors import (
    CorruptionError,
    DirectoryInUseError,
    PathNotFoundError,
    ProtectedError,
    StepNotFoundError,
)
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.care.exports import Export
    from monolith_cli.care.journal import Journal, Kind
    from monolith_cli.care.rollback.plan import NewerStep, Place
    from monolith_cli.care.states import Survey
    from monolith_cli.storage.location import AnyPath

__all__ = [
    "RolledBack",
    "begin_quietly",
    "check_alive",
    "newer_pins",
    "open_job",
    "roll_back",
    "unfinished",
]

_WRITTEN_ANEW = (f"{CHECKPOINT}_input", CKPT_OVERRIDE)
"""What is wrong with these files does not matter: they say something else afterwards."""


class RolledBack(NamedTuple):
    """What a rollback, or the end of one, has done or would do.

    Attributes
    ----------
    step
        The step that `checkpoint` names now, where a job goes on; None for none.
    before
        What it named before.
    directory
        Where newer steps were moved to, or where they were until now.
    steps
        Those steps, oldest first.
    files
        How many files and directories have got another name.
    texts
        The small files that say something else now, in the order of writing.
    is_undo
        Whether what was moved away was brought back.
    is_dry_run
        Whether nothing was done.
    is_resumed
        Whether it was begun before and cut off, and is finished now.
    exports
        Those that the training system deletes at its next save.
    notes, warnings
        Remarks for people.
    """

    model_dir: str
    step: int | None
    before: int | None
    directory: str
    steps: Sequence[NewerStep]
    files: int
    texts: Sequence[str]
    is_undo: bool
    is_dry_run: bool
    is_resumed: bool
    exports: Sequence[Export] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @classmethod
    def of(cls, model_dir: str, plan: Plan, *, is_dry_run: bool, is_resumed: bool) -> RolledBack:
        """A rollback by a plan."""
        changed = [each.name for each in plan.texts if each.before != each.after]
        return cls(
            model_dir,
            plan.step,
            plan.latest,
            plan.to,
            plan.steps,
            len(plan.moves),
            changed,
            False,
            is_dry_run,
            is_resumed,
        )


def roll_back(
    model_dir: AnyPath,
    step: int,
    *,
    command: Sequence[str],
    dry_run: bool = False,
    exports_may_go: bool = False,
    exports: Sequence[AnyPath] = (),
    quiet_for_seconds: float | None = None,
) -> RolledBack:
    """Have a job start from an older step: model, tables and inputs; newer steps are moved away.

    They go into a directory below `rolled-back`, from where `undo_rollback` brings them back. Which
    steps are newer goes by the order of steps, not by their numbers. If a rollback to the same step
    was cut off here, it is finished.

    Costs a quick check of the step, and a rename for each file or directory of newer steps.

    Parameters
    ----------
    command
        The words that finish it when they are run again.
    dry_run
        Whether to look at everything, and to change nothing. A job that is alive is a warning.
    exports_may_go
        Whether exports may lose their steps.
    exports
        Where exports are besides those below the directory.
    quiet_for_seconds
        As in `check_quiet`.

    Raises
    ------
    StepNotFoundError
        There is no such step, or it is not committed; or the latest has no number.
    CorruptionError
        The step is damaged or incomplete, as far as a quick check sees.
    ProtectedError
        A newer step is pinned (`pinned`), or an export would be deleted (`exports_would_go`).
    DirectoryInUseError
        A job is alive, or has begun to save in the middle; or another command was cut off here, a
        rollback to another step among them.
    PathNotFoundError, NotReadableError, WriteError
        The directory is not one of a job; or the operating system refused.
    """
    opened = open_job(model_dir)
    directory = opened.directory
    journal = unfinished(directory, "rollback")
    if journal is not None:
        _plan_to(directory, step, journal)
    if not dry_run:
        check_alive(directory, quiet_for_seconds)
        journal = pick_up(directory, "rollback")
    if journal is not None:
        plan = _plan_to(directory, step, journal)
        if not dry_run:
            carry_out(directory, plan, journal)
        return RolledBack.of(opened.path, plan, is_dry_run=dry_run, is_resumed=True)
    found = survey(opened)
    _check_order(found)
    opened.checkpoint(step)  # what is not committed is nothing to go back to
    warnings = _check_step(opened, step)
    places = places_of(found, step)
    plan = plan_rollback(places, step, free_name(found, _stamp()))
    _check_pins(directory, places)
    noted = find_exports(found.directory, exports)
    gone = _exports_that_go(found, plan, noted)
    warnings += _pool_warnings(places[0], step)
    if plan.steps:
        warnings += _export_warnings(unnoted(found.directory, noted, exports))
    done = RolledBack.of(opened.path, plan, is_dry_run=dry_run, is_resumed=False)
    done = done._replace(exports=gone, notes=_notes(found, plan), warnings=warnings)
    if not exports_may_go:
        check_exports(directory, gone)
    if dry_run:
        try:
            check_alive(directory, quiet_for_seconds)
        except DirectoryInUseError as error:
            done = done._replace(warnings=[*done.warnings, f"not now: {error.what}"])
        return done
    if not plan.is_empty:
        journal = begin_quietly(directory, "rollback", command, plan)
        carry_out(directory, plan, journal)
    return done


def open_job(model_dir: AnyPath) -> ModelDir:
    """The directory of a job; raises PathNotFoundError for another one."""
    opened = open_model_dir(model_dir)
    if opened.kind != "training":
        hint = "give the directory where a job saves"
        raise PathNotFoundError("no directory of a job", path=opened.path, hint=hint)
    return opened


def unfinished(directory: str, kind: Kind) -> Journal | None:
    """The journal of such a command that was cut off; raises where another one was, or runs."""
    journal = read_journal(directory)
    if journal is not None and (journal.kind != kind or lives(journal.by)):
        check_journal(directory)
    return journal


def _plan_to(directory: str, step: int, journal: Journal) -> Plan:
    """The plan of a rollback that was cut off; raises where that goes back to another step."""
    plan = Plan.from_json(journal.plan, join(directory, JOURNAL))
    if plan.step != step:
        check_journal(directory)
        raise DirectoryInUseError(
            f"a rollback to step {plan.step} has just ended here",
            path=directory,
            hint="look at it, and try again",
        )
    return plan


def check_alive(directory: str, quiet_for_seconds: float | None) -> None:
    """Raise as `check_quiet`; when `checkpoint` was written says nothing if that was a rollback."""
    check_quiet(directory, quiet_for_seconds, resumed=_wrote_last(directory))


def _wrote_last(directory: str) -> bool:
    """Whether nobody but a rollback, which may have been cut off, has written `checkpoint`."""
    journal = read_journal(directory)
    if journal is None:
        last = last_record(directory)
        return last is not None and is_as_left(directory, last)
    if journal.kind not in ("rollback", "undo"):
        return False
    return is_ours(directory, Plan.from_json(journal.plan, join(directory, JOURNAL)))


def begin_quietly(directory: str, kind: Kind, command: Sequence[str], plan: Plan) -> Journal:
    """Write the journal; and look again at what a chief or a command may have changed until then.

    Raises
    ------
    DirectoryInUseError
        One has come, or another command.
    WriteError
        The store refused.
    """
    claim = read_claim_bytes(directory)
    journal = begin(directory, kind, command, plan.as_json())
    if read_claim_bytes(directory) != claim:
        finish(directory, journal)
        raise DirectoryInUseError("a job has just begun here", path=directory, kind="job_runs")
    if not _is_still_so(directory, plan, is_undo=kind == "undo"):
        finish(directory, journal)
        raise DirectoryInUseError(
            "another command or a job has just changed something here",
            path=directory,
            hint="look at it, and try again",
        )
    return journal


def _is_still_so(directory: str, plan: Plan, *, is_undo: bool) -> bool:
    """Whether files are where they are to be moved from, and `checkpoint` says what was planned."""
    store = store_of(directory)
    for text in plan.texts:
        if name_of(text.name) == CHECKPOINT:
            expected = text.after if is_undo else text.before
            if read_text(join(directory, text.name)) != expected:
                return False
    for move in plan.moves:
        file = parse_step_file(name_of(move[0]))
        is_there = store.exists(join(directory, move[1] if is_undo else move[0]))
        if not is_there and not (file and file.is_temporary):
            return False
    return True


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _check_order(found: Survey) -> None:
    """Refuse where it is not known which steps are newer."""
    if found.state is None:
        what = f"nothing is committed: there is no '{CHECKPOINT}' file"
        raise StepNotFoundError(what, path=found.directory)
    if found.latest is not None and found.latest.step is None:
        what = "the latest checkpoint's name has no step"
        raise StepNotFoundError(what, path=found.directory)


def _check_step(opened: ModelDir, step: int) -> list[str]:
    """A quick check of the step to go back to; what is not quite right with it."""
    judgement = check(opened, step, CheckOptions(quick=True, jobs=1))
    beside = join(opened.directory, DENSE_ONLY, "")
    findings = [
        each
        for each in judgement.findings
        if each.step in (step, None)
        and not (each.file or "").startswith(beside)
        and not name_of(each.file or "").startswith(_WRITTEN_ANEW)
    ]
    for error in judgement.unread:
        if not (error.path or "").startswith(beside):
            raise error
    errors = [each for each in findings if each.severity == ERROR]
    if errors:
        worst = errors[0]
        more = f" (one of {len(errors)} errors)" if len(errors) > 1 else ""
        raise CorruptionError(
            f"step {step} is not one to go back to: {worst.message}{more}",
            path=worst.file or opened.path,
            offset=worst.offset,
            hint="take another step",
            kind=worst.id,
        )
    return [each.message for each in findings if each.severity == WARNING and each.step == step]


def newer_pins(model_dir: AnyPath, step: int) -> list[int]:
    """The steps newer than this one that are pinned: they keep `roll_back` from going back to it.

    Raises
    ------
    MonolithError
        As `survey`, and where pins cannot be read.
    """
    return _newer_pins(places_of(survey(open_job(model_dir)), step))


def _newer_pins(places: Iterable[Place]) -> list[int]:
    pinned: set[int] = set()
    for place in places:
        there = {each.step for each in place.found.steps}
        pinned |= exempt_steps(place.found.directory).keys() & place.newer & there
    return sorted(pinned)


def _check_pins(directory: str, places: Iterable[Place]) -> None:
    """Refuse where a newer step is exempt from deletion: somebody wants to keep it."""
    pinned = _newer_pins(places)
    if not pinned:
        return
    is_one = len(pinned) == 1
    raise ProtectedError(
        f"newer step{'' if is_one else 's'} {', '.join(map(str, pinned))}"
        f" {'is' if is_one else 'are'} pinned",
        path=join(directory, MONOLITH_CHECKPOINT),
        hint="end the pin first" if is_one else "end these pins first",
        kind="pinned",
    )


def _exports_that_go(found: Survey, plan: Plan, exports: Sequence[Export]) -> list[Export]:
    """Those that the next save deletes, and those whose tables are moved away."""
    if not exports:
        return []
    exempt = set(exempt_steps(found.directory))
    before = exempt | {each.step for each in found.steps if each.is_listed and each.step}
    moved = {each.step for each in plan.steps if not each.directory}
    go = endangered(exports, (before - moved) | {plan.step}, before)
    return go + [each for each in exports if each.shares_tables and each.step in moved - before]


def _notes(found: Survey, plan: Plan) -> list[str]:
    """What one would not expect."""
    notes = []
    for text in plan.texts:
        if text.name == CKPT_OVERRIDE and text.before is not None:
            notes.append("a rollback of inputs that was asked for ends")
        elif text.name == CKPT_OVERRIDE:
            notes.append(f"inputs that had not gone back by step {plan.step} do so again")
    target = next(each for each in found.steps if each.step == plan.step)
    if not target.is_listed:
        notes.append(
            f"step {plan.step} was not listed, so no save deleted it; it is listed now: pin it to"
            " keep it"
        )
    return notes


def _export_warnings(directories: Iterable[str]) -> list[str]:
    """Exports that may read the tables of a step that is moved away."""
    return [
        f"{directory}: an export without tables, and no {EXPORT_STATE} says of which step: if it"
        " reads the tables of a step that is moved away, it cannot be loaded then"
        for directory in directories
    ]


def _pool_warnings(place: Place, step: int) -> list[str]:
    """Item pools of a run before that stay, and have a higher number."""
    newest: dict[int, int] = {}
    moved = set(place.names(step))
    for name, file in place.files.items():
        if file.kind == "item_pool" and not file.is_temporary and name not in moved:
            worker = file.worker or 0
            newest[worker] = max(newest.get(worker, 0), file.step)
    return [
        f"the newest item pool of worker {worker} is of step {at}, by its number: training loads"
        f" none with step {step}"
        for worker, at in sorted(newest.items())
        if at > step
    ]
