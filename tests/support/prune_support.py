"""Model directories whose steps may go, and plans for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from step_support import save_step, time_of

from monolith_cli.care.keeping import Policy
from monolith_cli.care.prune.plan import PruneOptions, PrunePlan, plan_prune
from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
)

DAY = 86_400.0
LONG_AGO = time_of(0)


def make_old(directory: Path, at: float = LONG_AGO) -> None:
    """Let everything have been written long ago, so that no job seems to live."""
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (at, at), follow_symlinks=False)


def list_steps(directory: Path, *steps: int, latest: int | None = None, times: bool = True) -> None:
    """Let `checkpoint` list steps, by the times of their numbers."""
    names = [f"model.ckpt-{step}" for step in steps]
    named = names[-1] if latest is None else f"model.ckpt-{latest}"
    stamps = tuple(map(time_of, steps)) if times else ()
    text = format_checkpoint_state(CheckpointState(named, tuple(names), stamps))
    (directory / "checkpoint").write_text(text)
    os.utime(directory / "checkpoint", (time_of(steps[-1]), time_of(steps[-1])))


def save_job(directory: Path, *steps: int, workers: tuple[int, ...] = (), **options: Any) -> Path:
    """Steps of a job of ours that has ended long ago, with counts and inputs of these workers."""
    for step in steps:
        save_step(directory, step, inputs=workers, **options)
        write_step_inputs(
            str(directory), StepInputs(step, "run", {w: WorkerInput(True) for w in workers})
        )
        (directory / f"ckpt.info-{step}").write_text("")
        for path in directory.glob(f"*-{step}*"):
            os.utime(path, (time_of(step), time_of(step)))
    list_steps(directory, *steps)
    for worker in workers:
        names = tuple(f"input_worker_{worker}.ckpt-{step}" for step in steps)
        text = format_checkpoint_state(CheckpointState(names[-1], names))
        (directory / f"checkpoint_input_worker_{worker}").write_text(text)
    return directory


def exempt(directory: Path, *names: object) -> None:
    lines = [f'exempt_model_checkpoint_paths: "{name}"\n' for name in names]
    (directory / "monolith_checkpoint").write_text("".join(lines))


def plan(directory: Path, **options: Any) -> PrunePlan:
    """A plan; what belongs to the policy is given beside the options."""
    policy = {name: options.pop(name) for name in list(options) if name in Policy._fields}
    return plan_prune(directory, PruneOptions(Policy(**policy), **options))


def going(made: PrunePlan, place: int = 0) -> list[int | None]:
    return [fate.step for fate in made.places[place].going]


def why(made: PrunePlan, place: int = 0) -> dict[int | None, list[str]]:
    """By step the ids of the reasons."""
    return {f.step: [reason.id for reason in f.reasons] for f in made.places[place].fates}


def listed(directory: Path, name: str = "checkpoint") -> list[str]:
    return list(read_checkpoint_state(str(directory / name)).all_model_checkpoint_paths)


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}
