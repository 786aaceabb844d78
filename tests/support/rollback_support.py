"""A job's directory of small steps, with all that lies beside them, for going back and forth."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import dump_support
from step_support import commit, save_step, time_of

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    write_input_state,
    write_step_inputs,
)

WORKERS = (0, 1)


class Kept(NamedTuple):
    """A file, with when it was written."""

    data: bytes
    modified_ns: int


def write_rolled(directory: Path, *steps: int, beside: Iterable[int] = ()) -> Path:
    """Steps with tables, dense variables, meta graphs, counts, inputs, pools, manifests.

    Parameters
    ----------
    beside
        Steps in `dense_only`.
    """
    for step in steps:
        save_rolled(directory, step)
    list_rolled(directory, *steps)
    for worker in WORKERS:
        write_input_state(str(directory), worker)
    (directory / "monolith_checkpoint").write_text(
        "last_checkpoint_save_timestamp: 17\nbuiltin_hash_table_type: MULTI_CUCKOO_HASH_MAP\n"
    )
    (directory / "graph.pbtxt").write_text("node {}")
    (directory / "events.out.tfevents.17.host-999").write_text("not of a step")
    inner = directory / "dense_only"
    for step in beside:
        save_step(inner, step, tables=())
    if inner.exists():
        list_rolled(inner, *beside)
    make_old(directory)
    return directory


def save_rolled(directory: Path, step: int) -> None:
    """The files of a step, and nothing in `checkpoint`."""
    save_step(directory, step, manifest=True, inputs=WORKERS)
    prefix = directory / f"model.ckpt-{step}"
    Path(f"{prefix}.meta").write_text("meta graph")
    (directory / f"ckpt.info-{step}").write_text("")
    dump_support.write_plain(Path(f"{prefix}_item_pool_0_0_1"), [b"an item"])
    workers = {worker: WorkerInput(True, {"files": 3}) for worker in WORKERS}
    write_step_inputs(str(directory), StepInputs(step, "run", workers))
    for path in of_step(directory, step):
        os.utime(path, (time_of(step), time_of(step)))


def list_rolled(directory: Path, *steps: int, latest: int | None = None) -> None:
    """List steps in `checkpoint`, long ago."""
    commit(directory, *steps, latest=latest)
    os.utime(directory / "checkpoint", (time_of(0), time_of(0)))


def make_old(directory: Path) -> None:
    """What is of no step was written long ago."""
    for path in [*directory.glob("*"), *directory.glob("dense_only/*")]:
        if "-" not in path.name or path.name.startswith("events"):
            os.utime(path, (time_of(0), time_of(0)))


def of_step(directory: Path, step: int) -> list[Path]:
    """The files and directories whose names have a step."""
    names = (f"*-{step}", f"*-{step}.*", f"*-{step}_*")
    return sorted({path for name in names for path in directory.glob(name)})


def tree(directory: Path) -> dict[str, Kept]:
    """Every file below, by its path."""
    return {
        os.fspath(path.relative_to(directory)): Kept(path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def bytes_in(directory: Path) -> dict[str, bytes]:
    """Every file below, without when it was written."""
    return {name: kept.data for name, kept in tree(directory).items()}
