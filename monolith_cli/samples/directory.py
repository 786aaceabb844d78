"""What a sample's model directory has besides tables, and how it comes to be there."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from monolith_cli.checkpoint import names as file_names
from monolith_cli.errors import AlreadyExistsError, WriteError
from monolith_cli.formats import checkpoint_state
from monolith_cli.samples.entries import NOW
from monolith_cli.storage.atomic import atomic_write, left_behind, temporary_path
from monolith_cli.storage.local import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    import numpy as np

    Float32s: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

__all__ = [
    "prepare",
    "refusals",
    "remove_left_behind",
    "replacing_directory",
    "write_dense",
    "write_state",
]


def write_dense(prefix: Path, step: int, dim: int, seed: int) -> None:
    """Write the dense variables: two layers, and the global step."""
    import numpy as np

    from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

    rng = np.random.default_rng([seed, 1])

    def layer(*shape: int) -> Float32s:
        return rng.standard_normal(shape, dtype=np.float32)

    width = min(dim, 64)
    write_tensor_bundle(
        prefix,
        {
            "global_step": np.array(step, dtype=np.int64),
            "dense_1/kernel": layer(width, 16),
            "dense_1/bias": layer(16),
            "dense_2/kernel": layer(16, 1),
            "dense_2/bias": layer(1),
        },
    )


def write_state(directory: Path, step: int, multi: bool) -> None:
    """Write both state files; the second makes the checkpoint be there."""
    name = f"{file_names.MODEL_BASE}-{step}"
    monolith = checkpoint_state.MonolithCheckpointState(
        last_checkpoint_save_timestamp=NOW,
        builtin_hash_table_type="MULTI_CUCKOO_HASH_MAP" if multi else "CUCKOO_HASH_MAP",
    )
    text = checkpoint_state.format_monolith_checkpoint_state(monolith)
    atomic_write(directory / file_names.MONOLITH_CHECKPOINT, text.encode())
    state = checkpoint_state.CheckpointState(name, (name,), (float(NOW),), float(NOW))
    text = checkpoint_state.format_checkpoint_state(state)
    atomic_write(directory / file_names.CHECKPOINT, text.encode())


def prepare(directory: Path, force: bool) -> None:
    """Make the directory; refused where it holds something, unless that is to be."""
    if directory.exists() and not directory.is_dir():
        what, hint = "is not a directory", "move it away, or name another path"
        raise AlreadyExistsError(what, path=directory, hint=hint, kind="no_directory")
    directory.mkdir(parents=True, exist_ok=True)
    if not force and any(directory.iterdir()):
        raise AlreadyExistsError("is not empty", path=directory, hint="name another directory")


def remove_left_behind(directory: Path, base: str) -> None:
    """Remove what runs that were killed have left of the same checkpoint."""
    for path, name in left_behind(directory):
        if name in (file_names.CHECKPOINT, file_names.MONOLITH_CHECKPOINT) or name.startswith(
            f"{base}."
        ):
            LOCAL.delete(path)


@contextlib.contextmanager
def refusals(directory: Path) -> Iterator[None]:
    """Turn the operating system's refusals into `WriteError`."""
    try:
        yield
    except (AlreadyExistsError, WriteError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        failure = WriteError(f"not written: {reason}", path=error.filename or directory)
        failure.errno = error.errno
        raise failure from error


@contextlib.contextmanager
def replacing_directory(target: Path) -> Iterator[Path]:
    """A new directory to fill, which takes the place of `target` unless the block fails."""
    scratch = Path(temporary_path(str(target)))
    scratch.mkdir()
    try:
        yield scratch
        if target.is_dir():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
