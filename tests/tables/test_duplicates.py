"""Feature ids that a table has more than once, against a dictionary."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import dump_support as ds
import pytest
from table_support import open_all

from monolith_cli import messages
from monolith_cli.errors import UsageError
from monolith_cli.tables import EntryFilter, ReadOptions, ranges
from monolith_cli.tables.diff import held
from monolith_cli.tables.duplicates import EXAMPLES, find_duplicates


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("duplicates")
    rng = random.Random(5)
    fids = [rng.choice((-1, 1)) * rng.randrange(4000) for _ in range(6000)]
    records = [messages.EntryDump(id=fid, num=[1.0]).SerializeToString() for fid in fids]
    ds.write_model_dir(
        directory, singles={"s": records}, multis={"M": {"m": records[:3000], "e": []}}, shards=3
    )
    return directory


def fids_of(model: Path, name: str) -> list[int]:
    return [int(fid) for fid in open_all(model)[name].read_columns(["fid"])["fid"]]


@pytest.mark.parametrize("spilling", [False, True])
@pytest.mark.parametrize("jobs", [1, 2])
def test_duplicates(
    model: Path, jobs: int, spilling: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 20_000)
    if spilling:
        monkeypatch.setattr(held, "_SMALL_BYTES", 0)
        monkeypatch.setattr("monolith_cli.tables.duplicates._SHARE", 1 << 30)
    tables = list(open_all(model).values())
    found = find_duplicates(tables, ReadOptions(), jobs=jobs, tmp=str(tmp_path))
    assert [each.table for each in found] == ["s", "e", "m"]
    for each in found:
        counts = Counter(fids_of(model, each.table))
        again = {fid for fid, count in counts.items() if count > 1}
        assert each.fids == len(again)
        assert each.entries == sum(counts.values()) - len(counts)
        assert len(each.examples) == min(EXAMPLES, len(again))
        assert set(each.examples) <= again
        assert each.examples == sorted(each.examples)
    assert list(tmp_path.iterdir()) == []


def test_some_entries(model: Path) -> None:
    fids = [fid for fid, count in Counter(fids_of(model, "s")).items() if count == 2][:4]
    chosen = EntryFilter((), fids)
    [found, *_] = find_duplicates(list(open_all(model).values()), ReadOptions(), chosen=chosen)
    assert (found.fids, found.entries, found.examples) == (4, 4, sorted(fids))


def test_too_little_memory(model: Path) -> None:
    with pytest.raises(UsageError, match="at least 16 MiB"):
        find_duplicates([], ReadOptions(), memory_bytes=1 << 20)
