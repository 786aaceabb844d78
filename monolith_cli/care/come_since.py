"""Steps that a job commits just when a command writes `checkpoint`.

`checkpoint` is compared, and then replaced. A commit in between is overwritten, unseen; but its
index is there. So who writes `checkpoint` looks which indexes have come since it looked first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import INDEX_SUFFIX, parse_step_file
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state
from monolith_cli.storage.location import HERE, join, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["indexes", "list_too", "model_indexes"]


def indexes(names: Iterable[str]) -> set[str]:
    """Those of these names that are the indexes of steps of the model."""
    found = set()
    for name in names:
        if name.endswith(INDEX_SUFFIX):
            file = parse_step_file(name)
            if file is not None and file.kind == "bundle" and not file.is_temporary:
                found.add(name)
    return found


def model_indexes(directory: str) -> set[str]:
    """The names of those in a model directory."""
    return indexes(store_of(directory).names(directory or HERE))


def list_too(path: str, state: CheckpointState, come: Collection[str]) -> str:
    """Let `checkpoint` say what it said before, and list the steps of these indexes behind that.

    The last one that was written is the latest; returns its index.

    Raises
    ------
    MonolithError
        One is gone, or the store refused.
    """
    store, directory = store_of(path), parent_of(path)
    order = sorted(come, key=lambda name: store.status(join(directory, name)).modified_ns)
    names = [name.removesuffix(INDEX_SUFFIX) for name in order]
    listed = [each for each in state.all_model_checkpoint_paths if each not in names]
    said = CheckpointState(names[-1], (*listed, *names), (), state.last_preserved_timestamp)
    store.put(path, format_checkpoint_state(said).encode("utf-8", "surrogateescape"))
    return order[-1]
