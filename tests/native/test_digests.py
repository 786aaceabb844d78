"""Digests of entries, and the join of two tables by them; a Python dictionary is the witness."""

from __future__ import annotations

import pickle
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native, messages

Row = tuple[int, int, int, int]
"""fid, digest of the embedding, of optimizer state, time."""

Rows = Callable[[Iterable[bytes]], list[Row]]

FATES = ("same", "touched", "embedding", "optimizer", "both", "added", "removed")


def unpacked(parts: _native.Parts) -> list[Row]:
    return list(struct.iter_unpack("<qQQq", parts.data))


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    path = tmp_path_factory.mktemp("records") / "records"

    def read(records: Iterable[bytes]) -> list[Row]:
        path.write_bytes(ds.frame(*records))
        file = _native.File(bytes(path))
        reader = _native.Reader(file, 0, file.stream_bytes)
        rows = unpacked(reader.digests())
        assert not reader.damages
        return rows

    return read


def values(entry: Any) -> tuple[object, ...]:
    """All that an entry says, floats by their bits."""
    optimizers = []
    for single in entry.opt.dump:
        kind = single.WhichOneof("type")
        arrays, floats, integers = ds.OPTIMIZERS[kind] if kind else ((), (), ())
        dump = getattr(single, kind) if kind else None
        optimizers.append(
            (
                kind,
                *(packed(getattr(dump, name)) for name in arrays),
                *(packed([getattr(dump, n)]) if dump.HasField(n) else None for n in floats),
                *(getattr(dump, n) if dump.HasField(n) else None for n in integers),
            )
        )
    return entry.id, packed(entry.num), tuple(optimizers), entry.last_update_ts_sec


def packed(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def test_the_same_values_in_other_bytes(rows_of: Rows) -> None:
    """Whoever wrote them; unknown fields are no values."""
    rng = random.Random(1)
    entries = [ds.random_entry(rng) for _ in range(150)]
    for entry in entries[:20]:
        entry.ClearField(rng.choice(["id", "last_update_ts_sec", "opt"]))
    for entry in entries[20:30]:
        entry.opt.dump.add()  # none of the kinds
    plain = rows_of(entry.SerializeToString() for entry in entries)
    assert [row[0] for row in plain] == [entry.id for entry in entries]
    assert [row[3] for row in plain] == [entry.last_update_ts_sec for entry in entries]
    for _ in range(3):
        scrambled = rows_of(ds.scrambled(entry, rng) for entry in entries)
        assert scrambled == plain
    told: dict[tuple[object, ...], tuple[int, int]] = {}
    for entry, (_, embedding, optimizer, _) in zip(entries, plain, strict=True):
        _, numbers, state, _ = values(entry)
        assert told.setdefault((numbers,), (embedding, 0)) == (embedding, 0)
        assert told.setdefault((1, state), (optimizer, 1)) == (optimizer, 1)
    assert len(set(told.values())) == len(told)


def test_every_value_counts(rows_of: Rows) -> None:
    """Each bit of each float, its place, its array and its length; -0.0 and a NaN's bits, too."""
    rng = random.Random(2)
    base = ds.random_entry(rng, fid=5, segments=[("adam", 33), ("ftrl", 3)], special=False)
    base.opt.dump[0].adam.beta1_power = 0.0
    others = []

    def other() -> Any:
        others.append(messages.EntryDump.FromString(base.SerializeToString()))
        return others[-1]

    for i in range(36):
        other().num[i] *= -1
    other().num.append(0.0)
    del other().num[35:]
    swapped = other()
    swapped.num[0], swapped.num[1] = base.num[1], base.num[0]
    swapped = other()
    swapped.num[0], swapped.num[4] = base.num[4], base.num[0]
    stored = base.SerializeToString()
    bits = [struct.pack("<f", base.num[7])]
    flipped = [
        stored.replace(bits[0], struct.pack("<I", struct.unpack("<I", bits[0])[0] ^ 1 << bit))
        for bit in range(31)  # the sign is above
    ]
    embeddings = [row[1] for row in rows_of([stored, *(e.SerializeToString() for e in others)])]
    embeddings += [row[1] for row in rows_of(flipped)]
    assert len(set(embeddings)) == len(embeddings)
    others.clear()
    other().opt.dump[0].adam.m[32] += 1
    other().opt.dump[0].adam.v[0] += 1
    other().opt.dump[0].adam.beta1_power = -0.0
    other().opt.dump[0].adam.ClearField("beta1_power")
    other().opt.dump[1].ftrl.zero.append(0.0)
    del other().opt.dump[1].ftrl.norm[2:]
    other().opt.dump.add()
    del other().opt.dump[1]
    moved = other()
    moved.opt.dump[0].CopyFrom(base.opt.dump[1])
    moved.opt.dump[1].CopyFrom(base.opt.dump[0])
    exchanged = other().opt.dump[1].ftrl
    zero, norm = list(exchanged.zero), list(exchanged.norm)
    exchanged.zero[:], exchanged.norm[:] = norm, zero
    found = rows_of([stored, *(e.SerializeToString() for e in others)])
    assert len({row[2] for row in found}) == len(found)
    assert {row[1] for row in found} == {embeddings[0]}


def test_long_arrays(rows_of: Rows) -> None:
    rng = random.Random(3)
    entries = [
        ds.random_entry(rng, segments=[("sgd", dim)]) for dim in (127, 128, 129, 256, 1000, 70_000)
    ]
    plain = rows_of(entry.SerializeToString() for entry in entries)
    assert rows_of(ds.scrambled(entry, rng, packed=True) for entry in entries) == plain
    assert rows_of(ds.scrambled(entry, rng, packed=False) for entry in entries) == plain
    assert len({row[1] for row in plain}) == len(plain)


def test_many_rows_are_in_order_of_part(tmp_path: Path) -> None:
    records = [ds.put_fixed64(1, fid * 7919) + ds.put_int(4, fid) for fid in range(5000)]
    path = tmp_path / "t"
    path.write_bytes(ds.frame(*records))
    file = _native.File(bytes(path))
    parts = _native.Reader(file, 0, file.stream_bytes).digests()
    ends = struct.unpack(f"<{_native.PARTS}Q", parts.ends)
    assert ends[-1] == parts.size == 32 * 5000
    assert sorted(row[3] for row in unpacked(parts)) == list(range(5000))
    copy = pickle.loads(pickle.dumps(parts))
    assert (copy.data, copy.ends) == (parts.data, parts.ends)
    sums = []
    for step in (1, 7, 100, _native.PARTS):
        join = _native.Join(sums=True, changes=True)
        for first in range(0, _native.PARTS, step):
            last = min(first + step, _native.PARTS)
            begin, end = (ends[first - 1] if first else 0), ends[last - 1]
            some = _native.Parts(parts.data[begin:end])
            join.run([parts], [some], first, last)
        [*slots] = join.slots
        assert sum(fates[0] for _, fates, _, _ in slots) == 5000
        assert join.sum_a == join.sum_b
        sums.append(join.sum_a)
        everything = _native.Join(changes=True)
        everything.run([parts], [], 0, _native.PARTS)
        apart = _native.Join(changes=True)
        for first in range(0, _native.PARTS, step):
            apart.run([parts], [], first, min(first + step, _native.PARTS))
        assert apart.changes == everything.changes
    assert len(set(sums)) == 1


def test_ends_that_are_none() -> None:
    for ends in (b"12345678", bytes(8 * _native.PARTS)):
        with pytest.raises(ValueError, match="ends of parts"):
            _native.Parts(bytes(32), ends)
    with pytest.raises(ValueError, match="no such parts"):
        _native.Join().run([], [], 0, _native.PARTS + 1)


# --- the witness ----------------------------------------------------------------------------


def expected(a: list[Row], b: list[Row]) -> tuple[Counter[str], Counter[int], int, int]:
    """Fates, and by fid what is not the same; how many entries of either side come again."""
    fates: Counter[str] = Counter()
    changes: Counter[int] = Counter()
    sides: dict[int, tuple[list[Row], list[Row]]] = {}
    for number, rows in enumerate((a, b)):
        for row in rows:
            sides.setdefault(row[0], ([], []))[number].append(row)
    again = [0, 0]
    for fid, (left, right) in sides.items():
        left.sort(key=lambda row: (row[3], row[1], row[2]))
        right.sort(key=lambda row: (row[3], row[1], row[2]))
        again[0] += max(len(left) - 1, 0)
        again[1] += max(len(right) - 1, 0)
        for fate, alike in (
            ("same", slice(1, 4)),
            ("touched", slice(1, 3)),
            ("optimizer", slice(1, 2)),
            ("embedding", slice(2, 3)),
            ("both", slice(0, 1)),
        ):
            for row in list(left):
                match = next((each for each in right if each[alike] == row[alike]), None)
                if match is not None:
                    left.remove(row)
                    right.remove(match)
                    fates[fate] += 1
                    changes[fid] += fate != "same"
        fates["removed"] += len(left)
        fates["added"] += len(right)
        changes[fid] += len(left) + len(right)
    return +fates, +changes, again[0], again[1]


few = st.integers(0, 2)
some_rows = st.lists(
    st.tuples(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 7, 1 << 48]), few, few, few)
)


@given(some_rows, some_rows, st.sampled_from([1, 2, 1000]))
def test_a_join_is_that_of_a_dictionary(a: list[Row], b: list[Row], pieces: int) -> None:
    def parts(rows: list[Row]) -> list[_native.Parts]:
        cut = [rows[start::pieces] for start in range(min(pieces, len(rows)))]
        return [_native.Parts(b"".join(struct.pack("<qQQq", *row) for row in some)) for some in cut]

    bits = _native.FidBits(20)
    join = _native.Join(sums=True, bits=bits, changes=True)
    join.run(parts(a), parts(b), 0, _native.PARTS)
    fates: Counter[str] = Counter()
    again_a = again_b = 0
    for slot, numbers, more_a, more_b in join.slots:
        assert slot in {(row[0] >> 48) & 0x7FFF for row in (*a, *b)}
        fates.update(dict(zip(FATES, numbers, strict=True)))
        again_a += more_a
        again_b += more_b
    wanted, changes, wanted_a, wanted_b = expected(a, b)
    assert (+fates, again_a, again_b) == (wanted, wanted_a, wanted_b)
    found = list(struct.iter_unpack("<qqqBB6x", join.changes))
    assert Counter(row[0] for row in found) == changes
    assert Counter(FATES[row[3]] for row in found) == wanted - Counter({"same": wanted["same"]})
    assert all(bits.has(fid) for fid in changes)
    assert (join.sum_a == join.sum_b) == (Counter(a) == Counter(b))
