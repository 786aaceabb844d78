"""The quick look at a manifest, which says nothing of what is odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monolith_cli.checkpoint.quick_manifest import entries_if_all_there

SIZES = {"model.ckpt-1.index": 10, "input_worker_0.ckpt-1.index": 5}


def look(tmp_path: Path, document: Any, sizes: dict[str, int], *, inputs: bool = True) -> Any:
    path = tmp_path / "ckpt.manifest-1"
    path.write_text(json.dumps(document))
    return entries_if_all_there(str(path), 1, sizes.get, inputs=inputs)


def manifest(**changes: Any) -> dict[str, Any]:
    files = [{"name": name, "bytes": size} for name, size in SIZES.items()]
    tables = [{"name": "user", "kind": "single", "entries": 3}]
    return {"version": 1, "step": 1, "files": files, "tables": tables, **changes}


def test_all_is_there(tmp_path: Path) -> None:
    assert look(tmp_path, manifest(), SIZES) == {"user": 3}


def test_a_file_is_gone_or_of_another_size(tmp_path: Path) -> None:
    for name, size in SIZES.items():
        assert look(tmp_path, manifest(), SIZES | {name: size + 1}) is None
        rest = {other: size for other, size in SIZES.items() if other != name}
        assert look(tmp_path, manifest(), rest) is None
        is_input = name.startswith("input_worker_")
        assert look(tmp_path, manifest(), rest, inputs=False) == ({"user": 3} if is_input else None)


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        manifest(step=2),
        manifest(version=2),
        manifest(files=None),
        manifest(files=[{"name": "gone", "bytes": None}]),
        manifest(tables=[1]),
    ],
)
def test_what_is_odd(tmp_path: Path, document: Any) -> None:
    assert look(tmp_path, document, SIZES) is None
    assert entries_if_all_there(str(tmp_path / "nothing"), 1, SIZES.get) is None
