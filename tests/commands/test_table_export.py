"""`monolith table export`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
from cli_support import call, failed
from export_support import rows_of, told
from table_support import flip

from monolith_cli import messages
from monolith_cli.storage.local import LocalStore
from monolith_cli.tables.export.names import folder_names

ODD = "a/b=c *?[é]%"


def entry(fid: int, *values: float) -> bytes:
    """An entry with some optimizer state."""
    made = messages.EntryDump(id=fid, num=values, last_update_ts_sec=fid)
    made.opt.dump.add().adagrad.norm.extend(values)
    return bytes(made.SerializeToString())


RECORDS = [
    entry(1, 0.5, -0.0),
    entry(2, math.nan, 1.0),
    entry(-3, math.inf, math.nan),
    entry(1 << 48 | 4, -1e-40, 2.0),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    ds.write_model_dir(
        model, singles={"t": RECORDS}, multis={"Multi": {ODD: RECORDS[:2], "t": RECORDS[2:]}}
    )
    return model


def test_text_and_json(model: Path, tmp_path: Path) -> None:
    done = call("table", "export", model, "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{tmp_path / 'out'}, step 300 of {model}\n8 entries, 3 tables,")
    document = call("table", "export", "--json", model, "-o", tmp_path / "more").document
    assert (document["step"], document["format"]) == (300, "parquet")
    folders = {table["name"]: table["folder"] for table in document["tables"]}
    assert sorted(path.name for path in (tmp_path / "more").iterdir()) == [
        "a%2Fb%3Dc%20%2A%3F%5B%C3%A9%5D%25",
        "t",
        "t%2",
    ]
    assert folders[ODD] == "a%2Fb%3Dc%20%2A%3F%5B%C3%A9%5D%25"


def test_what_is_there_is_not_replaced(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    error = failed(call("table", "export", model, "-o", out), 1)
    assert "exists already; name a directory that is not there yet" in error
    error = failed(call("table", "export", model, "-o", model / "out"), 2)
    assert "lies in" in error
    assert list(out.iterdir()) == []
    error = failed(call("table", "export", model, "-o", "s3://bucket/out"), 2)
    assert "on this machine" in error or "local" in error or "path" in error


def test_usage(model: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "out"]
    assert "--output" in failed(call("table", "export", model), 2)
    assert "'norm' is not one of fid, slot, embedding, opt, last_update_ts_sec" in failed(
        call("table", "export", model, "--columns", "fid,norm", *out), 2
    )
    assert "no table matches" in failed(call("table", "export", model, "--table", "x*", *out), 3)
    assert "in one file each" in failed(
        call("table", "export", model, "--format", "npy", "--files", "2", *out), 2
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_pyarrow(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for format, name in (("parquet", "Parquet"), ("arrow", "Arrow")):
        error = failed(
            call("table", "export", model, "--format", format, "-o", tmp_path / "out"), 2
        )
        assert f"{name} needs PyArrow, which is not installed" in error
        assert "pip install 'monolith-cli[arrow]'" in error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert call("table", "export", model, "--format", "npy", "-o", tmp_path / "out").code == 0


def test_damage(model: Path, tmp_path: Path) -> None:
    flip(model / "model.ckpt-300.assets" / "t-00000-of-00002", 30)
    error = failed(call("table", "export", model, "-o", tmp_path / "out"), 4)
    assert "or read around the damage with --on-corrupt skip" in error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    done = call("table", "export", model, "-o", tmp_path / "out", "--on-corrupt", "skip")
    assert done.code == 4
    assert "1 record left out" in done.err
    assert done.out.splitlines()[1].startswith("7 entries, 3 tables")


def test_a_step_that_goes_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds.write_model_dir(model, 400, singles={"u": RECORDS})
    ds.write_checkpoint_state(model, [300, 400])
    real = LocalStore.make_directory

    def make_directory(store: LocalStore, location: str) -> None:
        real(store, location)
        if "/t" in location:
            (model / "model.ckpt-300.index").unlink(missing_ok=True)

    monkeypatch.setattr(LocalStore, "make_directory", make_directory)
    error = failed(call("table", "export", model, "--step", "300", "-o", tmp_path / "out"), 3)
    assert "gone: deleted since the checkpoint was found" in error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_run_has_left_goes(model: Path, tmp_path: Path) -> None:
    left = tmp_path / ".out.999999999.0123456789abcdef.tmp"
    (left / "t").mkdir(parents=True)
    assert call("table", "export", model, "-o", tmp_path / "out").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]


def test_names_of_folders() -> None:
    long = "x" * 300
    names = folder_names(["user_0", ".hidden", "_hidden", "..", "", "a/b", "a", "a", "a%2", long])
    assert names[:9] == [
        "user_0",
        "%2Ehidden",
        "%5Fhidden",
        "%2E.",
        "%",
        "a%2Fb",
        "a",
        "a%2",
        "a%252",
    ]
    assert len(names[9]) == 200
    assert folder_names([long]) != folder_names([long + "y"])
    assert len(set(names)) == len(names)


# --- what analysts use ----------------------------------------------------------------------


@pytest.fixture
def exported(model: Path, tmp_path: Path) -> Path:
    assert call("table", "export", model, "-o", tmp_path / "out").code == 0
    return tmp_path / "out"


@pytest.fixture
def folder(exported: Path) -> Path:
    return exported / folder_names([ODD])[0]


def test_duckdb(exported: Path, folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")

    def rows(path: Path) -> list[dict[str, Any]]:
        found = duckdb.sql(f"SELECT * FROM read_parquet('{path}/*.parquet')")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    assert told(rows(exported / "t")) == told(rows_of(RECORDS))
    assert told(rows(folder)) == told(rows_of(RECORDS[:2]))
    t = f"'{exported}/t/*.parquet'"
    for condition, expected in (
        ("isnan(embedding[1])", [2]),
        ("isnan(embedding[2])", [-3]),
        ("isinf(embedding[1])", [-3]),
        ("embedding[1] > 100", [-3, 2]),
        ("fid < 0", [-3]),
        ("slot = 1", [1 << 48 | 4]),
    ):
        found = duckdb.sql(f"SELECT fid FROM {t} WHERE {condition} ORDER BY fid").fetchall()
        assert [fid for (fid,) in found] == expected, condition


def test_polars(exported: Path, folder: Path) -> None:
    pl = pytest.importorskip("polars")
    assert told(pl.read_parquet(exported / "t").to_dicts()) == told(rows_of(RECORDS))
    assert told(pl.read_parquet(folder).to_dicts()) == told(rows_of(RECORDS[:2]))
    lazy = pl.scan_parquet(exported / "t")
    assert lazy.collect_schema()["embedding"] == pl.Array(pl.Float32, 2)
    assert lazy.collect_schema()["slot"] == pl.Int16
    for condition, expected in (
        (pl.col("embedding").arr.get(0).is_nan(), [2]),
        (pl.col("embedding").arr.get(1).is_nan(), [-3]),
        (~(pl.col("embedding").arr.get(0) <= 100), [2, -3]),
        (pl.col("fid") < 0, [-3]),
    ):
        assert lazy.filter(condition).collect()["fid"].to_list() == expected


def test_pandas(exported: Path, folder: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert told(pd.read_parquet(exported / "t").to_dict("records")) == told(rows_of(RECORDS))
    assert told(pd.read_parquet(folder).to_dict("records")) == told(rows_of(RECORDS[:2]))
