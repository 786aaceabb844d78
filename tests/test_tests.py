"""What the tests themselves keep to."""

from __future__ import annotations

import ast
import tokenize
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
MOST_LINES = 600


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_long(path: Path) -> None:
    """Part it by what it is about; what the parts share goes into support or a conftest file."""
    assert path.read_text(encoding="utf-8").count("\n") <= MOST_LINES


def blanket_ignores(path: Path) -> list[int]:
    """The lines with a `filterwarnings` that ignores everything and has no comment on its line."""
    source = path.read_text(encoding="utf-8")
    with path.open("rb") as file:
        comments = {
            token.start[0]
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        }
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "filterwarnings"
        and any(isinstance(arg, ast.Constant) and arg.value == "ignore" for arg in node.args)
        and not comments.intersection(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_warnings_are_ignored_with_a_reason_only(path: Path) -> None:
    """Name the warning, in pyproject.toml or in the mark; or say beside it why all must go."""
    assert blanket_ignores(path) == []


def test_an_ignore_without_a_reason_is_found(tmp_path: Path) -> None:
    path = tmp_path / "test_x.py"
    path.write_text(
        'one = pytest.mark.filterwarnings("ignore")\n'
        'two = pytest.mark.filterwarnings("ignore")  # TensorFlow has dozens of them here\n'
        'three = pytest.mark.filterwarnings("ignore:is old:DeprecationWarning")\n'
    )
    assert blanket_ignores(path) == [1]


def test_modules_that_tests_share_are_in_support() -> None:
    """What pytest does not collect is imported by name, from there alone."""
    elsewhere = [
        name_of(path)
        for path in FILES
        if path.parent.name != "support" and not path.name.startswith(("test_", "conftest"))
    ]
    assert elsewhere == []
