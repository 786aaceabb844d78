"""Which threads answer a call of the Controller service, and how many calls are too many.

The call's headers decide, before its message is read. Orders with the job's token have threads of
their own. Calls that only look, or are refused, are answered by one thread, in rounds. So many of
them neither keep orders waiting nor slow down training.
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
_MOST_ORDERS = 64  # at once, including those that wait for a thread
_MOST_LOOKS = 256  # likewise; a waiting call costs less than one that is refused and asks again
_ROUND_SECONDS = 0.03
_MOST_A_ROUND = 32

_Act = Callable[[Iterator[bytes], Any], Any]  # gets the request's messages and grpc's context


class Calls(grpc.GenericRpcHandler):
    """Gives each call to the threads for its kind.

    If one of the callables raises `CallRefusedError`, that ends the call. They must not raise
    anything else.

    Parameters
    ----------
    check
        Gets an `authorization` header, "" for none; returns why such an order is refused, or None.
    take
        Reads the job's state for all calls of a round; called after they have come in.
    look
        Makes the answer to one of them, from its method and what was taken.
    order
        Carries out an order: gets its method, the messages of its request, and grpc's context.
    note_refused
        Called for an order without the token: gets its method, grpc's context, and the reason.

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
        """Called by grpc, in the only thread that accepts calls, so it never waits."""
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
        """Let the threads end; grpc handles the calls that still wait for one."""
        for lane in (self.orders, self._looks, self._rest):
            lane.shutdown(wait=False, cancel_futures=True)

    def _looking(self, method: str) -> _Act:
        arrived = time.monotonic()

        def look(requests: Iterator[bytes], context: Any) -> Any:
            # The message is not needed: it is empty, or from a newer client.
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
        # A stream of one is the same on the wire, and lets us wait for it instead of grpc.
        return grpc.stream_unary_rpc_method_handler(
            _Behavior(lane, act), response_serializer=lambda message: message.SerializeToString()
        )


def _refuse_too_many(requests: Iterator[bytes], context: Any) -> None:
    what = "too many calls at once: ask again"
    raise CallRefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, what)


class _Behavior:
    """What grpc calls; its attribute says in which threads."""

    def __init__(self, lane: _Lane, act: _Act) -> None:
        self.experimental_thread_pool = lane
        self._act = act

    def __call__(self, requests: Iterator[bytes], context: Any) -> Any:
        try:
            return self._act(requests, context)
        except CallRefusedError as error:
            context.abort(error.code, str(error))


class _Lane(ThreadPoolExecutor):
    """Threads, and how many calls they may have at once (None: any number)."""

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
    """Lets one thread answer many calls at once, then none for a while, and so on.

    So few training steps meet a round, however many calls there are; and they share one reading.
    """

    def __init__(self, take: Callable[[], Any]) -> None:
        self._take = take
        self._began = 0.0
        self._left = 0
        self._taken: Any = None

    def join(self, arrived: float) -> None:
        """Wait for a round that begins after the call has arrived."""
        if arrived > self._began or not self._left:
            pause = self._began + _ROUND_SECONDS - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self._began, self._left, self._taken = time.monotonic(), _MOST_A_ROUND, None
        self._left -= 1

    def look(self, arrived: float) -> Any:
        """The same, and return what was read in that round."""
        self.join(arrived)
        if self._taken is None:
            self._taken = self._take()
        return self._taken
