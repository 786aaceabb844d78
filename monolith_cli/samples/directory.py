"""What a sample's model directory has besides tables, and how it comes to be there."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from monolith_cli.checkpoint import names as file_names
from monolith_cli.errors import AlreadyExistsError, WriteError
from monolith_cli.formats import checkpoint_state
from monolith_cli.storage.atomic import atomic_write, left_behind, temporary_path
from monolith_cli.storage.local import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, TypeAlias

    import numpy as np

    Float32s: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

__all__ = [
    "prepare",
    "refusals",
    "remove_left_behind",
    "replacing_directory",
    "set_times",
    "write_dense",
    "write_state",
]


def write_dense(prefix: Path, step: int, dim: int, seed: int, moves: int = 0) -> None:
    """Write the dense variables: two layers that have moved so often, and the global step."""
    import numpy as np

    from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

    rng = np.random.default_rng([seed, 1])

    def layer(*shape: int) -> Float32s:
        return rng.standard_normal(shape, dtype=np.float32)

    width = min(dim, 64)
    variables = {
        "dense_1/kernel": layer(width, 16),
        "dense_1/bias": layer(16),
        "dense_2/kernel": layer(16, 1),
        "dense_2/bias": layer(1),
    }
    for _ in range(moves):
        for values in variables.values():
            values += layer(*values.shape) / np.float32(100)
    write_tensor_bundle(prefix, {"global_step": np.array(step, dtype=np.int64), **variables})


def write_state(directory: Path, steps: Mapping[int, int], multi: bool) -> None:
    """Write both state files; the second makes the last of the steps be there.

    Parameters
    ----------
    steps
        When each was committed, in seconds since 1970, the latest last.
    """
    names = tuple(f"{file_names.MODEL_BASE}-{step}" for step in steps)
    times = tuple(map(float, steps.values()))
    monolith = checkpoint_state.MonolithCheckpointState(
        last_checkpoint_save_timestamp=int(times[-1]),
        builtin_hash_table_type="MULTI_CUCKOO_HASH_MAP" if multi else "CUCKOO_HASH_MAP",
    )
    text = checkpoint_state.format_monolith_checkpoint_state(monolith)
    atomic_write(directory / file_names.MONOLITH_CHECKPOINT, text.encode())
    state = checkpoint_state.CheckpointState(names[-1], names, times, times[-1])
    text = checkpoint_state.format_checkpoint_state(state)
    atomic_write(directory / file_names.CHECKPOINT, text.encode())


def set_times(directory: Path, steps: Mapping[int, int]) -> None:
    """Have the files of these steps look as if they had been written at their commits."""
    last = list(steps.values())[-1]
    for path in directory.iterdir():
        file = file_names.parse_step_file(path.name)
        if path.name == file_names.CHECKPOINT:
            os.utime(path, (last, last))
        elif file is not None and file.step in steps:
            for each in (*(path.iterdir() if path.is_dir() else ()), path):
                os.utime(each, (steps[file.step], steps[file.step]))


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
