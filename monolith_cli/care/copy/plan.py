"""What is sent of a step, and how: a plan that is made from names and sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.along import inputs_along, pools_along
from monolith_cli.checkpoint.manifests import file_crc32c, read_step_manifest
from monolith_cli.checkpoint.names import (
    INDEX_SUFFIX,
    META_SUFFIX,
    ckpt_info_name,
    ckpt_inputs_name,
    ckpt_manifest_name,
    ckpt_repaired_name,
    parse_shard_name,
)
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.errors import MonolithError, PathNotFoundError, StepNotFoundError
from monolith_cli.storage.location import HERE, name_of, split
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monolith_cli.care.along import InputAlong
    from monolith_cli.care.states import StepSurvey, Survey

__all__ = ["File", "Planner", "StepPlan", "check_unchanged"]


class File(NamedTuple):
    """A file to be sent.

    Attributes
    ----------
    name
        Below the model directory, with `/`; the same on both sides.
    bytes
        Its size.
    may_link
        It is never written again in place, so that a second name will do for a copy.
    crc32c
        As the manifest of its step has it; None where that has none.
    """

    name: str
    bytes: int
    may_link: bool = False
    crc32c: str | None = None


class StepPlan(NamedTuple):
    """A step to be sent.

    Attributes
    ----------
    step, name
        Of the step, and of its dense variables: `model.ckpt-10`.
    source
        The directory with its files.
    files
        In the order in which they are sent: the index of its dense variables is the last.
    inputs
        The states of inputs that come with it; their files are among `files`.
    time
        When it was committed, in seconds since 1970.
    is_recorded
        Whether `checkpoint` has that time; else it is the time of the index.
    is_listed
        Whether `checkpoint` lists it.
    pins
        By path what tells the index, and the directory with the tables, from others of the same
        name: a job may save the same step once more.
    """

    step: int
    name: str
    source: str
    files: tuple[File, ...]
    inputs: tuple[InputAlong, ...]
    time: float
    is_recorded: bool
    is_listed: bool
    pins: Mapping[str, Hashable]

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(file.bytes for file in self.files)


class Planner:
    """Plans for the steps of a directory; what is beside them is listed once.

    Parameters
    ----------
    found
        The survey of the directory.
    """

    def __init__(self, found: Survey) -> None:
        self._found = found
        self._places: dict[str, _Place] = {}
        self._shards: dict[str, bool] = {}
        recorded = recorded_checkpoints(found.state, found.items) if found.state else []
        self._recorded = {each.step for each in recorded if each.time is not None}

    def plan(self, step: StepSurvey) -> StepPlan:
        """What is sent of a whole step.

        Beside the files of the step these are the states that inputs go on from, and item pools.
        What lies among the tables and is of none of them stays. A manifest of another save stays,
        too.

        Raises
        ------
        StepNotFoundError
            It has no number, or no dense variables.
        PathNotFoundError, NotReadableError
            It is gone, or cannot be read.
        """
        checkpoint = step.checkpoint
        if checkpoint is None or checkpoint.prefix is None or step.step is None:
            raise StepNotFoundError("a checkpoint without a number", path=self._found.directory)
        prefix, number = checkpoint.prefix, step.step
        index = prefix + INDEX_SUFFIX
        if not checkpoint.has_index:
            what = "no dense variables to copy: their index is missing"
            raise StepNotFoundError(what, path=index)
        source, name = split(prefix)
        place = self._place(source)
        pins = {path: _pin(path) for path in (index, *checkpoint.assets)}
        crcs = _checksums(source, number, index)
        inputs = tuple(inputs_along(prefix, number, place.of_inputs))
        beside = [name + META_SUFFIX, ckpt_info_name(number), ckpt_inputs_name(number)]
        beside += [ckpt_repaired_name(number)]
        beside += pools_along(name.rpartition("-")[0], number, place.of_pools)
        beside += [] if crcs is None else [ckpt_manifest_name(number)]
        beside += [each for state in inputs for each in state.files]
        tables = {
            each: size
            for each, size in step.table_files.items()
            if self._is_shard(each.rpartition("/")[2])
        }
        # The index last: without it nobody takes what is there for a step.
        dense = sorted(step.dense_files.items(), key=lambda each: each[0].endswith(INDEX_SUFFIX))
        files = [
            File(each, size, each in tables or ".data-" in each, (crcs or {}).get(each))
            for each, size in (
                *tables.items(),
                *((each, place.sizes.get(each)) for each in beside),
                *dense,
            )
            if size is not None
        ]
        return StepPlan(
            step=number,
            name=name,
            source=source,
            files=tuple(files),
            inputs=inputs,
            time=step.time or 0.0,
            is_recorded=number in self._recorded,
            is_listed=step.is_listed,
            pins=pins,
        )

    def _is_shard(self, name: str) -> bool:
        """Whether it is a name of a dump's file; mostly all steps have the same."""
        is_shard = self._shards.get(name)
        if is_shard is None:
            is_shard = self._shards[name] = parse_shard_name(name) is not None
        return is_shard

    def _place(self, directory: str) -> _Place:
        place = self._places.get(directory)
        if place is None:
            sizes = store_of(directory).sizes(directory or HERE)
            place = self._places[directory] = _Place(
                sizes,
                [name for name in sizes if "input" in name],
                [name for name in sizes if "_item_pool_" in name],
            )
        return place


class _Place(NamedTuple):
    """A directory: its files with their sizes, and those that may be of inputs, and of pools."""

    sizes: Mapping[str, int | None]
    of_inputs: list[str]
    of_pools: list[str]


def check_unchanged(plan: StepPlan) -> None:
    """Make sure that the step is still there, and is the one that was planned.

    TensorFlow deletes the index first, and writes it last: what was read while it stood is whole,
    and of one save.

    Raises
    ------
    StepNotFoundError
        It is not.
    """
    for path, version in plan.pins.items():
        try:
            is_same = _pin(path) == version
        except PathNotFoundError:
            is_same = False
        if not is_same:
            raise StepNotFoundError(
                f"step {plan.step} was deleted, or saved once more, while it was copied", path=path
            )


def _pin(path: str) -> Hashable:
    return store_of(path).status(path).version


def _checksums(source: str, step: int, index: str) -> dict[str, str] | None:
    """By name what the manifest has; None without one of this very save."""
    try:
        manifest = read_step_manifest(source, step)
        if manifest is None or file_crc32c(index) != (manifest.index_bytes, manifest.index_crc32c):
            return None
    except MonolithError:
        return None
    crcs = {file.name: file.crc32c for file in manifest.files if file.crc32c is not None}
    crcs[name_of(index)] = manifest.index_crc32c
    return crcs
