"""A model directory to be judged: three steps with all that a job leaves, written by TensorFlow."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import dump_support as ds
import iterator_support
import numpy as np
import tf_support

from monolith_cli import messages
from monolith_cli.care.findings import Finding
from monolith_cli.care.fsck import CheckOptions, Judgement, check
from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info

STEPS = (100, 200, 300)
WORKERS = (0, 1)
VARIABLES = {
    "dense/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "dense/bias": np.ones(4, np.float32),
    "names": np.array([b"one", b"three"], object),
}
SINGLES = {"MonolithHashTable_a": (1, "adagrad"), "MonolithHashTable_b": (2, "ftrl")}
MULTI = "MonolithMultiHashTable"
FINGERPRINT = {"IteratorV2:0": {"version": 1, "digest": "0" * 16, "files": None, "nodes": []}}
OLD_SECONDS = 3 * 3600


def write_judged(directory: Path, *, manifests: bool = True, inputs: bool = True) -> Path:
    """Three steps: single tables, a dump of two tables, a filter, dense variables, counts, inputs.

    Their files are some hours old.
    """
    for step in STEPS:
        tf_support.save_checkpoint(directory, step, VARIABLES)
        assets = Path(f"{directory}/model.ckpt-{step}.assets")
        assets.mkdir()
        for base, (seed, optimizer) in SINGLES.items():
            records = ds.random_entries(seed + step, 40, segments=((optimizer, 3),))
            ds.write_single_table(assets, base, records, 2, tf=True)
        tables = {
            "item": ds.random_entries(3 + step, 30, segments=(("adam", 2),)),
            "user": ds.random_entries(4 + step, 50, segments=(("adagrad", 5),)),
        }
        ds.write_multi_table(assets, MULTI, tables, 2, tf=True)
        ds.write_hash_filter(assets, splits=2, total_size=12_000, seed=step, tf=True)
        info = CkptInfo({}, {"item": 30, "user": 50})
        write_ckpt_info(directory / f"ckpt.info-{step}", info)
        if inputs:
            for worker in WORKERS:
                prefix = directory / f"input_worker_{worker}.ckpt-{step}"
                iterator_support.write_states(prefix, IteratorV2=step, Other=7)
            workers = {worker: WorkerInput(True, FINGERPRINT) for worker in WORKERS}
            write_step_inputs(str(directory), StepInputs(step, "run", workers))
    if inputs:
        for worker in WORKERS:
            iterator_support.write_input_state(str(directory), worker)
    ds.write_checkpoint_state(directory, STEPS)
    (directory / "monolith_checkpoint").write_text("builtin_hash_table_type: CUCKOO_HASH_MAP\n")
    make_old(directory)
    if manifests:
        for step in STEPS:
            write_manifest(directory, step)
    return directory


def write_manifest(
    directory: Path, step: int, run_id: str = "run", entries: Mapping[str, int] | None = None
) -> None:
    """The manifest of a step, as a saver leaves it."""
    manifest = make_manifest(
        str(directory), "model.ckpt", step, run_id, workers=WORKERS, entries=entries
    )
    write_step_manifest(str(directory), manifest)
    make_old(directory)


def slots_of(assets: Path) -> dict[int, int]:
    """The entries of single tables by slot."""
    counts: dict[int, int] = {}
    for base in SINGLES:
        for path in assets.glob(f"{base}-*"):
            for record in tf_support.read_records(path):
                slot = (messages.EntryDump.FromString(record).id >> 48) & 0x7FFF
                counts[slot] = counts.get(slot, 0) + 1
    return counts


def make_old(directory: Path) -> None:
    """Set all times to some hours ago."""
    at = time.time() - OLD_SECONDS
    for path in directory.rglob("*"):
        os.utime(path, (at, at))


def copied(source: Path, target: Path) -> Path:
    """A copy to damage, with the times of the files."""
    return Path(shutil.copytree(source, target))


def judged(
    directory: Path, steps: int | str = "all", *, quick: bool = False, **how: object
) -> Judgement:
    """What a check finds."""
    return check(directory, steps, CheckOptions(quick=quick, jobs=1, **how))  # type: ignore[arg-type]


def told(judgement: Judgement, directory: Path, *, notes: bool = False) -> set[tuple[str, str]]:
    """Ids and files, below the directory, of what was found; notes only if they are asked for."""
    return {
        (each.id, below(each, directory))
        for each in judgement.findings
        if notes or each.severity != "note"
    }


def below(finding: Finding, directory: Path) -> str:
    """Its file, below the directory."""
    return os.path.relpath(finding.file, directory) if finding.file else ""


def flip(path: Path, at: int, bit: int = 3) -> None:
    """Flip a bit of a file; its times stay."""
    change(path, lambda data: data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])


def cut(path: Path, size: int) -> None:
    """Cut a file off; its times stay."""
    change(path, lambda data: data[:size])


def change(path: Path, how: Callable[[bytes], bytes]) -> None:
    """Replace what is in a file; its times stay."""
    status = path.stat()
    path.write_bytes(how(path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(paths: Iterable[Path]) -> None:
    """Delete files."""
    for path in paths:
        path.unlink()
