"""The local store: what it says of files, and how it reads, writes and removes them."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from monolith_cli.errors import (
    AlreadyExistsError,
    ChangedWhileReadError,
    NotReadableError,
    PathNotFoundError,
    StateFileError,
    UsageError,
    WriteError,
)
from monolith_cli.storage.local import LOCAL, LocalStore
from monolith_cli.storage.protocols import Store
from monolith_cli.storage.store import store_of

store: Store = LOCAL


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ENDLESS = [make_pipe, make_socket, make_device]

# --- which store ------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["", "a", "/a", "a:b", "./s3://bucket/a", "a/s3://bucket"])
def test_paths_are_local(location: str) -> None:
    assert store_of(location) is LOCAL


@pytest.mark.parametrize("scheme", ["s3", "gs", "hdfs", "HTTP", "nonsense"])
def test_a_scheme_that_nobody_knows(scheme: str) -> None:
    with pytest.raises(UsageError) as caught:
        store_of(f"{scheme}://bucket/a")
    assert str(caught.value) == (
        f"{scheme}://bucket/a: no store is known for {scheme.lower()}://;"
        f" give a path; './{scheme}://bucket/a' is one"
    )


# --- looking ----------------------------------------------------------------------------------


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12345")
    (tmp_path / "a").mkdir()
    (tmp_path / "c").symlink_to("nowhere")
    assert store.names(str(tmp_path)) == ["a", "b", "c"]
    a, b, c = store.items(str(tmp_path))
    assert [item.location for item in (a, b, c)] == [f"{tmp_path}/{name}" for name in "abc"]
    assert (a.name, a.status().kind) == ("a", "directory")
    assert (b.status().kind, b.status().size) == ("file", 5)
    assert b.status().modified_ns == (tmp_path / "b").stat().st_mtime_ns
    assert b.status().modified == (tmp_path / "b").stat().st_mtime
    with pytest.raises(PathNotFoundError):
        c.status()
    assert store.status(c.location, follow=False).kind == "link"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = os.path.join(str(tmp_path), os.fsdecode(b"\xff"))
    store.put(path, b"x")
    assert store.names(str(tmp_path)) == ["\udcff"]
    assert store.read(path) == b"x"
    with store.open(path) as file:
        assert file.local_path == os.fsencode(tmp_path) + b"/\xff"


def test_directories_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PathNotFoundError, match="no such directory"):
        store.names(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(PathNotFoundError, match="a file in place of a directory"):
        store.items(str(tmp_path / "file"))

    def refuse(path: str) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(NotReadableError) as caught:
        store.names(str(tmp_path))
    assert caught.value.what == "not readable: Permission denied"
    assert caught.value.reason == "Permission denied"
    assert caught.value.hint == "get permission to read it"


def test_what_is_there(tmp_path: Path) -> None:
    file, directory, link = (str(tmp_path / name) for name in ("file", "directory", "link"))
    Path(file).touch()
    Path(directory).mkdir()
    Path(link).symlink_to("nowhere")
    seen = [(store.exists(x), store.is_file(x), store.is_directory(x)) for x in (file, directory)]
    assert seen == [(True, True, False), (True, False, True)]
    assert (store.exists(link), store.is_file(link)) == (True, False)
    assert not store.exists(file + "/below")
    assert not store.exists("a\0b")
    assert store.is_same(directory, f"{directory}/../directory")
    assert not store.is_same(directory, file)
    assert not store.is_same(directory, link)
    with pytest.raises(PathNotFoundError, match="no such file"):
        store.status(file + "/below")


def test_the_version_pins_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = store.status(str(path)).version
    assert store.status(str(path)).version == before
    assert hash(before) is not None
    os.utime(path, ns=(0, 0))
    assert store.status(str(path)).version != before
    store.put(str(path), b"two")
    os.utime(path, ns=(0, 0))
    assert store.status(str(path)).version != before


# --- reading ----------------------------------------------------------------------------------


def test_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    data, status = store.read_with_status(str(path), 5)
    assert (data, status.kind, status.size) == (b"12345", "file", 5)
    assert status.version == store.status(str(path)).version
    with pytest.raises(StateFileError, match=r"too large for such a file, at byte 4"):
        store.read(str(path), 4)
    with pytest.raises(PathNotFoundError, match="a directory in place of a file"):
        store.read(str(tmp_path))
    with pytest.raises(PathNotFoundError, match="no such file"):
        store.read(str(path / "below"))


@pytest.mark.parametrize("make", ENDLESS)
def test_what_may_never_end_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "odd"
    make(path)
    with pytest.raises(NotReadableError):
        store.read(str(path))
    with pytest.raises(NotReadableError, match="not readable: not a regular file"):
        store.open(str(path))


def test_ranges(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with store.open(str(path)) as file:
        assert (file.size, file.version) == (10, store.status(str(path)).version)
        assert [file.read(2, 3), file.read(8, 5), file.read(10, 1), file.read(99, 1)] == [
            b"234",
            b"89",
            b"",
            b"",
        ]
        assert file.read(4, 0) == b""
        buffer = bytearray(4)
        assert (file.read_into(3, buffer), buffer) == (4, b"3456")
        assert (file.read_into(8, buffer), buffer) == (2, b"8956")
        assert (file.read_into(10, buffer), file.read_into(0, bytearray())) == (0, 0)


def test_reads_that_the_system_cuts_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda file, size, offset: pread(file, min(size, 3), offset))
    monkeypatch.setattr(
        os, "preadv", lambda file, views, offset: preadv(file, [views[0][:3]], offset)
    )
    with store.open(str(path)) as file:
        assert file.read(1, 8) == b"12345678"
        assert file.read(1, 99) == b"123456789"
        buffer = bytearray(8)
        assert (file.read_into(1, buffer), buffer) == (8, b"12345678")


@pytest.mark.parametrize("call", ["pread", "preadv", "open"])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def fail(*args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with store.open(str(path)) as file:
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(NotReadableError, match="not readable: Input/output error"):
            file.read_into(0, bytearray(1)) if call == "preadv" else file.read(0, 1)
        monkeypatch.undo()


def test_a_file_that_is_replaced_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    with store.open(str(path)) as file:
        store.put(str(path), b"two")
        with pytest.raises(ChangedWhileReadError, match="changed while it was read"):
            file.read(0, 3)
    with store.open(str(path)) as file:
        path.unlink()
        with pytest.raises(PathNotFoundError):
            file.read(0, 3)


def test_threads_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)))
    wrong: list[int] = []
    with store.open(str(path)) as file:

        def read() -> None:
            wrong.extend(i for i in range(256) if file.read(i, 1) != bytes([i]))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


# --- writing ----------------------------------------------------------------------------------


def test_files_are_put_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    store.put_if_absent(path, b"one")
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent(path, b"two")
    assert store.read(path) == b"one"
    store.put(path, b"three", mode=0o600)
    assert store.read(path) == b"three"
    assert os.stat(path).st_mode & 0o777 == 0o600
    with store.create(path) as file:
        file.write(b"fo")
        file.write(b"ur")
        assert store.read(path) == b"three"
    assert store.read(path) == b"four"
    assert store.names(str(tmp_path)) == ["file"]
    assert store.abilities == (True, True, True)


def test_directories(tmp_path: Path) -> None:
    one, other = str(tmp_path / "a" / "b"), str(tmp_path / "c")
    store.make_directory(one)
    store.make_directory(one)
    store.put(one + "/file", b"x")
    store.replace(one, other)
    assert store.names(other) == ["file"]
    with pytest.raises(PathNotFoundError):
        store.replace(one, other)
    store.make_directory(one)
    with pytest.raises(WriteError, match="not written: Directory not empty"):
        store.replace(one, other)
    assert store.delete(other)
    assert not store.delete(other)
    store.put(one + "/file", b"x")
    with pytest.raises(WriteError, match="directory not made"):
        store.make_directory(one + "/file")


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    assert store.delete(str(tmp_path / "link"))
    assert store.names(str(tmp_path)) == ["directory"]


def test_what_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(WriteError) as caught:
        store.delete(str(tmp_path / "file"))
    assert str(caught.value) == f"{tmp_path}/file: not removed: Permission denied"
    assert (caught.value.kind, caught.value.errno) == ("read_only", errno.EACCES)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    location = os.path.join(tmp_path, name)
    said = "no file can have that name"
    for write in (store.put, store.put_if_absent):
        with pytest.raises(WriteError, match=said):
            write(location, b"x")
    with pytest.raises(WriteError, match=said), store.create(location):
        pass
    with pytest.raises(WriteError, match=said):
        store.make_directory(location)
    with pytest.raises(WriteError, match=said):
        store.replace(str(tmp_path / "file"), location)
    assert not LOCAL.overwrite_in_place(location, b"x", lambda data: True)
    assert store.names(str(tmp_path)) == ["file"]


def test_writing_over_a_beginning(tmp_path: Path) -> None:
    local, path = LocalStore(), tmp_path / "file"
    assert not local.overwrite_in_place(str(path), b"x", lambda data: True)
    path.write_bytes(b"12345678")
    seen: list[bytes] = []

    def is_expected(data: bytes) -> bool:
        seen.append(data)
        return len(seen) > 1

    assert not local.overwrite_in_place(str(path), b"ab", is_expected)
    assert local.overwrite_in_place(str(path), b"ab", is_expected)
    assert (seen, path.read_bytes()) == ([b"1234", b"1234"], b"ab345678")


# --- links and syncing ------------------------------------------------------------------------


def test_a_file_gets_a_second_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "soft").symlink_to("a")
    for name in ("a", "soft"):
        store.link(str(tmp_path / name), str(tmp_path / f"{name}-2"))
        assert os.path.samestat(os.lstat(tmp_path / f"{name}-2"), os.stat(tmp_path / "a"))
    with pytest.raises(AlreadyExistsError):
        store.link(str(tmp_path / "a"), str(tmp_path / "soft"))
    with pytest.raises(PathNotFoundError):
        store.link(str(tmp_path / "none"), str(tmp_path / "b"))
    assert store.abilities.hard_links


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EXDEV, "not_linked"), (errno.EPERM, "not_linked"), (errno.ENOSPC, "no_space")],
)
def test_a_second_name_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a").write_bytes(b"1")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(WriteError, match="not linked") as caught:
        store.link(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (caught.value.kind, caught.value.errno) == (kind, number)


def test_many_files_are_synced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with store.create(str(tmp_path / "a"), sync=False) as file:
        file.write(memoryview(b"1"))
    assert (synced, (tmp_path / "a").read_bytes()) == ([], b"1")
    store.sync(str(tmp_path))
    with pytest.raises(WriteError, match="not synced"):
        store.sync(str(tmp_path / "none"))
    with store.create(str(tmp_path / "a")) as file:
        file.write(b"2")
    assert len(synced) == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc")
def test_a_file_that_says_nothing_of_its_size_is_read_whole() -> None:
    assert LOCAL.status("/proc/self/stat").size == 0
    assert LOCAL.read("/proc/self/stat").startswith(b"%d (" % os.getpid())
    with pytest.raises(StateFileError, match="too large"):
        LOCAL.read("/proc/self/stat", 3)
