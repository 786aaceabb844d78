"""Model directories: everything that holds checkpoints, by one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.checkpoint.checkpoint import Checkpoint, Offer
from monolith_cli.checkpoint.export_dir import export_checkpoint, holds_shards
from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    INDEX_SUFFIX,
    parse_checkpoint_name,
    unfinished_save,
)
from monolith_cli.checkpoint.training_dir import (
    assets_checkpoint,
    is_training_dir,
    steps_hint,
    training_offer,
)
from monolith_cli.errors import PathNotFoundError, StepNotFoundError, UsageError
from monolith_cli.storage.location import (
    HERE,
    absolute,
    as_location,
    name_of,
    normal,
    parent_of,
    split,
)
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.location import AnyPath

__all__ = ["Checkpoint", "ModelDir", "open_model_dir"]

_HINT = "give a model directory, one *.assets directory or an exported SavedModel"


class ModelDir:
    """A directory with checkpoints. Every method looks at the directory anew.

    Attributes
    ----------
    path
        As it was given.
    directory
        The same with `.` and `..` spelled out: what the paths of checkpoints begin with.
    kind
        `training` (a job's directory), `assets` (one assets directory) or `export` (a SavedModel).
    """

    __slots__ = ("directory", "kind", "path")

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.directory = _named(path)

    def __repr__(self) -> str:
        return f"ModelDir({self.path!r}, {self.kind!r})"

    def steps(self) -> list[int]:
        """The steps that can be read, oldest first as `checkpoint` has them; none in an export.

        Raises
        ------
        StateFileError
            `checkpoint` does not parse.
        PathNotFoundError, NotReadableError
            The directory is gone, or cannot be read.
        """
        return list(self.offer().by_step)

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """The checkpoint of that step; by default the latest, as `checkpoint` names it.

        Raises
        ------
        StepNotFoundError
            There is no such step, it is not committed, or its files are gone.
        StateFileError, PathNotFoundError, NotReadableError
            As `steps`.
        """
        offer = self.offer()
        if step is None:
            if offer.latest is None:
                raise offer.refusal or StepNotFoundError("holds no checkpoint", path=self.path)
            return offer.latest
        if step in offer.unreadable:
            error = offer.unreadable[step]
            error.hint = error.hint or steps_hint(offer.by_step)
            raise error
        if step not in offer.by_step:
            what = offer.withheld.get(step, f"no step {step}")
            raise StepNotFoundError(what, path=self.path, hint=steps_hint(offer.by_step))
        return offer.by_step[step]

    def checkpoints(self) -> list[Checkpoint]:
        """All that can be read, in the order of `steps`; one without a step comes last.

        Raises
        ------
        StepNotFoundError
            There is none.
        StateFileError, PathNotFoundError, NotReadableError
            As `steps`.
        """
        return self.offer().checkpoints or [self.checkpoint()]

    def offer(self) -> Offer:
        """What it holds now: what can be read, and what cannot, and why.

        Raises
        ------
        StateFileError, PathNotFoundError, NotReadableError
            As `steps`.
        """
        if self.kind == "training":
            return training_offer(self.directory)
        if self.kind == "assets":
            store_of(self.directory).names(self.directory)
            only = assets_checkpoint(self.directory)
        else:
            export = export_checkpoint(self.directory)
            if export is None:
                store_of(self.directory).names(self.directory)
                raise PathNotFoundError("no longer an export", path=self.path)
            only = export
        return Offer({} if only.step is None else {only.step: only}, only, None, {}, {})


def open_model_dir(path: AnyPath) -> ModelDir:
    """Find out what kind of directory it is. No data is read.

    Raises
    ------
    UsageError
        An empty path.
    PathNotFoundError
        There is nothing at that path, or no directory, or none with checkpoints or tables in it.
    StepNotFoundError
        It holds the parts of a save that has not finished.
    NotReadableError
        The operating system refused to list it.
    """
    path = as_location(path)
    if not path:
        raise UsageError("an empty path", hint=_HINT)
    directory = _named(path)
    step = unfinished_save(name_of(directory))
    if step is not None and store_of(directory).is_directory(directory):
        raise StepNotFoundError(
            f"an unfinished save of step {step}: it is being written, or its writer died",
            path=path,
            hint=f"give {parent_of(directory) or HERE}, which holds what is committed",
        )
    try:
        names = store_of(directory).names(directory)
    except PathNotFoundError as error:
        raise PathNotFoundError(error.what, path=path, hint=_hint(directory)) from error
    if not names:
        raise PathNotFoundError("an empty directory", path=path, hint=_HINT)
    if directory.endswith(ASSETS_SUFFIX):
        return ModelDir(path, "assets")
    if is_training_dir(names):
        return ModelDir(path, "training")
    if export_checkpoint(directory) is not None:
        return ModelDir(path, "export")
    if holds_shards(directory):
        return ModelDir(path, "assets")
    raise PathNotFoundError("neither checkpoints nor tables in it", path=path, hint=_HINT)


def _named(path: str) -> str:
    """The path in a form that ends in the directory's name; `.` and `..` are spelled out."""
    found = normal(path)
    return absolute(path) if name_of(found) in ("", ".", "..") else found


def _hint(path: str) -> str:
    """What to give instead of a path that is no directory."""
    directory, name = split(path)
    parts = parse_checkpoint_name(name)
    prefix = path.removesuffix(parts.suffix) if parts else path
    if parts and store_of(path).exists(prefix + INDEX_SUFFIX):
        return f"give the directory {directory or '.'} and step {parts.step}"
    if store_of(path).is_file(path):
        return f"give the directory, such as {directory or '.'}"
    return _HINT
