"""Input that is no damage, but that a script or a file system may well come up with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import MONOLITH, call, environment
from dump_support import (
    frame,
    put_fixed64,
    table_meta,
    write_checkpoint_state,
    write_model_dir,
    write_single_table,
)
from iterator_support import write_states

from monolith_cli.checkpoint.inputs import write_input_state

ENTRIES = [put_fixed64(1, 7 << 48 | n) for n in range(3)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model_dir(tmp_path / "model", 300, singles={"t": ENTRIES}, shards=1)
    return tmp_path / "model"


def test_an_empty_path_is_no_directory() -> None:
    done = call("ckpt-info", "")
    assert done.code == 2
    assert done.err.startswith("Error: an empty path; give a model directory")


def test_tables_that_are_gone(model: Path) -> None:
    shutil.rmtree(model / "model.ckpt-300.assets")
    done = call("ckpt-info", model)
    assert (done.code, list(model.glob("ckpt.info*"))) == (0, [])
    assert "Warning: no hash tables: " in done.err
    assert "Note: no ckpt.info was written: there are no tables" in done.err


def test_a_pipe_in_place_of_a_shard(model: Path) -> None:
    shard = model / "model.ckpt-300.assets" / "t-00000-of-00001"
    shard.unlink()
    os.mkfifo(shard)
    done = call("ckpt-info", model)
    assert (done.code, done.err) == (3, f"Error: {shard}: not readable: not a regular file\n")


def test_one_damaged_step_of_several(model: Path) -> None:
    for step in (100, 200):
        write_model_dir(model, step, singles={"t": ENTRIES}, shards=1)
    write_checkpoint_state(model, [100, 200, 300])
    shard = model / "model.ckpt-200.assets" / "t-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-1])
    done = call("ckpt-info", "--step", "all", "--json", "--dry-run", model)
    assert done.code == 4
    assert [document["step"] for document in done.document] == [100, 300]
    assert done.error["file"] == str(shard)


def test_slots_that_a_version_does_not_have(model: Path) -> None:
    done = call("ckpt-info", "--fid-version", "v1", "--slot", "2000", model)
    assert (done.code, done.err) == (2, "Error: slot 2000: those of v1 feature ids end at 1023\n")


def test_a_negative_feature_id(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model_dir(model, 300, singles={"t": [put_fixed64(1, 2**64 - 5)]}, shards=1)
    done = call("table", "get", "--json", "--columns", "fid", model, "-5")
    assert (done.code, done.out) == (0, '{"fid":"-5"}\n')


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    write_model_dir(tmp_path / "m", 300, singles={"\x1b[31mred": ENTRIES}, shards=2)
    next((tmp_path / "m" / "model.ckpt-300.assets").glob("*-00001-of-00002")).unlink()
    done = call("ckpt-info", tmp_path / "m")
    assert done.code == 4
    assert "\\x1b[31mred-00001-of-00002: missing" in done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize(("words", "code"), [(["nowhere"], 3), (["model"], 3)])
def test_nowhere_to_say_it(model: Path, words: list[str], code: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [MONOLITH, "ckpt-info", *words],
            stdout=full,
            stderr=full,
            cwd=model.parent,
            env=environment(),
            check=False,
            timeout=60,
        )
    assert done.returncode == code


def test_a_check_says_what_it_makes_of_a_difference(model: Path) -> None:
    (model / "ckpt.info-300").write_text("")
    done = call("ckpt-info", "--check", "--quiet", model)
    assert done.code == 0
    assert "ckpt.info-300: as it may be: the file is empty, which means that" in done.out
    (model / "ckpt.info-300").unlink()
    done = call("ckpt-info", "--check", model)
    assert done.code == 3
    assert done.err.endswith("; ckpt-info without --check writes it\n")


def test_a_dump_of_many_tables_without_its_table_of_contents(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path / "m", 300, multis={"mt": {"a": ENTRIES}}, shards=1)
    (assets / "mt.meta-00000-of-00001").unlink()
    for command in (["ckpt-info"], ["ckpt-info", "--scan"], ["table", "ls"], ["table", "dump"]):
        done = call(*command, "--json", tmp_path / "m")
        assert (done.code, done.error["kind"]) == (4, "missing_shard")
        assert done.error["file"] == f"{assets}/mt.meta-00000-of-00001"
    assert not (tmp_path / "m" / "ckpt.info-300").exists()


def test_a_table_of_contents_beyond_measure(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path / "m", 300, multis={"mt": {"a": ENTRIES}}, shards=1)
    meta = assets / "mt.meta-00000-of-00001"
    meta.write_bytes(frame(table_meta("a", 2**63)))
    done = call("ckpt-info", tmp_path / "m")
    assert done.code == 4
    assert "not a contents file: it promises 9223372036854775808 entries" in done.err


def test_a_limit_beyond_measure(model: Path) -> None:
    done = call("table", "dump", "--limit", "99999999999999999999999", model)
    assert (done.code, done.out) == (2, "")


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


NAMED = [
    (["ckpt-info"], "model_dir"),
    (["ckpt-info", "--check"], "model_dir"),
    (["ckpt", "show"], "model_dir"),
    (["iterator", "show"], "path"),
    (["iterator", "show", "--raw"], None),
    (["iterator", "ls"], None),
    (["iterator", "rollback", "--step", "300", "--dry-run"], "model_dir"),
    (["table", "ls"], None),
    (["table", "dump"], None),
    (["table", "get", "--fids-from", "FIDS"], None),
    (["sample", "--force", "--entries", "10"], "model_dir"),
    (["ckpt-info", "--step", "7"], "file"),
    (["ckpt", "show", "--step", "7"], "file"),
    (["table", "dump", "--step", "7"], "file"),
    (["table", "get", "--fids-from", "GONE"], "file"),
    (["iterator", "show", "--worker", "7"], "file"),
    (["sample"], "file"),
]


@pytest.mark.parametrize(("command", "key"), NAMED, ids=lambda value: str(value))
def test_paths_that_are_no_utf8(tmp_path: Path, command: list[str], key: str | None) -> None:
    """They are the same text in every document, and it is valid UTF-8."""
    base = os.fsdecode(os.fsencode(tmp_path / "models-") + b"\xe9\xff")
    model = Path(base) / "größe"
    assets = write_model_dir(model, 300, singles={"t": ENTRIES}, shards=1)
    write_single_table(assets, "t\udcff", ENTRIES)
    write_states(model / "input_worker_0.ckpt-300", IteratorV2=7)
    write_input_state(str(model), 0)
    (model / "fids").write_text(f"{7 << 48}\n")
    if "--check" in command:
        assert call("ckpt-info", model).code == 0
    words = {"FIDS": str(model / "fids"), "GONE": str(model / "gone")}
    done = call(*(words.get(word, word) for word in command), "--json", model)
    if key == "file":
        assert done.out == ""
        documents = [done.error]
    else:
        assert done.code == (4 if "ckpt" in command else 0), done.err  # its index is a stub
        documents = [json.loads(line) for line in done.out.splitlines()]
    for text in (text for document in documents for text in texts(document)):
        text.encode()
    if key is not None:
        shown = str(tmp_path / "models-") + "\ufffd\ufffd/größe"
        assert documents[0][key].startswith(shown)
    if command == ["ckpt", "show"]:
        assert done.error["message"] in documents[0]["problems"]
    assert "\\xff" not in "".join(text for document in documents for text in texts(document))
