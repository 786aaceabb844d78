"""The tests' own writers, checked against TensorFlow and protobuf."""

from __future__ import annotations

import random
from pathlib import Path

import dump_support as ds
import pytest
import tf_support
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import messages

RECORDS = [b"", b"a", b"monolith" * 1000, bytes(range(256))]


def test_crc32c() -> None:
    assert ds.crc32c(b"123456789") == 0xE3069283
    assert ds.crc32c(b"") == 0
    assert ds.crc32c(b"6789", ds.crc32c(b"12345")) == 0xE3069283
    assert ds.masked_crc32c(b"123456789") == 0xC78AB0E5


def test_frame_is_what_tensorflow_writes(tmp_path: Path) -> None:
    tf_support.write_plain(tmp_path / "tf", RECORDS)
    assert ds.frame(*RECORDS) == (tmp_path / "tf").read_bytes()
    assert ds.frame_starts(RECORDS)[-1] == (tmp_path / "tf").stat().st_size
    assert tf_support.read_records(tmp_path / "tf") == RECORDS


@pytest.mark.parametrize("block_bytes", [1, 7, 5000, 262_144])
def test_tensorflow_reads_snappy_blocks(tmp_path: Path, block_bytes: int) -> None:
    path = tmp_path / "ours"
    path.write_bytes(ds.snappy_blocks(ds.frame(*RECORDS), block_bytes))
    assert tf_support.read_records(path, snappy=True) == RECORDS


def test_tensorflow_reads_what_it_wrote_with_snappy(tmp_path: Path) -> None:
    tf_support.write_snappy(tmp_path / "tf", RECORDS)
    assert tf_support.read_records(tmp_path / "tf", snappy=True) == RECORDS


def test_empty_files(tmp_path: Path) -> None:
    tf_support.write_plain(tmp_path / "plain", [])
    tf_support.write_snappy(tmp_path / "snappy", [])
    assert (tmp_path / "plain").read_bytes() == ds.frame() == b""
    assert (tmp_path / "snappy").read_bytes() == ds.snappy_blocks(b"") == b""


@given(st.integers(0, 2**32))
def test_scrambled_bytes_mean_the_same(seed: int) -> None:
    rng = random.Random(seed)
    entry = ds.random_entry(rng)
    again = messages.EntryDump.FromString(ds.scrambled(entry, rng))
    again.DiscardUnknownFields()
    assert again.SerializeToString(deterministic=True) == entry.SerializeToString(
        deterministic=True
    )


def test_every_optimizer_field_is_known_here() -> None:
    fields = messages.SingleOptimizerDump.DESCRIPTOR.fields
    assert {field.name: field.number for field in fields} == ds.NUMBERS
    for field in fields:
        named = {name for names in ds.OPTIMIZERS[field.name] for name in names}
        assert {inner.name for inner in field.message_type.fields} == named


def test_model_directory_by_tensorflow(tmp_path: Path) -> None:
    assets = ds.write_model_dir(
        tmp_path,
        21,
        multis={"multi": {"b": ds.random_entries(3, 5), "a": ds.random_entries(4, 4)}},
        hash_filters=1,
        tf=True,
    )
    tf = tf_support.tensorflow()
    assert tf.train.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-21")
    assert tf.train.load_variable(str(tmp_path / "model.ckpt-21"), "global_step") == 21
    assert sorted(path.name for path in assets.iterdir()) == [
        "hash_filter_0-00000-of-00001",
        "multi-00000-of-00002",
        "multi-00001-of-00002",
        "multi.meta-00000-of-00002",
        "multi.meta-00001-of-00002",
    ]
    meta = tf_support.read_records(assets / "multi.meta-00000-of-00002")
    assert [messages.MultiHashTableMetadata.FromString(record) for record in meta] == [
        messages.MultiHashTableMetadata(table_name="b", num_entries=3),
        messages.MultiHashTableMetadata(table_name="a", num_entries=2),
    ]
    assert len(tf_support.read_records(assets / "multi-00000-of-00002", snappy=True)) == 5
    header, *cells = tf_support.read_records(assets / "hash_filter_0-00000-of-00001")
    assert messages.HashFilterSplitMetaDump.FromString(header).total_size == 25_000
    parsed = [messages.HashFilterSplitDataDump.FromString(record) for record in cells]
    assert [(record.offset, len(record.data)) for record in parsed] == [
        (0, 10_000),
        (10_000, 10_000),
        (20_000, 5_064),
    ]


def test_model_directory_by_hand(tmp_path: Path) -> None:
    assets = ds.write_model_dir(tmp_path / "model", 7, shards=3)
    assert (tmp_path / "model" / "checkpoint").read_text() == (
        'model_checkpoint_path: "model.ckpt-7"\nall_model_checkpoint_paths: "model.ckpt-7"\n'
    )
    records = [
        record
        for shard in range(3)
        for record in tf_support.read_records(
            ds.shard_path(assets, "MonolithHashTable_a", shard, 3)
        )
    ]
    assert records == ds.random_entries(1, 30)
    assert sum(ds.slot_counts(records).values()) == 30
