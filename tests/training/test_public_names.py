"""What trainers import stays where it is documented, wherever its code lies."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from tf_support import tensorflow

DOCS = Path(__file__).parents[2] / "docs"


def documented() -> list[tuple[str, str]]:
    """Module and name: by the headings of the reference, and by the imports in all pages."""
    found: set[tuple[str, str]] = set()
    module = ""
    for line in (DOCS / "training-api.md").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"(##|###) (\w+)", line):
            if heading[1] == "##":
                module = heading[2]
            else:
                found.add((module, heading[2]))
    pattern = r"from monolith_cli\.training\.(\w+) import (\([^)]*\)|[\w, ]+)"
    for page in sorted(DOCS.glob("*.md")):
        for module, names in re.findall(pattern, page.read_text(encoding="utf-8")):
            found |= {(module, name) for name in re.findall(r"\w+", names)}
    return sorted(found)


def test_there_are_names() -> None:
    assert len(documented()) > 40


@pytest.mark.parametrize(("module", "name"), documented())
def test_a_documented_name(module: str, name: str) -> None:
    tensorflow()
    found = importlib.import_module(f"monolith_cli.training.{module}")
    assert name in found.__all__
    assert getattr(found, name) is not None
