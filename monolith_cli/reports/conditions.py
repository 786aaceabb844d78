"""Conditions and what they hold for, as commands with `--fail-if` show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import Block, Omitted, Text, Verdict

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Checked

__all__ = ["condition_blocks", "condition_documents"]

_SHOWN = 20


def condition_blocks(checked: Iterable[Checked]) -> Iterator[Block]:
    """A line a condition, and below it what it holds for."""
    for condition, held, problem in checked:
        if problem is not None:
            yield Verdict(f"{condition.text}: not checked", good=False)
            continue
        holds = f"holds of {len(held):,}" if held else "does not hold"
        yield Verdict(f"{condition.text}: {holds}", good=not held)
        yield from (Text(each.text, 2) for each in held[:_SHOWN])
        if len(held) > _SHOWN:
            yield Omitted(f"{len(held) - _SHOWN:,} more", 2)


def condition_documents(checked: Sequence[Checked]) -> list[dict[str, object]]:
    """An object a condition, under the keys that `keys/conditions.py` declares."""
    return [
        {
            "condition": condition.text,
            "holds": None if problem is not None else bool(held),
            "held": [
                {
                    "what": each.what,
                    "value": _finite(each.value),
                    "before": _finite(each.before),
                    "change": _finite(each.change),
                }
                for each in held
            ],
        }
        for condition, held, problem in checked
    ]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
