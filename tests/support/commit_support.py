"""Steps as a save leaves them before its commit, and a chief that commits them."""

from __future__ import annotations

import os
from pathlib import Path

from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.inputs import StepInputs, write_input_state, write_step_inputs
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
)
from monolith_cli.storage.atomic import atomic_write

HOUR = 3600.0


class Killed(BaseException):
    """In place of a kill -9: nothing in the way of it is to catch it."""


def kill(*_: object) -> None:
    raise Killed


def save_model(directory: Path, step: int, base: str = "model.ckpt") -> None:
    prefix = directory / f"{base}-{step}"
    assets = Path(f"{prefix}.assets")
    assets.mkdir(parents=True)
    (assets / "t-00000-of-00001").touch()
    for suffix in (".data-00000-of-00001", ".index", ".meta"):
        Path(f"{prefix}{suffix}").touch()


def save_inputs(directory: Path, step: int, *workers: int) -> None:
    directory.mkdir(exist_ok=True)
    for worker in workers:
        for suffix in (".data-00000-of-00001", ".index"):
            (directory / f"input_worker_{worker}.ckpt-{step}{suffix}").touch()
        write_input_state(str(directory), worker)


def save(directory: Path, *steps: int, override: object = None) -> None:
    """All that a save writes before it commits: a model and the inputs of two workers."""
    for step in steps:
        save_inputs(directory, step, 0, 1)
        save_model(directory, step)
        (directory / f"ckpt.info-{step}").touch()
        write_step_inputs(str(directory), StepInputs(step, "run", {}, override))


def begin(directory: Path, **options: float) -> CommittedSteps:
    """A chief, as it is after its restart."""
    steps = CommittedSteps(directory, **options)  # type: ignore[arg-type]  # one of them is an int
    steps.restart()
    return steps


def commit(steps: CommittedSteps, directory: Path, *numbers: int) -> None:
    for number in numbers:
        save(directory, number)
        steps.commit(number)


def state_of(directory: Path, name: str = "checkpoint") -> CheckpointState:
    return read_checkpoint_state(str(directory / name))


def listed(directory: Path) -> list[str]:
    state = state_of(directory)
    assert state.model_checkpoint_path == state.all_model_checkpoint_paths[-1]
    return list(state.all_model_checkpoint_paths)


def write_state(directory: Path, *paths: object, **fields: object) -> None:
    state = CheckpointState(str(paths[-1]), tuple(map(str, paths)))._replace(**fields)
    atomic_write(directory / "checkpoint", format_checkpoint_state(state).encode())


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def names_of(directory: Path, step: int) -> set[str]:
    return {name for name in names(directory) if f"-{step}" in name}


def exempt(directory: Path, *paths: object) -> None:
    lines = [f'exempt_model_checkpoint_paths: "{path}"\n' for path in paths]
    (directory / "monolith_checkpoint").write_text("".join(lines))


def age(directory: Path, **seconds: float) -> None:
    """Give the files of steps (`s100=1000.0`) these times of modification."""
    for step, at in seconds.items():
        for path in directory.glob(f"*-{step.removeprefix('s')}*"):
            os.utime(path, (at, at))
