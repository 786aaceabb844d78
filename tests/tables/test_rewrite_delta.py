"""A delta applied: the result is the other step, as a dictionary in Python and `table diff` say."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
import spread_support as sp
import tf_support
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spread_support import fid_of
from table_support import checkpoint_of

from monolith_cli import messages
from monolith_cli.errors import CorruptionError, DifferentError, UsageError
from monolith_cli.fid import make_fid
from monolith_cli.tables.diff.compare import DiffOptions, TablesDiff, diff_tables
from monolith_cli.tables.diff.delta import DeltaWriter
from monolith_cli.tables.folds.rewrite import Passages, add_passages
from monolith_cli.tables.rewrite import run as run_module
from monolith_cli.tables.rewrite.plan import RewriteOptions

ROUNDS = int(os.environ.get("APPLY_ROUNDS", "12"))
"""How many random pairs of tables there are."""

Tables = Mapping[str, Sequence[bytes]]


def entry(fid: int, value: float, time: int = 5) -> bytes:
    record: bytes = messages.EntryDump(
        id=fid, num=[value], last_update_ts_sec=time
    ).SerializeToString()
    return record


def diff(a: Path, b: Path, delta: Path | None = None) -> TablesDiff:
    writer = DeltaWriter(os.fspath(delta), sp.STEP, sp.STEP) if delta else None
    options = DiffOptions(memory_bytes=16 << 20)
    return diff_tables(checkpoint_of(a), checkpoint_of(b), options, delta=writer)


def applied(before: Tables, delta: Path) -> dict[str, Counter[bytes]]:
    """What a delta makes of entries, by table: a dictionary of lists does it."""
    records = [messages.DeltaRecord.FromString(each) for each in tf_support.read_records(delta)]
    header = records[0].header
    tables: dict[str, dict[int, list[bytes]]] = {}
    for name, entries in before.items():
        by_fid = tables.setdefault(name, {})
        for record in entries:
            by_fid.setdefault(fid_of(record), []).append(record)
    for each in records[1:-1]:
        by_fid = tables.setdefault(header.tables[each.change.table].name.decode(), {})
        if each.change.op != 1:
            by_fid[each.change.fid] = []
        if each.change.op != 3:
            by_fid.setdefault(each.change.fid, []).append(each.change.entry)
    for table in header.tables:
        if table.in_b:
            tables.setdefault(table.name.decode(), {})
        else:
            del tables[table.name.decode()]
    return {
        name: Counter(record for entries in by_fid.values() for record in entries)
        for name, by_fid in tables.items()
    }


def entries_of(model: Path) -> dict[str, Counter[bytes]]:
    """All entries by table, of all servers together, as TensorFlow reads them."""
    found = {name: Counter(records) for name, records in sp.singles_of(model).items()}
    for (_, table), records in sp.multis_of(model).items():
        found.setdefault(table, Counter()).update(records)
    return found


def later(rng: random.Random, records: Sequence[bytes], more: Sequence[bytes]) -> list[bytes]:
    """Some entries gone, some changed, some written in another way, others new; shuffled."""
    found = []
    for record in records:
        made = messages.EntryDump.FromString(record)
        match rng.randrange(8):
            case 0:
                continue
            case 1:
                made.num.append(1.5)
            case 2:
                made.last_update_ts_sec += 60
            case 3:
                record = ds.scrambled(made, rng)
            case 4:
                made.ClearField("opt")
        found.append(made.SerializeToString() if rng.random() < 0.9 else record)
    found += more
    rng.shuffle(found)
    return found


def mixed(seed: int, count: int) -> list[bytes]:
    return ds.random_entries(seed, count, slots=None, segments=None, special=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two steps, and the delta between them."""
    root = tmp_path_factory.mktemp("two")
    rng = random.Random(5)
    s, m = mixed(1, 500), mixed(2, 300)
    again = [entry(fid, value) for fid in (-3, 4, 5) for value in (1.0, 1.0, 2.0)]
    more = [entry(4, 2.0), entry(5, 1.0), entry(5, 7.0), entry(6, 1.0), entry(6, 1.0)]
    sp.write_step(
        root / "a",
        {"s": s[:400] + again, "gone": m[:9], "same": m[:7], "cleared": m[:20]},
        {"M": {"m": m[:200], "kept": m[:5], "left": m[:30]}, "N": {"alone": m[:3]}},
        shards=3,
    )
    sp.write_step(
        root / "b",
        {"s": later(rng, s[:400], s[400:] + more), "same": m[:7], "cleared": [], "new": s[:50]},
        {
            "M": {"new in M": s[:10], "kept": m[:5], "m": later(rng, m[:200], m[200:])},
            "O": {"elsewhere": s[:8], "empty": []},
        },
    )
    assert diff(root / "a", root / "b", root / "d").differs
    return root / "a", root / "b", root / "d"


@pytest.mark.parametrize("shards", [None, 1, 4])
def test_the_result_is_the_other_step(
    two: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shards: int | None,
) -> None:
    a, b, delta = two
    monkeypatch.setattr(run_module, "RANGE_BYTES", 3000)
    options = RewriteOptions(shards=shards)
    done = sp.rewrite(a, tmp_path / "new", options, delta=delta, jobs=2)
    found = entries_of(tmp_path / "new")
    assert found == applied(entries_of(a), delta)
    assert not diff(sp.assets_of(tmp_path / "new"), b).differs
    assert set(found) == set(entries_of(b))
    assert "gone" not in found
    assert sp.shards_of(tmp_path / "new", "s") == (shards or 3)
    assert sp.shards_of(tmp_path / "new", "new") == (shards or 1)
    assert sp.shards_of(tmp_path / "new", "M") == (shards or 3)
    for table in done.tables:
        passages = table.passages
        assert passages.same + passages.brought == sum(into.entries for into in table.targets)
        assert passages.entries == sum(entries_of(a).get(table.plan.name, Counter()).values())
    # Whoever does the work, the same bytes.
    sp.rewrite(a, tmp_path / "alone", options, delta=delta)
    for path in (tmp_path / "new").glob("*.assets/*"):
        assert path.read_bytes() == (tmp_path / "alone" / path.parent.name / path.name).read_bytes()


def test_files_of_a_table_get_even_shares(two: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, _, delta = two
    sp.rewrite(a, tmp_path / "new", RewriteOptions(shards=4), delta=delta)
    sizes = [path.stat().st_size for path in (tmp_path / "new").glob("*.assets/s-*")]
    assert min(sizes) > 0.6 * max(sizes)


FEW = st.lists(
    st.tuples(st.integers(-2, 5), st.sampled_from([0.5, -0.0, float("nan")]), st.integers(0, 1)),
    max_size=9,
)


@settings(
    max_examples=ROUNDS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(FEW, FEW, FEW, FEW)
def test_any_two_multisets(
    tmp_path_factory: pytest.TempPathFactory,
    s: list[Any],
    t: list[Any],
    of_s: list[Any],
    of_t: list[Any],
) -> None:
    root = tmp_path_factory.mktemp("few")
    a = sp.write_step(
        root / "a", {"s": [entry(*each) for each in s]}, {"M": {"t": [entry(*each) for each in t]}}
    )
    b = sp.write_step(
        root / "b",
        {"s": [entry(*each) for each in of_s]},
        {"M": {"t": [entry(*each) for each in of_t]}},
    )
    diff(a, b, root / "d")
    sp.rewrite(a, root / "new", RewriteOptions(), delta=root / "d")
    assert entries_of(root / "new") == entries_of(b)


def test_another_base(two: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, b, delta = two
    options = RewriteOptions()
    records = sp.singles_of(a)
    multis: dict[str, dict[str, list[bytes]]] = {}
    for (base, table), entries in sp.multis_of(a).items():
        multis.setdefault(base, {})[table] = entries
    bases = {
        "the result": b,
        "one more": write(
            tmp_path / "1", {**records, "s": [*records["s"], records["s"][0]]}, multis
        ),
        "another value": write(
            tmp_path / "2", {**records, "s": [*records["s"][1:], entry(1, 0)]}, multis
        ),
        "not changed there": write(
            tmp_path / "3", {**records, "same": records["same"][1:]}, multis
        ),
        "in shared files": write(
            tmp_path / "4", records, {**multis, "M": {**multis["M"], "kept": [entry(1, 1)]}}
        ),
        "a table is missing": write(tmp_path / "5", records, {"M": multis["M"]}),
        "a table too many": write(tmp_path / "6", {**records, "new": []}, multis),
    }
    for base in bases.values():
        with pytest.raises(DifferentError, match="base") as caught:
            sp.run(base, None, options, delta)
        assert caught.value.kind == "another_base"
    (tmp_path / "none.assets").mkdir()
    with pytest.raises(DifferentError):
        sp.run(bases["another value"], tmp_path / "none.assets", options, delta)
    # What it does not know does not matter.
    more = write(tmp_path / "7", {**records, "unknown": records["same"]}, multis)
    sp.rewrite(more, tmp_path / "new", options, delta=delta)
    assert entries_of(tmp_path / "new") == {
        **applied(entries_of(a), delta),
        "unknown": Counter(records["same"]),
    }


def write(directory: Path, singles: Tables, multis: Mapping[str, Tables]) -> Path:
    return sp.write_step(directory, singles, multis, shards=3)


def test_a_delta_that_promises_something_else(two: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, _, delta = two
    records = tf_support.read_records(delta)
    header = messages.DeltaRecord.FromString(records[0])
    [table] = [each for each in header.header.tables if each.name == b"s"]
    table.digest_b ^= 1
    tf_support.write_plain(tmp_path / "d", [header.SerializeToString(), *records[1:]])
    with pytest.raises(CorruptionError, match="where the delta promises") as caught:
        sp.run(a, None, RewriteOptions(), tmp_path / "d")
    assert caught.value.kind == "delta_differs"
    assert caught.value.path == str(tmp_path / "d")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "t.meta", "a:b"])
@pytest.mark.parametrize("shared", [False, True])
def test_names_that_no_files_can_have(
    two: tuple[Path, Path, Path], tmp_path: Path, name: str, shared: bool
) -> None:
    records = [messages.DeltaRecord(), messages.DeltaRecord()]
    new = records[0].header.tables.add(name=name.encode(), in_b=True)
    if shared:
        new.name = b"t"
        new.dumps_b.append(name.encode())
    records[1].end.changes = 0
    (tmp_path / "d").write_bytes(ds.frame(*(each.SerializeToString() for each in records)))
    with pytest.raises(CorruptionError, match="no dump can be named") as caught:
        sp.run(two[0], None, RewriteOptions(), tmp_path / "d")
    assert (caught.value.path, caught.value.kind) == (str(tmp_path / "d"), "bad_message")


def test_what_is_done_after_it(two: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, _, delta = two
    options = RewriteOptions(drop_tables=["[ns]*e*"], keep_slots=[(0, 20_000)], shards=2)
    done = sp.rewrite(a, tmp_path / "new", options, delta=delta)
    expected = {
        name: Counter(
            {each: n for each, n in records.items() if fid_of(each) >> 48 & 0x7FFF <= 20_000}
        )
        for name, records in applied(entries_of(a), delta).items()
        if name not in ("new", "new in M")
    }
    expected["same"] = Counter()  # its files stay, empty
    assert entries_of(tmp_path / "new") == expected
    assert not [table for table in done.tables if table.plan.name == "new"]
    # Over servers, too.
    options = RewriteOptions(servers=3, server_rule="floored")
    sp.rewrite(a, tmp_path / "spread", options, delta=delta)
    singles, multis = sp.singles_of(tmp_path / "spread"), sp.multis_of(tmp_path / "spread")
    whole = applied(entries_of(a), delta)
    for server in range(3):
        for name in ("s", "new", "cleared"):
            part = Counter({r: n for r, n in whole[name].items() if fid_of(r) % 3 == server})
            assert Counter(singles[f"{name}_{server}"]) == part
        for base, name in (("M", "m"), ("M", "new in M"), ("O", "elsewhere")):
            part = Counter({r: n for r, n in whole[name].items() if fid_of(r) % 3 == server})
            assert Counter(multis[f"{base}_{server}", name]) == part


def test_tables_on_several_servers(tmp_path: Path) -> None:
    """Of single tables each part is one of its own; of others the rule says where entries go."""
    rng = random.Random(9)
    records, more = mixed(3, 300), mixed(4, 400)

    def step(name: str, some: Sequence[bytes], *, extra: bool) -> Path:
        parts = [[each for each in some if fid_of(each) % 3 == server] for server in range(3)]
        multis = {}
        for server, part in enumerate(parts):
            new = {"new": part[:20]} if extra else {}
            multis[f"M_{server}"] = {"m": part, **new, "e": []}
        singles = {f"s_{server}": part for server, part in enumerate(parts)}
        return sp.write_step(tmp_path / name, singles, multis)

    a = step("a", records, extra=False)
    b = step("b", later(rng, records, more), extra=True)
    diff(a, b, tmp_path / "d")
    sp.rewrite(a, tmp_path / "new", RewriteOptions(), delta=tmp_path / "d")
    assert not diff(sp.assets_of(tmp_path / "new"), b).differs
    for found, expected in (
        (sp.singles_of(tmp_path / "new"), sp.singles_of(b)),
        (sp.multis_of(tmp_path / "new"), sp.multis_of(b)),
    ):
        assert {key: sorted(map(fid_of, each)) for key, each in found.items()} == {
            key: sorted(map(fid_of, each)) for key, each in expected.items()
        }


def test_entries_of_which_nobody_knows_the_server(tmp_path: Path) -> None:
    some = [entry(fid, 1.0) for fid in range(9)]
    a = sp.write_step(tmp_path / "a", {}, {"M": {"t": some[:4]}, "N": {"t": some[4:]}})
    b = sp.write_step(tmp_path / "b", {}, {"M": {"t": [*some, entry(-1, 1.0)]}})
    diff(a, b, tmp_path / "d")
    with pytest.raises(DifferentError, match="nobody knows in which") as caught:
        sp.rewrite(a, tmp_path / "new", RewriteOptions(), delta=tmp_path / "d")
    assert caught.value.kind == "no_server_rule"


LOW = list(range(20))
TOP = [-(2**63) + k for k in range(9)]
"""With the top bit: which server they are on, of three, depends on the rule."""


def on(server_of: Callable[[int], int], fids: Sequence[int]) -> list[list[bytes]]:
    """Entries of three servers."""
    parts: list[list[bytes]] = [[], [], []]
    for fid in fids:
        parts[server_of(fid) % 3].append(entry(fid, 1.0))
    return parts


def unsigned(fid: int) -> int:
    return fid & (2**64 - 1)


def floored(fid: int) -> int:
    return fid


def step_of(
    directory: Path, singles: Sequence[Sequence[bytes]], multis: Sequence[Sequence[bytes]]
) -> Path:
    """A step of three servers; or of one, for what lies on one."""

    def named(name: str, server: int, servers: int) -> str:
        return name if servers == 1 else f"{name}_{server}"

    return sp.write_step(
        directory,
        {named("s", i, len(singles)): part for i, part in enumerate(singles)},
        {named("M", i, len(multis)): {"m": part} for i, part in enumerate(multis)},
    )


def test_what_is_brought_where_nobody_knows_the_rule(tmp_path: Path) -> None:
    """No entry of the base has the top bit: it obeys both rules."""
    a = step_of(tmp_path / "a", [], on(unsigned, LOW))
    b = step_of(tmp_path / "b", [], on(unsigned, [*LOW, *TOP]))
    diff(a, b, tmp_path / "d")
    options = RewriteOptions()
    for some in (options, options._replace(servers=3), options._replace(servers=5)):
        with pytest.raises(DifferentError, match="9 feature ids have the top bit") as caught:
            sp.rewrite(a, tmp_path / "new", some, delta=tmp_path / "d")
        assert caught.value.kind == "no_server_rule"
    for rule, server_of in (("unsigned", unsigned), ("floored", floored)):
        said = options._replace(server_rule=rule)
        for name, some in (("as", said), ("of", said._replace(servers=3))):
            sp.rewrite(a, tmp_path / name / rule, some, delta=tmp_path / "d")
            found = sp.multis_of(tmp_path / name / rule)
            for server, part in enumerate(on(server_of, [*LOW, *TOP])):
                assert Counter(found[f"M_{server}", "m"]) == Counter(part)
    # For four servers the rules are the same.
    sp.rewrite(a, tmp_path / "four", options._replace(servers=4), delta=tmp_path / "d")
    assert entries_of(tmp_path / "four") == entries_of(b)


def test_what_is_brought_where_the_base_tells_the_rule(tmp_path: Path) -> None:
    a = step_of(tmp_path / "a", [], on(unsigned, [*LOW, -5]))
    b = step_of(tmp_path / "b", [], on(unsigned, [*LOW, -5, *TOP]))
    diff(a, b, tmp_path / "d")
    # Which counts for more than what somebody thinks.
    for number, rule in enumerate((None, "floored")):
        options = RewriteOptions(server_rule=rule)
        sp.rewrite(a, tmp_path / str(number), options, delta=tmp_path / "d")
        found = sp.multis_of(tmp_path / str(number))
        for server, part in enumerate(on(unsigned, [*LOW, -5, *TOP])):
            assert Counter(found[f"M_{server}", "m"]) == Counter(part)


def test_what_is_brought_to_tables_that_are_on_one_server(tmp_path: Path) -> None:
    a = step_of(tmp_path / "a", [on(floored, [3])[0]], [on(floored, [3])[0]])
    every = [entry(fid, 1.0) for fid in (3, *TOP)]
    b = step_of(tmp_path / "b", [every], [every])
    diff(a, b, tmp_path / "d")
    options = RewriteOptions(servers=3)
    with pytest.raises(DifferentError, match="18 feature ids have the top bit") as caught:
        sp.rewrite(a, tmp_path / "new", options, delta=tmp_path / "d")
    assert caught.value.kind == "no_server_rule"
    options = options._replace(server_rule="unsigned")
    sp.rewrite(a, tmp_path / "new", options, delta=tmp_path / "d")
    found = sp.singles_of(tmp_path / "new")
    for server, part in enumerate(on(unsigned, [3, *TOP])):
        assert Counter(found[f"s_{server}"]) == Counter(part)


def test_what_a_delta_brings_tells_the_rule(tmp_path: Path) -> None:
    """It says of single tables on which server an entry is."""
    a = step_of(tmp_path / "a", on(unsigned, LOW), on(unsigned, LOW))
    b = step_of(tmp_path / "b", on(unsigned, [*LOW, *TOP]), on(unsigned, [*LOW, *TOP]))
    diff(a, b, tmp_path / "d")
    sp.rewrite(a, tmp_path / "new", RewriteOptions(servers=5), delta=tmp_path / "d")
    singles, multis = sp.singles_of(tmp_path / "new"), sp.multis_of(tmp_path / "new")
    for server in range(5):
        part = {fid for fid in (*LOW, *TOP) if unsigned(fid) % 5 == server}
        assert set(map(fid_of, singles[f"s_{server}"])) == part
        assert set(map(fid_of, multis[f"M_{server}", "m"])) == part
    # And that it keeps to none.
    c = step_of(tmp_path / "c", on(lambda fid: fid + 2 if fid < 0 else fid, [*LOW, *TOP]), [])
    d = step_of(tmp_path / "d of none", on(floored, LOW), [])
    diff(d, c, tmp_path / "wrong")
    with pytest.raises(DifferentError, match="by neither rule: 9 break the signed") as caught:
        sp.run(d, None, RewriteOptions(servers=5), tmp_path / "wrong")
    assert caught.value.path == str(tmp_path / "wrong")


def test_a_new_table_of_several_servers(tmp_path: Path) -> None:
    a = step_of(tmp_path / "a", [[]], [])
    b = step_of(tmp_path / "b", [[]], on(unsigned, [*LOW, *TOP]))
    diff(a, b, tmp_path / "d")
    for some in (RewriteOptions(), RewriteOptions(servers=5)):
        with pytest.raises(DifferentError) as caught:
            sp.run(a, None, some, tmp_path / "d")
        assert caught.value.kind == "no_server_rule"
    options = RewriteOptions(server_rule="unsigned")
    sp.rewrite(a, tmp_path / "new", options, delta=tmp_path / "d")
    found = sp.multis_of(tmp_path / "new")
    for server, part in enumerate(on(unsigned, [*LOW, *TOP])):
        assert Counter(found[f"M_{server}", "m"]) == Counter(part)


def test_what_becomes_of_what_is_brought(tmp_path: Path) -> None:
    nan = float("nan")
    base = [entry(make_fid(1, k), 1.0) for k in range(6)]
    more = [entry(make_fid(1, k), nan if k < 13 else 1.0) for k in range(10, 15)]
    more += [entry(make_fid(2, k), nan if k < 21 else 1.0) for k in range(20, 24)]

    def step(name: str, some: Sequence[bytes]) -> Path:
        parts = [[each for each in some if fid_of(each) % 3 == server] for server in range(3)]
        return step_of(tmp_path / name, [some], parts)

    a, b = step("a", base), step("b", [*base, *more])
    diff(a, b, tmp_path / "d")
    dropped = RewriteOptions(where="nan")
    for options, expected in (
        (RewriteOptions(), {1: Passages(6, 0, 5), 2: Passages(0, 0, 4)}),
        (
            dropped,
            {1: Passages(6, 0, 2, brought_where=3), 2: Passages(0, 0, 3, brought_where=1)},
        ),
        (
            dropped._replace(set_zero=True),
            {1: Passages(6, 0, 5, brought_changed=3), 2: Passages(0, 0, 4, brought_changed=1)},
        ),
        (
            dropped._replace(keep_slots=[(1, 1)]),
            {1: Passages(6, 0, 2, brought_where=3), 2: Passages(brought_slot=4)},
        ),
        (
            RewriteOptions(drop_slots=[(0, 32767)]),
            {1: Passages(slot=6, brought_slot=5), 2: Passages(brought_slot=4)},
        ),
    ):
        done = sp.run(a, None, options, tmp_path / "d", 2)
        found: dict[str, dict[int, Passages]] = {}
        for table in done.tables:
            add_passages(found.setdefault(table.plan.name, {}), table.slots)
        assert found == {"s": expected, "m": expected}


def test_what_cannot_be_meant(two: tuple[Path, Path, Path]) -> None:
    for options in (
        RewriteOptions(expire_days=3),
        RewriteOptions(convert_fids=True, fid_version="v1"),
    ):
        with pytest.raises(UsageError, match="applied alone first"):
            sp.run(two[0], None, options, two[2])
