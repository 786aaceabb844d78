"""`monolith table rewrite --apply`, `--servers`, `--convert-fids`: what a user sees of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import dump_support as ds
import pytest
import spread_support as sp
from cli_support import call, failed

from monolith_cli import messages
from monolith_cli.fid import make_fid


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


def entry(fid: int, value: float = 0.5) -> bytes:
    record: bytes = messages.EntryDump(id=fid, num=[value]).SerializeToString()
    return record


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two steps: 2 of 30 entries are removed, 3 changed, 5 new."""
    before = [entry(fid) for fid in range(30)]
    after = [entry(fid, 2.0 if fid < 3 else 0.5) for fid in range(28)]
    after += [entry(fid) for fid in range(100, 105)]
    a = sp.write_step(tmp_path / "a", {"t": before}, {"M": {"u": before, "v": []}})
    b = sp.write_step(tmp_path / "b", {"t": after}, {"M": {"u": after, "v": []}})
    return a, b


def test_a_delta_is_applied(models: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = models
    delta, new = tmp_path / "changes", tmp_path / "new"
    assert call("table", "diff", a, "--with", b, "--delta", delta).code == 0
    would = call("table", "rewrite", "-n", a, new, "--apply", delta)
    assert (would.code, would.err) == (0, "")
    assert not new.exists()
    done = call("table", "rewrite", a, new, "--apply", delta)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:-1] == would.out.splitlines()[1:-1]
    assert "5 removed or replaced" in done.out
    assert call("table", "diff", new, "--with", b, "--exit-code").code == 0
    document = call("table", "rewrite", a, tmp_path / "json", "--apply", delta, "--json").document
    table = document["tables"][0]
    assert (table["entries"], table["same"], table["gone_by_delta"], table["brought"]) == (
        30,
        25,
        5,
        8,
    )
    assert table["into"][0]["entries"] == 33


def test_rows_of_a_delta_fit_into_80_columns(tmp_path: Path) -> None:
    name = "MonolithHashTable_author"
    before = [entry(make_fid(k % 3, k)) for k in range(1200)]
    after = [*before[400:], *(entry(make_fid(k % 3, k)) for k in range(2000, 2300))]
    a = sp.write_step(tmp_path / "a", {name: before}, {})
    b = sp.write_step(tmp_path / "b", {name: after}, {})
    delta = tmp_path / "changes"
    assert call("table", "diff", a, "--with", b, "--delta", delta).code == 0
    out = call("table", "rewrite", "-n", a, "new", "--apply", delta, "--keep-slot", "0-1").out
    rows = out.splitlines()[2:-1]
    assert max(map(len, rows)) <= 80
    first, *more = rows[1 : rows.index("")]
    at = rows[0].index("why")
    assert {row[:at].strip() for row in more} == {""}
    why = " ".join(row[at:] for row in (first, *more))
    assert why.startswith("400 removed or replaced, 267 slot; of those brought ")


def test_what_is_brought_and_does_not_stay_so(tmp_path: Path) -> None:
    before = [entry(make_fid(1, k)) for k in range(4)]
    after = [*before, *(entry(make_fid(9, k), float("nan") if k < 2 else 1.0) for k in range(5))]
    a = sp.write_step(tmp_path / "a", {"t": before}, {})
    b = sp.write_step(tmp_path / "b", {"t": after}, {})
    delta = tmp_path / "changes"
    assert call("table", "diff", a, "--with", b, "--delta", delta).code == 0

    def said(*options: object) -> tuple[str, dict[str, int]]:
        arguments = ("table", "rewrite", "-n", a, tmp_path / "new", "--apply", delta, *options)
        table = call(*arguments, "--json").document["tables"][0]
        assert table["entries"] == table["same"] == 4
        counts = {
            key: count
            for key, count in table.items()
            if key.startswith("brought") and {key: count}.items() <= table["slots"][-1].items()
        }
        return call(*arguments).out, counts

    out, counts = said("--where", "nan", "--set", "drop")
    assert counts == {
        "brought": 3,
        "brought_changed": 0,
        "brought_gone_by_slot": 0,
        "brought_gone_by_condition": 2,
    }
    assert "of those brought 2 nan\n" in out
    assert "7 entries, 3 of them brought, 2 of those brought left out" in out
    out, counts = said("--where", "nan", "--set", "zero")
    assert (counts["brought"], counts["brought_changed"]) == (5, 2)
    assert "of those brought 2 nan set to 0" in out
    assert "9 entries, 5 of them brought, 2 of these changed" in out
    out, counts = said("--drop-slot", "9")
    assert (counts["brought"], counts["brought_gone_by_slot"]) == (0, 5)
    assert "4 entries, 5 of those brought left out" in out


def test_another_base(models: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = models
    call("table", "diff", a, "--with", b, "--delta", tmp_path / "changes")
    done = call("table", "rewrite", b, tmp_path / "new", "--apply", tmp_path / "changes", "--json")
    assert done.code == 1
    assert json.loads(done.err.splitlines()[-1])["error"]["kind"] == "another_base"
    assert not (tmp_path / "new").exists()
    failed(call("table", "rewrite", a, tmp_path / "new", "--apply", tmp_path / "none"), 3)
    (tmp_path / "changes").write_bytes(ds.frame(b"something"))
    line = failed(call("table", "rewrite", a, tmp_path / "new", "--apply", tmp_path / "changes"), 4)
    assert "does not begin with a header" in line


def test_tables_of_another_step_are_said(models: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = models
    later = b.rename(tmp_path / "later")
    for path in sorted(later.iterdir(), reverse=True):
        path.rename(path.with_name(path.name.replace("-300", "-400")))
    (later / "checkpoint").write_text((later / "checkpoint").read_text().replace("-300", "-400"))
    call("table", "diff", a, "--with", later, "--delta", tmp_path / "changes")
    done = call("table", "rewrite", a, tmp_path / "new", "--apply", tmp_path / "changes")
    assert done.code == 0
    assert "tables become those of step 400; all else is of step 300" in done.err


def test_servers(models: tuple[Path, Path], tmp_path: Path) -> None:
    a, _ = models
    done = call("table", "rewrite", a, tmp_path / "new", "--servers", 2)
    assert (done.code, done.err) == (0, "")
    names = {row["name"] for row in call("table", "ls", tmp_path / "new", "--json").document}
    assert names == {"t_0", "t_1", "u", "v"}
    counted = call("ckpt-info", tmp_path / "new", "--check")
    assert counted.code == 0


def test_filters_have_to_be_given_up(tmp_path: Path) -> None:
    model = sp.write_step(tmp_path / "model", {"t": [entry(1)]}, {}, filters={"hash_filter_0": 2})
    line = failed(call("table", "rewrite", model, tmp_path / "new", "--servers", 2), 2)
    assert "--reset-filters" in line
    done = call("table", "rewrite", model, tmp_path / "new", "--servers", 2, "--reset-filters")
    assert done.code == 0
    assert "counted anew" in done.err
    assert len(list((tmp_path / "new").glob("*.assets/hash_filter_*"))) == 4


def test_rules(tmp_path: Path) -> None:
    fids = [-5, 6, 7]
    model = sp.write_step(tmp_path / "model", {"t": [entry(fid) for fid in fids]}, {})
    line = failed(call("table", "rewrite", model, tmp_path / "new", "--servers", 3), 1)
    assert "--server-rule" in line
    arguments = ("--servers", 3, "--server-rule", "unsigned")
    assert call("table", "rewrite", model, tmp_path / "new", *arguments).code == 0
    assert [sp.fid_of(each) for each in sp.singles_of(tmp_path / "new")["t_2"]] == [-5]
    assert (2**64 - 5) % 3 == 2


def test_the_rule_of_what_a_delta_brings(tmp_path: Path) -> None:
    fids = [*range(9), *range(-9, 0)]

    def step(name: str, some: list[int]) -> Path:
        parts = {
            f"M_{server}": {"m": [entry(fid) for fid in some if fid % 2**64 % 3 == server]}
            for server in range(3)
        }
        return sp.write_step(tmp_path / name, {}, parts)

    a, b = step("a", fids[:9]), step("b", fids)
    delta, new = tmp_path / "changes", tmp_path / "new"
    assert call("table", "diff", a, "--with", b, "--delta", delta).code == 0
    line = failed(call("table", "rewrite", a, new, "--apply", delta), 1)
    assert "9 feature ids have the top bit" in line
    assert "say which rule the job has with --server-rule" in line
    assert not new.exists()
    done = call("table", "rewrite", a, new, "--apply", delta, "--server-rule", "unsigned")
    assert (done.code, done.err) == (0, "")
    assert {key: sorted(part) for key, part in sp.multis_of(new).items()} == {
        key: sorted(part) for key, part in sp.multis_of(b).items()
    }


def test_feature_ids_are_converted(tmp_path: Path) -> None:
    fids = [make_fid(700, 9, "v1"), make_fid(2, 1 << 50 | 9, "v1"), make_fid(2, 8, "v1")]
    model = sp.write_step(tmp_path / "model", {"t": [entry(fid) for fid in fids]}, {})
    arguments = ("--convert-fids", "v1:v2")
    done = call("table", "rewrite", model, tmp_path / "new", *arguments, "--keep-slot", "700")
    assert (done.code, done.err) == (0, "")
    assert "2 slot" in done.out
    assert [sp.fid_of(each) for each in sp.singles_of(tmp_path / "new")["t"]] == [700 << 48 | 9]
    both = sp.write_step(
        tmp_path / "both", {"t": [entry(fid) for fid in (*fids, make_fid(2, 9, "v1"))]}, {}
    )
    line = failed(call("table", "rewrite", both, tmp_path / "none", *arguments), 4)
    assert f"would both be {2 << 48 | 9}" in line
    assert not (tmp_path / "none").exists()


def test_the_help_says_what_does_not_go_with_a_delta() -> None:
    text = " ".join(call("table", "rewrite", "--help").out.split())
    assert "Not with --expire or --convert-fids: apply the delta first" in text
    assert text.count("Not with --apply.") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--servers", "0"], "--servers"),
        (["--server-rule", "floored", "--shards", "2"], "--server-rule goes with --servers"),
        (["--reset-filters", "--shards", "2"], "--reset-filters goes with"),
        (["--convert-fids", "v2:v1"], "--convert-fids"),
        (["--apply", "d", "--expire", "3"], "--expire with --apply"),
        (["--apply", "d", "--convert-fids", "v1:v2"], "--convert-fids with --apply"),
    ],
)
def test_what_cannot_be_meant(
    models: tuple[Path, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    assert said in failed(call("table", "rewrite", models[0], tmp_path / "new", *arguments), 2)
