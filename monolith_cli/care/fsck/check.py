"""The way of one check: which steps, what is looked at, and what it comes to."""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.findings import ERROR, SEVERITY, UNREAD, Finding, finding_of
from monolith_cli.care.fsck.contents import check_promises
from monolith_cli.care.fsck.counts import check_names_counted
from monolith_cli.care.fsck.dense import check_bundles
from monolith_cli.care.fsck.directory import check_directory
from monolith_cli.care.fsck.inputs import (
    check_indexes,
    check_inputs,
    check_state_files,
    find_inputs,
)
from monolith_cli.care.fsck.judgement import (
    DAMAGED,
    FULL,
    QUICK,
    Judgement,
    StepVerdict,
    Unread,
    verdict_on,
    worst_first,
)
from monolith_cli.care.fsck.manifest import check_manifest
from monolith_cli.care.fsck.names import check_contents, check_names, check_tables_before
from monolith_cli.care.fsck.step import StepLook
from monolith_cli.care.survey import survey as survey_of
from monolith_cli.checkpoint.model_dir import ModelDir, open_model_dir
from monolith_cli.errors import (
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    StepNotFoundError,
    UsageError,
)
from monolith_cli.kinds import RECORD_DAMAGE
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from monolith_cli.care.fsck.inputs import Inputs
    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.record import Recorded
    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.checkpoint.assets import AssetsListing
    from monolith_cli.execution.workers import Workers
    from monolith_cli.formats.check_record import CheckedFile
    from monolith_cli.storage.location import AnyPath

__all__ = ["CheckOptions", "check", "newest_verified"]


class CheckOptions(NamedTuple):
    """How a directory is checked.

    Attributes
    ----------
    quick
        Names, sizes, indexes and small files only.
    max_age_seconds
        Leave out the data of steps that have a check record, of files that are still the same, and
        younger than that.
    ignore
        Findings to leave out: an id, or `id:glob`, where the pattern is one of files, by their
        names or their paths below the directory, or of tables.
    strict
        Notes count as warnings.
    record
        Write a manifest and a check record of each complete step that is found without an error.
    re_record
        The same, and what an earlier manifest says counts for nothing.
    bytes_per_second
        How much is read in a second at most.
    jobs
        Threads; None for as many as there are processors to use.
    duplicates
        Look for feature ids that a table has more than once, which reads the tables once more.
    """

    quick: bool = False
    max_age_seconds: float | None = None
    ignore: Sequence[str] = ()
    strict: bool = False
    record: bool = False
    re_record: bool = False
    bytes_per_second: int | None = None
    jobs: int | None = None
    duplicates: bool = False


def check(
    model_dir: ModelDir | AnyPath,
    steps: int | str = "latest",
    options: CheckOptions | None = None,
    *,
    found: Survey | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> Judgement:
    """Judge a model directory: every finding, never only the first.

    In full depth each byte of the steps is read once; where something is wrong, once more.
    A step that is deleted meanwhile is left out.

    Parameters
    ----------
    steps
        A step, `latest`, or `all`. What is of no single step is looked at in any case.
    found
        A survey of the directory that has just been made; without one, one is made here.
    progress
        Called with the bytes read so far, and those to read.
    executor
        Does the work in place of threads of its own, and is not shut down.

    Raises
    ------
    UsageError
        `ignore` has an id that is none; or a record or duplicates are wanted of a quick check.
    StepNotFoundError
        There is no such step, or it is not committed.
    PathNotFoundError
        The directory is not there, or the only step was deleted meanwhile.
    NotReadableError
        The directory cannot be read.
    """
    options = options or CheckOptions()
    for each in options.ignore:
        if each.partition(":")[0] not in SEVERITY:
            what = f"no finding is called '{each.partition(':')[0]}'"
            raise UsageError(what, hint=f"there are {', '.join(SEVERITY)}")
    if options.quick and (options.record or options.re_record):
        raise UsageError("a quick check leaves no record: it does not read the data")
    if options.quick and options.duplicates:
        raise UsageError("a quick check finds no duplicates: it does not read the data")
    if not isinstance(model_dir, ModelDir):
        model_dir = open_model_dir(model_dir)
    from monolith_cli.execution.workers import Workers

    with Workers(options.jobs, executor) as workers:
        made = _Check(model_dir, steps, options, workers, progress)
        return made.run(found or survey_of(model_dir, without_state=True))


def newest_verified(
    model_dir: ModelDir | AnyPath,
    *,
    found: Survey | None = None,
    max_age_seconds: float | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> int | None:
    """The newest complete step that a full check finds no error in; None if there is none.

    A check record whose files are still the same spares the reading.

    Parameters
    ----------
    found
        As of `check`. If it has a `problem`, nobody knows what was committed: then it is the newest
        step that is whole.
    max_age_seconds
        How old such a record may be; None for any age.

    Raises
    ------
    MonolithError
        As `check`, and `survey`.
    """
    from monolith_cli.care.check_records import fitting_record

    found = found or survey_of(model_dir)
    for step in reversed(found.steps):
        is_good = step.is_whole if found.problem else step.state == "complete"
        if not is_good or step.step is None:
            continue
        record = fitting_record(found.directory, step.step)
        if record and _is_younger(record.at, max_age_seconds):
            return step.step
        options = CheckOptions(jobs=jobs)
        try:
            judgement = check(model_dir, step.step, options, executor=executor)
        except (PathNotFoundError, StepNotFoundError):
            continue  # deleted meanwhile
        verdicts = [each.verdict for each in judgement.steps if each.step == step.step]
        if verdicts and DAMAGED not in verdicts and not judgement.unread:
            return step.step
    return None


def _is_younger(at: float, max_age_seconds: float | None) -> bool:
    return max_age_seconds is None or time.time() - at < max_age_seconds


class _Check:
    """One check, while it is made."""

    def __init__(
        self,
        model_dir: ModelDir,
        steps: int | str,
        options: CheckOptions,
        workers: Workers,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.model_dir = model_dir
        self.steps = steps
        self.options = options
        self.workers = workers
        self.progress = progress
        self.findings: list[Finding] = []
        self.unread: list[Unread] = []
        self.unrecorded: list[MonolithError] = []
        self.record_ages: dict[int | None, float] = {}
        self.checked: list[int | None] = []
        self.left_out: list[int] = []
        self.recorded: list[Recorded] = []
        self.bytes_read = 0
        self._reading: Reading | None = None

    def run(self, found: Survey) -> Judgement:
        """Make it, of the steps that were found."""
        places = [found, *([found.dense_only] if found.dense_only else [])]
        chosen = {id(place): self._choose(place) for place in places}
        if not self.options.quick:
            self._reading = self._begin_reading([s for each in chosen.values() for s in each])
        for place in places:
            _Place(self, place).check(chosen[id(place)])
        is_empty = not self.checked and not any(f.severity == ERROR for f in self.findings)
        if is_empty and self.left_out:
            what = f"step {self.left_out[0]} was deleted while it was checked"
            raise PathNotFoundError(what, path=self.model_dir.path)
        if is_empty and not self.unread:
            raise StepNotFoundError("holds no checkpoint", path=self.model_dir.path)
        return self._judgement()

    def _choose(self, place: Survey) -> list[StepSurvey]:
        """The steps that are asked for; of a place beside the model directory those that it has."""
        if self.steps == "all":
            return [step for step in place.steps if step.state != "uncommitted"]
        if self.steps == "latest":
            return [] if place.latest is None else [place.latest]
        wanted = [step for step in place.steps if step.step == self.steps]
        if not wanted and place.directory == self.model_dir.directory:
            self.model_dir.checkpoint(int(self.steps))  # says why
            raise StepNotFoundError(f"no step {self.steps}", path=self.model_dir.path)
        if wanted and wanted[0].state == "uncommitted":
            what = f"step {self.steps} is not committed: it is being written, or was given up"
            raise StepNotFoundError(what, path=self.model_dir.path)
        return wanted

    def _begin_reading(self, steps: Sequence[StepSurvey]) -> Reading:
        from monolith_cli.care.fsck.reading import Reading

        total = sum(step.table_bytes + step.dense_bytes for step in steps)
        return Reading(self.workers, self.options.bytes_per_second, total, self.progress)

    @property
    def reading(self) -> Reading | None:
        """Who reads; None in a quick check."""
        return self._reading

    def _judgement(self) -> Judgement:
        unread = [_unread(each) for each in self.unread]
        findings = [each for each in [*self.findings, *unread] if not self._is_ignored(each)]
        half_read = {each.step for each in self.unread}
        by_step: dict[int | None, list[Finding]] = {step: [] for step in self.checked}
        for finding in findings:
            if finding.step in by_step:
                by_step[finding.step].append(finding)
        strict = self.options.strict
        read = self._reading.bytes_read if self._reading else 0
        return Judgement(
            self.model_dir.path,
            verdict_on(findings, strict=strict, is_read=not self.unread),
            QUICK if self.options.quick else FULL,
            self.bytes_read + read,
            [
                StepVerdict(
                    step,
                    verdict_on(each, strict=strict, is_read=step not in half_read),
                    self.record_ages.get(step),
                )
                for step, each in by_step.items()
            ],
            worst_first(findings),
            [each.error for each in self.unread],
            self.left_out,
            self.recorded,
            self.unrecorded,
        )

    def _is_ignored(self, finding: Finding) -> bool:
        for each in self.options.ignore:
            id, colon, pattern = each.partition(":")
            if id != finding.id:
                continue
            if not colon or _matches(pattern, finding, self.model_dir.directory):
                return True
        return False


def _matches(pattern: str, finding: Finding, directory: str) -> bool:
    from fnmatch import fnmatchcase

    file = finding.file or ""
    start = directory if directory.endswith("/") else f"{directory}/"
    names = [finding.table or "", file, name_of(file), file.removeprefix(start)]
    return any(name and fnmatchcase(name, pattern) for name in names)


class _Place:
    """The check of a model directory, or of the one with dense variables alone in it."""

    def __init__(self, owner: _Check, survey: Survey) -> None:
        self.owner = owner
        self.options = owner.options
        self.survey = survey
        self.looks: dict[int | None, StepLook] = {}
        self.known: dict[tuple[str, ...], AssetsListing] = {}
        self.spared: set[int | None] = set()

    def check(self, chosen: Sequence[StepSurvey]) -> None:
        """Check these steps, and what is of none."""
        inputs = find_inputs(self.survey)
        done: dict[int | None, StepLook] = {}
        for step in chosen:
            if step.checkpoint is None:
                self.owner.checked.append(step.step)
                continue
            look = self._look_at(step)
            findings = self._step(look, inputs)
            if findings is None:
                if step.step is not None:
                    self.owner.left_out.append(step.step)
                continue
            done[step.step] = look
            self.owner.checked += [] if step.step in self.owner.checked else [step.step]
            self.owner.findings += findings
        if self.survey.kind == "training":
            every = check_directory(self.survey, done, self._look_at, inputs, self.owner.unread)
            gone = set(self.owner.left_out)
            self.owner.findings += [each for each in every if each.step not in gone]
            self._state_files(inputs)

    def _state_files(self, inputs: Inputs) -> None:
        """What is wrong with workers' state files, and was not said of the step they name."""
        gone = {(f.worker, f.step) for f in self.owner.findings if f.id in _NO_STATE}
        for each in check_state_files(self.survey, inputs):
            if not isinstance(each, Finding):
                self.owner.unread.append(Unread(None, each))
            elif each.step is None or (each.worker, each.step) not in gone:
                self.owner.findings.append(each)

    def _look_at(self, step: StepSurvey) -> StepLook:
        look = self.looks.get(step.step)
        if look is None:
            ignore = self.options.re_record
            look = StepLook(self.survey, step, ignore_manifest=ignore, known=self.known)
            self.looks[step.step] = look
        return look

    def _before(self, step: StepSurvey) -> StepLook | None:
        """The whole step before another one."""
        at = next(i for i, each in enumerate(self.survey.steps) if each is step)
        before = next((s for s in reversed(self.survey.steps[:at]) if s.is_whole), None)
        return self._look_at(before) if before and before.checkpoint else None

    def _step(self, look: StepLook, inputs: Inputs) -> list[Finding] | None:
        """What is wrong with a step; None if it was deleted meanwhile."""
        found: list[Finding] = []
        pins = None
        try:
            pins = self._pin(look)
            for each in chain(self._quick(look, inputs), self._data(look)):
                found.append(each)
        except MonolithError as error:
            look.unread.append(error)
        try:  # what contents promise, once it is known which of them are wrong
            for each in chain(check_promises(look), check_names_counted(look)):
                found.append(each)
        except MonolithError as error:
            if error.path not in {each.path for each in look.unread}:
                look.unread.append(error)
        findings = _distinct([*found, *look.problems])
        is_right = not look.unread and all(each.severity != ERROR for each in findings)
        if not is_right and _is_gone(look):
            return None
        try:
            self._record(look, pins, findings)
        except MonolithError as error:
            if _is_gone(look):
                return None
            self.owner.unrecorded.append(error)
        by_path = {error.path: error for error in reversed(look.unread)}  # each once
        self.owner.unread += [Unread(look.step, by_path[path]) for path in reversed(by_path)]
        self.owner.bytes_read += look.bytes_read
        return findings

    def _quick(self, look: StepLook, inputs: Inputs) -> Iterator[Finding]:
        yield from check_names(look)
        yield from check_contents(look)
        yield from check_bundles(look)
        yield from check_indexes(look)
        yield from check_manifest(look)
        yield from check_inputs(look, inputs)
        yield from check_tables_before(look, self._before(look.found))

    def _data(self, look: StepLook) -> Iterator[Finding]:
        reading = self.owner.reading
        if reading is None:
            return
        age = self._record_age(look)
        if age is not None:
            self.spared.add(look.step)
            self.owner.record_ages[look.step] = age
            return
        from monolith_cli.care.fsck.data import check_data

        yield from check_data(look, reading)
        if self.options.duplicates:
            from monolith_cli.care.fsck.duplicates import check_duplicates

            yield from check_duplicates(look, reading)

    def _record_age(self, look: StepLook) -> float | None:
        """How old the record is, in seconds, that spares the reading of a step's data."""
        if self.options.max_age_seconds is None:
            return None
        from monolith_cli.care.check_records import fitting_record
        from monolith_cli.care.fsck.record import has_all

        record = fitting_record(look.directory, look.step)
        if record is None or not has_all(record, look):
            return None
        age = max(time.time() - record.at, 0.0)
        return age if age < self.options.max_age_seconds else None

    def _pin(self, look: StepLook) -> list[CheckedFile] | None:
        """The files of a step that a record is wanted of."""
        if not (self.options.record or self.options.re_record) or look.step is None:
            return None
        is_complete = look.found.state == "complete"
        if self.options.re_record:  # what a manifest misses counts for nothing
            is_complete = look.found.is_listed
        if not is_complete or look.survey.kind != "training":
            return None
        from monolith_cli.care.fsck.record import pin

        return pin(look)

    def _record(
        self, look: StepLook, pins: list[CheckedFile] | None, findings: Sequence[Finding]
    ) -> None:
        if pins is None or look.unread or verdict_on(findings) == DAMAGED:
            return
        if look.is_stale or look.step in self.spared:
            return
        from monolith_cli.care.fsck.record import write_records

        assert self.owner.reading is not None
        recorded = write_records(look, pins, verdict_on(findings), self.owner.reading)
        self.owner.recorded.append(recorded)


_NO_STATE = ("input_missing", "input_behind")

_ABOUT_FILES = ("missing_shard", "empty_shard", "too_few_entries")
"""Of a file there is one of these at most, whatever table it is said to be of."""


def _distinct(findings: Sequence[Finding]) -> list[Finding]:
    """Each once; and what the manifest or its neighbours say of a file only where nothing else is
    said of it."""
    errors = {f.file for f in findings if f.severity == ERROR}
    named = {f.file for f in findings if f.severity == ERROR and f.id != "manifest_differs"}
    found: dict[tuple[object, ...], Finding] = {}
    for each in findings:
        if each.id == "manifest_differs" and each.file in named:
            continue
        if each.id == "shard_uneven" and each.file in errors:
            continue
        table = None if each.id in _ABOUT_FILES else each.table
        # In a SNAPPY block the offset is that of the block, and the message says which record.
        record = each.message if each.id in RECORD_DAMAGE else None
        key = (each.id, each.file, each.offset, each.variable, table, record)
        known = found.setdefault(key, each)
        if known.table is None and each.table is not None:
            found[key] = known._replace(table=each.table)
    return list(found.values())


def _unread(unread: Unread) -> Finding:
    """What could not be looked at, as a finding."""
    step, error = unread
    return finding_of(error, error.kind if error.kind in UNREAD else "not_readable", step=step)


def _is_gone(look: StepLook) -> bool:
    """Whether a file of a step has gone since it was surveyed: it is being deleted, then."""
    store = store_of(look.directory)
    for name, size in look.found.dense_files.items():
        if size is not None and not store.exists(look.path(name)):
            return True
    for assets in look.checkpoint.assets:
        names = {name for name in look.sizes if look.path(name).startswith(f"{assets}/")}
        try:
            there = store_of(assets).names(assets)
        except (PathNotFoundError, NotReadableError):
            return bool(names)
        if not names.issubset({look.name(join(assets, name)) for name in there}):
            return True
    return False
