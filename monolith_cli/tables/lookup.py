"""Single entries by their feature ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import EntryNotFoundError
from monolith_cli.tables.dump import COLUMNS, Dump
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.stream import EntryStream, ReadOptions

__all__ = ["Found", "absent_error", "find_entries"]

# An entry's fid comes first in its object, as a string or as a number.
_FID = re.compile(rb'\{"fid":\s*"?(-?[0-9]+)"?,?\s*')


class Found(NamedTuple):
    """What a look-up found.

    `lines` are JSON objects, one an entry, in the order of the tables; `absent` the feature ids
    that no table has; `non_finite` how many floats are not finite; `skipped` damage, in which more
    entries may have been.
    """

    lines: list[bytes]
    absent: list[int]
    non_finite: int
    skipped: list[Skipped]


def find_entries(
    stream: EntryStream,
    options: ReadOptions,
    fids: Sequence[int],
    *,
    columns: Sequence[str] = COLUMNS,
    fid_version: str = "v2",
    number_ids: bool = False,
    name_non_finite: bool = False,
    jobs: int | None = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Look for entries in a whole stream, as there is no index: costs one read of it.

    Parameters
    ----------
    stream
        The tables to look in, from `entry_stream`.
    fids
        Signed, as stored. One may be in several tables.
    columns, number_ids, name_non_finite
        What the objects hold, as in `Dump`.
    jobs, executor
        Who reads, as in `Dump`.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Raises
    ------
    CorruptionError
        Damage, unless it is to be skipped.
    """
    dump = Dump(
        stream,
        options,
        columns=("fid", *columns),
        number_ids=number_ids,
        name_non_finite=name_non_finite,
        chosen=EntryFilter((), fids, fid_version),
        jobs=jobs,
        executor=executor,
        progress=progress,
    )
    lines = []
    absent = dict.fromkeys(fids)
    for line in b"".join(dump).splitlines():
        match = _FID.match(line)
        assert match is not None, line
        absent.pop(int(match[1]), None)
        lines.append(line if "fid" in columns else b"{" + line[match.end() :])
    return Found(lines, list(absent), dump.non_finite, dump.skipped)


def absent_error(
    absent: Sequence[int],
    tables: int,
    path: str,
    *,
    most: int | None = None,
    partial: bool = False,
) -> EntryNotFoundError | None:
    """The error for feature ids that are in none of so many tables; None where none is absent.

    It names all of them, or `most` and the number of the others. `partial` means that tables were
    left out, in which they may be.
    """
    if not absent:
        return None
    shown = absent[:most]
    ids = ", ".join(map(str, shown))
    if len(shown) < len(absent):
        ids += f" (and {len(absent) - len(shown)} more)"
    subject = f"feature id {ids} is" if len(shown) == 1 else f"feature ids {ids} are"
    where = "the table" if tables == 1 else f"any of the {tables} tables"
    if partial:
        where = "any table that is whole"
    return EntryNotFoundError(f"{subject} not in {where}", path=path)
