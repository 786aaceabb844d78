"""Which tables are parts of one that is split over servers."""

from __future__ import annotations

import pytest

from monolith_cli.tables.counts import TableCount
from monolith_cli.tables.servers import merge_counts, merge_servers


@pytest.mark.parametrize(
    ("names", "merged"),
    [
        ("user_0 user_1 user_2", "user user user"),
        ("user_0", "user"),
        ("user_1 user_0 item", "user user item"),
        ("age_18 age_25 user_0", "age_18 age_25 user"),
        ("t t_0 t_1", "t t_0 t_1"),
        ("a_0 a_1 a_2 b_0 b_2", "a a a b b"),  # server 1 has no part of b
        ("a_0 a_1 b_0 b_2", "a a b_0 b_2"),
        ("a_0 a_1 b_1", "a a b_1"),
        ("user_00 user_01", "user_00 user_01"),
        ("_0 _1 x_", "_0 _1 x_"),
        ("a_0_0 a_0_1 a_1_0", "a_0 a_0 a_1"),
        ("a_99999999999", "a_99999999999"),
        ("", ""),
    ],
)
def test_names(names: str, merged: str) -> None:
    found = merge_servers(names.split())
    assert [found[name] for name in names.split()] == merged.split()


def part(name: str, entries: int, **more: object) -> TableCount:
    count = TableCount(name, "single", entries, 2, 10 * entries, verified=True, dim=4, dims=(4, 4))
    return count._replace(optimizers=["adagrad"], slot_counts={1: entries})._replace(**more)  # type: ignore[arg-type]


def test_counts() -> None:
    tables = [part("b_0", 3), part("a", 1), part("b_1", 4, slot_counts={1: 1, 2: 3})]
    merged, other = merge_counts(tables)
    assert other == tables[1]
    assert merged == part("b", 7, shards=4, bytes=70, slot_counts={1: 4, 2: 3})


def test_counts_of_parts_that_differ() -> None:
    one = part("b_0", 3, dim=None, dims=None, optimizers=["sgd"])
    two = part("b_1", 1, dims=(2, 9), dim=None, slot_counts=None, verified=False, damaged=True)
    (merged,) = merge_counts([one, two])
    assert (merged.dim, merged.dims) == (None, (2, 9))
    assert merged.optimizers == ["sgd", "adagrad"]
    assert (merged.slot_counts, merged.verified, merged.damaged) == (None, False, True)


def test_tables_of_another_kind_are_others() -> None:
    tables = [part("b_0", 3), part("b_1", 3, kind="multi")]
    assert [(table.name, table.kind) for table in merge_counts(tables)] == [
        ("b", "single"),
        ("b", "multi"),
    ]
