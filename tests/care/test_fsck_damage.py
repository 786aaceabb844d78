"""Every kind of damage is found, in the file where it is, and in no other.

The directory has no manifests: what is found here, the formats show.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import judge_support as js
import pytest
from dump_support import frame, masked_crc32c, random_entries

from monolith_cli import messages
from monolith_cli.care.findings import SEVERITY

Damage = Callable[[Path], None]

ASSETS = "model.ckpt-200.assets"
A, B, MULTI = "MonolithHashTable_a", "MonolithHashTable_b", js.MULTI
FILTER = "hash_filter_0"
DATA = "model.ckpt-200.data-00000-of-00001"
INDEX = "model.ckpt-200.index"
STATE = "input_worker_1.ckpt-200"


def shard(base: str, number: int) -> str:
    return f"{ASSETS}/{base}-{number:05d}-of-00002"


def removed(*names: str) -> Damage:
    return lambda directory: js.remove(directory / name for name in names)


def flipped(name: str, share: float = 0.5) -> Damage:
    """A bit of a file, at a share of its size."""

    def damage(directory: Path) -> None:
        path = directory / name
        js.flip(path, int(path.stat().st_size * share))

    return damage


def cut(name: str, share: float = 0.5) -> Damage:
    def damage(directory: Path) -> None:
        path = directory / name
        js.cut(path, int(path.stat().st_size * share))

    return damage


def written(name: str, data: bytes) -> Damage:
    return lambda directory: js.change(directory / name, lambda _: data)


def moved(name: str, to: str) -> Damage:
    return lambda directory: (directory / name).rename(directory / to) and None


def added(name: str, data: bytes = b"") -> Damage:
    def damage(directory: Path) -> None:
        (directory / name).write_bytes(data)
        js.make_old(directory)

    return damage


def without_last_record(name: str) -> Damage:
    """A file of records without the last one: cut where a record ends."""

    def damage(directory: Path) -> None:
        import tf_support

        path = directory / name
        js.change(path, lambda _: frame(*tf_support.read_records(path)[:-1]))

    return damage


def fewer_in_snappy(directory: Path) -> None:
    _rewrite_snappy(directory, lambda records: records[:-2])


def more_in_snappy(directory: Path) -> None:
    _rewrite_snappy(directory, lambda records: [*records, *random_entries(9, 3)])


def _rewrite_snappy(directory: Path, how: Callable[[list[bytes]], list[bytes]]) -> None:
    import tf_support

    path = directory / shard(MULTI, 1)
    records = how(tf_support.read_records(path, snappy=True))
    path.unlink()
    tf_support.write_snappy(path, records)
    js.make_old(directory)


def mixed_dims(directory: Path) -> None:
    import tf_support

    path = directory / shard(A, 1)
    records = tf_support.read_records(path)
    js.change(path, lambda _: frame(*records, *random_entries(8, 1, segments=(("adagrad", 4),))))


def mixed_optimizers(directory: Path) -> None:
    import tf_support

    path = directory / shard(A, 1)
    records = tf_support.read_records(path)
    js.change(path, lambda _: frame(*records, *random_entries(8, 1, segments=(("sgd", 3),))))


def mixed_in_multi(directory: Path) -> None:
    def odd(records: list[bytes]) -> list[bytes]:
        return [*records[:-1], *random_entries(8, 1, segments=(("adagrad", 6),))]

    _rewrite_snappy(directory, odd)


def short_contents(directory: Path) -> None:
    path = directory / shard(f"{MULTI}.meta", 0)
    js.change(path, lambda _: frame(_meta("item", 15)))


def _meta(name: str, entries: int) -> bytes:
    meta = messages.MultiHashTableMetadata(table_name=name, num_entries=entries)
    return bytes(meta.SerializeToString())


LONG = struct.pack("<Q", 1 << 40)
LONG += struct.pack("<I", masked_crc32c(LONG))
"""The header of a record that nobody would have written."""

NO_LENGTH = struct.pack(">I", 10) + b"\xff" * 10
"""A SNAPPY block that does not say how long it is uncompressed."""

NO_BLOCK = struct.pack(">I", 6) + b"\x05" + b"\xff" * 5
"""One of 5 bytes that does not decompress."""

FOUND: dict[str, tuple[Damage, set[tuple[str, str]]]] = {
    "a shard of a single table": (removed(shard(A, 1)), {("missing_shard", shard(A, 1))}),
    "a shard of many tables": (removed(shard(MULTI, 0)), {("missing_shard", shard(MULTI, 0))}),
    "all data of many tables": (
        removed(shard(MULTI, 0), shard(MULTI, 1)),
        {("missing_shard", shard(MULTI, 0)), ("missing_shard", shard(MULTI, 1))},
    ),
    "a contents file": (
        removed(shard(f"{MULTI}.meta", 1)),
        {("missing_shard", shard(f"{MULTI}.meta", 1))},
    ),
    "all contents files": (
        removed(shard(f"{MULTI}.meta", 0), shard(f"{MULTI}.meta", 1)),
        {
            ("missing_shard", shard(f"{MULTI}.meta", 0)),
            ("missing_shard", shard(f"{MULTI}.meta", 1)),
        },
    ),
    "a split of a filter": (removed(shard(FILTER, 0)), {("missing_shard", shard(FILTER, 0))}),
    "another total": (
        moved(shard(A, 1), f"{ASSETS}/{A}-00001-of-00003"),
        {("shard_totals_differ", f"{ASSETS}/{A}-00001-of-00003")},
    ),
    "an emptied shard of many tables": (
        written(shard(MULTI, 1), b""),
        {("empty_shard", shard(MULTI, 1))},
    ),
    "an emptied split of a filter": (
        written(shard(FILTER, 1), b""),
        {("empty_shard", shard(FILTER, 1))},
    ),
    "an emptied contents file": (
        written(shard(f"{MULTI}.meta", 1), b""),
        {("empty_contents", shard(f"{MULTI}.meta", 1))},
    ),
    "a contents file that names less": (
        short_contents,
        {("short_contents", shard(f"{MULTI}.meta", 0))},
    ),
    "a bit of a record": (flipped(shard(A, 0)), {("bad_data_crc", shard(A, 0))}),
    "a bit of a length": (flipped(shard(B, 0), 0), {("bad_length_crc", shard(B, 0))}),
    "a cut record": (cut(shard(A, 1), 0.99), {("truncated_data", shard(A, 1))}),
    "a bit of a SNAPPY block": (flipped(shard(MULTI, 0)), {("bad_data_crc", shard(MULTI, 0))}),
    "a cut SNAPPY block": (cut(shard(MULTI, 0)), {("truncated_block", shard(MULTI, 0))}),
    "a bit of a filter": (flipped(shard(FILTER, 1)), {("bad_data_crc", shard(FILTER, 1))}),
    "a record of a filter": (
        without_last_record(shard(FILTER, 1)),
        {("too_few_entries", shard(FILTER, 1))},
    ),
    "a bit of a contents file": (
        flipped(shard(f"{MULTI}.meta", 0), 0.9),
        {("bad_data_crc", shard(f"{MULTI}.meta", 0))},
    ),
    "a cut header": (
        lambda d: js.change(d / shard(A, 1), lambda data: data + data[:5]),
        {("truncated_header", shard(A, 1))},
    ),
    "a length that no record has": (
        lambda d: js.change(d / shard(A, 1), lambda data: data + LONG),
        {("record_too_long", shard(A, 1))},
    ),
    "a record of something else": (
        lambda d: js.change(d / shard(A, 1), lambda data: data + frame(b"\x0a\xff")),
        {("bad_message", shard(A, 1))},
    ),
    "a length of a SNAPPY block": (
        lambda d: js.change(d / shard(MULTI, 1), lambda data: NO_LENGTH + data),
        {("bad_block_length", shard(MULTI, 1))},
    ),
    "a SNAPPY block of something else": (
        lambda d: js.change(d / shard(MULTI, 1), lambda data: NO_BLOCK + data),
        {("bad_block", shard(MULTI, 1))},
    ),
    "another format": (
        written(shard(A, 0), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        {("not_records", shard(A, 0))},
    ),
    "fewer entries": (fewer_in_snappy, {("too_few_entries", shard(MULTI, 1))}),
    "more entries": (more_in_snappy, {("extra_entries", shard(MULTI, 1))}),
    "other lengths": (mixed_dims, {("dims_differ", shard(A, 1))}),
    "other optimizers": (mixed_optimizers, {("dims_differ", shard(A, 1))}),
    "other lengths in a table of many": (mixed_in_multi, {("dims_differ", shard(MULTI, 1))}),
    "what looks like a shard": (
        added(f"{ASSETS}/{A}-00000-of-00002-tmp-77"),
        {("unloadable_leftover", f"{ASSETS}/{A}-00000-of-00002-tmp-77")},
    ),
    "the index": (removed(INDEX), {("missing_bundle_file", INDEX)}),
    "the data file": (removed(DATA), {("missing_bundle_file", DATA)}),
    "a cut data file": (cut(DATA), {("short_bundle_file", DATA)}),
    "a bit of the index": (flipped(INDEX, 0.1), {("bad_bundle_index", INDEX)}),
    "a cut index": (cut(INDEX), {("bad_bundle_index", INDEX)}),
    "a bit of a dense value": (flipped(DATA, 0.1), {("bad_bundle_value", DATA)}),
    "a data file of another save": (
        lambda d: js.change(d / DATA, lambda data: bytes(b ^ 0x55 for b in data)),
        {("bundle_mixed", DATA)},
    ),
    "checkpoint": (
        written("checkpoint", b'model_checkpoint_path: "x\n'),
        {("bad_state_file", "checkpoint")},
    ),
    "no checkpoint": (removed("checkpoint"), {("bad_state_file", "checkpoint")}),
    "monolith_checkpoint": (
        written("monolith_checkpoint", b"builtin_hash_table_type {"),
        {("bad_state_file", "monolith_checkpoint")},
    ),
    "the counts": (
        written("ckpt.info-200", b"slot_counts {"),
        {("bad_state_file", "ckpt.info-200")},
    ),
    "whose inputs": (written("ckpt.inputs-200", b"{"), {("bad_state_file", "ckpt.inputs-200")}),
    "an override": (added("ckpt.override", b"{"), {("bad_state_file", "ckpt.override")}),
    "a worker's state file": (
        written("checkpoint_input_worker_1", b"model_checkpoint_path"),
        {("bad_state_file", "checkpoint_input_worker_1")},
    ),
    "a bit of an input": (
        flipped(f"{STATE}.data-00000-of-00001"),
        {("bad_input_state", f"{STATE}.data-00000-of-00001")},
    ),
    "a bit of an input's index": (
        flipped(f"{STATE}.index", 0.1),
        {("bad_input_state", f"{STATE}.index")},
    ),
    "an input's data": (
        removed(f"{STATE}.data-00000-of-00001"),
        {("bad_input_state", f"{STATE}.data-00000-of-00001")},
    ),
    "an input": (
        removed(f"{STATE}.data-00000-of-00001", f"{STATE}.index"),
        {("input_missing", f"{STATE}.index")},
    ),
    "counts of another save": (
        written(
            "ckpt.info-200",
            b'feature_counts { key: "item" value: 30 }\nfeature_counts { key: "user" value: 49 }\n',
        ),
        {("counts_differ", "ckpt.info-200")},
    ),
    "a table that is counted": (
        written(
            "ckpt.info-200",
            b'feature_counts { key: "item" value: 30 }\nfeature_counts { key: "user" value: 50 }\n'
            b'feature_counts { key: "query" value: 9 }\n',
        ),
        {("table_gone", "ckpt.info-200")},
    ),
    "an exempt step": (
        written("monolith_checkpoint", b'exempt_model_checkpoint_paths: "model.ckpt-50"\n'),
        {("exempt_unlisted", "monolith_checkpoint")},
    ),
    "a rollback to a step that is gone": (
        added("ckpt.override", b'{"model_step": 50, "inputs": {}}'),
        {("override_stale", "ckpt.override")},
    ),
    "a rollback to an input that is gone": (
        added("ckpt.override", b'{"model_step": 200, "inputs": {"1": 50}}'),
        {("override_stale", "ckpt.override")},
    ),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return js.write_judged(tmp_path_factory.mktemp("sound"), manifests=False)


@pytest.mark.parametrize("name", FOUND)
def test_damage_is_named_in_its_file(name: str, sound: Path, tmp_path: Path) -> None:
    damage, expected = FOUND[name]
    directory = js.copied(sound, tmp_path / "model")
    damage(directory)
    judgement = js.judged(directory)
    assert js.told(judgement, directory) == expected
    assert not judgement.unread
    error = any(each.severity == "error" for each in judgement.findings)
    assert judgement.verdict == ("damaged" if error else "doubtful")
    assert [
        each for each in judgement.findings if not each.suggest and each.severity != "note"
    ] == []
    # A neighbour is not blamed.
    others = {each.verdict for each in judgement.steps if each.step in (100, 300)}
    assert others <= {"sound"}


def test_what_is_not_damaged_is_not_called_so(sound: Path) -> None:
    for quick in (True, False):
        judgement = js.judged(sound, quick=quick)
        assert js.told(judgement, sound) == set()
        assert judgement.verdict == "sound"
        assert [each.step for each in judgement.steps] == [100, 200, 300]


def test_every_id_has_a_test() -> None:
    texts = [
        path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_fsck*.py")
    ]
    assert [id for id in SEVERITY if not any(f'"{id}"' in text for text in texts)] == []
