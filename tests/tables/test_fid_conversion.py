"""Which feature ids become the same in version 2; a dictionary is the witness."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import dump_support as ds
import pytest
from table_support import open_all

from monolith_cli import messages
from monolith_cli.execution.workers import Workers
from monolith_cli.fid import fid_v1_to_v2, make_fid
from monolith_cli.storage.scratch import Scratch
from monolith_cli.tables import ReadOptions
from monolith_cli.tables.diff import held
from monolith_cli.tables.fid_conversion import EXAMPLES, TableCollisions, find_collisions


def entry(fid: int) -> bytes:
    record: bytes = messages.EntryDump(id=fid, num=[0.5]).SerializeToString()
    return record


def some_fids(seed: int, count: int) -> list[int]:
    """With few signatures, so that some differ in what is lost alone; some come twice."""
    rng = random.Random(seed)
    slots = (0, 1, 511, 512, 1023)
    fids = [
        make_fid(rng.choice(slots), rng.randrange(64) << 48 | rng.randrange(2000), "v1")
        for _ in range(count)
    ]
    return [*fids, *fids[:20]]


def collisions(
    model: Path, names: dict[str, list[str]], scratch: Scratch, memory_bytes: int, jobs: int = 1
) -> dict[str, TableCollisions]:
    tables = open_all(model)
    extents = {
        name: [extent for part in parts for extent in tables[part].extents()]
        for name, parts in names.items()
    }
    with Workers(jobs) as workers:
        found = find_collisions(
            extents, ReadOptions(), scratch, memory_bytes=memory_bytes, workers=workers
        )
    return {each.table: each for each in found}


@pytest.mark.parametrize("spilling", [False, True])
def test_collisions(tmp_path: Path, spilling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fids = some_fids(1, 3000)
    ds.write_model_dir(
        tmp_path,
        singles={
            "t_0": list(map(entry, fids[:1500])),
            "t_1": list(map(entry, fids[1500:])),
            "sound": list(map(entry, {fid_v1_to_v2(fid): fid for fid in fids}.values())),
            "none": [],
        },
        shards=3,
    )
    if spilling:
        monkeypatch.setattr(held, "_SMALL_BYTES", 0)
    names = {"t": ["t_0", "t_1"], "t_0": ["t_0"], "sound": ["sound"], "none": ["none"]}
    with Scratch(str(tmp_path)) as scratch:
        memory_bytes = 2 if spilling else 16 << 20
        found = collisions(tmp_path, names, scratch, memory_bytes)
        assert collisions(tmp_path, names, scratch, memory_bytes, jobs=2) == found
    for name, some in (("t", fids), ("t_0", fids[:1500])):
        becoming: dict[int, set[int]] = defaultdict(set)
        for fid in some:
            becoming[fid_v1_to_v2(fid)].add(fid)
        expected = {fid: olds for fid, olds in becoming.items() if len(olds) > 1}
        assert found[name].fids == len(expected) > 100
        assert len(found[name].examples) == EXAMPLES
        for example in found[name].examples:
            assert {example.one, example.other} <= expected[example.fid]
            assert example.one != example.other
    assert set(found) == {"t", "t_0"}
