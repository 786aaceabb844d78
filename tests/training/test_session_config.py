"""Whom a session of `runs` waits for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import Program
from ports import free_addresses
from tf_support import tensorflow
from waiting import eventually

PROGRAM = Path(__file__).parents[1] / "support" / "filters_job.py"
STAYS = 30


class Process:
    """One of a job; the lines that it has printed."""

    def __init__(self, job: str, task: int, cluster: str, directory: Path) -> None:
        self.lines: list[str] = []
        self._process = Program(PROGRAM, job, task, cluster, directory, quiet=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def kill(self) -> None:
        self._process.kill()
        self._reader.join(10)
        self._process.close()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        process.kill()


def cluster_of(**counts: int) -> str:
    return json.dumps({job: free_addresses(count) for job, count in counts.items()})


def test_a_chief_that_starts_again_needs_no_worker(
    processes: list[Process], tmp_path: Path
) -> None:
    cluster = cluster_of(ps=1, chief=1, worker=2)

    def start(job: str, task: int = 0) -> Process:
        process = Process(job, task, cluster, tmp_path)
        processes.append(process)
        return process

    start("ps")
    chief, dying, staying = start("chief"), start("worker", 0), start("worker", 1)
    eventually(lambda: all(len(one.lines) > 2 for one in (chief, dying, staying)), 60)
    chief.kill()
    dying.kill()
    chief = start("chief")
    eventually(lambda: len(chief.lines) > 2, STAYS)
    count = len(staying.lines)
    eventually(lambda: len(staying.lines) > count + 2, STAYS)


def test_what_the_graph_names() -> None:
    from monolith_cli.training.graph.session_config import with_device_filters

    tf = tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        tf.constant(1)
        assert with_device_filters(None, graph) is None  # all in one process
        for device in ("/job:ps/task:1", "/job:worker/task:7/device:CPU:0", "/job:ps/task:0"):
            with v1.device(device):
                tf.constant(1)
        given = v1.ConfigProto(log_device_placement=True)
        made = with_device_filters(given, graph)
        assert list(made.device_filters) == ["/job:ps", "/job:worker/task:7"]
        assert made.log_device_placement
        assert not given.device_filters
        own = v1.ConfigProto(device_filters=["/job:ps"])
        assert with_device_filters(own, graph) is own
