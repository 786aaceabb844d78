"""What a survey of a model directory says: its steps, and the state that each of them is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from monolith_cli.care.leftovers import Leftovers, count_leftovers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.names import StepFile
    from monolith_cli.errors import MonolithError
    from monolith_cli.formats.checkpoint_state import CheckpointState
    from monolith_cli.storage.store import Item

    State: TypeAlias = Literal["complete", "incomplete", "unlisted", "uncommitted"]
    Proof: TypeAlias = Literal["manifest", "formats"]

__all__ = ["Missing", "StepSurvey", "Survey"]


class Missing(NamedTuple):
    """A file that is missing, too short or unreadable, below the model directory; and what of it.

    A file of a step that lies elsewhere has its whole path.
    """

    file: str
    what: str


class StepSurvey(NamedTuple):
    """A step of a model directory.

    Attributes
    ----------
    step
        None in an export, and for a checkpoint without a number.
    state
        `complete`: listed in `checkpoint`, and all of its files are there and long enough.
        `incomplete`: listed, and not so. `unlisted`: as complete, and not listed. `uncommitted`:
        neither; the save that is running now is one. What `checkpoint` names as the latest without
        listing it is `unlisted` or `incomplete`.
    proof
        `manifest` where the manifest of the step says which files there are; `formats` where only
        they do: then a table of which no file is left is not missed.
    missing
        What is not there, of a step that is not whole.
    time
        When it was committed, in seconds since 1970: as `checkpoint` has it, else the time of the
        index. None without either.
    is_latest
        Whether it is what `checkpoint` names as the latest; without that file, what is read as it.
    is_listed
        Whether `checkpoint` lists it.
    checkpoint
        Where its files are; None where that cannot be told.
    names
        All names in the model directory that are of this step, temporaries too; none of a step that
        lies elsewhere.
    table_files, dense_files
        What is in its assets directory; and the index and the data files of its dense variables. By
        the name below the directory that holds the step the size in bytes, None of what is no
        regular file.
    dumps
        By base name, `single`, `multi` or `hash_filter`: those that are not whole too.
    entries
        By base name too, as a manifest has them that is the proof: None where it does not say, and
        for all without such a manifest.
    """

    step: int | None
    state: State
    proof: Proof
    missing: Sequence[Missing]
    time: float | None
    is_latest: bool
    is_listed: bool
    checkpoint: Checkpoint | None
    names: Sequence[str]
    table_files: Mapping[str, int | None]
    dense_files: Mapping[str, int | None]
    dumps: Mapping[str, str]
    entries: Mapping[str, int | None] | None

    @property
    def is_whole(self) -> bool:
        """Whether it is complete, or would be if it were listed."""
        return self.state in ("complete", "unlisted")

    @property
    def table_bytes(self) -> int:
        """Of all files in its assets directory."""
        return sum(filter(None, self.table_files.values()))

    @property
    def dense_bytes(self) -> int:
        """Of index and data of its dense variables."""
        return sum(filter(None, self.dense_files.values()))


class Survey(NamedTuple):
    """What is in a model directory.

    Attributes
    ----------
    directory
        The model directory.
    kind
        As in `ModelDir`.
    state
        What `checkpoint` says; None without one.
    items
        All that is in the directory, by name; nothing in an export.
    steps
        In the order of steps, oldest first.
    dense_only
        The same of the model directory in it, if it has one.
    step_files
        What the names in the directory say that are of a step, by name; see `parse_step_file`.
    problem
        Why `checkpoint`, which is there, cannot be read: the steps are those that have an index.
    """

    directory: str
    kind: str
    state: CheckpointState | None
    items: Mapping[str, Item]
    steps: Sequence[StepSurvey]
    dense_only: Survey | None
    step_files: Mapping[str, StepFile] = {}
    problem: MonolithError | None = None

    @property
    def latest(self) -> StepSurvey | None:
        """What `checkpoint` names as the latest, be it whole or not; see `StepSurvey.is_latest`."""
        return next((step for step in self.steps if step.is_latest), None)

    @property
    def problems(self) -> list[MonolithError]:
        """Why a `checkpoint` cannot be read: this one, and that of `dense_only`."""
        places = [self, *([self.dense_only] if self.dense_only else [])]
        return [place.problem for place in places if place.problem is not None]

    @property
    def leftovers(self) -> Leftovers:
        """What belongs to no committed step, that of `dense_only` too. Lists what it counts."""
        return count_leftovers(self)
