"""Feature ids: 64-bit integers that carry a slot and a signature.

A fid is stored as a signed number and read as an unsigned one when it is taken apart. Every
function here accepts both readings, -2**63 to 2**64 - 1; a number outside raises `UsageError`.

=======  ==========  =========  ======
version  slot        signature  slots
=======  ==========  =========  ======
v2       bits 48-62  bits 0-47  0-32767
v1       bits 54-63  bits 0-53  0-1023
=======  ==========  =========  ======

Bit 63 of a v2 fid means nothing: it belongs neither to the slot nor to the signature.
"""

from __future__ import annotations

from monolith_cli.errors import UsageError

__all__ = [
    "MAX_SLOTS",
    "V1_SIGNATURE_BITS",
    "V2_SIGNATURE_BITS",
    "VERSIONS",
    "fid_v1_to_v2",
    "make_fid",
    "parse_fid",
    "parse_fids",
    "signature",
    "slot",
    "slot_v1",
    "slot_v2",
    "to_signed",
    "to_unsigned",
    "version_number",
]

MAX_V1_SLOT = (1 << 10) - 1
MAX_V2_SLOT = (1 << 15) - 1
MAX_SLOTS = 102400
"""Length of a vector of counts by slot. A slot beyond it counts as the last one."""

VERSIONS = ("v1", "v2")
"""The layouts there are; `v2` is meant unless something else is said."""

V1_SIGNATURE_BITS = 54
V2_SIGNATURE_BITS = 48

_V2_SLOT_MASK = 0x7FFF
_LOWEST = -(2**63)
_BEYOND = 2**64


def to_unsigned(fid: int) -> int:
    """The fid as 0 to 2**64 - 1."""
    if not _LOWEST <= fid < _BEYOND:
        raise UsageError(f"feature id {fid} does not fit into 64 bits")
    return fid & (_BEYOND - 1)


def to_signed(fid: int) -> int:
    """The fid as -2**63 to 2**63 - 1, the way it is stored."""
    fid = to_unsigned(fid)
    return fid - _BEYOND if fid >> 63 else fid


def slot_v1(fid: int) -> int:
    """The slot of a v1 fid, 0 to 1023."""
    return to_unsigned(fid) >> V1_SIGNATURE_BITS


def slot_v2(fid: int) -> int:
    """The slot of a v2 fid, 0 to 32767."""
    return (to_unsigned(fid) >> V2_SIGNATURE_BITS) & _V2_SLOT_MASK


def version_number(version: str) -> int:
    """1 or 2, of a layout's name.

    Raises
    ------
    UsageError
        There is no such layout.
    """
    if version not in VERSIONS:
        raise UsageError(f"{version!r} is not a version of feature ids", hint="use v1 or v2")
    return 1 + VERSIONS.index(version)


def slot(fid: int, version: str = "v2") -> int:
    """The slot of a fid of either version, as it is counted: at most `MAX_SLOTS` - 1."""
    found = slot_v2(fid) if version_number(version) == 2 else slot_v1(fid)
    return min(found, MAX_SLOTS - 1)


def signature(fid: int, version: str = "v2") -> int:
    """What is left of a fid without its slot: the low 48 bits of a v2 fid, 54 of a v1 fid."""
    return to_unsigned(fid) & ((1 << _signature_bits(version)) - 1)


def fid_v1_to_v2(fid: int) -> int:
    """The v2 fid of a v1 fid: the same slot, and the low 48 bits of the signature.

    The upper 6 bits of a v1 signature have no place in v2 and are lost.
    """
    return (slot_v1(fid) << V2_SIGNATURE_BITS) | signature(fid, "v2")


def make_fid(slot: int, signature: int, version: str = "v2") -> int:
    """The fid, as it is stored (signed), of a slot and a signature.

    Raises
    ------
    UsageError
        One of them does not fit into its bits.
    """
    bits = _signature_bits(version)
    slots = _V2_SLOT_MASK + 1 if bits == V2_SIGNATURE_BITS else 1 << (64 - bits)
    if not 0 <= slot < slots:
        raise UsageError(f"slot {slot} is not in 0..{slots - 1}")
    if not 0 <= signature < 1 << bits:
        raise UsageError(f"signature {signature} is not in 0..{(1 << bits) - 1}")
    return to_signed((slot << bits) | signature)


def parse_fid(text: str) -> int:
    """The fid, as it is stored (signed), that a person wrote.

    Parameters
    ----------
    text
        Decimal digits, signed or unsigned (`-5` and `18446744073709551611` are the same fid), or
        `0x` and hexadecimal digits of the unsigned number. Blanks around it do not matter.

    Raises
    ------
    UsageError
        It is none of these, or does not fit into 64 bits.
    """
    digits = text.strip()
    is_hex = digits[:2] in ("0x", "0X")
    body = digits[2:] if is_hex else digits.removeprefix("-")
    # int() alone would take underscores, other scripts' digits and inner blanks as well.
    allowed = "0123456789abcdefABCDEF" if is_hex else "0123456789"
    if not body or body.strip(allowed):
        raise UsageError(
            f"{_shortened(text)!r} is not a feature id",
            hint="write a decimal number, or 0x and hexadecimal digits",
        )
    if len(body.lstrip("0")) > 20:  # int() refuses thousands of digits in words of its own
        raise UsageError(f"feature id {_shortened(digits)} does not fit into 64 bits")
    return to_signed(int(body, 16) if is_hex else int(digits))


def parse_fids(text: str, path: str | None = None) -> list[int]:
    """The fids of a list that a person or a program wrote, one per line, as `parse_fid` takes them.

    Blank lines, and what follows a `#`, mean nothing.

    Parameters
    ----------
    path
        Where the text is from, for errors.

    Raises
    ------
    UsageError
        A line that is no fid; it says which.
    """
    fids = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if word:
            try:
                fids.append(parse_fid(word))
            except UsageError as error:
                what = f"line {number}: {error.what}"
                raise UsageError(what, path=path, hint=error.hint) from None
    return fids


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _signature_bits(version: str) -> int:
    return V1_SIGNATURE_BITS if version_number(version) == 1 else V2_SIGNATURE_BITS
