"""What a `ckpt.info` file says against what the dump holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError, DifferentError
from monolith_cli.formats.ckpt_info import CkptInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Comparison", "Difference", "compare"]

_ABSENT_SHOWN = 3


class Difference(NamedTuple):
    """One slot (a number) or one table (a name) on which file and dump disagree."""

    key: int | str
    in_file: int
    in_dump: int

    @property
    def what(self) -> str:
        """Which slot or table it is."""
        return f"slot {self.key}" if isinstance(self.key, int) else f"table {self.key}"

    def __str__(self) -> str:
        return f"{self.what} has {self.in_file} in the file, {self.in_dump} in the dump"


class Comparison(NamedTuple):
    """A ckpt.info file against the counts of its checkpoint.

    `verdict` is one of

    - `same`: they agree.
    - `more`: the file has more, nowhere less. Counts of the live table may exceed those of the
      dump, which leaves out entries that have expired.
    - `empty`: the file has no counts at all, which means that nobody counted: the default of the
      training system for single tables. It says nothing of the dump.
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
    def absent(self) -> list[Difference]:
        """Slots and tables of which the file counts entries, and the dump has none at all."""
        return [difference for difference in self.differences if not difference.in_dump]

    @property
    def summary(self) -> str:
        """The largest difference, and how many others there are."""
        sizes = [abs(difference.in_file - difference.in_dump) for difference in self.differences]
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
            extra = sum(difference.in_file - difference.in_dump for difference in self.differences)
            why = (
                f"the file counts {extra} more than the dump has; that is right if they expired"
                " before the tables were saved"
            )
            return "; ".join([why, *_gone_or_expired(self.absent)])
        return None

    def error(self, *, strict: bool = False) -> DifferentError | CorruptionError | None:
        """The error of a check, where the file is wrong or the dump is not whole.

        Parameters
        ----------
        strict
            Expiry does not explain a slot or table of which the dump has no entry at all.
        """
        if self.verdict == "gone":
            return _gone_error(self)
        if self.extra:
            them = "record is" if self.extra == 1 else "records are"
            return DifferentError(
                f"cannot be right: {self.extra} {them} in the dump that no table of contents"
                " promises",
                path=self.path,
                hint="restore the tables of contents",
            )
        if self.verdict == "more" and strict and self.absent:
            what = "; ".join(_gone_or_expired(self.absent))
            return DifferentError(what, path=self.path, hint="see whether that was meant")
        if self.verdict != "different":
            return None
        return DifferentError(
            f"does not match the dump: {self.summary}",
            path=self.path,
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
    pairs: list[tuple[int | str, int, int]] = [
        (slot, file.slot_counts.get(slot, 0), dump.slot_counts.get(slot, 0))
        for slot in sorted(file.slot_counts.keys() | dump.slot_counts.keys())
    ]
    pairs += [
        (name, file.feature_counts.get(name, 0), dump.feature_counts.get(name, 0))
        for name in sorted(file.feature_counts.keys() | dump.feature_counts.keys())
    ]
    differences = [Difference(*pair) for pair in pairs if pair[1] != pair[2]]
    lost = sorted(file.feature_counts.keys() - dump.feature_counts.keys())
    if lost or nothing or _every_slot_is_gone(file, dump):
        verdict = "gone"
    elif extra:
        verdict = "different"
    elif not differences:
        verdict = "same"
    elif not file.slot_counts and not file.feature_counts:
        verdict = "empty"
    elif rank_0 is not None and _counted(file) == _counted(rank_0):
        verdict = "rank_0"
    elif all(difference.in_file > difference.in_dump for difference in differences):
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
        entries = sum(difference.in_file for difference in comparison.absent)
        what = f"counts {entries} entries that the dump has not: all its tables are gone, or empty"
        if len(comparison.absent) < len(comparison.differences):
            what = f"counts {entries} entries, none of whose slots the dump has: tables are gone"
    return CorruptionError(
        what,
        path=comparison.path,
        hint="restore them, or take another step",
        kind="table_gone",
    )


def _gone_or_expired(absent: Sequence[Difference]) -> Iterator[str]:
    """A phrase for each slot or table without entries, if there are not too many."""
    for difference in absent[:_ABSENT_SHOWN]:
        yield f"{difference.what}: all {difference.in_file} gone or expired"
    rest = len(absent) - _ABSENT_SHOWN
    if rest > 0:
        yield f"so are all of {rest} more"
