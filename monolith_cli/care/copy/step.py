"""One step on its way: what is there is compared, the rest is sent, and the index comes last."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from monolith_cli.care.copy.files import CompareTask, SendTask, is_one_file
from monolith_cli.care.copy.plan import check_unchanged
from monolith_cli.checkpoint.names import ASSETS_SUFFIX, INDEX_SUFFIX, parse_step_file
from monolith_cli.errors import DifferentError, WriteError
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from monolith_cli.care.copy.plan import File, StepPlan
    from monolith_cli.errors import MonolithError
    from monolith_cli.execution.protocols import Task
    from monolith_cli.execution.workers import Workers

    Fate: TypeAlias = Literal[
        "to_copy",
        "copied",
        "there",
        "missing",
        "different",
        "not_whole",
        "gone",
        "unreadable",
        "damaged",
    ]

__all__ = ["CopiedStep", "StepCopy", "Way", "names_of_step", "remove_step", "step_with"]

_SMALL_BYTES = 4 << 20
"""Less than that is not worth threads."""

_NAMES_SHOWN = 5

_WITH_STEP = {"bundle", "tables", "info", "inputs", "manifest", "repaired"}
"""Kinds of files that are of one step alone."""


class CopiedStep:
    """What became of a step.

    Attributes
    ----------
    step
        Its number.
    is_dense_only
        Whether it is one of `dense_only`.
    fate
        `copied`; `there` (all of it was, and is the same); `to_copy` (nothing is written yet). Or
        it did not come: `different` (the target has another one, which stays), `not_whole`, `gone`,
        `unreadable`, `damaged`. Of a comparison also `missing`.
    files, bytes
        All that belongs to it.
    sent_files, sent_bytes
        What was written of that, or is to be.
    linked_files
        How many got a second name, or are to.
    differing, missing
        The names of files that are others in the target, and that are not there.
    is_listed
        Whether `checkpoint` there lists it in the end.
    error
        Why it did not come, or is not the same.
    """

    def __init__(self, step: int, *, is_dense_only: bool) -> None:
        self.step = step
        self.is_dense_only = is_dense_only
        self.fate: Fate = "to_copy"
        self.files = self.bytes = 0
        self.sent_files = self.sent_bytes = self.linked_files = 0
        self.differing: list[str] = []
        self.missing: list[str] = []
        self.is_listed = False
        self.error: MonolithError | None = None


class Way:
    """How files are sent, and who wants to know of it.

    Parameters
    ----------
    link
        Whether files that may be linked are.
    progress
        Called with the bytes done so far, and those to do.
    """

    def __init__(
        self, workers: Workers, *, link: bool, progress: Callable[[int, int], None] | None
    ) -> None:
        self.link = link
        self._workers = workers
        self._progress = progress
        self._done = self._total = 0

    def expect(self, size: int) -> None:
        """So many bytes are to be compared, or sent."""
        self._total += size

    def run(self, files: Sequence[File], tasks: Sequence[Task[Any]]) -> Iterator[Any]:
        """The results of tasks, each of which reads or sends one of the files, in order."""
        if sum(file.bytes for file in files) < _SMALL_BYTES:
            results: Iterator[Any] = (task.run() for task in tasks)
            yield from self._counted(files, results)
            return
        with closing(self._workers.in_order(tasks)) as done:
            yield from self._counted(files, (result for _, result in done))

    def _counted(self, files: Sequence[File], results: Iterator[Any]) -> Iterator[Any]:
        for file, result in zip(files, results, strict=True):
            self._done += file.bytes
            if self._progress is not None:
                self._progress(self._done, max(self._total, self._done))
            yield result


class StepCopy:
    """A step that is where it comes from.

    Parameters
    ----------
    target
        The directory that it goes to.
    have
        Says of a file how large it is in the target; None if it is not there.
    arrived
        The names of files that are known to have arrived, of all steps: steps share some.
    is_ours
        Says of a file there whether this copy has sent it in an earlier run, so that it may go.
    place
        Says of a file where it is in the target until the step is committed.
    """

    def __init__(
        self,
        plan: StepPlan,
        result: CopiedStep,
        target: str,
        have: Callable[[str], int | None],
        arrived: set[str],
        is_ours: Callable[[str], bool],
        place: Callable[[str], str],
    ) -> None:
        self.plan = plan
        self.result = result
        self.target = target
        self.missing: list[File] = []
        self._to_compare: list[File] = []
        self._arrived = arrived
        self._is_ours = is_ours
        self._place = place
        for file in plan.files:
            size = have(file.name)
            if size == file.bytes:
                self._to_compare.append(file)
            elif size is None or is_ours(file.name):
                self.missing.append(file)
            else:
                result.differing.append(file.name)
        result.files, result.bytes = len(plan.files), plan.bytes
        self._note()

    def expect(self, way: Way) -> None:
        """Tell how much there is to do."""
        sent = [file for file in self.missing if not (way.link and file.may_link)]
        way.expect(sum(file.bytes for file in (*self._to_compare, *sent)))

    def compare(self, way: Way) -> None:
        """Read what is there already with the right size; another step stays as it is.

        Raises
        ------
        MonolithError
            As `CompareTask.run`.
        """
        files, tasks = [], []
        for file in self._left(self._to_compare):
            source, target = self._paths(file)
            if is_one_file(source, target):
                self._arrived.add(file.name)
            else:
                files.append(file)
                tasks.append(CompareTask(source, target, file.crc32c))
        for file, is_same in zip(files, way.run(files, tasks), strict=True):
            if is_same:
                self._arrived.add(file.name)
            elif self._is_ours(file.name):
                self.missing.append(file)
            else:
                self.result.differing.append(file.name)
        self._to_compare = []
        self.missing = self._left(self.missing)
        self._note(link=way.link)

    def _left(self, files: Iterable[File]) -> list[File]:
        """Those that have not arrived with another step."""
        return [file for file in files if file.name not in self._arrived]

    def _note(self, *, link: bool = False) -> None:
        result = self.result
        if result.differing:
            names = result.differing
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            result.fate = "different"
            result.error = DifferentError(
                f"has another step {result.step}: {', '.join(names[:_NAMES_SHOWN])}{more}",
                path=self.target,
                hint="it stays as it is; name another directory",
            )
            self.missing = []
        result.missing = [file.name for file in self.missing]
        if not self.missing and not result.differing:
            result.fate = "there"
        elif not result.differing:
            result.fate = "to_copy"
        linked = [file for file in self.missing if link and file.may_link]
        result.linked_files = len(linked)
        result.sent_files = len(self.missing) - len(linked)
        result.sent_bytes = sum(file.bytes for file in self.missing)
        result.sent_bytes -= sum(file.bytes for file in linked)

    def look(self, *, link: bool) -> None:
        """Take what is there with the right size for the same, and the rest for sent."""
        self._to_compare = []
        self.missing = self._left(self.missing)
        self._note(link=link)
        if self.result.error is None:
            self._arrived.update(file.name for file in self.plan.files)

    def send(self, way: Way) -> None:
        """Write what is missing, its index last.

        Raises
        ------
        StepNotFoundError
            The step is gone, or was saved once more.
        WriteError
            The store refused.
        MonolithError
            As `SendTask.run`.
        """
        is_index = self.plan.name + INDEX_SUFFIX
        places = [self._place(file.name) for file in self.missing]
        for directory in sorted({place.rpartition("/")[0] for place in places} - {""}):
            store_of(self.target).make_directory(join(self.target, directory))
        self._link([file for file in self.missing if way.link and file.may_link])
        sent = [file for file in self.missing if not (way.link and file.may_link)]
        for files in (
            [file for file in sent if file.name != is_index],
            [file for file in sent if file.name == is_index],
        ):
            tasks = [
                SendTask(*self._paths(file), file.crc32c, self._is_ours(file.name))
                for file in files
            ]
            for file, _ in zip(files, way.run(files, tasks), strict=True):
                self._arrived.add(file.name)
        check_unchanged(self.plan)
        if self.missing:
            self.result.fate = "copied"

    def _link(self, files: Sequence[File]) -> None:
        store = store_of(self.target)
        if files and (store is not store_of(self.plan.source) or not store.abilities.hard_links):
            what = "not linked: the two directories are not in one file system"
            raise WriteError(what, path=self.target, kind="not_linked")
        source, target = join(self.plan.source, ""), join(self.target, "")
        for file in files:
            name, place = file.name, target + self._place(file.name)
            if self._is_ours(name):
                store.delete(place)
            store.link(source + name, place)
            self._arrived.add(name)

    def _paths(self, file: File) -> tuple[str, str]:
        return join(self.plan.source, file.name), join(self.target, self._place(file.name))


def step_with(name: str) -> int | None:
    """The step that a name in a directory is of, and of no other; None if it is of none.

    States of inputs and item pools are of none: other steps need some.
    """
    file = parse_step_file(name)
    is_with_step = file is not None and not file.is_temporary and file.kind in _WITH_STEP
    return file.step if file is not None and is_with_step else None


def names_of_step(target: str, step: int) -> list[str]:
    """The names of what a directory has of a step, and of what is in its directory of tables.

    Indexes come first; see `step_with`.
    """
    store = store_of(target)
    found: list[str] = []
    for name in store.names(target):
        if step_with(name) != step:
            continue
        if name.endswith(ASSETS_SUFFIX) and store.is_directory(join(target, name)):
            found += [join(name, each) for each in store.names(join(target, name))]
        else:
            found.append(name)
    return sorted(found, key=lambda name: not name.endswith(INDEX_SUFFIX))


def remove_step(target: str, step: int, beside: Iterable[str], spared: Collection[str]) -> None:
    """Remove what has arrived of a step that is not to be listed, the index first.

    Parameters
    ----------
    beside
        Names of files that came with it, and do not have its number.
    spared
        Names of files that stay.

    Raises
    ------
    WriteError
        The store refused.
    """
    store = store_of(target)
    names = store.names(target)
    directories = [
        each for each in names if each.endswith(ASSETS_SUFFIX) and step_with(each) == step
    ]
    for name in (*names_of_step(target, step), *beside):
        if name not in spared:
            store.delete(join(target, name))
    for name in directories:
        path = join(target, name)
        if store.is_directory(path) and not store.names(path):
            store.delete(path)
