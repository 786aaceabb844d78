"""States of iterators that are no worker's: what `tf.train.Checkpoint` or a Saver has written."""

from __future__ import annotations

import os

from monolith_cli.checkpoint.names import CHECKPOINT, INDEX_SUFFIX
from monolith_cli.checkpoint.shard_set import list_names
from monolith_cli.errors import MonolithError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.state import state_entries

__all__ = ["elsewhere_hint", "find_state_elsewhere"]

_LOOKED_AT = 8
"""How many indexes are read at most; that of a large model has megabytes."""


def elsewhere_hint(directory: str) -> str | None:
    """How to get to the state that `find_state_elsewhere` finds; None without one."""
    prefix = find_state_elsewhere(directory)
    return f"to show the one that is there, give its path: {prefix}" if prefix else None


def find_state_elsewhere(directory: str) -> str | None:
    """The path of a bundle in a directory that holds the state of an iterator; None without one.

    What `checkpoint` names comes first, then the newest. Only indexes are read, of the newest
    bundles; one that cannot be read is passed over.
    """
    try:
        names = [name for name in list_names(directory) if name.endswith(INDEX_SUFFIX)]
    except MonolithError:
        return None
    latest = _latest(directory) + INDEX_SUFFIX
    newest = sorted(
        names, key=lambda name: (name == latest, _changed_ns(directory, name), name), reverse=True
    )
    for name in newest[:_LOOKED_AT]:
        prefix = os.path.join(directory, name.removesuffix(INDEX_SUFFIX))
        try:
            if state_entries(TensorBundle(prefix)):
                return prefix
        except MonolithError:
            continue
    return None


def _latest(directory: str) -> str:
    try:
        state = read_checkpoint_state(os.path.join(directory, CHECKPOINT))
    except MonolithError:
        return ""
    return os.path.basename(state.model_checkpoint_path)


def _changed_ns(directory: str, name: str) -> int:
    try:
        return os.stat(os.path.join(directory, name)).st_mtime_ns
    except OSError:
        return 0
