"""The job's side of being reached: when a server is there, and where."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import forked
import grpc
import pytest
from control_support import ADDRESS, LOG, TOKEN, refused, running
from fake_jobs import message
from ports import free_ports
from save_support import listener, steps
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.control.address import parse_address
from monolith_cli.control.client import JobClient, Tls, connect
from monolith_cli.errors import RefusedError, UnreachableError, UsageError

pytestmark = pytest.mark.usefixtures("job_ends")


def listening(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


# --- addresses --------------------------------------------------------------------------------


def test_only_this_host_by_default(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        host, _, port = job.address.partition(":")
        assert host == "127.0.0.1"
        assert job.server.address == job.address
        assert listening("127.0.0.1", int(port))
        others = {"127.0.0.2", "::1"}
        others |= {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
        for other in others - {"127.0.0.1"}:
            assert not listening(str(other), int(port)), other
    assert not listening("127.0.0.1", int(port))
    assert job.server.address is None


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "0", "00", "::0", "::ffff:0.0.0.0"])
def test_no_wildcard(host: str, tmp_path: Path) -> None:
    from monolith_cli.training.controller import ServerHook

    for options in ({}, {"plaintext": True}):
        with pytest.raises(ValueError, match="is not an address"):
            ServerHook(tmp_path, None, None, host=host, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a b", "1.2.3.4:5", "[::1]", "unix:/x"])
def test_what_is_no_host(host: str, tmp_path: Path) -> None:
    from monolith_cli.training.controller import ServerHook

    with pytest.raises(UsageError, match="is not an address of this host"):
        ServerHook(tmp_path, None, None, host=host, plaintext=True)  # type: ignore[arg-type]


def test_others_only_with_tls_or_by_choice(tmp_path: Path) -> None:
    from monolith_cli.training.controller import ServerHook

    with pytest.raises(ValueError, match="give tls, or say plaintext=True"):
        ServerHook(tmp_path, None, None, host="192.0.2.1")  # type: ignore[arg-type]
    ServerHook(tmp_path, None, None, host="192.0.2.1", plaintext=True)  # type: ignore[arg-type]
    # An address of some other host.
    with (
        pytest.raises(UsageError, match=r"cannot listen at 192\.0\.2\.1:0"),
        running(tmp_path, host="192.0.2.1", plaintext=True),
    ):
        pass
    own = socket.gethostbyname(socket.gethostname())
    with running(tmp_path, host=own, plaintext=True) as job, job.client() as client:
        assert job.address.startswith(f"{own}:")
        client("PlaceBarrier")
        if own != "127.0.0.1":
            assert not listening("127.0.0.1", port_of(job.address))


def test_ipv6(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with running(tmp_path, host="::1") as job, job.client() as client:
        assert job.address.startswith("[::1]:")
        client("PlaceBarrier")
        assert not listening("127.0.0.1", port_of(job.address))
        with JobClient(parse_address(job.address), model_dir=tmp_path) as ours:
            assert ours.info().placed


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"cannot listen at 127.0.0.1:{port}"),
            running(tmp_path, port=port),
        ):
            pass
    assert not (tmp_path / ADDRESS).exists()
    for port in (-1, 65536):
        with pytest.raises(UsageError, match="is not a port"), running(tmp_path, port=port):
            pass


def test_a_port_of_ones_own_choice(tmp_path: Path) -> None:
    (port,) = free_ports()
    for _ in range(2):  # it is free at once
        with running(tmp_path, port=port) as job, job.client() as client:
            assert job.address == f"127.0.0.1:{port}"
            client("GetInfo")


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two authorities: a server's and a client's of the first, a client's of the second."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    (directory / "san").write_text("subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority, names in (("ca", ["server", "client"]), ("other", ["stranger"])):
        files = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        openssl("req", "-x509", *key, *files, "-days", "2", "-subj", f"/CN={authority}")
        for name in names:
            files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
            openssl("req", *key, *files, "-subj", f"/CN={name}")
            signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
            files = ("-in", f"{name}.csr", "-out", f"{name}.pem")
            openssl("x509", "-req", *files, *signed, "-days", "2", "-extfile", "san")
    return directory


def read_all(directory: Path, *names: str | None) -> list[bytes | None]:
    return [None if name is None else (directory / name).read_bytes() for name in names]


def test_tls(tmp_path: Path, certificates: Path) -> None:
    from monolith_cli.training.controller import ServerTls

    def credentials(*names: str | None) -> Any:
        return grpc.ssl_channel_credentials(*read_all(certificates, *names))

    def path(name: str) -> str:
        return str(certificates / name)

    tls = ServerTls(path("server.pem"), path("server.key"))
    with running(tmp_path, tls=tls) as job:
        with job.client(credentials=credentials("ca.pem")) as client:
            client("PlaceBarrier", owner="alice")
        with job.client(credentials=credentials("other.pem")) as client:
            refused("UNAVAILABLE", lambda: client("GetInfo", timeout=5))
        with job.client() as client:
            refused("UNAVAILABLE", lambda: client("GetInfo", timeout=5))
        with connect(model_dir=tmp_path, tls=Tls(path("ca.pem"))) as ours:
            assert ours.info().owner == "alice"
            ours.remove(owner="alice")
        with pytest.raises(UnreachableError):
            connect(model_dir=tmp_path, tls=None)

    mutual = ServerTls(path("server.pem"), path("server.key"), path("ca.pem"))
    with running(tmp_path, tls=mutual) as job:
        with job.client(credentials=credentials("ca.pem", "client.key", "client.pem")) as client:
            client("PlaceBarrier", owner="alice")
        for key, certificate in ((None, None), ("stranger.key", "stranger.pem")):
            with job.client(credentials=credentials("ca.pem", key, certificate)) as client:
                refused("UNAVAILABLE", lambda c=client: c("GetInfo", timeout=5))
        own = Tls(path("ca.pem"), path("client.pem"), path("client.key"))
        with connect(model_dir=tmp_path, tls=own) as ours:
            assert ours.info().owner == "alice"


def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    from monolith_cli.training.controller import ServerTls

    with (
        pytest.raises(UsageError, match=r"no\.key: not readable"),
        running(tmp_path, tls=ServerTls("no.pem", str(tmp_path / "no.key"))),
    ):
        pass
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(UsageError, match="pipe: not readable: not a regular file"),
        running(tmp_path, tls=ServerTls("no.pem", str(tmp_path / "pipe"))),
    ):
        pass
    (tmp_path / "bad").write_text("-----BEGIN NOTHING")
    bad = str(tmp_path / "bad")
    with (
        pytest.raises(UsageError, match="cannot listen at"),
        running(tmp_path, tls=ServerTls(bad, bad)),
    ):
        pass


# --- our own client ---------------------------------------------------------------------------


def test_our_client_on_our_job(tmp_path: Path) -> None:
    with running(tmp_path) as job, connect(model_dir=tmp_path) as client:
        assert not client.is_original
        lease = client.place(reason="to look", owner="alice", ttl_seconds=60)
        with pytest.raises(RefusedError, match="was placed by alice 0 s ago: to look"):
            client.place(reason="", owner="bob", ttl_seconds=None)
        with pytest.raises(RefusedError, match="was placed by alice"):
            client.remove(owner="bob")
        assert client.renew(lease, 90)
        saved = client.save(require_all=True, reason="", owner="alice", timeout_seconds=20)
        assert steps(tmp_path) == [saved.step]
        client.remove(owner="alice", lease=lease)
        assert not client.renew(lease, 90)
        client.stop(reason="enough", owner="alice")
        assert job.stop.wait(10)


def test_get_stub_from_model_dir(tmp_path: Path) -> None:
    from monolith_cli.training.controller import get_stub_from_model_dir

    with pytest.raises(UnreachableError):
        get_stub_from_model_dir(tmp_path)
    with running(tmp_path) as job:
        stub = get_stub_from_model_dir(tmp_path)
        empty = message("Empty")()
        assert stub.GetTrainingStatus(empty, timeout=5).global_step > 0
        with pytest.raises(grpc.RpcError) as caught:
            stub.StopTraining(empty, timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        stub.StopTraining(empty, timeout=5, metadata=[("authorization", f"Bearer {job.token}")])
        assert list(stub.GetBlockStatus(empty).blocked_indices) == [0]
        assert not hasattr(stub, "PlaceBarrier")


# --- how long a server lives ------------------------------------------------------------------


def servers() -> list[str]:
    """The threads of servers, and those that wait for their ends."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if "_serve" in name or "controller" in name]


def test_a_session_fails(tmp_path: Path) -> None:
    with running(tmp_path, raises=ZeroDivisionError) as job:
        client = job.client()
        client("PlaceBarrier", owner="alice")

        def fail() -> None:
            raise ZeroDivisionError

        job.during_step = fail
        eventually(lambda: not (tmp_path / ADDRESS).exists())
        eventually(lambda: not (tmp_path / TOKEN).exists())
        # The files go first: until the server has too, a call may get another answer.
        eventually(lambda: servers() == [])
        refused("UNAVAILABLE", lambda: client("GetInfo", timeout=5))
        client.channel.close()


def test_a_hook_that_fails_when_the_session_is_made(tmp_path: Path) -> None:
    v1 = tensorflow().compat.v1

    class Failing(v1.train.SessionRunHook):  # type: ignore[misc]
        def after_create_session(self, session: Any, coord: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), running(tmp_path, more_hooks=[lambda job: Failing()]):
        pass
    eventually(lambda: servers() == [])
    assert not {ADDRESS, TOKEN, LOG} & set(os.listdir(tmp_path))


@pytest.mark.parametrize("port", ["free", "given"])
def test_a_session_that_recovers(tmp_path: Path, port: str) -> None:
    """One server at a time, of the session that is there; an order to stop is not forgotten."""
    tf = tensorflow()
    v1 = tf.compat.v1
    fail = threading.Event()
    sessions: list[Any] = []

    class Failing(v1.train.SessionRunHook):  # type: ignore[misc]
        def after_create_session(self, session: Any, coord: Any) -> None:
            sessions.append(session)

        def after_run(self, run_context: Any, run_values: Any) -> None:
            # The last failure comes after the order to stop, and before it is obeyed.
            asked = len(sessions) < 3 or job.server._stop_reason is not None
            if fail.is_set() and asked:
                fail.clear()
                raise tf.errors.AbortedError(None, None, "a server is gone")

    chosen = free_ports()[0] if port == "given" else 0
    with running(tmp_path, port=chosen, more_hooks=[lambda job: Failing()]) as job:
        seen = set()
        for made in (1, 2, 3):
            eventually(lambda m=made: len(sessions) == m and job.server.address)
            eventually(lambda: (tmp_path / TOKEN).exists())
            with job.client() as client:
                client("PlaceBarrier", owner="alice")
                assert client("GetInfo").placed
                seen.add(job.token)
                eventually(lambda: len([n for n in servers() if "_serve" in n]) == 1)
                job.pause = 0.5
                fail.set()
                if made == 3:
                    client("StopJob")
                eventually(lambda: not fail.is_set())
                job.pause = 0.002
        assert len(seen) == 3
        eventually(lambda: len(sessions) == 4)
        assert job.stop.wait(10)


def test_the_files_of_another_job_stay(tmp_path: Path) -> None:
    with running(tmp_path):
        for name in (ADDRESS, TOKEN):
            (tmp_path / name).write_text("another's")
    for name in (ADDRESS, TOKEN):
        assert (tmp_path / name).read_text() == "another's"
        (tmp_path / name).unlink()


def test_files_that_are_gone_already(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        for name in (ADDRESS, TOKEN):
            (tmp_path / name).unlink()
        os.mkdir(tmp_path / TOKEN)
    assert job.server.address is None
    os.rmdir(tmp_path / TOKEN)


def test_calls_under_way_when_the_session_ends(tmp_path: Path) -> None:
    go, started = threading.Event(), threading.Event()

    def wait(session: Any, step: int | None) -> None:
        started.set()
        go.wait(20)
        raise ZeroDivisionError

    slow = listener(before=wait)
    with running(tmp_path, listeners=[slow]) as job, job.client() as client:
        first = client.start("SaveNow", timeout=60)
        started.wait(10)
        second = client.start("SaveNow", timeout=60)
        eventually(lambda: len(job.job.hook._on_demand._requests._waiting) == 1)
        job.stop.set()
        go.set()
        start = time.monotonic()
        for call in (first, second):
            assert call.code() == grpc.StatusCode.ABORTED, call.details()
        assert time.monotonic() - start < 5


def test_calls_under_way_when_the_session_fails(tmp_path: Path) -> None:
    with running(tmp_path, 1, raises=ZeroDivisionError) as job, job.client() as client:
        go, standing, over = threading.Event(), threading.Event(), threading.Event()

        def fail() -> None:
            standing.set()
            go.wait(20)
            raise ZeroDivisionError

        job.during_step = fail
        standing.wait(10)
        call = client.start("SaveNow", timeout=60)
        eventually(lambda: len(job.job.hook._on_demand._requests._waiting) == 1)
        job.after_session = lambda: over.wait(20)  # the process lives on
        start = time.monotonic()
        go.set()
        # A save may still be served by a session that recovers: whoever asked cannot know.
        assert call.code() == grpc.StatusCode.UNAVAILABLE, call.details()
        assert time.monotonic() - start < 5
        over.set()


def test_the_order_to_stop_is_answered(tmp_path: Path) -> None:
    for _ in range(5):
        with running(tmp_path) as job, job.client() as client:
            job.pause = 0
            client("StopJob")
            assert job.stop.wait(10)


def test_a_process_that_exits_without_closing_its_session(tmp_path: Path) -> None:
    """Nor does a fork of it take away what is its parent's."""
    program = """
import os, sys
import tensorflow as tf
from monolith_cli.training.barrier_ops import BarrierOp
from monolith_cli.training.controller import ServerHook
from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook
v1 = tf.compat.v1
with tf.Graph().as_default():
    step = v1.train.create_global_step()
    saver = NoFirstSaveCheckpointSaverHook(sys.argv[1], save_steps=1000)
    server = ServerHook(sys.argv[1], BarrierOp(2), saver)
    train = step.assign_add(1)
    session = v1.train.MonitoredSession(hooks=[saver, server])
    session.run(train)
    files = {"controller_server_addr.txt", "controller_token"}
    assert files <= set(os.listdir(sys.argv[1]))
    child = os.fork()
    if child == 0:
        server.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert files <= set(os.listdir(sys.argv[1]))
    sys.exit(3)
"""
    done = forked.run(program, tmp_path)
    assert done.returncode == 3, done.stderr
    assert not {ADDRESS, TOKEN} & set(os.listdir(tmp_path))
