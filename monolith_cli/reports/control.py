"""A running job: what the commands of `barrier` and `job` show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monolith_cli.control.texts import workers_text
from monolith_cli.reports.model import Facts, Report, Row, Section, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from monolith_cli.control.client import JobInfo, Saved

__all__ = [
    "BarrierReport",
    "JobReport",
    "LogReport",
    "SavedReport",
    "StoppedReport",
    "duration_text",
    "end_text",
    "held_text",
]


def duration_text(seconds: float) -> str:
    """`0.5 s`, `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole} s"


def held_text(info: JobInfo) -> str:
    """What lets the workers stand: `the barrier that ann@box placed 5.0 s ago is still there`."""
    if info.owner:
        which = f" that {info.owner} placed"
    elif info.action:
        which = " that the job placed for a save"
    else:
        which = "" if info.placed_seconds_ago is None else " that was placed"
    if info.placed_seconds_ago is not None:
        which += f" {duration_text(info.placed_seconds_ago)} ago"
    if info.reason:
        which += f" (reason: {info.reason})"
    return f"the barrier{which} is still there"


def end_text(left_seconds: float | None, removal: str) -> str:
    """How a barrier ends that is still placed: what follows "the barrier ".

    Parameters
    ----------
    left_seconds
        In how many seconds it ends by itself, or has ended if that is not positive; None: never.
    removal
        The command line that removes it.
    """
    if left_seconds is None:
        return f"stays until '{removal}'"
    if left_seconds <= 0:
        return "has ended by itself by now"
    return f"ends within {duration_text(left_seconds)}, or with '{removal}'"


class BarrierReport(Report):
    """Whether the barrier is placed, by whom, and who stands at it; a fact a line."""

    def __init__(self, info: JobInfo, address: str) -> None:
        self.info = info
        self.address = address

    def sections(self) -> Iterator[Section]:
        yield [Facts(self._facts())]

    def _facts(self) -> Iterator[tuple[str, str]]:
        info = self.info
        if not info.placed:
            yield "barrier", "not placed"
        else:
            yield "barrier", "placed" + (f", action {info.action}" if info.action else "")
            if info.owner is not None:
                yield "by", info.owner or "nobody known"
            if info.reason:
                yield "reason", info.reason
            if info.placed_seconds_ago is not None:
                yield "since", duration_text(info.placed_seconds_ago) + " ago"
            if info.expires_in_seconds is not None:
                yield "ends in", duration_text(info.expires_in_seconds)
            elif info.owner is not None:
                yield "ends in", "-, it stays until it is removed"
        yield "blocked", workers_text(info.blocked)
        yield "not blocked", workers_text(info.unblocked)
        yield "global step", str(info.global_step)

    def document(self) -> dict[str, object]:
        """Null for what an original job does not tell."""
        info = self.info
        return {
            "placed": info.placed,
            "action": info.action,
            "reason": info.reason,
            "owner": info.owner,
            "placed_seconds_ago": info.placed_seconds_ago,
            "expires_in_seconds": info.expires_in_seconds,
            "blocked": info.blocked,
            "unblocked": info.unblocked,
            "global_step": info.global_step,
            "address": self.address,
        }


class JobReport(Report):
    """A running job's global step, and its last save; a fact a line."""

    def __init__(self, info: JobInfo, address: str) -> None:
        self.info = info
        self.address = address
        self.workers = len(info.blocked) + len(info.unblocked)

    def sections(self) -> Iterator[Section]:
        yield [Facts(self._facts())]

    def _facts(self) -> Iterator[tuple[str, str]]:
        info = self.info
        yield "job", self.address
        if info.run_id:
            yield "run", info.run_id
        yield "global step", str(info.global_step)
        if info.saving is not None:
            saved = "none" if info.last_saved_step is None else str(info.last_saved_step)
            yield "last saved", saved + (", saving now" if info.saving else "")
        yield "workers", str(self.workers)
        yield "barrier", "placed" if info.placed else "not placed"

    def document(self) -> dict[str, object]:
        """Null for what an original job does not tell."""
        info = self.info
        return {
            "address": self.address,
            "model_dir": info.model_dir,
            "run_id": info.run_id,
            "global_step": info.global_step,
            "last_saved_step": info.last_saved_step,
            "saving": info.saving,
            "workers": self.workers,
            "placed": info.placed,
        }


class SavedReport(Report):
    """Step and path with a tab between; nothing where the job does not tell the step."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved

    def sections(self) -> Iterator[Section]:
        if self.saved.step is not None:
            yield [Row(self.saved.step, self.saved.path)]

    def document(self) -> dict[str, object]:
        """Null for what is not told."""
        return {
            "step": self.saved.step,
            "path": self.saved.path,
            "finished_workers": self.saved.finished_workers,
            "unfinished_workers": self.saved.unfinished_workers,
        }


class StoppedReport(Report):
    """How a job was asked to stop, which people need not be told.

    Parameters
    ----------
    via
        `port` or `file`.
    info, address
        What it said of itself, and where it listens; None by a file.
    """

    def __init__(self, via: str, info: JobInfo | None, address: str | None) -> None:
        self.via = via
        self.info = info
        self.address = address

    def sections(self) -> Iterator[Section]:
        yield from ()

    def document(self) -> dict[str, object]:
        return {
            "via": self.via,
            "address": self.address,
            "run_id": self.info and self.info.run_id,
            "global_step": self.info and self.info.global_step,
        }


class LogReport(Report):
    """One entry per line: when, who and from where, what, why, and how it ended."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self.entries = entries

    def sections(self) -> Iterator[Section]:
        yield (Text(_log_text(entry)) for entry in self.entries)

    def document(self) -> Iterable[Mapping[str, Any]]:
        """The entries as they are in the log."""
        return self.entries


def _log_text(entry: Mapping[str, Any]) -> str:
    who = ", ".join(str(entry[key]) for key in ("owner", "peer") if entry.get(key)) or "?"
    what = entry.get("method") or ""
    if entry.get("holder"):
        what += f" of what {entry['holder']} placed"
    why = f": {entry['reason']}" if entry.get("reason") else ""
    columns = [entry.get("time") or "?", who, f"{what}{why}", f"({entry.get('result') or '?'})"]
    return "  ".join(str(column) for column in columns if column)
