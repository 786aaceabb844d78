"""Jobs for tests of the commands: bare grpc with messages of their own, and no TensorFlow."""

from __future__ import annotations

import contextlib
import functools
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

ORIGINAL = """
syntax = "proto3";
message Empty {}
message Blocked { repeated int32 blocked_indices = 1; repeated int32 unblocked_indices = 2; }
message Training { int64 global_step = 1; }
"""
OURS = """
message Info {
  string run_id = 1; string model_dir = 2; int32 capacity = 3; bool placed = 4;
  string action = 5; string reason = 6; string owner = 7; int64 placed_ms_ago = 8;
  int64 expires_in_ms = 9; repeated int32 blocked_workers = 10;
  repeated int32 unblocked_workers = 11; int64 global_step = 12;
  optional int64 last_saved_step = 13; bool saving = 14; int64 generation = 15;
}
message Place { string reason = 1; string owner = 2; int64 ttl_ms = 3; }
message Placed { string lease_id = 1; int64 generation = 2; int64 expires_in_ms = 3; }
message Renew { string lease_id = 1; int64 ttl_ms = 2; }
message Renewed { int64 expires_in_ms = 1; }
message Remove { string lease_id = 1; string owner = 2; bool force = 3; string reason = 4; }
message Save { bool require_all = 1; string reason = 2; string owner = 3; }
message Saved {
  int64 step = 1; string path = 2; repeated int32 finished_workers = 3;
  repeated int32 unfinished_workers = 4;
}
message Stop { string reason = 1; string owner = 2; }
"""
ORIGINAL_METHODS = {
    "StopTraining": ("Empty", "Empty"),
    "ResumeTraining": ("Empty", "Empty"),
    "GetBlockStatus": ("Empty", "Blocked"),
    "SaveCheckpoint": ("Empty", "Empty"),
    "GetTrainingStatus": ("Empty", "Training"),
}
OUR_METHODS = {
    "GetInfo": ("Empty", "Info"),
    "PlaceBarrier": ("Place", "Placed"),
    "RenewBarrier": ("Renew", "Renewed"),
    "RemoveBarrier": ("Remove", "Empty"),
    "SaveNow": ("Save", "Saved"),
    "StopJob": ("Stop", "Empty"),
}
CHANGING = {"StopTraining", "ResumeTraining", "SaveCheckpoint"} | (OUR_METHODS.keys() - {"GetInfo"})


@functools.cache
def message(name: str) -> Any:
    """The class of a message of the text above, compiled by protoc."""
    from google.protobuf import message_factory

    described = _pool().FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(described)
    return message_factory.MessageFactory(_pool()).GetPrototype(described)  # before protobuf 4.22


@functools.cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "fake.proto"), Path(directory, "fake.binpb")
        source.write_text(ORIGINAL + OURS)
        # In a process of its own: protoc does not get along with TensorFlow's protobuf.
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{directory}", f"-o{target}"]
        subprocess.run([*command, str(source)], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


class Refusal(Exception):
    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = getattr(grpc.StatusCode, code)


class OriginalJob:
    """The five methods; workers stand as soon as the barrier is placed, but those in `late`."""

    methods = ORIGINAL_METHODS

    def __init__(self, model_dir: Path | str, workers: int = 3) -> None:
        self.model_dir = str(model_dir)
        self.workers = range(1, workers + 1)
        self.late: set[int] = set()
        self.placed = False
        self.global_step = 120
        self.calls: list[str] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.timeouts: list[float | None] = []
        self.raises: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.release = threading.Event()
        self.lock = threading.RLock()
        self.clock = time.monotonic

    def __getitem__(self, method: str) -> Any:
        """The last request of a method."""
        return [r for c, r in zip(self.calls, self.requests, strict=True) if c == method][-1]

    def token_of(self, method: str) -> Any:
        """What the last call of a method had for `authorization`."""
        found = [m for c, m in zip(self.calls, self.metadata, strict=True) if c == method]
        return found[-1].get("authorization")

    @property
    def changes(self) -> list[str]:
        """The methods called that change something, in order."""
        return [call for call in self.calls if call in CHANGING]

    def answer(self, method: str, asked: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        with self.lock:
            self.calls.append(method)
            self.requests.append(asked)
            self.metadata.append(metadata)
            self.timeouts.append(context.time_remaining())
        if method in self.hangs:
            self.release.wait(30)
        if method in self.raises:
            error = self.raises[method]
            if not isinstance(error, Refusal):
                raise error
            context.abort(error.code, str(error))
        try:
            with self.lock:
                self.check(method, metadata)
                fields = getattr(self, method)(asked) or {}
        except Refusal as error:
            context.abort(error.code, str(error))
        return message(self.methods[method][1])(**fields)

    def check(self, method: str, metadata: dict[str, Any]) -> None:
        pass

    def standing(self) -> tuple[list[int], list[int]]:
        blocked = [w for w in self.workers if self.placed and w not in self.late]
        return blocked, [w for w in self.workers if w not in blocked]

    def StopTraining(self, asked: Any) -> Any:
        if self.placed:
            raise Refusal("ALREADY_EXISTS", "")
        self.placed = True

    def ResumeTraining(self, asked: Any) -> Any:
        self.placed = False

    def GetBlockStatus(self, asked: Any) -> Any:
        blocked, unblocked = self.standing()
        (blocked if self.placed else unblocked).insert(0, 0)
        return {"blocked_indices": blocked, "unblocked_indices": unblocked}

    def SaveCheckpoint(self, asked: Any) -> Any:
        pass

    def GetTrainingStatus(self, asked: Any) -> Any:
        return {"global_step": self.global_step}


class OurJob(OriginalJob):
    """All eleven; nothing of the project's is in it but the contract."""

    methods = ORIGINAL_METHODS | OUR_METHODS

    def __init__(
        self, model_dir: Path | str, workers: int = 3, token: str | None = "secret"
    ) -> None:
        super().__init__(model_dir, workers)
        self.token = token
        self.run_id = "run-1"
        self.generation = 0
        self.owner = self.reason = self.lease_id = ""
        self.placed_at = 0.0
        self.ends_at: float | None = None
        self.last_saved_step: int | None = 100
        self.saved: dict[str, Any] = {"step": 120, "path": f"{model_dir}/model.ckpt-120"}

    def check(self, method: str, metadata: dict[str, Any]) -> None:
        if self.placed and self.ends_at is not None and self.clock() >= self.ends_at:
            self.placed = False
        if method in CHANGING and self.token is not None:
            given = metadata.get("authorization")
            if given != f"Bearer {self.token}":
                raise Refusal("UNAUTHENTICATED", "a wrong token" if given else "no token")

    def restart(self, token: str | None = None) -> None:
        """As a chief that comes back: no barrier, another run, another token."""
        with self.lock:
            self.placed, self.lease_id, self.run_id = False, "", self.run_id + "+"
            self.token = token or self.token

    def place(self, owner: str, reason: str, ttl_ms: int) -> None:
        with self.lock:
            if self.placed:
                ago = round(self.clock() - self.placed_at)
                raise Refusal("ALREADY_EXISTS", f"placed by {self.owner or 'nobody'} {ago} s ago")
            self.generation += 1
            self.placed, self.placed_at = True, self.clock()
            self.owner, self.reason = owner, reason
            self.lease_id = f"lease-{self.generation}"
            self.ends_at = self.clock() + ttl_ms / 1000 if ttl_ms else None

    def StopTraining(self, asked: Any) -> Any:
        self.place("", "", 0)

    def GetInfo(self, asked: Any) -> Any:
        blocked, unblocked = self.standing()
        left = 0.0 if not self.placed or self.ends_at is None else self.ends_at - self.clock()
        ago = self.clock() - self.placed_at if self.placed else 0.0
        return {
            "run_id": self.run_id,
            "model_dir": self.model_dir,
            "capacity": len(self.workers) + 1,
            "placed": self.placed,
            "reason": self.reason if self.placed else "",
            "owner": self.owner if self.placed else "",
            "placed_ms_ago": round(ago * 1000),
            "expires_in_ms": round(left * 1000),
            "blocked_workers": blocked,
            "unblocked_workers": unblocked,
            "global_step": self.global_step,
            "last_saved_step": self.last_saved_step,
            "generation": self.generation,
        }

    def PlaceBarrier(self, asked: Any) -> Any:
        self.place(asked.owner, asked.reason, asked.ttl_ms)
        return {"lease_id": self.lease_id, "generation": self.generation}

    def RenewBarrier(self, asked: Any) -> Any:
        if not self.placed or asked.lease_id != self.lease_id:
            raise Refusal("NOT_FOUND", "that barrier is gone")
        self.ends_at = self.clock() + asked.ttl_ms / 1000
        return {"expires_in_ms": asked.ttl_ms}

    def RemoveBarrier(self, asked: Any) -> Any:
        mine = asked.lease_id == self.lease_id or (self.owner and asked.owner == self.owner)
        if self.placed and not mine and not asked.force:
            raise Refusal("PERMISSION_DENIED", f"placed by {self.owner or 'nobody known'}")
        self.placed = False

    def SaveNow(self, asked: Any) -> Any:
        return self.saved

    def StopJob(self, asked: Any) -> Any:
        pass


@contextlib.contextmanager
def serving(
    job: OriginalJob,
    *,
    host: str = "127.0.0.1",
    credentials: Any = None,
    service: str = "Controller",
    publish: bool = True,
) -> Iterator[str]:
    """Serve a job, its address in its directory as it would be; the value is the address."""
    server = grpc.server(ThreadPoolExecutor(8))
    for name in {x for pair in job.methods.values() for x in pair}:
        message(name)
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            functools.partial(job.answer, method),
            request_deserializer=message(asked).FromString,
            response_serializer=lambda said: said.SerializeToString(),
        )
        for method, (asked, _) in job.methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    if credentials is None:
        port = server.add_insecure_port(f"{host}:0")
    else:
        port = server.add_secure_port(f"{host}:0", credentials)
    server.start()
    address = f"{host}:{port}"
    if publish:
        write_address(job.model_dir, address)
        if isinstance(job, OurJob) and job.token is not None:
            Path(job.model_dir, "controller_token").write_text(job.token)
    try:
        yield address
    finally:
        job.release.set()
        server.stop(None).wait(5)


def write_address(model_dir: Path | str, address: str | bytes) -> None:
    data = address if isinstance(address, bytes) else address.encode()
    Path(model_dir, "controller_server_addr.txt").write_bytes(data)


@contextlib.contextmanager
def listening(handle: Callable[[Any], object]) -> Iterator[str]:
    """The address of a server that is no job: what it does with a connection is said."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                handle(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
