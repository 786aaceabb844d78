from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import fid
from monolith_cli.errors import UsageError

# Slot 3 and signature 5, in both layouts.
V2 = 0x0003_0000_0000_0005
V1 = 0x00C0_0000_0000_0005


@pytest.mark.parametrize(
    ("value", "slot"),
    [
        (0, 0),
        (V2, 3),
        ((1 << 48) - 1, 0),
        (1 << 48, 1),
        (0x7FFF_FFFF_FFFF_FFFF, 32767),
        (-1, 32767),  # bit 63 is no part of the slot
        (-(2**63), 0),
        (1 << 63, 0),
    ],
)
def test_slot_v2_is_bits_48_to_62(value: int, slot: int) -> None:
    assert fid.slot_v2(value) == slot
    assert fid.slot(value) == slot


@pytest.mark.parametrize(
    ("value", "slot"),
    [
        (0, 0),
        (V1, 3),
        ((1 << 54) - 1, 0),
        (1 << 54, 1),
        (-1, 1023),  # unsigned, whatever the sign
        (-(2**63), 512),
    ],
)
def test_slot_v1_is_the_top_ten_bits(value: int, slot: int) -> None:
    assert fid.slot_v1(value) == slot
    assert fid.slot(value, "v1") == slot


def test_signature() -> None:
    assert fid.signature(V2) == 5
    assert fid.signature(V1, "v1") == 5
    assert fid.signature(-1) == 0xFFFF_FFFF_FFFF
    assert fid.signature(-1, "v1") == 0x3F_FFFF_FFFF_FFFF


def test_v1_to_v2_keeps_slot_and_low_bits() -> None:
    assert fid.fid_v1_to_v2(V1) == V2
    assert fid.fid_v1_to_v2(-1) == 0x03FF_FFFF_FFFF_FFFF
    assert fid.fid_v1_to_v2(0x003F_0000_0000_0001) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("5", 5),
        ("-5", -5),
        ("0007", 7),
        (" 42\n", 42),
        ("18446744073709551611", -5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", -(2**63)),
        ("-9223372036854775808", -(2**63)),
        ("0x10", 16),
        ("0XfF", 255),
        ("0xfffffffffffffffb", -5),
        ("0x0003000000000005", V2),
    ],
)
def test_parse(text: str, value: int) -> None:
    assert fid.parse_fid(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "--5",
        "+5",
        "0x",
        "-0x5",
        "0x-5",
        "5_0",
        "1 2",
        "1e3",
        "1.0",
        "abc",
        "0b1",
        "٣",
        "18446744073709551616",
        "-9223372036854775809",
        "0x10000000000000000",
        "9" * 5000,
        "0x" + "f" * 5000,
    ],
)
def test_what_is_no_fid(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        fid.parse_fid(text)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 200


def test_make() -> None:
    assert fid.make_fid(3, 5) == V2
    assert fid.make_fid(3, 5, "v1") == V1
    assert fid.make_fid(1023, 0, "v1") == -(1 << 54)


@pytest.mark.parametrize(
    ("slot", "signature", "version"),
    [
        (-1, 0, "v2"),
        (32768, 0, "v2"),
        (0, 1 << 48, "v2"),
        (1024, 0, "v1"),
        (0, 1 << 54, "v1"),
        (0, -1, "v1"),
    ],
)
def test_make_refuses_what_does_not_fit(slot: int, signature: int, version: str) -> None:
    with pytest.raises(UsageError):
        fid.make_fid(slot, signature, version)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_more_than_64_bits(value: int) -> None:
    for function in (fid.to_signed, fid.to_unsigned, fid.slot_v1, fid.slot_v2, fid.fid_v1_to_v2):
        with pytest.raises(UsageError, match="64 bits"):
            function(value)


def test_version_numbers() -> None:
    assert [fid.version_number(name) for name in fid.VERSIONS] == [1, 2]


def test_unknown_version() -> None:
    with pytest.raises(UsageError, match="v3"):
        fid.version_number("v3")
    with pytest.raises(UsageError, match="v3"):
        fid.slot(1, "v3")


def test_slots_that_exist_are_never_clamped() -> None:
    assert fid.MAX_SLOTS == 102400
    assert fid.slot(-1) < fid.MAX_SLOTS


fids = st.integers(-(2**63), 2**64 - 1)


@given(fids)
def test_signed_and_unsigned_are_the_same_fid(value: int) -> None:
    signed, unsigned = fid.to_signed(value), fid.to_unsigned(value)
    assert (signed - unsigned) % 2**64 == 0
    assert fid.to_signed(unsigned) == signed
    assert fid.parse_fid(str(signed)) == fid.parse_fid(str(unsigned)) == signed
    assert fid.parse_fid(hex(unsigned)) == signed
    assert fid.slot_v2(signed) == fid.slot_v2(unsigned)
    assert fid.slot_v1(signed) == fid.slot_v1(unsigned)


@given(fids)
def test_slot_and_signature_make_the_fid(value: int) -> None:
    assert fid.make_fid(fid.slot_v1(value), fid.signature(value, "v1"), "v1") == fid.to_signed(
        value
    )
    # v2 has no place for bit 63.
    assert fid.make_fid(fid.slot_v2(value), fid.signature(value)) == fid.to_unsigned(value) % 2**63


@given(fids)
def test_v1_to_v2_of_any_fid(value: int) -> None:
    converted = fid.fid_v1_to_v2(value)
    assert fid.slot_v2(converted) == fid.slot_v1(value)
    assert fid.signature(converted) == fid.signature(value)
    assert 0 <= converted < 2**63
