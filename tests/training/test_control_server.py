"""A job's Controller service, asked by bare grpc."""

from __future__ import annotations

import functools
import json
import os
import stat
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from control_support import (
    ADDRESS,
    LOG,
    TOKEN,
    Client,
    Running,
    eventually,
    refused,
    running,
    together,
)
from save_support import steps
from tf_support import tensorflow

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tensorflow()
    for name in ("MONOLITH_CONTROLLER_TOKEN", "MONOLITH_CONTROLLER_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # TensorFlow's writer of summaries lives as long as the process; grpc's poll for its
        # channels, of clients that is, ends some time after them.
        if type(thread).__name__ != "_EventLoggerThread" and "channel" not in thread.name:
            thread.join(5)
            assert not thread.is_alive(), thread
    assert not (tmp_path / ADDRESS).exists()


# --- an original client -----------------------------------------------------------------------


def test_the_five_methods_of_an_original_client(tmp_path: Path) -> None:
    with running(tmp_path, 1, 2, allow_without_token=True) as job, Client(job.address) as client:
        assert not (tmp_path / TOKEN).exists()
        blocks = client("GetBlockStatus")
        assert (blocks.blocked_indices, blocks.unblocked_indices) == ([], [0, 1, 2])

        client("StopTraining")
        eventually(lambda: client("GetBlockStatus").blocked_indices == [0, 1, 2])
        assert client("GetBlockStatus").unblocked_indices == []
        said = refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        assert said.startswith("the barrier was placed by an original client 0 s ago")
        info = client("GetInfo")
        assert (info.placed, info.owner, info.reason, info.expires_in_ms) == (True, "", "", 0)

        client("SaveCheckpoint", timeout=None)
        [step] = steps(tmp_path)
        assert job.states(step) == [0, 1, 2]
        assert client("GetTrainingStatus").global_step >= step

        client("ResumeTraining")
        eventually(lambda: client("GetBlockStatus").blocked_indices == [])
        client("ResumeTraining")  # nothing to remove
        job.goes_on()


def test_an_original_client_does_not_remove_what_somebody_owns(tmp_path: Path) -> None:
    with running(tmp_path, allow_without_token=True) as job, job.client() as client:
        client("PlaceBarrier", owner="alice", reason="to look")
        said = refused("PERMISSION_DENIED", lambda: client("ResumeTraining"))
        assert said == "the barrier was placed by alice 0 s ago: to look"
        said = refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        assert said == "the barrier was placed by alice 0 s ago: to look"
        client("RemoveBarrier", owner="alice")
        assert not client("GetInfo").placed
        # The job's own.
        job.barrier.place_barrier(job.job.raw, "Maintenance")
        said = refused("PERMISSION_DENIED", lambda: client("ResumeTraining"))
        assert said == "the barrier is placed already, by nobody known"
        client("RemoveBarrier", force=True)


# --- owners, leases, times-to-live ------------------------------------------------------------


def test_a_barrier_has_an_owner(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        placed = client("PlaceBarrier", owner="alice", reason="to look", ttl_ms=60_000)
        assert len(placed.lease_id) == 32
        assert placed.expires_in_ms == 60_000
        eventually(lambda: client("GetInfo").blocked_workers == [1])
        info = client("GetInfo")
        assert info.model_dir == str(tmp_path)
        assert (info.placed, info.owner, info.reason) == (True, "alice", "to look")
        assert (info.capacity, info.generation) == (2, placed.generation)
        assert 0 <= info.placed_ms_ago < 10_000
        assert 50_000 < info.expires_in_ms <= 60_000
        assert (info.blocked_workers, info.unblocked_workers) == ([1], [])
        assert info.last_saved_step == 0
        assert not info.saving
        assert info.run_id

        for fields in ({"owner": "bob"}, {"owner": ""}, {"lease_id": "x", "owner": "alice"}):
            said = refused("PERMISSION_DENIED", lambda f=fields: client("RemoveBarrier", **f))
            assert said == "the barrier was placed by alice 0 s ago: to look"
        client("RemoveBarrier", owner="alice")
        eventually(lambda: client("GetInfo").unblocked_workers == [1])
        info = client("GetInfo")
        assert (info.placed, info.owner, info.reason, info.placed_ms_ago) == (False, "", "", 0)
        client("RemoveBarrier", owner="bob")  # of nothing

        placed = client("PlaceBarrier", owner="alice")
        client("RemoveBarrier", lease_id=placed.lease_id)
        client("PlaceBarrier", owner="alice")
        client("RemoveBarrier", owner="bob", force=True)
        # Without an owner: the lease, or force.
        placed = client("PlaceBarrier")
        refused("PERMISSION_DENIED", lambda: client("RemoveBarrier"))
        client("RemoveBarrier", lease_id=placed.lease_id)
        assert not client("GetInfo").placed


def test_a_lease_of_a_barrier_that_is_gone(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        old = client("PlaceBarrier", owner="alice", ttl_ms=60_000)
        client("RemoveBarrier", lease_id=old.lease_id)
        said = refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=old.lease_id))
        assert said == "that barrier is gone"
        new = client("PlaceBarrier", owner="alice")
        # Somebody's second one is not that which his first command held.
        for lease_id in (old.lease_id, ""):
            refused("NOT_FOUND", lambda i=lease_id: client("RenewBarrier", lease_id=i))
        refused("PERMISSION_DENIED", lambda: client("RemoveBarrier", lease_id=old.lease_id))
        assert client("GetInfo").placed
        client("RenewBarrier", lease_id=new.lease_id, ttl_ms=1000)
        assert 0 < client("GetInfo").expires_in_ms <= 1000
        client("RenewBarrier", lease_id=new.lease_id)
        assert client("GetInfo").expires_in_ms == 0
        assert [entry["method"] for entry in job.log()].count("RenewBarrier") == 3  # the refused


def test_a_time_to_live_is_over(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        lease = client("PlaceBarrier", owner="alice", ttl_ms=400).lease_id
        for _ in range(5):
            time.sleep(0.2)
            client("RenewBarrier", lease_id=lease, ttl_ms=400)
        assert client("GetInfo").placed
        eventually(lambda: not client("GetInfo").placed, 2)
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=lease, ttl_ms=400))
        eventually(lambda: client("GetInfo").unblocked_workers == [1])
        for ttl_ms in (-1, -(1 << 63), (1 << 63) - 1):
            for method in ("PlaceBarrier", "RenewBarrier"):
                refused("INVALID_ARGUMENT", lambda m=method, t=ttl_ms: client(m, ttl_ms=t))
        assert not client("GetInfo").placed


def test_of_two_who_place_at_once_one_wins(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        for _ in range(20):
            said = together(2, lambda i: client("PlaceBarrier", owner=f"owner-{i}"))
            [winner] = [i for i, one in enumerate(said) if not isinstance(one, grpc.RpcError)]
            assert said[1 - winner].code() == grpc.StatusCode.ALREADY_EXISTS
            assert f"placed by owner-{winner} 0 s ago" in said[1 - winner].details()
            assert client("GetInfo").owner == f"owner-{winner}"
            client("RemoveBarrier", lease_id=said[winner].lease_id)


def test_clocks_need_not_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for the time of day."""
    without = types.SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    for module in ("control_server", "controller", "lease"):
        monkeypatch.setattr(f"monolith_cli.training.{module}.time", without)
    with running(tmp_path, 1) as job, job.client() as client:
        client("PlaceBarrier", owner="alice", ttl_ms=60_000)
        info = client("GetInfo")
        assert 0 <= info.placed_ms_ago < 30_000
        assert 30_000 < info.expires_in_ms <= 60_000
        client("RemoveBarrier", owner="alice")


def test_a_thousand_times_placed_and_removed(tmp_path: Path) -> None:
    with running(tmp_path, 1, 2) as job, job.client() as client:
        before = job.at
        generations = []
        for _ in range(1000):
            placed = client("PlaceBarrier", owner="loop")
            generations.append(placed.generation)
            client("RemoveBarrier", lease_id=placed.lease_id)
        assert len(set(generations)) == 1000
        eventually(lambda: client("GetInfo").unblocked_workers == [1, 2])
        assert not client("GetInfo").placed
        assert job.at > before
        assert len(job.log()) == 2000


# --- saves ------------------------------------------------------------------------------------


def test_save_now_while_a_barrier_is_held(tmp_path: Path) -> None:
    with running(tmp_path, 1, 2) as job, job.client() as client:
        client("StopTraining")
        eventually(lambda: client("GetInfo").blocked_workers == [1, 2])
        saved = client("SaveNow", reason="keep", owner="alice", require_all=True)
        assert saved.path == str(tmp_path / f"model.ckpt-{saved.step}")
        assert (saved.finished_workers, saved.unfinished_workers) == ([0, 1, 2], [])
        assert steps(tmp_path) == [saved.step]
        assert job.states(saved.step) == [0, 1, 2]
        info = client("GetInfo")
        assert info.placed  # still
        assert info.blocked_workers == [1, 2]
        assert info.last_saved_step == saved.step
        client("ResumeTraining")
        eventually(lambda: client("GetInfo").unblocked_workers == [1, 2])
        assert client("SaveNow").step > saved.step


def test_a_save_without_stragglers(tmp_path: Path) -> None:
    with running(tmp_path, 1, capacity=4, max_pending_seconds=0.3) as job, job.client() as client:
        said = refused("FAILED_PRECONDITION", lambda: client("SaveNow", require_all=True))
        assert said == "workers [2, 3] have not saved their input"
        assert steps(tmp_path) == []
        assert not client("GetInfo").placed
        saved = client("SaveNow")
        assert (saved.finished_workers, saved.unfinished_workers) == ([0, 1], [2, 3])
        assert steps(tmp_path) == [saved.step]
        assert [entry["result"] for entry in job.log()] == [said, "done"]


def test_a_save_that_takes_too_long(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        hold, held = threading.Event(), threading.Event()
        job.during_step = lambda: (held.set(), hold.wait(20))
        held.wait(10)
        start = time.monotonic()
        refused("DEADLINE_EXCEEDED", lambda: client("SaveNow", timeout=0.5))
        assert time.monotonic() - start < 2
        eventually(lambda: [entry["method"] for entry in job.log()] == ["SaveNow"])
        job.during_step = lambda: None
        hold.set()
        job.goes_on()
        assert steps(tmp_path) == []  # nobody waits for it any more
        assert not client("GetInfo").placed


class Slow:
    """A listener whose save waits until it is let go."""

    def __init__(self) -> None:
        from save_support import listener

        self.started, self.go = threading.Event(), threading.Event()
        self.listener = listener(before=self._before)

    def _before(self, session: Any, step: int | None) -> None:
        self.started.set()
        assert self.go.wait(20)


def test_placed_during_a_save(tmp_path: Path) -> None:
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        save = client.start("SaveNow")
        slow.started.wait(10)
        info = client("GetInfo")
        assert (info.saving, info.placed, info.owner) == (True, True, "")
        client("RemoveBarrier", owner="bob")  # that of a save ends by itself
        lease = client("PlaceBarrier", owner="alice").lease_id
        assert client("GetInfo").owner == "alice"
        refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        slow.go.set()
        assert save.result().finished_workers == [0, 1]
        info = client("GetInfo")
        assert (info.saving, info.placed, info.owner) == (False, True, "alice")
        assert info.blocked_workers == [1]
        client("RemoveBarrier", lease_id=lease)
        assert not client("GetInfo").placed


def test_removed_during_a_save(tmp_path: Path) -> None:
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        lease = client("PlaceBarrier", owner="alice").lease_id
        save = client.start("SaveNow")
        slow.started.wait(10)
        client("RemoveBarrier", lease_id=lease)
        client("RemoveBarrier", owner="alice")  # once more does no harm
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=lease, ttl_ms=1000))
        refused("PERMISSION_DENIED", lambda: client("RemoveBarrier", owner="bob"))
        assert client("GetInfo").blocked_workers == [1]  # the save goes on
        slow.go.set()
        assert save.result().finished_workers == [0, 1]
        assert not client("GetInfo").placed
        eventually(lambda: client("GetInfo").unblocked_workers == [1])


def test_more_saves_than_may_wait(tmp_path: Path) -> None:
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        saves = [client.start("SaveNow")]
        slow.started.wait(10)
        saves += [client.start("SaveNow" if i else "SaveCheckpoint") for i in range(3)]
        eventually(lambda: job.job.hook._requests._waiting.__len__() == 3)
        said = refused("RESOURCE_EXHAUSTED", lambda: client("SaveNow"))
        assert said == "4 saves are waited for already"
        assert client("GetInfo").saving  # others are answered
        client("PlaceBarrier", owner="alice")
        slow.go.set()
        assert [save.result() is not None for save in saves] == [True] * 4
        client("SaveNow")


def test_what_a_save_raises_comes_to_whoever_asked(tmp_path: Path) -> None:
    from save_support import listener

    def fail(session: Any, step: int | None) -> None:
        raise ValueError("a listener's\nfault")

    failing = listener(before=fail)
    with running(tmp_path, 1, listeners=[failing]) as job, job.client() as client:
        said = refused("ABORTED", lambda: client("SaveNow", owner="alice"))
        assert said == "monolith: a listener's"
        [entry] = job.log()
        assert (entry["owner"], entry["result"]) == ("alice", said)
        assert not client("GetInfo").placed
        job.goes_on()


def test_what_a_callback_raises_comes_to_whoever_placed(tmp_path: Path) -> None:
    def fail(action: str, session: Any) -> None:
        if not action:
            raise KeyError("callback")

    with running(tmp_path, callback=fail) as job, job.client() as client:
        refused("ABORTED", lambda: client("PlaceBarrier", owner="alice"))
        assert not client("GetInfo").placed
        assert [entry["method"] for entry in job.log()] == ["PlaceBarrier"]


def test_stop_job(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        client("PlaceBarrier", owner="alice")
        client("StopJob", reason="enough", owner="bob")
        assert job.stop.wait(10)  # by itself
        eventually(lambda: job.server.address is None)
        [step] = steps(tmp_path)  # the last one
        assert job.states(step) == [0]
    assert [(e["method"], e["owner"], e["reason"]) for e in job.log()] == [
        ("PlaceBarrier", "alice", ""),
        ("StopJob", "bob", "enough"),
    ]


# --- the token --------------------------------------------------------------------------------

CHANGING = [
    "StopTraining",
    "ResumeTraining",
    "SaveCheckpoint",
    "PlaceBarrier",
    "RenewBarrier",
    "RemoveBarrier",
    "SaveNow",
    "StopJob",
]


def test_the_token_is_secret_and_of_one_session(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        os.umask(umask := os.umask(0))
        with running(tmp_path) as job:
            status = os.stat(tmp_path / TOKEN)
            assert stat.S_IMODE(status.st_mode) == 0o600
            assert len(job.token) >= 43  # 32 bytes
            seen.add(job.token)
        assert not (tmp_path / TOKEN).exists()
        assert os.umask(umask) == umask
    assert len(seen) == 2


def test_orders_need_the_token(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        given = [None, "", job.token[:-1], job.token + "x", "wrong"]
        for token in given:
            with job.client(token=token) as client:
                for method in CHANGING:
                    said = refused("UNAUTHENTICATED", lambda c=client, m=method: c(m))
                    missing = "this job takes orders only with its token"
                    assert said == (missing if token is None else "a wrong token")
                for method in ("GetInfo", "GetBlockStatus", "GetTrainingStatus"):
                    client(method)
        with job.client(token=None) as client:
            client.metadata = [("authorization", job.token)]  # the scheme is missing
            refused("UNAUTHENTICATED", lambda: client("StopTraining"))
            client.metadata = [("authorization", f"Bearer {job.token}")]
            client("StopTraining")
        log = job.log()
        assert [entry["method"] for entry in log[: len(CHANGING)]] == CHANGING
        assert len(log) == len(given) * len(CHANGING) + 2
        assert all(entry["peer"].startswith("ipv4:127.0.0.1:") for entry in log)
        assert steps(tmp_path) == []


def test_a_token_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "given")
    with running(tmp_path) as job:
        assert not (tmp_path / TOKEN).exists()
        with job.client(token="given") as client:
            client("StopTraining")
        with job.client(token=None) as client:
            refused("UNAUTHENTICATED", lambda: client("StopTraining"))


def test_a_token_of_a_secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("given\n")
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(secret))
    with running(tmp_path / "model") as job:
        assert not (tmp_path / "model" / TOKEN).exists()
        with job.client(token="given") as client:
            client("StopTraining")
    secret.unlink()
    with (
        pytest.raises(FileNotFoundError, match="secret: not there"),
        running(tmp_path / "model"),
    ):
        pass


def test_an_empty_secret_file_is_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("\n")
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "secret"))
    with running(tmp_path / "model") as job:
        for token in (None, ""):
            with job.client(token=token) as client:
                said = refused("PERMISSION_DENIED", lambda c=client: c("StopTraining"))
                assert "MONOLITH_CONTROLLER_TOKEN" in said


@pytest.mark.parametrize("what", ["mode", "owner", "unwritable"])
def test_no_token_where_none_can_be_secret(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.errors import WriteError
    from monolith_cli.training import control_server

    warnings: list[str] = []
    warn = control_server.logging.warning
    monkeypatch.setattr(
        control_server.logging,
        "warning",
        lambda text, *args: (warnings.append(text % args), warn(text, *args)),
    )
    real = os.stat

    def changed(path: Any, **options: Any) -> Any:
        status = real(path, **options)
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(TOKEN):
            fields = list(status)
            if what == "mode":
                fields[stat.ST_MODE] = stat.S_IFREG | 0o777  # as on a share of Windows
            else:
                fields[stat.ST_UID] += 1
            return os.stat_result(fields)
        return status

    if what == "unwritable":
        write = control_server.atomic_write

        def refuse(path: str, *arguments: Any, **options: Any) -> None:
            if path.endswith(TOKEN):
                raise WriteError("not written: Operation not permitted", path=path)
            write(path, *arguments, **options)

        monkeypatch.setattr(control_server, "atomic_write", refuse)
    else:
        monkeypatch.setattr(control_server.os, "stat", changed)
    with running(tmp_path) as job, job.client(token=None) as client:
        assert not (tmp_path / TOKEN).exists()
        assert [text for text in warnings if text.startswith("The job takes no orders")]
        for method in CHANGING:
            said = refused("PERMISSION_DENIED", lambda m=method: client(m))
            assert said.startswith("this job has no token, and so takes no orders")
        assert not client("GetInfo").placed


# --- the log ----------------------------------------------------------------------------------


def test_the_log_has_a_line_for_each(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text('{"method": "of a run before"}\n{"torn')
    with running(tmp_path, 1) as job, job.client() as client:
        client("GetInfo")
        lease = client("PlaceBarrier", owner="alice", reason='to\n"look" ä', ttl_ms=9000).lease_id
        client("RenewBarrier", lease_id=lease, ttl_ms=9000)
        refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        client("SaveNow", owner="alice", reason="x" * 5000)
        client("RemoveBarrier", owner="alice", reason="done")
        port = job.address.rpartition(":")[2]
    first, torn, *lines = (tmp_path / LOG).read_text().splitlines()
    assert (first, torn) == ('{"method": "of a run before"}', '{"torn')
    entries = [json.loads(line) for line in lines]
    assert [list(entry) for entry in entries] == [
        ["time", "method", "owner", "peer", "reason", "result"]
    ] * 4
    assert [(e["method"], e["owner"], e["reason"], e["result"][:30]) for e in entries] == [
        ("PlaceBarrier", "alice", 'to\n"look" ä', "done"),
        ("StopTraining", "", "", "the barrier was placed by alic"),
        ("SaveNow", "alice", "x" * 1000, "done"),
        ("RemoveBarrier", "alice", "done", "done"),
    ]
    assert all(entry["time"].endswith("+00:00") for entry in entries)
    assert all(not entry["peer"].endswith(f":{port}") for entry in entries)


def test_many_write_the_log_at_once(tmp_path: Path) -> None:
    with running(tmp_path, allow_without_token=True) as job, job.client() as client:

        def act(index: int) -> None:
            for _ in range(20):
                client("RemoveBarrier", owner=f"owner-{index}", reason="r" * 900)

        together(6, act)
        owners = [entry["owner"] for entry in job.log()]
        assert sorted(owners) == sorted([f"owner-{i}" for i in range(6)] * 20)


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with running(tmp_path) as job, job.client() as client:
        client("PlaceBarrier", owner="alice")
        assert client("GetInfo").placed


# --- limits -----------------------------------------------------------------------------------


def test_a_message_that_is_too_large(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        said = refused("RESOURCE_EXHAUSTED", lambda: client("PlaceBarrier", reason="x" * 65_536))
        assert "65536" in said
        client("PlaceBarrier", reason="x" * 60_000)
        assert len(client("GetInfo").reason) == 60_000


def test_garbage(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        for method in ("PlaceBarrier", "SaveNow", "RemoveBarrier"):
            raw = client.channel.unary_unary(f"/Controller/{method}")
            for data in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x02\xff\xff"):
                say = functools.partial(raw, data, timeout=5)
                refused("UNAUTHENTICATED", say)
                said = refused("INVALID_ARGUMENT", lambda s=say: s(metadata=client.metadata))
                assert said == "the request does not parse"
        assert len(job.log()) == 18
        for name in ("/Controller/Nothing", "/Other/GetInfo"):
            raw = client.channel.unary_unary(name)
            refused("UNIMPLEMENTED", lambda r=raw: r(b"", timeout=5))
        # Fields of a client that is newer than the job.
        client.channel.unary_unary("/Controller/GetInfo")(b"\xfa\x01\x03new", timeout=5)
        assert not client("GetInfo").placed


def test_more_calls_than_the_job_takes(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        calls = [client.start("GetTrainingStatus") for _ in range(200)]
        codes = [call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) >= 64
        client("PlaceBarrier", owner="alice")
        assert client("GetInfo").owner == "alice"
        job.goes_on()


def test_whoever_has_waited_in_vain_places_nothing(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        server: Running = job
        with server.server._server._lock:  # as if the parameter server were slow
            refused("DEADLINE_EXCEEDED", lambda: client("PlaceBarrier", timeout=0.3))
        eventually(lambda: [e["result"] for e in job.log()] == ["whoever asked has gone"])
        assert not client("GetInfo").placed
