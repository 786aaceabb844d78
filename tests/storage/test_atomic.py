"""Files are there whole or not at all, whatever fails or interrupts the writing."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from monolith_cli.errors import AlreadyExistsError, WriteError
from monolith_cli.storage.atomic import AtomicFile, atomic_write


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-7"
    atomic_write(path, b"one")
    assert path.read_bytes() == b"one"
    atomic_write(path, b"")
    assert path.read_bytes() == b""
    assert names(tmp_path) == ["ckpt.info-7"]


def test_a_relative_path_without_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atomic_write("here", b"x")
    assert names(tmp_path) == ["here"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_an_existing_file_stays_without_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    path = tmp_path / "file"
    atomic_write(path, b"first", overwrite=False)
    with pytest.raises(AlreadyExistsError) as caught:
        atomic_write(path, b"second", overwrite=False)
    assert caught.value.path == str(path)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_the_mode_follows_the_umask_and_not_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    for umask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            atomic_write(path, b"new")
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == mode


def test_a_symbolic_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"elsewhere")
    link = tmp_path / "link"
    link.symlink_to(target)
    atomic_write(link, b"new")
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert target.read_bytes() == b"elsewhere"


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(AlreadyExistsError):
        atomic_write(link, b"new", overwrite=False)
    assert names(tmp_path) == ["link"]


def failing(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "no_space"),
        (errno.EDQUOT, "no_space"),
        (errno.EROFS, "read_only"),
        (errno.EACCES, "read_only"),
        (errno.EIO, "not_written"),
    ],
)
def test_a_failure_keeps_the_old_file_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(WriteError) as caught:
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert caught.value.kind == kind
    assert caught.value.errno == number
    assert str(caught.value) == f"{path}: not written: {os.strerror(number)}"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_interrupt_keeps_the_old_file_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_file_size_limit_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import sys\n"
        "from monolith_cli.errors import WriteError\n"
        "from monolith_cli.storage.atomic import AtomicFile, atomic_write\n"
        "try:\n"
        "    atomic_write(sys.argv[1], bytes(100_000))\n"
        "except WriteError as error:\n"
        "    print(error.kind, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        cwd=tmp_path,  # in the checkout, Python would write its sources' bytecode, cut off
    )
    assert done.stdout == f"file_too_large {path}: not written: File too large\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "directory").mkdir()
    for path in ("absent/file", "file/below", "directory", "x" * 300):
        with pytest.raises(WriteError) as caught:
            atomic_write(tmp_path / path, b"new")
        assert caught.value.path == str(tmp_path / path)
    assert names(tmp_path) == ["directory", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(WriteError) as caught:
            atomic_write(tmp_path / "file", b"new")
    finally:
        tmp_path.chmod(0o755)
    assert caught.value.kind == "read_only"


def test_the_temporary_name_is_hidden_and_beside_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(names(tmp_path)))
    atomic_write(tmp_path / "t-00000-of-00001", b"new")
    (temporary,) = seen
    assert temporary.startswith(f".t-00000-of-00001.{os.getpid()}.")
    assert temporary.endswith(".tmp")


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 200_000 for number in range(8)]
    threads = [threading.Thread(target=atomic_write, args=(path, data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["file"]


def test_of_writers_that_may_not_overwrite_exactly_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "file"
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            atomic_write(path, bytes([number]), overwrite=False)
            outcomes.append("written")
        except AlreadyExistsError:
            outcomes.append("exists")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["exists"] * 7 + ["written"]
    assert names(tmp_path) == ["file"]


# --- AtomicFile: written piece by piece -----------------------------------------------------


def test_pieces_in_order(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with AtomicFile(path) as file:
        for number in range(100):
            file.write(bytes([number]) * 10_000)
        file.write(b"")
        assert not path.exists()
    assert path.read_bytes() == b"".join(bytes([number]) * 10_000 for number in range(100))
    assert names(tmp_path) == ["file"]


def test_nothing_written_is_an_empty_file(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_exception_in_the_block_comes_through(
    tmp_path: Path, error: type[BaseException], old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def fail() -> None:
        with AtomicFile(path) as file:
            file.write(b"half of it")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_no_space_half_way(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fill_the_disk() -> None:
        with AtomicFile(path) as file:
            file.write(b"fits")  # and then the disk is full
            file._file.close()
            file._file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
            file.write(b"does not")

    with pytest.raises(WriteError) as caught:
        fill_the_disk()
    assert caught.value.kind == "no_space"
    assert str(caught.value) == f"{path}: not written: No space left on device"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_name_that_is_taken_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def race() -> None:
        with AtomicFile(path, overwrite=False) as file:
            file.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(AlreadyExistsError):
        race()
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["file"]
