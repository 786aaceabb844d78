"""The store that tests let die: it does what the local one does until then, and nothing after."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dying_store import Died, DyingStore, each_death, each_failure, each_hook, rehearse

from monolith_cli.errors import AlreadyExistsError, WriteError
from monolith_cli.storage.atomic import leftovers
from monolith_cli.storage.local import LOCAL, LocalStore
from monolith_cli.storage.protocols import Store
from monolith_cli.storage.store import store_of

READS = {
    "abilities",
    "exists",
    "is_directory",
    "is_file",
    "is_same",
    "items",
    "names",
    "open",
    "read",
    "read_with_status",
    "sizes",
    "status",
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A file, and a directory with three."""
    directory = tmp_path / "top"
    (directory / "inner").mkdir(parents=True)
    for name in ("file", "inner/a", "inner/b", "inner/c"):
        (directory / name).write_text("old")
    return directory


def names(directory: Path) -> list[str]:
    return sorted(os.path.relpath(path, directory) for path in directory.rglob("*"))


def create(location: str) -> None:
    with store_of(location).create(location) as file:
        file.write(b"n")
        file.write(b"ew")


CALLS: dict[str, Callable[[str], object]] = {
    "put": lambda top: store_of(top).put(f"{top}/file", b"new"),
    "put_if_absent": lambda top: store_of(top).put_if_absent(f"{top}/new", b"new"),
    "create": lambda top: create(f"{top}/file"),
    "replace": lambda top: store_of(top).replace(f"{top}/inner", f"{top}/other"),
    "rename_if_absent": lambda top: store_of(top).rename_if_absent(f"{top}/file", f"{top}/new"),
    "make": lambda top: store_of(top).make_directory(f"{top}/x/y"),
    "delete": lambda top: store_of(top).delete(f"{top}/inner"),
}


def test_every_call_of_a_store_is_known_to_change_something_or_not() -> None:
    """A new one that changes something must count here, or deaths before it are never tried."""
    for cls in (LocalStore, Store):
        calls = {name for name in vars(cls) if not name.startswith("_")}
        assert calls <= READS | set(vars(DyingStore))
    assert not READS & set(vars(DyingStore))


@pytest.mark.parametrize("call", CALLS)
def test_undisturbed_it_does_what_the_local_one_does(call: str, top: Path) -> None:
    other = top.with_name("other")
    other.mkdir()
    os.rename(top, other / "top")
    CALLS[call](str(other / "top"))
    (other / "again").mkdir()
    again = other / "again/top"
    (again / "inner").mkdir(parents=True)
    for name in ("file", "inner/a", "inner/b", "inner/c"):
        (again / name).write_text("old")
    changes = rehearse(lambda: CALLS[call](str(again)))
    assert [change.call for change in changes] == (
        ["create", "finish"] if call == "create" else [call]
    )
    assert names(again) == names(other / "top")
    for path in again.rglob("*"):
        if path.is_file():
            assert path.read_text() == (other / "top" / path.relative_to(again)).read_text()
    assert store_of(str(top)) is LOCAL


@pytest.mark.parametrize("call", CALLS)
def test_before_a_change_nothing_has_changed(call: str, top: Path) -> None:
    before = names(top)
    store = DyingStore(1)
    with store.installed():
        CALLS[call](str(top))
    assert store.is_dead
    assert names(top) == before
    assert (top / "file").read_text() == "old"


LEFT = {
    "put": [".file.tmp", "file", "inner", "inner/a", "inner/b", "inner/c"],
    "put_if_absent": [".new.tmp", "file", "inner", "inner/a", "inner/b", "inner/c"],
    "rename_if_absent": ["file", "inner", "inner/a", "inner/b", "inner/c", "new"],
    "make": ["file", "inner", "inner/a", "inner/b", "inner/c", "x"],
    "delete": ["file", "inner", "inner/c"],
}


@pytest.mark.parametrize("call", LEFT)
def test_in_the_middle_of_a_change(call: str, top: Path) -> None:
    with DyingStore(1, torn=True).installed():
        CALLS[call](str(top))
    left = dict(leftovers(os.listdir(top)))
    assert sorted(f".{left[n]}.tmp" if n in left else n for n in names(top)) == LEFT[call]
    for name in left:  # they are those of a process that is gone
        assert (top / name).read_bytes() == b"n"


def test_a_file_that_was_being_written(top: Path) -> None:
    for at, torn, data in ((2, False, b"new"), (2, True, b"n")):
        with DyingStore(at, torn=torn).installed():
            create(str(top / "file"))
        [(left, target)] = leftovers(os.listdir(top))
        assert ((top / left).read_bytes(), target) == (data, "file")
        assert (top / "file").read_text() == "old"
        os.unlink(top / left)


def test_after_its_death_nothing_changes_whatever_is_caught(top: Path) -> None:
    def act() -> None:
        store = store_of(str(top))
        try:
            store.delete(f"{top}/inner/a")
            store.put(f"{top}/file", b"new")
        finally:
            for call in CALLS.values():
                with pytest.raises(Died):
                    call(str(top))
            assert store.read(f"{top}/file") == b"old"

    with DyingStore(2).installed() as store:
        act()
    assert names(top) == ["file", "inner", "inner/b", "inner/c"]
    assert [(c.call, c.name) for c in store.changes] == [("delete", "a"), ("put", "file")]


def test_what_changes_nothing_does_not_count(top: Path) -> None:
    def act() -> None:
        store = store_of(str(top))
        store.make_directory(f"{top}/inner")
        assert not store.delete(f"{top}/none")
        with pytest.raises(AlreadyExistsError):
            store.put_if_absent(f"{top}/file", b"")
        with pytest.raises(AlreadyExistsError):
            store.rename_if_absent(f"{top}/inner/a", f"{top}/file")

    assert rehearse(act) == []


def test_a_full_disk_stays_full_and_lets_files_be_removed(top: Path) -> None:
    with DyingStore(2, error=errno.ENOSPC).installed() as store:
        store.put(f"{top}/one", b"1")
        for name in ("two", "three"):
            with pytest.raises(WriteError) as caught:
                store.put(f"{top}/{name}", b"")
            assert (caught.value.kind, caught.value.errno) == ("no_space", errno.ENOSPC)
        store.delete(f"{top}/file")
        store.replace(f"{top}/one", f"{top}/two")
    assert names(top) == ["inner", "inner/a", "inner/b", "inner/c", "two"]


def test_a_read_only_disk_and_an_error_that_comes_once(top: Path) -> None:
    before = names(top)
    with DyingStore(1, error=errno.EROFS).installed():
        for call in CALLS.values():
            with pytest.raises(WriteError) as caught:
                call(str(top))
            assert caught.value.kind == "read_only"
    assert names(top) == before
    with DyingStore(1, error=errno.EIO).installed() as store:
        with pytest.raises(WriteError) as caught:
            store.delete(f"{top}/file")
        assert str(caught.value) == f"{top}/file: not removed: Input/output error"
        assert store.delete(f"{top}/file")


def test_somebody_else_acts_before_a_change(top: Path) -> None:
    with DyingStore(2, hook=lambda: CALLS["delete"](str(top))).installed() as store:
        store.put(f"{top}/file", b"new")
        assert store.is_directory(f"{top}/inner")
        store.put(f"{top}/last", b"")
    assert names(top) == ["file", "last"]
    assert [change.name for change in store.changes] == ["file", "last"]


def test_each_death_and_each_failure(tmp_path: Path) -> None:
    top = tmp_path / "top"

    def prepare() -> None:
        LOCAL.delete(str(top))
        top.mkdir()

    def act() -> None:
        for call in ("put_if_absent", "make"):
            CALLS[call](str(top))

    seen = [(t.change.call, t.torn, len(names(top))) for t in each_death(prepare, act)]
    assert seen == [
        ("put_if_absent", False, 0),
        ("put_if_absent", True, 1),
        ("make", False, 1),
        ("make", True, 2),
    ]
    assert len(list(each_death(prepare, act, most=2))) == 2
    failures = list(each_failure(prepare, act, errno.EIO))
    assert [str(each.result) for each in failures] == [
        f"{top}/new: not written: Input/output error",
        f"{top}/x/y: not written: Input/output error",
    ]
    seen = []
    for each in each_hook(prepare, act, lambda: seen.append(names(top))):
        assert each.result is None
        assert names(top) == ["new", "x", "x/y"]
    assert seen == [[], ["new"]]
