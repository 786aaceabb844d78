"""One checkpoint: where its files are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.assets import AssetsListing, list_assets, note_lost
from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    CHECKPOINT,
    INDEX_SUFFIX,
    ckpt_info_name,
    ckpt_manifest_name,
)
from monolith_cli.checkpoint.shard_set import BrokenSet
from monolith_cli.errors import PathNotFoundError, StepNotFoundError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.checkpoint.lost import HeldAgainst, LostFile
    from monolith_cli.errors import CorruptionError

__all__ = ["Checkpoint", "Offer"]

_NAMES_SHOWN = 5
_GONE = "gone: deleted since the checkpoint was found"


class Checkpoint:
    """A checkpoint of a model directory; holds names only, and no file is open.

    Attributes
    ----------
    step
        None where the directory has none: in an export, or an unnumbered checkpoint.
    prefix
        Path of the tensor bundle without suffix, such as `model/model.ckpt-10`; None in an export.
    bundles
        The tensor bundles with dense variables, by sub graph: `""` in a training directory, in an
        export such as `entry` and `ps_0`. Values are paths without suffix.
    assets
        The directories with table dumps: none, one, or in an export one for each server.
    ckpt_info_path
        Where `ckpt.info-<step>` belongs; None where there is no step.
    is_elsewhere
        Its files are not in the model directory, but where `checkpoint` points.
    has_index
        Whether the index of its dense variables was there.
    problems
        What is missing of it as a whole, such as a server of an export; a listing of its dumps has
        them, too.
    notes, warnings
        Remarks for people: what was left out, or is read from an unexpected place; and what is not
        as it should be.
    """

    __slots__ = (
        "_has_manifest",
        "_paths",
        "_shards",
        "assets",
        "bundles",
        "ckpt_info_path",
        "has_index",
        "is_elsewhere",
        "listed_as",
        "notes",
        "prefix",
        "problems",
        "step",
        "warnings",
    )

    def __init__(
        self,
        *,
        step: int | None = None,
        prefix: str | None = None,
        assets: list[str],
        notes: list[str] | None = None,
        problems: Sequence[CorruptionError] = (),
        has_index: bool = False,
        bundles: dict[str, str] | None = None,
        listed_as: str | None = None,
        is_elsewhere: bool = False,
        has_manifest: bool | None = None,
    ) -> None:
        self.step = step
        self.prefix = prefix
        self.assets = assets
        self.notes = notes or []
        self.problems = problems
        self.warnings: list[str] = []
        self.listed_as = listed_as
        self.is_elsewhere = is_elsewhere
        self._has_manifest = has_manifest
        self.has_index = has_index or bool(bundles)
        self.ckpt_info_path: str | None = None
        if step is not None and prefix is not None:
            self.ckpt_info_path = join(parent_of(prefix), ckpt_info_name(step))
        self._shards: dict[str, set[str]] = {}
        self.bundles = bundles or ({"": prefix} if prefix and (has_index or listed_as) else {})
        indexes = [path + INDEX_SUFFIX for path in self.bundles.values()]
        if self.bundles and not self.has_index:
            self.warnings.append(
                f"{indexes.pop()}: missing, without which the dense variables cannot be restored"
            )
        self._paths = [*indexes, *assets]

    def __repr__(self) -> str:
        return f"Checkpoint(step={self.step}, prefix={self.prefix!r}, assets={self.assets!r})"

    def require(self) -> None:
        """Make sure that the checkpoint is still there, with all shards that were listed.

        A running job deletes old checkpoints at any time. So call this when a file is missing, to
        tell deletion from damage, and after the last file was read: TensorFlow deletes the index
        first, so what was read while it stood was whole.

        Raises
        ------
        PathNotFoundError
            The index, an assets directory or a shard is gone.
        NotReadableError
            The operating system refused to list a directory.
        """
        for path in self._paths:
            if not store_of(path).exists(path):
                raise PathNotFoundError(_GONE, path=path)
        if self.prefix and self.listed_as and not self.has_index and not self._is_listed():
            raise PathNotFoundError(_GONE, path=self.prefix + INDEX_SUFFIX)
        for directory, listed in self._shards.items():
            gone = listed.difference(store_of(directory).names(directory))
            if gone:
                raise PathNotFoundError(_GONE, path=join(directory, min(gone)))

    def lost_files(self) -> list[LostFile]:
        """What its manifest names and is gone, or of another size; see `held_against_manifest`."""
        held = self.held_against_manifest()
        return held.lost if held else []

    def held_against_manifest(self) -> HeldAgainst | None:
        """What its manifest tells, see `checkpoint.lost`; None where all is there, as mostly.

        The note goes to `notes`.

        Raises
        ------
        PathNotFoundError, NotReadableError
            As `require`: being deleted, it is not damaged.
        """
        if self.prefix is None or self.step is None or self._has_manifest is False:
            return None
        directory = parent_of(self.prefix)
        path = join(directory, ckpt_manifest_name(self.step))
        if self._has_manifest is None and not store_of(path).exists(path):
            return None  # the directory was not listed
        from monolith_cli.checkpoint.quick_manifest import entries_if_all_there

        there = entries_if_all_there(path, self.step, lambda name: _size(join(directory, name)))
        if there is not None:
            return None
        from monolith_cli.checkpoint.lost import hold_against_manifest

        held = hold_against_manifest(self.prefix, self.step)
        if held.lost or held.problem:
            self.require()
        if held.note:
            self._note(held.note)
        return held

    def _is_listed(self) -> bool:
        """Whether `checkpoint` still lists it; a step that is being deleted has left the list."""
        assert self.prefix is not None
        try:
            state = read_checkpoint_state(join(parent_of(self.prefix), CHECKPOINT))
        except PathNotFoundError:
            return False
        listed = (state.model_checkpoint_path, *state.all_model_checkpoint_paths)
        return self.listed_as in listed

    def table_files(self) -> AssetsListing:
        """List the dumps as they are now; what is no shard gets a line in `notes`.

        A dump that several servers of an export have is one, with copies.

        Raises
        ------
        NotReadableError
            As `list_assets`.
        PathNotFoundError
            The checkpoint is gone, or a file is in place of an assets directory.
        """
        try:
            listing = list_assets(*self.assets)
        except PathNotFoundError:
            self.require()
            raise
        listing.broken.extend(BrokenSet("", "server", each, []) for each in self.problems)
        if self.prefix is not None:
            held = self.held_against_manifest()
            if held is not None:
                note_lost(listing, held.lost, f"{name_of(self.prefix)}{ASSETS_SUFFIX}")
                listing.beside.extend([held.problem] if held.problem else [])
        if listing.broken:
            self.require()  # being deleted, it is not damaged
        self._shards = _paths_by_directory(listing)
        self._note_ignored(listing.ignored)
        self._note_copies(listing)
        return listing

    def _note_ignored(self, paths: list[str]) -> None:
        by_directory: dict[str, list[str]] = {}
        for path in paths:
            by_directory.setdefault(parent_of(path), []).append(name_of(path))
        for directory, names in by_directory.items():
            shown = ", ".join(names[:_NAMES_SHOWN])
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            self._note(f"{directory}: left out what is not a shard of a table: {shown}{more}")

    def _note_copies(self, listing: AssetsListing) -> None:
        data = [pair[0] for pair in listing.multis.values()]
        dumps = [*listing.singles.values(), *listing.hash_filters.values(), *data]
        copied = sum(bool(shards.copies) for shards in dumps)
        if copied:
            what = "1 dump is" if copied == 1 else f"{copied} dumps are"
            where = f"{what} in several servers' assets, in files of the same size"
            self._note(f"{where}: read once; only a scan compares their bytes")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


class Offer(NamedTuple):
    """What a model directory offers at one moment.

    Attributes
    ----------
    by_step
        In the order of steps, oldest first: see `monolith_cli.checkpoint.steps`.
    latest
        It may be a checkpoint without a step.
    refusal
        Why there is no latest.
    withheld
        Why a step that has files is not offered, not being committed.
    unreadable
        Why a step that `checkpoint` lists cannot be read.
    """

    by_step: dict[int, Checkpoint]
    latest: Checkpoint | None
    refusal: StepNotFoundError | None
    withheld: dict[int, str]
    unreadable: dict[int, StepNotFoundError]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """All that can be read, in the order of steps; one without a step comes last."""
        found = list(self.by_step.values())
        if self.latest and self.latest.step is None:
            found.append(self.latest)
        return found

    @property
    def left_out(self) -> list[str]:
        """A remark for every step that has files and is not offered."""
        return [f"left out: {why}" for _, why in sorted(self.withheld.items())]


def _size(path: str) -> int | None:
    status = store_of(path).status(path)
    return status.size if status.kind == "file" else None


def _paths_by_directory(listing: AssetsListing) -> dict[str, set[str]]:
    """The names of all shards that were listed, copies too, by directory."""
    paths = [path for broken in listing.broken for path in broken.paths]
    for shards in listing.sets():
        paths += shards.paths
        paths += (copy for _, copy in shards.copies)
    names: dict[str, set[str]] = {}
    for path in paths:
        names.setdefault(parent_of(path), set()).add(name_of(path))
    return names
