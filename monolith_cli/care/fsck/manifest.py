"""A step held against its manifest: what is gone, and what is of another size or content."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.findings import finding
from monolith_cli.checkpoint.manifests import file_crc32c
from monolith_cli.checkpoint.names import (
    INDEX_SUFFIX,
    META_SUFFIX,
    ckpt_manifest_name,
    input_base,
    parse_shard_name,
    parse_step_file,
)
from monolith_cli.errors import NotReadableError, PathNotFoundError
from monolith_cli.storage.location import name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook

__all__ = ["check_checksums", "check_manifest", "gone_tables", "promised_workers"]

_RESTORE = "restore it, or take another step"


def check_manifest(look: StepLook) -> Iterator[Finding]:
    """Files that it names and that are gone, or have another size; or why it says nothing."""
    if look.step is None:
        return
    if look.is_stale:
        yield finding(
            "manifest_stale",
            "of another save than the index beside it, and ignored",
            step=look.step,
            file=look.path(ckpt_manifest_name(look.step)),
        )
        return
    gone = gone_tables(look)
    for base, name in gone.items():
        yield finding(
            "table_gone",
            "the manifest names this table, and none of its files is there",
            step=look.step,
            table=base,
            file=look.path(name),
            suggest=_RESTORE,
        )
    index = f"{name_of(look.checkpoint.prefix or '')}{INDEX_SUFFIX}"
    for name, file in look.promised.items():
        if gone:
            shard = parse_shard_name(name_of(name))
            if shard is not None and _base(shard.base) in gone:
                continue
        size = _size(look, name)
        if size is not None and size == file.size_bytes:
            continue
        if name == index and size is None:
            continue  # said already
        if size is None and _is_input_gone(look, name):
            continue  # which is for those who look at inputs
        if size is not None and name in look.sizes:
            look.wrong_contents.add(look.path(name))
        yield _differs(look, name, size, file.size_bytes)


def _differs(look: StepLook, name: str, size: int | None, promised: int) -> Finding:
    worker = _worker(name)
    shard = parse_shard_name(name_of(name)) if "/" in name else None
    if size is not None:
        id, what = "manifest_differs", f"has {size} bytes, but {promised} in the manifest"
    else:
        what = "missing: the manifest names it"
        id = "missing_shard" if shard else "missing_bundle_file"
        if worker is not None:
            id = "bad_input_state"
    return finding(
        id,
        what,
        step=look.step,
        table=_base(shard.base) if shard else None,
        worker=worker,
        file=look.path(name),
        suggest=_RESTORE,
    )


def _is_input_gone(look: StepLook, name: str) -> bool:
    """Whether it is of a worker's iterator state of which the index is not there either."""
    worker = _worker(name)
    if worker is None or look.step is None or look.directory != look.survey.directory:
        return False
    return f"{input_base(worker)}-{look.step}{INDEX_SUFFIX}" not in look.survey.items


def _worker(name: str) -> int | None:
    """The worker whose iterator state a file of the manifest is of."""
    file = parse_step_file(name)
    return file.worker if file and file.kind == "input" else None


def promised_workers(look: StepLook) -> set[int]:
    """The workers of whose iterator states of this step the manifest names files."""
    workers = map(_worker, look.promised)
    return {worker for worker in workers if worker is not None}


def gone_tables(look: StepLook) -> dict[str, str]:
    """The dumps of which no file is there that the manifest names; with the name of one file."""
    sizes = look.sizes
    if all(name in sizes or "/" not in name for name in look.promised):
        return {}
    first: dict[str, str] = {}
    there: set[str] = set()
    for name in look.promised:
        shard = parse_shard_name(name_of(name)) if "/" in name else None
        if shard is None:
            continue
        base = _base(shard.base)
        first.setdefault(base, name)
        if name in sizes:
            there.add(base)
    shards = (parse_shard_name(name_of(name)) for name in look.sizes)
    there.update(_base(shard.base) for shard in shards if shard is not None)
    return {base: name for base, name in first.items() if base not in there}


def _base(base: str) -> str:
    return base.removesuffix(META_SUFFIX)


def _size(look: StepLook, name: str) -> int | None:
    if name in look.sizes:
        return look.sizes[name]
    if name in look.found.dense_files:
        return look.found.dense_files[name]
    is_here = look.directory == look.survey.directory
    item = look.survey.items.get(name)
    if is_here and item is None:
        return None
    path = look.path(name)
    try:
        status = item.status() if is_here and item else store_of(path).status(path)
    except (PathNotFoundError, NotReadableError):
        return None
    return status.size if status.kind == "file" else None


class ChecksumTask(NamedTuple):
    """A pass over a file, for its checksum."""

    path: str

    def run(self) -> tuple[int, str]:
        """Its size, and its CRC32C. Raises as `file_crc32c`."""
        return file_crc32c(self.path)


def check_checksums(look: StepLook, reading: Reading) -> Iterator[Finding]:
    """Read the files of which the manifest has a checksum, if they have the size that it says."""
    names = [
        name
        for name, file in look.promised.items()
        if file.crc32c is not None and _size(look, name) == file.size_bytes
    ]
    tasks = [ChecksumTask(look.path(name)) for name in names]
    sizes = [look.promised[name].size_bytes for name in names]
    for name, (_, found) in zip(names, reading.each(tasks, sizes), strict=True):
        file = look.promised[name]
        if found == (file.size_bytes, file.crc32c):
            continue
        shard = parse_shard_name(name_of(name)) if "/" in name else None
        yield finding(
            "manifest_differs",
            f"its checksum is {found[1]}, but {file.crc32c} in the manifest",
            step=look.step,
            table=_base(shard.base) if shard else None,
            worker=_worker(name),
            file=look.path(name),
            suggest=_RESTORE,
        )
