"""States of iterators that are no worker's: what `tf.train.Checkpoint` or a Saver has written."""

from __future__ import annotations

from monolith_cli.checkpoint.names import CHECKPOINT, INDEX_SUFFIX
from monolith_cli.errors import MonolithError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.state import state_entries
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

__all__ = ["elsewhere_hint", "find_states_elsewhere"]

_LOOKED_AT = 8
"""How many indexes are read at most; that of a large model has megabytes."""


def elsewhere_hint(directory: str) -> str | None:
    """How to get to the states that `find_states_elsewhere` finds; None without one."""
    found = find_states_elsewhere(directory)
    if not found:
        return None
    which = "one that is there" if len(found) == 1 else f"newest of {len(found)}"
    return f"to show the {which}, give its path: {found[0]}"


def find_states_elsewhere(directory: str) -> list[str]:
    """The paths of the bundles in a directory that hold states of iterators.

    What `checkpoint` names comes first, then the newest. Only indexes are read, of the newest
    bundles; one that cannot be read is passed over.
    """
    try:
        everything = store_of(directory).names(directory)
    except MonolithError:
        return []
    names = [name for name in everything if name.endswith(INDEX_SUFFIX)]
    latest = _latest(directory) + INDEX_SUFFIX
    newest = sorted(
        names, key=lambda name: (name == latest, _changed_ns(directory, name), name), reverse=True
    )
    found = []
    for name in newest[:_LOOKED_AT]:
        prefix = join(directory, name.removesuffix(INDEX_SUFFIX))
        try:
            if state_entries(TensorBundle(prefix)):
                found.append(prefix)
        except MonolithError:
            continue
    return found


def _latest(directory: str) -> str:
    try:
        state = read_checkpoint_state(join(directory, CHECKPOINT))
    except MonolithError:
        return ""
    return name_of(state.model_checkpoint_path)


def _changed_ns(directory: str, name: str) -> int:
    try:
        return store_of(directory).status(join(directory, name)).modified_ns
    except MonolithError:
        return 0
