"""The dense variables of a checkpoint, as its tensor bundles list them; no variable is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import INDEX_SUFFIX
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
)
from monolith_cli.formats.bundle_files import cut_off, other_format
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tensor_slices import missing_text
from monolith_cli.storage.location import HERE, join, split
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.checkpoint.checkpoint import Checkpoint

__all__ = ["DenseListing", "DenseVariable", "FileSize", "list_dense"]

_HINT = "restore it, or take another step"


class DenseVariable(NamedTuple):
    """A variable in a tensor bundle.

    Attributes
    ----------
    sub_graph
        Of an export, such as `ps_0`; else empty.
    name, dtype, shape
        As in `TensorEntry`.
    slices
        In how many parts a partitioned variable is; 1 for any other.
    bytes
        Of its values, as they are stored.
    """

    sub_graph: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    slices: int
    bytes: int


class FileSize(NamedTuple):
    """A file, its size (None where it is missing), and what it is in a word or two."""

    path: str
    bytes: int | None
    what: str = "dense variables"


class DenseListing(NamedTuple):
    """The dense variables of a checkpoint.

    Attributes
    ----------
    variables
        In the order of the bundles and their indexes: names ascending as bytes.
    files
        Indexes and data files.
    problems
        What is damaged or missing; variables of an index that cannot be read are left out.
    is_whole
        Whether all indexes could be read.
    """

    variables: list[DenseVariable]
    files: list[FileSize]
    problems: list[MonolithError]
    is_whole: bool = True

    @property
    def size_bytes(self) -> int | None:
        """Of all variables; None where some are left out."""
        return sum(variable.bytes for variable in self.variables) if self.is_whole else None


def list_dense(checkpoint: Checkpoint) -> DenseListing:
    """The dense variables of a checkpoint.

    Indexes are read and verified. Of data files it is seen whether they are there, and long enough
    for what the index says is in them.
    """
    listing = DenseListing([], [], [])
    for sub_graph, prefix in checkpoint.bundles.items():
        listing.files.append(FileSize(prefix + INDEX_SUFFIX, _size(prefix + INDEX_SUFFIX)))
        try:
            bundle = TensorBundle(prefix)
        except PathNotFoundError:
            path = prefix + INDEX_SUFFIX
            what = "missing: what dense variables there are is not known without it"
            listing.problems.append(MissingShardError(what, path=path, hint=_HINT))
            listing.files.extend(_data_files(prefix))
            listing = listing._replace(is_whole=False)
            continue
        except MonolithError as error:
            listing.problems.append(error)
            listing = listing._replace(is_whole=False)
            continue
        for entry in bundle.entries.values():
            variable = DenseVariable(
                sub_graph,
                entry.name,
                entry.dtype,
                entry.shape,
                len(entry.slices) or 1,
                entry.size_bytes,
            )
            listing.variables.append(variable)
            missing = missing_text(entry) if entry.slices else None
            if missing:
                shape = f"[{', '.join(map(str, entry.shape))}]"
                what = f"{entry.name}: {missing} of {shape} are in none of its parts"
                path = bundle.index_path
                listing.problems.append(
                    CorruptionError(what, path=path, hint=_HINT, kind="missing_slice")
                )
        for shard, last in enumerate(_last_parts(bundle)):
            path = bundle.data_path(shard)
            try:
                status = store_of(path).status(path)
            except PathNotFoundError:
                listing.files.append(FileSize(path, None))
                if last is not None:  # one that holds nothing is not missed
                    what = "the data file is not there"
                    listing.problems.append(MissingShardError(what, path=path, hint=_HINT))
                continue
            except NotReadableError as error:
                listing.files.append(FileSize(path, None))
                listing.problems.append(error)
                continue
            if status.kind != "file":
                listing.files.append(FileSize(path, None))
                what = "not a regular file"
                listing.problems.append(NotReadableError(what, path=path, hint=_HINT))
                continue
            size = status.size
            listing.files.append(FileSize(path, size))
            if last is not None and size < last[0]:
                listing.problems.append(cut_off(path, size, last[1], last[0], _HINT))
            elif last is not None and size > last[0]:
                # Nothing is written behind the last variable.
                other = other_format(path)
                if other is not None:
                    listing.problems.append(other)
    return listing


def _last_parts(bundle: TensorBundle) -> list[tuple[int, str] | None]:
    """Where in each data file the last variable ends, and which that is; None: it holds none."""
    ends: list[tuple[int, str] | None] = [None] * bundle.shards
    for entry in bundle.entries.values():
        for part in [part for _, part in entry.slices] or [entry]:
            end = part.offset + part.size_bytes
            last = ends[part.shard]
            if last is None or last[0] < end:
                ends[part.shard] = end, entry.name
    return ends


def _data_files(prefix: str) -> list[FileSize]:
    """The data files of a bundle by their names, where no index says how many there are."""
    directory, base = split(prefix)
    try:
        names = store_of(prefix).names(directory or HERE)
    except MonolithError:
        return []
    paths = [join(directory, name) for name in names if name.startswith(f"{base}.data-")]
    return [FileSize(path, _size(path)) for path in paths]


def _size(path: str) -> int | None:
    try:
        return store_of(path).status(path).size
    except MonolithError:
        return None
