"""`ckpt.info-<step>`: whether the file that is there is right, and whether to write a new one.

Both decisions are made from counts alone; who counted, and what is shown of it, is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import (
    AlreadyExistsError,
    DifferentError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
    WriteError,
)
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info, write_ckpt_info
from monolith_cli.tables.skipped import skipped_error

if TYPE_CHECKING:
    from monolith_cli.tables.counts import CheckpointCounts

__all__ = [
    "Comparison",
    "Difference",
    "Outcome",
    "check_ckpt_info",
    "compare",
    "reason_not_to_write",
    "save_ckpt_info",
    "settle_ckpt_info",
]


class Difference(NamedTuple):
    """One slot (a number) or one table (a name) on which file and dump disagree."""

    key: int | str
    in_file: int
    in_dump: int

    def __str__(self) -> str:
        what = f"slot {self.key}" if isinstance(self.key, int) else f"table {self.key}"
        return f"{what} has {self.in_file} in the file, {self.in_dump} in the dump"


class Comparison(NamedTuple):
    """A ckpt.info file against the counts of its checkpoint.

    `verdict` is one of

    - `same`: they agree.
    - `more`: the file has more, nowhere less. Counts of the live table may exceed those of the
      dump, which leaves out entries that have expired.
    - `empty`: the file has no counts at all, as the training system writes it in some set-ups.
    - `different`: anything else; the file is wrong.
    """

    path: str
    verdict: str
    differences: list[Difference]

    @property
    def explanation(self) -> str | None:
        """Why a difference is not held against the file; None where there is nothing to explain."""
        if self.verdict == "empty":
            return "the file is empty, as the training system writes it in some set-ups"
        if self.verdict == "more":
            extra = sum(difference.in_file - difference.in_dump for difference in self.differences)
            return (
                f"the file counts {extra} more than the dump has; that is right if they expired"
                " before the tables were saved"
            )
        return None

    def error(self) -> DifferentError | None:
        """The error of a check, where the file is wrong."""
        if self.verdict != "different":
            return None
        return DifferentError(
            f"does not match the dump: {_summary(self.differences)}",
            path=self.path,
        )


def compare(path: str, file: CkptInfo, dump: CkptInfo) -> Comparison:
    """Compare what the file at `path` says with the counts of the dump.

    A slot or table that one of them does not mention counts as 0 there.
    """
    pairs: list[tuple[int | str, int, int]] = [
        (slot, file.slot_counts.get(slot, 0), dump.slot_counts.get(slot, 0))
        for slot in sorted(file.slot_counts.keys() | dump.slot_counts.keys())
    ]
    pairs += [
        (name, file.feature_counts.get(name, 0), dump.feature_counts.get(name, 0))
        for name in sorted(file.feature_counts.keys() | dump.feature_counts.keys())
    ]
    differences = [Difference(*pair) for pair in pairs if pair[1] != pair[2]]
    if not differences:
        verdict = "same"
    elif not file.slot_counts and not file.feature_counts:
        verdict = "empty"
    elif all(difference.in_file > difference.in_dump for difference in differences):
        verdict = "more"
    else:
        verdict = "different"
    return Comparison(path, verdict, differences)


def check_ckpt_info(path: str | None, dump: CkptInfo) -> Comparison:
    """Compare the file at `path` with the counts of its checkpoint; writes nothing.

    Raises
    ------
    PathNotFoundError
        There is no such file, or (`path` is None) no step that one could belong to.
    StateFileError
        The file does not parse.
    """
    if path is None:
        raise PathNotFoundError("there is no ckpt.info to check, as there is no step")
    return compare(path, read_ckpt_info(path), dump)


class Outcome(NamedTuple):
    """What became of a ckpt.info file.

    `written` is its path if it was written, `comparison` what a check found. `note` says why a
    file was not written, or why a difference is none, where that is fine; `warning` where it is
    not quite; `failure` is the error to end with, once the counts are shown. `kept` means that a
    file with other counts is there and was left, `elsewhere` that none was written as it belongs
    into another directory; both are not so with `force`.
    """

    written: str | None = None
    note: str | None = None
    warning: str | None = None
    failure: MonolithError | None = None
    comparison: Comparison | None = None
    kept: bool = False
    elsewhere: bool = False


def settle_ckpt_info(
    path: str | None,
    counts: CheckpointCounts,
    *,
    check: bool = False,
    dry_run: bool = False,
    force: bool = False,
    elsewhere: bool = False,
    filtered: bool = False,
    fid_version: str = "v2",
) -> Outcome:
    """Check the file against the counts, or write it, or neither.

    Counts that leave out damaged data are neither checked nor written; the damage is the failure.

    Parameters
    ----------
    path
        Where the file belongs; None where there is no step.
    check
        Compare, and write nothing.
    dry_run
        Write nothing.
    force
        Replace a file that is there, whatever it says; write one elsewhere.
    elsewhere
        The file belongs into another directory than the one that was counted.
    filtered, fid_version
        How it was counted, as in `reason_not_to_write`.

    Raises
    ------
    PathNotFoundError, StateFileError
        With `check`: as `check_ckpt_info`.
    """
    if check and not counts.skipped:
        comparison = check_ckpt_info(path, counts.ckpt_info())
        why = comparison.explanation
        return Outcome(
            note=None if why is None else f"{path}: {why}",
            failure=comparison.error(),
            comparison=comparison,
        )
    reason = reason_not_to_write(
        path,
        tables=bool(counts.tables),
        filtered=filtered,
        fid_version=fid_version,
        skipped=bool(counts.skipped),
    )
    outcome = save_ckpt_info(
        path,
        counts.ckpt_info(),
        reason=reason,
        force=force,
        elsewhere=elsewhere,
        dry_run=dry_run or check,
    )
    if counts.skipped:
        outcome = outcome._replace(failure=skipped_error(counts.skipped))
    return outcome


def reason_not_to_write(
    path: str | None,
    *,
    tables: bool = True,
    filtered: bool = False,
    fid_version: str = "v2",
    skipped: bool = False,
) -> str | None:
    """Why counts must not become a ckpt.info file; None if they may.

    Parameters
    ----------
    path
        Where the file belongs; None where there is no step.
    tables
        There was something to count.
    filtered
        Only some tables or slots were counted.
    fid_version
        The version of the fids that slots were taken from; the file holds v2 slots.
    skipped
        Damaged data was left out.
    """
    if path is None:
        return "there is no step"
    if not tables:
        return "there are no tables"
    if filtered:
        return "only a part of the checkpoint was counted"
    if fid_version != "v2":
        return f"the slots are those of {fid_version} feature ids"
    if skipped:
        return "damaged data was left out of the counts"
    return None


def save_ckpt_info(
    path: str | None,
    dump: CkptInfo,
    *,
    reason: str | None = None,
    force: bool = False,
    elsewhere: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """Write the file, unless there is a reason not to.

    A file that is there stays as it is, unless `force`: one that agrees, one whose difference has
    an explanation (noted), and one that is wrong (a failure). That a directory is read-only is a
    warning, with `force` a failure. Nothing is raised: counting may have taken long, and its result
    is to be shown first.

    Parameters
    ----------
    path
        Where the file belongs; may be None only with a reason.
    reason
        What `reason_not_to_write` said.
    elsewhere
        As in `settle_ckpt_info`.
    """
    if dry_run:
        return Outcome()
    if path is None or reason is not None:
        return Outcome(note=f"no ckpt.info was written: {reason or 'there is no step'}")
    try:
        if force:
            write_ckpt_info(path, dump)
        elif elsewhere:
            what = f"no ckpt.info was written: {path} is in another directory, that of the step"
            return _keep(path, dump) or Outcome(note=what, elsewhere=True)
        elif (kept := _write_or_keep(path, dump)) is not None:
            return kept
    except WriteError as error:
        if error.kind == "read_only" and not force:
            return Outcome(warning=str(error))
        return Outcome(failure=error)
    except MonolithError as error:
        return Outcome(failure=error)
    return Outcome(written=path)


def _write_or_keep(path: str, dump: CkptInfo) -> Outcome | None:
    """Write the file (None), or say of one that is there why it stays."""
    attempts = 3  # somebody else may write it between the look and the writing, or remove it
    while True:
        kept = _keep(path, dump)
        if kept is not None:
            return kept
        try:
            write_ckpt_info(path, dump, overwrite=False)
        except AlreadyExistsError:
            attempts -= 1
            if not attempts:
                raise
        else:
            return None


def _keep(path: str, dump: CkptInfo) -> Outcome | None:
    """What to say of a file that is there and stays; None if there is none."""
    try:
        comparison = compare(path, read_ckpt_info(path), dump)
    except PathNotFoundError:
        return None
    except StateFileError as error:
        return Outcome(failure=error)
    if comparison.verdict == "same":
        return Outcome(note=f"{path}: up to date, not written again")
    if comparison.explanation is not None:
        return Outcome(note=f"{path}: kept, {comparison.explanation}", kept=True)
    return Outcome(
        failure=AlreadyExistsError(
            f"says something else and was kept: {_summary(comparison.differences)}",
            path=path,
        )
    )


def _summary(differences: list[Difference]) -> str:
    """The largest difference, and how many others there are."""
    largest = max(differences, key=lambda difference: abs(difference.in_file - difference.in_dump))
    others = len(differences) - 1
    return f"{largest}" + (f", and {others} more differ" if others else "")
