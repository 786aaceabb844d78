"""Model directories of several small steps, whole and not, for tests that look at whole steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import dump_support

from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

TABLES = ("user_0", "user_1", "item_0")
START = 1_750_000_000.0
"""When step 0 was committed; one more second for each number."""

DENSE = {
    "w": ("float32", [2], b"\0\0\x80\x3f" * 2),
    "global_step": ("int64", [], b"\7" + b"\0" * 7),
}


def time_of(step: int) -> float:
    return START + step


def save_step(
    directory: Path,
    step: int,
    *,
    tables: Sequence[str] = TABLES,
    entries: int = 4,
    multis: Mapping[str, Mapping[str, int]] | None = None,
    shards: int = 2,
    manifest: bool = False,
    inputs: Sequence[int] = (),
) -> Path:
    """The files of a whole step, and nothing in `checkpoint`; returns its assets directory.

    Parameters
    ----------
    multis
        By the base name of a dump the tables in it, with their entries.
    inputs
        The workers that have an iterator state.
    """
    directory.mkdir(parents=True, exist_ok=True)
    prefix = directory / f"model.ckpt-{step}"
    write_tensor_bundle(prefix, DENSE)
    assets = Path(f"{prefix}.assets")
    assets.mkdir()
    for number, table in enumerate(tables):
        records = dump_support.random_entries(number, entries)
        dump_support.write_single_table(assets, table, records, shards)
    for base, of_base in (multis or {}).items():
        records_of = {t: dump_support.random_entries(len(t), n) for t, n in of_base.items()}
        dump_support.write_multi_table(assets, base, records_of, shards)
    for worker in inputs:
        write_tensor_bundle(directory / f"input_worker_{worker}.ckpt-{step}", {})
    for name in directory.glob(f"*ckpt-{step}*"):
        os.utime(name, (time_of(step), time_of(step)))
    if manifest:
        counts = dict.fromkeys(tables, entries)
        counts |= {base: sum(of_base.values()) for base, of_base in (multis or {}).items()}
        made = make_manifest(
            str(directory), "model.ckpt", step, "run", workers=inputs, entries=counts
        )
        write_step_manifest(str(directory), made)
    return assets


def commit(
    directory: Path, *paths: str | int, latest: str | int | None = None, times: bool = True
) -> None:
    """Let `checkpoint` list these, the last one or `latest` as the latest; numbers are steps."""
    names = [f"model.ckpt-{path}" if isinstance(path, int) else path for path in paths]
    named = f"model.ckpt-{latest}" if isinstance(latest, int) else latest
    stamps = tuple(time_of(int(name.rpartition("-")[2])) for name in names) if times else ()
    state = CheckpointState(named or names[-1], tuple(names), stamps)
    (directory / "checkpoint").write_text(format_checkpoint_state(state))


def save_steps(directory: Path, *steps: int, **options: object) -> Path:
    """Whole steps, all of them committed."""
    for step in steps:
        save_step(directory, step, **options)  # type: ignore[arg-type]
    commit(directory, *steps)
    return directory


def remove_step(directory: Path, step: int) -> None:
    """Delete the files of a step."""
    for path in directory.glob(f"*ckpt-{step}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
