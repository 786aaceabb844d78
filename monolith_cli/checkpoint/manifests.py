"""The manifest of a step, made from names, sizes and counts; only the index is read for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    HASH_FILTER_PREFIX,
    INDEX_SUFFIX,
    META_SUFFIX,
    StepFile,
    ckpt_manifest_name,
    natural_key,
    parse_shard_name,
    parse_step_file,
)
from monolith_cli.errors import PathNotFoundError, StateFileError
from monolith_cli.formats.manifest import (
    Manifest,
    ManifestFile,
    ManifestTable,
    read_manifest,
    write_manifest,
)
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["file_crc32c", "make_manifest", "read_step_manifest", "write_step_manifest"]

_CHUNK_BYTES = 1 << 20


def make_manifest(
    model_dir: str,
    base: str,
    step: int,
    run_id: str = "",
    *,
    workers: Collection[int] = (),
    entries: Mapping[str, int] | None = None,
) -> Manifest:
    """What lies there of a step. Lists two directories, asks for sizes, and reads the index.

    Parameters
    ----------
    base
        What the names of checkpoints begin with, such as `model.ckpt`.
    workers
        Those whose iterator states belong to the step.
    entries
        By the name of a table's dump how many entries it holds, as far as that is known.

    Raises
    ------
    PathNotFoundError, NotReadableError
        The directory, or the index, is not there or cannot be read.
    """
    index = f"{base}-{step}{INDEX_SUFFIX}"
    files = _files(model_dir, _names(model_dir, base, step, workers))
    assets = f"{base}-{step}{ASSETS_SUFFIX}"
    shards: list[str] = []
    store, directory = store_of(model_dir), join(model_dir, assets)
    if store.is_directory(directory):
        shards = [name for name in store.names(directory) if parse_shard_name(name)]
        files += _files(model_dir, (f"{assets}/{name}" for name in shards))
    index_bytes, crc32c = file_crc32c(join(model_dir, index))
    tables = _tables(shards, entries or {})
    return Manifest(step, run_id, index_bytes, crc32c, tuple(files), tuple(tables))


def write_step_manifest(model_dir: str, manifest: Manifest) -> None:
    """Write `ckpt.manifest-<step>`.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    write_manifest(join(model_dir, ckpt_manifest_name(manifest.step)), manifest)


def read_step_manifest(model_dir: str, step: int) -> Manifest | None:
    """What `ckpt.manifest-<step>` says; None without one. Whether it is stale is not looked at.

    Raises
    ------
    StateFileError
        It is malformed, or of another step.
    NotReadableError
        The operating system refused.
    """
    path = join(model_dir, ckpt_manifest_name(step))
    try:
        manifest = read_manifest(path)
    except PathNotFoundError:
        if store_of(path).is_directory(path):
            raise
        return None
    if manifest.step != step:
        raise StateFileError(f"is of step {manifest.step}", path=path)
    return manifest


def file_crc32c(path: str) -> tuple[int, str]:
    """How many bytes a file has, and their CRC32C as 8 hex digits; reads it.

    Raises
    ------
    PathNotFoundError, NotReadableError
        It is not there, or the operating system refused.
    """
    from monolith_cli._native import crc32c

    size = value = 0
    with store_of(path).open(path) as file:
        while chunk := file.read(size, _CHUNK_BYTES):
            value = crc32c(chunk, value)
            size += len(chunk)
    return size, f"{value:08x}"


def _names(model_dir: str, base: str, step: int, workers: Collection[int]) -> list[str]:
    """The bundles of the dense variables and of iterators, without meta graphs."""
    found = []
    for name in store_of(model_dir).names(model_dir):
        file = parse_step_file(name)
        if file and file.step == step and _belongs(file, base, workers):
            suffix = name[len(f"{file.base}-{step}") :]
            if suffix.startswith((INDEX_SUFFIX, ".data-")):
                found.append(name)
    return found


def _belongs(file: StepFile, base: str, workers: Collection[int]) -> bool:
    if file.is_temporary:
        return False
    if file.kind == "input":
        return file.worker in workers
    return file.kind == "bundle" and file.base == base


def _files(model_dir: str, names: Iterable[str]) -> list[ManifestFile]:
    store, files = store_of(model_dir), []
    for name in names:
        path = join(model_dir, name)
        try:
            status = store.status(path)
        except PathNotFoundError:
            continue  # none that stays
        if status.kind == "file":
            files.append(ManifestFile(name, status.size))
    return files


def _tables(shards: Iterable[str], entries: Mapping[str, int]) -> list[ManifestTable]:
    """The tables that shards are of; a dump of many counts as one, as nothing here is read."""
    bases = {shard.base for shard in map(parse_shard_name, shards) if shard}
    tables = []
    for base in sorted(bases, key=natural_key):
        if base.endswith(META_SUFFIX) and base.removesuffix(META_SUFFIX) in bases:
            continue
        kind = "single"
        if base.startswith(HASH_FILTER_PREFIX):
            kind = "hash_filter"
        elif base + META_SUFFIX in bases:
            kind = "multi"
        tables.append(ManifestTable(base, kind, entries.get(base)))
    return tables
