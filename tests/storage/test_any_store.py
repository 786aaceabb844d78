"""What every store has to pass. A new one becomes a parameter of the fixture `place`."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from memory_store import MemoryStore

from monolith_cli.errors import (
    AlreadyExistsError,
    ChangedWhileReadError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.storage.local import LOCAL
from monolith_cli.storage.location import join
from monolith_cli.storage.protocols import OpenFile, Store


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    """A store, and a location in it below which nothing is yet."""
    if request.param == "local":
        return LOCAL, str(tmp_path)
    return MemoryStore(), "memory://bucket/top"


def test_what_is_put_is_listed_and_read(place: tuple[Store, str]) -> None:
    store, top = place
    inner = join(top, "inner")
    store.make_directory(inner)
    store.put(join(top, "b"), b"12345")
    store.put(join(inner, "a"), b"")
    assert store.names(top) == ["b", "inner"]
    file, directory = store.items(top)
    assert (file.name, file.location) == ("b", join(top, "b"))
    assert (file.status().kind, file.status().size) == ("file", 5)
    assert directory.status().kind == "directory"
    assert store.read(file.location) == b"12345"
    assert store.names(inner) == ["a"]
    seen = [
        (store.exists(x), store.is_file(x), store.is_directory(x)) for x in (file.location, inner)
    ]
    assert seen == [(True, True, False), (True, False, True)]


def test_sizes(place: tuple[Store, str]) -> None:
    store, directory = place
    for name, data in (("b", b"12"), ("a", b""), ("c/d", b"1")):
        store.make_directory(f"{directory}/c")
        store.put(f"{directory}/{name}", data)
    assert list(store.sizes(directory).items()) == [("a", 0), ("b", 2), ("c", None)]
    with pytest.raises(PathNotFoundError):
        store.sizes(f"{directory}/nothing")


def test_names_stay_as_they_are(place: tuple[Store, str]) -> None:
    store, top = place
    names = sorted(["a b", "a?b#c", "%2F", "a'b\"c", "[a]*", "a\\b", "\udcff", "a\nb"])
    for name in names:
        store.put(join(top, name), name.encode("utf-8", "surrogateescape"))
    assert store.names(top) == names
    assert store.read(join(top, "a?b#c")) == b"a?b#c"
    assert store.read(join(top, "\udcff")) == b"\xff"


def test_what_is_not_there(place: tuple[Store, str]) -> None:
    store, top = place
    store.put(join(top, "file"), b"x")
    nowhere = join(top, "none")
    for look in (store.names, store.items, store.status, store.open, store.read):
        with pytest.raises(PathNotFoundError) as caught:
            look(nowhere)
        assert caught.value.path == nowhere
    with pytest.raises(PathNotFoundError):
        store.names(join(top, "file"))
    assert not store.exists(nowhere)
    assert not store.is_file(nowhere)
    assert not store.is_directory(nowhere)
    assert not store.delete(nowhere)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_has(place: tuple[Store, str], name: str) -> None:
    store, top = place
    store.put(join(top, "file"), b"x")
    location = join(top, name)
    for look in (store.names, store.items, store.status, store.open, store.read):
        with pytest.raises(PathNotFoundError) as caught:
            look(location)
        assert caught.value.path == location
    with pytest.raises(PathNotFoundError):
        store.status(location, follow=False)
    assert not store.exists(location)
    assert not store.is_file(location)
    assert not store.is_directory(location)
    assert not store.is_same(location, join(top, "file"))
    assert not store.delete(location)


def test_a_small_file_has_a_limit(place: tuple[Store, str]) -> None:
    store, top = place
    location = join(top, "file")
    store.put(location, b"12345")
    data, status = store.read_with_status(location, 5)
    assert (data, status.size, status.version) == (b"12345", 5, store.status(location).version)
    with pytest.raises(StateFileError, match="too large"):
        store.read(location, 4)


def test_ranges(place: tuple[Store, str]) -> None:
    store, top = place
    location = join(top, "file")
    store.put(location, b"0123456789")
    with store.open(location) as file:
        assert (file.size, file.version) == (10, store.status(location).version)
        assert [file.read(2, 3), file.read(8, 5), file.read(10, 1)] == [b"234", b"89", b""]
        buffer = bytearray(4)
        assert (file.read_into(3, buffer), buffer) == (4, b"3456")
        assert (file.read_into(8, buffer), buffer[:2]) == (2, b"89")


def test_an_open_file_is_pinned(place: tuple[Store, str]) -> None:
    store, top = place
    location = join(top, "file")
    store.put(location, b"one")
    before = store.status(location).version
    with store.open(location) as file:
        file.check_unchanged()
        store.put(location, b"two")
        with pytest.raises(ChangedWhileReadError):
            file.check_unchanged()
        with pytest.raises(ChangedWhileReadError):
            file.read(0, 3)
    assert store.status(location).version != before
    with store.open(location) as file:
        store.delete(location)
        with pytest.raises(PathNotFoundError):
            file.read(0, 3)


def write_half(store: Store, location: str) -> None:
    with store.create(location) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_files_appear_whole(place: tuple[Store, str]) -> None:
    store, top = place
    location = join(top, "file")
    store.put_if_absent(location, b"one")
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent(location, b"two")
    with store.create(location) as file:
        file.write(b"th")
        file.write(b"ree")
        assert store.read(location) == b"one"
    assert store.read(location) == b"three"
    with pytest.raises(ZeroDivisionError):
        write_half(store, location)
    with pytest.raises(AlreadyExistsError), store.create(location, overwrite=False) as file:
        file.write(b"other")
    assert store.read(location) == b"three"
    assert store.names(top) == ["file"]


def test_a_directory_goes_with_what_is_in_it(place: tuple[Store, str]) -> None:
    store, top = place
    inner = join(top, "inner")
    store.make_directory(inner)
    store.put(join(inner, "a"), b"x")
    store.put(join(top, "inner-2"), b"x")
    assert store.delete(inner)
    assert store.names(top) == ["inner-2"]


def test_threads_share_a_file(place: tuple[Store, str]) -> None:
    store, top = place
    location = join(top, "file")
    store.put(location, bytes(range(256)))
    wrong: list[int] = []
    with store.open(location) as file:

        def read() -> None:
            wrong.extend(i for i in range(256) if file.read(i, 1) != bytes([i]))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_contributing_names_what_an_open_file_has() -> None:
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    said = text.partition("`open` returns")[2].partition(". The native core")[0]
    members = {name for name in vars(OpenFile) if not name.startswith("_")}
    assert members == set(re.findall(r"`(\w+)`", said)) - {"OpenFile"}
