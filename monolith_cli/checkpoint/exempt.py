"""The steps that `monolith_checkpoint` exempts from being deleted by saves: pins."""

from __future__ import annotations

from monolith_cli.checkpoint.names import MONOLITH_CHECKPOINT
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.errors import PathNotFoundError
from monolith_cli.formats.checkpoint_state import CheckpointState, read_monolith_checkpoint_state
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

__all__ = ["exempt_steps"]


def exempt_steps(model_dir: str) -> dict[int, str]:
    """The exempt steps by number, with the names of their files; none without that file.

    Paths count by their last part, as the training system compares them.

    Raises
    ------
    StateFileError
        The file does not parse, so that nobody knows what it keeps.
    PathNotFoundError, NotReadableError
        There is a directory in its place, or the store refused.
    """
    path = join(model_dir, MONOLITH_CHECKPOINT)
    try:
        paths = read_monolith_checkpoint_state(path).exempt_model_checkpoint_paths
    except PathNotFoundError:
        if store_of(path).is_directory(path):
            raise
        return {}
    recorded = (each for name in paths for each in recorded_checkpoints(CheckpointState(name)))
    return {each.step: each.name for each in recorded if each.step is not None}
