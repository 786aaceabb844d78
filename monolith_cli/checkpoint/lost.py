"""Files that a step's manifest names, and that are gone, or of another size.

Without a manifest a step is whole as far as names tell: a table of which no file is left leaves no
trace. Every look at whether a step is whole asks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.manifests import file_crc32c, read_step_manifest
from monolith_cli.checkpoint.names import INDEX_SUFFIX
from monolith_cli.checkpoint.shard_set import MISSING_HINT
from monolith_cli.errors import CorruptionError, MissingShardError, MonolithError, PathNotFoundError
from monolith_cli.formats.manifest import Manifest, ManifestFile
from monolith_cli.storage.location import join, split
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.protocols import Store

__all__ = ["LostFile", "lost_files"]


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


def lost_files(prefix: str, step: int) -> list[LostFile]:
    """What the manifest of the step with that prefix names, and is not there as it says.

    None without a manifest, and none where it does not parse or cannot be read. A manifest that
    does not fit the index beside it is of another save, and says nothing.

    Reads the manifest, and looks at every file that it names; reads the index if one is lost.
    """
    directory, _ = split(prefix)
    try:
        manifest = read_step_manifest(directory, step)
    except MonolithError:
        return []
    if manifest is None:
        return []
    store = store_of(prefix)
    found = [_lost(store, directory, step, file) for file in manifest.files]
    lost = [each for each in found if each is not None]
    return lost if lost and _fits(manifest, prefix + INDEX_SUFFIX) else []


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


def _fits(manifest: Manifest, index: str) -> bool:
    try:
        return file_crc32c(index) == (manifest.index_bytes, manifest.index_crc32c)
    except MonolithError:
        return False
