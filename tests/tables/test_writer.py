"""Dumps that are written: what TensorFlow and protobuf read of them, and when they appear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dump_support as ds
import pytest
import tf_support
from memory_store import SCHEME, MemoryStore
from table_support import open_all

from monolith_cli import _native, messages
from monolith_cli.errors import AlreadyExistsError, PathNotFoundError, UsageError, WriteError
from monolith_cli.storage.local import LocalStore
from monolith_cli.storage.store import _stores
from monolith_cli.tables.writer import DumpWriter, ShardWriter

A = ds.random_entries(71, 30)
B = ds.random_entries(72, 12, segments=(("ftrl", 2),))
CUT = ds.cut_evenly(A, 3)


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """The assets of a checkpoint with another table."""
    return ds.write_model_dir(tmp_path / "model", singles={"other": B}, shards=1)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def write_single(assets: Path, shards: int = 3, *, overwrite: bool = False) -> None:
    with DumpWriter(assets, "t", shards, overwrite=overwrite) as dump:
        for number, part in enumerate(ds.cut_evenly(A, shards)):
            with dump.shard(number) as shard:
                for entry in part:
                    shard.write(entry)


def write_multi(assets: Path, *, overwrite: bool = False) -> DumpWriter:
    with DumpWriter(assets, "M", 2, multi=True, overwrite=overwrite) as dump:
        with dump.shard(0) as shard:
            shard.begin("a")
            shard.write_framed(_native.frame_records(A[:20]), 20)
            shard.begin("empty")
        with dump.shard(1) as shard:
            shard.begin("b")
            for entry in B:
                shard.write(entry)
            shard.begin("a")
            for entry in A[20:]:
                shard.write(entry)
    return dump


def test_a_table_of_its_own(assets: Path) -> None:
    write_single(assets)
    paths = [ds.shard_path(assets, "t", number, 3) for number in range(3)]
    assert names(assets) == ["other-00000-of-00001", *(path.name for path in paths)]
    assert [tf_support.read_records(path) for path in paths] == CUT
    assert list(open_all(assets.parent)["t"]) == A


def test_tables_that_share_files(assets: Path) -> None:
    dump = write_multi(assets)
    assert dump.counts == {"a": 30, "empty": 0, "b": 12}
    data = [ds.shard_path(assets, "M", number, 2) for number in range(2)]
    read = [tf_support.read_records(path, snappy=True) for path in data]
    assert read == [A[:20], B + A[20:]]
    contents = [
        [
            messages.MultiHashTableMetadata.FromString(record)
            for record in tf_support.read_records(ds.shard_path(assets, "M.meta", number, 2))
        ]
        for number in range(2)
    ]
    assert [[(each.table_name, each.num_entries) for each in some] for some in contents] == [
        [("a", 20), ("empty", 0), ("b", 0)],
        [("b", 12), ("a", 10), ("empty", 0)],
    ]
    tables = open_all(assets.parent)
    assert {name: list(table) for name, table in tables.items()} == {
        "other": B,
        "a": A,
        "b": B,
        "empty": [],
    }


def test_nothing_appears_before_the_end(assets: Path) -> None:
    with DumpWriter(assets, "t", 1) as dump:
        with dump.shard(0) as shard:
            shard.write(A[0])
        [staged, kept] = names(assets)
        assert staged.startswith(".t.")
        assert kept == "other-00000-of-00001"
        assert list(open_all(assets.parent)) == ["other"]
    assert names(assets) == ["other-00000-of-00001", "t-00000-of-00001"]


def write_and_fail(assets: Path, where: str) -> None:
    with DumpWriter(assets, "t", 2, overwrite=True) as dump:
        with dump.shard(0) as shard:
            shard.write(A[0])
            if where == "in a shard":
                raise RuntimeError
        if where == "between":
            raise RuntimeError


@pytest.mark.parametrize("where", ["in a shard", "between", "a shard too few"])
def test_nothing_appears_after_a_failure(assets: Path, where: str) -> None:
    write_single(assets)
    before = {path.name: path.read_bytes() for path in assets.iterdir()}
    with pytest.raises((RuntimeError, UsageError)):
        write_and_fail(assets, where)
    assert {path.name: path.read_bytes() for path in assets.iterdir()} == before


def write_while_somebody_else_is_faster(assets: Path) -> None:
    with DumpWriter(assets, "t", 1) as dump:
        with dump.shard(0) as shard:
            shard.write(A[0])
        ds.write_single_table(assets, "t", B)


def test_what_is_there_is_kept(assets: Path) -> None:
    write_multi(assets)
    before = {path.name: path.read_bytes() for path in assets.iterdir()}
    with pytest.raises(AlreadyExistsError, match="M-00000-of-00002: exists already"):
        write_multi(assets)
    with pytest.raises(AlreadyExistsError, match="t-00000-of-00001: exists already"):
        write_while_somebody_else_is_faster(assets)
    ds.shard_path(assets, "t", 0, 1).unlink()
    assert {path.name: path.read_bytes() for path in assets.iterdir()} == before


def test_an_old_dump_is_replaced_with_all_of_its_files(assets: Path) -> None:
    ds.write_multi_table(assets, "M", {"old": A[:7], "older": B}, 5)
    ds.write_single_table(assets, "M2", A[:3])
    write_multi(assets, overwrite=True)
    assert names(assets) == [
        "M-00000-of-00002",
        "M-00001-of-00002",
        "M.meta-00000-of-00002",
        "M.meta-00001-of-00002",
        "M2-00000-of-00001",
        "other-00000-of-00001",
    ]
    assert sorted(open_all(assets.parent)) == ["M2", "a", "b", "empty", "other"]
    write_single(assets, 1)
    write_single(assets, 3, overwrite=True)
    assert list(open_all(assets.parent)["t"]) == A


def test_tables_of_contents_go_first_and_come_last(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_multi(assets)
    done: list[tuple[str, str]] = []
    delete, replace = LocalStore.delete, LocalStore.replace

    def deleted(store: LocalStore, location: str) -> bool:
        done.append(("-", os.path.basename(location)))
        return delete(store, location)

    def replaced(store: LocalStore, source: str, target: str) -> None:
        done.append(("+", os.path.basename(target)))
        replace(store, source, target)

    monkeypatch.setattr(LocalStore, "delete", deleted)
    monkeypatch.setattr(LocalStore, "replace", replaced)
    write_multi(assets, overwrite=True)
    data = ["M-00000-of-00002", "M-00001-of-00002"]
    contents = ["M.meta-00000-of-00002", "M.meta-00001-of-00002"]
    assert done[:-1] == [("-", n) for n in contents + data] + [("+", n) for n in data + contents]


def test_a_failure_in_the_middle_of_a_replacement_says_where_the_new_files_are(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_single(assets, 1)
    replace = LocalStore.replace

    def refused(store: LocalStore, source: str, target: str) -> None:
        if target.endswith("00001-of-00003"):
            raise WriteError("not written: Input/output error", path=target)
        replace(store, source, target)

    monkeypatch.setattr(LocalStore, "replace", refused)
    with pytest.raises(WriteError) as caught:
        write_single(assets, 3, overwrite=True)
    [staged] = [name for name in names(assets) if name.startswith(".")]
    assert caught.value.hint == f"what was to take the old dump's place is in '{assets / staged}'"
    assert names(assets / staged) == [f"t-0000{number}-of-00003" for number in range(3)]
    assert names(assets) == [staged, "other-00000-of-00001"]


def test_a_failure_while_files_appear_takes_them_back(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("replace", "rename_if_absent"):
        move = getattr(LocalStore, method)

        def interrupted(
            store: LocalStore, source: str, target: str, move: Callable[..., None] = move
        ) -> None:
            move(store, source, target)
            if target.endswith("assets/M-00001-of-00002"):
                raise KeyboardInterrupt

        monkeypatch.setattr(LocalStore, method, interrupted)
    for overwrite in (False, True):
        with pytest.raises(KeyboardInterrupt):
            write_multi(assets, overwrite=overwrite)
        assert names(assets) == ["other-00000-of-00001"]


def test_an_interrupt_while_a_file_has_two_names(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(store: LocalStore, source: str, target: str) -> None:
        os.link(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStore, "rename_if_absent", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_single(assets)
    assert names(assets) == ["other-00000-of-00001"]


def test_a_file_that_appears_at_the_last_moment_is_kept(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, theirs = LocalStore.rename_if_absent, assets / "t-00001-of-00003"

    def too_late(store: LocalStore, source: str, target: str) -> None:
        if target == str(theirs):
            theirs.write_bytes(b"theirs")
        rename(store, source, target)

    monkeypatch.setattr(LocalStore, "rename_if_absent", too_late)
    with pytest.raises(AlreadyExistsError, match="t-00001-of-00003: exists already"):
        write_single(assets)
    assert names(assets) == ["other-00000-of-00001", theirs.name]
    assert theirs.read_bytes() == b"theirs"


def test_a_directory_of_that_name_is_kept(assets: Path) -> None:
    inner = assets / "t-00001-of-00003"
    inner.mkdir()
    (inner / "mine").write_bytes(b"mine")
    with pytest.raises(AlreadyExistsError, match="a directory in place of a file"):
        write_single(assets, overwrite=True)
    assert (inner / "mine").read_bytes() == b"mine"
    assert names(assets) == ["other-00000-of-00001", inner.name]


def test_two_writers_of_a_table_in_one_process(assets: Path) -> None:
    with DumpWriter(assets, "t", overwrite=True) as first, first.shard(0) as shard:
        shard.write(A[0])
        with DumpWriter(assets, "t", overwrite=True) as second, second.shard(0) as other:
            other.write(A[1])
        assert list(open_all(assets.parent)["t"]) == [A[1]]
    assert list(open_all(assets.parent)["t"]) == [A[0]]
    assert names(assets) == ["other-00000-of-00001", "t-00000-of-00001"]


@pytest.mark.parametrize(
    "base",
    ["", "../x", "a/b", "/x", "a:b", ".hidden", "x.meta", "nul\0", "\ud800"],
)
def test_a_name_that_no_reader_would_find_again(assets: Path, base: str) -> None:
    for multi in (False, True):
        with pytest.raises(UsageError, match="no dump can be named"):
            DumpWriter(assets, base, multi=multi)


@pytest.mark.parametrize("base", ["a-00000-of-00001", "a b", "ä", "\udcff", "a.metal", "t.x"])
def test_an_odd_name(assets: Path, base: str) -> None:
    with DumpWriter(assets, base) as dump, dump.shard(0) as shard:
        shard.write(A[0])
    assert list(open_all(assets.parent)[base]) == [A[0]]


def test_a_store_in_which_files_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_stores, SCHEME, MemoryStore())
    with pytest.raises(UsageError, match="where files keep their names"):
        DumpWriter("memory://bucket/top", "t")


def test_what_a_killed_writer_has_left_is_removed(assets: Path) -> None:
    script = (
        "import os, signal, sys; from monolith_cli.tables.writer import DumpWriter\n"
        "with DumpWriter(sys.argv[1], 't') as dump, dump.shard(0) as shard:\n"
        "    shard.write(b'')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-I", "-c", script, assets], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert names(assets)[0].startswith(".t.")
    assert list(open_all(assets.parent)) == ["other"]
    write_single(assets, 1)
    assert names(assets) == ["other-00000-of-00001", "t-00000-of-00001"]


def begin_twice(shard: ShardWriter) -> None:
    shard.begin("a")
    shard.begin("a")


def test_what_makes_no_sense(assets: Path) -> None:
    with pytest.raises(UsageError, match="0 shards"):
        DumpWriter(assets, "t", 0)
    with pytest.raises(PathNotFoundError), DumpWriter(assets / "none", "t"):
        pass
    with pytest.raises(UsageError, match="no shard 1 of 1"), DumpWriter(assets, "t") as dump:
        dump.shard(1)
    with (
        pytest.raises(UsageError, match="no table 'a' in the files of another"),
        DumpWriter(assets, "t") as dump,
        dump.shard(0) as shard,
    ):
        shard.begin("a")
    with (
        pytest.raises(UsageError, match="table 'a' comes twice"),
        DumpWriter(assets, "M", multi=True) as dump,
        dump.shard(0) as shard,
    ):
        begin_twice(shard)
    with (
        pytest.raises(UsageError, match="entries of no table: begin one first"),
        DumpWriter(assets, "M", multi=True) as dump,
        dump.shard(0) as shard,
    ):
        shard.write(A[0])
    assert names(assets) == ["other-00000-of-00001"]
