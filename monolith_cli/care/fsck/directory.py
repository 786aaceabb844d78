"""What is to be said of a directory and of no step in it: its text files, and what lies about."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from monolith_cli.care.findings import finding, finding_of
from monolith_cli.care.fsck.judgement import Unread, if_there
from monolith_cli.checkpoint.inputs import input_prefix
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    CKPT_OVERRIDE,
    INDEX_SUFFIX,
    MONOLITH_CHECKPOINT,
    ckpt_manifest_name,
    parse_checkpoint_name,
    parse_step_file,
    target_of_temporary,
)
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.errors import (
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
)
from monolith_cli.storage.location import join, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.inputs import Inputs
    from monolith_cli.care.fsck.step import StepLook
    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.checkpoint.override import Override

__all__ = ["check_directory", "is_young"]

YOUNG_SECONDS = 600.0
"""What was written since then may be in the middle of a save."""


def check_directory(
    survey: Survey,
    looks: Mapping[int | None, StepLook],
    look_at: Callable[[StepSurvey], StepLook],
    inputs: Inputs,
    unread: list[Unread],
) -> Iterator[Finding]:
    """Everything that no single step shows.

    Parameters
    ----------
    looks
        At the steps that are checked.
    look_at
        At any other step.
    unread
        Gets what could not be read.
    """
    yield from _without_checkpoint(survey, unread)
    for step in survey.steps:
        yield from _state(survey, step, unread)
    yield from _leftovers(survey)
    yield from _exempt(survey, unread)
    yield from _override(survey, inputs, unread)
    yield from _writers(survey, look_at)
    yield from _manifests(list(looks.values()))


def is_young(survey: Survey, names: Sequence[str], now: float | None = None) -> bool:
    """Whether one of these files, in the directory, was written in the last ten minutes."""
    now = time.time() if now is None else now
    for name in names:
        item = survey.items.get(name)
        try:
            if item is not None and now - item.status().modified < YOUNG_SECONDS:
                return True
        except MonolithError:
            continue
    return False


def _without_checkpoint(survey: Survey, unread: list[Unread]) -> Iterator[Finding]:
    """The directory of a job whose `checkpoint` is damaged, or gone: it would start anew."""
    if isinstance(survey.problem, NotReadableError):
        unread.append(Unread(None, survey.problem))
        return
    if survey.problem is not None:
        made = finding_of(survey.problem, "bad_state_file")
        yield made._replace(suggest="restore it from a copy")
        return
    is_of_job = MONOLITH_CHECKPOINT in survey.items or _manifests_in(survey)
    if survey.state is not None or not is_of_job:
        return
    saved = [step for step in survey.steps if step.names and not is_young(survey, step.names)]
    if not saved:
        return
    yield finding(
        "bad_state_file",
        f"missing: there are files of {_steps_text(len(saved))}, and a job would start anew",
        file=join(survey.directory, CHECKPOINT),
        suggest="restore it from a copy",
    )


def _steps_text(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _manifests_in(survey: Survey) -> bool:
    names = (ckpt_manifest_name(step.step) for step in survey.steps if step.step is not None)
    return any(name in survey.items for name in names)


def _state(survey: Survey, step: StepSurvey, unread: list[Unread]) -> Iterator[Finding]:
    """A step that is listed and gone, or here and not listed."""
    if step.state == "unlisted":
        if survey.problem is not None:
            return  # nobody knows
        what = f"whole, and not listed in '{CHECKPOINT}'"
        prefix = step.checkpoint.prefix if step.checkpoint else None
        file = f"{prefix}{INDEX_SUFFIX}" if prefix else None
        yield finding("unlisted_step", what, step=step.step, file=file)
    elif step.state == "uncommitted":
        file = join(survey.directory, step.names[0]) if step.names else None
        if is_young(survey, step.names):
            yield finding("running_save", "being saved now", step=step.step, file=file)
        else:
            yield finding(
                "leftover",
                "of a save that was given up",
                step=step.step,
                file=file,
                suggest="remove it when no job saves here",
            )
    elif step.checkpoint is None and (old := _v1_file(step)):
        what = "a checkpoint in TensorFlow's V1 format, which is not read here"
        path = join(survey.directory, old)
        unread.append(Unread(step.step, StepNotFoundError(what, path=path, kind="v1_format")))
    elif step.checkpoint is None:
        yield finding(
            "step_gone",
            step.missing[0].what if step.missing else "its files are gone",
            step=step.step,
            file=join(survey.directory, CHECKPOINT),
            suggest="restore the files, or start from another step",
        )


def _v1_file(step: StepSurvey) -> str | None:
    """The file that is all of a checkpoint in TensorFlow's V1 format."""
    for name in step.names:
        parts = parse_checkpoint_name(name)
        if parts and not parts.suffix:
            return name
    return None


def _leftovers(survey: Survey) -> Iterator[Finding]:
    """Temporaries, and manifests of steps of which nothing else is there."""
    saved = {step.step for step in survey.steps}
    uncommitted = {name for s in survey.steps if s.state == "uncommitted" for name in s.names}
    for name in survey.items:
        file = parse_step_file(name)
        if name in uncommitted:
            continue
        if (file and file.is_temporary) or target_of_temporary(name) is not None:
            id = "running_save" if is_young(survey, [name]) else "leftover"
            what = "being written" if id == "running_save" else "left by a writer that died"
            step = file.step if file else None
            yield finding(id, what, step=step, file=join(survey.directory, name))
        elif file and file.kind in ("manifest", "checked") and file.step not in saved:
            what = f"of step {file.step}, of which nothing else is here"
            yield finding("leftover", what, step=file.step, file=join(survey.directory, name))


def _exempt(survey: Survey, unread: list[Unread]) -> Iterator[Finding]:
    """Steps that `monolith_checkpoint` exempts from deletion, and `checkpoint` does not list."""
    if MONOLITH_CHECKPOINT not in survey.items:
        return
    from monolith_cli.formats.checkpoint_state import read_monolith_checkpoint_state

    path = join(survey.directory, MONOLITH_CHECKPOINT)
    try:
        exempt = read_monolith_checkpoint_state(path).exempt_model_checkpoint_paths
    except StateFileError as error:
        error.hint = error.hint or "restore it from a copy: the training system will not start"
        yield finding_of(error, "bad_state_file")
        return
    except PathNotFoundError as error:
        there = if_there(error)
        unread += [Unread(None, there)] if there else []
        return
    except NotReadableError as error:
        unread.append(Unread(None, error))
        return
    listed = set()
    if survey.state is not None:
        recorded = recorded_checkpoints(survey.state, survey.items)
        listed = {each.name for each in recorded if each.is_listed}
    for path_of in exempt:
        if survey.problem is not None or name_of(path_of) in listed:
            continue
        yield finding(
            "exempt_unlisted",
            f"exempts '{name_of(path_of)}', which '{CHECKPOINT}' does not list: the training"
            " system will not start",
            file=path,
            suggest="take it out there",
        )


def _override(survey: Survey, inputs: Inputs, unread: list[Unread]) -> Iterator[Finding]:
    """A rollback that asks for a step, or for a state of an input, that is not there."""
    if CKPT_OVERRIDE not in survey.items:
        return
    from monolith_cli.checkpoint.override import read_override, what_is_left

    try:
        override = read_override(survey.directory)
        if override is not None:
            steps = [each.step for each in survey.steps if each.step is not None and each.is_whole]
            override = what_is_left(survey.directory, override, steps)
    except StateFileError as error:
        yield finding_of(error, "bad_state_file")
        return
    except PathNotFoundError as error:
        there = if_there(error)
        unread += [Unread(None, there)] if there else []
        return
    except NotReadableError as error:
        unread.append(Unread(None, error))
        return
    if override is not None:
        yield from _stale(survey, inputs, override)


def _stale(survey: Survey, inputs: Inputs, override: Override) -> Iterator[Finding]:
    path = join(survey.directory, CKPT_OVERRIDE)
    suggest = "remove it to go on from the latest step, or roll the inputs back once more"
    usable = {each.step for each in survey.steps if each.is_whole}
    wanted = override.model_step
    if wanted is not None and wanted not in usable:
        what = f"asks for the model of step {wanted}, which is not there, or not whole"
        yield finding("override_stale", what, step=wanted, file=path, suggest=suggest)
    for worker, step in sorted(override.inputs.items()):
        if step not in inputs.steps.get(worker, ()):
            missing = name_of(input_prefix(survey.directory, worker, step)) + INDEX_SUFFIX
            what = f"asks for the input of worker {worker} of step {step}: no '{missing}'"
            yield finding(
                "override_stale", what, step=step, worker=worker, file=path, suggest=suggest
            )


def _writers(survey: Survey, look_at: Callable[[StepSurvey], StepLook]) -> Iterator[Finding]:
    """Runs whose steps come back after those of another run."""
    ended: set[str] = set()
    last = ""
    for step in survey.steps:
        name = ckpt_manifest_name(step.step or 0)
        if not step.is_listed or step.checkpoint is None or name not in survey.items:
            continue
        look = look_at(step)
        run_id = ""
        with suppress(PathNotFoundError):  # deleted meanwhile
            run_id = look.manifest.run_id if look.manifest and not look.is_stale else ""
        if not run_id or run_id == last:
            continue
        if run_id in ended:
            yield finding(
                "two_writers",
                f"saved by run {run_id}, which has saved before run {last}: two jobs save here",
                step=step.step,
                file=join(survey.directory, name),
                suggest="stop one of them, and give it a directory of its own",
            )
        ended.add(last)
        last = run_id


def _manifests(looks: Sequence[StepLook]) -> Iterator[Finding]:
    without = [look for look in looks if look.step is not None and not look.has_manifest]
    what = "no manifest: a table of which no file is left leaves no trace"
    if without and len(without) == len(looks) > 1:
        yield finding("no_manifest", f"{what}; so it is of all {len(looks)} steps")
        return
    for look in without:
        assert look.step is not None
        yield finding(
            "no_manifest", what, step=look.step, file=look.path(ckpt_manifest_name(look.step))
        )
