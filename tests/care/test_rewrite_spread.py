"""A step whose entries are spread anew, or become those of a delta: it is whole in every way."""

from __future__ import annotations

import os
import random
from pathlib import Path

import dump_support as ds
import spread_support as sp
import tf_support
from table_support import checkpoint_of

from monolith_cli import messages
from monolith_cli.care.fsck import check
from monolith_cli.care.rewrite import rewrite_step
from monolith_cli.checkpoint.manifests import read_step_manifest
from monolith_cli.formats.ckpt_info import read_ckpt_info
from monolith_cli.tables.counts import CountOptions, count_checkpoint
from monolith_cli.tables.diff.compare import diff_tables
from monolith_cli.tables.diff.delta import DeltaWriter
from monolith_cli.tables.rewrite.plan import RewriteOptions

RECORDS = ds.random_entries(21, 200)


def is_whole(target: Path) -> None:
    judgement = check(target)
    assert (judgement.verdict, judgement.findings) == ("sound", [])
    counts = count_checkpoint(checkpoint_of(target), CountOptions(scan_multi=True))
    assert read_ckpt_info(target / f"ckpt.info-{sp.STEP}") == counts.ckpt_info()
    manifest = read_step_manifest(str(target), sp.STEP)
    assert manifest is not None
    for file in manifest.files:
        data = (target / file.name).read_bytes()
        assert (file.size_bytes, file.crc32c) == (len(data), f"{ds.crc32c(data):08x}")


def test_servers_and_empty_filters(tmp_path: Path) -> None:
    filters = {"hash_filter_0": 2}
    model = sp.write_step(
        tmp_path / "model", {"s": RECORDS}, {"M": {"a": RECORDS[:90], "e": []}}, filters=filters
    )
    options = RewriteOptions(servers=3, reset_filters=True)
    done = rewrite_step(model, tmp_path / "new", None, options, jobs=2)
    assert any("counted anew" in warning for warning in done.warnings)
    is_whole(tmp_path / "new")
    paths = sorted((tmp_path / "new").glob("*.assets/hash_filter_*"))
    assert len(paths) == 6
    for path in paths:
        head, *rest = tf_support.read_records(path)
        assert messages.HashFilterSplitMetaDump.FromString(head).num_elements == 0
        cells = [messages.HashFilterSplitDataDump.FromString(record) for record in rest]
        assert [(each.offset, set(each.data)) for each in cells] == [(0, {0}), (10_000, {0})]
        assert sum(len(each.data) for each in cells) == 10_564


def test_a_delta(tmp_path: Path) -> None:
    later = [*RECORDS[20:150], *ds.random_entries(22, 60)]
    random.Random(1).shuffle(later)
    a = sp.write_step(tmp_path / "a", {"s": RECORDS}, {"M": {"a": RECORDS, "e": []}}, shards=3)
    b = sp.write_step(tmp_path / "b", {"s": later, "new": RECORDS[:3]}, {"M": {"a": later}})
    writer = DeltaWriter(os.fspath(tmp_path / "d"), sp.STEP, sp.STEP)
    diff_tables(checkpoint_of(a), checkpoint_of(b), delta=writer)
    done = rewrite_step(a, tmp_path / "new", None, RewriteOptions(), delta=tmp_path / "d", jobs=2)
    assert not done.warnings
    is_whole(tmp_path / "new")
    assert not diff_tables(checkpoint_of(tmp_path / "new"), checkpoint_of(b)).differs
