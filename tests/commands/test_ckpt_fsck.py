"""`monolith ckpt fsck`: what it prints, how it ends, what it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import judge_support as js
import pytest
from cli_support import call, failed

from monolith_cli.samples.sample import write_sample

A = "MonolithHashTable_query"
ASSETS = "model.ckpt-1000.assets"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_sample(tmp_path / "model", entries=2000, shards=2)
    js.make_old(tmp_path / "model")
    return tmp_path / "model"


def test_a_sound_directory(model: Path) -> None:
    done = call("ckpt", "fsck", model)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{model}: step 1000"
    assert lines[-1].startswith("sound (every byte was read, ")
    quick = call("ckpt", "fsck", "--quick", "--step", "all", model)
    assert quick.code == 0
    assert quick.out.splitlines()[-1].startswith("sound (quick: ")


def test_damage_ends_with_4_and_its_id_as_the_kind(model: Path) -> None:
    shard = model / ASSETS / f"{A}-00000-of-00002"
    js.flip(shard, 40)
    (model / ASSETS / f"{A}-00001-of-00002").unlink()
    done = call("ckpt", "fsck", "--json", model)
    assert done.code == 4
    assert done.document["verdict"] == "damaged"
    assert done.document["depth"] == "full"
    assert done.document["steps"] == [
        {"step": 1000, "verdict": "damaged", "checked_seconds_ago": None}
    ]
    found = {each["id"]: each for each in done.document["findings"]}
    assert found["bad_data_crc"]["file"] == str(shard)
    assert found["bad_data_crc"]["offset"] == 0
    assert found["bad_data_crc"]["table"] == A
    assert (done.error["code"], done.error["kind"]) == (4, "missing_shard")
    assert done.error["message"].endswith("(one of 2 errors); restore it, or take another step")
    text = call("ckpt", "fsck", model).out
    assert f"  bad_data_crc: {ASSETS}/{A}-00000-of-00002: damaged: " in text
    assert (
        call("ckpt", "fsck", "--ignore", "missing_shard", "--ignore", "bad_data_crc", model)[0] == 0
    )


def test_a_warning_ends_with_1_and_a_note_only_with_strict(model: Path) -> None:
    assert call("ckpt", "fsck", "--quick", model).code == 0
    assert call("ckpt", "fsck", "--quick", "--strict", model).code == 1
    (model / "monolith_checkpoint").write_text('exempt_model_checkpoint_paths: "model.ckpt-5"\n')
    done = call("ckpt", "fsck", "--quick", "--json", model)
    assert (done.code, done.error["kind"]) == (1, "exempt_unlisted")


def test_at_most_twenty_findings_of_a_file_are_shown(model: Path) -> None:
    shard = model / ASSETS / f"{A}-00000-of-00002"
    for at in range(40, shard.stat().st_size, 500):
        js.flip(shard, at)
    done = call("ckpt", "fsck", model)
    assert done.code == 4
    assert sum(f"{A}-00000-of-00002: " in line for line in done.out.splitlines()) == 20
    assert f" more in {ASSETS}/{A}-00000-of-00002" in done.out
    document = call("ckpt", "fsck", "--json", model).document
    assert len(document["findings"]) > 25


def test_what_is_recorded(model: Path) -> None:
    done = call("ckpt", "fsck", "--record", "--limit-rate", "500MiB/s", model)
    assert (done.code, done.err) == (0, "Note: step 1000: recorded that it was checked\n")
    assert (model / "ckpt.checked-1000").exists()
    again = call("ckpt", "fsck", "--max-age", "7d", "--json", model)
    assert again.document["bytes_read"] < 20_000
    (step,) = again.document["steps"]
    assert 0 <= step["checked_seconds_ago"] < 600
    text = call("ckpt", "fsck", "--max-age", "7d", model).out.splitlines()[-1]
    assert text.startswith("sound (the data of 1 step was not read: checked ")
    assert " ago; of the rest every byte was read, " in text
    assert call("ckpt", "fsck", "--quick", "--strict", model).code == 0  # with a manifest now
    (model / ASSETS / f"{A}-00001-of-00002").write_bytes(b"")
    assert call("ckpt", "fsck", "--max-age", "7d", model).code == 4
    done = call("ckpt", "fsck", "--re-record", model)
    assert done.code == 0
    assert f"Warning: step 1000: forgotten: that {ASSETS}/{A}-00001-of-00002 had" in done.err


def test_what_cannot_be_looked_at_is_not_sound(model: Path) -> None:
    index = model / "model.ckpt-1000.index"
    index.unlink()
    index.mkdir()
    for options in ([], ["--quick"]):
        done = call("ckpt", "fsck", "--json", *options, model)
        assert (done.code, done.error["kind"]) == (3, "not_readable")
        assert done.document["verdict"] == "doubtful"
        assert [each["verdict"] for each in done.document["steps"]] == ["doubtful"]
        found = [each for each in done.document["findings"] if each["id"] == "not_readable"]
        assert [(each["severity"], each["step"], each["file"]) for each in found] == [
            ("warning", 1000, str(index))
        ]
    done = call("ckpt", "fsck", "--ignore", "not_readable", model)
    assert done.code == 3
    assert done.out.splitlines()[-1].startswith("doubtful (all that can be read was read, ")
    assert done.err.count("not readable") == 1
    js.flip(model / ASSETS / f"{A}-00000-of-00002", 40)
    both = call("ckpt", "fsck", "--json", model)
    assert (both.code, both.error["kind"]) == (4, "bad_data_crc")
    assert {"bad_data_crc", "not_readable"} <= {each["id"] for each in both.document["findings"]}


def test_wrong_usage(model: Path) -> None:
    assert "no finding is called 'nonsense'" in failed(
        call("ckpt", "fsck", "--ignore", "nonsense", model), 2
    )
    failed(call("ckpt", "fsck", "--quick", "--record", model), 2)
    failed(call("ckpt", "fsck", "--limit-rate", "fast", model), 2)
    assert "'5' is less than 64 KiB in a second; is 5MiB/s meant?" in failed(
        call("ckpt", "fsck", "--limit-rate", 5, model), 2
    )
    assert "less than 64 KiB in a second" in failed(
        call("ckpt", "fsck", "--limit-rate", "63KiB/s", model), 2
    )
    failed(call("ckpt", "fsck", "--step", 5, model), 3)
    failed(call("ckpt", "fsck", model / "nowhere"), 3)


def test_a_quick_check_imports_nothing_heavy(model: Path) -> None:
    code = (
        "import sys; from monolith_cli.cli import run;"
        f" code = run(['ckpt', 'fsck', '--quick', '--json', {str(model)!r}]);"
        " heavy = {'numpy', 'tensorflow', 'rich', 'google.protobuf', 'grpc'} & set(sys.modules);"
        " sys.exit(code or str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
