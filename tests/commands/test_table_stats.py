"""`monolith table stats`, run as users run it."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import dump_support as ds
import numpy as np
import pytest
from cli_support import call, failed
from stats_support import Witness
from table_support import checkpoint_of, flip, open_all

from monolith_cli import messages
from monolith_cli.reports.stats import StatsReport
from monolith_cli.reports.terminal import show_json
from monolith_cli.tables import ReadOptions, ranges
from monolith_cli.tables.stats import StatsOptions, table_stats

DAY = 86400
NOW = 1_700_000_000


def entry(fid: int, *values: float, days: float = 0, slot: int = 3) -> bytes:
    time = int(NOW - days * DAY)
    dump = messages.EntryDump(id=slot << 48 | fid, num=values, last_update_ts_sec=time)
    dump.opt.dump.add().adagrad.norm.extend(abs(value) for value in values)
    return dump.SerializeToString()


USERS = [
    entry(1, 3, 4),
    entry(2, 0, 0, days=1.5),
    entry(3, 0.6, 0.8, days=3, slot=7),
    entry(4, float("nan"), 1, days=40, slot=7),
    entry(5, float("inf"), -1e31, days=40, slot=7),
]
ITEMS = [entry(fid, 1, 0, 0) for fid in range(9)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ds.write_model_dir(tmp_path, singles={"users": USERS}, multis={"M": {"items": ITEMS}}, shards=2)
    return tmp_path


def test_as_text(model: Path) -> None:
    done = call("table", "stats", model, "--examples", 2)
    assert done.code == 0
    assert done.err == ""
    assets = next(model.glob("*.assets"))
    start = ds.frame_starts(USERS)[4] - ds.frame_starts(USERS)[3]
    assert done.out == (
        "table  entries  NaN  Inf  zero  norm p50  p99  max  age p50\n"
        "items        9    0    0     0         1    1    1    0.0 d\n"
        "users        5    2    2     1         1    5    5    3.0 d\n"
        "\n"
        "items: 9 entries, dim 3\n"
        "field               zero rows  min  max   mean    std\n"
        "embedding                   0    0    1  0.333  0.471\n"
        "opt.0.adagrad.norm          0    0    1  0.333  0.471\n"
        "\n"
        "norm from  entries\n"
        "        1        9  ████████████████████████████████████████\n"
        "\n"
        "age in days  entries\n"
        "          0        9  ████████████████████████████████████████\n"
        "\n"
        "users: 5 entries, dim 2, 1 with NaN, 1 with Inf, 1 with a size above 1e30\n"
        "field               NaN  Inf  huge  zero     min    max       mean       std\n"
        "embedding             1    1     1     1  -1e+31      4  -1.25e+30  3.31e+30\n"
        "opt.0.adagrad.norm    1    1     1     1       0  1e+31   1.25e+30  3.31e+30\n"
        "\n"
        "norm from  entries\n"
        "        0        1  ████████████████████████████████████████\n"
        "        1        1  ████████████████████████████████████████\n"
        "        4        1  ████████████████████████████████████████\n"
        "\n"
        "age in days  entries\n"
        "          0        1  ████████████████████\n"
        "          1        1  ████████████████████\n"
        "        2-3        1  ████████████████████\n"
        "      32-63        2  ████████████████████████████████████████\n"
        "\n"
        f"fid {7 << 48 | 4} of users: 2 NaN in embedding\n"
        f"    {ds.shard_path(assets, 'users', 1, 2)}, byte 0\n"
        f"fid {7 << 48 | 5} of users: 2 Inf in embedding\n"
        f"    {ds.shard_path(assets, 'users', 1, 2)}, byte {start}\n"
        f"fid {3 << 48} of items: norm 1\n"
        f"    {ds.shard_path(assets, 'M', 0, 2)}, byte 0\n"
        f"fid {3 << 48 | 1} of items: norm 1\n"
        f"    {ds.shard_path(assets, 'M', 0, 2)}, byte 0\n"
    )
    assert max(map(len, done.out.splitlines()[:-8])) <= 80


def test_rows_for_many(model: Path) -> None:
    """Only rows, until more is asked for; the largest ones first."""
    done = call("table", "stats", model, "--by", "slot", "--top", 2)
    assert done.out.splitlines()[:4] == [
        "table  slot  entries  NaN  Inf  zero  norm p50  p99  max  age p50",
        "items     3        9    0    0     0         1    1    1    0.0 d",
        "users     7        3    2    2     0         1    1    1   40.0 d",
        "… and 1 more slot: 2 entries",
    ]
    ds.write_model_dir(model / "many", singles={f"t{i}": USERS[:i] for i in range(5)})
    done = call("table", "stats", model / "many")
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == ["table", "t4", "t3", "t2", "t1", "t0"]
    assert "norm from" in call("table", "stats", model / "many", "--verbose").out
    assert "norm from" in call("table", "stats", model / "many", "--table", "t1").out


def test_as_json(model: Path) -> None:
    done = call("table", "stats", model, "--json", "--examples", 1)
    assert done.code == 0
    document = done.document
    assert [group["table"] for group in document["groups"]] == ["users", "items"]
    users = document["groups"][0]
    assert users["entries"] == 5
    assert users["fields"][0]["min"] == -1e31  # the shortest number of the same float32
    assert (users["fields"][0]["plus_inf"], users["fields"][0]["minus_inf"]) == (1, 0)
    assert users["ages"]["by_days"] == {"0": 1, "1": 1, "3": 1, "40": 2}
    assert users["ages"]["newest_ts_sec"] == NOW
    assert [each["fid"] for each in document["examples"]] == [str(7 << 48 | 4), str(3 << 48)]
    numbers = call("table", "stats", model, "--json", "--examples", 1, "--json-number-ids")
    assert numbers.document["examples"][0]["fid"] == 7 << 48 | 4
    assert "examples" not in call("table", "stats", model, "--json").document


def test_shortest_numbers(tmp_path: Path) -> None:
    values = [0.1, 3.4028235e38, 1e-45, 16777217.0, -2.5e-7]
    records = [entry(fid, value) for fid, value in enumerate(values)]
    ds.write_model_dir(tmp_path, singles={f"t{i}": [each] for i, each in enumerate(records)})
    document = call("table", "stats", tmp_path, "--json").document
    for group, value in zip(document["groups"], values, strict=True):
        assert repr(group["fields"][0]["min"]) == repr(float(str(np.float32(value))))


def test_some_entries(model: Path) -> None:
    done = call("table", "stats", model, "--json", "--table", "users", "--slot", "7")
    [group] = done.document["groups"]
    assert group["entries"] == done.document["entries"] == 3
    done = call("table", "stats", model, "--json", "--fid", str(3 << 48 | 2))
    assert [group["entries"] for group in done.document["groups"]] == [1, 1]
    assert failed(call("table", "stats", model, "--table", "nobody"), 3)
    assert failed(call("table", "stats", model, "--by", "fid"), 2)


def test_empty_tables_and_none(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path, singles={"t": []}, multis={"M": {"m": []}})
    done = call("table", "stats", tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[1:] == [
        "t            0    0    0     0         -    -    -        -",
        "m            0    0    0     0         -    -    -        -",
    ]
    [group, _] = call("table", "stats", tmp_path, "--json").document["groups"]
    assert (group["entries"], group["fields"], group["dim_min"]) == (0, [], None)
    assert call("table", "stats", tmp_path, "--by", "slot", "--json").document["groups"] == []


def test_all_steps(model: Path) -> None:
    ds.write_model_dir(model, 400, singles={"users": USERS[:3]})
    ds.write_checkpoint_state(model, [300, 400])
    done = call("table", "stats", model, "--step", "all", "--json")
    assert [(each["step"], each["entries"]) for each in done.document] == [(300, 14), (400, 3)]
    text = call("table", "stats", model, "--step", "all").out
    assert "step 300" in text
    assert "step 400" in text


def test_damage(model: Path) -> None:
    [path] = model.glob("*.assets/users-00001-*")
    flip(path, 40)
    done = call("table", "stats", model)
    assert done.code == 4
    assert done.out == ""
    done = call("table", "stats", model, "--on-corrupt", "skip", "--json")
    assert done.code == 4
    assert done.document["entries"] == 13
    [place] = done.document["skipped"]
    assert (place["file"], place["kind"], place["offset"]) == (str(path), "bad_data_crc", 0)
    Witness([*USERS[:3], USERS[4]]).check(
        table_stats(
            [open_all(model, ReadOptions(skip=True))["users"]], ReadOptions(skip=True)
        ).groups[0]
    )


def test_a_table_that_is_not_whole(model: Path) -> None:
    next(model.glob("*.assets/users-00001-*")).unlink()
    done = call("table", "stats", model, "--json")
    assert done.code == 4
    assert done.error["kind"] == "missing_shard"
    assert [group["table"] for group in done.document["groups"]] == ["items"]


def test_the_same_bytes_whoever_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 4000)
    records = ds.random_entries(3, 600, special=True)
    ds.write_model_dir(tmp_path, singles={"t": records}, multis={"M": {"m": records}}, shards=2)
    for by in ("table", "slot"):
        found = {
            call(
                *("table", "stats", tmp_path, "--json", "--by", by),
                *("--examples", 5, "--jobs", jobs),
            ).out
            for jobs in (1, 2, 8)
        }
        options = StatsOptions(by=by, examples=5, jobs=2, unattributed=True)
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            tables = list(open_all(tmp_path).values())
            made = table_stats(tables, ReadOptions(), options, executor=pool)
        report = StatsReport(
            made,
            model_dir=str(tmp_path),
            step=checkpoint_of(tmp_path).step,
            by=by,
            wants_examples=True,
        )
        show_json(report.document())
        found.add(capsys.readouterr().out)
        assert len(found) == 1
        assert json.loads(found.pop())["entries"] == 1200


def test_conditions(model: Path) -> None:
    def check(*conditions: str) -> tuple[int, list[str]]:
        fail_if = [arg for condition in conditions for arg in ("--fail-if", condition)]
        done = call("table", "stats", model, "--json", *fail_if)
        found = done.document["conditions"]
        assert [each["condition"] for each in found] == list(conditions)
        return done.code, [held["what"] for each in found for held in each["held"]]

    assert check("nan gt 0") == (1, ["nan"])
    assert check("nan gt 2", "entries ne 14", "mean gt 0", "age_p50 gt 0.1") == (0, [])
    assert check("table[*].nan gt 0") == (1, ["table[users].nan"])
    assert check("slot[*].inf gt 0") == (1, ["slot[7].inf"])
    assert check("slot[3].entries eq 11") == (1, ["slot[3].entries"])
    assert check("slot[4].entries eq 0") == (1, ["slot[4].entries"])
    assert check("opt[*.adagrad.norm].huge gt 0") == (1, ["opt[0.adagrad.norm].huge"])
    assert check("zero_rows gt 1", "norm_max gt 4.5", "table[i*].norm_p99 gt 2") == (
        1,
        ["norm_max"],
    )
    assert check("table[users].age_p50 ge 3")[0] == 1
    assert check("max_abs gt 9e30", "huge eq 2", "std gt 1e30") == (1, ["max_abs", "huge", "std"])
    # What is not known is no pass.
    for condition in (
        "change(entries) gt 0",
        "added gt 0",
        "dense[*].mean gt 0",
        "table[x].nan ge 0",
    ):
        done = call("table", "stats", model, "--fail-if", condition)
        assert done.code == 3, done
        assert f"{condition}: not checked" in done.out
    assert failed(call("table", "stats", model, "--fail-if", "nans gt 0"), 2)
    text = call("table", "stats", model, "--fail-if", "nan gt 0").out
    assert text.endswith("nan gt 0: holds of 1\n  nan: 2\n")


def test_tables_of_servers(tmp_path: Path) -> None:
    ds.write_model_dir(
        tmp_path, singles={"user_0": USERS[:2], "user_1": USERS[2:], "item": ITEMS}, shards=1
    )
    done = call("table", "stats", tmp_path, "--merge-servers", "--json")
    groups = {group["table"]: group for group in done.document["groups"]}
    assert list(groups) == ["item", "user"]
    assert (groups["user"]["entries"], groups["user"]["tables"]) == (5, 2)
    assert groups["user"]["bytes"] == len(ds.frame(*USERS))
    assert ", 2 tables, " in call("table", "stats", tmp_path, "--merge-servers").out


def test_duplicates(tmp_path: Path) -> None:
    """Within a file and between files; fids of other tables are others."""
    users = [*USERS, USERS[1], entry(1, 5, 5, days=9), entry(1, 1, 1), *ITEMS[5:]]
    ds.write_model_dir(
        tmp_path,
        singles={"users": users, "items": ITEMS, "u_0": USERS[:1], "u_1": USERS[:2]},
        shards=3,
    )
    done = call("table", "stats", tmp_path, "--duplicates", "--json")
    assert done.code == 0
    assert done.document["duplicates"] == [
        {"table": "items", "fids": 0, "entries": 0, "examples": []},
        {"table": "u_0", "fids": 0, "entries": 0, "examples": []},
        {"table": "u_1", "fids": 0, "entries": 0, "examples": []},
        {
            "table": "users",
            "fids": 2,
            "entries": 3,
            "examples": [str(3 << 48 | 1), str(3 << 48 | 2)],
        },
    ]
    text = call("table", "stats", tmp_path, "--duplicates", "--table", "users").out
    assert text.endswith(
        "users: 2 feature ids more than once, 3 entries too many\n"
        f"    fid {3 << 48 | 1}\n"
        f"    fid {3 << 48 | 2}\n"
    )
    text = call("table", "stats", tmp_path, "--duplicates", "--table", "items").out
    assert text.endswith("no feature id is in a table more than once\n")
    merged = call("table", "stats", tmp_path, "--duplicates", "--merge-servers", "--json").document
    [u] = [each for each in merged["duplicates"] if each["table"] == "u"]
    assert (u["fids"], u["entries"]) == (1, 1)
    assert failed(call("table", "stats", tmp_path, "--duplicates", "--memory", "1MiB"), 2)
