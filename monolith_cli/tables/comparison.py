"""What a `ckpt.info` file says against what the dump holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError, DifferentError
from monolith_cli.formats.ckpt_info import CkptInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Comparison", "Difference", "compare"]

_SHOWN = 3


class Difference(NamedTuple):
    """One slot (a number) or one table (a name) on which file and dump disagree.

    `in_dump` is None for a table of which there is no dump.
    """

    key: int | str
    in_file: int
    in_dump: int | None

    @property
    def what(self) -> str:
        """Which slot or table it is."""
        return f"slot {self.key}" if isinstance(self.key, int) else f"table {self.key}"

    def __str__(self) -> str:
        return f"{self.what} has {self.in_file} in the file, {self.in_dump or 0} in the dump"

    @property
    def size(self) -> int:
        """How many entries more the file has; below 0 for fewer."""
        return self.in_file - (self.in_dump or 0)


class Comparison(NamedTuple):
    """A ckpt.info file against the counts of its checkpoint.

    `verdict` is one of

    - `same`: they agree.
    - `more`: the file has more, nowhere less. Counts of the live table may exceed those of the
      dump, which leaves out entries that have expired. By name they may not, being the sums of
      contents files: see `doubtful`.
    - `empty`: the file has no counts at all, which means that nobody counted: the default of the
      training system for single tables. It says nothing of the dump, and differs in nothing.
    - `rank_0`: the file has exactly the counts of rank 0, which in full sync training writes it,
      of its own tables.
    - `gone`: the file counts entries of tables of which there is no dump; the dump is not whole.
    - `different`: anything else; the file is wrong.

    `lost` are the tables that the file names and the dump has not. `extra` is how many records the
    dump has that belong to no table: its counts are none to go by, and the file is not right.
    """

    path: str
    verdict: str
    differences: list[Difference]
    lost: Sequence[str] = ()
    extra: int = 0

    @property
    def doubtful(self) -> list[Difference]:
        """What expiry explains badly, or not at all, where the file has more.

        Slots of which the dump has no entry at all, and names of which it has fewer.
        """
        return [
            difference
            for difference in self.differences
            if isinstance(difference.key, str) or not difference.in_dump
        ]

    @property
    def summary(self) -> str:
        """The largest difference, and how many others there are."""
        sizes = [abs(difference.size) for difference in self.differences]
        others = len(self.differences) - 1
        largest = self.differences[sizes.index(max(sizes))]
        return f"{largest}" + (f", and {others} more differ" if others else "")

    @property
    def explanation(self) -> str | None:
        """Why a difference is not held against the file; None where there is nothing to explain."""
        if self.extra:
            return None
        if self.verdict == "empty":
            return "the file is empty, which means that nobody counted"
        if self.verdict == "rank_0":
            return "the file has the tables of rank 0 alone, as full sync training writes it"
        if self.verdict == "more":
            more = sum(difference.size for difference in self.differences)
            why = [f"the file counts {more} more than the dump has"]
            if any(isinstance(difference.key, int) for difference in self.differences):
                why.append("that is right if they expired before the tables were saved")
            return "; ".join([*why, *_doubts(self.doubtful)])
        return None

    def error(self, *, strict: bool = False) -> DifferentError | CorruptionError | None:
        """The error of a check, where the file is wrong or the dump is not whole.

        Parameters
        ----------
        strict
            Expiry does not explain what is `doubtful`.
        """
        if self.verdict == "gone":
            return _gone_error(self)
        if self.extra:
            them = "record is" if self.extra == 1 else "records are"
            return DifferentError(
                f"cannot be right: {self.extra} {them} in the dump that no contents file promises",
                path=self.path,
                hint="restore the contents files",
            )
        if self.verdict == "more" and strict and self.doubtful:
            what = "; ".join(_doubts(self.doubtful))
            return DifferentError(what, path=self.path, hint="look for files of tables first")
        if self.verdict != "different":
            return None
        return DifferentError(
            f"does not match the dump: {self.summary}",
            path=self.path,
            hint="count again",
        )


def compare(
    path: str,
    file: CkptInfo,
    dump: CkptInfo,
    rank_0: CkptInfo | None = None,
    extra: int = 0,
) -> Comparison:
    """Compare what the file at `path` says with the counts of the dump.

    A slot or table that one of them does not mention counts as 0 there; but beside names of tables
    slots may be left out, as the training system does.

    Parameters
    ----------
    dump
        Slots of single tables, and names of multi tables.
    rank_0
        The same of rank 0's tables alone, where that is known.
    extra
        Records of the dump that belong to no table.
    """
    nothing = not any(_counted(dump)) and any(_counted(file))
    if file.feature_counts and not file.slot_counts:
        dump = dump._replace(slot_counts={})
    pairs: list[tuple[int | str, int, int | None]] = [
        (slot, file.slot_counts.get(slot, 0), dump.slot_counts.get(slot, 0))
        for slot in sorted(file.slot_counts.keys() | dump.slot_counts.keys())
    ]
    pairs += [
        (name, file.feature_counts.get(name, 0), dump.feature_counts.get(name))
        for name in sorted(file.feature_counts.keys() | dump.feature_counts.keys())
    ]
    differences = [Difference(*pair) for pair in pairs if pair[1] != pair[2]]
    if not file.slot_counts and not file.feature_counts:
        differences = []
    lost = sorted(file.feature_counts.keys() - dump.feature_counts.keys())
    if lost or nothing or _every_slot_is_gone(file, dump):
        verdict = "gone"
    elif extra:
        verdict = "different"
    elif not file.slot_counts and not file.feature_counts:
        verdict = "empty"
    elif not differences:
        verdict = "same"
    elif rank_0 is not None and _counted(file) == _counted(rank_0):
        verdict = "rank_0"
    elif all(difference.size > 0 for difference in differences):
        verdict = "more"
    else:
        verdict = "different"
    return Comparison(path, verdict, differences, lost, extra)


def _every_slot_is_gone(file: CkptInfo, dump: CkptInfo) -> bool:
    """Whether the file counts entries by slot, and the dump has none in any of these slots."""
    return bool(file.slot_counts) and not any(map(dump.slot_counts.get, file.slot_counts))


def _counted(info: CkptInfo) -> CkptInfo:
    """The same without zeros."""
    return CkptInfo(
        {slot: n for slot, n in info.slot_counts.items() if n},
        {name: n for name, n in info.feature_counts.items() if n},
    )


def _gone_error(comparison: Comparison) -> CorruptionError:
    """The error of a dump that lacks tables which the file counts."""
    if comparison.lost:
        others = len(comparison.lost) - 1
        what = f"counts table '{comparison.lost[0]}', of which there is no dump" + (
            f", like {others} more" if others else ""
        )
    else:
        absent = [difference for difference in comparison.differences if not difference.in_dump]
        entries = sum(difference.in_file for difference in absent)
        what = f"counts {entries} entries that the dump has not: all its tables are gone, or empty"
        if len(absent) < len(comparison.differences):
            what = f"counts {entries} entries, none of whose slots the dump has: tables are gone"
    return CorruptionError(
        what,
        path=comparison.path,
        hint=f"restore {'it' if len(comparison.lost) == 1 else 'them'}, or take another step",
        kind="table_gone",
    )


def _doubts(doubtful: Sequence[Difference]) -> Iterator[str]:
    """A phrase for each table, then each slot, if there are not too many."""
    tables = [difference for difference in doubtful if isinstance(difference.key, str)]
    for table in tables[:_SHOWN]:
        yield (
            f"{table.what}: {table.in_dump} of {table.in_file} are in its contents files: a"
            " dump may be gone"
        )
    if len(tables) > _SHOWN:
        yield f"so are parts of {len(tables) - _SHOWN} more"
    slots = [difference for difference in doubtful if isinstance(difference.key, int)]
    for slot in slots[:_SHOWN]:
        yield f"{slot.what}: all {slot.in_file} gone or expired"
    if len(slots) > _SHOWN:
        yield f"so are all of {len(slots) - _SHOWN} more"
