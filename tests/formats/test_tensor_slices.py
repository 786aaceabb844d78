"""Which part of a partitioned variable is not there."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.formats.bundle_index import Slice, TensorEntry
from monolith_cli.formats.tensor_slices import missing_text


def variable(shape: tuple[int, ...], *parts: tuple[tuple[int, int | None], ...]) -> TensorEntry:
    entry = TensorEntry("w", "float32", shape, 0, 0, 0, 0)
    slices = tuple(
        (Slice(tuple(a for a, _ in part), tuple(n for _, n in part)), entry) for part in parts
    )
    return entry._replace(slices=slices)


@pytest.mark.parametrize(
    ("shape", "parts", "text"),
    [
        ((10, 3), [((0, 4), (0, None)), ((4, 3), (0, None))], "rows 7 to 9"),
        ((10, 3), [((0, 4), (0, 3)), ((4, 6), (0, 3))], None),
        ((10, 3), [((1, 9), (0, None))], "row 0"),
        ((10, 3), [((0, 3), (0, None)), ((7, 3), (0, None))], "rows 3 to 6"),
        ((10,), [((0, 2),), ((4, 2),), ((8, 2),)], "rows 2 to 3 and 1 more such part"),
        ((4, 6), [((0, None), (0, 4))], "elements [:, 4:6]"),
        ((4, 6), [((0, 2), (0, 6)), ((2, 2), (0, 3))], "elements [2:4, 3:6]"),
        ((2, 2), [((0, None), (0, None))], None),
        ((0, 3), [((0, 0), (0, None))], None),
        ((10, 3), [((0, 10),)], "parts of other dimensions"),
        ((10, 3), [((0, 99), (0, None))], None),  # reaches beyond the end: another error
    ],
)
def test_what_is_missing(
    shape: tuple[int, ...], parts: list[tuple[tuple[int, int | None], ...]], text: str | None
) -> None:
    assert missing_text(variable(shape, *parts)) == text


@given(st.data())
def test_nothing_is_missing_where_every_element_is_there(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    parts = []
    for _ in range(data.draw(st.integers(0, 5))):
        starts = [data.draw(st.integers(0, size - 1)) for size in shape]
        parts.append(
            tuple(
                (start, data.draw(st.integers(1, size - start)))
                for start, size in zip(starts, shape, strict=True)
            )
        )
    there = {
        cell
        for part in parts
        for cell in product(*(range(start, start + (n or 0)) for start, n in part))
    }
    is_whole = len(there) == len(list(product(*map(range, shape))))
    assert (missing_text(variable(shape, *parts)) is None) == is_whole
