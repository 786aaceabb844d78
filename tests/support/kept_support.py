"""A small model directory with all that may lie in one, and what must be true of it at any time."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from step_support import commit, save_step, time_of

from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.formats.ckpt_info import write_ckpt_info
from monolith_cli.storage.atomic import leftovers
from monolith_cli.tables.counts import count_checkpoint

EXEMPT, DAILY, LISTED = 100, 200, (100, 300, 400, 500)
"""A step that is pinned, one that a job keeps unlisted, and those in `checkpoint`."""

STEPS = (100, 200, 300, 400, 500)
UNCOMMITTED = 350
LATER = 700
"""What another job saves in the middle of a command."""


def write_kept(directory: Path, entries: int = 4) -> Path:
    """Five steps, four of them listed; a save that died; inputs, item pools, flags, dense_only."""
    for step in STEPS:
        save_step(
            directory,
            step,
            tables=("user_0",),
            entries=entries,
            shards=1,
            manifest=True,
            inputs=(0, 1),
        )
        workers = {worker: WorkerInput(True, {}) for worker in (0, 1)}
        write_step_inputs(str(directory), StepInputs(step, "run", workers))
        (directory / f"model.ckpt-{step}.meta").write_text("a graph")
    commit(directory, *LISTED)
    for step in LISTED:
        counts = count_checkpoint(open_model_dir(directory).checkpoint(step))
        write_ckpt_info(directory / f"ckpt.info-{step}", counts.ckpt_info())
    for worker in (0, 1):
        write_input_state(str(directory), worker, STEPS[-1])
    for step in (300, 500):
        (directory / f"model.ckpt-{step}_item_pool_0_0_1").write_bytes(b"")
        save_step(directory / "dense_only", step, tables=())
    commit(directory / "dense_only", 300, 500)
    (directory / f"model.ckpt-{UNCOMMITTED}.data-00000-of-00001").write_bytes(b"half of it")
    (directory / f"model.ckpt-{UNCOMMITTED}.assets").mkdir()
    for shard in ("user_0-00000-of-00002", "user_0-00001-of-00002"):
        (directory / f"model.ckpt-{UNCOMMITTED}.assets" / shard).write_bytes(b"")
    (directory / "restore_ckpt").write_text(f'model_checkpoint_path: "model.ckpt-{EXEMPT}"\n')
    (directory / "monolith_checkpoint").write_text(
        f'exempt_model_checkpoint_paths: "model.ckpt-{EXEMPT}"\n'
        "builtin_hash_table_type: CUCKOO_HASH_MAP\n"
    )
    (directory / "graph.pbtxt").write_text("a graph")
    make_old(directory)
    return directory


def make_old(directory: Path) -> None:
    """Times that fit the steps, a long time ago."""
    for path in directory.rglob("*"):
        step = re.search(r"-(\d+)(?=[._]|$)", os.fspath(path.relative_to(directory)))
        at = time_of(int(step[1]) if step else STEPS[-1])
        os.utime(path, (at, at))


def files_of(directory: Path, *steps: int) -> dict[str, bytes]:
    """The files of steps, with their bytes; by their names alone."""
    found = {}
    for step in steps:
        for path in directory.rglob("*"):
            name = os.fspath(path.relative_to(directory))
            if path.is_file() and re.search(rf"ckpt(\.[a-z]+)?-{step}(?!\d)", name):
                found[name] = path.read_bytes()
    return found


def contents(directory: Path) -> dict[str, bytes | None]:
    """All files below, and all empty directories (None), but for what dead processes have left.

    None says when it was made: neither the directory of a rollback, nor what is in files.
    """
    found: dict[str, bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if any(list(leftovers([part])) for part in parts):
            continue
        if path.is_file():
            found[place("/".join(parts))] = timeless(path)
        elif not any(path.iterdir()):
            found[place("/".join(parts))] = None
    return found


def place(name: str) -> str:
    return re.sub(r"^rolled-back/[^/]+", "rolled-back/then", name)


def timeless(path: Path) -> bytes:
    """A file without the times of when it was written; `checkpoint` has those of commits."""
    data = re.sub(rb'"at": [0-9.]+', b'"at": 0', path.read_bytes())
    if path.name.startswith("checkpoint_input_"):
        data = re.sub(rb"(timestamps?): [0-9.]+", rb"\1: 0", data)
    return re.sub(rb"rolled-back/[0-9]{8}T[0-9]{6}Z", b"rolled-back/then", data)


def litter(directory: Path) -> list[str]:
    """What dead processes have left, at any depth."""
    return [p.name for p in directory.rglob("*") if list(leftovers([p.name]))]


def assert_sound(directory: Path) -> list[int]:
    """What is listed is whole, and the latest is listed, in `dense_only` too; the steps listed."""
    found = survey(directory)
    for each in (found, found.dense_only):
        if each is None:
            continue
        for step in each.steps:
            assert not step.is_listed or step.state == "complete", (step.step, step.missing)
        assert each.latest is not None
        assert each.latest.is_listed
    return [step.step for step in found.steps if step.is_listed and step.step is not None]


def commit_another(directory: Path) -> None:
    """A job that has just begun from what `checkpoint` names saves a step, and lists it."""
    state = read_checkpoint_state(str(directory / "checkpoint"))
    save_step(directory, LATER, tables=("user_0",), shards=1)
    (directory / "checkpoint").unlink()  # not written in place: it may be a link
    commit(directory, *state.all_model_checkpoint_paths, LATER)
    now = time.time()
    for path in directory.glob(f"*-{LATER}*"):
        os.utime(path, (now, now))
