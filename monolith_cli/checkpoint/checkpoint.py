"""One checkpoint: where its files are."""

from __future__ import annotations

import os
from typing import NamedTuple

from monolith_cli.checkpoint.layout import INDEX_SUFFIX, ckpt_info_name
from monolith_cli.checkpoint.shard_set import AssetsListing, ShardSet, list_assets, list_names
from monolith_cli.errors import MissingShardError, PathNotFoundError, StepNotFoundError

__all__ = ["Checkpoint", "Offer", "TableFiles"]

_NAMES_SHOWN = 5
_GONE = "gone: deleted since the checkpoint was found"


class TableFiles(NamedTuple):
    """The dumps of a checkpoint by base name, in natural order.

    A table has a set for every assets directory that holds a part of it: one in a training
    directory, one for each server in an export. A multi table dump comes with its `.meta`.
    """

    singles: dict[str, list[ShardSet]]
    multis: dict[str, list[tuple[ShardSet, ShardSet]]]
    hash_filters: dict[str, list[ShardSet]]


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
    notes
        Remarks for people: what was left out, or is read from an unexpected place.
    """

    __slots__ = (
        "_paths",
        "_shards",
        "assets",
        "bundles",
        "ckpt_info_path",
        "notes",
        "prefix",
        "step",
    )

    def __init__(
        self,
        *,
        step: int | None = None,
        prefix: str | None = None,
        assets: list[str],
        notes: list[str] | None = None,
        has_index: bool = False,
        bundles: dict[str, str] | None = None,
    ) -> None:
        self.step = step
        self.prefix = prefix
        self.assets = assets
        self.notes = notes or []
        self.ckpt_info_path: str | None = None
        if step is not None and prefix is not None:
            self.ckpt_info_path = os.path.join(os.path.dirname(prefix), ckpt_info_name(step))
        self._shards: dict[str, set[str]] = {}
        self.bundles = bundles or ({"": prefix} if prefix and has_index else {})
        self._paths = [*(path + INDEX_SUFFIX for path in self.bundles.values()), *assets]

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
            if not os.path.lexists(path):
                raise PathNotFoundError(_GONE, path=path)
        for directory, listed in self._shards.items():
            gone = listed.difference(list_names(directory))
            if gone:
                raise PathNotFoundError(_GONE, path=os.path.join(directory, min(gone)))

    def table_files(self) -> TableFiles:
        """List the dumps as they are now; what is no shard gets a line in `notes`.

        Raises
        ------
        MissingShardError, ShardMismatchError, NotReadableError
            As `list_assets`.
        PathNotFoundError
            The checkpoint is gone, or a file is in place of an assets directory.
        """
        files = TableFiles({}, {}, {})
        for directory in self.assets:
            try:
                listing = list_assets(directory)
            except (MissingShardError, PathNotFoundError):
                self.require()
                raise
            self._shards[directory] = _shard_names(listing)
            for base, shards in listing.singles.items():
                files.singles.setdefault(base, []).append(shards)
            for base, pair in listing.multis.items():
                files.multis.setdefault(base, []).append(pair)
            for base, shards in listing.hash_filters.items():
                files.hash_filters.setdefault(base, []).append(shards)
            if listing.ignored:
                self._note_ignored(directory, listing.ignored)
        return files

    def _note_ignored(self, directory: str, names: list[str]) -> None:
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        note = f"{directory}: left out what is no shard of a table: {shown}{more}"
        if note not in self.notes:
            self.notes.append(note)


class Offer(NamedTuple):
    """What a model directory offers at one moment.

    `by_step` is ascending. `latest` may be a checkpoint without a step. `refusal` says why there
    is no latest, and `withheld` why a step that has files is not offered.
    """

    by_step: dict[int, Checkpoint]
    latest: Checkpoint | None
    refusal: StepNotFoundError | None
    withheld: dict[int, str]


def _shard_names(listing: AssetsListing) -> set[str]:
    sets = [*listing.singles.values(), *listing.hash_filters.values()]
    for data, meta in listing.multis.values():
        sets += [data, meta]
    return {os.path.basename(path) for shards in sets for path in shards.paths}
