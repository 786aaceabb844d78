"""What lies beside a checkpoint's dense variables and tables, and belongs to it or to its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.dense import FileSize
from monolith_cli.checkpoint.names import (
    META_SUFFIX,
    is_old_item_pool,
    is_one_shot_flag,
    is_sync_flag,
    parse_checkpoint_name,
    parse_step_file,
)
from monolith_cli.errors import MonolithError, PathNotFoundError
from monolith_cli.storage.location import HERE, join, split
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.storage.store import Item

__all__ = ["StepFiles", "list_step_files"]

_WHAT = {
    "info": "counts",
    "inputs": "whose inputs",
    "manifest": "manifest",
    "checked": "check record",
    "repaired": "repair record",
    "item_pool": "item pool",
}
_POOL_WAYSIDE = {"_tmp": "item pool, temporary", "_old": "item pool, replaced"}
"""Beside an item pool, of a save that died: what was to become it, and what it was before."""


class StepFiles(NamedTuple):
    """Files beside a checkpoint.

    Attributes
    ----------
    files
        Those of its step: meta graph, counts, records, item pools and what saves of them left. Then
        those of its job, if it is in a job's directory: flags of what was done already, and of sync
        training; item pools of an older form, which no step is in the name of.
    newer_pools
        The workers whose newest item pool is of a later step. The training system takes each
        worker's newest, whatever its step, and loads none that is newer than what it restores.
    """

    files: list[FileSize]
    newer_pools: dict[int, int]


def list_step_files(checkpoint: Checkpoint) -> StepFiles:
    """The files beside a checkpoint, by their names alone; none where it has no step.

    Raises
    ------
    NotReadableError
        The operating system refused to list the directory.
    """
    if checkpoint.prefix is None or checkpoint.step is None:
        return StepFiles([], {})
    directory, base = split(checkpoint.prefix)
    try:
        items = store_of(directory).items(directory or HERE)
    except PathNotFoundError:
        return StepFiles([], {})
    files, others = [], []
    newest: dict[int, int] = {}
    for item in items:
        name, path = item.name, join(directory, item.name)
        what = _what(name, base, checkpoint.step)
        if what:
            files.append(FileSize(path, _size(item), what))
        elif is_old_item_pool(name):
            others.append(FileSize(path, _size(item), "item pool of an older form"))
        elif is_one_shot_flag(name):
            others.append(FileSize(path, _size(item), "flag: done already"))
        elif is_sync_flag(name):
            others.append(FileSize(path, _size(item), "flag of sync training"))
        file = parse_step_file(name)
        if file and file.kind == "item_pool" and not file.is_temporary and file.worker is not None:
            newest[file.worker] = max(newest.get(file.worker, 0), file.step)
    newer = {worker: step for worker, step in sorted(newest.items()) if step > checkpoint.step}
    return StepFiles([*files, *others], newer)


def _what(name: str, base: str, step: int) -> str | None:
    parts = parse_checkpoint_name(name)
    if parts == (base.rpartition("-")[0], step, META_SUFFIX):
        return "meta graph"
    file = parse_step_file(name)
    if file is None or file.step != step:
        return None
    if file.is_temporary:
        return _POOL_WAYSIDE.get(name[-4:]) if file.kind == "item_pool" else None
    return _WHAT.get(file.kind)


def _size(item: Item) -> int | None:
    try:
        return item.status().size
    except MonolithError:
        return None
