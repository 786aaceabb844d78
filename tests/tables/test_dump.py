"""Entries as jsonl and as records, against protobuf's parser and TensorFlow's reader."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
import tf_support
from table_support import EXPORT, SKIP, export_by_tensorflow, flip, needs_export, open_all, parse

from monolith_cli import messages
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    CursorError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.tables import EntryFilter, ReadOptions, ranges
from monolith_cli.tables import dump as dump_module
from monolith_cli.tables.dump import COLUMNS, Dump
from monolith_cli.tables.folds import output
from monolith_cli.tables.table import entry_stream

SEGMENTS = (("adagrad", 3), ("dynamic_wd_adagrad", 2), ("adam", 1))
A = ds.random_entries(71, 60, segments=SEGMENTS, special=True)
B = ds.random_entries(72, 25, segments=(("sgd", 2),))
NESTED = ds.put_fixed64(1, 5) + ds.put_bytes(15, ds.frame(*A[:5]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ds.write_model_dir(
        tmp_path,
        singles={"a": [*A, NESTED], "b": B},
        multis={"Multi": {"m": A[:20], "n": B[:9]}},
        shards=3,
    )
    return tmp_path


ALL = [*A, NESTED, *B, *A[:20], *B[:9]]


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges that split records, read by threads whatever their size."""
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(dump_module, "_RANGE_BYTES", 100)
    monkeypatch.setattr(output, "CHUNK_BYTES", 100)


def dump_of(
    directory: Path, options: ReadOptions | None = None, names: Sequence[str] = (), **how: Any
) -> Dump:
    tables = open_all(directory, options)
    chosen = [tables[name] for name in names or tables]
    return Dump(entry_stream(chosen, unattributed=not names), options or ReadOptions(), **how)


def lines_of(dump: Dump) -> list[Any]:
    return [json.loads(line) for line in b"".join(dump).splitlines()]


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def row_of(entry: Any, table: str | None) -> dict[str, Any]:
    """What an entry's object must hold, made from its message."""
    opt = []
    for single in entry.opt.dump:
        kind = single.WhichOneof("type")
        state: dict[str, Any] = {}
        arrays, floats, integers = ds.OPTIMIZERS[kind]
        for name in arrays:
            state[name] = [finite(value) for value in getattr(getattr(single, kind), name)]
        for name in (*floats, *integers):
            if getattr(single, kind).HasField(name):
                state[name] = finite(getattr(getattr(single, kind), name))
        opt.append({kind: state})
    return {
        "fid": str(entry.id),
        "slot": entry.id >> 48 & 0x7FFF,
        "table": table,
        "embedding": [finite(value) for value in entry.num],
        "opt": opt,
        "last_update_ts_sec": entry.last_update_ts_sec,
    }


def as_float32(value: Any) -> Any:
    """Numbers with a fraction as the float32 that they stand for."""
    if isinstance(value, list):
        return [as_float32(item) for item in value]
    if isinstance(value, dict):
        return {key: as_float32(item) for key, item in value.items()}
    return float(np.float32(value)) if isinstance(value, float) else value


def expected_rows() -> list[dict[str, Any]]:
    tables = [("a", [*A, NESTED]), ("b", B), ("m", A[:20]), ("n", B[:9])]
    return [row_of(entry, name) for name, records in tables for entry in parse(records)]


def non_finite(records: Sequence[bytes]) -> int:
    """How many floats of these entries JSON cannot say, counted in their values."""
    return json.dumps([row_of(entry, "") for entry in parse(list(records))]).count("null")


# --- jsonl ----------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_equal_the_messages(model: Path, jobs: int) -> None:
    dump = dump_of(model, jobs=jobs)
    assert as_float32(lines_of(dump)) == expected_rows()
    assert dump.entries == len(ALL)
    assert dump.non_finite == non_finite(ALL) > 10
    assert (dump.next_offset, dump.skipped) == (None, [])


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_rows_do_not_depend_on_ranges(model: Path, jobs: int) -> None:
    dump = dump_of(model, jobs=jobs)
    assert as_float32(lines_of(dump)) == expected_rows()
    assert (dump.entries, dump.non_finite) == (len(ALL), non_finite(ALL))


def test_literal_rows(tmp_path: Path) -> None:
    entry = messages.EntryDump(
        id=-3, num=[0.1, float("nan"), 1e20, float("-inf")], last_update_ts_sec=1_700_000_000
    )
    entry.opt.dump.add().ftrl.norm.extend([0.5])
    bare = messages.EntryDump(id=(7 << 48) + 2**53 + 1)
    records = [entry.SerializeToString(), bare.SerializeToString()]
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=1)
    dump = dump_of(tmp_path)
    assert b"".join(dump).decode() == (
        '{"fid":"-3","slot":32767,"table":"t","embedding":[0.1,null,1e20,null],'
        '"opt":[{"ftrl":{"zero":[],"norm":[0.5]}}],"last_update_ts_sec":1700000000}\n'
        '{"fid":"10977524091715585","slot":39,"table":"t","embedding":[],"opt":[],'
        '"last_update_ts_sec":0}\n'
    )
    assert dump.non_finite == 2
    numbers = dump_of(tmp_path, number_ids=True, columns=["last_update_ts_sec", "fid"])
    assert b"".join(numbers).decode() == (
        '{"fid":-3,"last_update_ts_sec":1700000000}\n'
        '{"fid":10977524091715585,"last_update_ts_sec":0}\n'
    )
    assert numbers.non_finite == 0  # in the columns that are there
    assert b"".join(dump_of(tmp_path, columns=[])) == b"{}\n{}\n"
    old = EntryFilter(fid_version="v1")
    slots = dump_of(tmp_path, columns=["slot"], chosen=old)
    assert b"".join(slots) == b'{"slot":1023}\n{"slot":0}\n'


@pytest.mark.parametrize("columns", [[name] for name in COLUMNS] + [["embedding", "opt"], COLUMNS])
def test_columns(model: Path, columns: list[str]) -> None:
    found = as_float32(lines_of(dump_of(model, columns=columns)))
    rows = expected_rows()
    assert found == [{key: row[key] for key in COLUMNS if key in columns} for row in rows]


@pytest.mark.parametrize(
    ("name", "in_json"),
    [
        ("plain", '"plain"'),
        ('quo"te', '"quo\\"te"'),
        ("back\\slash", '"back\\\\slash"'),
        ("naïve/表", '"na\\u00efve/\\u8868"'),
        ("line\nbreak\x00", '"line\\nbreak\\u0000"'),
        ("", '""'),
        # A byte that is no UTF-8: JSON cannot say it.
        (os.fsdecode(b"caf\xe9"), '"caf\\ufffd"'),
    ],
)
def test_table_names(tmp_path: Path, name: str, in_json: str) -> None:
    ds.write_model_dir(tmp_path, multis={"Multi": {name: B[:2]}}, shards=1)
    assert b"".join(dump_of(tmp_path, columns=["table"])).decode() == (
        f'{{"table":{in_json}}}\n{{"table":{in_json}}}\n'
    )


def test_chosen_entries(model: Path) -> None:
    chosen = EntryFilter(slots=[(7, 301)])
    dump = dump_of(model, chosen=chosen, columns=["slot"])
    slots = [row["slot"] for row in lines_of(dump)]
    assert slots == [row["slot"] for row in expected_rows() if 7 <= row["slot"] <= 301]
    assert dump.entries == len(slots)
    fid = parse(A)[3].id
    found = lines_of(dump_of(model, chosen=EntryFilter(fids=[fid]), jobs=2))
    assert [(row["fid"], row["table"]) for row in found] == [(str(fid), "a"), (str(fid), "m")]


# --- tfrecord -------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.usefixtures("small_ranges")
def test_tensorflow_reads_the_records(model: Path, tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "records"
    dump = dump_of(model, format="tfrecord", jobs=jobs)
    path.write_bytes(b"".join(dump))
    assert tf_support.read_records(path) == ALL
    assert (dump.entries, dump.non_finite) == (len(ALL), 0)


def test_records_are_as_they_are_stored(model: Path) -> None:
    stored = b"".join(
        path.read_bytes() for path in sorted((model / "model.ckpt-300.assets").glob("[ab]-*"))
    )
    assert b"".join(dump_of(model, names=["a", "b"], format="tfrecord")) == stored
    some = dump_of(model, names=["a", "b"], format="tfrecord", limit=7)
    assert b"".join(some) == ds.frame(*A[:7])


# --- limits, cursors, shards ----------------------------------------------------------------


@pytest.mark.parametrize("format", ["jsonl", "tfrecord"])
@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize("nshards", [1, 3, 4, 10, 97])
def test_pages_of_shards_together_are_everything(
    model: Path, format: str, limit: int, nshards: int
) -> None:
    stream = entry_stream(list(open_all(model).values()))
    found = b""
    for shard in range(nshards):
        offset: int | None = 0
        while offset is not None:
            dump = Dump(
                stream,
                ReadOptions(),
                format=format,
                limit=limit,
                offset=offset,
                shard=shard,
                nshards=nshards,
            )
            found += b"".join(dump)
            assert dump.entries == limit or dump.next_offset is None
            assert dump.next_offset is None or dump.next_offset > offset
            offset = dump.next_offset
    assert found == b"".join(dump_of(model, format=format))


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.usefixtures("small_ranges")
def test_from_a_cursor_to_the_end(model: Path, jobs: int) -> None:
    for limit in (1, 5, 60, 61, 62, 100):
        page = dump_of(model, limit=limit, columns=["fid"])
        first = b"".join(page)
        assert page.next_offset is not None
        rest = dump_of(model, offset=page.next_offset, columns=["fid"], jobs=jobs)
        assert first + b"".join(rest) == b"".join(dump_of(model, columns=["fid"]))
        assert rest.entries == len(ALL) - limit
        assert rest.next_offset is None


@pytest.fixture
def little_alone(monkeypatch: pytest.MonkeyPatch, small_ranges: None) -> None:
    """Threads look for chosen entries very soon."""
    monkeypatch.setattr(dump_module, "_NEAR_BYTES", 150)


class Counting(ThreadPoolExecutor):
    tasks = 0

    def submit(self, *what: Any, **how: Any) -> Future[Any]:
        self.tasks += 1
        return super().submit(*what, **how)


FILTERS = [
    EntryFilter(slots=[(0, 15)]),
    EntryFilter(slots=[(0, 2**15 - 1)]),
    EntryFilter(fids=[parse([A[at]])[0].id for at in (0, 3, 19, 40, 59)]),
    EntryFilter(fids=[17]),
]


def everything_of(dump: Dump) -> tuple[Any, ...]:
    """What comes of iterating, be it an error."""
    data, error = [], None
    try:
        data += dump
    except CorruptionError as met:
        error = str(met)
    return b"".join(data), dump.next_offset, dump.entries, dump.non_finite, dump.skipped, error


@pytest.mark.usefixtures("little_alone")
@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("nshards", [1, 3])
def test_pages_of_chosen_entries_by_threads(model: Path, chosen: EntryFilter, nshards: int) -> None:
    stream = entry_stream(list(open_all(model).values()))
    with Counting(2) as executor:
        for limit in (1, 2, 3, 7, 30, 1000):
            for shard in range(nshards):
                offset: int | None = 0
                while offset is not None:
                    pages = [
                        Dump(
                            stream,
                            ReadOptions(),
                            chosen=chosen,
                            limit=limit,
                            offset=offset,
                            shard=shard,
                            nshards=nshards,
                            executor=who,
                        )
                        for who in (None, executor)
                    ]
                    alone, together = map(everything_of, pages)
                    assert together == alone
                    offset = pages[0].next_offset
    assert executor.tasks > 0


def test_pages_of_all_entries_need_no_threads(model: Path, little_alone: None) -> None:
    with Counting(2) as executor:
        b"".join(dump_of(model, limit=100, executor=executor))
        assert executor.tasks == 0
        b"".join(dump_of(model, limit=1, chosen=FILTERS[1], executor=executor))
        assert executor.tasks == 0


def test_shards_without_limit(model: Path) -> None:
    found = b""
    for shard in range(5):
        found += b"".join(dump_of(model, shard=shard, nshards=5))
    assert found == b"".join(dump_of(model))


def test_at_the_end_there_is_nothing(model: Path) -> None:
    end = sum(ds.frame_starts(part)[-1] for part in ([*A, NESTED], B, A[:20], B[:9]))
    for limit in (None, 5):
        dump = dump_of(model, offset=end + 1, limit=limit)
        assert b"".join(dump) == b""
        assert (dump.entries, dump.next_offset) == (0, None)


def test_progress(model: Path) -> None:
    for limit in (None, 1000):
        seen: list[tuple[int, int]] = []
        dump = dump_of(model, limit=limit, progress=lambda *at, seen=seen: seen.append(at))
        b"".join(dump)
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"format": "xml"}, UsageError, "no format 'xml'"),
        ({"columns": ["fid", "size"]}, UsageError, "no column size"),
        ({"columns": "size"}, UsageError, "no column size"),
        ({"jobs": -1}, UsageError, "-1 jobs: at least one"),
        ({"jobs": 0}, UsageError, "0 jobs: at least one"),
        ({"chosen": EntryFilter(fids=(2**63,))}, UsageError, "does not fit into 64 bits"),
        ({"limit": 0}, UsageError, "limit 0: at least one entry"),
        ({"shard": 3, "nshards": 3}, UsageError, "no partition 3 of 3"),
        ({"offset": 2}, CursorError, "cursor 2 points at no record of this partition"),
        ({"offset": -1}, CursorError, "cursor -1 points at no record of this partition"),
    ],
)
def test_refused_before_anything_is_read(
    model: Path, how: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        dump_of(model, **how)


# --- damage ---------------------------------------------------------------------------------

SMALL = ds.random_entries(73, 10, segments=(("adagrad", 2),))


@pytest.mark.parametrize("nshards", [1, 4])
@pytest.mark.parametrize("limit", [None, 3])
def test_every_flipped_bit_is_reported(tmp_path: Path, nshards: int, limit: int | None) -> None:
    """Shards read independently, to their ends; whole, and in pages of three."""
    rng = random.Random(nshards)
    assets = ds.write_model_dir(tmp_path, singles={"t": SMALL}, shards=2)
    path = ds.shard_path(assets, "t", 1, 2)
    sound = path.read_bytes()
    starts = ds.frame_starts(SMALL[5:])
    for at in range(0, len(sound), 1 if limit is None else 3):
        path.write_bytes(sound)
        flip(path, at, rng.randrange(8))
        victim = max(n for n, start in enumerate(starts[:-1]) if start <= at)
        others = SMALL[: 5 + victim] + SMALL[6 + victim :]
        places: set[tuple[str | None, int | None]] = set()
        found, before = b"", b""
        errors: list[CorruptionError] = []
        for shard in range(nshards):
            offset: int | None = 0
            while offset is not None:
                dump = dump_of(
                    tmp_path,
                    SKIP,
                    format="tfrecord",
                    shard=shard,
                    nshards=nshards,
                    limit=limit,
                    offset=offset,
                )
                found += b"".join(dump)
                places |= {(damage.path, damage.offset) for damage in dump.skipped}
                offset = dump.next_offset
            try:
                for chunk in dump_of(tmp_path, format="tfrecord", shard=shard, nshards=nshards):
                    before += chunk
            except CorruptionError as error:
                errors.append(error)
        assert found == ds.frame(*others), at
        assert (str(path), starts[victim]) in places, at
        assert {error.path for error in errors} == {str(path)}, at
        assert starts[victim] in {error.offset for error in errors}, at
        if nshards == 1:
            assert before == ds.frame(*SMALL[: 5 + victim]), at


@pytest.mark.usefixtures("little_alone")
@pytest.mark.parametrize("options", [ReadOptions(), SKIP])
def test_damage_in_pages_of_chosen_entries(tmp_path: Path, options: ReadOptions) -> None:
    """By threads as by one."""
    rng = random.Random(5)
    records = ds.random_entries(75, 40, segments=(("sgd", 2),))
    assets = ds.write_model_dir(tmp_path, singles={"t": records}, shards=2)
    path = ds.shard_path(assets, "t", 1, 2)
    sound = path.read_bytes()
    chosen = EntryFilter(fids=[entry.id for entry in parse(records)[::3]])
    for _ in range(150):
        path.write_bytes(sound)
        flip(path, rng.randrange(len(sound)), rng.randrange(8))
        limit = rng.choice([1, 3, 6, 8, 11, 14, 100])
        how = {"chosen": chosen, "limit": limit}
        alone = everything_of(dump_of(tmp_path, options, **how))
        assert everything_of(dump_of(tmp_path, options, jobs=3, **how)) == alone


def test_rows_before_damage_come_first(model: Path) -> None:
    path = model / "model.ckpt-300.assets" / "b-00001-of-00003"
    flip(path, ds.frame_starts(B[9:])[3] + 14)
    for limit in (None, 1000):
        dump = dump_of(model, names=["a", "b"], limit=limit, columns=["fid"])
        found: list[bytes] = []
        with pytest.raises(CorruptionError) as caught:
            found.extend(dump)
        assert caught.value.path == str(path)
        assert len(b"".join(found).splitlines()) == dump.entries == len(A) + 1 + 12


def test_messages_that_do_not_parse(tmp_path: Path) -> None:
    records = [*SMALL[:4], b"\x09", *SMALL[4:]]
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=1)
    for format in ("jsonl", "tfrecord"):
        dump = dump_of(tmp_path, SKIP, format=format)
        b"".join(dump)
        assert [damage.kind for damage in dump.skipped] == ["bad_message"]
        assert dump.entries == 10


# --- files that change ----------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name(".other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("limit", [None, 100_000])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (truncate, ChangedWhileReadError),
        (append, ChangedWhileReadError),
        (replace, ChangedWhileReadError),
        (Path.unlink, PathNotFoundError),
    ],
)
def test_a_file_that_changes_while_it_is_dumped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    error: type[Exception],
    limit: int | None,
) -> None:
    monkeypatch.setattr(dump_module, "_RANGE_BYTES", 10_000)
    monkeypatch.setattr(output, "CHUNK_BYTES", 10_000)
    assets = ds.write_model_dir(tmp_path, singles={"t": SMALL * 1500}, shards=1)
    path = ds.shard_path(assets, "t", 0, 1)
    chunks = iter(dump_of(tmp_path, limit=limit))
    assert next(chunks).endswith(b"}\n")
    change(path)
    with pytest.raises(error) as caught:
        list(chunks)
    assert str(caught.value).startswith(f"{path}: ")


@needs_export
def test_the_export_value_by_value() -> None:
    for name, records in export_by_tensorflow().items():
        found = lines_of(dump_of(EXPORT, names=[name]))
        assert as_float32(found) == [row_of(entry, name) for entry in parse(records)]
        assert b"".join(dump_of(EXPORT, names=[name], format="tfrecord")) == ds.frame(*records)
