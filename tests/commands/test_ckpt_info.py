"""`monolith ckpt-info`: what it counts, shows, writes and refuses."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from cli_support import MONOLITH, call, environment, monolith
from dump_support import (
    frame,
    put_fixed64,
    write_checkpoint_state,
    write_model_dir,
)

from monolith_cli.storage.atomic import AtomicFile

EXPORT = Path(__file__).parents[2] / ".." / "shared" / "data" / "monolith_export"


def entries(slot: int, count: int) -> list[bytes]:
    """Entries of a slot, with an embedding-less dump each."""
    return [put_fixed64(1, (slot << 48) | number) for number in range(count)]


A = entries(3, 30) + entries(7, 10)
B = entries(7, 5) + entries(0, 1)
TEXT = """\
slot_counts {
  key: 0
  value: 1
}
slot_counts {
  key: 3
  value: 30
}
slot_counts {
  key: 7
  value: 15
}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A job's directory with one checkpoint of two single tables."""
    directory = tmp_path / "model"
    write_model_dir(
        directory, 300, singles={"MonolithHashTable_a": A, "MonolithHashTable_b": B}, shards=2
    )
    return directory


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    """A job's directory with one checkpoint of a multi table dump and a hash filter."""
    directory = tmp_path / "multi"
    write_model_dir(
        directory, 300, multis={"Multi": {"user": A, "item": B, "none": []}}, hash_filters=2
    )
    return directory


# --- counting, showing, writing -------------------------------------------------------------


def test_report(model: Path) -> None:
    done = call("ckpt-info", model)
    assert done == (
        0,
        f"{model}, step 300\n"
        "46 entries in 2 tables, all verified\n"
        "\n"
        "slot  entries  share\n"
        "   3       30  65.2%  ████████████████████████████████████████\n"
        "   7       15  32.6%  ████████████████████\n"
        "   0        1   2.2%  █▍\n"
        "\n"
        "table                kind    entries  share\n"
        "MonolithHashTable_a  single       40  87.0%  ██████████████████████████████████\n"
        "MonolithHashTable_b  single        6  13.0%  █████▏\n"
        "\n"
        f"written: {model}/ckpt.info-300\n",
        "",
    )
    assert (model / "ckpt.info-300").read_text() == TEXT


def test_document(model: Path) -> None:
    done = call("ckpt-info", "--json", model)
    assert done.err == ""
    sizes = {
        name: sum(path.stat().st_size for path in model.glob(f"*.assets/{name}-*"))
        for name in ("MonolithHashTable_a", "MonolithHashTable_b")
    }
    assert done.document == {
        "model_dir": str(model),
        "step": 300,
        "fid_version": "v2",
        "entries": 46,
        "slot_counts": {"0": 1, "3": 30, "7": 15},
        "feature_counts": {},
        "tables": [
            {
                "name": name,
                "kind": "single",
                "entries": count,
                "shards": 2,
                "bytes": sizes[name],
                "verified": True,
            }
            for name, count in [("MonolithHashTable_a", 40), ("MonolithHashTable_b", 6)]
        ],
        "written": f"{model}/ckpt.info-300",
    }


def test_text(model: Path) -> None:
    done = call("ckpt-info", "--text", "--dry-run", model)
    assert done == (0, TEXT, "")
    assert not (model / "ckpt.info-300").exists()


def test_dry_run_writes_nothing(model: Path) -> None:
    before = sorted(model.rglob("*"))
    assert call("ckpt-info", "--dry-run", "--json", model).document["written"] is None
    assert sorted(model.rglob("*")) == before


def test_verbose(model: Path) -> None:
    assert "Note: 46 entries counted in 0." in call("ckpt-info", "--verbose", model).err
    assert "Note: 46 entries counted in 0." in call("--verbose", "ckpt-info", model).err


def test_top(model: Path) -> None:
    done = call("ckpt-info", "--dry-run", "--top", 1, model)
    assert "… and 2 more slots: 16 entries, 34.8%\n" in done.out


def test_written_file_has_the_mode_of_any_other(model: Path) -> None:
    call("ckpt-info", model)
    (model / "other").touch()
    modes = {stat.S_IMODE((model / name).stat().st_mode) for name in ("other", "ckpt.info-300")}
    assert len(modes) == 1


@pytest.mark.parametrize(
    "options",
    [["--table", "*_a"], ["--slot", "3"], ["--fid", "0x3000000000001"], ["--fid-version", "v1"]],
)
def test_a_part_is_not_written(model: Path, options: list[str]) -> None:
    done = call("ckpt-info", *options, model)
    assert done.code == 0
    assert done.err.startswith("Note: no ckpt.info was written: ")
    assert not (model / "ckpt.info-300").exists()
    assert call("ckpt-info", "--quiet", *options, model).err == ""


def test_filters(model: Path) -> None:
    document = call("ckpt-info", "--json", "--table", "*_b", model).document
    assert document["slot_counts"] == {"0": 1, "7": 5}
    document = call("ckpt-info", "--json", "--slot", "3-5,0", model).document
    assert document["slot_counts"] == {"0": 1, "3": 30}
    assert document["entries"] == 31
    wanted = ["--fid", "0x3000000000001", "--fid", "5", "--fid", "0x7000000000002"]
    document = call("ckpt-info", "--json", *wanted, model).document
    assert document["slot_counts"] == {"3": 1, "7": 2}
    assert [table["entries"] for table in document["tables"]] == [2, 1]
    document = call("ckpt-info", "--json", *wanted, "--slot", "7", model).document
    assert document["slot_counts"] == {"7": 2}
    document = call("ckpt-info", "--json", "--fid-version", "v1", model).document
    assert document["slot_counts"] == {"0": 46}
    assert document["fid_version"] == "v1"


def test_all_steps(model: Path) -> None:
    write_model_dir(model, 400, singles={"MonolithHashTable_a": B})
    write_checkpoint_state(model, [300, 400])
    documents = call("ckpt-info", "--step", "all", "--json", model).document
    assert [(d["step"], d["entries"]) for d in documents] == [(300, 46), (400, 6)]
    assert (model / "ckpt.info-300").exists()
    assert (model / "ckpt.info-400").exists()
    assert call("ckpt-info", "--step", 300, "--json", model).document["entries"] == 46
    assert call("ckpt-info", "--json", model).document["step"] == 400
    report = call("ckpt-info", "--step", "all", "--dry-run", model).out
    assert report.index("step 300") < report.index("step 400")


def test_assets_directory(model: Path) -> None:
    document = call("ckpt-info", "--json", model / "model.ckpt-300.assets").document
    assert (document["step"], document["entries"]) == (300, 46)
    assert document["written"] == f"{model}/ckpt.info-300"


@pytest.mark.skipif(not EXPORT.is_dir(), reason="the export in ../shared/data is not there")
def test_export() -> None:
    done = call("ckpt-info", "--json", EXPORT)
    document = done.document
    assert (document["step"], document["entries"], len(document["tables"])) == (None, 30, 20)
    assert document["slot_counts"] == {"0": 30}
    assert document["written"] is None
    assert done.err.splitlines() == [
        "Note: no ckpt.info was written: there is no step",
        "Note: 20 dumps are in several servers' assets, in files of the same size: read once;"
        " only a scan compares their bytes",
    ]


# --- multi tables ---------------------------------------------------------------------------


def test_multi_tables_by_name(multi: Path) -> None:
    done = call("ckpt-info", "--json", multi)
    document = done.document
    assert document["slot_counts"] == {}
    assert document["feature_counts"] == {"item": 6, "none": 0, "user": 40}
    assert document["entries"] == 46
    assert {table["verified"] for table in document["tables"]} == {False}
    assert len(document["hash_filters"]) == 1
    text = (multi / "ckpt.info-300").read_text()
    assert text == "".join(
        f'feature_counts {{\n  key: "{name}"\n  value: {count}\n}}\n'
        for name, count in [("item", 6), ("none", 0), ("user", 40)]
    )
    report = call("ckpt-info", multi).out
    assert "not verified: 3 tables counted by the contents files; --scan reads" in report


def test_multi_tables_scanned(multi: Path) -> None:
    document = call("ckpt-info", "--json", "--scan", multi).document
    assert document["slot_counts"] == {"0": 1, "3": 30, "7": 15}
    assert document["feature_counts"] == {"item": 6, "none": 0, "user": 40}
    assert {table["verified"] for table in document["tables"]} == {True}
    assert "slot_counts" not in (multi / "ckpt.info-300").read_text()


def test_multi_tables_filtered(multi: Path) -> None:
    done = call("ckpt-info", "--json", "--slot", "7", multi)
    assert done.document["slot_counts"] == {"7": 15}
    assert done.document["feature_counts"] == {"item": 5, "none": 0, "user": 10}
    assert {table["verified"] for table in done.document["tables"]} == {True}
    assert call("ckpt-info", "--json", "--fid", "0", multi).document["entries"] == 1
    assert not (multi / "ckpt.info-300").exists()


def test_both_kinds_scanned(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model_dir(model, singles={"t": entries(9, 2)}, multis={"M": {"user": A, "item": B}})
    document = call("ckpt-info", "--json", "--scan", model).document
    assert document["slot_counts"] == {"0": 1, "3": 30, "7": 15, "9": 2}
    assert document["feature_counts"] == {"item": 6, "user": 40}
    # With any multi table the file has names alone, as the training system writes it.
    assert (model / "ckpt.info-300").read_text() == (
        'feature_counts {\n  key: "item"\n  value: 6\n}\n'
        'feature_counts {\n  key: "user"\n  value: 40\n}\n'
    )
    done = call("ckpt-info", "--check", model)
    assert (done.code, done.err) == (0, "")
    assert call("ckpt-info", "--check", "--scan", "--no-verify", model).out.count(
        "3 tables read without checking checksums"
    )


# --- a file that is there -------------------------------------------------------------------


def test_a_second_run_has_nothing_to_write(model: Path) -> None:
    call("ckpt-info", model)
    done = call("ckpt-info", "--json", model)
    assert (done.code, done.document["written"]) == (0, None)
    assert done.err == f"Note: {model}/ckpt.info-300: up to date, not written again\n"


def test_another_file_is_kept(model: Path) -> None:
    path = model / "ckpt.info-300"
    path.write_text(TEXT.replace("value: 30", "value: 29"))
    done = call("ckpt-info", "--json", model)
    assert done.code == 1
    assert done.document["entries"] == 46
    assert done.document["written"] is None
    assert (done.error["code"], done.error["kind"]) == (1, "exists")
    assert done.err.splitlines()[0] == (
        f"Error: {path}: says something else and was kept: slot 3 has 29 in the file,"
        " 30 in the dump; --force replaces it"
    )
    assert "value: 29" in path.read_text()
    assert call("ckpt-info", "--force", model).code == 0
    assert path.read_text() == TEXT


@pytest.mark.parametrize("text", ["", TEXT.replace("value: 30", "value: 31")])
def test_an_explained_file_is_kept(model: Path, text: str) -> None:
    path = model / "ckpt.info-300"
    path.write_text(text)
    done = call("ckpt-info", model)
    assert done.code == 0
    assert done.err.startswith(f"Note: {path}: kept, the file ")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "code", "verdict"),
    [
        (TEXT, 0, "same"),
        ("", 0, "empty"),
        (TEXT.replace("value: 30", "value: 31"), 0, "more"),
        (TEXT.replace("value: 30", "value: 29"), 1, "different"),
    ],
)
def test_check(model: Path, text: str, code: int, verdict: str) -> None:
    path = model / "ckpt.info-300"
    path.write_text(text)
    done = call("ckpt-info", "--check", "--json", model)
    assert done.code == code
    assert done.document["check"]["verdict"] == verdict
    assert done.document["written"] is None
    assert path.read_text() == text
    done = call("ckpt-info", "--check", model)
    assert done.code == code
    if verdict in ("empty", "more"):
        assert done.err.startswith(f"Note: {path}: the file ")
    if verdict == "different":
        assert done.err.startswith(f"Error: {path}: does not match the dump: slot 3 has 29 ")


def test_check_without_a_file(model: Path) -> None:
    done = call("ckpt-info", "--check", model)
    assert done.code == 3
    assert f"{model}/ckpt.info-300" in done.err
    assert list(model.glob("ckpt.info*")) == []


def test_check_of_a_broken_file(model: Path) -> None:
    (model / "ckpt.info-300").write_text("slot_counts { key: }")
    assert call("ckpt-info", "--check", model).code == 4


@pytest.mark.parametrize(
    "options",
    [
        ["--check", "--slot", "3"],
        ["--check", "--table", "a"],
        ["--check", "--fid-version", "v1"],
        ["--check", "--force"],
        ["--text", "--json"],
    ],
)
def test_options_that_exclude_each_other(model: Path, options: list[str]) -> None:
    assert call("ckpt-info", *options, model).code == 2


# --- bad input ------------------------------------------------------------------------------


def spoil(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_a_flipped_bit(model: Path) -> None:
    path = model / "model.ckpt-300.assets" / "MonolithHashTable_a-00001-of-00002"
    spoil(path, 14)
    done = call("ckpt-info", "--json", model)
    assert (done.code, done.out) == (4, "")
    assert done.error["file"] == str(path)
    assert done.error["offset"] == 0
    assert not (model / "ckpt.info-300").exists()


def test_skipping_damage(model: Path) -> None:
    path = model / "model.ckpt-300.assets" / "MonolithHashTable_a-00001-of-00002"
    spoil(path, 14)
    done = call("ckpt-info", "--json", "--on-corrupt", "skip", model)
    assert done.code == 4
    assert done.document["entries"] == 45
    assert len(done.document["skipped"]) == 1
    assert done.document["written"] is None
    assert done.error["file"] == str(path)
    assert not (model / "ckpt.info-300").exists()
    report = call("ckpt-info", "--on-corrupt", "skip", model)
    assert "45 entries" in report.out
    assert str(path) in report.err


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda model: (model / "checkpoint").write_text("model_checkpoint_path: 3"), 4),
        (lambda model: (model / "model.ckpt-300.assets").rename(model / "x"), None),
    ],
)
def test_broken_directories(
    model: Path, break_it: Callable[[Path], object], code: int | None
) -> None:
    break_it(model)
    done = call("ckpt-info", "--json", "--dry-run", model)
    if code is None:
        assert (done.code, done.document["entries"]) == (0, 0)
    else:
        assert (done.code, done.out) == (code, "")
        assert done.error["code"] == code


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty", "missing"):
        done = call("ckpt-info", tmp_path / name)
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith(f"Error: {tmp_path / name}: ")
        assert done.err.count("\n") == 1


def test_no_such_step_or_table(model: Path) -> None:
    assert call("ckpt-info", "--step", 299, model).code == 3
    done = call("ckpt-info", "--table", "nope*", "--json", model)
    assert (done.code, done.error["kind"]) == (3, "no_such_table")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not hold for root")
def test_read_only_directory(model: Path) -> None:
    model.chmod(0o555)
    try:
        done = call("ckpt-info", model)
    finally:
        model.chmod(0o755)
    assert done.code == 0
    assert done.err.startswith(f"Warning: {model}/ckpt.info-300: not written: Permission denied")


def test_a_read_only_file_system(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are right all the same; but who says --force wants the file."""

    def refuse(self: AtomicFile, path: str, flags: int) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(AtomicFile, "_open", refuse)
    line = f"{model}/ckpt.info-300: not written: Read-only file system"
    done = call("ckpt-info", model)
    assert (done.code, done.err.splitlines()[0]) == (0, f"Warning: {line}")
    assert "46 entries" in done.out
    done = call("ckpt-info", "--force", "--quiet", model)
    assert (done.code, done.err) == (3, f"Error: {line}\n")
    assert "46 entries" in done.out
    done = call("ckpt-info", "--force", "--json", model)
    assert (done.code, done.error["kind"], done.document["written"]) == (3, "read_only", None)


def test_file_size_limit(model: Path) -> None:
    singles = {"MonolithHashTable_a": [e for slot in range(300) for e in entries(slot, 1)]}
    write_model_dir(model, 400, singles=singles)
    path = model / "ckpt.info-400"
    path.write_text("")
    command = f"ulimit -f 2; exec {MONOLITH} ckpt-info --force {model} >/dev/null"
    done = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 3
    assert done.stderr.startswith(f"Error: {path}: not written: File too large")
    assert path.read_text() == ""
    assert [name for name in os.listdir(model) if name.endswith(".tmp")] == []


# --- where it is shown ----------------------------------------------------------------------


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )


def test_in_a_pipeline(model: Path) -> None:
    done = shell(f"{MONOLITH} ckpt-info --json {model} | python3 -m json.tool --compact")
    assert json.loads(done.stdout)["entries"] == 46
    done = shell(f"{MONOLITH} ckpt-info --dry-run {model} | cat")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_environment(model: Path) -> None:
    done = monolith("ckpt-info", model, MONOLITH_CKPT_INFO_DRY_RUN="1", MONOLITH_CKPT_INFO_JSON="1")
    assert json.loads(done.stdout)["written"] is None


@pytest.mark.parametrize(("variables", "colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal(model: Path, variables: dict[str, str], colour: bool) -> None:
    env = environment(TERM="xterm", LC_ALL="C.UTF-8", **variables)
    if not variables:
        env.pop("NO_COLOR", None)
    child = pexpect.spawn(
        str(MONOLITH),
        ["ckpt-info", "--dry-run", str(model)],
        env=env,
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=20,
    )
    output = child.read()
    assert ("\x1b[" in output) == colour
    assert "█" in output
    if not colour:
        assert max(map(len, output.splitlines())) <= 80 or str(model) in output


# --- signals --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that takes a while to count: millions of small entries."""
    directory = tmp_path_factory.mktemp("slow") / "model"
    block = frame(*entries(5, 2000)) * 500
    write_model_dir(directory, 300, singles={"MonolithHashTable_a": []}, shards=8)
    for path in directory.glob("*.assets/*"):
        path.write_bytes(block)
    return directory


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_counting(slow: Path, signum: int, code: int) -> None:
    before = sorted(slow.rglob("*"))
    for delay_seconds in (0.15, 0.2, 0.25):
        process = subprocess.Popen(
            [MONOLITH, "ckpt-info", "--jobs", "1", slow],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment(),
        )
        time.sleep(delay_seconds)
        os.killpg(process.pid, signum)
        out, err = process.communicate(timeout=20)
        if process.returncode == code and err.startswith("Error: "):
            assert out == ""
            assert err.count("\n") == 1
            assert sorted(slow.rglob("*")) == before
            return
        (slow / "ckpt.info-300").unlink(missing_ok=True)
    pytest.skip("this machine is too fast or too slow to be caught in the middle")
