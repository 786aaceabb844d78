"""Checkpoints that are not whole, and exports with copies: what every command makes of them.

The files are TensorFlow's: its Saver's and its record writers'.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_support import Done, call
from dump_support import (
    put_fixed64,
    shard_path,
    write_model_dir,
    write_multi_table,
    write_plain,
    write_single_table,
)
from tf_support import read_records

COMMANDS = [
    ["ckpt-info"],
    ["ckpt-info", "--check"],
    ["ckpt-info", "--scan"],
    ["ckpt-info", "--on-corrupt", "skip"],
    ["table", "ls"],
    ["table", "ls", "--scan"],
    ["table", "dump"],
    ["table", "dump", "--on-corrupt", "skip"],
    ["ckpt", "show"],
]
IDS = ["-".join(word.lstrip("-") for word in words) for words in COMMANDS]


def entries(slot: int, count: int, first: int = 0) -> list[bytes]:
    return [put_fixed64(1, slot << 48 | number) for number in range(first, first + count)]


USER = entries(1, 20) + entries(2, 5)
ITEM = entries(7, 10)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two single tables in two files each."""
    singles = {"MonolithHashTable_item": ITEM, "MonolithHashTable_user": USER}
    write_model_dir(tmp_path / "model", 30, singles=singles, tf=True)
    return tmp_path / "model"


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    """Two dumps of many tables, each with a part of `user`, and a single table."""
    multis = {"emb_0": {"user": USER, "item": ITEM}, "emb_1": {"user": entries(1, 4, 100)}}
    directory = tmp_path / "multi"
    write_model_dir(directory, 30, singles={"t": entries(3, 6)}, multis=multis, tf=True)
    return directory


def assets_of(directory: Path) -> Path:
    return directory / "model.ckpt-30.assets"


def names_of(done: Done) -> list[str]:
    document = json.loads(done.out)
    return [table["name"] for table in document["tables"]]


def error_of(done: Done, code: int, kind: str) -> Any:
    assert (done.code, done.error["code"], done.error["kind"]) == (code, code, kind), done
    return done.error


# --- one part that is missing ---------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_a_missing_shard_does_not_hide_other_tables(model: Path, command: list[str]) -> None:
    lost = shard_path(assets_of(model), "MonolithHashTable_user", 1, 2)
    lost.unlink()
    done = call(*command, "--json", model)
    assert error_of(done, 4, "missing_shard")["file"] == str(lost)
    if command[0] == "ckpt-info":
        assert (done.document["entries"], names_of(done)) == (10, ["MonolithHashTable_item"])
        assert done.document["written"] is None
        assert done.document["problems"] == [
            f"{lost}: missing: 1 of 2 shards are there; restore it, or take another step"
        ]
        assert "check" not in done.document
    elif command[1] == "ls":
        assert [table["name"] for table in done.document] == ["MonolithHashTable_item"]
    elif command[1] == "dump":
        assert done.out.count("\n") == 10
    else:
        assert names_of(done) == ["MonolithHashTable_item"]
    assert not (model / "ckpt.info-30").exists()


def test_what_is_asked_for_is_whole_and_another_table_is_not(model: Path) -> None:
    lost = shard_path(assets_of(model), "MonolithHashTable_user", 0, 2)
    lost.unlink()
    for command in (["table", "ls"], ["table", "dump"], ["ckpt-info"]):
        done = call(*command, "--table", "*item", "--json", model)
        assert error_of(done, 4, "missing_shard")["file"] == str(lost)
        if command == ["ckpt-info"]:
            assert done.document["entries"] == 10
            assert [each.partition(": ")[0] for each in done.document["problems"]] == [str(lost)]
        else:
            assert len(done.out.splitlines()) == (10 if command[1] == "dump" else 1)
        done = call(*command, "--table", "*user", model)
        assert (done.code, "MonolithHashTable_item" in done.out) == (4, False)
    done = call("table", "get", "--table", "*item", "--json", "--columns", "fid", model, 7 << 48)
    assert done.out == f'{{"fid":"{7 << 48}"}}\n'
    error_of(done, 4, "missing_shard")
    report = call("ckpt-info", model).out
    assert "10 entries in 1 table\n" in report
    assert report.endswith("\nnot counted: 1 dump not whole\n")


def test_no_cursor_where_tables_are_left_out(model: Path) -> None:
    """Positions would be others once the table is whole: null would say that all came."""
    lost = shard_path(assets_of(model), "MonolithHashTable_item", 0, 2)
    data = lost.read_bytes()
    page = ["table", "dump", "--columns", "fid", "--limit", "3", "--cursor"]
    cursor = json.loads(call(*page, model).out.splitlines()[-1])["next_offset"]
    lost.unlink()
    done = call(*page, model)
    assert done.code == 4
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"fid": str(1 << 48 | number)} for number in range(3)
    ]
    assert done.err.splitlines()[0] == (
        "Warning: no cursor to go on from: tables that are not whole are left out"
    )
    done = call(*page, "--offset", cursor, model)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(
        f"Warning: nothing is read from cursor {cursor} on: cursors also count"
    )
    # Where the table is not asked for, its absence changes no position.
    done = call(*page, "--table", "*user", model)
    assert done.code == 4
    assert json.loads(done.out.splitlines()[-1])["next_offset"] is not None
    lost.write_bytes(data)
    assert call(*page, "--offset", cursor, model).code == 0


def test_getting_what_may_be_in_a_table_that_is_not_whole(model: Path) -> None:
    shard_path(assets_of(model), "MonolithHashTable_user", 0, 2).unlink()
    done = call("table", "get", "--json", "--columns", "fid", model, 7 << 48, 1 << 48)
    error_of(done, 4, "missing_shard")
    assert done.out == f'{{"fid":"{7 << 48}"}}\n'
    assert f"feature id {1 << 48} is not in any table that is whole" in done.err


def test_a_server_that_is_missing(tmp_path: Path) -> None:
    for server in (0, 2):
        assets = tmp_path / f"ps_{server}" / "5" / "assets"
        write_single_table(assets, f"t_{server}", entries(server, 4), tf=True)
    done = call("ckpt-info", "--json", tmp_path)
    assert error_of(done, 4, "missing_shard")["file"] == f"{tmp_path}/ps_1"
    assert (done.document["entries"], names_of(done)) == (8, ["t_0", "t_2"])


# --- many tables in one file ----------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_an_empty_data_file(multi: Path, command: list[str]) -> None:
    path = shard_path(assets_of(multi), "emb_0", 0, 2)
    path.write_bytes(b"")
    (multi / "ckpt.info-30").write_text('feature_counts {\n  key: "user"\n  value: 29\n}\n')
    done = call(*command, "--json", multi)
    assert done.code == 4
    assert done.error["file"] == str(path)
    skips = "skip" in command
    assert done.error["kind"] in ({"empty_shard", "too_few_records"} if skips else {"empty_shard"})
    if command[0] == "ckpt-info" and not skips:
        # The part of `user` in the other dump is not the table.
        assert (done.document["entries"], names_of(done)) == (6, ["t"])
    if command[0] == "ckpt-info" and skips:
        assert done.document["feature_counts"] == {"user": 16, "item": 5}


@pytest.mark.parametrize("size", [0, 1])
def test_skipping_a_data_file_that_is_too_small(tmp_path: Path, size: int) -> None:
    write_model_dir(tmp_path, 30, multis={"emb_0": {"user": USER, "item": ITEM}}, shards=1, tf=True)
    shard_path(assets_of(tmp_path), "emb_0", 0, 1).write_bytes(bytes(size))
    report = call("ckpt-info", "--on-corrupt", "skip", tmp_path).out
    assert report.endswith("\nnot verified: 2 tables with damaged places\n")
    advised = "--on-corrupt" in call("ckpt-info", tmp_path).err
    assert advised == (size > 0)  # of an empty file nothing is left when it is skipped


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_an_empty_table_of_contents(multi: Path, command: list[str]) -> None:
    path = shard_path(assets_of(multi), "emb_0.meta", 1, 2)
    path.write_bytes(b"")
    done = call(*command, "--json", multi)
    assert error_of(done, 4, "empty_contents")["file"] == str(path)


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_a_table_of_contents_cut_between_two_records(multi: Path, command: list[str]) -> None:
    path = shard_path(assets_of(multi), "emb_0.meta", 1, 2)
    write_plain(path, read_records(path)[:1])
    done = call(*command, "--json", multi)
    assert error_of(done, 4, "short_contents")["file"] == str(path)
    assert not (multi / "ckpt.info-30").exists()


def test_records_that_no_table_of_contents_promises(tmp_path: Path) -> None:
    """All contents files are cut at the same place: only the data tells."""
    write_model_dir(tmp_path, 30, multis={"emb_0": {"user": USER, "item": ITEM}}, tf=True)
    for shard in range(2):
        path = shard_path(assets_of(tmp_path), "emb_0.meta", shard, 2)
        write_plain(path, read_records(path)[:1])
    done = call("ckpt-info", "--scan", tmp_path)
    assert (done.code, "verified\n" in done.out) == (0, False)
    assert "not verified: 1 table beside records of no table" in done.out
    assert "no ckpt.info was written: records that no contents file promises" in done.err
    document = call("ckpt-info", "--scan", "--json", "--force", tmp_path).document
    assert [table["verified"] for table in document["tables"]] == [False]
    assert not (tmp_path / "ckpt.info-30").exists()
    (tmp_path / "ckpt.info-30").write_text('feature_counts {\n  key: "user"\n  value: 25\n}\n')
    assert call("ckpt-info", "--check", tmp_path).code == 0  # the data was not read
    done = call("ckpt-info", "--check", "--scan", "--json", tmp_path)
    message = error_of(done, 1, "different")["message"]
    assert "10 records are in the dump that no contents file promises" in message
    assert done.document["check"]["verdict"] == "different"
    report = call("ckpt-info", "--check", "--scan", tmp_path).out
    assert "ckpt.info-30: cannot be right: the dump has 10 records of no table\n" in report


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_data_without_a_table_of_contents(multi: Path, command: list[str]) -> None:
    for shard in range(2):
        shard_path(assets_of(multi), "emb_0.meta", shard, 2).unlink()
    done = call(*command, "--json", multi)
    error = error_of(done, 4, "missing_shard")
    assert error["file"] == str(shard_path(assets_of(multi), "emb_0.meta", 0, 2))
    if command[0] == "ckpt-info":
        assert done.document["slot_counts"].get("3") == 6
        assert "emb_0" not in names_of(done)
    assert not (multi / "ckpt.info-30").exists()


# --- what ckpt.info tells of tables that are gone -------------------------------------------


def test_tables_that_are_gone(model: Path) -> None:
    assert call("ckpt-info", model).code == 0
    for path in assets_of(model).iterdir():
        path.unlink()
    info = (model / "ckpt.info-30").read_text()
    for command in [*COMMANDS, ["ckpt-info", "--dry-run"], ["ckpt-info", "--force"]]:
        done = call(*command, "--json", model)
        assert error_of(done, 4, "table_gone")["file"] == f"{model}/ckpt.info-30"
    done = call("ckpt-info", "--check", "--json", model)
    assert done.document["check"]["verdict"] == "gone"
    shutil.rmtree(assets_of(model))
    assert call("ckpt-info", "--check", model).code == 4
    assert call("ckpt-info", model).code == 4
    assert (model / "ckpt.info-30").read_text() == info
    (model / "ckpt.info-30").write_text("")  # nobody counted
    assert call("ckpt-info", "--check", model).code == 0
    assert call("ckpt-info", model).code == 0


def test_a_dump_of_many_tables_that_is_gone(multi: Path) -> None:
    assert call("ckpt-info", multi).code == 0
    for path in assets_of(multi).glob("emb_0*"):
        path.unlink()
    for command in (["ckpt-info", "--check"], ["ckpt-info"], ["ckpt", "show"]):
        done = call(*command, "--json", multi)
        assert (
            "counts table 'item', of which there is no dump"
            in error_of(done, 4, "table_gone")["message"]
        )


READING = [
    *COMMANDS,
    ["ckpt-info", "--dry-run"],
    ["ckpt-info", "--force"],
    ["ckpt-info", "--dry-run", "--slot", "7"],
    ["ckpt-info", "--dry-run", "--fid", "7"],
    ["ckpt-info", "--dry-run", "--fid-version", "v1"],
    ["table", "get"],
]


@pytest.mark.parametrize("command", READING, ids="-".join)
def test_dumps_that_were_emptied(model: Path, command: list[str]) -> None:
    assert call("ckpt-info", model).code == 0
    info = (model / "ckpt.info-30").read_text()
    for path in assets_of(model).iterdir():
        path.write_bytes(b"")
    fids = [7] if command[-1] == "get" else []
    done = call(*command, "--json", model, *fids)
    assert error_of(done, 4, "table_gone")["file"] == f"{model}/ckpt.info-30"
    assert (model / "ckpt.info-30").read_text() == info


@pytest.mark.parametrize("command", [*READING, ["table", "ls", "--table", "t"]], ids="-".join)
def test_a_name_without_a_dump(multi: Path, command: list[str]) -> None:
    info = "".join(
        f'feature_counts {{\n  key: "{name}"\n  value: {n}\n}}\n'
        for name, n in (("author", 0), ("item", 10), ("user", 29))
    )
    (multi / "ckpt.info-30").write_text(info)
    fids = [7 << 48] if command[-1] == "get" else []
    done = call(*command, "--json", multi, *fids)
    message = error_of(done, 4, "table_gone")["message"]
    assert "counts table 'author', of which there is no dump; restore it, or" in message
    assert (multi / "ckpt.info-30").read_text() == info
    if "--check" in command:
        assert done.document["check"]["differences"] == [
            {"table": "author", "file": 0, "dump": None}
        ]


@pytest.mark.parametrize("command", [["ckpt-info"], ["table", "ls"], ["table", "dump"]])
def test_asking_for_a_table_that_is_gone(multi: Path, command: list[str]) -> None:
    path = multi / "ckpt.info-30"
    path.write_text('feature_counts {\n  key: "author"\n  value: 3\n}\n')
    done = call(*command, "--table", "auth*", "--json", multi)
    message = error_of(done, 4, "table_gone")["message"]
    assert "counts table 'author', of which there is no dump; no table matches 'auth*';" in message
    path.unlink()
    error_of(call(*command, "--table", "auth*", "--json", multi), 3, "no_such_table")


def test_no_feature_ids_and_tables_that_are_gone(multi: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("# none\n")
    command = ["table", "get", "--fids-from", tmp_path / "ids", "--json", multi]
    assert call(*command).code == 0
    (multi / "ckpt.info-30").write_text('feature_counts {\n  key: "author"\n  value: 3\n}\n')
    error_of(call(*command), 4, "table_gone")


def test_a_part_of_a_name_that_is_gone(multi: Path) -> None:
    """Counts by name are sums of contents files: expiry does not explain fewer."""
    names = (("item", 10), ("user", 29))
    for path in assets_of(multi).glob("emb_1*"):
        path.unlink()
    (multi / "ckpt.info-30").write_text(
        "".join(f'feature_counts {{\n  key: "{name}"\n  value: {n}\n}}\n' for name, n in names)
    )
    what = "table user: 25 of 29 are in its contents files: a dump may be gone"
    for command in (["ckpt-info", "--check"], ["ckpt-info"]):
        done = call(*command, multi)
        assert (done.code, what in done.err, "--force" in done.err) == (0, True, False)
        done = call(*command, "--strict", "--json", multi)
        message = error_of(done, 1, "different")["message"]
        assert message == f"{multi}/ckpt.info-30: {what}; look for files of tables first"


def test_a_check_that_compares_nothing_says_so(model: Path) -> None:
    shard_path(assets_of(model), "MonolithHashTable_user", 1, 2).unlink()
    done = call("ckpt-info", "--check", model)
    assert f"Note: {model}/ckpt.info-30: not there; nothing was compared\n" in done.err
    (model / "ckpt.info-30").write_text("")
    done = call("ckpt-info", "--check", model)
    assert f"Note: {model}/ckpt.info-30: not compared, as damaged or incomplete" in done.err


def test_an_empty_file_beside_no_tables(model: Path) -> None:
    for path in assets_of(model).iterdir():
        path.unlink()
    (model / "ckpt.info-30").write_text("")
    check = call("ckpt-info", "--check", "--json", model).document["check"]
    assert (check["verdict"], check["differences"]) == ("empty", [])


def test_a_slot_that_is_gone_is_said(model: Path) -> None:
    (model / "ckpt.info-30").write_text(
        "".join(
            f"slot_counts {{\n  key: {slot}\n  value: {n}\n}}\n"
            for slot, n in ((1, 20), (2, 5), (7, 10), (9, 812))
        )
    )
    for command in (["ckpt-info", "--check"], ["ckpt-info"]):
        done = call(*command, model)
        assert done.code == 0
        assert "slot 9: all 812 gone or expired" in done.err
        done = call(*command, "--strict", "--json", model)
        message = error_of(done, 1, "different")["message"]
        assert message == (
            f"{model}/ckpt.info-30: slot 9: all 812 gone or expired; look for files of tables first"
        )
        assert "--force" not in done.err
    document = call("ckpt-info", "--check", "--json", model).document
    assert document["check"]["verdict"] == "more"


def test_a_check_of_many_tables_says_what_it_compared(multi: Path) -> None:
    call("ckpt-info", multi)
    assert (multi / "ckpt.info-30").read_text() == (
        'feature_counts {\n  key: "item"\n  value: 10\n}\n'
        'feature_counts {\n  key: "user"\n  value: 29\n}\n'
    )
    done = call("ckpt-info", "--check", multi)
    assert (done.code, done.err) == (0, "")
    assert "(of multi tables the contents files; their data was not read)" in done.out
    check = call("ckpt-info", "--check", "--json", multi).document["check"]
    assert (check["verdict"], check["compared"]) == ("same", "contents")
    check = call("ckpt-info", "--check", "--json", "--scan", multi).document["check"]
    assert (check["verdict"], check["compared"]) == ("same", "entries")
    # As it was written before, with slots of single tables besides.
    with (multi / "ckpt.info-30").open("a") as file:
        file.write("slot_counts {\n  key: 3\n  value: 6\n}\n")
    assert call("ckpt-info", "--check", multi).code == 0


def test_the_counts_of_rank_0(tmp_path: Path) -> None:
    """In full sync training rank 0 alone writes the file, of its own tables."""
    singles = {"t_0": entries(1, 5), "t_1": entries(1, 7) + entries(2, 1), "t_10": entries(3, 2)}
    write_model_dir(tmp_path / "a", 30, singles=singles, tf=True)
    (tmp_path / "a" / "ckpt.info-30").write_text("slot_counts {\n  key: 1\n  value: 5\n}\n")
    multis = {"emb_0": {"user": USER}, "emb_1": {"user": ITEM}}
    write_model_dir(tmp_path / "b", 30, multis=multis, tf=True)
    counts = 'feature_counts {\n  key: "user"\n  value: 25\n}\n'
    (tmp_path / "b" / "ckpt.info-30").write_text(counts)
    for name in "ab":
        done = call("ckpt-info", "--check", "--json", tmp_path / name)
        assert (done.code, done.document["check"]["verdict"]) == (0, "rank_0")
        assert "the file has the tables of rank 0 alone" in done.err
        assert call("ckpt-info", tmp_path / name).code == 0
    assert (tmp_path / "b" / "ckpt.info-30").read_text() == counts


# --- copies ---------------------------------------------------------------------------------


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Twelve servers with ten entries each, copied by `<table>*`: `_1` takes `_10` and `_11`."""
    assets = tmp_path / "assets"
    for server in range(12):
        write_single_table(assets, f"user_{server}", entries(1, 10, 100 * server), tf=True)
    for server in range(12):
        directory = tmp_path / "export" / f"ps_{server}" / "5" / "assets"
        directory.mkdir(parents=True)
        for path in assets.glob(f"user_{server}*"):
            shutil.copy(path, directory)
    return tmp_path / "export"


def test_copies_are_read_once(export: Path) -> None:
    done = call("ckpt-info", "--json", export)
    assert (done.code, done.document["entries"], len(names_of(done))) == (0, 120, 12)
    assert done.document["slot_counts"] == {"1": 120}
    note = (
        "2 dumps are in several servers' assets, in files of the same size: read once; only a scan"
        " compares their bytes\n"
    )
    assert done.err.count(note) == 1
    done = call("ckpt-info", "--scan", "--json", export)
    assert (done.code, done.document["entries"]) == (0, 120)
    assert "tables, all verified but for copies\n" in call("ckpt-info", export).out
    assert "tables, all verified\n" in call("ckpt-info", "--scan", export).out
    assert call("table", "get", "--json", export, 1 << 48 | 1005).out.count("\n") == 1
    assert call("table", "dump", export).out.count("\n") == 120
    tables = call("table", "ls", "--json", export).document
    assert {(table["entries"], table["shards"]) for table in tables} == {(10, 1)}
    assert call("ckpt", "show", "--json", export).document["table_bytes"] == sum(
        path.stat().st_size for path in (export.parent / "assets").iterdir()
    )


def test_copies_that_differ(export: Path) -> None:
    original = export / "ps_1" / "5" / "assets" / "user_10-00000-of-00001"
    copy = export / "ps_10" / "5" / "assets" / "user_10-00000-of-00001"
    data = original.read_bytes()
    copy.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    # The sizes are those of copies: only a scan reads both.
    assert call("ckpt-info", export).code == 0
    done = call("ckpt-info", "--scan", "--json", export)
    error = error_of(done, 4, "copies_differ")
    assert (error["file"], error["offset"]) == (str(copy), len(data) - 1)
    assert str(original) in error["message"]
    assert len(done.document["problems"]) == 1
    report = call("ckpt-info", "--scan", export).out
    assert "\n120 entries in 12 tables\n" in report
    assert report.endswith("\ncounted, though bytes differ: 1 copy\n")
    copy.write_bytes(b"")
    for command in COMMANDS:
        error = (
            error_of(call(*command, "--json", export), 4, "copies_differ")
            if ("--check" not in command)
            else {"file": str(copy), "message": str(original)}
        )
        assert error["file"] == str(copy)
        assert str(original) in error["message"]
    assert call("ckpt-info", "--json", export).document["entries"] == 110


def test_damage_that_another_server_may_have_sound(export: Path) -> None:
    path = export / "ps_1" / "5" / "assets" / "user_10-00000-of-00001"
    copy = export / "ps_10" / "5" / "assets" / "user_10-00000-of-00001"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reading: list[list[str]] = [["ckpt-info"], ["table", "ls"], ["table", "dump"], ["table", "get"]]
    for command in reading:
        fids = [1] if command[-1] == "get" else []
        message = error_of(call(*command, "--json", export, *fids), 4, "bad_data_crc")["message"]
        assert message.startswith(f"{path}: damaged: ")
        assert f"; restore the file, perhaps from '{copy}', a copy of the same size, or" in message
        done = call(*command, "--on-corrupt", "skip", export, *fids)
        what = f"Warning: {path}: '{copy}' is a copy of the same size, which may be sound\n"
        assert (done.code, done.err.count(what)) == (4, 1)


def test_parts_of_a_multi_table_are_no_copies(tmp_path: Path) -> None:
    for server in range(2):
        assets = tmp_path / f"ps_{server}" / "5" / "assets"
        write_multi_table(assets, f"emb_{server}", {"user": entries(1, 10, 10 * server)}, tf=True)
        write_multi_table(assets, "all", {"item": ITEM}, tf=True)
    done = call("ckpt-info", "--json", tmp_path)
    assert done.document["feature_counts"] == {"item": 10, "user": 20}
    done = call("ckpt-info", "--json", "--scan", tmp_path)
    assert (done.code, done.document["entries"]) == (0, 30)


# --- what the training system cannot restore ------------------------------------------------


def test_leftovers_are_warnings(model: Path) -> None:
    leftover = assets_of(model) / "MonolithHashTable_user-00000-of-00002-tmp-3f2a"
    leftover.write_bytes(b"")
    write_single_table(assets_of(model), "MonolithHashTable_item-x", entries(5, 1), tf=True)
    for command in [*COMMANDS[4:], ["ckpt-info", "--dry-run"], ["ckpt-info"]]:
        done = call(*command, model)
        assert done.code == 0
        warnings = [line for line in done.err.splitlines() if line.startswith("Warning: ")]
        assert len(warnings) == 2, done.err
        assert warnings[0].startswith(f"Warning: {leftover}: the training system mistakes it for a")
        assert warnings[0].endswith("; remove this file")
        assert "/MonolithHashTable_item-x-00000-of-00001: " in warnings[1]
        assert str(leftover) not in done.out


def test_a_data_file_of_many_tables_that_is_a_pointer(tmp_path: Path) -> None:
    """What git-lfs leaves in place of a large file is named, not taken for damage."""
    assets = write_model_dir(
        tmp_path / "m",
        300,
        multis={"mt": {"a": [put_fixed64(1, n) for n in range(3000)]}},
        shards=1,
    )
    (assets / "mt-00000-of-00001").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
    )
    for command in (("ckpt-info",), ("table", "ls")):
        done = call(*command, "--json", tmp_path / "m")
        assert (done.code, done.error["kind"]) == (4, "not_records")
        assert "this is a git-lfs pointer" in done.error["message"]
        assert "--on-corrupt" not in done.error["message"]
    assert (
        "mt-00000-of-00001: this is a git-lfs pointer" in call("ckpt", "show", tmp_path / "m").err
    )
