"""The process that shows the next elements of a dataset, without being one."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from input_support import save_in_graph, shuffled
from tf_support import tensorflow, write_plain

from monolith_cli.errors import (
    CorruptionError,
    DatasetError,
    DifferentError,
    MonolithError,
    PathNotFoundError,
)

INPUTS = """
import sys
import tensorflow as tf


def numbers(batch=2):
    data = tf.data.Dataset.range(100).shuffle(10, seed=3)
    return data.batch(batch).map(lambda x: x + 1).prefetch(2)


def of_five():
    return numbers(5)


def without_batch():
    return tf.data.Dataset.range(100)


def of_worker(worker, *, batch=2):
    print("the function prints this")
    assert worker == 1
    return numbers(batch)


def positional(index, /):
    assert index == 1
    return numbers()


def keyword(*, index):
    assert index == 1
    return numbers()


def two(here, there):
    return numbers()


def raises():
    return tf.data.TFRecordDataset(FILES)


def ends():
    sys.exit("no")


def none():
    pass


class Inputs:
    @staticmethod
    def numbers():
        return numbers()


count = 3


def looked_up():
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant([1, 2], tf.int64), tf.constant(["a", "b"]))
    table = tf.lookup.StaticHashTable(initializer, "?")
    return tf.data.Dataset.range(100).map(lambda x: table.lookup(x))
"""


class Order:
    """Runs the process's work, and keeps what it tells."""

    def __init__(self, model: Path, prefix: Path | None = None) -> None:
        self.prefix = str(prefix or model / "input_worker_1.ckpt-10")
        self.worker: int | None = 1
        self.said: list[tuple[str, Any]] = []
        self.following: list[Any] = []

    def run(self, function: str, count: int = 2, **changes: Any) -> list[Any]:
        """The elements."""
        from monolith_cli.training.inputs.peek import Teller, run

        module, _, name = function.rpartition(":")
        order = {
            "prefix": self.prefix,
            "worker": self.worker,
            "step": 10,
            "iterator": "OneShotIterator:0",
            "module": module or "peeked_inputs",
            "function": name,
            "count": count,
            "number_ids": True,
            "debug": False,
        }
        stream = io.StringIO()
        try:
            run(order | changes, Teller(stream))
        finally:
            lines = stream.getvalue().splitlines()
            self.said = [(line[0], json.loads(line[2:])) for line in lines]
        return [what for kind, what in self.said if kind == "E"]

    def of(self, kind: str) -> list[Any]:
        return [what for each, what in self.said if each == kind]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tensorflow()
    (tmp_path / "peeked_inputs.py").write_text(INPUTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(logging.getLogger("tensorflow"), "level", logging.WARNING)
    monkeypatch.delitem(sys.modules, "peeked_inputs", raising=False)
    return tmp_path / "model"


@pytest.fixture
def order(model: Path) -> Order:
    made = Order(model)
    made.following = save_in_graph(model, {10: 3}, shuffled)[10][0]
    return made


@pytest.mark.parametrize(
    "function", ["numbers", "of_worker", "positional", "keyword", "Inputs.numbers"]
)
def test_the_next_elements(order: Order, function: str) -> None:
    before = {p.name: p.read_bytes() for p in Path(order.prefix).parent.iterdir() if p.is_file()}
    assert order.run(function, 3) == order.following
    assert order.said[-1] == ("D", {"elements": 3, "has_ended": False, "non_finite": 0})
    assert order.of("N") + order.of("W") == []
    after = {p.name: p.read_bytes() for p in Path(order.prefix).parent.iterdir() if p.is_file()}
    assert after == before


@pytest.mark.parametrize("name", ["run[1]", "run\\1", "run*"])
def test_a_directory_that_tensorflow_takes_for_a_pattern(
    order: Order, model: Path, name: str
) -> None:
    model.rename(model.parent / name)
    order.prefix = str(model.parent / name / "input_worker_1.ckpt-10")
    assert order.run("numbers", 3) == order.following
    assert order.of("N") + order.of("W") == []


def test_the_end(order: Order) -> None:
    assert len(order.run("numbers", 1000)) == 47
    assert order.of("D") == [{"elements": 47, "has_ended": True, "non_finite": 0}]


def test_none_is_wanted_but_to_know_whether_it_fits(order: Order) -> None:
    assert order.run("numbers", 0) == []
    with pytest.raises(DifferentError, match="and the state"):
        order.run("without_batch", 0)


def test_what_differs_is_said_before_the_elements(order: Order) -> None:
    assert len(order.run("of_five")) == 2
    kinds = [kind for kind, _ in order.said]
    assert kinds == ["W", "E", "E", "D"]
    assert order.of("W") == [
        "the input is not the one that was saved: batch_size of BatchDatasetV2 was 2, is 5"
    ]


def test_no_fingerprint(order: Order) -> None:
    (Path(order.prefix).parent / "ckpt.inputs-10").unlink()
    order.run("of_five")
    [note] = order.of("N")
    assert note.startswith("there is no fingerprint of the input that was saved")


def test_eagerly_for_a_state_of_tensorflows_checkpoint(model: Path, tmp_path: Path) -> None:
    tf = tensorflow()
    iterator = iter(shuffled())
    next(iterator)
    prefix = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "notebook"))
    following = [next(iterator).numpy().tolist() for _ in range(2)]
    order = Order(model, Path(prefix))
    order.worker = None
    assert order.run("numbers", iterator="iterator") == following
    with pytest.raises(DatasetError, match="of_worker needs a worker, and the state's name has no"):
        order.run("of_worker", iterator="iterator")
    assert len(order.run("numbers", 1000, iterator="iterator")) == 49
    assert order.of("D")[0]["has_ended"] is True


def test_a_table_in_the_graph(model: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    def looked_up() -> Any:
        values = tf.lookup.KeyValueTensorInitializer(
            tf.constant([1, 2], tf.int64), tf.constant(["a", "b"])
        )
        table = tf.lookup.StaticHashTable(values, "?")
        return tf.data.Dataset.range(100).map(lambda x: table.lookup(x))

    save_in_graph(model, {10: 1}, looked_up, initializable=True)
    assert Order(model).run("looked_up", 3, iterator="IteratorV2:0") == ["a", "b", "?"]


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("absent:f", "there is no module absent; modules are looked for in the current directory"),
        ("peeked_inputs.sub:f", "there is no module peeked_inputs.sub"),
        ("absent", "module peeked_inputs has no absent"),
        ("Inputs.absent", "module peeked_inputs has no Inputs.absent"),
        ("count", "peeked_inputs:count is a int, not a function"),
        ("none", "peeked_inputs:none returns a NoneType, not a tf.data.Dataset"),
        ("two", "peeked_inputs:two needs here, there; give a function that needs nothing"),
        (
            "raises",
            r"raises raises NameError: name 'FILES' is not defined \(.*inputs.py, line 40\)",
        ),
        ("ends", r"peeked_inputs:ends raises SystemExit: no"),
    ],
)
def test_no_dataset(order: Order, function: str, what: str) -> None:
    with pytest.raises(DatasetError, match=what):
        order.run(function)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("import absent_one", "module broken raises ModuleNotFoundError: No module named 'absent"),
        ("1 / 0", r"module broken raises ZeroDivisionError: .* \(.*broken.py, line 1\)"),
        ("def f(:", "module broken raises SyntaxError"),
        ("raise SystemExit(3)", "module broken raises SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported(
    order: Order, tmp_path: Path, content: str, what: str
) -> None:
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(DatasetError, match=what):
        order.run("broken:f")


@pytest.mark.parametrize(
    ("damage", "kind", "what"),
    [
        (b"damaged", CorruptionError, "the element after 2 cannot be computed: .*corrupted record"),
        (None, PathNotFoundError, "the element after 2 cannot be computed: .*No such file"),
    ],
)
def test_an_element_that_cannot_be_computed(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: bytes | None,
    kind: type[MonolithError],
    what: str,
) -> None:
    paths = [str(tmp_path / f"part-{i}") for i in range(2)]
    for path in paths:
        write_plain(path, [b"0", b"1", b"2"])
    data = tensorflow().data
    save_in_graph(model, {10: 1}, lambda: data.TFRecordDataset(paths))
    (tmp_path / "peeked_files.py").write_text(
        f"import tensorflow as tf\ndef f(): return tf.data.TFRecordDataset({paths!r})\n"
    )
    monkeypatch.delitem(sys.modules, "peeked_files", raising=False)
    if damage is None:
        os.unlink(paths[1])
    else:
        Path(paths[1]).write_bytes(damage * 10)
    order = Order(model)
    with pytest.raises(kind, match=what):
        order.run("peeked_files:f", 9)
    assert order.of("E") == ["1", "2"]


def test_what_is_said_while_tensorflow_is_imported(capfd: pytest.CaptureFixture[str]) -> None:
    tensorflow()
    from monolith_cli.training.inputs.peek import said_only_on_failure

    with said_only_on_failure():
        os.write(2, b"a banner\n")
    assert capfd.readouterr().err == ""

    def fail() -> None:
        with said_only_on_failure():
            os.write(2, b"why\n")
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == "why\n"


def test_iterators_of_the_function_itself(order: Order, tmp_path: Path) -> None:
    """One that is made in the same graph is in nobody's way."""
    (tmp_path / "peeked_more.py").write_text(
        "import tensorflow as tf, peeked_inputs\n"
        "def f():\n"
        "    data = tf.data.Dataset.range(3)\n"
        "    tf.compat.v1.data.make_one_shot_iterator(data).get_next()\n"
        "    return peeked_inputs.numbers()\n"
    )
    assert len(order.run("peeked_more:f")) == 2
