"""Occurrence filters: summed up from their first records, which protobuf writes here."""

from __future__ import annotations

from pathlib import Path

import dump_support as ds
import pytest
import tf_support
from table_support import checkpoint_of, flip, open_all

from monolith_cli import messages
from monolith_cli.errors import CorruptionError, MissingShardError, PathNotFoundError
from monolith_cli.tables import ReadOptions
from monolith_cli.tables.counts import CountOptions, count_checkpoint
from monolith_cli.tables.hash_filters import HashFilterSummary, summarize_hash_filter


def summary(directory: Path, name: str = "hash_filter_0") -> HashFilterSummary:
    sets = checkpoint_of(directory).table_files().hash_filters[name]
    return summarize_hash_filter(name, sets, ReadOptions())


def split(elements: int, cells: int, failures: int) -> bytes:
    meta = messages.HashFilterSplitMetaDump(
        failure_count=failures, total_size=cells, num_elements=elements, fill_rate=0.5
    )
    meta.sliding_hash_filter_meta.split_num = 7
    meta.sliding_hash_filter_meta.failure_count = 99
    return bytes(meta.SerializeToString())


@pytest.fixture
def filtered(tmp_path: Path) -> Path:
    """A model directory with a filter of two splits, written by TensorFlow."""
    ds.write_model_dir(tmp_path, hash_filters=2, tf=True)
    return tmp_path


def test_a_filter_written_by_tensorflow(filtered: Path) -> None:
    size = sum(path.stat().st_size for path in filtered.glob("*.assets/hash_filter_0-*"))
    assert summary(filtered) == HashFilterSummary(
        name="hash_filter_0",
        splits=2,
        bytes=size,
        elements=200,
        cells=50_000,
        fill_rate=0.004,
        failures=0,
    )
    # The dump is as the format says: every cell is there, 10,000 a record.
    [path, _] = sorted(filtered.glob("*.assets/hash_filter_0-*"))
    meta, *data = tf_support.read_records(path)
    assert messages.HashFilterSplitMetaDump.FromString(meta).total_size == 25_000
    blocks = [messages.HashFilterSplitDataDump.FromString(block) for block in data]
    assert [(block.offset, len(block.data)) for block in blocks] == [
        (0, 10_000),
        (10_000, 10_000),
        (20_000, 5064),
    ]


def test_splits_are_summed_up(filtered: Path) -> None:
    assets = filtered / "model.ckpt-300.assets"
    for number, record in enumerate([split(10, 100, 1), split(30, 300, 2)]):
        ds.write_plain(ds.shard_path(assets, "hash_filter_0", number, 2), [record])
    found = summary(filtered)
    assert (found.elements, found.cells, found.fill_rate, found.failures) == (40, 400, 0.1, 3)


def test_empty_files_and_empty_messages(filtered: Path) -> None:
    assets = filtered / "model.ckpt-300.assets"
    ds.write_plain(ds.shard_path(assets, "hash_filter_0", 0, 2), [])
    ds.write_plain(ds.shard_path(assets, "hash_filter_0", 1, 2), [b""])
    assert summary(filtered) == HashFilterSummary("hash_filter_0", 2, 16, 0, 0, None, 0)


def test_filters_are_no_tables_and_no_entries(filtered: Path) -> None:
    assert list(open_all(filtered)) == ["MonolithHashTable_a", "MonolithHashTable_b"]
    counts = count_checkpoint(checkpoint_of(filtered))
    assert counts.entries == 41
    assert counts.hash_filters == [summary(filtered)]


def test_damage(filtered: Path) -> None:
    path = filtered / "model.ckpt-300.assets" / "hash_filter_0-00001-of-00002"
    sound = path.read_bytes()
    for at in range(12 + len(split(1, 1, 1))):
        path.write_bytes(sound)
        flip(path, at, at % 8)
        with pytest.raises(CorruptionError) as caught:
            summary(filtered)
        assert (caught.value.path, caught.value.offset) == (str(path), 0)
    # With damage to be skipped there is no such filter, and the damage is listed.
    counts = count_checkpoint(checkpoint_of(filtered), CountOptions(skip_corrupt=True))
    assert counts.hash_filters == []
    assert [damage.path for damage in counts.skipped] == [str(path)]
    assert counts.entries == 41


def test_something_else_in_a_good_frame(filtered: Path) -> None:
    path = filtered / "model.ckpt-300.assets" / "hash_filter_0-00000-of-00002"
    ds.write_plain(path, [b"\xff\xff"])
    with pytest.raises(CorruptionError, match="no hash filter") as caught:
        summary(filtered)
    assert (caught.value.path, caught.value.record) == (str(path), 0)
    assert caught.value.kind == "bad_message"


def test_a_missing_split(filtered: Path) -> None:
    checkpoint = checkpoint_of(filtered)
    sets = checkpoint.table_files().hash_filters["hash_filter_0"]
    path = filtered / "model.ckpt-300.assets" / "hash_filter_0-00001-of-00002"
    path.unlink()
    with pytest.raises(PathNotFoundError) as caught:
        summarize_hash_filter("hash_filter_0", sets, ReadOptions())
    assert caught.value.path == str(path)
    checkpoint = checkpoint_of(filtered)
    with pytest.raises(MissingShardError):
        count_checkpoint(checkpoint)
    counts = count_checkpoint(checkpoint, CountOptions(partial=True))
    assert (counts.entries, counts.hash_filters) == (41, [])
    assert [problem.path for problem in counts.problems] == [str(path)]
    # Where tables are picked, filters are not looked at.
    picked = count_checkpoint(checkpoint, CountOptions(patterns=["*_a"]))
    assert (picked.entries, picked.problems) == (30, [])
    assert [warning.partition(": ")[0] for warning in picked.warnings] == [str(path)]
