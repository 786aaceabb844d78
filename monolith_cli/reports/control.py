"""A running job, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monolith_cli.control.texts import workers_text
from monolith_cli.reports.text import name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monolith_cli.control.client import JobInfo, Saved

__all__ = [
    "barrier_document",
    "barrier_lines",
    "duration_text",
    "held_text",
    "job_document",
    "job_lines",
    "log_lines",
    "saved_document",
    "saved_lines",
    "stopped_document",
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


def barrier_document(info: JobInfo, address: str) -> dict[str, object]:
    """What `barrier status --json` prints; null for what an original job does not tell."""
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
        "address": address,
    }


def barrier_lines(info: JobInfo) -> list[str]:
    """A line a fact."""
    if not info.placed:
        rows = [("barrier", "not placed")]
    else:
        rows = [("barrier", "placed" + (f", action {info.action}" if info.action else ""))]
        if info.owner is not None:
            rows.append(("by", name_text(info.owner) or "nobody known"))
        if info.reason:
            rows.append(("reason", name_text(info.reason)))
        if info.placed_seconds_ago is not None:
            rows.append(("since", duration_text(info.placed_seconds_ago) + " ago"))
        if info.expires_in_seconds is not None:
            rows.append(("ends in", duration_text(info.expires_in_seconds)))
        elif info.owner is not None:
            rows.append(("ends in", "-, it stays until it is removed"))
    rows.append(("blocked", workers_text(info.blocked)))
    rows.append(("not blocked", workers_text(info.unblocked)))
    rows.append(("global step", str(info.global_step)))
    return _aligned(rows)


def job_document(info: JobInfo, address: str) -> dict[str, object]:
    """What `job status --json` prints; null for what an original job does not tell."""
    return {
        "address": address,
        "model_dir": info.model_dir,
        "run_id": info.run_id,
        "global_step": info.global_step,
        "last_saved_step": info.last_saved_step,
        "saving": info.saving,
        "workers": len(info.blocked) + len(info.unblocked),
        "placed": info.placed,
    }


def job_lines(info: JobInfo, address: str) -> list[str]:
    """A line a fact."""
    rows = [("job", address)]
    if info.run_id:
        rows.append(("run", info.run_id))
    rows.append(("global step", str(info.global_step)))
    if info.saving is not None:
        saved = "none" if info.last_saved_step is None else str(info.last_saved_step)
        rows.append(("last saved", saved + (", saving now" if info.saving else "")))
    rows.append(("workers", str(len(info.blocked) + len(info.unblocked))))
    rows.append(("barrier", "placed" if info.placed else "not placed"))
    return _aligned(rows)


def saved_document(saved: Saved) -> dict[str, object]:
    """What `job save --json` prints; null for what is not told."""
    return {
        "step": saved.step,
        "path": saved.path,
        "finished_workers": saved.finished_workers,
        "unfinished_workers": saved.unfinished_workers,
    }


def saved_lines(saved: Saved) -> list[str]:
    """Step and path with a tab between: easy to take apart in a shell."""
    return [f"{'' if saved.step is None else saved.step}\t{saved.path or ''}"]


def stopped_document(via: str, info: JobInfo | None, address: str | None) -> dict[str, object]:
    """What `job stop --json` prints; null for what one by a file does not know."""
    return {
        "via": via,
        "address": address,
        "run_id": info and info.run_id,
        "global_step": info and info.global_step,
    }


def log_lines(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line an entry: when, who and from where, what, why, and how it ended."""
    lines = []
    for entry in entries:
        who = ", ".join(str(entry[key]) for key in ("owner", "peer") if entry.get(key)) or "?"
        what = entry.get("method") or ""
        if entry.get("holder"):
            what += f" of what {entry['holder']} placed"
        why = f": {entry['reason']}" if entry.get("reason") else ""
        columns = [entry.get("time") or "?", who, f"{what}{why}", f"({entry.get('result') or '?'})"]
        lines.append(name_text("  ".join(str(column) for column in columns if column)))
    return lines


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(label) for label, _ in rows)
    return [f"{label:<{width}}  {value}" for label, value in rows]
