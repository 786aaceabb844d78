"""`ckpt.info-<step>`: how many entries a checkpoint holds, by slot and by table name.

The text format of `monolith.CkptInfo`, by a printer of our own: protobuf's printers differ from
each other and from what the training system writes. Command line and training hook both write
through here, so equal counts give equal bytes. Two files are compared parsed, never by bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import StateFileError
from monolith_cli.formats import text_proto
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.location import AnyPath

__all__ = ["CkptInfo", "format_ckpt_info", "parse_ckpt_info", "read_ckpt_info", "write_ckpt_info"]


class CkptInfo(NamedTuple):
    """Entries by slot (single tables) and by table name (multi tables)."""

    slot_counts: dict[int, int]
    feature_counts: dict[str, int]


def format_ckpt_info(info: CkptInfo) -> bytes:
    """The exact bytes of the file.

    Slots ascending as numbers, those without an entry left out; then tables ascending as bytes of
    UTF-8, empty ones with a 0. Nothing at all gives an empty file, which is valid.
    """
    entries = [
        f"slot_counts {{\n  key: {slot}\n  value: {count}\n}}\n"
        for slot, count in sorted(info.slot_counts.items())
        if count
    ]
    names = {
        name.encode("utf-8", "surrogateescape"): count
        for name, count in info.feature_counts.items()
    }
    entries += [
        f"feature_counts {{\n  key: {text_proto.quote(name)}\n  value: {count}\n}}\n"
        for name, count in sorted(names.items())
    ]
    return "".join(entries).encode("ascii")


def parse_ckpt_info(data: bytes, path: str | None = None) -> CkptInfo:
    """Parse the file, whoever printed it: any order, and zeros written or left out.

    Slots that are said to have no entry are kept out, as if they had not been written. What is
    printed as usual takes some 50 ns a count, anything else a hundred times that.

    Raises
    ------
    StateFileError
        The text is malformed, or a value has the wrong type, is a negative count or does not fit
        in 64 bits.
    """
    from monolith_cli._native import parse_counts

    usual = parse_counts(data)
    if usual is not None:
        slots, names = usual
        return CkptInfo(
            {s: n for s, n in slots.items() if n} if 0 in slots.values() else slots, names
        )
    info = CkptInfo({}, {})
    for field in text_proto.parse(data, path):
        if field.name not in ("slot_counts", "feature_counts"):
            continue
        slot, name, count = 0, b"", 0
        for part in text_proto.expect(field, list, path):
            if part.name == "value":
                count = _integer(part, 64, path)
                if count < 0:
                    raise StateFileError("value is negative", path=path, offset=part.offset)
            elif part.name == "key" and field.name == "slot_counts":
                slot = _integer(part, 32, path)
            elif part.name == "key":
                name = text_proto.expect(part, bytes, path)
        if field.name == "slot_counts":
            info.slot_counts[slot] = count
        else:
            info.feature_counts[name.decode("utf-8", "surrogateescape")] = count
    return info._replace(slot_counts={slot: n for slot, n in info.slot_counts.items() if n})


def read_ckpt_info(path: AnyPath) -> CkptInfo:
    """Read and parse the file.

    Raises
    ------
    PathNotFoundError, NotReadableError, StateFileError
        As `Store.read` and `parse_ckpt_info`.
    """
    path = as_location(path)
    try:
        return parse_ckpt_info(store_of(path).read(path), path)
    except StateFileError as error:
        error.hint = error.hint or "write it again"
        raise


def write_ckpt_info(path: AnyPath, info: CkptInfo, *, overwrite: bool = True) -> None:
    """Write the file whole or not at all.

    Raises
    ------
    AlreadyExistsError, WriteError
        As `Store.put` and `Store.put_if_absent`.
    """
    path = as_location(path)
    store = store_of(path)
    put = store.put if overwrite else store.put_if_absent
    put(path, format_ckpt_info(info))


def _integer(field: text_proto.Field, bits: int, path: str | None) -> int:
    value = text_proto.expect(field, int, path)
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise StateFileError(f"{field.name} is out of range", path=path, offset=field.offset)
    return value
