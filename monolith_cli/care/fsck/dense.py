"""Dense variables: the index against its data files, and every value against its checksum."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.findings import Finding, finding, finding_of
from monolith_cli.errors import MissingShardError, MonolithError, NotReadableError
from monolith_cli.formats.bundle_index import TensorEntry
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tensor_slices import missing_text
from monolith_cli.storage.machine import forget_cached
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook

__all__ = ["BadValue", "ValuesTask", "check_bundles", "check_values", "parts_of"]

_HINT = "restore it, or take another step"
_TASK_BYTES = 32 << 20


def check_bundles(look: StepLook) -> Iterator[Finding]:
    """Data files that are missing or too short, and partitioned variables that lack a part.

    What is wrong with an index is in `look.problems`.
    """
    for bundle in look.bundles.values():
        if bundle is None:
            continue
        for entry in bundle.entries.values():
            missing = missing_text(entry) if entry.slices else None
            if missing:
                what = f"{missing} of {list(entry.shape)} are in none of its parts"
                yield finding(
                    "missing_slice",
                    f"{entry.name}: {what}",
                    step=look.step,
                    variable=entry.name,
                    file=bundle.index_path,
                    suggest=_HINT,
                )
        yield from _data_files(look, bundle)


def _data_files(look: StepLook, bundle: TensorBundle) -> Iterator[Finding]:
    ends: dict[int, tuple[int, str]] = {}
    for entry in bundle.entries.values():
        for part in parts_of(entry):
            end = part.offset + part.size_bytes
            if end > ends.get(part.shard, (-1, ""))[0]:
                ends[part.shard] = end, entry.name
    for shard, (end, name) in sorted(ends.items()):
        path = bundle.data_path(shard)
        size = look.found.dense_files.get(look.name(path), -1)
        if size == -1:
            size = _size(path)
        if size is None and end == 0:
            continue  # one that holds nothing is not missed
        if size is None:
            what, id = "missing: the values of dense variables are in it", "missing_bundle_file"
        elif size < end:
            what, id = f"cut off at {size} bytes: {name} ends at {end}", "short_bundle_file"
        else:
            continue
        yield finding(id, what, step=look.step, file=path, offset=size, suggest=_HINT)


def _size(path: str) -> int | None:
    try:
        status = store_of(path).status(path)
    except MonolithError:
        return None
    return status.size if status.kind == "file" else None


def parts_of(entry: TensorEntry) -> Iterable[TensorEntry]:
    """The parts that a tensor is stored in; itself, if it is in one."""
    return [part for _, part in entry.slices] or [entry]


class BadValue(NamedTuple):
    """A value that is damaged: the name of its variable, and the error."""

    name: str
    error: MonolithError


class ValuesTask:
    """A pass over values of one data file of a bundle.

    Attributes
    ----------
    prefix
        Of the bundle.
    parts
        Names of variables, with where their values lie.
    """

    __slots__ = ("parts", "prefix", "shards")

    def __init__(self, prefix: str, shards: int, parts: Sequence[tuple[str, TensorEntry]]) -> None:
        self.prefix = prefix
        self.shards = shards
        self.parts = parts

    @property
    def path(self) -> str:
        """The data file."""
        return f"{self.prefix}.data-{self.parts[0][1].shard:05d}-of-{self.shards:05d}"

    def run(self) -> list[BadValue]:
        """The damaged ones.

        Raises
        ------
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            The file went away, changed, or cannot be read.
        """
        bundle = TensorBundle.of_values(self.prefix, self.shards)
        bad = []
        for name, entry in self.parts:
            try:
                bundle.verify(entry)
            except MissingShardError:
                break  # said already
            except MonolithError as error:
                if not isinstance(error, ValueError):
                    raise
                bad.append(BadValue(name, error))
        return bad


def check_values(look: StepLook, reading: Reading) -> Iterator[Finding]:
    """Every value of every dense variable.

    Raises
    ------
    PathNotFoundError, ChangedWhileReadError
        A file went away, or is being written to.
    """
    for bundle in look.bundles.values():
        if bundle is not None:
            yield from _of_bundle(look, bundle, reading)


def _of_bundle(look: StepLook, bundle: TensorBundle, reading: Reading) -> Iterator[Finding]:
    parts = [(entry.name, part) for entry in bundle.entries.values() for part in parts_of(entry)]
    values = sum(part.size_bytes > 0 for _, part in parts)
    short = {f.file for f in _data_files(look, bundle)}
    parts = [each for each in parts if bundle.data_path(each[1].shard) not in short]
    tasks = list(_cut(bundle, parts))
    sizes = [sum(part.size_bytes for _, part in task.parts) for task in tasks]
    bad: list[BadValue] = []
    try:
        for task, found in reading.each(tasks, sizes):
            if not found:
                continue
            again = _read_again(task)
            second = {each.name for each in again}
            bad += [each for each in found if each.name in second]
            first = {each.name for each in found}
            if first != second:
                yield _unstable(look, task, min(first ^ second))
    except NotReadableError as error:
        look.unread.append(error)
        return
    if values > 1 and len(bad) == values:
        yield finding(
            "bundle_mixed",
            f"none of {values} values of dense variables fits the index: the two are of different"
            " saves",
            step=look.step,
            file=bad[0].error.path,
            suggest="restore index and data from one copy, or take another step",
        )
        return
    for each in bad:
        id = "bad_bundle_index" if each.error.kind == "bad_entry" else "bad_bundle_value"
        yield finding_of(each.error, id, step=look.step, variable=each.name)


def _cut(bundle: TensorBundle, parts: Sequence[tuple[str, TensorEntry]]) -> Iterator[ValuesTask]:
    """Tasks of some megabytes, each of one data file, in the order of the file."""
    pending: list[tuple[str, TensorEntry]] = []
    size = 0
    for name, part in sorted(parts, key=lambda each: (each[1].shard, each[1].offset)):
        if pending and (size >= _TASK_BYTES or pending[-1][1].shard != part.shard):
            yield ValuesTask(bundle.prefix, bundle.shards, pending)
            pending, size = [], 0
        pending.append((name, part))
        size += part.size_bytes
    if pending:
        yield ValuesTask(bundle.prefix, bundle.shards, pending)


def _read_again(task: ValuesTask) -> list[BadValue]:
    """The same once more, past the cache of this machine."""
    forget_cached(task.path)
    return task.run()


def _unstable(look: StepLook, task: ValuesTask, name: str) -> Finding:
    return finding(
        "unstable_read",
        f"{name}: its checksum was wrong when it was read once, and right when it was read again",
        step=look.step,
        variable=name,
        file=task.path,
        suggest="test this host's memory, and the network to the files",
    )
