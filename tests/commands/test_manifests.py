"""Steps that lack what their manifest names: what every command makes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_support import Done, call

from monolith_cli.checkpoint.manifests import (
    make_manifest,
    read_step_manifest,
    write_step_manifest,
)
from monolith_cli.formats.manifest import ManifestFile
from monolith_cli.samples.sample import write_sample

USER = "MonolithHashTable_user-00000-of-00001"
COMMANDS = [
    ["ckpt-info"],
    ["ckpt-info", "--check"],
    ["ckpt-info", "--on-corrupt", "skip"],
    ["table", "ls"],
    ["table", "dump"],
    ["table", "dump", "--on-corrupt", "skip"],
    ["ckpt", "show"],
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    write_sample(model, entries=100, tables=2)
    assert call("ckpt-info", str(model)).code == 0
    write_step_manifest(str(model), make_manifest(str(model), "model.ckpt", 1000))
    return model


def user_of(model: Path) -> Path:
    return model / "model.ckpt-1000.assets" / USER


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_table_that_is_gone(model: Path, command: list[str]) -> None:
    assert call(*command, str(model)).code == 0
    user_of(model).unlink()
    done = call(*command, str(model))
    assert done.code == 4
    assert done.err.splitlines()[-1] == (
        f"Error: {user_of(model)}: missing: the manifest of step 1000 names it;"
        " restore it, or take another step"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_table_that_ends_with_another_record(model: Path, command: list[str]) -> None:
    first = 12 + int.from_bytes(user_of(model).read_bytes()[:8], "little") + 4
    size = user_of(model).stat().st_size
    os.truncate(user_of(model), first)
    done = call(*command, str(model))
    assert done.code == 4
    assert done.err.splitlines()[-1] == (
        f"Error: {user_of(model)}: has {first} bytes, but {size} in the manifest of step 1000;"
        " restore it, or take another step"
    )


def test_what_is_said_of_both(model: Path) -> None:
    first = 12 + int.from_bytes(user_of(model).read_bytes()[:8], "little") + 4
    os.truncate(user_of(model), first)
    left_out = call("ckpt-info", "--dry-run", str(model)).out
    assert "not counted: 1 dump not whole\n" in left_out
    counted = call("ckpt-info", "--dry-run", "--on-corrupt", "skip", str(model)).out
    assert "counted, though not as in the manifest: 1 dump\n" in counted
    assert "not counted" not in counted
    done = call("ckpt-info", "--dry-run", "--on-corrupt", "skip", "--json", str(model))
    document = json.loads(done.out)
    assert [table["entries"] for table in document["tables"]] == [33, 1]
    assert len(document["problems"]) == 1
    assert json.loads(done.err.splitlines()[-1])["error"]["kind"] == "manifest_differs"


def test_a_sample_in_place_of_the_step(model: Path) -> None:
    user_of(model).unlink()
    write_sample(model, entries=100, tables=1, force=True)
    assert call("ckpt-info", str(model)).code == 0
    assert call("ckpt", "show", str(model)).code == 0


CHECKS = [*COMMANDS, ["table", "get", "5"], ["ckpt-info", "--dry-run"]]


def check(model: Path, command: list[str]) -> Done:
    first, *rest = command[:2] if command[0] in ("table", "ckpt") else command[:1]
    given = command[len(rest) + 1 :]
    return call(first, *rest, str(model), *given)


@pytest.mark.parametrize("text", ["", "[", '{"version": 2}'])
@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_a_manifest_that_says_nothing(model: Path, command: list[str], text: str) -> None:
    manifest = model / "ckpt.manifest-1000"
    manifest.write_text(text)
    user_of(model).unlink()
    (model / "ckpt.info-1000").unlink()
    done = check(model, command)
    assert done.code == 4
    assert done.err.splitlines()[-1].startswith(f"Error: {manifest}: ")
    assert "whether step 1000 is whole is not known" in done.err
    assert not (model / "ckpt.info-1000").exists()
    assert "dump not whole" not in done.out


def test_why_no_counts_were_written_beside_such_a_manifest(model: Path) -> None:
    (model / "ckpt.manifest-1000").write_text("")
    reason = "the step is not whole, or nobody knows whether it is"
    assert f"{model}/ckpt.info-1000: not compared, as {reason}" in (
        call("ckpt-info", "--check", str(model)).err
    )
    (model / "ckpt.info-1000").unlink()
    assert f"no ckpt.info was written: {reason}" in call("ckpt-info", str(model)).err


@pytest.mark.parametrize("size", [None, 200])
@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_an_index_that_is_gone_or_was_cut_hides_nothing(
    model: Path, command: list[str], size: int | None
) -> None:
    user_of(model).unlink()
    (model / "ckpt.info-1000").unlink()
    [index] = model.glob("*.index")
    if size is None:
        index.unlink()
    else:
        os.truncate(index, size)
    done = check(model, command)
    assert done.code == 4
    assert f"{user_of(model)}: missing: the manifest of step 1000 names it" in done.err
    assert not (model / "ckpt.info-1000").exists()


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_a_manifest_of_another_save_is_noted(model: Path, command: list[str]) -> None:
    (model / "ckpt.info-1000").unlink()
    user_of(model).unlink()
    [index] = model.glob("*.index")
    data = bytearray(index.read_bytes())
    data[-20] ^= 1
    index.write_bytes(data)
    done = check(model, command)
    note = f"{model}/ckpt.manifest-1000: of another save than the index beside it, and ignored"
    assert note in done.err


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
@pytest.mark.parametrize(
    "name",
    [
        "model.ckpt-1000.data-00000-of-00001",
        "model.ckpt-1000.assets/vocabulary",
        "model.ckpt-1000.assets/inner/t-00000-of-00001",
    ],
)
def test_a_file_of_no_table_that_is_gone(model: Path, command: list[str], name: str) -> None:
    manifest = read_step_manifest(str(model), 1000)
    assert manifest is not None
    known = [file for file in manifest.files if file.name != name]
    write_step_manifest(
        str(model), manifest._replace(files=(*known, ManifestFile(name, size_bytes=7)))
    )
    (model / name).unlink(missing_ok=True)
    (model / "ckpt.info-1000").unlink()
    done = check(model, command)
    assert (done.code, done.err.count(str(model / name))) == (4, 1)
    assert done.err.splitlines()[-1].startswith(f"Error: {model / name}: ")
    assert not (model / "ckpt.info-1000").exists()
    assert "dump not whole" not in done.out
