"""The positions of inputs: the lines of `iterator ls` and `iterator show`, and their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.text import (
    PLAIN,
    Look,
    bytes_text,
    columns,
    count_text,
    name_json,
    name_text,
)

if TYPE_CHECKING:
    from typing import Any

    from monolith_cli.formats.variant import StatePart
    from monolith_cli.iterators.inputs import IteratorPosition
    from monolith_cli.iterators.place import Buffered, FilePlace, Place
    from monolith_cli.iterators.records import Count
    from monolith_cli.iterators.state import Node
    from monolith_cli.iterators.workers import WorkerState

__all__ = [
    "input_document",
    "input_lines",
    "raw_document",
    "raw_lines",
    "workers_document",
    "workers_lines",
]

_HEAD = ("worker", "step", "behind", "size", "iterators", "")
_MARKS = {
    "state_gone": "gone",
    "not_found": "gone",
    "no_such_step": "missing",
    "missing_shard": "incomplete",
    "not_readable": "not readable",
}


def workers_lines(workers: Sequence[WorkerState], *, look: Look = PLAIN) -> Iterator[str]:
    """A row a worker; what is not known is a dash, what is wrong is in the last column."""
    rows = [_HEAD]
    for state in workers:
        rows.append(
            (
                name_text(state.name or "-") if state.worker is None else str(state.worker),
                _number(state.step),
                _number(state.behind),
                "-" if state.size_bytes is None else bytes_text(state.size_bytes),
                _number(state.iterators),
                "; ".join(_remarks(state)),
            )
        )
    head, *lines = columns(rows, ">>>>><")
    yield look.bold(head)
    yield from lines


def _remarks(state: WorkerState) -> Iterator[str]:
    if state.problem is not None:
        yield _MARKS.get(state.problem.kind, "damaged")
    yield from state.remarks
    if state.resumes_from not in (None, state.step):
        yield f"a job of ours goes on from step {state.resumes_from}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def workers_document(workers: Sequence[WorkerState]) -> list[dict[str, object]]:
    """The JSON document: an object a worker."""
    return [
        {
            "worker": state.worker,
            "name": state.name,
            "step": state.step,
            "bytes": state.size_bytes,
            "iterators": state.iterators,
            "behind": state.behind,
            "model_step": state.model_step,
            "resumes_from": state.resumes_from,
            "problem": None if state.problem is None else str(state.problem),
            "remarks": list(state.remarks),
        }
        for state in workers
    ]


def input_lines(
    state: WorkerState, iterators: Sequence[IteratorPosition], *, look: Look = PLAIN
) -> Iterator[str]:
    """A worker's input in words."""
    yield look.bold(_title(state))
    for iterator in iterators:
        yield ""
        size = bytes_text(iterator.state.size_bytes)
        parts = count_text(iterator.state.parts, "part")
        yield look.bold(f"iterator {name_text(iterator.state.name)}") + f"  {size} in {parts}"
        for place in iterator.places:
            yield from _aligned(_place_rows(place), look)
        yield from _aligned(_shuffle_rows(iterator), look)
        yield from _aligned(_odd_end_rows(iterator), look)
        yield from _node_lines(iterator.state.root, look)
        yield from _fingerprint_lines(iterator, look)


def _title(state: WorkerState) -> str:
    who = name_text(state.prefix or "") if state.worker is None else f"worker {state.worker}"
    if state.worker == 0:
        who += " (the chief)"
    text = who if state.step is None else f"{who} at step {state.step}"
    if state.behind:
        side = "behind" if state.behind > 0 else "ahead of"
        text += f", {count_text(abs(state.behind), 'step')} {side} the model's {state.model_step}"
    elif state.behind == 0:
        text += ", the model's"
    return text


def _place_rows(place: Place) -> Iterator[tuple[str, str]]:
    unit = place.unit
    file = place.file
    if file is not None:
        name = "a file whose name is not known" if file.path is None else name_text(file.path)
        number = ""
        if file.number is not None:
            number = f", file {file.number} of {file.total}"
        elif file.total is not None:
            number = f", one of {file.total} files"
        yield "reads", name + number
        if file.offset is not None:
            yield "at", f"{_offset_text(file)}, {_before(file.records, unit)}"
    elif place.ended:
        yield "reads", "nothing more: the input has ended"
    elif place.is_drained:
        yield "reads", "nothing right now: an epoch has ended"
    elif place.source.base in ("MemoryCache", "FileCache"):
        yield "reads", f"elements that {place.source.op} has kept"
    else:
        yield "reads", place.source.path
    if place.read.records is None:
        why = place.read.why
        told = why and why != place.consumed.why
        yield "read", f"not known: {name_text(why or '')}" if told else "not known"
    else:
        text = _count(place.read.records, unit)
        yield "read", text + (f" of epoch {place.epoch}" if place.epoch else "")
    yield "buffered", _buffered_text(place)
    yield "consumed", _consumed_text(place)


def _offset_text(file: FilePlace) -> str:
    """Where a reader is: the offset in the content, and of a compressed file also its own size."""
    size = file.size_bytes
    if not file.compression and (size is None or file.offset is None or file.offset <= size):
        return f"byte {file.offset:,}" + ("" if size is None else f" of {size:,}")
    of = f"a {file.compression or 'compressed'} file"
    return f"byte {file.offset:,} of the content of {of}" + (
        "" if size is None else f" of {size:,} bytes"
    )


def _odd_end_rows(iterator: IteratorPosition) -> Iterator[tuple[str, str]]:
    for odd in iterator.odd_ends:
        yield _ODD_ENDS[odd.kind], f"{name_text(odd.path)}: {odd}"


_ODD_ENDS = {"cut_header": "cut", "cut_stream": "cut", "unread_rest": "unread"}


def _before(count: Count, unit: str) -> str:
    if count.records is None:
        return f"after an unknown number of {unit}: {name_text(count.why or '')}"
    return f"after {_count(count.records, unit)}"


def _count(count: int, unit: str) -> str:
    return count_text(count, unit.removesuffix("s"))


def _buffered_text(place: Place) -> str:
    if not place.buffered:
        return "nothing"
    counts = [held.records for held in place.buffered]
    if None in counts:
        return ", ".join(f"{_held_text(held)} in {held.node.op}" for held in place.buffered)
    texts = [f"{held.records:,} in {held.node.op}" for held in place.buffered]
    return f"{_count(sum(count or 0 for count in counts), place.unit)}: {', '.join(texts)}"


def _held_text(held: Buffered) -> str:
    text = count_text(held.elements, "element")
    return text if held.rows is None else f"{text} ({count_text(held.rows, 'row')})"


def _shuffle_rows(iterator: IteratorPosition) -> Iterator[tuple[str, str]]:
    nodes = [node for node in iterator.state.root.walk() if node.base.startswith("Shuffle")]
    for i, node in enumerate(nodes):
        held = count_text(sum(node.elements.values()), "element")
        size = iterator.pipeline.parameters("Shuffle", i, len(nodes)).get("buffer_size")
        limit = f", of at most {size:,}" if isinstance(size, int) else ""
        yield "shuffle", f"{held} in the buffer{limit}"


def _consumed_text(place: Place) -> str:
    consumed = place.consumed
    unit = place.unit
    if consumed.records is not None:
        text = _count(consumed.records, unit)
        if consumed.skipped:
            text += f", of which {consumed.skipped:,} were skipped"
        if consumed.epoch is not None and (place.epoch or 0) > 1:
            text += f": {consumed.records_in_epoch:,} of epoch {consumed.epoch}"
        return text
    text = "not known"
    if consumed.records_in_epoch is not None:
        text = f"{_count(consumed.records_in_epoch, unit)} of epoch {consumed.epoch}; in all"
        text += " not known"
    elif consumed.epoch is not None:
        text += f", but in epoch {consumed.epoch}"
    if consumed.hidden_by is not None:
        text += f": {consumed.hidden_by.op} hides it"
    if consumed.why:
        text += f": {name_text(consumed.why)}"
    if consumed.counted_at is not None and consumed.elements is not None:
        text += f"; {count_text(consumed.elements, 'element')} of those that"
        text += f" {consumed.counted_at.op} has returned"
    return text


def _node_lines(root: Node, look: Look) -> Iterator[str]:
    nodes = sorted(root.walk(), key=lambda node: -node.size_bytes)
    rows = [("node", "size", "buffered", "")]
    for node in nodes:
        if node is root and not node.size_bytes:
            continue
        held = sum(node.elements.values())
        rows.append(
            (
                _end_of(node.path, _PATH_WIDTH, look),
                bytes_text(node.size_bytes),
                f"{held:,}" if held else "-",
                _values_text(node),
            )
        )
    yield ""
    for line in columns(rows, "<>><"):
        yield "  " + line


def _values_text(node: Node) -> str:
    """What a node says of its place; of one that is not known all."""
    from monolith_cli.iterators.kinds import KNOWN, SOURCES
    from monolith_cli.iterators.records import FILE_READERS

    is_known = node.base in KNOWN or node.base in SOURCES or node.base in FILE_READERS
    texts = []
    for key, value in node.values.items():
        if isinstance(value, bytes):
            if not is_known:
                texts.append(f'{key}="{value.decode("utf-8", "surrogateescape")}"')
        elif not is_known or key in _TOLD:
            texts.append(f"{key}={value}")
    return name_text(" ".join(texts))


_PATH_WIDTH = 46
_LABEL_WIDTH = 12


def _end_of(path: str, width: int, look: Look) -> str:
    """The last nodes of a path, as many as fit; the last one at least."""
    nodes = path.split("::")
    for first in range(len(nodes)):
        text = "::".join(nodes[first:])
        if first:
            text = f"{look.ellipsis}{text}"
        if len(text) <= width:
            return text
    return text


_TOLD = ("i", "epoch", "offset", "current_pos", "element_index", "index", "next", "next_index")


def _fingerprint_lines(iterator: IteratorPosition, look: Look) -> Iterator[str]:
    if not iterator.pipeline:
        return
    yield ""
    yield f"  fingerprint {name_text(str(iterator.fingerprint.get('digest', '')))}"
    for node in iterator.pipeline.nodes:
        yield f"    {name_text(node['op'])}  {_parameters_text(node['parameters'])}".rstrip()
    files = iterator.pipeline.files
    if not files:
        return
    width = len(str(len(files)))
    current = {place.file.number for place in iterator.places if place.file}
    last = 0
    for number, file in enumerate(files, 1):
        if number > 3 and number != len(files) and not current & {number - 1, number, number + 1}:
            continue
        if number != last + 1:
            yield f"    {look.ellipsis}"
        size = "was not there" if file.size_bytes is None else f"{file.size_bytes:,} bytes"
        mark = "  <- here" if number in current else ""
        yield f"    {number:>{width}}  {name_text(file.path)}  {size}{mark}"
        last = number


def _parameters_text(parameters: Mapping[str, Any]) -> str:
    texts = []
    for key, value in parameters.items():
        if key in ("output_shapes", "output_types"):
            continue
        if isinstance(value, dict) and isinstance(value.get("nodes"), list):
            inner = ", ".join(str(node.get("op")) for node in value["nodes"])
            texts.append(f"{key}=({inner})")
        elif isinstance(value, dict) and "function" in value:
            texts.append(f"{key}=({str(value['function'])[:8]})")
        elif isinstance(value, (dict, list)):
            texts.append(f"{key}={_short(value)}")
        else:
            texts.append(f"{key}={value}")
    return name_text(" ".join(texts))


def _short(value: Any) -> str:
    if value == [{"files": True}]:
        return "the files"
    from json import dumps

    text = dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _aligned(rows: Iterator[tuple[str, str]], look: Look) -> Iterator[str]:
    from textwrap import wrap

    for label, value in rows:
        width = max(40, look.width - _LABEL_WIDTH)
        lines = wrap(value, width, break_long_words=False, break_on_hyphens=False)
        for line in lines or [""]:
            yield f"  {label:<{_LABEL_WIDTH - 2}}{line}".rstrip()
            label = ""


def input_document(state: WorkerState, iterators: Sequence[IteratorPosition]) -> dict[str, object]:
    """The JSON document of a worker's input."""
    return {
        "worker": state.worker,
        "step": state.step,
        "model_step": state.model_step,
        "behind": state.behind,
        "path": state.prefix,
        "bytes": sum(iterator.state.size_bytes for iterator in iterators),
        "iterators": [
            {
                "name": name_json(iterator.state.name),
                "bytes": iterator.state.size_bytes,
                "readers": [_place_document(place) for place in iterator.places],
                "nodes": [
                    {
                        "path": node.path,
                        "op": node.op,
                        "bytes": node.size_bytes,
                        "elements": sum(node.elements.values()),
                    }
                    for node in sorted(
                        iterator.state.root.walk(), key=lambda node: -node.size_bytes
                    )
                    if node.path or node.size_bytes
                ],
                "odd_ends": [
                    {
                        "path": name_json(odd.path),
                        "kind": odd.kind,
                        "content_bytes": odd.content_bytes,
                        "rest_bytes": odd.rest_bytes,
                        "message": str(odd),
                    }
                    for odd in iterator.odd_ends
                ],
                "fingerprint": iterator.fingerprint,
            }
            for iterator in iterators
        ],
        "remarks": list(state.remarks),
    }


def _place_document(place: Place) -> dict[str, object]:
    file = place.file
    consumed = place.consumed
    return {
        "node": place.source.path,
        "unit": place.unit,
        "file": None
        if file is None
        else {
            "path": None if file.path is None else name_json(file.path),
            "number": file.number,
            "of": file.total,
            "offset": file.offset,
            "bytes": file.size_bytes,
            "compression": file.compression,
            "records": file.records.records,
            "why": file.records.why,
        },
        "ended": place.ended,
        "epoch": place.epoch,
        "read": place.read.records,
        "buffered": [
            {
                "node": held.node.path,
                "elements": held.elements,
                "records": held.records,
                "rows": held.rows,
            }
            for held in place.buffered
        ],
        "consumed": {
            "records": consumed.records,
            "skipped": consumed.skipped,
            "epoch": consumed.epoch,
            "records_in_epoch": consumed.records_in_epoch,
            "why": consumed.why or (place.read.why if consumed.records is None else None),
            "hidden_by": None if consumed.hidden_by is None else consumed.hidden_by.path,
            "counted_at": None if consumed.counted_at is None else consumed.counted_at.path,
            "elements": consumed.elements,
        },
    }


def raw_lines(parts: Iterable[StatePart]) -> Iterator[str]:
    """The parts of a state, as they are stored."""
    for part in parts:
        yield name_text(part.name)
        for i, value in enumerate(part.values):
            yield f"  {name_text(value.key)}  {_raw_text(part, i)}"


def _raw_text(part: StatePart, i: int) -> str:
    value = part.values[i]
    shape = str(list(value.shape)) if value.shape else ""
    if value.size_bytes <= _SHOWN_BYTES:
        content = part.scalar(i)
        if isinstance(content, int):
            return str(content)
        if content is not None:
            return '"' + name_text(content.decode("utf-8", "surrogateescape")) + '"'
    return f"{value.dtype}{shape}, {value.size_bytes:,} bytes"


def raw_document(parts: Iterable[StatePart]) -> list[dict[str, object]]:
    """The same as JSON."""
    return [
        {
            "name": name_json(part.name),
            "values": [
                {
                    "key": name_json(value.key),
                    "dtype": value.dtype,
                    "shape": list(value.shape),
                    "bytes": value.size_bytes,
                    "value": _raw_value(part, i),
                }
                for i, value in enumerate(part.values)
            ],
        }
        for part in parts
    ]


def _raw_value(part: StatePart, i: int) -> int | str | None:
    if part.values[i].size_bytes > _SHOWN_BYTES:
        return None
    content = part.scalar(i)
    if isinstance(content, bytes):
        return name_json(content.decode("utf-8", "surrogateescape"))
    return content


_SHOWN_BYTES = 200
