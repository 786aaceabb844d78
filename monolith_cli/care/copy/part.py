"""The steps that go into one directory, a target or `dense_only` in it, and what it then lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.along import flags_along, job_state_along
from monolith_cli.care.brought import note_brought
from monolith_cli.care.copy.choose import gone, names_in, not_whole
from monolith_cli.care.copy.files import SendTask
from monolith_cli.care.copy.listing import appended, exempt_also, list_inputs_along
from monolith_cli.care.copy.plan import Planner
from monolith_cli.care.copy.request import Begun
from monolith_cli.care.copy.step import CopiedStep, StepCopy, names_of_step, remove_step, step_with
from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    CHECKPOINT,
    CKPT_OVERRIDE,
    COPIED,
    INDEX_SUFFIX,
    JOURNAL,
    MONOLITH_CHECKPOINT,
    parse_step_file,
    step_of,
)
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    DifferentError,
    DirectoryInUseError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    StepNotFoundError,
)
from monolith_cli.formats.checkpoint_state import format_checkpoint_state, read_checkpoint_state
from monolith_cli.storage.atomic import leftovers, temporary_path
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from monolith_cli.care.copy.choose import Chosen
    from monolith_cli.care.copy.plan import StepPlan
    from monolith_cli.care.copy.request import Request
    from monolith_cli.care.copy.step import Way
    from monolith_cli.care.states import Survey
    from monolith_cli.formats.checkpoint_state import CheckpointState, MonolithCheckpointState

__all__ = ["Part"]

_OF_SOURCE = (
    ChangedWhileReadError,
    CorruptionError,
    NotReadableError,
    PathNotFoundError,
    StepNotFoundError,
)
"""What a step may fail with by what it is where it comes from."""


class Part:
    """Steps that go from one directory into another.

    Parameters
    ----------
    name
        Empty, or `dense_only`.
    found
        The directory that they come from.
    target
        The one that they go to; it need not be there.
    request
        What is asked for.

    Attributes
    ----------
    results
        What became of each step that was chosen, in the order of steps.
    """

    def __init__(
        self, name: str, found: Survey, chosen: Chosen, target: str, request: Request
    ) -> None:
        self.name = name
        self.target = target
        self.results: list[CopiedStep] = []
        self._found = found
        self._chosen = chosen
        self._request = request
        self._begun = (request.begun or {}).get(name)
        self._copies: list[StepCopy] = []
        self._text = _text(target)
        self._state = None if self._text is None else read_checkpoint_state(_path(target))
        self._sizes: dict[str, dict[str, int | None]] = {}
        self._arrived: set[str] = set()
        self._given_up: list[int] = []
        self._hidden = dict(self._begun.hidden) if self._begun is not None else {}
        self._job_state: MonolithCheckpointState | None = None

    # --- what there is to do --------------------------------------------------------------

    def plan(self) -> None:
        """Find out by names and sizes what is sent.

        Raises
        ------
        StateFileError, NotReadableError
            `monolith_checkpoint` does not parse, or cannot be read.
        MonolithError
            The only step that was asked for cannot be: as `Planner.plan`.
        """
        planner = Planner(self._found)
        checkpoints = [each.checkpoint for each in self._chosen.steps if each.checkpoint]
        names = [name_of(each.prefix) for each in checkpoints if each.prefix is not None]
        self._job_state = job_state_along(self._found.directory, names)
        job_state_along(self.target, ())  # so that nothing is begun if it cannot be read
        for step in self._chosen.steps:
            result = self._result(step.step)
            if not step.is_whole:
                result.fate, result.error = "not_whole", not_whole(self._found.directory, step)
                continue
            try:
                plan = planner.plan(step)
            except _OF_SOURCE as error:
                if not self._request.every and self._request.begun is None:
                    raise
                _fail(result, error)
                continue
            self._hide(plan)
            here = self._size, self._arrived, self._is_ours, self._place
            self._copies.append(StepCopy(plan, result, self.target, *here))
        there = {result.step for result in self.results}
        left = (
            [number for number in self._begun.steps if number not in there] if self._begun else []
        )
        if self._request.takes_over:
            self._given_up = left
            return
        for number in left:
            _fail(self._result(number), gone(number, self._found))

    def _result(self, step: int | None) -> CopiedStep:
        assert step is not None
        result = CopiedStep(step, is_dense_only=bool(self.name))
        self.results.append(result)
        return result

    def _size(self, name: str) -> int | None:
        """The size of a file in the target; None if it is not there."""
        directory, _, last = self._place(name).rpartition("/")
        sizes = self._listing(directory)
        if last not in sizes:
            return None
        size = sizes[last]
        return -1 if size is None else size  # no regular file is as large as that

    def _hide(self, plan: StepPlan) -> None:
        """Let a step that comes here have no name until it is committed.

        A job that finds tables and no `checkpoint` begins with what has arrived of them.
        """
        if not store_of(self.target).abilities.rename:
            return
        for name in (plan.name + ASSETS_SUFFIX, plan.name + INDEX_SUFFIX):
            if name not in self._hidden and name not in self._listing(""):
                self._hidden[name] = name_of(temporary_path(join(self.target, name)))

    def _place(self, name: str) -> str:
        """Where a file is in the target now, or comes to."""
        first, slash, rest = name.partition("/")
        hidden = self._hidden.get(first)
        return name if hidden is None or first in self._listing("") else hidden + slash + rest

    def _listing(self, directory: str) -> dict[str, int | None]:
        sizes = self._sizes.get(directory)
        if sizes is None:
            sizes = self._sizes[directory] = self._sizes_in(directory)
        return sizes

    def _sizes_in(self, directory: str) -> dict[str, int | None]:
        """Of what is in a directory in the target, or in the target itself."""
        if directory and self._size(directory) is None:
            return {}
        path = join(self.target, directory) if directory else self.target
        try:
            return store_of(path).sizes(path)
        except PathNotFoundError:
            return {}

    def _is_ours(self, name: str) -> bool:
        """Whether a file in the target is one that this copy has sent in an earlier run."""
        begun = self._begun
        if self._place(name) != name:
            return True
        if begun is None or name in begun.there or not self.is_as_begun():
            return False
        if any(name in names for names in begun.beside.values()):
            return True
        return step_with(name.partition("/")[0]) in begun.steps

    def is_as_begun(self) -> bool:
        """Whether nobody has written `checkpoint` since an earlier run began."""
        return self._begun is not None and self._begun.listed_before == self._text

    def is_as_left(self) -> bool:
        """Whether `checkpoint` says what an earlier run, which was cut off, would have let it say.

        That run may have ended between this directory and another one.
        """
        if self._begun is None or self._state is None:
            return False
        after = self._after(self._working())
        return after is not None and _same(after, self._state)

    def expect(self, way: Way) -> None:
        """Tell how much there is to do."""
        for copy in self._copies:
            copy.expect(way)

    def look(self) -> None:
        """Take what is there with the right size for the same."""
        for copy in self._working():
            copy.look(link=self._request.link)
        self.note()

    def note(self) -> None:
        """Note which steps are listed in the end."""
        self._note_listed(self._after(self._working()))

    def is_done(self) -> bool:
        """Whether nothing has to be written, as far as names and sizes tell."""
        if any(copy.missing for copy in self._working()):
            return False
        after = self._after(self._working())
        return after is None or (self._state is not None and _same(after, self._state))

    def begun(self) -> Begun:
        """What the journal says of it."""
        old = self._begun
        if old is not None and not self._request.takes_over:
            return old
        steps = dict(old.steps) if old is not None else {}
        beside = dict(old.beside) if old is not None else {}
        there = set(old.there) if old is not None else set()
        for copy in self._copies:
            step = copy.plan.step
            if step in steps:
                continue
            steps[step] = step in self._chosen.listed
            if self._sizes.get(""):
                there.update(names_of_step(self.target, step))
            others = [each.name for each in copy.plan.files if _is_beside(each.name)]
            there.update(name for name in others if self._size(name) is not None)
            beside[step] = others
        return Begun(
            steps=steps,
            latest=self._chosen.latest,
            listed_before=self._text if old is None else old.listed_before,
            beside=beside,
            there=frozenset(there),
            hidden=self._hidden,
        )

    # --- doing it -------------------------------------------------------------------------

    def compare(self, way: Way) -> None:
        """Compare all that is there already; of a step that fails the error is kept."""
        for copy in self._working():
            try:
                copy.compare(way)
            except _OF_SOURCE as error:
                self._keep(copy, error)

    def send(self, way: Way, begun: Begun) -> None:
        """Send what is missing. What has arrived of a step that fails is removed again.

        Raises
        ------
        WriteError
            The store refused.
        """
        self._sweep()
        for copy in self._working():
            try:
                copy.compare(way)
                if copy.result.fate != "different":
                    copy.send(way)
            except _OF_SOURCE as error:
                self._keep(copy, error)
        failed = [result.step for result in self.results if result.error is not None]
        self.remove([*failed, *self._given_up], begun)

    def _sweep(self) -> None:
        """Remove what a run that died had not finished writing."""
        planned = {file.name for copy in self._copies for file in copy.plan.files}
        planned |= {CHECKPOINT, MONOLITH_CHECKPOINT, JOURNAL, COPIED}
        planned |= {*flags_along(self._found.items)}
        inputs = (state for copy in self._copies for state in copy.plan.inputs)
        planned |= {f"{CHECKPOINT}_{state.task}" for state in inputs}
        planned = {self._place(name) for name in planned}
        for directory in sorted({parent_of(name) for name in planned}):
            path = join(self.target, directory) if directory else self.target
            for name, target in leftovers(names_in(path) or ()):
                if join(directory, target) in planned:
                    store_of(path).delete(join(path, name))

    def _keep(self, copy: StepCopy, error: MonolithError) -> None:
        """Keep why a step fails, if it is for what it is where it comes from."""
        if error.path is None or not error.path.startswith(join(copy.plan.source, "")):
            raise error
        _fail(copy.result, error)

    def _working(self) -> list[StepCopy]:
        """The steps of which nothing speaks against listing them."""
        return [copy for copy in self._copies if copy.result.error is None]

    def remove(self, steps: Collection[int], begun: Begun) -> None:
        """Remove what has arrived of steps that were begun, but for what others need.

        Raises
        ------
        WriteError
            The store refused.
        """
        if names_in(self.target) is None:
            return
        for name, hidden in begun.hidden.items():
            if step_with(name) in steps:
                store_of(self.target).delete(join(self.target, hidden))
        if begun.listed_before != self._text:
            return  # somebody has been here since, or what was begun is listed already
        others = [copy.plan for copy in self._working() if copy.plan.step not in steps]
        spared = begun.there | {file.name for plan in others for file in plan.files}
        for step in steps:
            # Of one that was not begun all that is there was there before.
            if step in begun.steps and step not in self._listed_steps():
                remove_step(self.target, step, begun.beside.get(step, ()), spared)

    def _listed_steps(self) -> set[int | None]:
        paths = self._state.all_model_checkpoint_paths if self._state else ()
        return {step_of(name_of(path)) for path in paths}

    def commit(self, begun: Begun) -> None:
        """List what has arrived, with all that a job needs to start from it; `checkpoint` last.

        Raises
        ------
        DirectoryInUseError
            Somebody else has written `checkpoint` meanwhile.
        StateFileError, NotReadableError
            `monolith_checkpoint` does not parse, or cannot be read.
        WriteError
            The store refused.
        """
        plans = [copy.plan for copy in self._working()]
        after = self._after(self._working())
        if not plans:
            return
        if after is None:
            self._give_names(plans, begun)
            return
        store, source = store_of(self.target), self._found.directory
        for name in flags_along(self._found.items):
            path = join(self.target, name)
            if not store.exists(path):
                SendTask(join(source, name), path, None, overwrite=False).run()
        list_inputs_along(self.target, plans, step_of(name_of(after.model_checkpoint_path)))
        listed = {plan.name for plan in plans if plan.step in self._chosen.listed}
        if self._job_state is not None:
            exempt = self._job_state.exempt_model_checkpoint_paths
            kept = tuple(name for name in exempt if name in listed)
            exempt_also(self.target, self._job_state._replace(exempt_model_checkpoint_paths=kept))
        self._give_names(plans, begun)
        if self._state is None or not _same(after, self._state):
            self._write(after)
        self._note_listed(after)

    def _give_names(self, plans: Iterable[StepPlan], begun: Begun) -> None:
        """Let what has arrived be seen: of each step the tables, then the index."""
        store = store_of(self.target)
        store.sync(self.target)
        for name in [plan.name + end for plan in plans for end in (ASSETS_SUFFIX, INDEX_SUFFIX)]:
            path = join(self.target, name)
            hidden = join(self.target, self._hidden[name]) if name in self._hidden else path
            if hidden == path or not store.exists(hidden):
                continue
            if name in self._listing(""):  # a run that died has given it both names
                store.delete(hidden)
            else:
                store.rename_if_absent(hidden, path)
        names = {file.name for plan in plans for file in plan.files}
        indexes = {name for name in names if name.endswith(INDEX_SUFFIX)}
        note_brought(self.target, indexes - begun.there)
        store.sync(self.target)

    def _write(self, state: CheckpointState) -> None:
        """Write `checkpoint`, if it is what it was; and see that it stays."""
        path = _path(self.target)
        data = format_checkpoint_state(state).encode("utf-8", "surrogateescape")
        text = data.decode("utf-8", "surrogateescape")
        for expected in (self._text, text):
            if _text(self.target) != expected:
                raise DirectoryInUseError(
                    "somebody else has written it meanwhile: a job has begun to save there",
                    path=path,
                    hint="stop the job, and run this again",
                    kind="job_runs",
                )
            if expected is self._text:
                store_of(path).put(path, data)
        self._state = state

    def _after(self, copies: Iterable[StepCopy]) -> CheckpointState | None:
        """What `checkpoint` then says; None if nothing is listed there."""
        plans = [copy.plan for copy in copies if copy.plan.step in self._chosen.listed]
        if not plans:
            return self._state
        latest = self._chosen.latest if self._request.as_latest else None
        if all(plan.step != latest for plan in plans):
            latest = None
        preserved = self._found.state.last_preserved_timestamp if self._found.state else 0.0
        return appended(self.target, self._state, plans, latest=latest, preserved_at=preserved)

    def _note_listed(self, state: CheckpointState | None) -> None:
        names = {name_of(path) for path in state.all_model_checkpoint_paths} if state else set()
        for copy in self._copies:
            copy.result.is_listed = copy.plan.name in names

    @property
    def latest(self) -> int | None:
        """The latest step in the target: before `commit` what it was, or would be."""
        state = self._after(self._working())
        return step_of(name_of(state.model_checkpoint_path)) if state is not None else None

    def notes(self) -> list[str]:
        """What a job that starts in the target meets, and did not in the source."""
        notes = []
        if CKPT_OVERRIDE in self._found.items:
            path = join(self._found.directory, CKPT_OVERRIDE)
            notes.append(f"{path} is not copied: inputs go on from the states of their step")
        latest = self.latest
        pools = [name for name in names_in(self.target) or () if "_item_pool_" in name]
        files = [file for file in map(parse_step_file, pools) if file and not file.is_temporary]
        if latest is not None and any(file.step > latest for file in files):
            notes.append(
                f"{self.target}: there are item pools that are newer than step {latest}: the"
                " training system then loads none of them; move them away"
            )
        return notes

    # --- judging --------------------------------------------------------------------------

    def judge(self) -> None:
        """After `compare`: a step of which files are not there, or which is not listed, differs."""
        self._note_listed(self._state)
        for copy in self._working():
            result = copy.result
            what = ""
            if copy.missing:
                what = f"step {result.step} is not all there: {copy.missing[0].name} is missing"
            elif copy.plan.step in self._chosen.listed and not result.is_listed:
                what = f"step {result.step} is there, and is not listed"
            if what:
                result.fate = "missing"
                result.error = DifferentError(what, path=self.target, hint="copy it")


def _fail(result: CopiedStep, error: MonolithError) -> None:
    result.error = error
    result.fate = "damaged" if isinstance(error, CorruptionError) else "gone"
    if isinstance(error, NotReadableError):
        result.fate = "unreadable"


def _is_beside(name: str) -> bool:
    file = parse_step_file(name) if "/" not in name else None
    return file is not None and file.kind in ("input", "item_pool")


def _same(one: CheckpointState, other: CheckpointState) -> bool:
    """Whether they list the same steps, and name the same one as the latest."""
    return name_of(one.model_checkpoint_path) == name_of(other.model_checkpoint_path) and [
        *map(name_of, one.all_model_checkpoint_paths)
    ] == [*map(name_of, other.all_model_checkpoint_paths)]


def _path(directory: str) -> str:
    return join(directory, CHECKPOINT)


def _text(directory: str) -> str | None:
    """`checkpoint` as it is; None without one."""
    path = _path(directory)
    try:
        return store_of(path).read(path).decode("utf-8", "surrogateescape")
    except PathNotFoundError:
        return None
