"""Complete sets of shards, and what keeps a set from being complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from monolith_cli.checkpoint.shard_set import ShardSet, list_assets
from monolith_cli.errors import MissingShardError, PathNotFoundError, ShardMismatchError


def make(directory: Path, *names: str) -> str:
    for name in names:
        (directory / name).write_bytes(name.encode())
    return str(directory)


def shards(base: str, total: int) -> list[str]:
    return [f"{base}-{number:05d}-of-{total:05d}" for number in range(total)]


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
    assert listing.ignored == []
    assert data.stored_bytes == 2 * len("multi-00000-of-00002")


def test_an_empty_directory_has_no_sets(tmp_path: Path) -> None:
    assert list_assets(str(tmp_path)) == ({}, {}, {}, [])


def test_one_name_may_begin_another(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("t", 1), *shards("t_1", 2), *shards("t-1", 3))
    found = list_assets(directory).singles
    assert {base: len(each.paths) for base, each in found.items()} == {"t": 1, "t_1": 2, "t-1": 3}


def test_other_files_are_ignored(tmp_path: Path) -> None:
    others = ["notes.txt", "t-00000-of-00001-tmp-3f2a", ".t-00000-of-00001.7.3f2a.tmp"]
    listing = list_assets(make(tmp_path, *shards("t", 1), *others))
    assert list(listing.singles) == ["t"]
    assert listing.ignored == sorted(others)


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_missing_shard_is_named(tmp_path: Path, lost: int) -> None:
    directory = make(tmp_path, *shards("t", 4))
    path = tmp_path / f"t-0000{lost}-of-00004"
    path.unlink()
    with pytest.raises(MissingShardError) as caught:
        list_assets(directory)
    assert str(caught.value) == (
        f"{path}: missing: 3 of 4 shards are there; restore it, or take another step"
    )


def test_two_totals(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("t", 1), *shards("t", 2))
    with pytest.raises(ShardMismatchError) as caught:
        list_assets(directory)
    assert str(caught.value) == (
        f"{directory}/t-00000-of-00002: two totals: 't-00000-of-00001' is there as well;"
        " move away what is left over from another dump"
    )


def test_a_number_beyond_the_total(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("t", 2), "t-00002-of-00002")
    with pytest.raises(ShardMismatchError) as caught:
        list_assets(directory)
    assert caught.value.path == f"{directory}/t-00002-of-00002"


def test_an_absurd_total_costs_nothing(tmp_path: Path) -> None:
    directory = make(tmp_path, "t-00000-of-99999999999999999999")
    with pytest.raises(MissingShardError) as caught:
        list_assets(directory)
    assert caught.value.path == f"{directory}/t-00001-of-99999999999999999999"


def test_a_table_of_contents_without_data(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("multi.meta", 2))
    with pytest.raises(MissingShardError) as caught:
        list_assets(directory)
    assert caught.value.path == f"{directory}/multi-00000-of-00002"


def test_a_table_of_contents_with_another_total(tmp_path: Path) -> None:
    directory = make(tmp_path, *shards("multi.meta", 2), *shards("multi", 3))
    with pytest.raises(ShardMismatchError) as caught:
        list_assets(directory)
    assert caught.value.path == f"{directory}/multi.meta-00000-of-00002"


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
