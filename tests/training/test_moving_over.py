"""The job of docs/moving-over.md, as processes: stopped in the middle, and gone on with.

What the page says of an original job's other parts is tried where those are tested; here is what
has no other place.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cli_support import MONOLITH, environment, monolith
from ports import free_ports
from save_support import Job, chief, listener
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.restart import restart_point

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "moving-over.md"


def blocks(language: str) -> list[str]:
    """The page's, in one language."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def replaced(source: str, old: str, new: str) -> str:
    assert source.count(old) == 1, old
    return source.replace(old, new)


def begin(directory: Path, job: str, start: str) -> subprocess.Popen[str]:
    """Start the page's script on a program."""
    (directory / "job.py").write_text(job, encoding="utf-8")
    for port, free in zip(range(7100, 7104), free_ports(4), strict=True):
        start = replaced(start, f":{port}", f":{free}")
    return subprocess.Popen(
        ["bash", "-c", start],
        cwd=directory,
        env=environment(
            PATH=f"{MONOLITH.parent}:{os.environ['PATH']}", PYTHONPATH="", TF_CPP_MIN_LOG_LEVEL="2"
        ),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(script: subprocess.Popen[str], seconds: float = 120) -> str:
    try:
        output, _ = script.communicate(timeout=seconds)
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
    assert script.returncode == 0
    return output


def test_the_job_of_the_page(tmp_path: Path) -> None:
    """Its records are trained on once, over a SIGTERM and from sessions of `runs` to stock ones."""
    tensorflow()
    job, stock_session = blocks("python")
    start, look = blocks("bash")
    ends, shown = blocks("text")

    job = replaced(job, "import sys\n", "import sys\nimport time\n")
    slowly = replaced(job, "session.run(train_op)", "(time.sleep(0.03), session.run(train_op))")
    script = begin(tmp_path, replaced(slowly, "save_steps=200", "save_steps=50"), start)
    model = tmp_path / "model"
    try:
        deadline = time.monotonic() + 100
        while restart_point(str(model)).step is None:
            assert time.monotonic() < deadline
            assert script.poll() is None
            time.sleep(0.1)
        saved = restart_point(str(model)).step
        os.kill(json.loads((model / "chief_claim").read_text())["pid"], signal.SIGTERM)
    finally:
        assert end(script) == ends
    stopped = restart_point(str(model)).step
    assert saved is not None
    assert stopped is not None
    assert saved < stopped < 750
    inputs = read_step_inputs(str(model), stopped)
    assert inputs is not None
    assert {worker: each.finished for worker, each in inputs.workers.items()} == {
        0: True,
        1: True,
        2: True,
    }
    assert not (model / "controller_server_addr.txt").exists()
    assert not (model / "controller_token").exists()

    one_of_page = re.search(r"^def open_session\(.*?\n(?=\n\n)", job, re.MULTILINE | re.DOTALL)
    assert one_of_page is not None
    stock = job.replace(one_of_page.group(), stock_session)
    assert "runs.monitored_session" not in stock
    # A worker of a stock session that comes before its chief looks again after 30 s only.
    wait = (
        "    while job == 'worker' and not os.path.exists('model/controller_server_addr.txt'):\n"
        "        time.sleep(0.1)\n"
        "    index = 0 if"
    )
    assert end(begin(tmp_path, replaced(stock, "    index = 0 if", wait), start)) == ends
    assert restart_point(str(model)).step == 750

    options = ("--quiet", "--columns", "embedding")
    assert look == f"monolith table dump {' '.join(options)} model | sort | uniq -c\n"
    rows = Counter(monolith("table", "dump", *options, model).stdout.splitlines())
    assert "".join(f"{count:7} {row}\n" for row, count in rows.items()) == shown


def test_eviction_after_a_save(tmp_path: Path) -> None:
    """A listener restores the tables in its `after_save`: committed, and while workers stand."""
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener
    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

    tf = tensorflow()
    seen = []

    def build(job: Job) -> dict[str, Any]:
        table = HashTable("items", 1)
        path = tf.compat.v1.placeholder(tf.string, [])
        evict = table.restore(path).as_op()
        barrier = BarrierOp(1)
        job.number = table.size()
        with tf.control_dependencies([job.train_op]):  # else a step may have the number before it
            step = tf.cast(job.step.read_value(), tf.int64)
        job.train_op = table.assign([step], [[1.0]]).as_op()

        def restore(session: Any, at: int) -> None:
            latest = restart_point(str(tmp_path)).step
            seen.append((at, latest, barrier.is_barrier_placed(session), session.run(job.number)))
            session.run(evict, {path: f"{tmp_path}/model.ckpt-2.assets/items"})

        tables = HashTableCheckpointSaverListener(tmp_path / "model.ckpt")
        return {
            "guard_saver_listeners": [BarrierSaverListener(barrier)],
            "listeners": [tables, listener(after=restore)],
        }

    with chief(tmp_path, build=build, save_steps=100) as job:
        for _ in range(2):
            job.train(2)
            job.hook.trigger_save(job.session)
        assert job.raw.run(job.number) == 2
    assert seen == [(2, 2, True, 2), (4, 4, True, 4)]
