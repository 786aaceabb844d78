"""Files that a step's manifest names, and that are gone, or of another size.

Without a manifest a step is whole as far as names tell: a table of which no file is left leaves no
trace. Every look at whether a step is whole asks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.manifests import file_crc32c, read_step_manifest
from monolith_cli.checkpoint.names import INDEX_SUFFIX, ckpt_manifest_name
from monolith_cli.checkpoint.shard_set import MISSING_HINT
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.formats.leveldb_table import TABLE_END
from monolith_cli.formats.manifest import Manifest, ManifestFile
from monolith_cli.storage.location import join, split
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.protocols import Store

__all__ = ["HeldAgainst", "LostFile", "hold_against_manifest"]

_HINT = "restore it, or remove it if the step is known to be whole"


class LostFile(NamedTuple):
    """A file that is not as the manifest has it.

    Attributes
    ----------
    name
        As in the manifest: relative to the model directory, with `/`.
    error
        A MissingShardError, or of a file of another size a CorruptionError, kind
        `manifest_differs`.
    """

    name: str
    error: CorruptionError


class HeldAgainst(NamedTuple):
    """What a look at the manifest of a step, and at the files that it names, found.

    Attributes
    ----------
    lost
        What it names, and is not there as it says.
    problem
        Why the manifest itself says nothing: it does not parse, or cannot be read.
    note
        Where it is not of this save, and so was ignored.
    """

    lost: list[LostFile]
    problem: StateFileError | None = None
    note: str | None = None


def hold_against_manifest(prefix: str, step: int) -> HeldAgainst:
    """Hold the files of the step with that prefix against its manifest.

    A manifest that does not fit the index beside it is of another save, and is ignored. An index
    that is gone, or was cut, is lost as others are.

    Without a manifest nothing is lost. Reads it, looks at every file that it names, and reads the
    index if one is lost.
    """
    directory, _ = split(prefix)
    path = join(directory, ckpt_manifest_name(step))
    try:
        manifest = read_step_manifest(directory, step)
    except MonolithError as error:
        what = f"{error.what}: whether step {step} is whole is not known"
        return HeldAgainst([], StateFileError(what, path=path, hint=_HINT))
    if manifest is None:
        return HeldAgainst([])
    store = store_of(prefix)
    found = [_lost(store, directory, step, file) for file in manifest.files]
    lost = [each for each in found if each is not None]
    if lost and _is_stale(manifest, prefix + INDEX_SUFFIX):
        note = f"{path}: of another save than the index beside it, and ignored"
        return HeldAgainst([], note=note)
    return HeldAgainst(lost)


def _lost(store: Store, directory: str, step: int, file: ManifestFile) -> LostFile | None:
    path = join(directory, file.name)
    try:
        status = store.status(path)
    except PathNotFoundError:
        status = None
    except MonolithError:
        return None  # whoever reads it will say so
    if status is None or status.kind != "file":
        what = f"missing: the manifest of step {step} names it"
        return LostFile(file.name, MissingShardError(what, path=path, hint=MISSING_HINT))
    if status.size == file.size_bytes:
        return None
    what = f"has {status.size} bytes, but {file.size_bytes} in the manifest of step {step}"
    error = CorruptionError(what, path=path, hint=MISSING_HINT, kind="manifest_differs")
    return LostFile(file.name, error)


def _is_stale(manifest: Manifest, index: str) -> bool:
    """Whether another save wrote an index that is whole; none, or a part of one, tells nothing."""
    try:
        found = file_crc32c(index)
        if found == (manifest.index_bytes, manifest.index_crc32c):
            return False
        size = found[0]
        with store_of(index).open(index) as file:
            end = file.read(max(size - len(TABLE_END), 0), len(TABLE_END))
    except MonolithError:
        return False
    return size >= manifest.index_bytes or end == TABLE_END
