"""Entries spread over other servers, and feature ids of another version: Python's own arithmetic
says where each entry is to be, and protobuf what it is to be."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dump_support as ds
import pytest
import spread_support as sp
from spread_support import fid_of
from table_support import checkpoint_of

from monolith_cli import messages
from monolith_cli.errors import (
    CorruptionError,
    DifferentError,
    MissingShardError,
    UsageError,
)
from monolith_cli.execution.workers import ALONE
from monolith_cli.fid import fid_v1_to_v2, make_fid, to_signed
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.rewrite.plan import RewriteOptions, RewritePlan, reading_of
from monolith_cli.tables.rewrite.planning import plan_tables

Rule = Callable[[int, int], int]


def floored(fid: int, servers: int) -> int:
    return fid % servers


def of_unsigned(fid: int, servers: int) -> int:
    return (fid & (2**64 - 1)) % servers


RULES: dict[str, Rule] = {"floored": floored, "unsigned": of_unsigned}


def odd_entries(seed: int, count: int, *, v1: bool = False) -> list[bytes]:
    """Entries of every kind, some with the top bit, some that say their feature id twice."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        fid = to_signed(rng.getrandbits(64))
        if v1:
            fid = make_fid(rng.choice((0, 3, 700, 1023)), rng.randrange(64) << 48 | number, "v1")
        record = ds.random_entry(rng, fid=fid)
        records.append(ds.scrambled(record, rng) if number % 2 else record.SerializeToString())
    return records


def spread(records: list[bytes], servers: int, rule: Rule) -> list[list[bytes]]:
    parts: list[list[bytes]] = [[] for _ in range(servers)]
    for record in records:
        parts[rule(fid_of(record), servers)].append(record)
    return parts


S, A, B = odd_entries(1, 300), odd_entries(2, 200), odd_entries(3, 40)


def write(directory: Path, servers: int, rule: Rule, filters: dict[str, int] | None = None) -> Path:
    """A single table, and a dump of two, on so many servers."""
    singles = {f"s_{server}": part for server, part in enumerate(spread(S, servers, rule))}
    a, b = spread(A, servers, rule), spread(B, servers, rule)
    multis = {f"M_{server}": {"a": a[server], "b": b[server]} for server in range(servers)}
    return sp.write_step(directory, singles, multis, filters=filters)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("servers", [1, 2, 5])
def test_entries_go_to_their_servers(tmp_path: Path, rule: str, servers: int) -> None:
    model = write(tmp_path / "model", 3, RULES[rule])
    done = sp.rewrite(model, tmp_path / "new", RewriteOptions(servers=servers), jobs=2)
    singles, multis = sp.singles_of(tmp_path / "new"), sp.multis_of(tmp_path / "new")
    for server in range(servers):
        for found, records in (
            (singles[f"s_{server}"], S),
            (multis[f"M_{server}", "a"], A),
            (multis[f"M_{server}", "b"], B),
        ):
            assert Counter(found) == Counter(spread(records, servers, RULES[rule])[server])
    assert len(singles) == servers
    assert len(multis) == 2 * servers
    assert sum(table.passages.same for table in done.tables) == len(S + A + B)
    # And back again, into other files.
    back = RewriteOptions(servers=3, shards=3)
    if servers < 3:  # which tells nothing of the rule
        back = back._replace(server_rule=rule)
    sp.rewrite(tmp_path / "new", tmp_path / "back", back)
    for now, before in (
        (sp.singles_of(tmp_path / "back"), sp.singles_of(model)),
        (sp.multis_of(tmp_path / "back"), sp.multis_of(model)),
    ):
        assert {key: Counter(each) for key, each in now.items()} == {
            key: Counter(each) for key, each in before.items()
        }
    assert sp.shards_of(tmp_path / "back", "s_0") == 3


def test_tables_without_servers(tmp_path: Path) -> None:
    model = sp.write_step(tmp_path / "model", {"s": S, "none": []}, {"M": {"a": A, "e": []}})
    with pytest.raises(DifferentError, match="do not tell by which"):
        sp.rewrite(model, tmp_path / "new", RewriteOptions(servers=3))
    options = RewriteOptions(servers=3, server_rule="unsigned", drop_slots=[(7, 7)])
    sp.rewrite(model, tmp_path / "new", options)
    singles = sp.singles_of(tmp_path / "new")
    kept = [record for record in S if fid_of(record) >> 48 & 0x7FFF != 7]
    assert [Counter(singles[f"s_{server}"]) for server in range(3)] == list(
        map(Counter, spread(kept, 3, of_unsigned))
    )
    assert [singles[f"none_{server}"] for server in range(3)] == [[], [], []]
    assert list(sp.multis_of(tmp_path / "new")) == [
        (f"M_{server}", table) for server in range(3) for table in ("a", "e")
    ]
    # Of a number that both rules divide alike nobody has to tell which.
    sp.rewrite(model, tmp_path / "four", RewriteOptions(servers=4))
    assert len(sp.singles_of(tmp_path / "four")) == 8


def test_tables_that_are_no_parts_of_one(tmp_path: Path) -> None:
    model = sp.write_step(tmp_path / "model", {"t_0": S[:50], "t_1": S[50:80]}, {})
    for options in (
        RewriteOptions(servers=2),
        RewriteOptions(convert_fids=True, fid_version="v1"),
    ):
        with pytest.raises(DifferentError, match="neither rule") as caught:
            sp.rewrite(model, tmp_path / "new", options)
        assert caught.value.kind == "no_server_rule"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_dropped_tables_keep_empty_files(tmp_path: Path) -> None:
    model = write(tmp_path / "model", 2, floored)
    options = RewriteOptions(servers=3, server_rule="floored", drop_tables=["s_*", "a"])
    done = sp.rewrite(model, tmp_path / "new", options)
    assert sp.singles_of(tmp_path / "new") == {f"s_{server}": [] for server in range(3)}
    multis = sp.multis_of(tmp_path / "new")
    assert list(multis) == [(f"M_{server}", "b") for server in range(3)]
    assert [table.plan.name for table in done.tables if not table.targets] == [
        "s_0",
        "s_1",
        "a",
        "a",
    ]


def converted(record: bytes) -> bytes:
    """What must become of it, but for how it is written."""
    entry = messages.EntryDump.FromString(record)
    entry.DiscardUnknownFields()
    entry.id = to_signed(fid_v1_to_v2(entry.id))
    serialized: bytes = entry.SerializeToString()
    return serialized


def plain(record: bytes) -> bytes:
    entry = messages.EntryDump.FromString(record)
    entry.DiscardUnknownFields()
    serialized: bytes = entry.SerializeToString()
    return serialized


@pytest.mark.parametrize("servers", [None, 4])
@pytest.mark.parametrize("rule", RULES)
def test_feature_ids_are_converted(tmp_path: Path, rule: str, servers: int | None) -> None:
    s, a, b = (odd_entries(seed, 200, v1=True) for seed in (11, 12, 13))
    singles = {f"s_{server}": part for server, part in enumerate(spread(s, 3, RULES[rule]))}
    multis = {f"M_{server}": {"a": part} for server, part in enumerate(spread(a, 3, RULES[rule]))}
    multis["N"] = {"b": b}
    model = sp.write_step(tmp_path / "model", {**singles, "t": b}, multis)
    options = RewriteOptions(convert_fids=True, fid_version="v1", servers=servers, shards=3)
    sp.rewrite(model, tmp_path / "new", options, jobs=2)
    new = {base: list(map(plain, found)) for base, found in sp.singles_of(tmp_path / "new").items()}
    of_multis = {
        key: list(map(plain, found)) for key, found in sp.multis_of(tmp_path / "new").items()
    }
    for server, part in enumerate(spread(list(map(converted, s)), servers or 3, floored)):
        assert Counter(new[f"s_{server}"]) == Counter(part)
    for server, part in enumerate(spread(list(map(converted, a)), servers or 3, floored)):
        assert Counter(of_multis[f"M_{server}", "a"]) == Counter(part)
    if servers is None:
        assert new["t"] == of_multis["N", "b"] == list(map(converted, b))
    else:
        for server, part in enumerate(spread(list(map(converted, b)), servers, floored)):
            assert Counter(new[f"t_{server}"]) == Counter(of_multis[f"N_{server}", "b"])
            assert Counter(new[f"t_{server}"]) == Counter(part)


def test_feature_ids_that_would_become_the_same(tmp_path: Path) -> None:
    # On two servers, and different in nothing but what is lost.
    one, other, kept = make_fid(5, 7, "v1"), make_fid(5, 1 << 48 | 7, "v1"), make_fid(6, 7, "v1")
    records = [ds.random_entry(random.Random(1), fid=fid) for fid in (one, other, kept, kept)]
    entries = [record.SerializeToString() for record in records]
    assert one % 3 != other % 3
    parts = {f"s_{server}": part for server, part in enumerate(spread(entries, 3, floored))}
    model = sp.write_step(tmp_path / "model", parts, {})
    options = RewriteOptions(convert_fids=True, fid_version="v1")
    with pytest.raises(CorruptionError, match="would become the same in version 2") as caught:
        sp.rewrite(model, tmp_path / "new", options)
    assert caught.value.kind == "fids_collide"
    assert f"{one} and {other} would both be {fid_v1_to_v2(one)}" in caught.value.what
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert "of one slot" in (caught.value.hint or "")
    # That one of them would go by what is in it is not looked at, and said.
    for some in (options._replace(expire_days=3), options._replace(where="nan")):
        with pytest.raises(
            CorruptionError, match="counting entries that would be left out"
        ) as caught:
            sp.rewrite(model, tmp_path / "new", some)
        assert "leave these out first" in (caught.value.hint or "")
    # Without one of them nothing collides; what is there twice stays so.
    sp.rewrite(model, tmp_path / "new", options._replace(drop_slots=[(5, 5)]))
    found = [fid_of(each) for part in sp.singles_of(tmp_path / "new").values() for each in part]
    assert found == [fid_v1_to_v2(kept)] * 2
    # In two tables they are two.
    apart = sp.write_step(tmp_path / "apart", {"s": entries[:1], "t": entries[1:2]}, {})
    sp.rewrite(apart, tmp_path / "of apart", options)
    assert len(sp.singles_of(tmp_path / "of apart")) == 2


def test_occurrence_filters(tmp_path: Path) -> None:
    filters = {"hash_filter_0": 3, "hash_filter_1": 2}
    model = write(tmp_path / "model", 2, floored, filters)
    options = RewriteOptions(servers=3, server_rule="floored")
    with pytest.raises(UsageError, match="occurrence filters") as caught:
        plan(model, options)
    assert caught.value.kind == "old_filters"
    made = plan(model, options._replace(reset_filters=True))
    assert made.filters == ()
    assert any("counted anew" in warning for warning in made.warnings)
    assert [(each.base, each.number, each.shards) for each in made.empty_filters] == [
        ("hash_filter_0", 0, 3),
        ("hash_filter_0", 1, 3),
        ("hash_filter_0", 2, 3),
        ("hash_filter_1", 0, 2),
        ("hash_filter_1", 1, 2),
        ("hash_filter_2", 0, 3),
        ("hash_filter_2", 1, 3),
        ("hash_filter_2", 2, 3),
    ]
    for each in made.empty_filters:
        meta = messages.HashFilterSplitMetaDump.FromString(each.head)
        assert (meta.total_size, meta.num_elements, meta.failure_count) == (10_500, 0, 0)
        assert meta.fill_rate == 100 / 10_500
        assert meta.sliding_hash_filter_meta.split_num == each.shards
        assert meta.sliding_hash_filter_meta.max_step == 2
    # Where nothing is spread anew they come along.
    assert len(plan(model, RewriteOptions(shards=1)).filters) == 5
    bad = next(model.glob("*.assets/hash_filter_1-00001-*"))
    bad.write_bytes(ds.frame(b"\x0a"))
    with pytest.raises(CorruptionError, match="no hash filter"):
        plan(model, options._replace(reset_filters=True))


def plan(model: Path, options: RewriteOptions) -> RewritePlan:
    options.check()
    found = find_tables(checkpoint_of(model), (), reading_of(options))
    return plan_tables(found, options, ALONE, sp.ignore)


@pytest.mark.parametrize(
    "options",
    [
        RewriteOptions(servers=0),
        RewriteOptions(server_rule="other"),
        RewriteOptions(convert_fids=True),
        RewriteOptions(shards=1, reset_filters=True),
    ],
)
def test_what_cannot_be_meant(options: RewriteOptions) -> None:
    with pytest.raises(UsageError):
        options.check()


def numbered(name: str, numbers: tuple[int, ...], servers: int) -> dict[str, list[bytes]]:
    """Of a table that is spread over servers the parts of these."""
    parts = spread(S, servers, floored)
    return {f"{name}_{server}": parts[server] for server in numbers}


LOST = {
    "a hole": (numbered("f", (0, 1, 3), 4), "'f', which is on 4 servers, f_2 is missing"),
    "a hole, and entries that obey no rule": (
        {"f_0": S[:50], "f_2": S[50:90]},
        "'f', which is on 3 servers, f_1 is missing",
    ),
    "the first": (numbered("f", (1, 2), 3), "'f', which is on 3 servers, f_0 is missing"),
    "all but the last": (numbered("f", (2,), 3), "f_0, f_1 are missing: there are f_2"),
    "one that others have": (
        {**numbered("g", (0, 1, 2), 3), **numbered("f", (1, 2), 3)},
        "'f', which is on 3 servers, f_0 is missing",
    ),
}


@pytest.mark.parametrize(("singles", "said"), LOST.values(), ids=LOST)
@pytest.mark.parametrize(
    "options",
    [RewriteOptions(servers=2), RewriteOptions(convert_fids=True, fid_version="v1")],
    ids=["servers", "convert"],
)
def test_a_server_whose_part_is_missing(
    tmp_path: Path, singles: dict[str, list[bytes]], said: str, options: RewriteOptions
) -> None:
    multis = {base: {"a": records} for base, records in singles.items()}
    for one, other in ((singles, {}), ({}, multis)):
        model = sp.write_step(tmp_path / "model", one, other)
        with pytest.raises(MissingShardError) as caught:
            sp.rewrite(model, tmp_path / "new", options)
        assert said in caught.value.what
        assert caught.value.path == str(sp.assets_of(model))
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        shutil.rmtree(model)


def test_the_last_part_is_missing(tmp_path: Path) -> None:
    singles = {**numbered("f", (0, 1, 2), 3), **numbered("g", (0, 1), 3)}
    model = sp.write_step(tmp_path / "model", singles, {})
    with pytest.raises(DifferentError, match="neither rule") as caught:
        sp.rewrite(model, tmp_path / "new", RewriteOptions(servers=2))
    assert "other tables are on 3 servers: restore g_2 if that is lost" in (caught.value.hint or "")


def test_parts_beside_a_whole_one(tmp_path: Path) -> None:
    singles = {"f": S[:9], **numbered("f", (0, 1), 2)}
    model = sp.write_step(tmp_path / "model", singles, {})
    with pytest.raises(DifferentError, match="f_0, f_1 are parts of 'f'"):
        sp.rewrite(model, tmp_path / "new", RewriteOptions(servers=2))


def test_names_that_end_in_other_numbers(tmp_path: Path) -> None:
    """What the entries do not say the contrary of is spread by itself."""
    model = sp.write_step(tmp_path / "model", {"age_18": S[:50], "u_1": A[:50], "u_2": A[50:]}, {})
    sp.rewrite(model, tmp_path / "new", RewriteOptions(servers=2))
    assert len(sp.singles_of(tmp_path / "new")) == 6
