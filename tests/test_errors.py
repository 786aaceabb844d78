"""One tree of errors: what the library raises derives from `MonolithError`, wherever it is."""

from __future__ import annotations

import ast
import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from monolith_cli import errors
from monolith_cli.errors import MonolithError

ROOT = Path(__file__).parents[1]
FOLDERS = {"monolith_cli": "monolith_cli", "commands": "monolith_cli.commands"}

APART = {
    "monolith_cli.failures.Terminated": "a signal, which no `except Exception` may catch",
    "monolith_cli.failures.CodedError": "carries an error of the tree, and the code to end with",
    "monolith_cli.formats.manifest._MalformedError": "becomes a StateFileError where it is caught",
    "monolith_cli.tables.export.export._OtherShapeError": "says that a table is to be written anew",
}
"""Exceptions outside the tree, and why."""


def exceptions() -> Iterator[tuple[str, str]]:
    """The module and the name of each class whose name or bases say that it is an exception."""
    for folder, package in (
        ("monolith_cli", "monolith_cli"),
        ("commands", "monolith_cli.commands"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join([package, *path.relative_to(ROOT / folder).with_suffix("").parts])
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and _is_raised(node):
                    yield module.removesuffix(".__init__"), node.name


def _is_raised(node: ast.ClassDef) -> bool:
    names = [node.name, *(ast.unparse(base).rpartition(".")[2] for base in node.bases)]
    return any(name.endswith(("Error", "Exception", "Exit")) for name in names)


CLASSES = list(exceptions())


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=[".".join(each) for each in CLASSES])
def test_every_exception_is_in_the_tree(module: str, name: str) -> None:
    if f"{module}.{name}" in APART:
        return
    raised = getattr(importlib.import_module(module), name)
    assert issubclass(raised, MonolithError)


def test_those_apart_are_there() -> None:
    assert set(APART) <= {".".join(each) for each in CLASSES} | {"monolith_cli.failures.Terminated"}
    assert ("monolith_cli.failures", "Terminated") in CLASSES


def test_errors_py_names_all_of_its_own() -> None:
    own = [name for module, name in CLASSES if module == "monolith_cli.errors"]
    assert sorted(own) == sorted(errors.__all__)


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=[".".join(each) for each in CLASSES])
def test_errors_survive_a_process_boundary(module: str, name: str) -> None:
    if f"{module}.{name}" in APART:
        return
    raised = getattr(importlib.import_module(module), name)
    error = raised.__new__(raised)
    MonolithError.__init__(error, "what", path="file", offset=3, hint="do it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is raised
    assert (str(again), again.args) == (str(error), ("what",))
    assert str(again) == "file: what, at byte 3; do it"


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("BusyError", ["control.client", "control.faults"]),
        ("NotYoursError", ["control.client", "control.faults"]),
        ("GoneError", ["control.faults"]),
        ("UnimplementedError", ["control.faults"]),
        ("BarrierAlreadyPlacedError", ["training.barrier_ops"]),
    ],
)
def test_names_stay_where_they_were(name: str, places: list[str]) -> None:
    for place in places:
        module = importlib.import_module(f"monolith_cli.{place}")
        assert getattr(module, name) is getattr(errors, name)
