"""Whole steps with tables of one's own, and what is in them by TensorFlow's reader."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import dump_support as ds
import tf_support
from step_support import DENSE, commit
from table_support import checkpoint_of

from monolith_cli import messages
from monolith_cli.errors import MonolithError
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle
from monolith_cli.tables.diff.read_delta import read_delta
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.rewrite.plan import RewriteOptions, reading_of
from monolith_cli.tables.rewrite.planning import plan_tables
from monolith_cli.tables.rewrite.run import (
    TableOutcome,
    TablesOutcome,
    preview_tables,
    rewrite_tables,
)

STEP = 300


def write_step(
    directory: Path,
    singles: Mapping[str, Sequence[bytes]],
    multis: Mapping[str, Mapping[str, Sequence[bytes]]],
    *,
    shards: int = 2,
    filters: Mapping[str, int] | None = None,
) -> Path:
    """A model directory with one step of these tables.

    Parameters
    ----------
    filters
        Occurrence filters: their number of splits.
    """
    directory.mkdir(parents=True)
    write_tensor_bundle(directory / f"model.ckpt-{STEP}", DENSE)
    assets = directory / f"model.ckpt-{STEP}.assets"
    assets.mkdir()
    for base, records in singles.items():
        ds.write_single_table(assets, base, records, shards)
    for base, tables in multis.items():
        ds.write_multi_table(assets, base, tables, shards)
    for number, (base, splits) in enumerate((filters or {}).items()):
        ds.write_hash_filter(assets, base, splits, total_size=10_500, seed=number)
    commit(directory, STEP)
    return directory


def rewrite(
    model: Path,
    target: Path,
    options: RewriteOptions,
    *,
    delta: Path | None = None,
    jobs: int = 1,
) -> TablesOutcome:
    """Make its tables anew; a dry run has said before what becomes of them."""
    would = run(model, None, options, delta, jobs)
    assert not target.exists()
    assets = target / f"model.ckpt-{STEP}.assets"
    assets.mkdir(parents=True)
    try:
        done = run(model, assets, options, delta, jobs)
    except MonolithError:
        shutil.rmtree(target)
        raise
    assert list(map(told, would.tables)) == list(map(told, done.tables))
    return done


def run(
    model: Path, assets: Path | None, options: RewriteOptions, delta: Path | None, jobs: int = 1
) -> TablesOutcome:
    options.check()
    found = find_tables(checkpoint_of(model), (), reading_of(options))
    read = read_delta(delta) if delta else None
    with Workers(jobs) as workers:
        plan = plan_tables(found, options, workers, ignore, read)
        if assets is None:
            return preview_tables(plan, options, workers, ignore)
        return rewrite_tables(plan, options, str(assets), workers, ignore)


def assets_of(target: Path) -> Path:
    [assets] = target.glob("*.assets")
    return assets


def ignore(_: int) -> None:
    pass


def told(table: TableOutcome) -> tuple[object, ...]:
    """What a run says of a table, whether it writes or not."""
    counts = [(into.target, into.entries) for into in table.targets]
    return table.plan.name, table.plan.base, table.passages, counts


def singles_of(model: Path) -> dict[str, list[bytes]]:
    """The records of each single table, by TensorFlow."""
    found: dict[str, list[bytes]] = {}
    multis = {base for base, _ in multis_of(model)}
    for path in sorted(model.glob("*.assets/*-of-*")):
        base = path.name.rsplit("-", 3)[0]
        if base.removesuffix(".meta") not in multis and not base.startswith("hash_filter"):
            found.setdefault(base, []).extend(tf_support.read_records(path))
    return found


def multis_of(model: Path) -> dict[tuple[str, str], list[bytes]]:
    """The records of tables that share files, by base name and table, by TensorFlow."""
    found: dict[tuple[str, str], list[bytes]] = {}
    for path in sorted(model.glob("*.assets/*.meta-*-of-*")):
        data = path.with_name(path.name.replace(".meta-", "-"))
        base = data.name.rsplit("-", 3)[0]
        records = iter(tf_support.read_records(data, snappy=True))
        for meta in tf_support.read_records(path):
            table = messages.MultiHashTableMetadata.FromString(meta)
            some = [next(records) for _ in range(table.num_entries)]
            found.setdefault((base, table.table_name), []).extend(some)
        assert not list(records)
    return found


def fid_of(record: bytes) -> int:
    fid: int = messages.EntryDump.FromString(record).id
    return fid


def shards_of(model: Path, base: str) -> int:
    """How many files a dump has."""
    return len(list(model.glob(f"*.assets/{base}-*-of-*")))
