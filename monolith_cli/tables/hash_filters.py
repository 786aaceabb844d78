"""Occurrence filters: recognised and summed up, never counted as entries."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError
from monolith_cli.execution.workers import ALONE, Workers
from monolith_cli.formats.tfrecord import read_first_record
from monolith_cli.formats.wire import HashFilterMeta, parse_hash_filter_meta
from monolith_cli.tables.stream import SMALL_BYTES

if TYPE_CHECKING:
    from monolith_cli.checkpoint.shard_set import ShardSet
    from monolith_cli.tables.stream import ReadOptions

__all__ = ["FilterTask", "HashFilterSummary", "empty_filter_head", "summarize_hash_filter"]


class HashFilterSummary(NamedTuple):
    """What the first records of a filter's files say, a split a file.

    Attributes
    ----------
    name
        The files' base name.
    splits
        How many files, each a part of the filter.
    bytes
        On disk.
    elements
        Feature ids in the filter.
    cells
        Room for so many, `total_size` over all splits.
    fill_rate
        `elements / cells`; None for a filter without cells.
    failures
        Insertions that found no room.
    """

    name: str
    splits: int
    bytes: int
    elements: int
    cells: int
    fill_rate: float | None
    failures: int


class FilterTask(NamedTuple):
    """A look at one file of a filter."""

    path: str
    max_record_bytes: int

    def run(self) -> HashFilterMeta | None:
        """What its first record says; None where there is none.

        Raises
        ------
        CorruptionError
            It is damaged, or no HashFilterSplitMetaDump.
        """
        record = read_first_record(self.path, max_record_bytes=self.max_record_bytes)
        if record is None:
            return None
        try:
            return parse_hash_filter_meta(record)
        except ValueError as error:
            raise CorruptionError(
                f"no hash filter: {error}", path=self.path, record=0, kind="bad_message"
            ) from None


def summarize_hash_filter(
    name: str, shards: ShardSet, options: ReadOptions, workers: Workers = ALONE
) -> HashFilterSummary:
    """Read the first record of each split; the cells themselves are not read.

    Raises
    ------
    CorruptionError
        One of them is damaged, or holds no HashFilterSplitMetaDump.
    """
    stored_bytes = shards.stored_bytes
    if stored_bytes < SMALL_BYTES:
        workers = ALONE
    elements = cells = failures = 0
    tasks = (FilterTask(path, options.max_record_bytes) for path in shards.paths)
    with closing(workers.in_order(tasks)) as done:
        for _, meta in done:
            if meta is not None:
                elements += meta.num_elements
                cells += meta.total_size
                failures += meta.failure_count
    return HashFilterSummary(
        name,
        len(shards.paths),
        stored_bytes,
        elements,
        cells,
        elements / cells if cells else None,
        failures,
    )


def empty_filter_head(record: bytes) -> bytes:
    """The first record of a split of a filter of the same size that has nothing in it.

    Raises
    ------
    ValueError
        It is not the first record of one.
    """
    from monolith_cli import messages

    parse_hash_filter_meta(record)
    head = messages.HashFilterSplitMetaDump.FromString(record)
    head.failure_count = head.num_elements = 0
    sliding = head.sliding_hash_filter_meta
    sliding.failure_count = sliding.head = sliding.head_increment = 0
    emptied: bytes = head.SerializeToString()
    return emptied
