"""Damage that was skipped, and the error that it ends with."""

from __future__ import annotations

from monolith_cli.formats.tfrecord import Skipped
from monolith_cli.tables.skipped import distinct, skipped_error


def damage(position: int) -> Skipped:
    return Skipped("t-0", "bad_data_crc", "damaged", position, position, position + 5, True)


def test_each_place_once() -> None:
    assert distinct([damage(3), damage(9), damage(3)]) == [damage(3), damage(9)]


def test_the_error_names_the_first() -> None:
    assert skipped_error([]) is None
    assert str(skipped_error([damage(3)])) == "t-0: damaged, at byte 3; skipped"
    error = skipped_error([damage(3), damage(9), damage(12)])
    assert str(error) == "t-0: damaged, at byte 3; skipped, like 2 more damaged places"
