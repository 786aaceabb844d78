"""How far an input has come, as it is seen behind one node: what the steps of the way make on.

A value of this is never changed: each node of the pipeline makes the next one of it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.iterators.flow import Flow
from monolith_cli.iterators.place import Buffered, Consumed

if TYPE_CHECKING:
    from monolith_cli.iterators.flow import Stage
    from monolith_cli.iterators.state import Node

__all__ = [
    "MISFIT",
    "NESTED",
    "Element",
    "Epochs",
    "Fallback",
    "Hidden",
    "Progress",
    "Span",
    "Unknown",
    "consumed_of",
]

MISFIT = "the numbers of the state do not fit each other"
NESTED = "it repeats what is repeated"


class Unknown(NamedTuple):
    """A number that does not follow from the state, and why; empty where nothing more is to say."""

    reason: str = ""


class Element(Enum):
    """What an element is, that a node returns."""

    EACH = auto()
    """A record; and each record of the source is one of them."""
    RECORD = auto()
    """A record, but some may have been left out."""
    ROWS = auto()
    """As many records as its first dimension has rows."""
    OTHER = auto()

    @property
    def is_record(self) -> bool:
        return self in (Element.EACH, Element.RECORD)


class Span(Enum):
    """What a flow counts from."""

    START = auto()
    """The start of the input, as far as it does not repeat what is repeated."""
    EPOCH = auto()
    """The start of the last epoch."""
    COUNTED = auto()
    """The start of the input, whatever repeats: a shuffle has counted."""


class Epochs(NamedTuple):
    """The epochs that are over; how many records each has; or why that is not known."""

    over: int
    records: int | None = None
    why: str = ""


class Fallback(NamedTuple):
    """What there is to go by where the flow is not known, because the size of batches is not.

    Attributes
    ----------
    flow
        What has gone into batches, without what is known to be held after that.
    in_rows
        Whether the rows of elements that are held may be taken off it.
    """

    flow: Flow
    in_rows: bool


class Hidden(NamedTuple):
    """That records are not counted any more, but elements of a node.

    Attributes
    ----------
    node
        The node.
    hides
        Whether it is itself what hides how much the input was.
    why
        Why records are not counted, where it is not.
    """

    node: Node
    hides: bool = True
    why: str = ""


class Progress(NamedTuple):
    """What has come out of a node.

    Attributes
    ----------
    flow
        The elements that it has returned.
    span
        What they are counted from.
    element
        What each of them is.
    has_ended
        Whether there are no more.
    epochs
        None if nothing repeats.
    buffered
        What is held up to there, from the source on.
    fallback
    are_records
        Whether what is counted is records; else it is elements of a node that hides them.
    hidden
        Since when it is not, the last time; None if it is still that of the source.
    """

    flow: Flow | Unknown
    span: Span = Span.START
    element: Element = Element.EACH
    has_ended: bool = False
    epochs: Epochs | None = None
    buffered: tuple[Buffered, ...] = ()
    fallback: Fallback | None = None
    are_records: bool = True
    hidden: Hidden | None = None

    def given_up(self, unknown: Unknown) -> Progress:
        """The same with a flow that is not known: for the reason that came first."""
        if isinstance(self.flow, Unknown) and self.flow.reason:
            return self
        return self._replace(flow=unknown)

    def staged(self, stage: Stage, ended: bool = False) -> Progress:
        """What a node that returns another number of elements makes of it."""
        flow = self.flow if isinstance(self.flow, Unknown) else stage(self.flow, ended)
        element = Element.RECORD if self.element is Element.EACH else self.element
        return self._replace(flow=flow, element=element, fallback=None)

    def mapped(self) -> Progress:
        """What a function makes of it, which may change how many rows an element has."""
        element = Element.OTHER if self.element is Element.ROWS else self.element
        fallback = None if self.fallback is None else self.fallback._replace(in_rows=False)
        return self._replace(element=element, fallback=fallback)

    def held(self, node: Node, elements: int, rows: int | None) -> Progress:
        """The same without the last elements, which are in a node's buffer.

        Parameters
        ----------
        rows
            Of all of them; None if they have none, or different ones.
        """
        if not elements:
            return self
        flow, fallback = self.flow, self.fallback
        records: int | None = None
        if isinstance(flow, Flow):
            before = flow.emitted
            records = flow.delivered(before) - flow.delivered(before - elements)
            flow = flow.less(elements)
        elif self.element.is_record:
            records = elements
        elif self.element is Element.ROWS:
            records = rows
        if fallback is not None:
            is_counted = fallback.in_rows and rows is not None
            fallback = Fallback(fallback.flow.less(rows or 0), True) if is_counted else None
        is_batches = self.element is Element.ROWS
        held = Buffered(
            node,
            elements,
            records if self.are_records else None,
            rows if is_batches else None,
        )
        return self._replace(flow=flow, fallback=fallback, buffered=(*self.buffered, held))

    def why_in_epoch(self) -> Unknown:
        """Why what is counted in an epoch only is not known of all."""
        return Unknown("" if self.epochs is None else self.epochs.why)


def consumed_of(progress: Progress, is_nested: bool) -> Consumed:
    """What training has taken of what has come out of the last node.

    Parameters
    ----------
    is_nested
        Whether the pipeline repeats what is repeated.
    """
    flow, fallback = progress.flow, progress.fallback
    why = flow.reason if isinstance(flow, Unknown) else ""
    if progress.hidden is not None:
        return _counted(progress, progress.hidden, why)
    goes_by_fallback = isinstance(flow, Unknown) and fallback is not None
    if goes_by_fallback and fallback is not None:
        flow = fallback.flow
    if isinstance(flow, Unknown):
        return Consumed(why=why or None)
    in_epoch = progress.span is Span.EPOCH
    if flow.emitted < 0:
        if in_epoch:
            whole = progress.why_in_epoch().reason
            return Consumed(why=f"what is buffered is also of the epoch before; {whole}")
        return Consumed(why=MISFIT)
    taken = flow.position(flow.emitted)
    if is_nested and progress.span is not Span.COUNTED:
        return Consumed(why=NESTED)
    epochs = progress.epochs
    if in_epoch:
        over = 0 if epochs is None else epochs.over
        whole = progress.why_in_epoch().reason
        return Consumed(epoch=over + 1, records_in_epoch=taken, why=whole or None)
    skipped: int | None = taken - flow.delivered(flow.emitted)
    if skipped is not None and skipped < 0:
        return Consumed(why=MISFIT)
    if goes_by_fallback and fallback is not None and not fallback.in_rows:
        skipped = None
    if epochs is None or is_nested:
        return Consumed(taken, skipped)
    if epochs.records:
        epoch = max(0, taken - 1) // epochs.records
        return Consumed(taken, skipped, epoch + 1, taken - epoch * epochs.records)
    if not epochs.over:
        return Consumed(taken, skipped, 1, taken)
    return Consumed(taken, skipped)


def _counted(progress: Progress, hidden: Hidden, why: str) -> Consumed:
    """What was taken of the elements of a node, records being hidden."""
    flow = progress.flow
    hidden_by = hidden.node if hidden.hides else None
    if isinstance(flow, Unknown) and progress.fallback is not None:
        flow = progress.fallback.flow
    if isinstance(flow, Unknown) or progress.span is Span.EPOCH or flow.emitted < 0:
        if progress.span is Span.EPOCH:
            why = progress.why_in_epoch().reason
        return Consumed(why=why or hidden.why or None, hidden_by=hidden_by)
    return Consumed(
        why=hidden.why or None,
        hidden_by=hidden_by,
        counted_at=hidden.node,
        elements=flow.delivered(flow.emitted),
    )
