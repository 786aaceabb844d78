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
        assert not info.HasField("last_saved_step")
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
    for module in (
        "control.calls",
        "control.holder",
        "control.looks",
        "control.ops_hook",
        "controller",
        "barrier.lease",
    ):
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
        assert said == "workers 2, 3 have not saved their input"
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
        eventually(lambda: job.job.hook._on_demand._requests._waiting.__len__() == 3)
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
        assert steps(tmp_path) == []


@pytest.mark.parametrize("name", ["MONOLITH_CONTROLLER_TOKEN", "MONOLITH_CONTROLLER_TOKEN_FILE"])
def test_the_environment_does_not_count_where_a_file_is_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it looked at: it may be meant for another job."""
    monkeypatch.setenv(name, str(tmp_path / "none"))
    with running(tmp_path) as job:
        assert len(job.token) >= 43
        with job.client(token=str(tmp_path / "none")) as client:
            refused("UNAUTHENTICATED", lambda: client("StopTraining"))
        with job.client(token=job.token) as client:
            client("StopTraining")


@pytest.fixture(params=["mode", "owner", "unwritable", "unreadable", "changed"])
def _none_is_secret(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model directory whose file system cannot keep the token's file secret, nor maybe at all."""
    from monolith_cli.errors import WriteError
    from monolith_cli.training.control import token as control_token

    stat_of, write = os.fstat, control_token.atomic_write

    def changed_stat(file: int) -> os.stat_result:
        fields = list(stat_of(file))
        if request.param == "mode":
            fields[stat.ST_MODE] = stat.S_IFREG | 0o777  # as on a share of Windows
        else:
            fields[stat.ST_UID] += 1
        return os.stat_result(fields)

    def changed_write(path: str, data: bytes, **options: Any) -> None:
        if request.param == "unwritable":
            raise WriteError("not written: Operation not permitted", path=path)
        write(path, b"\xff" if request.param == "unreadable" else data[1:], **options)

    if request.param in ("mode", "owner"):
        monkeypatch.setattr(control_token.os, "fstat", changed_stat)
    else:
        monkeypatch.setattr(control_token, "atomic_write", changed_write)


@pytest.mark.usefixtures("_none_is_secret")
@pytest.mark.parametrize("by", ["variable", "file"])
def test_the_environments_token_where_no_file_is_secret(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / TOKEN).write_text("of a run that was killed")
    if by == "variable":
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "given")
    else:
        (tmp_path / "secret").write_text("given\n")
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "secret"))
    with running(tmp_path) as job:
        assert not (tmp_path / TOKEN).exists()  # clients would take it
        with job.client(token="given") as client:
            client("StopTraining")
        for token in (None, "", "of a run that was killed"):
            with job.client(token=token) as client:
                refused("UNAUTHENTICATED", lambda c=client: c("StopTraining"))


@pytest.mark.usefixtures("_none_is_secret")
@pytest.mark.parametrize("_none_is_secret", ["mode"], indirect=True)
@pytest.mark.parametrize("by", ["nothing", "an empty file", "no file", "spaces"])
def test_no_orders_without_any_token(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import token as control_token

    warnings: list[str] = []
    monkeypatch.setattr(
        control_token.logging, "warning", lambda text, *args: warnings.append(text % args)
    )
    if by == "an empty file":
        (tmp_path / "secret").write_text("\n")
    if by in ("an empty file", "no file"):
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "secret"))
    if by == "spaces":
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "no token")
    with running(tmp_path) as job, job.client(token=None) as client:
        assert not (tmp_path / TOKEN).exists()
        [warning] = [text for text in warnings if text.startswith("The job takes no orders")]
        assert ("secret: not there" in warning) == (by == "no file")
        for method in CHANGING if by == "nothing" else CHANGING[:1]:
            said = refused("PERMISSION_DENIED", lambda m=method: client(m))
            assert said.startswith("this job has no token, and so takes no orders")
            assert "MONOLITH_CONTROLLER_TOKEN_FILE" in said
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


def test_the_log_says_whose_barrier_it_was(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        lease = client("PlaceBarrier", owner="alice", ttl_ms=60_000).lease_id
        client("RemoveBarrier", owner="bob", force=True)
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=lease, ttl_ms=60_000))
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id="x", ttl_ms=60_000))
        client("StopTraining")
        client("RemoveBarrier", owner="bob", force=True)
        job.barrier.place_barrier(job.job.raw, "Maintenance")
        client("RemoveBarrier", owner="bob", force=True)
        client("PlaceBarrier", owner="bob")
        client("RemoveBarrier", owner="bob", force=True)  # his own
    assert [(e["method"], e["owner"], e.get("holder")) for e in job.log()] == [
        ("PlaceBarrier", "alice", None),
        ("RemoveBarrier", "bob", "alice"),
        ("RenewBarrier", "alice", None),
        ("RenewBarrier", "", None),
        ("StopTraining", "", None),
        ("RemoveBarrier", "bob", "an original client"),
        ("RemoveBarrier", "bob", "nobody known"),
        ("PlaceBarrier", "bob", None),
        ("RemoveBarrier", "bob", None),
    ]


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


def test_who_is_refused_does_not_fill_the_log(tmp_path: Path) -> None:
    from monolith_cli.control.log import read_log

    with running(tmp_path) as job, job.client() as client:
        client("PlaceBarrier", owner="alice")
        with job.client(token="wrong") as other, job.client(token=None) as another:
            for method in CHANGING:
                refused("UNAUTHENTICATED", lambda m=method: other(m))
            for _ in range(30):
                said = refused(
                    "UNAUTHENTICATED",
                    lambda: another("PlaceBarrier", owner="the president", reason="x" * 60_000),
                )
        assert said == "this job takes orders only with its token"
        client("RemoveBarrier", owner="alice")
    log = job.log()
    assert [(e["method"], e["owner"], e["reason"], e["result"]) for e in log] == [
        ("PlaceBarrier", "alice", "", "done"),
        *((method, None, None, "a wrong token") for method in CHANGING[:5]),
        ("RemoveBarrier", "alice", "", "done"),
        (None, None, None, f"{len(CHANGING) - 5 + 30} more calls refused within a minute"),
    ]
    assert all(entry["peer"].startswith("ipv4:127.0.0.1:") for entry in log[:-1])
    assert log[-1]["peer"] == "ipv4:127.0.0.1"
    assert os.path.getsize(tmp_path / LOG) < 2000
    methods = [entry["method"] for entry in read_log(tmp_path, 2)]
    assert methods == ["PlaceBarrier", CHANGING[4], "RemoveBarrier", None]


def test_those_refused_in_another_minute_have_lines_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import log as control_log

    monkeypatch.setattr(control_log, "_SPAN_SECONDS", 0.2)
    log = control_log.ControlLog(str(tmp_path))

    def results() -> list[str]:
        path = tmp_path / LOG
        return [json.loads(line)["result"] for line in path.read_text().splitlines()]

    for minute in (1, 2):
        for number in range(8):
            log.write_refused("StopJob", "a wrong token", f"ipv4:10.0.0.{number}:1")
        eventually(lambda m=minute: len(results()) == 6 * m)
    assert results() == [*["a wrong token"] * 5, "3 more calls refused within a minute"] * 2
    for number in range(20):
        log.write_refused("StopJob", "a wrong token", f"ipv6:[::{number:x}]:1")
    log.close()
    log.close()
    last = json.loads((tmp_path / LOG).read_text().splitlines()[-1])
    assert last["result"] == "15 more calls refused within a minute"
    assert last["peer"] == ", ".join([*(f"ipv6:[::{n:x}]" for n in range(5, 10)), "others"])


def test_the_end_of_a_time_to_live_is_in_the_log(tmp_path: Path) -> None:
    def ended() -> list[Any]:
        return [
            (e["owner"], e["peer"], e["reason"], e["result"])
            for e in job.log()
            if e["method"] == "ExpireBarrier"
        ]

    over = "its time-to-live is over"
    with running(tmp_path, 1) as job, job.client() as client:
        client("PlaceBarrier", owner="alice", reason="to look", ttl_ms=50)
        eventually(lambda: ended() == [("alice", None, "to look", over)])
        assert not client("GetInfo").placed
        lease = client("PlaceBarrier", owner="bob", ttl_ms=60_000).lease_id
        client("RenewBarrier", lease_id=lease, ttl_ms=1)
        eventually(lambda: ended()[1:] == [("bob", None, "", over)])
        job.barrier.place_barrier(job.job.raw, ttl_seconds=0.01)  # the trainer's own
        eventually(lambda: ended()[2:] == [(None, None, None, over)])
        client("PlaceBarrier", owner="alice", ttl_ms=60_000)
        client("RemoveBarrier", owner="alice")
    assert len(ended()) == 3


def test_a_time_to_live_that_ends_is_never_none(tmp_path: Path) -> None:
    """Whoever looks while it ends sees a barrier that ends, or none."""
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        read = job.barrier._state.read

        def late(session: Any) -> Any:
            status = read(session)
            if status.placed and threading.current_thread().name.startswith("controller-looks"):
                time.sleep(0.2)  # until after the end
            return status

        job.barrier._state.read = late
        for ttl_ms in (1, 100):
            client("PlaceBarrier", owner="alice", ttl_ms=ttl_ms)
            info = client("GetInfo")
            assert (info.placed, info.owner) in ((True, "alice"), (False, ""))
            assert info.placed == (info.expires_in_ms == 1), info
            eventually(lambda: not client("GetInfo").placed)
        # A save keeps what has ended.
        save = client.start("SaveNow")
        slow.started.wait(10)
        client("PlaceBarrier", owner="alice", ttl_ms=1)
        eventually(lambda: job.log()[-1]["method"] == "ExpireBarrier")
        info = client("GetInfo")
        assert (info.placed, info.owner, info.expires_in_ms) == (True, "alice", 1)
        slow.go.set()
        save.result()
        assert not client("GetInfo").placed


def test_the_owner_is_known_as_soon_as_the_barrier(tmp_path: Path) -> None:
    placing, go = threading.Event(), threading.Event()

    def wait(action: str, session: Any) -> None:
        placing.set()
        go.wait(20)

    with running(tmp_path, callback=wait) as job, job.client() as client:
        place = client.start("PlaceBarrier", owner="alice")
        placing.wait(10)
        look = client.start("GetInfo")
        time.sleep(0.1)
        go.set()
        assert (look.result().placed, look.result().owner) == (True, "alice")
        client("RemoveBarrier", lease_id=place.result().lease_id)


# --- limits -----------------------------------------------------------------------------------


def test_a_message_that_is_too_large(tmp_path: Path) -> None:
    """The job's own words, and not grpc's, which has the same status for too many calls."""
    with running(tmp_path) as job, job.client() as client:
        said = refused("INVALID_ARGUMENT", lambda: client("SaveNow", reason="x" * 70_000))
        assert said == "a request of 70004 bytes is too long: 65536 are taken"
        said = refused("INVALID_ARGUMENT", lambda: client("PlaceBarrier", reason="ä" * 10_000))
        assert said == "owner and reason have 20000 bytes, and may have 16384"
        said = refused("RESOURCE_EXHAUSTED", lambda: client("StopJob", reason="x" * 2_000_000))
        assert "larger than max" in said
        client("PlaceBarrier", owner="alice", reason="ä" * 8000)
        assert len(client("GetInfo").reason) == 8000
        said = refused("ALREADY_EXISTS", lambda: client("PlaceBarrier"))
        assert said.startswith("the barrier was placed by alice 0 s ago: äää")
        assert len(said) == 600
        results = [entry["result"] for entry in job.log()]
        assert [result[:14] for result in results[:2]] == ["a request of 7", "owner and reas"]


def test_garbage(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        for method in ("PlaceBarrier", "SaveNow", "RemoveBarrier"):
            raw = client.channel.unary_unary(f"/Controller/{method}")
            for data in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x02\xff\xff"):
                say = functools.partial(raw, data, timeout=5)
                refused("UNAUTHENTICATED", say)
                said = refused("INVALID_ARGUMENT", lambda s=say: s(metadata=client.metadata))
                assert said == "the request does not parse"
        assert [e["result"] for e in job.log()].count("the request does not parse") == 9
        for name in ("/Controller/Nothing", "/Other/GetInfo"):
            raw = client.channel.unary_unary(name)
            refused("UNIMPLEMENTED", lambda r=raw: r(b"", timeout=5))
        # Fields of a client that is newer than the job.
        client.channel.unary_unary("/Controller/GetInfo")(b"\xfa\x01\x03new", timeout=5)
        assert not client("GetInfo").placed


def looking_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("controller-looks")]


def test_who_looks_or_is_refused_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than are taken at once some are sent away; orders come through all the time."""
    from monolith_cli.training.control import calls as control_calls

    monkeypatch.setattr(control_calls, "_MOST_LOOKS", 20)
    with running(tmp_path) as job, job.client() as client, job.client(token="wrong") as other:
        for start in (
            lambda: client.start("GetTrainingStatus"),
            lambda: client.start("GetInfo"),
            lambda: other.start("StopTraining"),
        ):
            read, go = job.barrier._state.read, threading.Event()

            def slow(session: Any, read: Any = read, go: Any = go) -> Any:
                if threading.current_thread().name.startswith("controller-looks"):
                    assert go.wait(20)  # as if the parameter server were slow
                return read(session)

            job.barrier._state.read = slow
            first = client.start("GetInfo")
            eventually(lambda: looking_threads())
            calls = [start() for _ in range(60)]
            try:
                for _ in range(3):
                    lease = client("PlaceBarrier", owner="alice", timeout=5).lease_id
                    client("RenewBarrier", lease_id=lease, timeout=5)
                    client("RemoveBarrier", lease_id=lease, timeout=5)
                client("SaveNow", timeout=10)
            finally:
                go.set()
                job.barrier._state.read = read
            assert first.code() == grpc.StatusCode.OK
            codes = [call.code() for call in calls]
            sent_away = [c for c in calls if c.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
            assert {call.details() for call in sent_away} == {"too many calls at once: ask again"}
            assert 19 <= len(codes) - len(sent_away) <= 21
            assert {grpc.StatusCode.RESOURCE_EXHAUSTED} < set(codes)
            job.goes_on()
        assert len(looking_threads()) == 1


def test_headers_alone_keep_nobody_waiting(tmp_path: Path) -> None:
    """Calls whose message never comes."""
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(30)
        yield from ()

    with running(tmp_path) as job, job.client() as client:
        calls = [
            client.channel.stream_unary(f"/Controller/{method}").future(nothing())
            for method in ("GetInfo", "StopTraining", "StopJob") * 5
        ]
        try:
            client("PlaceBarrier", owner="alice", timeout=5)
            assert client("GetInfo", timeout=5).owner == "alice"
            codes = {call.code() for call in calls}
            assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED}
        finally:
            never.set()


def test_more_orders_than_the_job_takes(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        with job.server._server._barrier._lock:
            calls = [client.start("RemoveBarrier") for _ in range(100)]
            eventually(lambda: sum(call.done() for call in calls) == 36)
            assert not client("GetInfo").placed
        codes = [call.code() for call in calls]
        assert codes.count(grpc.StatusCode.OK) == 64
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 36


def test_those_who_look_together_see_the_same(tmp_path: Path) -> None:
    """One look at the job for all of them, taken after they have asked."""
    with running(tmp_path) as job, job.client() as client:
        looks = []
        look = job.barrier.look

        def counted(session: Any) -> Any:
            looks.append(threading.current_thread().name)
            return look(session)

        job.barrier.look = counted
        calls = [client.start("GetInfo") for _ in range(200)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}
        # 32 in a round at most; on a slow machine they come one after the other.
        assert 7 <= len(looks) <= 60
        for _ in range(5):  # one's own deed is always seen
            client("PlaceBarrier", owner="alice")
            calls = [client.start("GetInfo") for _ in range(5)]
            assert all(call.result().owner == "alice" for call in calls)
            client("RemoveBarrier", owner="alice")
            assert not client("GetBlockStatus").blocked_indices


def test_whoever_has_waited_in_vain_places_nothing(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        server: Running = job
        client("GetInfo")  # connected
        with server.server._server._barrier._lock:  # as if the parameter server were slow
            refused("DEADLINE_EXCEEDED", lambda: client("PlaceBarrier", timeout=0.3))
            time.sleep(0.3)  # until the job has learnt of it, too
        eventually(lambda: [e["result"] for e in job.log()] == ["whoever asked has gone"])
        assert not client("GetInfo").placed
