"""Where a worker's input is: what `iterator show` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    BYTES,
    COUNT,
    NODE,
    Block,
    Column,
    Facts,
    Omitted,
    Report,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from typing import Any

    from monolith_cli.iterators.inputs import IteratorPosition
    from monolith_cli.iterators.place import Buffered, FilePlace, Place
    from monolith_cli.iterators.records import Count
    from monolith_cli.iterators.state import Node
    from monolith_cli.iterators.workers import WorkerState

__all__ = ["InputReport", "input_notes"]

_LABEL_WIDTH = 8


class InputReport(Report):
    """Where a worker's input is: in words, then the nodes of each iterator, and its fingerprint."""

    def __init__(self, state: WorkerState, iterators: Sequence[IteratorPosition]) -> None:
        self.state = state
        self.iterators = iterators

    def sections(self) -> Iterator[Section]:
        yield [Title(_title(self.state))]
        for iterator in self.iterators:
            yield _iterator_blocks(iterator)
            yield [_nodes(iterator.state.root)]
            if iterator.pipeline:
                yield _fingerprint(iterator)

    def document(self) -> dict[str, object]:
        state = self.state
        return {
            "worker": state.worker,
            "step": state.step,
            "model_step": state.model_step,
            "behind": state.behind,
            "path": state.prefix,
            "bytes": sum(iterator.state.size_bytes for iterator in self.iterators),
            "iterators": [_iterator_document(iterator) for iterator in self.iterators],
            "remarks": list(state.remarks),
        }


def input_notes(iterators: Sequence[IteratorPosition], input_dir: str | None) -> Iterator[str]:
    """What would tell more.

    Parameters
    ----------
    input_dir
        Where the input's files were looked for; None for where they were.
    """
    files = [place.file for each in iterators for place in each.places if place.file]
    if any(file.path and file.records.is_absent for file in files):
        there = "where they were; --input-dir says where they are" if input_dir is None else "there"
        yield f"the input's files are not {there}"
    if not all(each.pipeline for each in iterators):
        yield "without a fingerprint, which only our jobs save, less is known about an input"


def _title(state: WorkerState) -> str:
    who = (state.prefix or "") if state.worker is None else f"worker {state.worker}"
    if state.worker == 0:
        who += " (the chief)"
    text = who if state.step is None else f"{who} at step {state.step}"
    if state.behind:
        side = "behind" if state.behind > 0 else "ahead of"
        text += f", {count_text(abs(state.behind), 'step')} {side} the model's {state.model_step}"
    elif state.behind == 0:
        text += ", the model's"
    return text


def _iterator_blocks(iterator: IteratorPosition) -> Section:
    size = bytes_text(iterator.state.size_bytes)
    parts = count_text(iterator.state.parts, "part")
    rows = [row for place in iterator.places for row in _place_rows(place)]
    rows += [*_shuffle_rows(iterator), *_odd_end_rows(iterator)]
    return [
        Title(f"iterator {iterator.state.name}", f"  {size} in {parts}"),
        Facts(rows, indent=2, label_width=_LABEL_WIDTH, wraps=True),
    ]


def _place_rows(place: Place) -> Iterator[tuple[str, str]]:
    unit = place.unit
    file = place.file
    if file is not None:
        name = "a file whose name is not known" if file.path is None else file.path
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
        yield "read", f"not known: {why or ''}" if told else "not known"
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
        yield _ODD_ENDS[odd.kind], f"{odd.path}: {odd}"


_ODD_ENDS = {"cut_header": "cut", "cut_stream": "cut", "unread_rest": "unread"}


def _before(count: Count, unit: str) -> str:
    if count.records is None:
        return f"after an unknown number of {unit}: {count.why or ''}"
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
        text += f": {consumed.why}"
    if consumed.counted_at is not None and consumed.elements is not None:
        text += f"; {count_text(consumed.elements, 'element')} of those that"
        text += f" {consumed.counted_at.op} has returned"
    return text


def _nodes(root: Node) -> Table:
    columns = (Column("node", NODE), Column("size", BYTES), Column("buffered", COUNT), Column(""))
    rows = [
        (node.path, node.size_bytes, sum(node.elements.values()) or None, _values_text(node))
        for node in sorted(root.walk(), key=lambda node: -node.size_bytes)
        if node is not root or node.size_bytes
    ]
    return Table(columns, rows, indent=2, plain=True)


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
    return " ".join(texts)


_TOLD = ("i", "epoch", "offset", "current_pos", "element_index", "index", "next", "next_index")


def _fingerprint(iterator: IteratorPosition) -> Iterator[Block]:
    yield Text(f"fingerprint {iterator.fingerprint.get('digest', '')}", indent=2)
    for node in iterator.pipeline.nodes:
        yield Text(f"{node['op']}  {_parameters_text(node['parameters'])}".rstrip(), indent=4)
    files = iterator.pipeline.files or []
    width = len(str(len(files)))
    current = {place.file.number for place in iterator.places if place.file}
    last = 0
    for number, file in enumerate(files, 1):
        if number > 3 and number != len(files) and not current & {number - 1, number, number + 1}:
            continue
        if number != last + 1:
            yield Omitted(indent=4, faint=False)
        size = "was not there" if file.size_bytes is None else f"{file.size_bytes:,} bytes"
        mark = "  <- here" if number in current else ""
        yield Text(f"{number:>{width}}  {file.path}  {size}{mark}", indent=4)
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
    return " ".join(texts)


def _short(value: Any) -> str:
    if value == [{"files": True}]:
        return "the files"
    from json import dumps

    text = dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _iterator_document(iterator: IteratorPosition) -> dict[str, object]:
    nodes = sorted(iterator.state.root.walk(), key=lambda node: -node.size_bytes)
    return {
        "name": iterator.state.name,
        "bytes": iterator.state.size_bytes,
        "readers": [_place_document(place) for place in iterator.places],
        "nodes": [
            {
                "path": node.path,
                "op": node.op,
                "bytes": node.size_bytes,
                "elements": sum(node.elements.values()),
            }
            for node in nodes
            if node.path or node.size_bytes
        ],
        "odd_ends": [
            {
                "path": odd.path,
                "kind": odd.kind,
                "content_bytes": odd.content_bytes,
                "rest_bytes": odd.rest_bytes,
                "message": str(odd),
            }
            for odd in iterator.odd_ends
        ],
        "fingerprint": iterator.fingerprint,
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
            "path": file.path,
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
