"""Whole sets of shards, what keeps a set from being whole, and copies of one in several places."""

from __future__ import annotations

from pathlib import Path

import pytest

from monolith_cli.checkpoint.assets import AssetsListing, list_assets
from monolith_cli.checkpoint.copies import compare_copies
from monolith_cli.checkpoint.shard_set import BrokenSet, ShardSet
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    ShardMismatchError,
)


def make(directory: Path, *names: str) -> str:
    for name in names:
        (directory / name).write_bytes(name.encode())
    return str(directory)


def shards(base: str, total: int) -> list[str]:
    return [f"{base}-{number:05d}-of-{total:05d}" for number in range(total)]


def only_broken(listing: AssetsListing) -> BrokenSet:
    [broken] = listing.broken
    with pytest.raises(CorruptionError) as caught:
        listing.require_whole()
    assert caught.value is broken.error
    return broken


def test_sets_of_every_kind(tmp_path: Path) -> None:
    directory = make(
        tmp_path,
        *shards("t_10", 1),
        *shards("t_2", 12),
        *shards("multi", 2),
        *shards("multi.meta", 2),
        *shards("hash_filter_0", 3),
    )
    listing = list_assets(directory)
    assert list(listing.singles) == ["t_2", "t_10"]
    assert listing.singles["t_2"] == ShardSet(
        directory, "t_2", [f"{directory}/{name}" for name in shards("t_2", 12)]
    )
    data, meta = listing.multis["multi"]
    assert (data.base, meta.base) == ("multi", "multi.meta")
    assert [len(data.paths), len(meta.paths)] == [2, 2]
    assert list(listing.hash_filters) == ["hash_filter_0"]
    assert (listing.broken, listing.ignored, listing.warnings) == ([], [], [])
    listing.require_whole()
    assert data.stored_bytes == 2 * len("multi-00000-of-00002")


def test_an_empty_directory_has_no_sets(tmp_path: Path) -> None:
    assert list_assets(str(tmp_path)) == ({}, {}, {}, [], [], [], {}, [], {})


def test_one_name_may_begin_another(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("t", 1), *shards("t_1", 2), *shards("t-1", 3))
    found = list_assets(directory).singles
    assert {base: len(each.paths) for base, each in found.items()} == {"t": 1, "t_1": 2, "t-1": 3}


def test_other_files_are_ignored(tmp_path: Path) -> None:
    others = ["notes.txt", ".t-00000-of-00001.7.3f2a.tmp"]
    listing = list_assets(make(tmp_path, *shards("t", 1), *others))
    assert list(listing.singles) == ["t"]
    assert sorted(listing.ignored) == sorted(f"{tmp_path}/{name}" for name in others)
    assert listing.warnings == []


# --- what is not whole ----------------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_missing_shard_is_named_and_hides_nothing(tmp_path: Path, lost: int) -> None:
    directory = make(tmp_path, *shards("s", 1), *shards("t", 4), *shards("u", 2))
    path = tmp_path / f"t-0000{lost}-of-00004"
    path.unlink()
    listing = list_assets(directory)
    assert list(listing.singles) == ["s", "u"]
    broken = only_broken(listing)
    assert (broken.base, broken.kind) == ("t", "single")
    assert isinstance(broken.error, MissingShardError)
    assert str(broken.error) == (
        f"{path}: missing: 3 of 4 shards are there; restore it, or take another step"
    )
    assert broken.paths == [
        f"{directory}/{name}" for name in shards("t", 4) if not path.match(name)
    ]


def test_several_broken_sets(tmp_path: Path) -> None:
    names = [*shards("t_10", 2), *shards("m", 2), *shards("m.meta", 2), *shards("hash_filter_0", 2)]
    directory = make(tmp_path, *(name for name in names if "-00000" in name), *shards("t_2", 1))
    listing = list_assets(directory)
    assert list(listing.singles) == ["t_2"]
    assert (listing.multis, listing.hash_filters) == ({}, {})
    assert [(broken.base, broken.kind) for broken in listing.broken] == [
        ("hash_filter_0", "filter"),
        ("m", "multi"),
        ("t_10", "single"),
    ]


def test_two_totals(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("t", 1), *shards("t", 2))
    broken = only_broken(list_assets(directory))
    assert isinstance(broken.error, ShardMismatchError)
    assert str(broken.error) == (
        f"{directory}/t-00000-of-00002: two totals: 't-00000-of-00001' is there as well;"
        " move away what is left over from another dump"
    )


def test_a_number_beyond_the_total(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("t", 2), "t-00002-of-00002")
    broken = only_broken(list_assets(directory))
    assert isinstance(broken.error, ShardMismatchError)
    assert broken.error.path == f"{directory}/t-00002-of-00002"


def test_an_absurd_total_costs_nothing(tmp_path: Path) -> None:
    directory = make(tmp_path, "t-00000-of-99999999999999999999")
    broken = only_broken(list_assets(directory))
    assert isinstance(broken.error, MissingShardError)
    assert broken.error.path == f"{directory}/t-00001-of-99999999999999999999"


def test_a_table_of_contents_without_data(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("multi.meta", 2))
    broken = only_broken(list_assets(directory))
    assert (broken.base, broken.kind) == ("multi", "multi")
    assert isinstance(broken.error, MissingShardError)
    assert broken.error.path == f"{directory}/multi-00000-of-00002"
    assert broken.paths == [f"{directory}/{name}" for name in shards("multi.meta", 2)]


def test_a_table_of_contents_with_a_missing_shard(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("multi", 2), "multi.meta-00000-of-00002")
    broken = only_broken(list_assets(directory))
    assert (broken.base, broken.kind) == ("multi", "multi")
    assert broken.error.path == f"{directory}/multi.meta-00001-of-00002"
    assert len(broken.paths) == 3


def test_a_table_of_contents_with_another_total(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("multi.meta", 2), *shards("multi", 3))
    broken = only_broken(list_assets(directory))
    assert isinstance(broken.error, ShardMismatchError)
    assert broken.error.path == f"{directory}/multi.meta-00000-of-00002"


def test_a_multi_table_whose_name_ends_in_meta(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("x", 1), *shards("x.meta", 2), *shards("x.meta.meta", 2))
    listing = list_assets(directory)
    assert list(listing.singles) == ["x"]
    assert list(listing.multis) == ["x.meta"]


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="no such directory"):
        list_assets(str(tmp_path / "absent"))
    make(tmp_path, "file")
    with pytest.raises(PathNotFoundError, match="a file in place of a directory"):
        list_assets(str(tmp_path / "file"))


def test_a_shard_that_vanishes_before_it_is_looked_at(tmp_path: Path) -> None:
    table = list_assets(make(tmp_path, *shards("t", 2))).singles["t"]
    (tmp_path / "t-00001-of-00002").unlink()
    with pytest.raises(PathNotFoundError, match="t-00001-of-00002: gone"):
        _ = table.stored_bytes


# --- what the training system cannot restore ------------------------------------------------


def test_a_leftover_beside_a_single_table(tmp_path: Path) -> None:
    leftovers = ["t-00000-of-00001-tmp-3f2a", "m-00000-of-00001-tmp-7"]
    dumps = [*shards("t", 1), *shards("m", 1), *shards("m.meta", 1)]
    listing = list_assets(make(tmp_path, *dumps, *leftovers))
    assert listing.warnings == [
        f"{tmp_path}/t-00000-of-00001-tmp-3f2a: the training system mistakes it for a shard of 't',"
        " and cannot restore that table; remove this file"
    ]
    # Multi tables are restored all the same.
    assert listing.ignored == [f"{tmp_path}/m-00000-of-00001-tmp-7"]


def test_a_table_whose_name_goes_on_where_another_ends(tmp_path: Path) -> None:
    names = [*shards("t", 2), *shards("t-x", 3), *shards("t_1", 1), *shards("hash_filter_0", 1)]
    listing = list_assets(make(tmp_path, *names))
    assert list(listing.singles) == ["t", "t-x", "t_1"]
    assert listing.warnings == [
        f"{tmp_path}/t-x-00000-of-00003: the training system mistakes it for a shard of 't', and"
        " cannot restore that table, like 2 more of table 't-x'; keep table 't-x' elsewhere, or"
        " rename it"
    ]


# --- copies in several directories ----------------------------------------------------------


def servers(tmp_path: Path, *held: list[str]) -> list[str]:
    directories = []
    for number, names in enumerate(held):
        (tmp_path / f"ps_{number}").mkdir()
        directories.append(make(tmp_path / f"ps_{number}", *names))
    return directories


def test_a_set_in_several_directories_is_one(tmp_path: Path) -> None:
    multi = [*shards("m", 1), *shards("m.meta", 1)]
    one, two = servers(tmp_path, [*shards("t_1", 2), *shards("t_10", 1)], ["x", *shards("t_10", 1)])
    (tmp_path / "more").mkdir()
    listing = list_assets(one, two, *servers(tmp_path / "more", multi, ["x", *multi]))
    assert listing.singles == {
        "t_1": ShardSet(one, "t_1", [f"{one}/{name}" for name in shards("t_1", 2)]),
        "t_10": ShardSet(
            one,
            "t_10",
            [f"{one}/t_10-00000-of-00001"],
            ((f"{one}/t_10-00000-of-00001", f"{two}/t_10-00000-of-00001"),),
        ),
    }
    data, meta = listing.multis["m"]
    assert (len(data.copies), len(meta.copies)) == (1, 1)
    assert (listing.broken, listing.warnings, listing.ignored) == ([], [], [f"{two}/x"])


def test_copies_of_different_sizes(tmp_path: Path) -> None:
    one, two = servers(tmp_path, [*shards("s", 1), *shards("t", 2)], shards("t", 2))
    Path(two, "t-00001-of-00002").write_bytes(b"")
    listing = list_assets(one, two)
    assert list(listing.singles) == ["s"]
    error = only_broken(listing).error
    assert error.kind == "copies_differ"
    assert str(error) == (
        f"{two}/t-00001-of-00002: has 0 bytes, but '{one}/t-00001-of-00002', which ought to be the"
        " same file, has 16; export again, or give one server's directory"
    )


def test_a_server_with_a_part_of_a_set(tmp_path: Path) -> None:
    one, two = servers(tmp_path, [*shards("t", 2)], ["t-00001-of-00002"])
    listing = list_assets(two, one)
    assert listing.singles["t"].paths == [f"{one}/t-00000-of-00002", f"{two}/t-00001-of-00002"]
    assert listing.warnings == [
        f"{two}: holds 1 of 2 shards of 't'; what it lacks was read elsewhere, such as"
        f" '{one}/t-00000-of-00002'"
    ]
    Path(one, "t-00000-of-00002").unlink()
    assert only_broken(list_assets(two, one)).error.kind == "missing_shard"


def test_totals_that_differ_between_servers(tmp_path: Path) -> None:
    one, two = servers(tmp_path, shards("t", 2), shards("t", 1))
    assert str(only_broken(list_assets(one, two)).error).startswith(
        f"{two}/t-00000-of-00001: two totals: '{one}/t-00000-of-00002' is there as well;"
    )


def test_copies_byte_for_byte(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    data = bytes(3 << 20)
    one.write_bytes(data)
    two.write_bytes(data)
    assert compare_copies(str(one), str(two)) is None
    two.write_bytes(data[: 2 << 20] + b"\0\1" + data[(2 << 20) + 2 :])
    error = compare_copies(str(one), str(two))
    assert error is not None
    assert (error.kind, error.path, error.offset) == ("copies_differ", str(two), (2 << 20) + 1)
    two.write_bytes(data[:-1])
    error = compare_copies(str(one), str(two))
    assert error is not None
    assert error.offset == len(data) - 1
    two.unlink()
    with pytest.raises(PathNotFoundError):
        compare_copies(str(one), str(two))
