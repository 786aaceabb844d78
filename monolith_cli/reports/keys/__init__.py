"""The keys of what commands print as JSON, declared once: for the man pages, docs and a test.

No command imports this. `tests/commands/test_json_keys.py` runs every command, and compares what it
finds with what is declared here.
"""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys import (
    checkpoints,
    copy,
    diffs,
    export,
    fsck,
    going_back,
    inputs,
    jobs,
    prune,
    repair,
    rewrite,
    stats,
    steps,
    tables,
    watching,
)
from monolith_cli.reports.keys.declare import Key, Output

__all__ = ["OUTPUTS", "Key", "Output", "paths"]

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    **checkpoints.OUTPUTS,
    **repair.OUTPUTS,
    **prune.OUTPUTS,
    **copy.OUTPUTS,
    **steps.OUTPUTS,
    **fsck.OUTPUTS,
    **going_back.OUTPUTS,
    **tables.OUTPUTS,
    **stats.OUTPUTS,
    **rewrite.OUTPUTS,
    **diffs.OUTPUTS,
    **export.OUTPUTS,
    **inputs.OUTPUTS,
    **jobs.OUTPUTS,
    **watching.OUTPUTS,
}
"""By the full name of a command: what it prints as JSON, the usual output first."""


def paths(keys: Mapping[str, Key], before: str = "") -> list[tuple[str, Key]]:
    """All keys with their paths as jq has them, `tables[].name`, each before those in it."""
    found = []
    for name, key in keys.items():
        path = f"{before}{name}"
        found.append((path, key))
        inner = f"{path}[]." if key.type.startswith("list") else f"{path}."
        found += paths(key.keys, inner)
    return found
