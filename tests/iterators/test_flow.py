"""From elements back to records, by literal numbers."""

from __future__ import annotations

import pytest

from monolith_cli.iterators.flow import (
    Flow,
    batch,
    joined,
    records,
    repeated,
    shard,
    skip,
    take,
    unchanged,
)


def told(flow: Flow, count: int) -> tuple[int, int]:
    """Up to which record the first elements reach, and how many records they have."""
    return flow.position(count), flow.delivered(count)


def test_batches_of_an_input_that_goes_on() -> None:
    flow = batch(4, drops=False)(records(10), False)
    assert flow.emitted == 2
    assert [told(flow, c) for c in range(3)] == [(0, 0), (4, 4), (8, 8)]


@pytest.mark.parametrize(("drops", "emitted", "last"), [(False, 3, 10), (True, 2, 8)])
def test_the_last_batch(drops: bool, emitted: int, last: int) -> None:
    flow = batch(4, drops)(records(10), True)
    assert flow.emitted == emitted
    assert told(flow, emitted) == (last, last)


def test_what_was_skipped_lies_before_the_first_element() -> None:
    flow = batch(2, drops=False)(skip(3)(records(9), False), False)
    assert flow.emitted == 3
    assert [told(flow, c) for c in (0, 1, 3)] == [(0, 0), (5, 2), (9, 6)]
    assert skip(3)(records(2), False).emitted == 0


def test_every_third_record() -> None:
    flow = shard(3, 1)(records(44), False)  # 1, 4, ..., 43
    assert flow.emitted == 15
    assert [told(flow, c) for c in (0, 1, 11, 15)] == [(0, 0), (2, 1), (32, 11), (44, 15)]
    assert shard(3, 2)(records(2), False).emitted == 0


def test_the_first_ones() -> None:
    assert take(5)(records(20), True).emitted == 5
    assert take(50)(records(20), True).emitted == 20
    assert unchanged(records(7), True).emitted == 7


def test_files_one_after_the_other() -> None:
    # A line of each is a header: two of three, none of none, one of two so far.
    files = [(3, skip(1)(records(3), True)), (0, skip(1)(records(0), True))]
    flow = joined(files, skip(1)(records(2), False))
    assert flow.emitted == 3
    assert [told(flow, c) for c in range(4)] == [(0, 0), (2, 1), (3, 2), (5, 3)]


def test_batches_that_end_with_their_file() -> None:
    files = [(5, batch(4, False)(records(5), True))]
    flow = joined(files, batch(4, False)(records(8), False))
    assert [flow.position(c) for c in range(5)] == [0, 4, 5, 9, 13]


def test_epochs() -> None:
    whole = batch(7, drops=True)(records(20), True)
    now = batch(7, drops=True)(records(9), False)
    flow = repeated(whole, 2, 20, now)
    assert flow.emitted == 5
    assert [told(flow, c) for c in range(6)] == [
        (0, 0),
        (7, 7),
        (14, 14),
        (27, 21),
        (34, 28),
        (47, 35),
    ]


def test_epochs_without_end() -> None:
    whole = records(20)
    endless = repeated(whole, 1 << 40, 20, whole)
    flow = take(33)(endless, False)
    assert flow.emitted == 33
    assert told(flow, 33) == (33, 33)


def test_elements_that_are_held() -> None:
    flow = records(10).less(3)
    assert flow.emitted == 7
    assert batch(4, drops=False)(flow, False).emitted == 1
