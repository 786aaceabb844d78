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


def names_all(filter_text: str) -> bool:
    """Whether a filter as pytest writes them, `action:message:category`, ignores everything."""
    action, message, category = (*filter_text.split(":"), "", "")[:3]
    return action == "ignore" and not message and category.strip() in ("", "Warning")


def ignores_all(call: ast.Call) -> bool:
    """Whether a call ignores warnings, and names neither a class nor words of those it means."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    if function not in ("filterwarnings", "simplefilter", "catch_warnings"):
        return False
    values = [*call.args, *(word.value for word in call.keywords)]
    filters = [x.value for x in values if isinstance(x, ast.Constant) and isinstance(x.value, str)]
    if ast.unparse(call.func).startswith("pytest.mark."):
        return any(map(names_all, filters))
    # In the others the action is one argument, and what it is about are more of them.
    about = [x for x in values if isinstance(x, ast.Name | ast.Attribute)]
    words = [text for text in filters if text not in ("", "ignore")]
    return "ignore" in filters and not words and {ast.unparse(x) for x in about} <= {"Warning"}


def blanket_ignores(path: Path) -> list[int]:
    """The lines that ignore every warning and have no comment on their line."""
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
        and ignores_all(node)
        and not comments.intersection(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_warnings_are_ignored_with_a_reason_only(path: Path) -> None:
    """Name the warning, in pyproject.toml or in the mark; or say beside it why all must go."""
    assert blanket_ignores(path) == []


@pytest.mark.parametrize(
    "ignore",
    [
        'pytest.mark.filterwarnings("ignore")',
        'pytest.mark.filterwarnings("ignore::")',
        'pytest.mark.filterwarnings("ignore::Warning")',
        'pytest.mark.filterwarnings("error", "ignore:::some.module")',
        'warnings.filterwarnings("ignore")',
        'warnings.filterwarnings(action="ignore", category=Warning)',
        'warnings.simplefilter("ignore")',
        'warnings.simplefilter("ignore", Warning)',
        'simplefilter("ignore")',
        'warnings.catch_warnings(action="ignore")',
    ],
)
def test_an_ignore_without_a_reason_is_found(tmp_path: Path, ignore: str) -> None:
    path = tmp_path / "test_x.py"
    path.write_text(f"one = {ignore}\ntwo = {ignore}  # TensorFlow has dozens of them here\n")
    assert blanket_ignores(path) == [1]


@pytest.mark.parametrize(
    "call",
    [
        'pytest.mark.filterwarnings("ignore:is old:DeprecationWarning")',
        'pytest.mark.filterwarnings("ignore:is old")',
        'pytest.mark.filterwarnings("ignore::DeprecationWarning")',
        'warnings.filterwarnings("ignore", message="is old")',
        'warnings.simplefilter("ignore", DeprecationWarning)',
        'warnings.simplefilter("always")',
        "warnings.catch_warnings(record=True)",
    ],
)
def test_an_ignore_that_names_a_warning_needs_none(tmp_path: Path, call: str) -> None:
    path = tmp_path / "test_x.py"
    path.write_text(f"one = {call}\n")
    assert blanket_ignores(path) == []


def test_modules_that_tests_share_are_in_support() -> None:
    """What pytest does not collect is imported by name, from there alone."""
    elsewhere = [
        name_of(path)
        for path in FILES
        if path.parent.name != "support" and not path.name.startswith(("test_", "conftest"))
    ]
    assert elsewhere == []
