"""Entries read by the native core, against protobuf's own parser."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native, messages

NO_LIMIT = 2**63

# An EntryDump, and other bytes that mean the same.
Case = tuple[Any, bytes]
Open = Callable[[Iterable[bytes]], Any]


def cases(seed: int, count: int) -> list[Case]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        entry = ds.random_entry(rng)
        if rng.random() < 0.1:
            entry.ClearField("id")
        if rng.random() < 0.1:
            entry.ClearField("last_update_ts_sec")
        if rng.random() < 0.1:
            entry.opt.dump.add()  # none of the kinds
        stored = entry.SerializeToString() if rng.random() < 0.3 else ds.scrambled(entry, rng)
        found.append((messages.EntryDump.FromString(stored), stored))
    return found


@pytest.fixture(scope="module")
def open_records(tmp_path_factory: pytest.TempPathFactory) -> Open:
    path = tmp_path_factory.mktemp("records") / "records"

    def open_them(records: Iterable[bytes]) -> Any:
        path.write_bytes(ds.frame(*records))
        file = _native.File(bytes(path))
        return _native.Reader(file, 0, file.stream_bytes)

    return open_them


def finite(value: float) -> float | None:
    """None for what JSON cannot say."""
    return value if np.isfinite(value) else None


def as_json(entry: Any, table: str | None, version: int = 2) -> dict[str, Any]:
    """What the JSON of an entry must hold, floats with the value of the float32."""
    fid = entry.id & (2**64 - 1)
    optimizers: list[dict[str, Any]] = []
    for single in entry.opt.dump:
        kind = single.WhichOneof("type")
        if kind is None:
            optimizers.append({})
            continue
        dump = getattr(single, kind)
        arrays, floats, integers = ds.OPTIMIZERS[kind]
        state: dict[str, Any] = {}
        for name in arrays:
            state[name] = [finite(value) for value in getattr(dump, name)]
        for name in floats:
            if dump.HasField(name):
                state[name] = finite(getattr(dump, name))
        for name in integers:
            if dump.HasField(name):
                state[name] = getattr(dump, name)
        optimizers.append({kind: state})
    return {
        "fid": str(entry.id),
        "slot": fid >> 54 if version == 1 else fid >> 48 & 0x7FFF,
        "table": table,
        "embedding": [finite(value) for value in entry.num],
        "opt": optimizers,
        "last_update_ts_sec": entry.last_update_ts_sec,
    }


def as_float32(value: Any, *, is_float: bool = False) -> Any:
    """Parsed JSON with every number in a list, or in a field of a float, rounded to float32."""
    if isinstance(value, list):
        return [as_float32(item, is_float=True) for item in value]
    if isinstance(value, dict):
        floats = {"beta1_power", "beta2_power", "grad_square_sum"}
        return {key: as_float32(item, is_float=key in floats) for key, item in value.items()}
    return float(np.float32(value)) if is_float and value is not None else value


@given(st.integers(0, 2**32), st.sampled_from([1, 2]))
def test_json(open_records: Open, seed: int, version: int) -> None:
    some = cases(seed, 5)
    reader = open_records(stored for _, stored in some)
    text, count, non_finite = reader.json_lines(
        NO_LIMIT, NO_LIMIT, fid_version=version, table='"a table"'
    )
    assert count == len(some)
    lines = text.decode("ascii").splitlines(keepends=True)
    assert all(line.endswith("}\n") for line in lines)
    found = [json.loads(line) for line in lines]
    expected = [as_json(entry, "a table", version) for entry, _ in some]
    assert as_float32(found) == expected
    # The keys come in the documented order.
    assert all(list(object_) == list(expected[0]) for object_ in found)
    assert text.count(b"null") == non_finite


@pytest.mark.parametrize("limit", [0, 1, 7, NO_LIMIT])
@pytest.mark.parametrize("columns", [63, 62, 2, 0])
def test_json_entry_by_entry(open_records: Open, columns: int, limit: int) -> None:
    some = cases(77, 12)
    names = {"columns": columns, "table": '"t"', "name_non_finite": True}
    found, non_finite = open_records(data for _, data in some).json_entries(limit, **names)
    text, _, as_lines = open_records(data for _, data in some).json_lines(limit, NO_LIMIT, **names)
    assert [line for _, line in found] == text.splitlines()
    assert [fid for fid, _ in found] == [entry.id for entry, _ in some][:limit]
    assert non_finite == as_lines


def test_json_in_literal_bytes(open_records: Open) -> None:
    entry = messages.EntryDump(id=-2, num=[0.1, -0.0, 1e20, float("nan")], last_update_ts_sec=300)
    entry.opt.dump.add().adagrad.norm.extend([1.5, float("-inf")])
    entry.opt.dump.add().sgd.SetInParent()
    entry.opt.dump.add().dynamic_wd_adagrad.last_update_step = -5
    entry.opt.dump.add()
    records = [entry.SerializeToString(), b""]
    text, count, non_finite = open_records(records).json_lines(NO_LIMIT, NO_LIMIT)
    assert text.splitlines() == [
        b'{"fid":"-2","slot":32767,"table":null,"embedding":[0.1,-0,1e20,null],'
        b'"opt":[{"adagrad":{"norm":[1.5,null]}},{"sgd":{}},'
        b'{"dynamic_wd_adagrad":{"norm":[],"last_update_step":-5}},{}],'
        b'"last_update_ts_sec":300}',
        b'{"fid":"0","slot":0,"table":null,"embedding":[],"opt":[],"last_update_ts_sec":0}',
    ]
    assert (count, non_finite) == (2, 2)
    # One bit a column, in the order of the keys.
    text, _, _ = open_records(records).json_lines(1, NO_LIMIT, columns=1 | 2, number_ids=True)
    assert text == b'{"fid":-2,"slot":32767}\n'
    text, _, _ = open_records(records).json_lines(1, NO_LIMIT, columns=0)
    assert text == b"{}\n"


def significant_digits(token: str) -> str:
    """`1.50e3` and `0.0015` both have 15."""
    mantissa = token.lstrip("-").partition("e")[0]
    return mantissa.replace(".", "").strip("0")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_in_json_are_the_shortest_that_read_back(
    open_records: Open, values: list[float]
) -> None:
    record = messages.EntryDump(num=values).SerializeToString()
    text, _, _ = open_records([record]).json_lines(1, NO_LIMIT, columns=8)
    tokens = text[len(b'{"embedding":[') : -len(b"]}\n")].decode().split(",")
    read_back = np.array([float(token) for token in tokens], dtype=np.float32)
    assert read_back.tobytes() == np.array(values, dtype=np.float32).tobytes()
    for token, value in zip(tokens, values, strict=True):
        assert significant_digits(token) == significant_digits(str(np.float32(value)))
        assert len(token) <= 17


@given(st.integers(0, 2**32), st.sampled_from([1, 2]))
def test_columns(open_records: Open, seed: int, version: int) -> None:
    some = cases(seed, 6)
    raw = open_records(stored for _, stored in some).columns(NO_LIMIT, fid_version=version)
    entries = [entry for entry, _ in some]
    assert np.frombuffer(raw.pop("fid"), np.int64).tolist() == [entry.id for entry in entries]
    assert np.frombuffer(raw.pop("slot"), np.uint32).tolist() == [
        as_json(entry, None, version)["slot"] for entry in entries
    ]
    assert np.frombuffer(raw.pop("last_update_ts_sec"), np.int64).tolist() == [
        entry.last_update_ts_sec for entry in entries
    ]
    expected: dict[str, list[list[float]]] = {
        "embedding": [list(entry.num) for entry in entries],
    }
    for row, entry in enumerate(entries):
        for index, single in enumerate(entry.opt.dump):
            kind = single.WhichOneof("type")
            arrays, floats, integers = ds.OPTIMIZERS[kind] if kind else ((), (), ())
            for name in (*arrays, *floats, *integers):
                values = expected.setdefault(f"opt.{index}.{kind}.{name}", [[] for _ in entries])
                dump = getattr(single, kind)
                if name in arrays:
                    values[row] = list(getattr(dump, name))
                elif dump.HasField(name):
                    values[row] = [getattr(dump, name)]
    assert set(raw) == set(expected)
    for name, (dtype, values, lengths) in raw.items():
        rows = expected[name]
        assert np.frombuffer(lengths, np.uint32).tolist() == [len(row) for row in rows]
        assert dtype == ("i8" if name.rpartition(".")[2].endswith("step") else "f4")
        flat = np.array([value for row in rows for value in row], dtype=dtype)
        np.testing.assert_array_equal(np.frombuffer(values, dtype), flat)


@given(st.integers(0, 2**32))
def test_counts(open_records: Open, seed: int) -> None:
    some = cases(seed, 8)
    counter = _native.Counter()
    assert open_records(stored for _, stored in some).count(counter) == len(some)
    entries = [entry for entry, _ in some]
    assert counter.entries == len(some)
    assert counter.slot_counts() == ds.slot_counts(stored for _, stored in some)
    assert counter.dim_min == min(len(entry.num) for entry in entries)
    assert counter.dim_max == max(len(entry.num) for entry in entries)
    kinds = {single.WhichOneof("type") for entry in entries for single in entry.opt.dump}
    assert set(_native.optimizer_names(counter.types)) == kinds - {None}


@given(st.integers(0, 2**32), st.sampled_from([1, 2]))
def test_filters(open_records: Open, seed: int, version: int) -> None:
    rng = random.Random(seed)
    some = cases(seed, 10)
    stored = [record for _, record in some]
    slots = [as_json(entry, None, version)["slot"] for entry, _ in some]
    chosen = rng.choice(slots)
    by_slot = _native.Filter(version)
    by_slot.add_slots(max(chosen - 1, 0), chosen)
    assert open_records(stored).entries(NO_LIMIT, by_slot) == [
        record for record, slot in zip(stored, slots, strict=True) if chosen - 1 <= slot <= chosen
    ]
    fids = {entry.id for entry, _ in rng.sample(some, 3)} | {12345}
    by_fid = _native.Filter(version)
    by_fid.set_fids(list(fids))
    expected = [record for entry, record in some if entry.id in fids]
    assert open_records(stored).entries(NO_LIMIT, by_fid) == expected
    assert open_records(stored).frames(NO_LIMIT, NO_LIMIT, by_fid) == (
        ds.frame(*expected),
        len(expected),
    )
    counter = _native.Counter()
    assert open_records(stored).count(counter, by_fid) == counter.entries == len(expected)


def parses(data: bytes) -> bool:
    from google.protobuf.message import DecodeError

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            messages.EntryDump.FromString(data)
        except DecodeError:
            return False
    # protobuf 3.20 takes what is before such a tag, and warns that this is not all.
    return not any("Unexpected end-group tag" in str(each.message) for each in told)


def accepted(reader: Any) -> bool:
    found = reader.count(_native.Counter())
    assert [damage.kind for damage in reader.damages] == ([] if found else ["bad_message"])
    assert reader.failed == (not found)
    return bool(found)


@given(st.integers(0, 2**32), st.data())
def test_damaged_messages_are_refused_as_protobuf_does(
    open_records: Open, seed: int, draw: st.DataObject
) -> None:
    rng = random.Random(seed)
    entry = ds.random_entry(rng)
    # No groups: protobuf's fast parser lets one that it does not know reach past its message.
    data = bytearray(ds.scrambled(entry, rng, unknown=False) or b"\x08\x01")
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(data)))
        match draw.draw(st.sampled_from(["set", "cut", "insert", "drop"])):
            case "set" if at < len(data):
                data[at] = draw.draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw.draw(st.binary(min_size=1, max_size=3))
            case "drop":
                del data[at : at + 2]
    ours = accepted(open_records([bytes(data)]))
    if ours != parses(bytes(data)):
        assert not ours
        assert has_group(bytes(data))


def has_group(data: bytes) -> bool:
    return any(byte & 7 == 3 for byte in data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x09\x01\x02",  # id cut off
        b"\x15\x01",  # a float cut off
        b"\x12\x03\x00\x00\x00",  # three bytes of packed floats
        b"\x12\x05\x00",  # packed floats that reach past the end
        b"\x1a\x02\x0a",  # optimizers that reach past the end
        b"\x1a\x02\x0a\x05",  # one that reaches past the optimizers
        b"\x1a\x04\x0a\x02\x0a\x09",  # its state that reaches past it
        b"\x1a\x06\x0a\x04\x0a\x02\x0d\x00",  # a value cut off in it
        b"\x20",  # a tag alone
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a number of eleven bytes
        b"\x00\x01",  # field 0
        b"\x07",  # a wire type that there is not
        b"\xa3\x01",  # a group without end
        b"\xa4\x01",  # an end without group
        b"\xa3\x01\xac\x01",  # the end of another group
        b"\xff\xff\xff\xff\xff\x01\x00",  # a field number of more than 32 bits
        b"\x7a\xff\xff\xff\xff\x0f",  # an unknown field of 4 GB
        b"\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # and of more than fits
    ],
)
def test_malformed_messages(open_records: Open, data: bytes) -> None:
    assert not parses(data)
    assert not accepted(open_records([data]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89\x80\x00" + b"\x01" * 8,  # a tag in more bytes than it needs
        b"\x0d\x00\x00\x00\x00",  # the field of the id with another wire type: unknown
        b"\x10\x05",  # the field of the embedding as well
        b"\x22\x01x",
        b"\x1a\x00",
        b"\x1a\x02\x0a\x00",
        b"\x1a\x04\x0a\x02\x2a\x00",  # an optimizer of a kind that there is not
        b"\x12\x00",
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a number with bits above the 64th
        b"\xa3\x01\xa3\x01\xa4\x01\xa4\x01",
    ],
)
def test_unusual_messages(open_records: Open, data: bytes) -> None:
    assert parses(data)
    assert accepted(open_records([data]))
    text, _, _ = open_records([data]).json_lines(1, NO_LIMIT, table="null")
    assert as_float32(json.loads(text)) == as_json(messages.EntryDump.FromString(data), None)


def test_limits_are_kept(tmp_path: Path) -> None:
    records = ds.random_entries(5, 1000)
    path = tmp_path / "records"
    path.write_bytes(ds.frame(*records))
    file = _native.File(bytes(path))
    starts = ds.frame_starts(records)
    reader = _native.Reader(file, 0, file.stream_bytes)
    assert reader.entries(0) == []
    assert reader.entries(3) == records[:3]
    assert reader.position == starts[3]
    assert reader.records(400) == records[3:403]
    assert reader.skip(7) == 7
    assert reader.position == starts[410]
    frames, count = reader.frames(NO_LIMIT, 1000)
    assert 1000 <= len(frames) < 1000 + len(records[410 + count]) + 16 + 400
    assert frames == ds.frame(*records[410 : 410 + count])
    assert reader.position == starts[410 + count]
    _, lines, _ = reader.json_lines(5, NO_LIMIT)
    assert lines == 5
    assert len(np.frombuffer(reader.columns(6)["fid"], np.int64)) == 6
    rest = reader.entries(NO_LIMIT)
    assert rest == records[410 + count + 11 :]
    assert reader.done
    assert reader.position == file.stream_bytes == starts[-1]
    assert reader.entries(NO_LIMIT) == []
