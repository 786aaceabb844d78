"""Exports that a job has noted: of which step, and whose tables they read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from step_support import save_steps

from monolith_cli.care.exports import (
    Export,
    check_exports,
    endangered,
    find_exports,
    unnoted,
    without_exports,
)
from monolith_cli.errors import PathNotFoundError, ProtectedError, StateFileError


def note(graph: Path, *exports: tuple[object, int]) -> Path:
    """The state file of a sub graph, as the training system writes it."""
    graph.mkdir(parents=True, exist_ok=True)
    lines = [
        f'entries {{\n  export_dir: "{directory}"\n  global_step: {step}\n}}\n'
        for directory, step in exports
    ]
    path = graph / "ExportSaverListenerState"
    path.write_text("".join(lines))
    return path


def version(graph: Path, number: int, *, tables: bool = False) -> Path:
    """A SavedModel, with its own tables or without any."""
    assets = graph / str(number) / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "saved_model.pb").touch()
    (assets / "vocabulary.txt").touch()
    if tables:
        (assets / "MonolithHashTable_a-00000-of-00001").touch()
    return assets.parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_steps(tmp_path / "model", 100, 200, tables=())


def test_no_exports(model: Path, tmp_path: Path) -> None:
    assert find_exports(model) == []
    assert find_exports(tmp_path / "nothing") == []


def test_an_export_itself(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state file is beside it."""
    graph = tmp_path / "exported" / "ps_0"
    made = version(graph, 5)
    assert find_exports(model, [made]) == []
    assert without_exports([made, graph]) == [str(made), str(graph)]
    assert unnoted(model, [], [made]) == [str(made)]
    note(graph, ("x/5", 100))
    (found,) = find_exports(model, [made])
    assert (found.directory, found.step, found.shares_tables) == (str(made), 100, True)
    assert find_exports(model, [f"{made}/", graph, graph.parent]) == [found]
    assert without_exports([made, graph, graph.parent, model]) == [str(model)]
    assert unnoted(model, [found], [made]) == []
    monkeypatch.chdir(made)
    assert find_exports(model, ["."]) == [found]
    monkeypatch.chdir(graph)
    assert [each.step for each in find_exports(model, ["5"])] == [100]


def test_sub_graphs(model: Path) -> None:
    base = model / "exported_models"
    found = []
    for graph in ("ps_0", "entry", "dense_0"):
        made = version(base / graph, 1700000000, tables=graph == "ps_0")
        state = note(base / graph, (made, 100))
        found.append(Export(str(made), 100, str(state), shares_tables=False))
    assert sorted(find_exports(model)) == sorted(found)


def test_tables_that_are_shared(model: Path) -> None:
    graph = model / "exported_models" / "ps_0"
    own, shared = version(graph, 1, tables=True), version(graph, 2)
    note(graph, (own, 100), (shared, 200))
    assert [(each.step, each.shares_tables) for each in find_exports(model)] == [
        (100, False),
        (200, True),
    ]


def test_a_standalone_export_elsewhere(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "serving"
    made = version(base, 5)
    state = note(base, (made, 200))
    assert find_exports(model) == []
    found = [Export(str(made), 200, str(state), shares_tables=True)]
    assert find_exports(model, [base]) == found
    assert find_exports(model, [tmp_path, base]) == found
    with pytest.raises(PathNotFoundError):
        find_exports(model, [tmp_path / "not there"])


def test_a_directory_that_was_moved(model: Path) -> None:
    graph = model / "exported_models" / "ps_0"
    made = version(graph, 7)
    note(graph, ("/old/place/exported_models/ps_0/7", 100), ("/old/place/ps_0/8", 200))
    assert [(each.directory, each.step) for each in find_exports(model)] == [(str(made), 100)]


def test_bytes_that_are_no_text(model: Path) -> None:
    graph = model / "exported_models" / os.fsdecode(b"ps\xff")
    version(graph, 7)
    note(graph, ("/old/place/7", 100))
    assert [each.step for each in find_exports(model)] == [100]


@pytest.mark.parametrize(
    "text", ["entries {", "entries: 5", "entries { global_step: 5 }", "entries { export_dir: 1 }"]
)
def test_a_malformed_state(model: Path, text: str) -> None:
    path = note(model / "exported_models" / "ps_0")
    path.write_text(text)
    with pytest.raises(StateFileError) as caught:
        find_exports(model)
    assert caught.value.path == str(path)


def test_steps_are_not_looked_into(model: Path) -> None:
    """Nor is what a rollback has moved away, or a version."""
    for name in ("model.ckpt-100.assets", "rolled-back/then", "exported/ps_0/12"):
        graph = model / name / "ps_0"
        note(graph, (version(graph, 1), 100))
    assert find_exports(model) == []


def test_exports_that_nobody_has_noted(model: Path) -> None:
    """Of one without tables nobody can say whose it reads."""
    base = model / "exported_models"
    for graph in ("ps_0", "entry", "dense_0"):
        version(base / graph, 1)
    version(base / "ps_0", 2, tables=True)
    note(base / "ps_0", (version(base / "ps_0", 3), 100))
    (base / "ps_0" / "4").mkdir()  # no SavedModel
    found = find_exports(model)
    assert unnoted(model, found) == [str(base / "ps_0" / "1")]
    assert unnoted(model, [], [base]) == [str(base / "ps_0" / name) for name in ("1", "3")]


def test_what_the_next_save_would_delete() -> None:
    exports = [Export(f"e{step}", step, "state", shares_tables=False) for step in (1, 2, 3)]
    assert endangered(exports, [2]) == [exports[0], exports[2]]
    assert endangered(exports, [2], before=[2, 3]) == [exports[2]]
    check_exports("model", [])
    with pytest.raises(ProtectedError) as caught:
        check_exports("model", exports[:2])
    assert str(caught.value) == (
        "model: the next save would delete exports of steps that are no longer listed: e1 (step 1),"
        " e2 (step 2); keep their steps, or copy the exports to another place"
    )
    assert caught.value.kind == "exports_would_go"
