"""What small files say of a step: its entries, and the workers whose inputs were saved with it.

Nothing here reads tables. What a small file does not say, or says in a way that cannot be read, is
None: `fsck` says what is wrong with it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.manifests import read_step_manifest
from monolith_cli.checkpoint.names import (
    CKPT_INFO_PREFIX,
    ckpt_info_name,
    ckpt_inputs_name,
    ckpt_manifest_name,
    parse_step_file,
)
from monolith_cli.errors import MonolithError
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info
from monolith_cli.storage.location import join, parent_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monolith_cli.care.survey import StepSurvey, Survey

__all__ = ["Counted", "StepFigures", "counted_steps", "figures_of"]


class StepFigures(NamedTuple):
    """Figures of a step.

    Attributes
    ----------
    entries
        Of all tables together: as the manifest has them, else as `ckpt.info` counts them.
    by_table
        By the name of a table, as far as its entries are told alone. Multi tables are here by their
        own names where `ckpt.info` has them, else their dump is.
    workers
        How many had an input at the step; None if nobody has written that down.
    workers_with_input
        Of how many the iterator state of that step is there.
    """

    entries: int | None
    by_table: Mapping[str, int]
    workers: int | None
    workers_with_input: int | None


class Counted(NamedTuple):
    """What a `ckpt.info` counts, of a step that may be gone.

    Attributes
    ----------
    time
        When the step was committed, or, of one that is gone, when the file was written; in seconds
        since 1970.
    """

    step: int
    time: float | None
    info: CkptInfo

    @property
    def entries(self) -> int:
        """Of all tables together."""
        return sum(self.info.slot_counts.values()) + sum(self.info.feature_counts.values())


def figures_of(found: Survey, step: StepSurvey) -> StepFigures:
    """Figures of one of the steps that were found; reads three small files."""
    if step.step is None:
        return StepFigures(None, {}, None, None)
    directory = found.directory
    prefix = step.checkpoint.prefix if step.checkpoint else None
    if prefix is not None and step.checkpoint and step.checkpoint.is_elsewhere:
        directory = parent_of(prefix)
    entries, by_table = _entries(directory, found, step.step)
    return StepFigures(entries, by_table, *_workers(directory, found, step.step))


def counted_steps(found: Survey) -> list[Counted]:
    """What every `ckpt.info` that is left counts, oldest first; empty ones are left out.

    They outlive their steps: those whose steps are gone come by the time of the file.
    """
    times = {step.step: step.time for step in found.steps}
    counted = []
    for name, item in found.items.items():
        file = parse_step_file(name) if name.startswith(CKPT_INFO_PREFIX) else None
        if file is None or file.is_temporary:
            continue
        with suppress(MonolithError):
            info = read_ckpt_info(join(found.directory, name))
            time = times.get(file.step)
            if time is None:
                time = item.status().modified
            if info.slot_counts or info.feature_counts:
                counted.append(Counted(file.step, time, info))
    return sorted(counted, key=lambda each: (each.time or 0, each.step))


def _entries(directory: str, found: Survey, step: int) -> tuple[int | None, dict[str, int]]:
    by_table: dict[str, int] = {}
    entries: int | None = None
    dumps: dict[str, int] = {}
    with suppress(MonolithError):
        if _may_be_there(found, directory, ckpt_manifest_name(step)):
            manifest = read_step_manifest(directory, step)
            tables = [t for t in manifest.tables if t.kind != "hash_filter"] if manifest else []
            if manifest and all(table.entries is not None for table in tables):
                entries = sum(table.entries or 0 for table in tables)
            for table in tables:
                if table.entries is not None:
                    (dumps if table.kind == "multi" else by_table)[table.name] = table.entries
    with suppress(MonolithError):
        if _may_be_there(found, directory, ckpt_info_name(step)):
            info = read_ckpt_info(join(directory, ckpt_info_name(step)))
            if info.feature_counts:
                dumps = info.feature_counts
            if entries is None and (info.slot_counts or info.feature_counts):
                entries = Counted(step, None, info).entries
    return entries, {**by_table, **dumps}


def _workers(directory: str, found: Survey, step: int) -> tuple[int | None, int | None]:
    with suppress(MonolithError):
        if _may_be_there(found, directory, ckpt_inputs_name(step)):
            inputs = read_step_inputs(directory, step)
            if inputs is not None:
                have = {worker for worker, each in inputs.workers.items() if each.fingerprint}
                return len(have), len(have & _states(found, step))
    return None, None


def _states(found: Survey, step: int) -> set[int]:
    """The workers that have an iterator state at a step."""
    files = (parse_step_file(name) for name in found.items if name.endswith(".index"))
    return {
        file.worker
        for file in files
        if file and file.kind == "input" and file.step == step and file.worker is not None
    }


def _may_be_there(found: Survey, directory: str, name: str) -> bool:
    return directory != found.directory or name in found.items
