"""Over which servers tables are spread, and by which rule; Python's own modulus is the witness."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import dump_support as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_support import checkpoint_of

from monolith_cli import _native, messages
from monolith_cli.errors import DifferentError
from monolith_cli.tables import ReadOptions
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.spreading import Spread, find_rule, find_spreads
from monolith_cli.tables.stream import Extent

FIDS = st.integers(-(2**63), 2**63 - 1)


def floored(fid: int, servers: int) -> int:
    return fid % servers


def of_unsigned(fid: int, servers: int) -> int:
    return (fid & (2**64 - 1)) % servers


@given(FIDS, st.integers(1, 2**31))
def test_both_rules(fid: int, servers: int) -> None:
    assert _native.server_of(fid, servers) == floored(fid, servers)
    assert _native.server_of(fid, servers, is_unsigned=True) == of_unsigned(fid, servers)
    if servers & (servers - 1) == 0:
        assert floored(fid, servers) == of_unsigned(fid, servers)


def test_which_files_are_parts_of_one() -> None:
    bases = ["user_0", "age_18", "user_1", "item", "user_2", "u_1", "u_0", "w_0"]
    assert find_spreads(bases) == [
        Spread("user", 3, {0: "user_0", 1: "user_1", 2: "user_2"}),
        Spread("age_18", 1, {0: "age_18"}),
        Spread("item", 1, {0: "item"}),
        Spread("u", 2, {0: "u_0", 1: "u_1"}),
        Spread("w", 1, {0: "w_0"}),
    ]
    # Some parts may have no files, where others have them.
    assert find_spreads(["t_0", "t_1", "t_2", "u_0", "u_2"])[1] == Spread(
        "u", 3, {0: "u_0", 2: "u_2"}
    )
    user, age, item, _, w = find_spreads(bases)
    assert [each.is_numbered for each in (user, age, item, w)] == [True, False, False, True]
    assert user.base_of(7) == "user_7"
    assert item.base_of(0) == "item"


def entry(fid: int) -> bytes:
    record: bytes = messages.EntryDump(id=fid, num=[0.5]).SerializeToString()
    return record


def written(
    directory: Path, servers: int, fids: list[int], rule: Callable[[int, int], int]
) -> dict[str, list[Extent]]:
    """A single table, and one that shares its files, each on so many servers, with these fids."""
    parts: list[list[bytes]] = [[] for _ in range(servers)]
    for fid in fids:
        parts[rule(fid, servers)].append(entry(fid))
    ds.write_model_dir(
        directory,
        singles={f"s_{server}": part for server, part in enumerate(parts)},
        multis={f"M_{server}": {"m": part, "e": []} for server, part in enumerate(parts)},
        shards=2,
    )
    extents: dict[str, list[Extent]] = {}
    for table in find_tables(checkpoint_of(directory)).tables:
        if table.kind == "single":
            extents[table.name] = table.extents()
    for table in find_tables(checkpoint_of(directory)).tables:
        for dump in table.dumps:
            extents.setdefault(dump.base, []).extend(dump.extents_of(table.name))
    return extents


def rule_of(extents: dict[str, list[Extent]], servers: int, rule: str | None = None) -> str:
    singles = [base for base in extents if base.startswith("s")]
    multis = [base for base in extents if base.startswith("M")]
    spreads = [*find_spreads(singles), *find_spreads(multis)]
    return find_rule(spreads, extents, servers, ReadOptions(), rule=rule)


def some_fids(high: bool) -> list[int]:
    rng = random.Random(3)
    return [rng.getrandbits(63) - (2**63 if high and rng.random() < 0.3 else 0) for _ in range(300)]


def test_the_rule_that_all_entries_obey(tmp_path: Path) -> None:
    signed = written(tmp_path / "signed", 3, some_fids(True), floored)
    unsigned = written(tmp_path / "unsigned", 3, some_fids(True), of_unsigned)
    assert rule_of(signed, 5) == "floored"
    assert rule_of(unsigned, 5) == "unsigned"
    # What the entries say counts for more than what somebody thinks.
    assert rule_of(unsigned, 5, "floored") == "unsigned"


def test_entries_that_obey_neither(tmp_path: Path) -> None:
    extents = written(tmp_path / "neither", 3, [3, -4, 8], lambda fid, servers: (fid + 1) % servers)
    with pytest.raises(DifferentError, match="by neither rule: 6 break the signed") as caught:
        rule_of(extents, 5)
    assert caught.value.kind == "no_server_rule"
    assert caught.value.path is not None


def test_entries_that_do_not_tell(tmp_path: Path) -> None:
    # Of four servers both rules are the same; they differ for three.
    high = written(tmp_path / "high", 4, some_fids(True), floored)
    assert rule_of(high, 8) == "floored"
    with pytest.raises(DifferentError, match="do not tell by which") as caught:
        rule_of(high, 3)
    assert caught.value.kind == "no_server_rule"
    assert rule_of(high, 3, "unsigned") == "unsigned"
    low = written(tmp_path / "low", 4, some_fids(False), floored)
    assert rule_of(low, 3) == "floored"
    empty = written(tmp_path / "empty", 2, [], floored)
    assert rule_of(empty, 3) == "floored"
