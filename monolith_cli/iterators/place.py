"""Where a reader of an input is: the results of `position`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.iterators.records import Count

if TYPE_CHECKING:
    from monolith_cli.iterators.state import Node

__all__ = ["Buffered", "Consumed", "FilePlace", "Link", "Place"]


class Link(NamedTuple):
    """A node on the way from the end of the pipeline to a source; and by which of its inputs."""

    node: Node
    number: int | None


class FilePlace(NamedTuple):
    """The file that a reader is at.

    Attributes
    ----------
    path
        As the job had it; None if it is not known.
    number, total
        Which of how many, from 1; None if that is not known.
    offset
        The byte where the next record begins; in a compressed file of the content.
    size_bytes
        Of the file when the state was saved; None if it is not known.
    records
        How many records lie before the offset.
    compression
        Empty if there is none; None if it is not known.
    """

    path: str | None
    number: int | None
    total: int | None
    offset: int | None
    size_bytes: int | None
    records: Count
    compression: str | None = None


class Buffered(NamedTuple):
    """Elements that have been read, but not been consumed.

    Attributes
    ----------
    node
        Where they are.
    elements
        How many; a batch is one.
    records
        How many records they are; None if that is not known.
    rows
        How many rows they have, which are batches that nothing has changed since; None for others,
        and if that is not known. They are records where records went into the batches.
    """

    node: Node
    elements: int
    records: int | None
    rows: int | None = None


class Consumed(NamedTuple):
    """What training has taken.

    Attributes
    ----------
    records
        Up to and with the last that training got, from the start; None if it is not known.
    skipped
        Those among them that training did not get: skip, shard or batch have left them out.
    epoch
        Of the last one, from 1; None if there is only one, or it is not known.
    records_in_epoch
        Those of that epoch; None likewise.
    why
        Why it is not known.
    hidden_by
        The node that hides it, if one does.
    counted_at
        A node whose elements could be counted instead.
    elements
        How many training has taken of those that this node has returned.
    """

    records: int | None = None
    skipped: int | None = None
    epoch: int | None = None
    records_in_epoch: int | None = None
    why: str | None = None
    hidden_by: Node | None = None
    counted_at: Node | None = None
    elements: int | None = None


class Place(NamedTuple):
    """Where one reader of an input is.

    Attributes
    ----------
    source
        Its node; of an input that has ended the lowest that is left.
    unit
        What it reads: `records`, `lines` or `elements`.
    file
        None if it is at none.
    read
        How much it has read in this epoch.
    epoch
        The one that it reads, from 1; None if there is only one.
    is_drained
        Whether the source has come to its end, be it that of an epoch only.
    ended
        Whether it has read all there is.
    buffered
        From the source on.
    consumed
        What training has taken.
    """

    source: Node
    unit: str
    file: FilePlace | None
    read: Count
    epoch: int | None
    is_drained: bool
    ended: bool
    buffered: tuple[Buffered, ...]
    consumed: Consumed
