"""Writers of the formats for tests, independent of the code under test.

Three kinds are here:

- `frame` and the `put_*` functions build bytes by hand, without TensorFlow and without protobuf;
- `random_entry` and its relatives make dumps with protobuf, `scrambled` writes the same message in
  ways that a reader must accept as well;
- `write_*` lay out whole tables and model directories, with TensorFlow's writers where they are
  asked to (`tf=True`) and with the bytes from here otherwise.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tf_support

from monolith_cli import messages

# --- bytes, by hand -------------------------------------------------------------------------


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes, crc: int = 0) -> int:
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(*records: bytes) -> bytes:
    """The bytes of a plain TFRecord file of these records."""
    out = bytearray()
    for record in records:
        length = struct.pack("<Q", len(record))
        out += length + struct.pack("<I", masked_crc32c(length))
        out += record + struct.pack("<I", masked_crc32c(record))
    return bytes(out)


def frame_starts(records: Iterable[bytes]) -> list[int]:
    """Offset of each record's frame in `frame(*records)`, and the length of it all at the end."""
    starts = [0]
    for record in records:
        starts.append(starts[-1] + len(record) + 16)
    return starts


def snappy_blocks(stream: bytes, block_bytes: int = 262_144) -> bytes:
    """A framed stream as a SNAPPY file, cut into blocks of `block_bytes` uncompressed bytes."""
    import cramjam

    out = bytearray()
    for start in range(0, len(stream), block_bytes):
        block = bytes(cramjam.snappy.compress_raw(stream[start : start + block_bytes]))
        out += struct.pack(">I", len(block)) + block
    return bytes(out)


def put_varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_tag(number: int, wire_type: int) -> bytes:
    return put_varint(number << 3 | wire_type)


def put_bytes(number: int, payload: bytes) -> bytes:
    return put_tag(number, 2) + put_varint(len(payload)) + payload


def put_int(number: int, value: int) -> bytes:
    return put_tag(number, 0) + put_varint(value)


def put_fixed64(number: int, value: int) -> bytes:
    return put_tag(number, 1) + struct.pack("<Q", value & (2**64 - 1))


def put_floats(number: int, values: Iterable[float], *, packed: bool = False) -> list[bytes]:
    """One field a value, or all values in one packed field."""
    if packed:
        return [put_bytes(number, b"".join(struct.pack("<f", value) for value in values))]
    return [put_tag(number, 5) + struct.pack("<f", value) for value in values]


UNKNOWN_FIELDS = (
    put_int(15, 2**64 - 1),
    put_fixed64(1000, 7),
    put_bytes(536_870_911, b"later version"),
    put_tag(77, 5) + b"\1\2\3\4",
    put_bytes(99, b""),
    # A group, which protobuf still accepts, with a field and another group inside.
    put_tag(20, 3) + put_int(1, 5) + put_tag(2, 3) + put_tag(2, 4) + put_tag(20, 4),
)
"""Fields that an EntryDump (or an OptimizerDump) does not have, one of each wire type."""


def joined(rng: random.Random, groups: list[list[bytes]]) -> bytes:
    """Fields in any order, with the order kept inside each group (one repeated field each)."""
    queues = [list(reversed(group)) for group in groups if group]
    out = bytearray()
    while queues:
        queue = rng.choice(queues)
        out += queue.pop()
        if not queue:
            queues.remove(queue)
    return bytes(out)


# --- entries --------------------------------------------------------------------------------

OPTIMIZERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # kind: arrays, single floats, single integers
    "adagrad": (("norm",), (), ()),
    "sgd": ((), (), ()),
    "ftrl": (("zero", "norm"), (), ()),
    "dynamic_wd_adagrad": (("norm",), (), ("last_update_step",)),
    "adadelta": (("accum", "accum_update"), (), ()),
    "adam": (("m", "v"), ("beta1_power", "beta2_power"), ()),
    "amsgrad": (("m", "v", "vhat"), ("beta1_power", "beta2_power"), ()),
    "momentum": (("n",), (), ()),
    "rmsprop": (("n",), (), ()),
    "rmspropv2": (("n",), (), ()),
    "group_ftrl": (("zero", "norm"), (), ()),
    "batch_softmax": ((), (), ("global_step",)),
    "group_adagrad": ((), ("grad_square_sum",), ()),
}
"""Every kind of SingleOptimizerDump with its fields."""

NUMBERS: dict[str, int] = {
    "adagrad": 1,
    "sgd": 2,
    "ftrl": 3,
    "dynamic_wd_adagrad": 4,
    "adadelta": 6,
    "adam": 7,
    "amsgrad": 8,
    "momentum": 9,
    "rmsprop": 11,
    "rmspropv2": 12,
    "group_ftrl": 13,
    "batch_softmax": 14,
    "group_adagrad": 15,
}

SPECIAL_FLOATS = (
    0.0,
    -0.0,
    1.0,
    0.1,
    1e-45,  # the smallest float32
    1.17549435e-38,
    3.4028235e38,
    16777216.0,
    1e10,
    float("inf"),
    float("-inf"),
    float("nan"),
)


def random_float(rng: random.Random, *, special: bool = True) -> float:
    """A float32 of any magnitude; one in eight is one of `SPECIAL_FLOATS` where allowed."""
    if special and rng.random() < 0.125:
        value = rng.choice(SPECIAL_FLOATS)
    else:
        value = rng.gauss(0, 1) * 10 ** rng.randint(-6, 6)
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return float(rounded)


def random_fid(rng: random.Random, slots: Sequence[int] | None = None) -> int:
    """A signed fid, in one of the v2 `slots` where they are given."""
    if slots is not None:
        return rng.choice(slots) << 48 | rng.getrandbits(48)
    return rng.choice(
        (
            rng.getrandbits(64) - 2**63,
            rng.randint(-5, 5),
            rng.randint(0, 99) << 48 | rng.getrandbits(48),
        )
    )


def random_optimizer(rng: random.Random, kind: str, dim: int, *, special: bool = True) -> Any:
    """A SingleOptimizerDump of this kind; some of its optional fields may be missing."""
    single = messages.SingleOptimizerDump()
    dump = getattr(single, kind)
    dump.SetInParent()
    arrays, floats, integers = OPTIMIZERS[kind]
    for name in arrays:
        getattr(dump, name).extend(random_float(rng, special=special) for _ in range(dim))
    for name in floats:
        if rng.random() < 0.8:
            setattr(dump, name, random_float(rng, special=special))
    for name in integers:
        if rng.random() < 0.8:
            setattr(dump, name, rng.choice((0, 1, -1, rng.getrandbits(40), -(2**63))))
    return single


def random_entry(
    rng: random.Random,
    *,
    fid: int | None = None,
    slots: Sequence[int] | None = None,
    segments: Sequence[tuple[str, int]] | None = None,
    last_update_ts_sec: int | None = None,
    special: bool = True,
) -> Any:
    """An EntryDump whose segments have these (optimizer kind, dim) pairs; random ones without.

    An optimizer kind of "" stands for a segment that dumps no optimizer (moving average).
    """
    if segments is None:
        segments = [
            (rng.choice(("", *OPTIMIZERS)), rng.choice((0, 1, 4, 33)))
            for _ in range(rng.choice((0, 1, 1, 2, 5)))
        ]
    entry = messages.EntryDump(
        id=random_fid(rng, slots) if fid is None else fid,
        last_update_ts_sec=rng.choice((0, 1_600_000_000 + rng.getrandbits(27), -1))
        if last_update_ts_sec is None
        else last_update_ts_sec,
    )
    for kind, dim in segments:
        entry.num.extend(random_float(rng, special=special) for _ in range(dim))
        if kind:
            entry.opt.dump.append(random_optimizer(rng, kind, dim, special=special))
    return entry


def random_entries(
    seed: int,
    count: int,
    *,
    slots: Sequence[int] | None = (0, 1, 7, 301, 32767),
    segments: Sequence[tuple[str, int]] | None = (("adagrad", 4), ("adam", 3)),
    special: bool = False,
) -> list[bytes]:
    """`count` serialized EntryDumps of one table, with different fids and finite floats."""
    rng = random.Random(seed)
    entries: dict[int, bytes] = {}
    while len(entries) < count:
        entry = random_entry(rng, slots=slots, segments=segments, special=special)
        entries[entry.id] = entry.SerializeToString()
    return list(entries.values())


def scrambled(
    entry: Any, rng: random.Random, *, packed: bool | None = None, unknown: bool | None = None
) -> bytes:
    """The same EntryDump in other bytes: any field order, packed or not, with unknown fields.

    Parsing it gives `entry` again (but for the unknown fields).

    Parameters
    ----------
    packed
        Whether arrays are packed; None decides an array at a time, and cuts some in the middle.
    unknown
        Whether unknown fields are strewn in; None decides a message at a time.
    """

    def floats(number: int, values: Sequence[float]) -> list[bytes]:
        if packed is not None:
            return put_floats(number, values, packed=packed) if values else []
        out: list[bytes] = []
        rest = list(values)
        while rest:
            cut = rng.randint(1, len(rest))
            out += put_floats(number, rest[:cut], packed=rng.random() < 0.5)
            rest = rest[cut:]
        return out

    def strangers() -> list[list[bytes]]:
        wanted = rng.random() < 0.5 if unknown is None else unknown
        return [[rng.choice(UNKNOWN_FIELDS)] for _ in range(rng.randint(1, 3))] if wanted else []

    def optimizer(single: Any) -> bytes:
        kind = single.WhichOneof("type")
        if kind is None:
            return joined(rng, strangers())
        dump = getattr(single, kind)
        groups: list[list[bytes]] = strangers()
        for field, value in dump.ListFields():
            if field.name in OPTIMIZERS[kind][0]:
                groups.append(floats(field.number, value))
            elif field.name in OPTIMIZERS[kind][1]:
                groups.append(put_floats(field.number, [value]))
            else:
                groups.append([put_int(field.number, value)])
        # A message field that occurs twice is merged: so cut it in two now and then.
        body = joined(rng, groups)
        halves = [put_bytes(NUMBERS[kind], body)]
        if rng.random() < 0.3:
            halves.append(put_bytes(NUMBERS[kind], b""))
        return joined(rng, [halves, *strangers()])

    groups = strangers()
    if entry.HasField("id"):
        # The last one of a field that is written twice counts.
        earlier = [put_fixed64(1, 0x0123_4567_89AB_CDEF)] if rng.random() < 0.2 else []
        groups.append([*earlier, put_fixed64(1, entry.id)])
    groups.append(floats(2, entry.num))
    if entry.HasField("opt"):
        dumps = [put_bytes(1, optimizer(single)) for single in entry.opt.dump]
        cut = rng.randint(0, len(dumps)) if rng.random() < 0.3 else len(dumps)
        parts = [joined(rng, [dumps[:cut], *strangers()]), b"".join(dumps[cut:])]
        groups.append([put_bytes(3, part) for part in parts if part or part is parts[0]])
    if entry.HasField("last_update_ts_sec"):
        groups.append([put_int(4, entry.last_update_ts_sec)])
    return joined(rng, groups)


def slot_counts(records: Iterable[bytes]) -> dict[int, int]:
    """Entries by v2 slot, counted with protobuf, slots ascending."""
    counts: dict[int, int] = {}
    for record in records:
        slot = (messages.EntryDump.FromString(record).id >> 48) & 0x7FFF
        counts[slot] = counts.get(slot, 0) + 1
    return dict(sorted(counts.items()))


# --- files ----------------------------------------------------------------------------------

Writer = Callable[[Path, list[bytes]], None]


def write_plain(path: Path, records: list[bytes]) -> None:
    path.write_bytes(frame(*records))


def write_snappy(path: Path, records: list[bytes]) -> None:
    path.write_bytes(snappy_blocks(frame(*records)))


def plain_writer(tf: bool) -> Writer:
    return tf_support.write_plain if tf else write_plain


def snappy_writer(tf: bool) -> Writer:
    return tf_support.write_snappy if tf else write_snappy


def shard_path(directory: Path, base: str, shard: int, shards: int) -> Path:
    return directory / f"{base}-{shard:05d}-of-{shards:05d}"


def cut_evenly(records: Sequence[bytes], parts: int) -> list[list[bytes]]:
    """The records in order, cut into `parts` lists; the first ones get one more where needed."""
    size, extra = divmod(len(records), parts)
    cuts = [0]
    for part in range(parts):
        cuts.append(cuts[-1] + size + (part < extra))
    return [list(records[start:end]) for start, end in itertools.pairwise(cuts)]


def write_single_table(
    directory: Path, base: str, records: Sequence[bytes], shards: int = 1, *, tf: bool = False
) -> list[Path]:
    """A table of its own: `<base>-0000k-of-0000n`, uncompressed. Returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for shard, part in enumerate(cut_evenly(records, shards)):
        paths.append(shard_path(directory, base, shard, shards))
        plain_writer(tf)(paths[-1], part)
    return paths


def table_meta(name: str, num_entries: int) -> bytes:
    return put_bytes(1, name.encode("utf-8", "surrogateescape")) + put_int(2, num_entries)


def write_multi_table(
    directory: Path,
    base: str,
    tables: Mapping[str, Sequence[bytes]],
    shards: int = 1,
    *,
    tf: bool = False,
) -> list[Path]:
    """Many tables in one file: SNAPPY data and a plain `.meta`. Returns the data paths."""
    directory.mkdir(parents=True, exist_ok=True)
    cut = {name: cut_evenly(records, shards) for name, records in tables.items()}
    paths = []
    for shard in range(shards):
        paths.append(shard_path(directory, base, shard, shards))
        data = [record for parts in cut.values() for record in parts[shard]]
        meta = [table_meta(name, len(parts[shard])) for name, parts in cut.items()]
        snappy_writer(tf)(paths[-1], data)
        plain_writer(tf)(shard_path(directory, base + ".meta", shard, shards), meta)
    return paths


def write_hash_filter(
    directory: Path,
    base: str = "hash_filter_0",
    splits: int = 2,
    *,
    total_size: int = 25_000,
    filled: int = 100,
    seed: int = 0,
    tf: bool = False,
) -> list[Path]:
    """An occurrence filter, a split a file: its meta record, then cells, 10,000 a record."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    paths = []
    for split in range(splits):
        cells = [0] * (total_size + 64)
        for position in rng.sample(range(len(cells)), filled):
            cells[position] = rng.randint(1, 0xFFFF)
        meta = messages.HashFilterSplitMetaDump(
            failure_count=0,
            total_size=total_size,
            num_elements=filled,
            fill_rate=filled / total_size,
            sliding_hash_filter_meta={
                "split_num": splits,
                "max_forward_step": 1,
                "max_backward_step": 1,
                "max_step": 2,
                "head": 0,
                "head_increment": 0,
                "failure_count": 0,
            },
        )
        records = [meta.SerializeToString()]
        for offset in range(0, len(cells), 10_000):
            block = cells[offset : offset + 10_000]
            records.append(put_int(1, offset) + b"".join(put_int(2, cell) for cell in block))
        paths.append(shard_path(directory, base, split, splits))
        plain_writer(tf)(paths[-1], records)
    return paths


def write_model_dir(
    directory: Path,
    step: int = 300,
    *,
    singles: Mapping[str, Sequence[bytes]] | None = None,
    multis: Mapping[str, Mapping[str, Sequence[bytes]]] | None = None,
    hash_filters: int = 0,
    shards: int = 2,
    tf: bool = False,
) -> Path:
    """A model directory with one checkpoint; returns its `.assets` directory.

    Parameters
    ----------
    singles
        Entries by base name (such as `MonolithHashTable_a_0`); without any of the two mappings,
        two small tables of this kind are written.
    multis
        Entries by table name, by base name.
    hash_filters
        How many splits the filter `hash_filter_0` has; none for 0.
    tf
        Write with TensorFlow: its Saver and its record writers. Otherwise the dense variables are
        an empty `.index` file, which is enough for whoever only looks at names.
    """
    directory.mkdir(parents=True, exist_ok=True)
    prefix = directory / f"model.ckpt-{step}"
    if tf:
        tf_support.save_checkpoint(directory, step)
    else:
        write_checkpoint_state(directory, [step])
        Path(f"{prefix}.index").write_bytes(b"")
        Path(f"{prefix}.data-00000-of-00001").write_bytes(b"")
    assets = Path(f"{prefix}.assets")
    assets.mkdir()
    if singles is None and multis is None:
        singles = {
            "MonolithHashTable_a": random_entries(1, 30),
            "MonolithHashTable_b": random_entries(2, 11, segments=(("ftrl", 2),)),
        }
    for base, records in (singles or {}).items():
        write_single_table(assets, base, records, shards, tf=tf)
    for base, tables in (multis or {}).items():
        write_multi_table(assets, base, tables, shards, tf=tf)
    if hash_filters:
        write_hash_filter(assets, splits=hash_filters, tf=tf)
    return assets


def write_checkpoint_state(directory: Path, steps: Sequence[int], prefix: str = "") -> Path:
    """The text file `checkpoint` listing these steps, the last one as the latest.

    `prefix` goes in front of every name: a directory and a slash for absolute paths.
    """
    lines = [f'model_checkpoint_path: "{prefix}model.ckpt-{steps[-1]}"\n']
    lines += [f'all_model_checkpoint_paths: "{prefix}model.ckpt-{step}"\n' for step in steps]
    path = Path(os.fspath(directory)) / "checkpoint"
    path.write_text("".join(lines))
    return path


# --- damage ---------------------------------------------------------------------------------

EMPTY_BLOCK = b"\0\0\0\1\0"
"""A SNAPPY block without content."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of it changed, cut out, doubled, cut off, or more of them."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(out))
        match rng.randrange(7):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + 4] = rng.randbytes(4)
            case 2:
                del out[at : at + rng.randint(1, 40)]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 300)]
            case 4:
                out[at:at] = EMPTY_BLOCK
            case 5:
                out += rng.randbytes(rng.randint(1, 20))
            case _:
                del out[rng.randrange(len(out)) + 1 :]
        if not out:
            return b"\0"
    return bytes(out)
