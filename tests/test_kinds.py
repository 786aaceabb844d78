"""Every kind of error has a meaning, and docs/ci.md has the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from monolith_cli import errors
from monolith_cli.care.findings import SEVERITY
from monolith_cli.kinds import KINDS, RECORD_DAMAGE

ROOT = Path(__file__).parents[1]


def named_in(path: Path) -> Iterator[str]:
    """The kinds that a module names: `kind="..."` of errors, and rows of tables of them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "kind":
            yield from _texts(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Failure":
            yield from _texts(node.args[1]) if len(node.args) > 1 else ()


def _texts(node: ast.expr) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def test_what_the_library_names_is_known() -> None:
    found = {getattr(errors, name).kind for name in errors.__all__}
    for folder in ("monolith_cli", "commands"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(named_in(path))
    names = (ROOT / "monolith_cli/native/reader.cc").read_text(encoding="utf-8")
    table = re.search(r"kNames\[\] = \{(.*?)\}", names, re.DOTALL)
    assert table is not None
    native = set(re.findall('"([a-z_]+)"', table[1]))
    assert native <= set(RECORD_DAMAGE)
    assert set(SEVERITY) <= set(KINDS)
    found |= set(SEVERITY)
    found |= native | {"read_only", "no_space", "file_too_large"}  # of a table in storage/atomic.py
    assert sorted(found - set(KINDS)) == []
    assert sorted(set(KINDS) - found) == []


def test_the_table_of_the_docs_is_that_of_the_library() -> None:
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    section = text.split("## Kinds of errors", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (.*) \|$", section, re.MULTILINE)
    assert dict(rows) == KINDS
    assert [kind for kind, _ in rows] == list(KINDS)


def test_the_findings_of_the_docs_are_those_of_the_library() -> None:
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    section = text.split("## What `ckpt fsck` finds", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (error|warning|note) \| .* \| (.*) \|$", section, re.MULTILINE)
    told = {id: severity for severity, ids in rows for id in re.findall("`([a-z0-9_]+)`", ids)}
    assert told == SEVERITY
    assert list(told) == list(SEVERITY)
