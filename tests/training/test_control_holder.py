"""Who holds a barrier over the Controller service, without a port and without a session."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from tf_support import tensorflow

SESSION = object()


class Barrier:
    """What a `BarrierOp` is asked here; `place` as the job itself does it."""

    capacity = 3

    def __init__(self) -> None:
        self.generation = 0
        self.placement = 0
        self.ttl_seconds: float | None = None

    def place(self, ttl_seconds: float | None = None) -> int:
        self.generation += 1
        self.placement, self.ttl_seconds = self.generation, ttl_seconds
        return self.generation

    def look(self, session: Any) -> Any:
        assert session is SESSION
        return SimpleNamespace(placement=self.placement)

    def place_barrier(self, session: Any, *, ttl_seconds: float | None) -> int:
        from monolith_cli.training.barrier_ops import BarrierAlreadyPlacedError

        assert session is SESSION
        if self.placement:
            raise BarrierAlreadyPlacedError("placed")
        return self.place(ttl_seconds)

    def remove_barrier(self, session: Any) -> None:
        assert session is SESSION
        self.placement = 0

    def set_ttl(self, session: Any, ttl_seconds: float | None) -> bool:
        assert session is SESSION
        self.ttl_seconds = ttl_seconds
        return self.placement != 0


class Context:
    """What grpc knows of a call."""

    def __init__(self, active: bool = True, left: float | None = None) -> None:
        self.is_active = lambda: active
        self.time_remaining = lambda: left


@pytest.fixture
def barrier() -> Barrier:
    tensorflow()
    return Barrier()


@pytest.fixture
def held(barrier: Barrier) -> Any:
    from monolith_cli.training.control.holder import HeldBarrier

    return HeldBarrier(barrier, SESSION)  # type: ignore[arg-type]


def refused(act: Callable[[], object]) -> tuple[str, str]:
    """The status and what is said with it."""
    from monolith_cli.training.control.refusals import CallRefusedError

    with pytest.raises(CallRefusedError) as raised:
        act()
    return raised.value.code.name, str(raised.value)


def test_the_holder_is_told_as_long_as_it_is_placed(held: Any, barrier: Barrier) -> None:
    assert held.look()[1] is None
    made = held.place("alice", "to look", 5.0, Context())
    assert (made.owner, made.reason, made.generation) == ("alice", "to look", 1)
    assert barrier.ttl_seconds == 5
    assert held.look()[1] is made
    assert held.who_placed(1) is made
    assert held.who_placed(2) is None
    barrier.placement = 0  # its time is over
    assert held.look()[1] is None
    assert held.who_placed(1) is made
    barrier.place()
    assert held.look()[1] is None


def test_one_at_a_time(held: Any, barrier: Barrier) -> None:
    held.place("alice", "two\nlines", None, Context())
    said = "the barrier was placed by alice 0 s ago: two\\nlines"
    assert refused(lambda: held.place("bob", "", None, Context())) == ("ALREADY_EXISTS", said)
    held.remove(owner="alice")
    held.place("", "", None, Context())
    said = "the barrier was placed by an original client 0 s ago"
    assert refused(lambda: held.place("bob", "", None, Context())) == ("ALREADY_EXISTS", said)
    held.remove(anonymous=True)
    barrier.place()
    said = "the barrier is placed already, by nobody known"
    assert refused(lambda: held.place("bob", "", None, Context())) == ("ALREADY_EXISTS", said)


def test_long_texts(held: Any, barrier: Barrier) -> None:
    code, said = refused(lambda: held.place("a" * 16_000, "é" * 193, None, Context()))
    assert (code, said) == (
        "INVALID_ARGUMENT",
        "owner and reason have 16386 bytes, and may have 16384",
    )
    assert not barrier.placement
    held.place("a" * 10_000, "b" * 6_000, None, Context())
    _, said = refused(lambda: held.place("bob", "", None, Context()))
    assert len(said) == 600
    assert "a" * 300 + " 0 s ago: bbb" in said


def test_whoever_has_gone_places_nothing(held: Any, barrier: Barrier) -> None:
    code, said = refused(lambda: held.place("alice", "", None, Context(active=False)))
    assert (code, said) == ("CANCELLED", "whoever asked has gone")
    assert barrier.placement == 0


@pytest.mark.parametrize(
    ("placed_by", "asks", "may"),
    [
        ("alice", {"owner": "alice"}, True),
        ("alice", {"owner": "bob"}, False),
        ("alice", {"owner": ""}, False),
        ("alice", {"owner": "alice", "lease_id": "another"}, False),
        ("alice", {"owner": "bob", "lease_id": "its own"}, True),
        ("alice", {"anonymous": True}, False),
        ("", {"anonymous": True}, True),
        ("", {"owner": ""}, False),
        ("", {"lease_id": "its own"}, True),
        (None, {"owner": "alice"}, False),
        (None, {"anonymous": True}, False),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_who_may_remove_it(
    held: Any, barrier: Barrier, placed_by: str | None, asks: dict[str, Any], may: bool, force: bool
) -> None:
    if placed_by is None:
        barrier.place()
    else:
        lease_id = held.place(placed_by, "", None, Context()).lease_id
        if asks.get("lease_id") == "its own":
            asks = {**asks, "lease_id": lease_id}
    if not may and not force:
        code, _ = refused(lambda: held.remove(**asks))
        assert code == "PERMISSION_DENIED"
        assert barrier.placement
        return
    before = {"alice": "alice", "": "an original client", None: "nobody known"}[placed_by]
    assert held.remove(**asks, force=force) == (None if may else before)
    assert barrier.placement == 0
    assert held.remove(owner="bob") is None  # nothing to remove


def test_leases(held: Any, barrier: Barrier) -> None:
    gone = ("NOT_FOUND", "that barrier is gone")
    old = held.place("alice", "", 1.0, Context())
    held.renew(old.lease_id, 7.5)
    assert barrier.ttl_seconds == 7.5
    assert refused(lambda: held.renew("", 1.0)) == gone
    held.remove(owner="alice")
    assert refused(lambda: held.renew(old.lease_id, 1.0)) == gone
    new = held.place("bob", "", None, Context())
    assert refused(lambda: held.renew(old.lease_id, 1.0)) == gone
    assert (held.owner_of(old.lease_id), held.owner_of(new.lease_id)) == ("alice", "bob")
    held.renew(new.lease_id, None)
    barrier.set_ttl = lambda session, ttl_seconds: False  # type: ignore[method-assign]
    assert refused(lambda: held.renew(new.lease_id, 1.0)) == gone
    for _ in range(100):
        held.remove(owner="bob")
        held.place("bob", "", None, Context())
    assert held.owner_of(old.lease_id) == ""


def test_a_look_waits_for_who_is_placing(held: Any, barrier: Barrier) -> None:
    """A barrier that is placed just now is not nobody's."""
    placed, go_on = threading.Event(), threading.Event()

    def slowly(session: Any, *, ttl_seconds: float | None) -> int:
        barrier.place()
        placed.set()
        go_on.wait(10)
        return barrier.generation

    barrier.place_barrier = slowly  # type: ignore[method-assign]
    thread = threading.Thread(target=held.place, args=("alice", "", None, Context()))
    thread.start()
    assert placed.wait(10)
    threading.Timer(0.1, go_on.set).start()
    _, holder = held.look()
    assert holder.owner == "alice"
    thread.join(10)


def test_a_look_does_not_wait_long(
    held: Any, barrier: Barrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import holder as module

    monkeypatch.setattr(module, "_HOLDER_SECONDS", 0.05)
    barrier.place()
    with held._lock:
        assert held.look()[1] is None
        assert held.who_placed(1) is None
    assert not held._lock.locked()


@pytest.mark.parametrize(
    ("ttl_ms", "seconds"), [(0, None), (1, 0.001), (1500, 1.5), (100 * 365 * 86_400_000, 3.1536e9)]
)
def test_times_to_live(ttl_ms: int, seconds: float | None) -> None:
    tensorflow()
    from monolith_cli.training.control.holder import seconds_to_live

    assert seconds_to_live(ttl_ms) == seconds


@pytest.mark.parametrize("ttl_ms", [-1, 100 * 365 * 86_400_000 + 1])
def test_no_times_to_live(ttl_ms: int) -> None:
    tensorflow()
    from monolith_cli.training.control.holder import seconds_to_live

    said = f"no time-to-live: {ttl_ms} ms"
    assert refused(lambda: seconds_to_live(ttl_ms)) == ("INVALID_ARGUMENT", said)


# --- saves that clients wait for --------------------------------------------------------------


class Saver:
    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[Any] = []
        self.error = error

    def trigger_save(self, session: Any, **options: Any) -> str:
        assert session is SESSION
        self.asked.append(options)
        if self.error is not None:
            raise self.error
        return "saved"


@pytest.mark.parametrize(
    ("left", "seconds"), [(None, 599.9), (1e300, 599.9), (86_400, 86_399.9), (5, 4.9), (-1, 0.1)]
)
def test_a_save_ends_before_its_call(left: float | None, seconds: float) -> None:
    tensorflow()
    from monolith_cli.training.control.asked_saves import AskedSaves

    saver = Saver()
    assert AskedSaves(saver, SESSION).save(Context(left=left), require_all=True) == "saved"
    [asked] = saver.asked
    assert asked == {"require_all": True, "timeout_seconds": pytest.approx(seconds)}


def test_what_a_save_is_refused_for() -> None:
    tensorflow()
    from monolith_cli.errors import UnfinishedWorkersError
    from monolith_cli.training.control.asked_saves import AskedSaves

    for error, said in (
        (UnfinishedWorkersError("worker 2"), ("FAILED_PRECONDITION", "worker 2")),
        (TimeoutError("not within 1 s"), ("DEADLINE_EXCEEDED", "not within 1 s")),
    ):
        saves = AskedSaves(Saver(error), SESSION)
        for _ in range(5):  # each leaves its place to the next
            assert refused(lambda s=saves: s.save(Context(), require_all=None)) == said


def test_more_saves_than_may_wait() -> None:
    tensorflow()
    from monolith_cli.training.control.asked_saves import AskedSaves

    go_on = threading.Event()
    waiting = threading.Semaphore(0)

    class Slow(Saver):
        def trigger_save(self, session: Any, **options: Any) -> str:
            waiting.release()
            go_on.wait(10)
            return "saved"

    saves = AskedSaves(Slow(), SESSION)
    threads = [
        threading.Thread(target=saves.save, args=(Context(),), kwargs={"require_all": None})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=10)
    said = ("RESOURCE_EXHAUSTED", "4 saves are waited for already")
    assert refused(lambda: saves.save(Context(), require_all=None)) == said
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert saves.save(Context(), require_all=None) == "saved"


def test_whatever_goes_wrong_becomes_a_status() -> None:
    tensorflow()
    from monolith_cli.training.control.refusals import CallRefusedError, failing

    def fail(error: Exception) -> None:
        with failing("SaveNow"):
            raise error

    assert refused(lambda: fail(OSError("full\nup"))) == ("ABORTED", "monolith: full")
    own = CallRefusedError(grpc.StatusCode.NOT_FOUND, "gone")
    assert refused(lambda: fail(own)) == ("NOT_FOUND", "gone")
