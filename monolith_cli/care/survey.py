"""The steps of a model directory, and the state that each of them is in.

What can be seen from names, sizes, manifests and the indexes of dense variables: no entry and no
variable is read, so it costs about as much as listing the directories.

A job may save and delete all the while. So what looks as if it were being deleted, or just been
committed, is looked at again, and reported as it is when `checkpoint` stays the same meanwhile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.states import Missing, StepSurvey, Survey
from monolith_cli.checkpoint.assets import list_assets, sort_assets
from monolith_cli.checkpoint.model_dir import ModelDir, open_model_dir
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    MODEL_BASE,
    ckpt_manifest_name,
    parse_checkpoint_name,
    parse_shard_name,
    parse_step_file,
    shard_name,
)
from monolith_cli.checkpoint.quick_manifest import entries_if_all_there
from monolith_cli.checkpoint.steps import order_of_steps, recorded_checkpoints
from monolith_cli.checkpoint.training_dir import (
    checkpoint_here,
    is_training_dir,
    look_by_names,
    look_into,
)
from monolith_cli.errors import MissingShardError, MonolithError, PathNotFoundError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.storage.location import HERE, join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from monolith_cli.care.states import Proof, State
    from monolith_cli.checkpoint.assets import AssetsListing
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.names import StepFile
    from monolith_cli.checkpoint.steps import Recorded
    from monolith_cli.checkpoint.training_dir import Look
    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.store import Item, Status


__all__ = ["DENSE_ONLY", "survey"]

DENSE_ONLY = "dense_only"
"""A model directory of its own in another one: the same steps, with dense variables alone."""

_LOOKS = 5
_SHARDS_NAMED = 100


def survey(model_dir: ModelDir | AnyPath, *, without_state: bool = False) -> Survey:
    """The steps of a model directory, all of them, and the state that each is in.

    One listing of the directory, and one of each assets directory. Of a step without a manifest the
    index of its dense variables is read.

    An export, or a single assets directory, has one step, `complete` or `incomplete`.

    Parameters
    ----------
    without_state
        Where `checkpoint` is there and cannot be read, go by the names of files: a step with an
        index is `unlisted`, or, as it may have been committed, `incomplete`.

    Raises
    ------
    StateFileError
        `checkpoint` does not parse.
    PathNotFoundError, NotReadableError
        The directory is gone, holds no checkpoints, or cannot be read.
    """
    if not isinstance(model_dir, ModelDir):
        model_dir = open_model_dir(model_dir)
    if model_dir.kind != "training":
        return _survey_of_one(model_dir)
    for _ in range(_LOOKS):
        found = _survey_once(model_dir.directory, without_state=without_state)
        if not _has_changed(found):
            break
    return found._replace(dense_only=_dense_only(found, without_state=without_state))


def _dense_only(found: Survey, *, without_state: bool) -> Survey | None:
    if DENSE_ONLY not in found.items:
        return None
    path = join(found.directory, DENSE_ONLY)
    try:
        if not is_training_dir(store_of(path).names(path)):
            return None
    except PathNotFoundError:
        return None
    inner = survey(ModelDir(path, "training"), without_state=without_state)
    return inner._replace(dense_only=None)


def _survey_of_one(model_dir: ModelDir) -> Survey:
    checkpoint = model_dir.offer().latest
    assert checkpoint is not None
    directory = model_dir.directory
    listing = list_assets(*checkpoint.assets)
    missing = [*_of_errors(directory, checkpoint.problems), *_broken(listing)]
    missing = [Missing(_below(directory, file), what) for file, what in missing]
    found = _Files("formats", missing, {}, _dense_files(directory, checkpoint, missing))
    for assets in checkpoint.assets:
        for name, size in store_of(assets).sizes(assets).items():
            found.tables[_below(directory, join(assets, name))] = size
    step = _step_survey(checkpoint.step, found._replace(dumps=_dumps(listing)), checkpoint)
    return Survey(directory, model_dir.kind, None, {}, [step], None)


def _survey_once(directory: str, *, without_state: bool) -> Survey:
    problem = None
    try:
        look = look_into(directory)
    except MonolithError as error:
        if not without_state or error.path != join(directory, CHECKPOINT):
            raise
        problem = error
        look = look_by_names(directory)
    here = _Place(directory, look.items)
    recorded = recorded_checkpoints(look.state, look.items) if look.state else []
    listed: dict[int, Recorded] = {}
    latest = look.offer.latest.step if look.offer.latest else None
    for each in recorded:
        if each.step is not None:
            listed.setdefault(each.step, each)
            if look.state and each.path == look.state.model_checkpoint_path:
                latest = each.step
    judge = _Judge(look, here, latest, is_state_lost=problem is not None)
    steps = {step: judge.judge(step, listed.get(step)) for step in here.saved(listed)}
    times = [(step, steps[step].time) for step, each in listed.items() if each.is_listed]
    others = set(steps).difference(step for step, _ in times)
    unlisted = {step: judge.time_in_order(steps[step]) for step in others}
    order = order_of_steps(times, unlisted, latest if look.state else None)
    ordered = [steps[step] for step in order]
    if look.offer.latest is not None and look.offer.latest.step is None:
        ordered.append(judge.judge_unnumbered(look.offer.latest))
    return Survey(
        directory, "training", look.state, look.items, ordered, None, here.parsed, problem
    )


class _Files(NamedTuple):
    """What there is of a step, and what is not."""

    proof: Proof
    missing: list[Missing]
    tables: dict[str, int | None]
    dense: dict[str, int | None]
    dumps: Mapping[str, str] = {}
    entries: Mapping[str, int | None] | None = None


def _step_survey(
    step: int | None,
    files: _Files,
    checkpoint: Checkpoint | None,
    *,
    time: float | None = None,
    is_latest: bool = True,
    is_listed: bool | None = None,
    is_named: bool = False,
    names: Sequence[str] = (),
) -> StepSurvey:
    """A step; one that is neither listed nor unlisted has no place where it could be."""
    state: State = "incomplete" if files.missing else "complete"
    if is_listed is False and not files.missing:
        state = "unlisted"
    elif is_listed is False and not is_named:
        state = "uncommitted"
    return StepSurvey(
        step=step,
        state=state,
        proof=files.proof,
        missing=files.missing,
        time=time,
        is_latest=is_latest,
        is_listed=bool(is_listed),
        checkpoint=checkpoint,
        names=names,
        table_files=files.tables,
        dense_files=files.dense,
        dumps=files.dumps,
        entries=files.entries,
    )


class _Place:
    """A directory that holds steps: what of which step is in it."""

    def __init__(self, directory: str, items: Mapping[str, Item]) -> None:
        self.directory = directory
        self.items = items
        self.parsed: dict[str, StepFile] = {}
        self.files: dict[int, list[tuple[str, StepFile]]] = {}
        for name in items:
            file = parse_step_file(name)
            if file is not None:
                self.parsed[name] = file
                self.files.setdefault(file.step, []).append((name, file))

    def saved(self, listed: Iterable[int]) -> list[int]:
        """The steps that are listed, and those of which a part of a model is here."""
        steps = dict.fromkeys(listed)
        for step, files in self.files.items():
            if step not in steps and any(_is_of_model(*each) for each in files):
                steps[step] = None
        return list(steps)

    def bases(self, step: int) -> list[str]:
        """What the names of the checkpoints of a step begin with, the usual one first."""
        bases = {
            file.base
            for name, file in self.files.get(step, ())
            if not file.is_temporary and _is_of_model(name, file)
        }
        return sorted(bases, key=lambda base: (base != MODEL_BASE, base))

    def size(self, name: str) -> int | None:
        """Of a regular file; None of anything else, and where there is none."""
        item = self.items.get(name)
        return None if item is None else _size(item)


def _is_of_model(name: str, file: StepFile) -> bool:
    """Whether a step is there, or was, if this is; a meta graph may be left of one."""
    if file.kind == "tables" or (file.kind == "bundle" and file.is_temporary):
        return True
    return file.kind == "bundle" and (name.endswith(INDEX_SUFFIX) or ".data-" in name)


class _Judge:
    """Says of each step of a directory what state it is in."""

    def __init__(
        self, look: Look, here: _Place, latest: int | None, *, is_state_lost: bool = False
    ) -> None:
        self.look = look
        self.here = here
        self.latest = latest
        self.is_state_lost = is_state_lost
        prefix = look.offer.latest.prefix if look.offer.latest else None
        parts = parse_checkpoint_name(name_of(prefix)) if prefix else None
        self._base = parts.base if parts else MODEL_BASE
        self._places = {here.directory: here}
        self._sorted: dict[tuple[str, ...], tuple[list[Missing], dict[str, str]]] = {}

    def judge(self, step: int, recorded: Recorded | None) -> StepSurvey:
        """A step, listed or not."""
        names = [name for name, _ in self.here.files.get(step, ())]
        checkpoint = self.look.offer.by_step.get(step)
        gone = self.look.offer.unreadable.get(step)
        if checkpoint is None and gone is None:
            checkpoint = self._not_offered(step)
        if checkpoint is not None:
            files = self._files(checkpoint, is_listed=recorded is not None)
            if checkpoint.is_elsewhere:
                names = []
        elif gone is not None and recorded is not None:
            files = _Files("formats", [Missing(recorded.name, gone.what)], {}, {})
        else:
            files = _Files("formats", [Missing(name, "not finished") for name in names], {}, {})
        time = recorded.time if recorded else None
        if time is None and checkpoint is not None and checkpoint.prefix is not None:
            time = self._index_time(checkpoint.prefix)
        found = _step_survey(
            step,
            files,
            checkpoint,
            time=time,
            is_latest=step == self.latest,
            is_listed=recorded is not None and recorded.is_listed,
            is_named=recorded is not None,
            names=names,
        )
        if self.is_state_lost and step in self.look.offer.by_step and files.missing:
            return found._replace(state="incomplete")
        return found

    def judge_unnumbered(self, checkpoint: Checkpoint) -> StepSurvey:
        """The latest, which has no number."""
        is_listed = self.look.state is not None
        files = self._files(checkpoint, is_listed=is_listed)
        time = self._index_time(checkpoint.prefix) if checkpoint.prefix else None
        return _step_survey(None, files, checkpoint, time=time, is_listed=is_listed)

    def time_in_order(self, found: StepSurvey) -> float:
        """The time by which an unlisted step takes its place; one that is being written is last.

        So is the latest, if it is gone: its number decides.
        """
        if found.time is not None:
            return found.time
        if self.latest is not None and found.step is not None and found.step >= self.latest:
            return math.inf
        statuses = [_status(self.here.items[name]) for name in found.names]
        return max((status.modified for status in statuses if status), default=0.0)

    def _not_offered(self, step: int) -> Checkpoint | None:
        """A checkpoint that is not committed; None where there is nothing but temporaries."""
        bases = self.here.bases(step)
        if not bases:
            return None
        base = self._base if self._base in bases else bases[0]
        return checkpoint_here(self.here.directory, self.here.items, f"{base}-{step}")

    def _place(self, directory: str) -> _Place:
        place = self._places.get(directory)
        if place is None:
            items = store_of(directory).items(directory or HERE)
            place = _Place(directory, {item.name: item for item in items})
            self._places[directory] = place
        return place

    def _index_time(self, prefix: str) -> float | None:
        item = self._place(parent_of(prefix)).items.get(name_of(prefix) + INDEX_SUFFIX)
        status = _status(item) if item else None
        return status.modified if status else None

    def _files(self, checkpoint: Checkpoint, *, is_listed: bool) -> _Files:
        place = self._place(parent_of(checkpoint.prefix or checkpoint.assets[0]))
        files = _Files("formats", [], {}, {})
        for assets in checkpoint.assets:
            prefix = f"{name_of(assets)}/"
            try:
                found = store_of(assets).sizes(assets)
            except MonolithError as error:
                files.missing.append(Missing(prefix[:-1], error.what))
                continue
            missing, dumps = self._by_names(tuple(found))
            files = files._replace(dumps=dumps)
            files.missing.extend(Missing(prefix + each.file, each.what) for each in missing)
            files.tables.update((prefix + name, size) for name, size in found.items())
        lost, entries = self._by_manifest(place, checkpoint, files.tables)
        if lost is not None:
            dense = name_of(checkpoint.prefix or "")
            files_of = place.files.get(checkpoint.step, ()) if checkpoint.step is not None else ()
            data = [name for name, _ in files_of if name.startswith(f"{dense}.data-")]
            for name in (f"{dense}{INDEX_SUFFIX}", *data):
                files.dense[name] = place.size(name)
            files = files._replace(proof="manifest", missing=lost, entries=entries)
        else:
            files.dense.update(
                _usual_dense_files(place, checkpoint)
                or _dense_files(place.directory, checkpoint, files.missing)
            )
            # Tables alone will do where nothing else is to be had.
            is_alone = self.look.offer.latest is checkpoint and not is_listed
            if checkpoint.prefix and not checkpoint.bundles and not is_alone:
                index = f"{name_of(checkpoint.prefix)}{INDEX_SUFFIX}"
                files.missing.append(Missing(index, "missing"))
        if checkpoint.is_elsewhere:
            elsewhere = [Missing(join(place.directory, file), w) for file, w in files.missing]
            files = files._replace(missing=elsewhere)
        return files

    def _by_names(self, names: tuple[str, ...]) -> tuple[list[Missing], dict[str, str]]:
        """What is missing of the dumps with these files; mostly all steps have the same."""
        known = self._sorted.get(names)
        if known is None:
            listing = sort_assets({"": names})
            known = self._sorted[names] = (_broken(listing), _dumps(listing))
        return known

    def _by_manifest(
        self, place: _Place, checkpoint: Checkpoint, sizes: Mapping[str, int | None]
    ) -> tuple[list[Missing] | None, dict[str, int | None] | None]:
        """What its manifest names, and is not there as it says; and entries by dump.

        None where it says nothing.
        """
        step, prefix = checkpoint.step, checkpoint.prefix
        if step is None or prefix is None or ckpt_manifest_name(step) not in place.items:
            return None, None
        path = join(place.directory, ckpt_manifest_name(step))
        entries = entries_if_all_there(
            path,
            step,
            lambda name: sizes[name] if name in sizes else place.size(name),
            inputs=False,
        )
        if entries is not None:
            return [], entries
        from monolith_cli.checkpoint.lost import hold_against_manifest

        held = hold_against_manifest(prefix, step)
        if held.problem or held.note:
            return None, None
        lost = [each for each in held.lost if not each.name.startswith(INPUT_WORKER_PREFIX)]
        return [Missing(each.name, each.error.what) for each in lost], None


def _usual_dense_files(place: _Place, checkpoint: Checkpoint) -> dict[str, int | None] | None:
    """The same, if nothing is wrong with them, and they are as TensorFlow writes them; else None.

    That is ten times as fast.
    """
    from monolith_cli.formats.bundle_ends import data_ends

    prefix = checkpoint.prefix
    ends = data_ends(prefix) if prefix and checkpoint.bundles == {"": prefix} else None
    if prefix is None or ends is None:
        return None
    dense = name_of(prefix)
    files = {f"{dense}{INDEX_SUFFIX}": place.size(f"{dense}{INDEX_SUFFIX}")}
    for number, end in enumerate(ends):
        name = shard_name(f"{dense}.data", number, len(ends))
        files[name] = place.size(name)
        if files[name] != end:
            return None
    return files


def _dense_files(
    directory: str, checkpoint: Checkpoint, missing: list[Missing]
) -> dict[str, int | None]:
    """The files of the dense variables; what is wrong with them is appended to `missing`."""
    from monolith_cli.checkpoint.dense import list_dense

    listing = list_dense(checkpoint)
    missing += _of_errors(directory, listing.problems)
    return {_below(directory, file.path): file.bytes for file in listing.files}


def _of_errors(directory: str, errors: Iterable[MonolithError]) -> Iterator[Missing]:
    for error in errors:
        yield Missing(_below(directory, error.path or ""), error.what)


def _below(directory: str, path: str) -> str:
    """A path as it is in a directory; one that is elsewhere as it is."""
    start = directory if not directory or directory.endswith("/") else f"{directory}/"
    return path.removeprefix(start)


def _broken(listing: AssetsListing) -> list[Missing]:
    """What is missing of dumps that are not whole, every shard of it."""
    missing = []
    for each in listing.broken:
        path = each.error.path or ""
        missing.append(Missing(path, each.error.what))
        shards = [name for name in map(parse_shard_name, map(name_of, each.paths)) if name]
        first = parse_shard_name(name_of(path))
        if first is None or not isinstance(each.error, MissingShardError):
            continue
        there = {name.number for name in shards if name.base == first.base}
        for number in range(first.number + 1, min(first.total, first.number + _SHARDS_NAMED)):
            if number not in there:
                file = join(parent_of(path), shard_name(first.base, number, first.total))
                missing.append(Missing(file, "missing"))
    return missing


def _dumps(listing: AssetsListing) -> dict[str, str]:
    dumps = dict.fromkeys(listing.singles, "single")
    dumps.update(dict.fromkeys(listing.multis, "multi"))
    dumps.update(dict.fromkeys(listing.hash_filters, "hash_filter"))
    kinds = {"single": "single", "multi": "multi", "filter": "hash_filter"}
    dumps.update({each.base: kinds[each.kind] for each in listing.broken if each.kind in kinds})
    return dumps


def _size(item: Item) -> int | None:
    status = _status(item)
    return status.size if status is not None and status.kind == "file" else None


def _status(item: Item) -> Status | None:
    try:
        return item.status()
    except MonolithError:
        return None


def _has_changed(found: Survey) -> bool:
    """Whether what is not as it should be was perhaps only seen at a bad moment.

    A step that is being deleted has left `checkpoint` before, and one that is unlisted may have
    been committed since.
    """
    is_after = False
    older: list[StepSurvey] = []
    doubtful = False
    for step in found.steps:
        if step.state != "complete" and (is_after or step.state != "unlisted"):
            doubtful = True
            older.extend([] if is_after else [step])
        is_after = is_after or step.is_latest
    if not doubtful:
        return False
    try:
        state = read_checkpoint_state(join(found.directory, CHECKPOINT))
    except PathNotFoundError:
        state = None
    except MonolithError:
        if found.problem is None:
            return True
        state = None
    if state != found.state:
        return True
    if not older:
        return False
    names = set(store_of(found.directory).names(found.directory))
    return any(not names.issuperset(step.names) or _assets_changed(step) for step in older)


def _assets_changed(step: StepSurvey) -> bool:
    """Whether files have gone from the tables of a step since it was looked at."""
    for assets in step.checkpoint.assets if step.checkpoint else ():
        try:
            names = {f"{name_of(assets)}/{name}" for name in store_of(assets).names(assets)}
        except MonolithError:
            names = set()
        if not names.issuperset(step.table_files):
            return True
    return False
