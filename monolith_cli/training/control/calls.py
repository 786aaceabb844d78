"""Which threads answer a call of the Controller service, and how many calls are too many.

A call's headers decide, before anything of its message is read. Orders with the job's token have
threads of their own. Who only looks, and who is refused, is answered by one thread, in rounds: so
that many of them neither keep orders waiting nor the interpreter from training.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from monolith_cli.control.service import ALL_METHODS, READING_METHODS, SERVICE
from monolith_cli.training.control.refusals import CallRefusedError, check_presence

__all__ = ["Calls"]

_ORDER_THREADS = 8
_MOST_ORDERS = 64  # at once, those included that wait for a thread
_MOST_LOOKS = 256  # likewise; one that waits costs less than one that is refused and asks again
_ROUND_SECONDS = 0.03
_MOST_A_ROUND = 32

_Act = Callable[[Iterator[bytes], Any], Any]  # of the request's messages, and grpc's context


class Calls(grpc.GenericRpcHandler):
    """Gives each call to the threads for its kind.

    What the arguments raise ends the call if it is a `CallRefusedError`, and must not be anything
    else.

    Parameters
    ----------
    check
        Of an `authorization` header, "" for none: why such an order is refused, or None.
    take
        What those see who look, taken once a round, after they have asked.
    look
        The answer to them, of the method and what was taken.
    order
        Carries out an order: its method, the messages of its request, grpc's context.
    note_refused
        Is told of an order without the token: its method, grpc's context, and why.

    Attributes
    ----------
    orders
        The pool of threads for orders.
    """

    def __init__(
        self,
        check: Callable[[str], CallRefusedError | None],
        take: Callable[[], Any],
        look: Callable[[str, Any], Any],
        order: Callable[[str, Iterator[bytes], Any], Any],
        note_refused: Callable[[str, Any, str], object],
    ) -> None:
        self._check = check
        self._look = look
        self._order = order
        self._note_refused = note_refused
        self._rounds = _Rounds(take)
        self._methods = {f"/{SERVICE}/{method}": method for method in ALL_METHODS}
        self.orders = _Lane("orders", _ORDER_THREADS, _MOST_ORDERS)
        self._looks = _Lane("looks", 1, _MOST_LOOKS)
        self._rest = _Lane("rest", 1, None)

    def service(self, handler_call_details: Any) -> Any:
        """Called by grpc, in the one thread that takes calls in: waits for nothing."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        if method not in READING_METHODS:
            metadata = dict(handler_call_details.invocation_metadata or ())
            error = self._check(metadata.get("authorization", ""))
            if error is None:
                return self._handler(self.orders, lambda *asked: self._order(method, *asked))
            return self._handler(self._looks, self._refusing(method, error))
        return self._handler(self._looks, self._looking(method))

    def shut_down(self) -> None:
        """Let the threads end; calls that still wait for one are left to grpc."""
        for lane in (self.orders, self._looks, self._rest):
            lane.shutdown(wait=False, cancel_futures=True)

    def _looking(self, method: str) -> _Act:
        arrived = time.monotonic()

        def look(requests: Iterator[bytes], context: Any) -> Any:
            # Nobody waits for the message: it is empty, or of a newer client.
            check_presence(context)
            return self._look(method, self._rounds.look(arrived))

        return look

    def _refusing(self, method: str, error: CallRefusedError) -> _Act:
        arrived = time.monotonic()

        def refuse(requests: Iterator[bytes], context: Any) -> None:
            self._rounds.join(arrived)
            self._note_refused(method, context, str(error))
            raise error

        return refuse

    def _handler(self, lane: _Lane, act: _Act) -> Any:
        if lane.is_full:
            lane, act = self._rest, _refuse_too_many
        # A stream of one is the same on the wire, and grpc leaves it to us to wait for it.
        return grpc.stream_unary_rpc_method_handler(
            _Behavior(lane, act), response_serializer=lambda message: message.SerializeToString()
        )


def _refuse_too_many(requests: Iterator[bytes], context: Any) -> None:
    what = "too many calls at once: ask again"
    raise CallRefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, what)


class _Behavior:
    """What grpc calls; the attribute tells it in which threads."""

    def __init__(self, lane: _Lane, act: _Act) -> None:
        self.experimental_thread_pool = lane
        self._act = act

    def __call__(self, requests: Iterator[bytes], context: Any) -> Any:
        try:
            return self._act(requests, context)
        except CallRefusedError as error:
            context.abort(error.code, str(error))


class _Lane(ThreadPoolExecutor):
    """Threads, and how many calls they may have at once; None: any number."""

    def __init__(self, name: str, threads: int, most: int | None) -> None:
        super().__init__(threads, thread_name_prefix=f"controller-{name}")
        self._most = most
        self._count = 0
        self._count_lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        return self._most is not None and self._count >= self._most

    def submit(self, act: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future = super().submit(act, *arguments, **named)
        self._add(1)
        future.add_done_callback(lambda _: self._add(-1))
        return future

    def _add(self, number: int) -> None:
        with self._count_lock:
            self._count += number


class _Rounds:
    """Lets one thread answer so many calls at once, then none for a while, and so on.

    A step of the training is seldom in a round, however many ask; and they share what is taken.
    """

    def __init__(self, take: Callable[[], Any]) -> None:
        self._take = take
        self._began = 0.0
        self._left = 0
        self._taken: Any = None

    def join(self, arrived: float) -> None:
        """Wait for a round that begins after a call has arrived."""
        if arrived > self._began or not self._left:
            pause = self._began + _ROUND_SECONDS - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self._began, self._left, self._taken = time.monotonic(), _MOST_A_ROUND, None
        self._left -= 1

    def look(self, arrived: float) -> Any:
        """The same, and what is to be seen in that round."""
        self.join(arrived)
        if self._taken is None:
            self._taken = self._take()
        return self._taken
