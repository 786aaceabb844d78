"""`ckpt.info-<step>`: whether the file that is there is right, and whether to write a new one.

Both decisions are made from counts alone; who counted, and what is shown of it, is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import (
    AlreadyExistsError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
    WriteError,
)
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info, write_ckpt_info
from monolith_cli.storage.store import store_of
from monolith_cli.tables.gone import gone_error
from monolith_cli.tables.skipped import skipped_error

if TYPE_CHECKING:
    from monolith_cli.tables.comparison import Comparison
    from monolith_cli.tables.counts import CheckpointCounts

__all__ = [
    "Outcome",
    "check_ckpt_info",
    "reason_not_to_write",
    "save_ckpt_info",
    "settle_ckpt_info",
]


_LEFT_OUT = "damaged or incomplete data was left out of the counts"
_NOT_WHOLE = "the step is not whole, or nobody knows whether it is"


def check_ckpt_info(
    path: str | None, dump: CkptInfo, rank_0: CkptInfo | None = None, extra: int = 0
) -> Comparison:
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
    file = read_ckpt_info(path)
    from monolith_cli.tables.comparison import compare

    return compare(path, file, dump, rank_0, extra)


def _tables_gone(
    path: str | None, dump: CkptInfo, rank_0: CkptInfo | None = None
) -> MonolithError | None:
    """The error of a file that is there and counts tables of which there is no dump."""
    if path is None:
        return None
    try:
        comparison = check_ckpt_info(path, dump, rank_0)
    except MonolithError:
        return None  # whoever checks or writes it will say so
    return comparison.error() if comparison.verdict == "gone" else None


class Outcome(NamedTuple):
    """What became of a ckpt.info file.

    `written` is its path if it was written, `comparison` what a check found. `note` says why a
    file was not written, or why a difference is none, where that is fine; `warning` where it is
    not quite; `failure` is the error to end with, once the counts are shown. `kept` means that a
    file with other counts is there and was left, though nothing speaks against replacing it;
    `elsewhere` that none was written as it belongs into another directory; both are not so with
    `force`.
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
    strict: bool = False,
    elsewhere: bool = False,
    filtered: bool = False,
    fid_version: str = "v2",
) -> Outcome:
    """Check the file against the counts, or write it, or neither.

    Counts that leave out damaged data, or tables that are not whole, are neither checked nor
    written; that is the failure. So are those of a step of which nobody knows if it is whole. Those
    that leave out records of no table are not written, and no file is right beside them. Nor is
    anything written, not even with `force`, where the file that is there counts entries of tables
    that are gone: it is what is left to tell.

    Parameters
    ----------
    path
        Where the file belongs; None where there is no step.
    check
        Compare, and write nothing.
    dry_run
        Write nothing.
    force
        Replace a file that is there, unless tables are gone; write one elsewhere.
    elsewhere
        The file belongs into another directory than the one that was counted.
    strict
        Fail where expiry does not explain what the file has more, as `Comparison.doubtful` says.
    filtered, fid_version
        How it was counted, as in `reason_not_to_write`.

    Raises
    ------
    PathNotFoundError, StateFileError
        With `check`: as `check_ckpt_info`.
    """
    if check and counts.is_whole:
        extra = sum(counts.extra.values())
        comparison = check_ckpt_info(path, counts.everything(), counts.rank_0, extra)
        failure = comparison.error(strict=strict)
        why = comparison.explanation if failure is None else None
        return Outcome(
            note=None if why is None else f"{path}: {why}", failure=failure, comparison=comparison
        )
    if counts.is_whole:
        if filtered or fid_version != "v2":
            gone = gone_error(path, counts.found)
        else:
            gone = _tables_gone(path, counts.everything(), counts.rank_0)
        if gone is not None:
            return Outcome(failure=gone)
    beside = counts.found.files.beside if counts.found else []
    left_out = bool(counts.skipped) or any(each not in beside for each in counts.problems)
    reason = reason_not_to_write(
        path,
        tables=bool(counts.tables),
        filtered=filtered,
        fid_version=fid_version,
        skipped=left_out,
        beside=bool(beside),
        extra=bool(counts.extra),
    )
    outcome = save_ckpt_info(
        path,
        counts.ckpt_info(),
        reason=reason,
        force=force,
        elsewhere=elsewhere,
        dry_run=dry_run or check,
        everything=counts.everything(),
        rank_0=counts.rank_0,
        strict=strict,
    )
    if not counts.is_whole:
        failure = skipped_error(counts.skipped) or counts.problems[0]
        why = _LEFT_OUT if left_out else _NOT_WHOLE
        note = _not_compared(path, why) if check else outcome.note
        outcome = outcome._replace(failure=failure, note=note)
    return outcome


def _not_compared(path: str | None, why: str) -> str:
    """What a check says that compared nothing, as not everything could be counted."""
    if path is None:
        return "nothing was compared: there is no step"
    if not store_of(path).exists(path):
        return f"{path}: not there; nothing was compared"
    return f"{path}: not compared, as {why}"


def reason_not_to_write(
    path: str | None,
    *,
    tables: bool = True,
    filtered: bool = False,
    fid_version: str = "v2",
    skipped: bool = False,
    beside: bool = False,
    extra: bool = False,
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
        Damaged data was left out, or a table that is not whole.
    beside
        Something else is wrong with the step, such as its manifest.
    extra
        Records were left out that belong to no table.
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
        return _LEFT_OUT
    if beside:
        return _NOT_WHOLE
    if extra:
        return "records that no contents file promises were left out of the counts"
    return None


def save_ckpt_info(
    path: str | None,
    dump: CkptInfo,
    *,
    reason: str | None = None,
    force: bool = False,
    elsewhere: bool = False,
    dry_run: bool = False,
    everything: CkptInfo | None = None,
    rank_0: CkptInfo | None = None,
    strict: bool = False,
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
    dump
        What to write.
    reason
        What `reason_not_to_write` said.
    elsewhere, strict
        As in `settle_ckpt_info`.
    everything, rank_0
        What a file that is there is compared with, as in `compare`; `dump` by default.
    """
    if dry_run:
        return Outcome()
    if path is None or reason is not None:
        return Outcome(note=f"no ckpt.info was written: {reason or 'there is no step'}")
    try:
        settled = (everything or dump, rank_0, strict)
        if force:
            write_ckpt_info(path, dump)
        elif elsewhere:
            what = f"no ckpt.info was written: {path} is in another directory, that of the step"
            return _keep(path, *settled) or Outcome(note=what, elsewhere=True)
        elif (kept := _write_or_keep(path, dump, *settled)) is not None:
            return kept
    except WriteError as error:
        if error.kind == "read_only" and not force:
            return Outcome(warning=str(error))
        return Outcome(failure=error)
    except MonolithError as error:
        return Outcome(failure=error)
    return Outcome(written=path)


def _write_or_keep(
    path: str, dump: CkptInfo, everything: CkptInfo, rank_0: CkptInfo | None, strict: bool
) -> Outcome | None:
    """Write the file (None), or say of one that is there why it stays."""
    attempts = 3  # somebody else may write it between the look and the writing, or remove it
    while True:
        kept = _keep(path, everything, rank_0, strict)
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


def _keep(path: str, dump: CkptInfo, rank_0: CkptInfo | None, strict: bool) -> Outcome | None:
    """What to say of a file that is there and stays; None if there is none."""
    try:
        comparison = check_ckpt_info(path, dump, rank_0)
    except PathNotFoundError:
        return None
    except StateFileError as error:
        return Outcome(failure=error)
    nothing = not any(dump.slot_counts.values()) and not any(dump.feature_counts.values())
    if comparison.verdict == "same" or (comparison.verdict == "empty" and nothing):
        return Outcome(note=f"{path}: up to date, not written again")
    if comparison.explanation is not None:
        note = f"{path}: kept, {comparison.explanation}"
        replaceable = not comparison.doubtful
        return Outcome(note=note, kept=replaceable, failure=comparison.error(strict=strict))
    if comparison.verdict == "gone":
        return Outcome(failure=comparison.error())
    return Outcome(
        failure=AlreadyExistsError(
            f"says something else and was kept: {comparison.summary}",
            path=path,
        )
    )
