"""The two state files of a model directory: `checkpoint` and `monolith_checkpoint`.

Text format of `tensorflow.CheckpointState` and of
`monolith.native_training.MonolithCheckpointState`. Read and written without TensorFlow and
without protobuf. Fields of later versions are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import StateFileError
from monolith_cli.formats import text_proto

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CheckpointState",
    "MonolithCheckpointState",
    "format_checkpoint_state",
    "format_monolith_checkpoint_state",
    "parse_checkpoint_state",
    "parse_exempt_paths",
    "read_checkpoint_state",
    "read_monolith_checkpoint_state",
    "replace_exempt_paths",
]

_EXEMPT = "exempt_model_checkpoint_paths"

_TABLE_TYPES = ("UNKNOWN", "CUCKOO_HASH_MAP", "MULTI_CUCKOO_HASH_MAP")


class CheckpointState(NamedTuple):
    """What `checkpoint` says: which checkpoints are committed, and which of them is the latest.

    Paths are as they were recorded: relative to the directory, or absolute and perhaps stale.
    Timestamps are seconds since 1970; TensorFlow 1 writes none.
    """

    model_checkpoint_path: str = ""
    all_model_checkpoint_paths: tuple[str, ...] = ()
    all_model_checkpoint_timestamps: tuple[float, ...] = ()
    last_preserved_timestamp: float = 0.0


class MonolithCheckpointState(NamedTuple):
    """What `monolith_checkpoint` says.

    `last_checkpoint_save_timestamp` is in seconds since 1970; `builtin_hash_table_type` is
    `UNKNOWN`, `CUCKOO_HASH_MAP` or `MULTI_CUCKOO_HASH_MAP`.
    """

    exempt_model_checkpoint_paths: tuple[str, ...] = ()
    last_checkpoint_save_timestamp: int = 0
    builtin_hash_table_type: str = "UNKNOWN"


def read_checkpoint_state(path: str) -> CheckpointState:
    """Read a `checkpoint` (or `checkpoint_input_worker_<i>`) file.

    Raises
    ------
    PathNotFoundError, NotReadableError, StateFileError
        As `text_proto.read`.
    """
    return _checkpoint_state(text_proto.read(path, of_paths=True), path)


def parse_checkpoint_state(data: bytes, path: str) -> CheckpointState:
    """What such a file says; `path` is for errors, which are those of `text_proto.parse`."""
    return _checkpoint_state(text_proto.parse(data, path, of_paths=True), path)


def _checkpoint_state(fields: Iterable[text_proto.Field], path: str) -> CheckpointState:
    latest, paths, timestamps, preserved = "", [], [], 0.0
    for field in fields:
        if field.name == "model_checkpoint_path":
            latest = _string(field, path)
        elif field.name == "all_model_checkpoint_paths":
            paths.append(_string(field, path))
        elif field.name == "all_model_checkpoint_timestamps":
            timestamps.append(text_proto.expect(field, float, path))
        elif field.name == "last_preserved_timestamp":
            preserved = text_proto.expect(field, float, path)
    return CheckpointState(latest, tuple(paths), tuple(timestamps), preserved)


def format_checkpoint_state(state: CheckpointState) -> str:
    """The text of a `checkpoint` file; what is empty or 0 is left out, as TensorFlow does."""
    lines = []
    if state.model_checkpoint_path:
        lines.append(f"model_checkpoint_path: {_quote(state.model_checkpoint_path)}\n")
    for path in state.all_model_checkpoint_paths:
        lines.append(f"all_model_checkpoint_paths: {_quote(path)}\n")
    for timestamp in state.all_model_checkpoint_timestamps:
        lines.append(f"all_model_checkpoint_timestamps: {timestamp!r}\n")
    if state.last_preserved_timestamp:
        lines.append(f"last_preserved_timestamp: {state.last_preserved_timestamp!r}\n")
    return "".join(lines)


def read_monolith_checkpoint_state(path: str) -> MonolithCheckpointState:
    """Read a `monolith_checkpoint` file.

    Raises
    ------
    PathNotFoundError, NotReadableError, StateFileError
        As `text_proto.read`; an unknown table type is malformed too.
    """
    exempt, timestamp, table_type = [], 0, _TABLE_TYPES[0]
    for field in text_proto.read(path, of_paths=True):
        if field.name == _EXEMPT:
            exempt.append(_string(field, path))
        elif field.name == "last_checkpoint_save_timestamp":
            timestamp = text_proto.expect(field, int, path)
        elif field.name == "builtin_hash_table_type":
            table_type = _table_type(field, path)
    return MonolithCheckpointState(tuple(exempt), timestamp, table_type)


def format_monolith_checkpoint_state(state: MonolithCheckpointState) -> str:
    """The text of a `monolith_checkpoint` file."""
    lines = _exempt_lines(state.exempt_model_checkpoint_paths)
    lines.append(f"last_checkpoint_save_timestamp: {state.last_checkpoint_save_timestamp}\n")
    lines.append(f"builtin_hash_table_type: {state.builtin_hash_table_type}\n")
    return "".join(lines)


def parse_exempt_paths(data: bytes, path: str) -> list[str]:
    """The exempt paths in such a file, which may be of a later version; raises as `parse`."""
    fields = text_proto.parse(data, path, of_paths=True)
    return [_string(field, path) for field in fields if field.name == _EXEMPT]


def replace_exempt_paths(data: bytes, paths: Iterable[str], path: str) -> bytes:
    """A `monolith_checkpoint` file with other exempt paths; the rest stays as it is written.

    Comments between the old paths go with them.

    Parameters
    ----------
    path
        The file, for errors.

    Raises
    ------
    StateFileError
        It does not parse.
    """
    fields = text_proto.parse(data, path, of_paths=True)
    names = {field.offset: field.name for field in fields}  # a list is several at one place
    places = sorted(names)
    start = places[0] if places else len(data)
    before = data[:start]
    if not places and before and not before.endswith(b"\n"):
        before += b"\n"
    others = b"".join(
        data[place:end]
        for place, end in zip(places, [*places, len(data)][1:], strict=True)
        if names[place] != _EXEMPT
    )
    return before + "".join(_exempt_lines(paths)).encode() + others


def _exempt_lines(paths: Iterable[str]) -> list[str]:
    return [f"{_EXEMPT}: {_quote(path)}\n" for path in paths]


def _table_type(field: text_proto.Field, path: str) -> str:
    value = field.value  # an enum may be written by name or by number
    if isinstance(value, int) and 0 <= value < len(_TABLE_TYPES):
        return _TABLE_TYPES[value]
    if isinstance(value, str) and value in _TABLE_TYPES:
        return value
    raise StateFileError(f"{field.name} has no known value", path=path, offset=field.offset)


def _string(field: text_proto.Field, path: str) -> str:
    return text_proto.expect(field, bytes, path).decode("utf-8", "surrogateescape")


def _quote(text: str) -> str:
    return text_proto.quote(text.encode("utf-8", "surrogateescape"))
