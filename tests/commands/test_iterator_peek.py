"""`monolith iterator peek` as a user runs it: the process with TensorFlow is the real one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cli_support import MONOLITH, call, environment
from input_support import save_in_graph, shuffled
from tf_support import tensorflow

INPUTS = """
import tensorflow as tf

print("imported")

def train():
    data = tf.data.Dataset.range(100).shuffle(10, seed=3)
    return data.batch(2).map(lambda x: x + 1).prefetch(2)

def floats():
    print("called")
    return train().map(lambda x: (tf.cast(x, tf.float32), tf.math.log(tf.cast(x - 9, tf.float32))))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tensorflow()
    directory = tmp_path_factory.mktemp("peek") / "model"
    save_in_graph(directory, {10: 3}, shuffled)
    (directory.parent / "inputs.py").write_text(INPUTS)
    return directory


def peek(model: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """In the directory where `inputs.py` is."""
    return subprocess.run(
        [MONOLITH, "iterator", "peek", model.name, *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        cwd=model.parent,
    )


def test_the_next_elements(model: Path) -> None:
    expected = save_in_graph(model.parent / "again", {10: 3}, shuffled)[10][0]
    done = peek(model, "--worker", 1, "--dataset", "inputs:train", "-n", 3)
    assert done.returncode == 0, done.stderr
    said = [[int(text) for text in json.loads(line)] for line in done.stdout.splitlines()]
    assert said == expected
    assert '"' in done.stdout  # 64-bit integers are strings
    assert done.stderr == "imported\n"  # what the module prints, and nothing of TensorFlow


def test_one_that_does_not_fit(model: Path) -> None:
    done = peek(model, "--dataset", "inputs:floats", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    *lines, error = done.stderr.splitlines()
    assert lines[:3] == [
        "imported",
        "called",
        "Warning: the input is not the one that was saved: MapDataset (2 of 2) is new",
    ]
    assert json.loads(error)["error"]["code"] == 1
    assert "at its end the dataset has ParallelMapV2, and the state Prefetch" in lines[-1]


@pytest.mark.parametrize(
    ("args", "code", "what"),
    [
        (["--dataset", "inputs"], 2, "'inputs' is not of the form module:function"),
        (["--dataset", "inputs:train", "--worker", "3"], 3, "no states of worker 3's input"),
        (["--dataset", "inputs:train", "--step", "20"], 3, "no state of worker 1's input at step"),
        (["--dataset", "inputs:train", "--iterator", "a"], 3, "no state of iterator a"),
        (["--dataset", "inputs:train", "--step", "all"], 2, "'all' makes no sense here"),
        ([], 2, "Missing option '--dataset'"),
    ],
)
def test_what_needs_no_tensorflow(model: Path, args: list[str], code: int, what: str) -> None:
    done = call("iterator", "peek", model, *args)
    assert (done.code, done.out) == (code, "")
    assert what in done.err
