"""Kill a job at any moment, and see whether what it committed fits together.

    python tests/support/chaos.py [--kills 50] [--seed 1] [--job example]

trains examples/train.py on loopback, kills all of its processes at once with -9, checks what lies
in the model directory, and starts it again; as many times as asked for. At the end it lets the job
come to its end. Prints a line a kill. `make chaos` runs it, with each of three kinds of job:

- `example`: as it is, in sessions of `runs`.
- `stock`: in TensorFlow's own sessions, its hooks in the original's order (stock_job.py).
- `stop`: the same, and `StopAtStepHook` in every process ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(path) for path in (HERE, ROOT / "examples") if str(path) not in sys.path]

import chaos_job  # noqa: E402
import train  # noqa: E402
from fork_server import START_SECONDS, ForkServer, Process  # noqa: E402
from ports import free_addresses  # noqa: E402

BATCH = 4
WORKERS = 2
NAMES = ["ps_0", "chief_0", *(f"worker_{i}" for i in range(WORKERS))]
WITH_INPUT = 1 + WORKERS
STOP_SECONDS = 120.0
# Of a feature id, what is below its slot: the number of a record.
SIGNATURES = (1 << train.SLOT_BIT) - 1


class Stopped(NamedTuple):
    """Where a process of the job stands still."""

    boundary: str
    step: int


class Job:
    """The processes of one job, and its directory."""

    def __init__(
        self,
        server: ForkServer,
        directory: Path,
        *,
        records: int,
        save_steps: int,
        pause: float = 0.01,
        deadline: float = 60.0,
        arguments: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.is_stock = "stock" in (arguments or {})
        self.server = server
        self.directory = directory
        self.model_dir = directory / "model"
        self.input = directory / "input"
        self.records = records
        self._argv = [str(self.model_dir), "--input", str(self.input), "--batch", str(BATCH)]
        self._argv += ["--save-steps", str(save_steps), "--pause", str(pause)]
        self._argv += ["--deadline", str(deadline)]
        self._arguments = arguments or {}
        ports = free_addresses(len(NAMES))
        self._cluster = {"ps": ports[:1], "chief": ports[1:2], "worker": ports[2:]}
        self._marker = directory / "stopped"
        self._boundary = ""
        self.processes: dict[str, Process] = {}
        self.logged_before = [0] * WITH_INPUT
        self._begun_before = 0
        self.clear()
        if not self.input.exists():
            train.write_input(self.input, records, files=2 * WITH_INPUT)

    def clear(self) -> None:
        """Begin with an empty model directory."""
        shutil.rmtree(self.model_dir, ignore_errors=True)
        (self.model_dir / "log").mkdir(parents=True)

    def start(self, name: str, boundary: str = "", save: int = 1) -> Process:
        """Start one process, which stops at a boundary if it is the one to do so."""
        job, _, task = name.rpartition("_")
        stop = None
        if boundary and chaos_job.BOUNDARIES[boundary][0] == name:
            stop = {"at": boundary, "save": save, "marker": str(self._marker)}
            self._boundary = boundary
            self._marker.unlink(missing_ok=True)
        config = json.dumps({"cluster": self._cluster, "task": {"type": job, "index": int(task)}})
        process = self.server.start(
            name,
            argv=self._argv,
            environment={"TF_CONFIG": config},
            output=str(self.log(name)),
            stop=stop,
            arguments=self._arguments,
        )
        self.processes[name] = process
        return process

    def start_all(self, boundary: str = "", save: int = 1) -> None:
        self.logged_before = [len(self.consumed(worker)) for worker in range(WITH_INPUT)]
        self._begun_before = self.said("chief_0").count("begins at step")
        self._marker.unlink(missing_ok=True)
        for name in NAMES:
            # Workers of stock sessions do not wait until tables are restored.
            if self.is_stock and name == NAMES[2]:
                self.wait_for(self._has_chief_begun)
            self.start(name, boundary, save)

    def _has_chief_begun(self) -> bool:
        """Or it stands still, or has ended."""
        has_ended = self.processes[NAMES[1]].has_ended.is_set()
        return self.is_training or self.stopped is not None or has_ended

    def kill_all(self) -> None:
        """As nearly at once as can be."""
        for process in self.processes.values():
            if not process.has_ended.is_set():
                os.kill(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(10)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """While somebody looks at the directory."""
        alive = [each for each in self.processes.values() if not each.has_ended.is_set()]
        for process in alive:
            os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in alive:
                os.kill(process.pid, signal.SIGCONT)

    def log(self, name: str) -> Path:
        return self.model_dir / "log" / f"{name}.log"

    def said(self, name: str) -> str:
        """What a process has written, in all its lives."""
        path = self.log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def consumed(self, worker: int) -> list[dict[str, Any]]:
        """A worker's log, in all its lives. What was being written when it died is left out."""
        path = self.model_dir / "log" / f"input_{worker}.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]

    @property
    def stopped(self) -> Stopped | None:
        """Whether a process stands still where it shall."""
        if not self._marker.exists():
            return None
        return Stopped(self._boundary, int(self._marker.read_text()))

    @property
    def is_training(self) -> bool:
        """Whether the chief has restored, since all were started."""
        return self.said("chief_0").count("begins at step") > self._begun_before

    @property
    def step(self) -> int | None:
        """The committed step."""
        from monolith_cli.checkpoint.restart import restart_point

        return restart_point(self.model_dir).step

    @property
    def has_come_to_its_end(self) -> bool:
        return all(self.processes[name].code == 0 for name in NAMES if name != "ps_0")

    @property
    def has_failed(self) -> bool:
        """Whether a process has ended with an error by itself."""
        return any(process.code not in (None, 0) for process in self.processes.values())

    def wait_for(self, condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end:
                tails = "\n".join(f"{name}: {self.said(name)[-1500:]}" for name in NAMES)
                raise TimeoutError(f"waited {seconds:g} s in vain\n{tails}")
            time.sleep(0.02)

    def wait_for_lives(self, name: str, text: str, times: int, seconds: float = 60) -> None:
        """Until a process has written a text that often, in all its lives."""
        self.wait_for(lambda: self.said(name).count(text) >= times, seconds)


# --- what was committed ------------------------------------------------------------------------


class Committed(NamedTuple):
    """A step, by what its files say."""

    step: int | None
    trained: dict[int, set[int]]  # by worker
    left: dict[int, list[int]]


def check(job: Job, before: Committed | None = None) -> Committed:
    """See whether all of the committed step fits together; from its files alone.

    `before` is what was committed when the job was started last: what it has logged since
    is compared as well.
    """
    from monolith_cli.checkpoint.inputs import read_step_inputs
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.formats.ckpt_info import format_ckpt_info
    from monolith_cli.tables.counts import count_checkpoint

    files = [str(file) for file in sorted(job.input.glob("part-*.tfrecord"))]
    of_worker = {worker: records_of(job, worker) for worker in range(WITH_INPUT)}
    if job.step is None:
        return Committed(None, {}, {})
    checkpoint = open_model_dir(str(job.model_dir)).checkpoint(job.step)
    step = job.step
    assert checkpoint.step == step

    # Inputs: of that very step, all of them.
    inputs = read_step_inputs(str(job.model_dir), step)
    assert inputs is not None, f"no ckpt.inputs-{step}"
    finished = {worker: entry.finished for worker, entry in inputs.workers.items()}
    assert finished == dict.fromkeys(range(WITH_INPUT), True), finished
    left = {
        worker: drain(
            files[worker::WITH_INPUT], f"{job.model_dir}/input_worker_{worker}.ckpt-{step}"
        )
        for worker in range(WITH_INPUT)
    }

    # Tables: each record is either trained on, once, or left.
    times = times_trained(job, step)
    assert set(times.values()) <= {1.0}, {r: n for r, n in times.items() if n != 1}
    trained = {worker: set(times) & of_worker[worker] for worker in range(WITH_INPUT)}
    assert set(times) == set().union(*trained.values())
    for worker in range(WITH_INPUT):
        assert len(set(left[worker])) == len(left[worker]), f"worker {worker} has records twice"
        lost = of_worker[worker] - trained[worker] - set(left[worker])
        twice = trained[worker] & set(left[worker])
        assert not lost, f"step {step}: worker {worker} has lost {len(lost)}: {sorted(lost)[:9]}"
        assert not twice, f"step {step}: worker {worker} has again {sorted(twice)[:9]}"

    # Counts.
    counts = count_checkpoint(checkpoint)
    written = (job.model_dir / f"ckpt.info-{step}").read_bytes()
    assert written == format_ckpt_info(counts.ckpt_info())
    assert counts.slot_counts[train.RECORD_SLOT] == len(times)

    # Dense variables: as many steps as batches.
    variables = dense_variables(str(checkpoint.prefix))
    batches = sum(-(-len(records) // BATCH) for records in trained.values())
    assert variables["global_step"] == batches, (variables["global_step"], batches)
    assert {"weights", "bias"} <= set(variables)

    committed = Committed(step, trained, left)
    if before is not None:
        check_logs(job, before, committed)
    return committed


def times_trained(job: Job, step: int) -> dict[int, float]:
    """How often each record was trained on, by the table of a committed step."""
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.tables import open_tables

    checkpoint = open_model_dir(str(job.model_dir)).checkpoint(step)
    [seen] = open_tables(checkpoint, patterns=["MonolithHashTable_seen"])
    columns: Any = seen.read_columns(["fid", "embedding"])
    records, times = columns["fid"] & SIGNATURES, columns["embedding"][:, 0]
    return dict(zip(records.tolist(), times.tolist(), strict=True))


def records_of(job: Job, worker: int) -> set[int]:
    """The records of a worker's files."""
    files = 2 * WITH_INPUT
    return {r for part in range(worker, files, WITH_INPUT) for r in range(part, job.records, files)}


def drain(files: list[str], prefix: str) -> list[int]:
    """The records that come after an iterator's state, by TensorFlow itself."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        batch = train.read_input(files, BATCH)
        [iterator] = v1.get_collection("iterators")
        [state] = tf.raw_ops.RestoreV2(
            prefix=prefix,
            tensor_names=[f"{iterator.name}_STATE"],
            shape_and_slices=[""],
            dtypes=[tf.variant],
        )
        restore = tf.raw_ops.DeserializeIterator(resource_handle=iterator, serialized=state)
        records: list[int] = []
        with v1.Session() as session:
            session.run(restore)
            while True:
                try:
                    records += session.run(batch["record"]).tolist()
                except tf.errors.OutOfRangeError:
                    return records


def dense_variables(prefix: str) -> dict[str, Any]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for name, value in values.items():
        assert value.dtype.kind != "f" or bool((value == value).all()), f"{name} has NaN"
    return values


def check_logs(job: Job, before: Committed, now: Committed) -> None:
    """What was trained on between two commits is what the workers have logged since, in order.

    A step is logged when it is over, hooks and all; so at the end of a log a batch may be missing.
    """
    if now.step == before.step:
        return
    for worker in range(WITH_INPUT):
        new = now.trained[worker] - before.trained.get(worker, set())
        logged = job.consumed(worker)[job.logged_before[worker] :]
        records = [record for entry in logged for record in entry["records"]]
        head, missing = set(records[: len(new)]), len(new) - len(records)
        assert head <= new, f"worker {worker} has logged what is not in step {now.step}"
        assert missing <= BATCH, f"worker {worker} has not logged {missing} records"
        assert now.step is not None
        assert {r for e in logged if e["step"] <= now.step for r in e["records"]} <= new


# --- many kills --------------------------------------------------------------------------------


class Kill(NamedTuple):
    """One kill of all processes, and what there was afterwards."""

    moment: str
    began_at: int | None  # the committed step that the job had begun at
    committed: int | None
    trained: int
    left: int

    @property
    def line(self) -> str:
        steps = ["-" if s is None else str(s) for s in (self.began_at, self.committed)]
        return f"| {self.moment} | {' | '.join(steps)} | {self.trained} | {self.left} |"


# What is wanted of `stock_job`; None for the example itself.
KINDS: dict[str, dict[str, Any] | None] = {
    "example": None,
    "stock": {"stay": True},
    "stop": {"last_step": 2000},
}

HEADER = """\
| killed | began at step | committed | records trained | left |
|---|---:|---:|---:|---:|"""


def moments(kills: int, boundaries: int, *, is_stock: bool) -> Iterator[str]:
    """So many boundaries, all in turn, and in between random moments, "" each.

    Stock sessions refuse a rollback, so none of theirs ends one.
    """
    names = itertools.cycle(
        name for name in chaos_job.BOUNDARIES if not (is_stock and name.endswith("rollback"))
    )
    for i in range(kills):
        is_boundary = (i + 1) * boundaries // kills > i * boundaries // kills
        yield next(names) if is_boundary else ""


def kill(job: Job, boundary: str, chance: random.Random) -> Kill:
    """Start all, kill all with -9 at a boundary or some time ("" for that), and check."""
    before = check(job)
    if boundary == "after the rename, ending a rollback":
        before = roll_back(job, before)
    # Dropping takes some steps to drop; clearing comes before the first save.
    save = 1 if boundary.startswith("clearing") else chance.choice([1, 2])
    job.start_all(boundary, save)
    if boundary:
        job.wait_for(lambda: job.stopped or job.has_come_to_its_end, STOP_SECONDS)
        moment = boundary
    else:
        at_start = chance.random() < 0.25
        if not at_start:
            job.wait_for(lambda: job.is_training)
        seconds = chance.uniform(0.2, 4)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not job.has_come_to_its_end:
            time.sleep(0.01)
        moment = f"{seconds:.2f} s after {'the start' if at_start else 'the chief had restored'}"
    stopped = job.stopped if boundary else None
    job.kill_all()
    after = check(job, before)
    if stopped:
        is_committed = chaos_job.BOUNDARIES[boundary][2]
        if is_committed is not None:
            assert (after.step == stopped.step) == is_committed, (stopped, after.step)
    elif boundary:
        moment += " (not reached: the end)"
    if before.step is not None and not boundary.endswith("rollback"):
        assert after.step is not None
        assert after.step >= before.step, f"back from {before.step} to {after.step}"
    return Kill(
        moment,
        before.step,
        after.step,
        sum(map(len, after.trained.values())),
        sum(map(len, after.left.values())),
    )


def roll_back(job: Job, before: Committed) -> Committed:
    """Ask for an older step than the latest, if there is one."""
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.checkpoint.names import CKPT_OVERRIDE

    steps = open_model_dir(str(job.model_dir)).steps() if before.step is not None else []
    if not steps:
        return before
    inputs = {str(worker): steps[0] for worker in range(WITH_INPUT)}
    override = {"model_step": steps[0], "inputs": inputs}
    (job.model_dir / CKPT_OVERRIDE).write_text(json.dumps(override))
    rolled_back = check(job)
    assert rolled_back.step == steps[0]
    return rolled_back


def finish(job: Job, seconds: float = 180, *, last_step: int | None = None) -> Committed:
    """Let the job come to its end: every record is in the model, once; or all up to that step."""
    before = check(job)
    job.start_all()
    job.wait_for(lambda: job.has_come_to_its_end or job.has_failed, seconds)
    assert job.has_come_to_its_end, {name: each.code for name, each in job.processes.items()}
    job.kill_all()
    after = check(job, before)
    if last_step is not None:
        assert after.step is not None
        assert after.step >= last_step
        for worker in range(WITH_INPUT):
            logged = job.consumed(worker)[job.logged_before[worker] :]
            missing = {r for entry in logged for r in entry["records"]} - after.trained[worker]
            # Who was let go from the last save's barrier may make one step more.
            assert len(missing) <= BATCH, f"worker {worker} has trained on {len(missing)} in vain"
        return after
    assert sum(map(len, after.trained.values())) == job.records
    assert not any(after.left.values())
    return after


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--boundaries", type=int, default=None, help="of these (2 in 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", type=int, default=12000)
    parser.add_argument("--job", choices=list(KINDS), default="example", help="(example)")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    chance = random.Random(options.seed)
    boundaries = options.boundaries
    if boundaries is None:
        boundaries = 2 * options.kills // 3
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    began = time.monotonic()
    ends = 0
    print(HEADER, flush=True)
    try:
        with ForkServer() as server:
            stock = KINDS[options.job]
            arguments = None if stock is None else {"stock": stock}
            job = Job(
                server, directory, records=options.records, save_steps=60, arguments=arguments
            )
            for boundary in moments(options.kills, boundaries, is_stock=stock is not None):
                print(kill(job, boundary, chance).line, flush=True)
                if job.has_come_to_its_end:
                    ends += 1
                    job.clear()
            finish(job, last_step=(stock or {}).get("last_step"))
            ends += 1
    except BaseException:
        options.keep = True
        print(f"kept for a look: {directory}", file=sys.stderr)
        raise
    finally:
        if not options.keep:
            shutil.rmtree(directory)
    seconds = time.monotonic() - began
    print(
        f"\n{options.kills} kills, {ends} times to the end, in {seconds:.0f} s: no record lost,"
        " none twice."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
