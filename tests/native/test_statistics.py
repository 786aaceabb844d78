"""The native statistics: every set of kernels gives the same bits, and summaries travel whole."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import dump_support as ds
import pytest

from monolith_cli import _native, messages

SPECIAL = [
    ds.scrambled(ds.random_entry(random.Random(seed)), random.Random(seed)) for seed in range(200)
]
FINITE = ds.random_entries(5, 300, segments=(("adagrad", 33), ("adam", 7)))

Take = Callable[..., Any]


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    path = tmp_path_factory.mktemp("statistics") / "records"

    def take_them(records: Iterable[bytes], *args: Any, verify: bool = True) -> Any:
        path.write_bytes(ds.frame(*records))
        file = _native.File(bytes(path))
        reader = _native.Reader(file, 0, file.stream_bytes, verify=verify)
        statistics = _native.Statistics(*args)
        reader.statistics(statistics)
        return statistics.summary(), statistics.examples(reader)

    return take_them


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("by_slot", [False, True])
@pytest.mark.parametrize("records", [FINITE, SPECIAL], ids=["finite", "special"])
def test_all_kernels_give_the_same_bits(
    take: Take, records: list[bytes], by_slot: bool, verify: bool
) -> None:
    found = [
        take(records, 2, by_slot, 20, name, verify=verify) for name in _native.run_implementations()
    ]
    assert _native.run_implementations()[-1] == "portable"
    for summary, examples in found:
        assert summary.pack() == found[0][0].pack()
        assert examples == found[0][1]


@pytest.mark.parametrize("length", [*range(18), 31, 32, 33, 64, 65])
@pytest.mark.parametrize("packed", [False, True])
def test_runs_of_every_length(take: Take, length: int, packed: bool) -> None:
    """What lies behind a run does not count, be it huge."""
    rng = random.Random(length)
    records, values = [], []
    for fid in range(4):
        row = [ds.random_float(rng, special=False) for _ in range(length)]
        fields = [ds.put_fixed64(1, fid), *(ds.put_floats(2, row, packed=packed) if row else [])]
        behind = ds.put_tag(77, 5) + b"\xff\xff\xff\x7f" + ds.put_bytes(99, b"\xff" * 64)
        records.append(b"".join(fields) + behind)
        values += row
    for name in _native.run_implementations():
        summary, _ = take(records, 2, False, 0, name)
        [(_, group)] = summary.groups()
        if not values:
            assert group["fields"] == []
            continue
        [field] = group["fields"]
        assert (field["values"], field["nan"], field["huge"]) == (len(values), 0, 0)
        assert (field["min"], field["max"]) == (min(values), max(values))
        assert field["mean"] == pytest.approx(sum(values) / len(values))


def test_a_value_that_is_odd_anywhere_in_a_run(take: Take) -> None:
    for value, key in ((float("nan"), "nan"), (float("-inf"), "minus_inf"), (-2e30, "huge")):
        for at in range(19):
            rows = [[1.0] * 19, [2.0] * 19]
            rows[1][at] = value
            records = [messages.EntryDump(id=1, num=row).SerializeToString() for row in rows]
            for name in _native.run_implementations():
                [(_, group)] = take(records, 2, False, 0, name)[0].groups()
                [field] = group["fields"]
                assert field[key] == 1
                assert field["nan"] + field["minus_inf"] + field["huge"] == 1
                assert field["max"] == 2


def test_the_limit_of_what_is_huge(take: Take) -> None:
    records = [
        messages.EntryDump(id=1, num=[1.0, 1e30, -1e30, 1.0000001e30]).SerializeToString()
    ] * 2
    for name in _native.run_implementations():
        [(_, group)] = take(records, 2, False, 0, name)[0].groups()
        assert group["fields"][0]["huge"] == group["huge_entries"] == 2


@pytest.mark.parametrize("by_slot", [False, True])
def test_packing(take: Take, by_slot: bool) -> None:
    summary, _ = take(SPECIAL, 2, by_slot, 0)
    packed = summary.pack()
    again = _native.Summary.unpack(packed)
    assert again.pack() == packed
    assert repr(again.groups()) == repr(summary.groups())
    for end in range(len(packed)):
        if end % 7 == 0:
            with pytest.raises(ValueError, match="no packed summary"):
                _native.Summary.unpack(packed[:end])
    with pytest.raises(ValueError, match="no packed summary"):
        _native.Summary.unpack(packed + b"\0")
    _native.Summary.unpack(_native.Summary().pack())


def test_packed_fields_that_there_are_not(take: Take) -> None:
    summary, _ = take([messages.EntryDump(id=1, num=[1.0]).SerializeToString()], 2, False, 0)
    packed = summary.pack()
    [(_, group)] = summary.groups()
    at = len(packed) - 14 * 8 - 4  # the key of the one field
    assert packed[at : at + 4] == bytes(4)
    for key in (5, 0x100, 0x151, 0x112, 0x116, 66 << 8 | 0x11, 2**32 - 1):
        with pytest.raises(ValueError, match="no packed summary"):
            _native.Summary.unpack(packed[:at] + key.to_bytes(4, "little") + packed[at + 4 :])
    other = packed[:at] + (0x111).to_bytes(4, "little") + packed[at + 4 :]
    [(_, group)] = _native.Summary.unpack(other).groups()
    assert [field["name"] for field in group["fields"]] == ["opt.0.adagrad.norm"]


def test_merging_does_not_lose_a_mean(take: Take) -> None:
    rng = random.Random(1)
    rows = [[1e7 + rng.random() for _ in range(8)] for _ in range(64)]
    records = [messages.EntryDump(id=1, num=row).SerializeToString() for row in rows]
    whole, _ = take(records, 2, False, 0)
    merged = _native.Summary()
    for record in records:
        merged.merge(take([record], 2, False, 0)[0])
    [(_, one)], [(_, other)] = whole.groups(), merged.groups()
    assert other["entries"] == one["entries"] == 64
    for key in ("mean", "std"):
        assert other["fields"][0][key] == pytest.approx(one["fields"][0][key], rel=1e-12)
    assert merged.total().pack() == merged.pack()


def test_arguments_that_are_refused() -> None:
    for args in ((3,), (2, False, 0, "abacus")):
        with pytest.raises(ValueError, match=r"fid_version|no such implementation"):
            _native.Statistics(*args)
    with pytest.raises(TypeError):
        _native.Statistics(2, False, -1)
