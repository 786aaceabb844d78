"""What stays of a model directory and what goes, and why: what `ckpt prune` shows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    AGE,
    BYTES,
    NAME,
    NUMBER,
    Block,
    Column,
    Report,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import age_text, bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.care.exports import Export
    from monolith_cli.care.prune.plan import Fate, Place, PrunePlan
    from monolith_cli.care.prune.proof import Proof
    from monolith_cli.care.prune.run import Pruned
    from monolith_cli.care.prune.waste import Waste

__all__ = [
    "PruneReport",
    "ResumedReport",
    "checks_text",
    "exports_text",
    "left_text",
    "not_whole_texts",
    "removed_text",
]

_COLUMNS = (
    Column("step", NUMBER),
    Column("age", AGE),
    Column("state", NAME),
    Column("size", BYTES),
    Column("", NAME),
    Column("because", NAME),
)
_WASTE_COLUMNS = (
    Column("goes, too", NAME),
    Column("age", AGE),
    Column("size", BYTES),
    Column("what it is", NAME),
)
_ROWS = 50
_EXPORTS_SHOWN = 5


class PruneReport(Report):
    """A row a step, and one for whatever else goes; then the sum.

    Parameters
    ----------
    proofs
        What was checked, or will be.
    done
        What was removed; None where nothing was.
    """

    def __init__(
        self,
        plan: PrunePlan,
        proofs: Sequence[Proof],
        *,
        dry_run: bool = False,
        done: Pruned | None = None,
        now: float | None = None,
    ) -> None:
        self.plan = plan
        self.proofs = proofs
        self.dry_run = dry_run
        self.done = done
        self.now = time.time() if now is None else now

    def sections(self) -> Iterator[Section]:
        policy = self.plan.options.policy
        if self.plan.options.unlisted or not policy.is_empty:
            for place in self.plan.places:
                yield self._steps(place)
        others = [*self.plan.waste, *self.plan.rolled_back]
        if others:
            yield self._others(others)
        yield [Text(self._sum())]

    def _steps(self, place: Place) -> list[Block]:
        rows = [self._row(fate) for fate in place.fates]
        title = [Title(place.name)] if place.name else []
        return [*title, Table(_COLUMNS, rows)]

    def _row(self, fate: Fate) -> tuple[object, ...]:
        age = None if fate.time is None else max(0.0, self.now - fate.time)
        why = ", ".join(reason.text for reason in fate.reasons)
        what = "stays" if fate.stays else "goes"
        return (fate.step, age, fate.state, fate.bytes, what, why)

    def _others(self, others: Sequence[Waste]) -> Section:
        shown = others[:_ROWS]
        rows = [(each.name, max(0.0, each.age_seconds), each.bytes, each.what) for each in shown]
        yield Table(_WASTE_COLUMNS, rows)
        if len(others) > _ROWS:
            yield Text(f"and {len(others) - _ROWS:,} more", 2)

    def _sum(self) -> str:
        plan = self.plan
        if plan.is_empty:
            return "nothing goes"
        steps = sum(len(place.going) for place in plan.places)
        waste = len(plan.waste)
        moved = len(plan.rolled_back)
        parts = [
            count_text(steps, "step") if steps else "",
            count_text(waste, "leftover") if waste else "",
            count_text(moved, "rollback") if moved else "",
        ]
        what = " and ".join(filter(None, [", ".join(filter(None, parts[:2])), parts[2]]))
        verb = "goes" if steps + waste + moved == 1 else "go"
        return f"{what} {verb}, {bytes_text(plan.bytes)}"

    def document(self) -> dict[str, object]:
        plan = self.plan
        return {
            "model_dir": plan.model_dir,
            "dry_run": self.dry_run,
            "removed": self.done is not None,
            "steps": [_document(place, fate) for place in plan.places for fate in place.fates],
            "leftovers": [each._asdict() for each in (*plan.waste, *plan.rolled_back)],
            "bytes": plan.bytes,
            "checks": [
                {
                    "step": proof.step,
                    "dense_only": bool(proof.place),
                    "bytes": proof.bytes,
                    "checked_seconds_ago": proof.checked_seconds_ago,
                }
                for proof in self.proofs
            ],
            "exports": [{"directory": each.directory, "step": each.step} for each in plan.exports],
            "left": [] if self.done is None else _left(self.done),
        }


def _document(place: Place, fate: Fate) -> dict[str, object]:
    return {
        "step": fate.step,
        "dense_only": bool(place.name),
        "state": fate.state,
        "time": fate.time,
        "bytes": fate.bytes,
        "stays": fate.stays,
        "reasons": [reason.id for reason in fate.reasons],
    }


def _left(done: Pruned) -> list[dict[str, object]]:
    return [
        {"step": each.step, "dense_only": bool(each.place), "why": each.why} for each in done.left
    ]


class ResumedReport(Report):
    """What a prune that was cut off had still to remove, and is removed now, or would be."""

    def __init__(self, done: Pruned, *, model_dir: str, dry_run: bool = False) -> None:
        self.done = done
        self.model_dir = model_dir
        self.dry_run = dry_run

    def sections(self) -> Iterator[Section]:
        done = self.done
        steps = [f"{place}/{step}" if place else str(step) for place, step in done.steps]
        what = [f"step{'s' if len(steps) > 1 else ''} {', '.join(steps)}"] if steps else []
        what += [count_text(len(done.others), "leftover")] if done.others else []
        removed = " and ".join(what) or "nothing"
        if self.dry_run:
            yield [Text(f"what was cut off would be finished: {removed} removed")]
        else:
            yield [Text(f"finished what was cut off: {removed} removed")]

    def document(self) -> dict[str, object]:
        return {
            "model_dir": self.model_dir,
            "resumed": True,
            "dry_run": self.dry_run,
            "steps": [{"step": step, "dense_only": bool(place)} for place, step in self.done.steps],
            "leftovers": list(self.done.others),
            "left": _left(self.done),
        }


def checks_text(proofs: Sequence[Proof], *, quick: bool) -> str | None:
    """What is checked before anything goes, in a sentence; None if nothing does."""
    if not proofs:
        return None
    parts = []
    for proof in proofs:
        name = f"step {proof.step}{f' of {proof.place}' if proof.place else ''}"
        if quick:
            parts.append(f"{name} quickly")
        elif proof.checked_seconds_ago is not None:
            parts.append(f"{name}, by its record of {age_text(proof.checked_seconds_ago)} ago")
        else:
            parts.append(f"{name} in full, {bytes_text(proof.bytes)}")
    return f"checked before anything goes: {'; '.join(parts)}"


def not_whole_texts(plan: PrunePlan, proofs: Sequence[Proof]) -> list[str]:
    """Which of the steps that must be right are not even whole, a sentence each."""
    texts = []
    for proof in proofs:
        place = next(each for each in plan.places if each.name == proof.place)
        step = next(each for each in place.survey.steps if each.step == proof.step)
        if not step.missing:
            continue
        of = f" of {proof.place}" if proof.place else ""
        first = step.missing[0]
        texts.append(
            f"step {proof.step}{of} is not whole, so nothing would be removed: '{first.file}' is"
            f" {first.what}"
        )
    return texts


def exports_text(exports: Sequence[Export]) -> str | None:
    """What the training system will delete, in a sentence; None if nothing."""
    if not exports:
        return None
    named = ", ".join(f"{each.directory} (step {each.step})" for each in exports[:_EXPORTS_SHOWN])
    more = f" and {len(exports) - _EXPORTS_SHOWN} more" if len(exports) > _EXPORTS_SHOWN else ""
    return f"the next save deletes exports of steps that go: {named}{more}"


def removed_text(done: Pruned) -> str:
    """What was removed, in a phrase."""
    parts = [
        count_text(len(done.steps), "step") if done.steps else "",
        count_text(len(done.others), "leftover") if done.others else "",
    ]
    return f"removed: {' and '.join(filter(None, parts)) or 'nothing'}"


def left_text(done: Pruned) -> list[str]:
    """What stays after all, a sentence each."""
    return [
        f"step {each.step}{f' of {each.place}' if each.place else ''} stays: {each.why}"
        for each in done.left
    ]
