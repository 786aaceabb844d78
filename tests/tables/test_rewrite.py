"""Tables made anew: what stays is there bit by bit, in order, whoever does the work."""

from __future__ import annotations

import random
from pathlib import Path

import dump_support as ds
import pytest
import rewrite_support as rw
import tf_support
from table_support import flip, parse

from monolith_cli.errors import CorruptionError, TableNotFoundError, UsageError, WriteError
from monolith_cli.execution.workers import ALONE, Workers
from monolith_cli.storage import staged
from monolith_cli.tables.folds.rewrite import Passages
from monolith_cli.tables.rewrite import files as files_module
from monolith_cli.tables.rewrite import run as run_module
from monolith_cli.tables.rewrite.plan import RewriteOptions

SINGLE, OTHER, MULTI = "MonolithHashTable_a", "MonolithHashTable_b", "emb_0"
A, B = rw.odd_entries(1, 300), rw.odd_entries(2, 5)
TABLES = {"user": rw.odd_entries(3, 200), "item": [], "ad": rw.odd_entries(4, 90)}
EVERY = {SINGLE: A, OTHER: B, **TABLES}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rewrite") / "model"
    ds.write_model_dir(
        directory,
        singles={SINGLE: A, OTHER: B},
        multis={MULTI: TABLES},
        hash_filters=2,
        shards=3,
    )
    return directory


def read_singles(directory: Path, base: str) -> list[list[bytes]]:
    """The records of each file, by TensorFlow."""
    return [tf_support.read_records(path) for path in sorted(directory.glob(f"{base}-*"))]


def read_multi(directory: Path, base: str = MULTI) -> dict[str, list[bytes]]:
    """The entries by table, as contents files cut what TensorFlow reads."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(directory.glob(f"{base}-*")):
        records = iter(tf_support.read_records(path, snappy=True))
        contents = path.with_name(path.name.replace(f"{base}-", f"{base}.meta-"))
        for meta in tf_support.read_records(contents):
            table = ds.messages.MultiHashTableMetadata.FromString(meta)
            some = [next(records) for _ in range(table.num_entries)]
            found.setdefault(table.table_name, []).extend(some)
        assert not list(records)
    return found


@pytest.mark.parametrize("shards", [None, 1, 2, 3, 7])
def test_entries_are_the_same_in_other_files(
    model: Path, tmp_path: Path, shards: int | None
) -> None:
    done = rw.run(model, tmp_path / "new", RewriteOptions(shards=shards), ALONE)
    for base, records in ((SINGLE, A), (OTHER, B)):
        found = read_singles(tmp_path / "new", base)
        assert len(found) == (shards or 3)
        assert [each for part in found for each in part] == records
        if shards is None:
            assert found == ds.cut_evenly(records, 3)
    assert read_multi(tmp_path / "new") == TABLES
    assert [(table.plan.name, table.passages) for table in done.tables] == [
        (name, Passages(same=len(records))) for name, records in EVERY.items()
    ]
    for table in done.tables:
        counts = {slot: each.same for slot, each in table.slots.items()}
        assert counts == ds.slot_counts(EVERY[table.plan.name])
        [into] = table.targets
        assert (into.entries, into.slots) == (len(EVERY[table.plan.name]), counts)


def test_shares_of_files_are_even(model: Path, tmp_path: Path) -> None:
    rw.run(model, tmp_path / "new", RewriteOptions(shards=4), ALONE)
    sizes = [path.stat().st_size for path in (tmp_path / "new").glob(f"{SINGLE}-*")]
    longest = max(map(len, A)) + 16
    assert max(sizes) - min(sizes) <= 2 * longest


@pytest.mark.parametrize("options", [RewriteOptions(shards=2), RewriteOptions(drop_slots=[(7, 7)])])
def test_jobs_make_no_difference(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: RewriteOptions
) -> None:
    monkeypatch.setattr(run_module, "RANGE_BYTES", 2000)
    with Workers(3) as workers:
        rw.run(model, tmp_path / "three", options, workers)
    rw.run(model, tmp_path / "one", options, ALONE)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {path.name for path in (tmp_path / "three").iterdir()}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()


def test_the_files_are_as_they_were_said_to_be(model: Path, tmp_path: Path) -> None:
    done = rw.run(model, tmp_path / "new", RewriteOptions(shards=2), ALONE)
    assert set(done.files) == {path.name for path in (tmp_path / "new").iterdir()}
    for name, file in done.files.items():
        data = (tmp_path / "new" / name).read_bytes()
        assert (len(data), f"{ds.crc32c(data):08x}") == tuple(file)


def test_tables_that_are_dropped(model: Path, tmp_path: Path) -> None:
    options = RewriteOptions(drop_tables=["*_a", "user"], shards=2)
    done = rw.run(model, tmp_path / "new", options, ALONE)
    # The training system wants its files all the same.
    assert read_singles(tmp_path / "new", SINGLE) == [[], []]
    assert read_multi(tmp_path / "new") == {"item": [], "ad": TABLES["ad"]}
    gone = {table.plan.name: table.passages for table in done.tables if not table.targets}
    assert gone == {SINGLE: Passages(slot=300), "user": Passages(slot=200)}


def test_all_tables_of_a_dump_are_dropped(model: Path, tmp_path: Path) -> None:
    rw.run(model, tmp_path / "new", RewriteOptions(keep_tables=[OTHER]), ALONE)
    assert read_multi(tmp_path / "new") == {}
    assert len(list((tmp_path / "new").glob(f"{MULTI}.meta-*"))) == 3
    assert [each for part in read_singles(tmp_path / "new", OTHER) for each in part] == B


@pytest.mark.parametrize(
    ("keep", "drop", "slots"),
    [
        ([(0, 1)], [], {0, 1}),
        ([], [(7, 7), (300, 32767)], {0, 1}),
        ([(0, 301)], [(1, 7)], {0, 301}),
        ([(5, 6)], [], set()),
        ([(1, 1)], [(0, 9)], set()),
    ],
)
def test_slots(
    model: Path,
    tmp_path: Path,
    keep: list[tuple[int, int]],
    drop: list[tuple[int, int]],
    slots: set[int],
) -> None:
    options = RewriteOptions(keep_slots=keep, drop_slots=drop)
    done = rw.run(model, tmp_path / "new", options, ALONE)
    kept = [record for record, entry in zip(A, parse(A), strict=True) if (entry.id >> 48) in slots]
    assert [each for part in read_singles(tmp_path / "new", SINGLE) for each in part] == kept
    assert done.tables[0].passages == Passages(same=len(kept), slot=len(A) - len(kept))
    assert {slot for slot, each in done.tables[0].slots.items() if each.same} == slots


@pytest.mark.parametrize("where", rw.CHOICES)
def test_entries_are_dropped_for_their_values(model: Path, tmp_path: Path, where: str) -> None:
    options = RewriteOptions(where=where, norm=100)
    done = rw.run(model, tmp_path / "new", options, ALONE)
    kept = rw.chosen(A, options, None)
    assert 0 < len(kept) < len(A)
    assert [each for part in read_singles(tmp_path / "new", SINGLE) for each in part] == kept
    assert done.tables[0].passages == Passages(same=len(kept), where=len(A) - len(kept))
    user = rw.chosen(TABLES["user"], options, None)
    assert read_multi(tmp_path / "new")["user"] == user


@pytest.mark.parametrize("where", ["nan", "nonfinite", "norm-above"])
def test_values_are_set_to_0(model: Path, tmp_path: Path, where: str) -> None:
    options = RewriteOptions(where=where, norm=100, set_zero=True)
    done = rw.run(model, tmp_path / "new", options, ALONE)
    records = [each for part in read_singles(tmp_path / "new", SINGLE) for each in part]
    changed = 0
    for old, new in zip(A, records, strict=True):
        before, after = (ds.messages.EntryDump.FromString(each) for each in (old, new))
        if not rw.CHOICES[where](before):
            assert new == old
            continue
        changed += 1
        assert len(new) == len(old)
        assert not rw.CHOICES[where](after)
        if where == "norm-above":
            assert rw.bits(after.num) == bytes(4 * len(before.num))
            del before.num[:], after.num[:]
            assert before.SerializeToString() == after.SerializeToString()
            continue
        bad = rw.math.isnan if where == "nan" else lambda value: not rw.math.isfinite(value)
        values = [0.0 if bad(value) else value for value in rw.values_of(before)]
        assert rw.bits(rw.values_of(after)) == rw.bits(values)
        assert (after.id, after.last_update_ts_sec) == (before.id, before.last_update_ts_sec)
    assert done.tables[0].passages == Passages(same=len(A) - changed, changed=changed)
    assert changed > 5


def test_what_would_come_of_it(model: Path, tmp_path: Path) -> None:
    options = RewriteOptions(
        drop_tables=["ad"], drop_slots=[(1, 1)], where="nan", set_zero=True, expire_days=400
    )
    before = sorted(model.rglob("*"))
    would = rw.run(model, None, options, ALONE)
    assert sorted(model.rglob("*")) == before
    done = rw.run(model, tmp_path / "new", options, ALONE)
    assert not would.files
    for one, other in zip(would.tables, done.tables, strict=True):
        assert one.slots == other.slots
        assert one.expiry == other.expiry
        assert [each.entries for each in one.targets] == [each.entries for each in other.targets]


def test_entries_expire(model: Path, tmp_path: Path) -> None:
    options = RewriteOptions(expire_days=300)
    done = rw.run(model, tmp_path / "new", options, ALONE)
    newest = rw.newest_of(A)
    kept = rw.chosen(A, options, newest)
    assert 0 < len(kept) < len(A)
    assert [each for part in read_singles(tmp_path / "new", SINGLE) for each in part] == kept
    assert done.tables[0].passages == Passages(same=len(kept), expired=len(A) - len(kept))
    assert done.tables[0].expiry == (newest, 300)
    # Each table has a newest entry of its own; one without entries has none.
    expiries = {table.plan.name: table.expiry for table in done.tables}
    assert expiries["item"] is None
    assert expiries["user"] == (rw.newest_of(TABLES["user"]), 300)


def write_ages(directory: Path, *ages: float) -> list[bytes]:
    """A table of entries of these ages in days, the first one 0."""
    rng = random.Random(5)
    records = [
        ds.random_entry(
            rng, fid=number, last_update_ts_sec=1_700_000_000 - round(age * 86400)
        ).SerializeToString()
        for number, age in enumerate(ages)
    ]
    ds.write_model_dir(directory, singles={SINGLE: records}, shards=1)
    return records


@pytest.mark.parametrize(
    ("days", "min_keep", "kept", "after"),
    [
        (1, 0, [0], 1),
        (2, 0, [0, 1], 2),
        (3, 0, [0, 1, 2], 3),
        (1, 1, [0], 1),
        (1, 2, [0, 1], 2),
        (1, 3, [0, 1, 2], 3),
        (1, 4, [0, 1, 2, 3, 4], 31),
        (1, 99, [0, 1, 2, 3, 4, 5], 19676),
        (31, 4, [0, 1, 2, 3, 4], 31),
    ],
)
def test_some_stay_however_old_they_are(
    tmp_path: Path, days: int, min_keep: int, kept: list[int], after: int
) -> None:
    # The last one has no time.
    ages = (0, 1, 2, 30.5, 30.75, 1_700_000_000 / 86400)
    records = write_ages(tmp_path / "model", *ages)
    options = RewriteOptions(expire_days=days, min_keep=min_keep)
    done = rw.run(tmp_path / "model", tmp_path / "new", options, ALONE)
    assert read_singles(tmp_path / "new", SINGLE) == [[records[number] for number in kept]]
    assert done.tables[0].expiry == (1_700_000_000, after)


def test_times_at_the_ends_of_64_bits(tmp_path: Path) -> None:
    rng = random.Random(6)
    times = (2**63 - 1, 2**63 - 86400, 2**63 - 86401, 0, -(2**63))
    records = [ds.random_entry(rng, last_update_ts_sec=time).SerializeToString() for time in times]
    for number, (some, kept) in enumerate(((records, 2), (records[-1:], 1))):
        model = tmp_path / f"model{number}"
        ds.write_model_dir(model, singles={SINGLE: some}, shards=1)
        options = RewriteOptions(expire_days=1, min_keep=1)
        rw.run(model, tmp_path / f"new{number}", options, ALONE)
        assert read_singles(tmp_path / f"new{number}", SINGLE) == [some[:kept]]


@pytest.mark.parametrize("seed", range(rw.ROUNDS))
def test_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Against a few lines of Python, with ranges so small that many begin in the middle."""
    rng = random.Random(seed)
    monkeypatch.setattr(run_module, "RANGE_BYTES", rng.choice((300, 3000, 1 << 20)))
    singles = {SINGLE: rw.odd_entries(seed + 100, rng.randint(1, 150))}
    tables = {name: rw.odd_entries(seed + 200, rng.randint(0, 60)) for name in ("u", "v", "w")}
    ds.write_model_dir(
        tmp_path / "model", singles=singles, multis={MULTI: tables}, shards=rng.randint(1, 4)
    )
    where = rng.choice(["", *rw.CHOICES])
    options = RewriteOptions(
        shards=rng.choice((None, 1, 2, 5)),
        drop_slots=rng.choice(([], [(1, 7)], [(0, 0), (301, 400)])),
        where=where,
        norm=100.0 if where == "norm-above" else 0.0,
        expire_days=rng.choice((None, 1, 500)),
    )
    with Workers(rng.choice((1, 2))) as workers:
        rw.run(tmp_path / "model", tmp_path / "new", options, workers)
    found = {
        SINGLE: [each for part in read_singles(tmp_path / "new", SINGLE) for each in part],
        **read_multi(tmp_path / "new"),
    }
    for name, records in {**singles, **tables}.items():
        assert found[name] == rw.chosen(
            records, options, rw.newest_of(records) if records else None
        )


def test_long_records_reach_over_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "RANGE_BYTES", 1000)
    rng = random.Random(7)
    records = [
        ds.random_entry(rng, segments=[("sgd", rng.choice((1, 900)))]).SerializeToString()
        for _ in range(40)
    ]
    ds.write_model_dir(tmp_path / "model", singles={SINGLE: records}, shards=2)
    with Workers(2) as workers:
        rw.run(tmp_path / "model", tmp_path / "new", RewriteOptions(shards=9), workers)
    found = read_singles(tmp_path / "new", SINGLE)
    assert [each for part in found for each in part] == records


def test_blocks_are_such_as_tensorflow_takes(tmp_path: Path) -> None:
    from repair_support import block_sizes

    tables = {"user": ds.random_entries(8, 4500), "item": ds.random_entries(9, 20)}
    ds.write_model_dir(tmp_path / "model", multis={MULTI: tables}, shards=1)
    rw.run(tmp_path / "model", tmp_path / "new", RewriteOptions(shards=1), ALONE)
    assert read_multi(tmp_path / "new") == tables
    sizes = block_sizes(tmp_path / "new" / f"{MULTI}-00000-of-00001")
    assert max(sizes) == 262_144


@pytest.mark.parametrize(
    "options",
    [
        RewriteOptions(shards=0),
        RewriteOptions(shards=100_000),
        RewriteOptions(where="large"),
        RewriteOptions(where="zero", set_zero=True),
        RewriteOptions(set_zero=True),
        RewriteOptions(where="norm-above", norm=-1),
        RewriteOptions(where="norm-above", norm=float("nan")),
        RewriteOptions(expire_days=0),
        RewriteOptions(min_keep=3),
        RewriteOptions(fid_version="v3"),
    ],
)
def test_options_that_cannot_be_meant(options: RewriteOptions) -> None:
    with pytest.raises(UsageError):
        options.check()


def test_a_pattern_that_matches_nothing(model: Path) -> None:
    for options in (RewriteOptions(keep_tables=["x*"]), RewriteOptions(drop_tables=["x"])):
        with pytest.raises(TableNotFoundError, match="no table matches 'x"):
            rw.run(model, None, options, ALONE)


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    tables = {"user[0]": A[:3], "user0": A[3:5]}
    ds.write_model_dir(tmp_path / "model", multis={MULTI: tables}, shards=1)
    rw.run(tmp_path / "model", tmp_path / "new", RewriteOptions(drop_tables=["user[0]"]), ALONE)
    assert read_multi(tmp_path / "new") == {"user0": A[3:5]}


# --- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("base", [SINGLE, MULTI])
@pytest.mark.parametrize("drop", [False, True])
def test_damage(tmp_path: Path, base: str, drop: bool) -> None:
    ds.write_model_dir(tmp_path / "model", singles={SINGLE: A}, multis={MULTI: TABLES}, shards=2)
    [path] = (tmp_path / "model").glob(f"*.assets/{base}-00001-of-00002")
    flip(path, path.stat().st_size // 2)
    options = RewriteOptions(drop_tables=[SINGLE, "user", "ad"] if drop else [])
    with pytest.raises(CorruptionError) as caught:
        rw.run(tmp_path / "model", tmp_path / "new", options, ALONE)
    assert caught.value.path == str(path)


def test_a_record_that_is_no_entry(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path / "model", singles={SINGLE: [*A[:3], b"\xff"]}, shards=1)
    with pytest.raises(CorruptionError, match="not an EntryDump"):
        rw.run(tmp_path / "model", None, RewriteOptions(shards=2), ALONE)


def test_a_table_that_is_not_whole(tmp_path: Path) -> None:
    assets = ds.write_model_dir(tmp_path / "model", singles={SINGLE: A, OTHER: B}, shards=2)
    (assets / f"{OTHER}-00001-of-00002").unlink()
    options = RewriteOptions(drop_tables=[OTHER])
    with pytest.raises(CorruptionError):
        rw.run(tmp_path / "model", None, options, ALONE)


@pytest.mark.parametrize("how", ["flip", "cut", "swap"])
def test_what_is_read_back_is_compared(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whatever becomes of a file between its writing and the look at it."""
    complete = files_module.TargetFiles.complete

    def spoil(files: files_module.TargetFiles) -> None:
        complete(files)
        path = tmp_path / "new" / f"{SINGLE}-00000-of-00001"
        if how == "flip":
            flip(path, 1000)
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        else:  # whole records, as many bytes, but others
            path.write_bytes(ds.frame(*A[:-1], A[-1][:-1] + bytes([A[-1][-1] ^ 1])))

    monkeypatch.setattr(files_module.TargetFiles, "complete", spoil)
    with pytest.raises(WriteError, match="read back, it is not what was written") as caught:
        rw.run(model, tmp_path / "new", RewriteOptions(shards=1), ALONE)
    assert caught.value.path == str(tmp_path / "new" / f"{SINGLE}-00000-of-00001")


def test_a_store_that_refuses(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    append = staged.append

    def fail(path: str, write: object = None) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise staged.write_error(path, OSError(28, "No space left on device"))
        append(path, write)  # type: ignore[arg-type]

    monkeypatch.setattr(files_module, "append", fail)
    with pytest.raises(WriteError) as caught:
        rw.run(model, tmp_path / "new", RewriteOptions(shards=2), ALONE)
    assert caught.value.kind == "no_space"


def test_what_is_appended_is_synced_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files_module, "_SYNC_BYTES", 1)
    monkeypatch.setattr(files_module, "sync", synced.append)
    rw.run(model, tmp_path / "new", RewriteOptions(shards=1), ALONE)
    data = {str(path) for path in (tmp_path / "new").iterdir() if ".meta-" not in path.name}
    assert set(synced) == data
    assert len(synced) > len(data)
