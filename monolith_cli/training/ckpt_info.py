"""Entries by slot, counted in the trainer while it saves: `ckpt.info-<step>`."""

from __future__ import annotations

from monolith_cli.training.tables.slot_counts import FidSlotCountSaverListener

__all__ = ["FidSlotCountSaverListener"]
