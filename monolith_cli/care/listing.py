"""The steps of a model directory as a list: what `ckpt ls` shows of each.

Directories are listed, and small files read that say how many entries there are, which steps are
pinned, which were checked. No entry is read and no variable.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    META_SUFFIX,
    MONOLITH_CHECKPOINT,
    ckpt_checked_name,
    ckpt_info_name,
    parse_shard_name,
)
from monolith_cli.errors import MonolithError, PathNotFoundError
from monolith_cli.storage.location import join, name_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.formats.ckpt_info import CkptInfo

__all__ = ["StepListing", "StepsListing", "list_steps"]

_STATE_FILE = f"{CHECKPOINT}_{INPUT_WORKER_PREFIX}"


class StepListing(NamedTuple):
    """A step, and what small files say of it.

    Attributes
    ----------
    survey
        What it is, and the state that it is in.
    age_seconds
        Since its commit; None where that is not known.
    entries
        Of all tables together, as the manifest, `ckpt.info` or contents files say; None where none
        of them does.
    change
        How many more than the nearest step before it of which they are known; None without one.
    tables
        How many; of multi tables without counts nobody has told: None.
    workers, workers_with_input
        How many workers have iterator states here, and how many of them one of this step.
    is_latest
        Whether it is the latest of a job's directory. An export, or one `*.assets` directory, is
        no later than anything; and where `checkpoint` is damaged, nobody knows.
    is_pinned
        Whether `monolith_checkpoint` keeps it from being deleted.
    checked_seconds_ago
        Since the full check that has left a record; None without one, and if a file has changed.
    """

    survey: StepSurvey
    age_seconds: float | None
    entries: int | None
    change: int | None
    tables: int | None
    workers: int
    workers_with_input: int
    is_latest: bool
    is_pinned: bool
    checked_seconds_ago: float | None


class StepsListing(NamedTuple):
    """The steps of a model directory, oldest first.

    Attributes
    ----------
    dense_only
        Those of the directory of that name in it; None without one.
    problems
        Small files that could not be read: what they would say is left out.
    """

    steps: list[StepListing]
    dense_only: list[StepListing] | None
    problems: list[MonolithError]


def list_steps(found: Survey, *, contents: bool = False) -> StepsListing:
    """List the steps that a survey has found.

    Parameters
    ----------
    contents
        Where nothing else says how many entries multi tables have, read their contents files.
    """
    problems: list[MonolithError] = []
    steps = _listed(found, problems, contents=contents)
    dense_only = None
    if found.dense_only is not None:
        dense_only = _listed(found.dense_only, problems, contents=contents)
    return StepsListing(steps, dense_only, problems)


def _listed(found: Survey, problems: list[MonolithError], *, contents: bool) -> list[StepListing]:
    inputs = _inputs(found)
    pinned = _pinned(found, problems)
    now = time.time()
    rows = []
    last: int | None = None
    for step in found.steps:
        entries, tables = _entries(found, step, problems, contents=contents)
        change = entries - last if entries is not None and last is not None else None
        last = last if entries is None else entries
        prefix = step.checkpoint.prefix if step.checkpoint else None
        row = StepListing(
            survey=step,
            age_seconds=None if step.time is None else max(0.0, now - step.time),
            entries=entries,
            change=change,
            tables=tables,
            workers=len(inputs),
            workers_with_input=sum(step.step in steps for steps in inputs.values()),
            is_latest=step.is_latest and found.kind == "training" and found.problem is None,
            is_pinned=prefix is not None and name_of(prefix) in pinned,
            checked_seconds_ago=_checked(found, step, now),
        )
        rows.append(row)
    return rows


def _inputs(found: Survey) -> dict[str, set[int]]:
    """By what the names of a worker's iterator states begin with the steps that there are.

    A worker that has a state file, and no state any more, counts as well.
    """
    steps: dict[str, set[int]] = {}
    for name, file in found.step_files.items():
        if file.kind == "input" and name.endswith(INDEX_SUFFIX) and not file.is_temporary:
            steps.setdefault(file.base, set()).add(file.step)
    for name in found.items:
        if name.startswith(_STATE_FILE) and name.removeprefix(_STATE_FILE).isdecimal():
            steps.setdefault(f"{name.removeprefix(f'{CHECKPOINT}_')}.ckpt", set())
    return steps


def _pinned(found: Survey, problems: list[MonolithError]) -> set[str]:
    """The names of the checkpoints that are exempt from deletion."""
    if MONOLITH_CHECKPOINT not in found.items:
        return set()
    from monolith_cli.formats.checkpoint_state import read_monolith_checkpoint_state

    try:
        state = read_monolith_checkpoint_state(join(found.directory, MONOLITH_CHECKPOINT))
    except PathNotFoundError:
        return set()
    except MonolithError as error:
        problems.append(error)
        return set()
    return {name_of(path) for path in state.exempt_model_checkpoint_paths}


def _checked(found: Survey, step: StepSurvey, now: float) -> float | None:
    if step.step is None or ckpt_checked_name(step.step) not in step.names:
        return None
    from monolith_cli.care.check_records import fitting_record

    record = fitting_record(found.directory, step.step)
    return None if record is None else max(0.0, now - record.at)


def _entries(
    found: Survey, step: StepSurvey, problems: list[MonolithError], *, contents: bool
) -> tuple[int | None, int | None]:
    """The entries of a step, and the number of its tables, as far as they are known."""
    kinds = list(step.dumps.values())
    singles, multis = kinds.count("single"), kinds.count("multi")
    entries = _in_manifest(step.dumps, step.entries)
    is_told = entries is not None and not multis
    info = None if is_told else _ckpt_info(found, step, problems)
    names = len(info.feature_counts) if info and multis else None
    if entries is None and info is not None:
        entries = _in_ckpt_info(info, singles, multis)
    if contents and multis and (names is None or (entries is None and not singles)):
        try:
            counts = _contents(step)
        except MonolithError as error:
            problems.append(error)
        else:
            names = len(counts)
            if entries is None and not singles:
                entries = sum(counts.values())
    if not multis:
        names = 0
    return entries, None if names is None else singles + names


def _ckpt_info(found: Survey, step: StepSurvey, problems: list[MonolithError]) -> CkptInfo | None:
    """What `ckpt.info` says; None without it, and of one that says that nothing was counted."""
    checkpoint = step.checkpoint
    if checkpoint is None or step.step is None or checkpoint.ckpt_info_path is None:
        return None
    if not checkpoint.is_elsewhere and ckpt_info_name(step.step) not in found.items:
        return None
    from monolith_cli.formats.ckpt_info import read_ckpt_info

    try:
        info = read_ckpt_info(checkpoint.ckpt_info_path)
    except PathNotFoundError:
        return None
    except MonolithError as error:
        problems.append(error)
        return None
    return info if info.slot_counts or info.feature_counts else None


def _in_manifest(dumps: Mapping[str, str], entries: Mapping[str, int | None] | None) -> int | None:
    if entries is None:
        return None
    known = [entries.get(base) for base, kind in dumps.items() if kind != "hash_filter"]
    counted = [count for count in known if count is not None]
    return sum(counted) if len(counted) == len(known) else None


def _in_ckpt_info(info: CkptInfo, singles: int, multis: int) -> int | None:
    """Its sum, unless it leaves out tables: with multi tables the original counts them alone."""
    if singles and not info.slot_counts:
        return None
    if multis and not info.feature_counts:
        return None
    return sum(info.slot_counts.values()) + sum(info.feature_counts.values())


def _contents(step: StepSurvey) -> dict[str, int]:
    """Entries by name of multi tables, as contents files have them, which are read."""
    from monolith_cli.tables.multi_dump import read_contents
    from monolith_cli.tables.stream import ReadOptions

    assert step.checkpoint is not None
    directory = parent_of(step.checkpoint.prefix or step.checkpoint.assets[0])
    counts: dict[str, int] = {}
    for name in _contents_files(step):
        for table in read_contents(join(directory, name), ReadOptions()):
            counts[table.table_name] = counts.get(table.table_name, 0) + table.num_entries
    return counts


def _contents_files(step: StepSurvey) -> Sequence[str]:
    multis = {base for base, kind in step.dumps.items() if kind == "multi"}
    found = []
    for name in step.table_files:
        shard = parse_shard_name(name_of(name))
        if shard and shard.base.endswith(META_SUFFIX):
            found += [name] if shard.base.removesuffix(META_SUFFIX) in multis else []
    return found
