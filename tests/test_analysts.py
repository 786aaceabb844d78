"""What docs/analysts.md shows is what DuckDB, polars, pandas, NumPy and PyArrow print."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from cli_support import call

PAGE = Path(__file__).parents[1] / "docs" / "analysts.md"


def blocks(language: str) -> list[str]:
    """The blocks of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("duckdb", "polars", "pandas", "pyarrow"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ monolith (.*?)(?: \| .*)?$", "".join(blocks("console")), re.M)
    assert len(commands) > 3
    for command in commands:
        assert call(*shlex.split(command)).code == 0, command
    test = doctest.DocTestParser().get_doctest("\n".join(blocks("pycon")), {}, "", str(PAGE), 0)
    assert len(test.examples) > 15
    report: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
