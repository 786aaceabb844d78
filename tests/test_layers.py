"""Imports point downwards only, wherever in a file they are."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

TIERS = [
    # From the top. A module imports from its own layer and from tiers below, never from beside it.
    {"training"},  # imported by trainers, and by nothing here
    {"__main__"},
    {"cli"},
    {"commands"},
    {"failures"},
    {"reports"},
    {"samples", "care"},
    {"tables", "iterators", "control"},
    {"checkpoint"},
    {"formats"},
    {"messages"},
    {"_native"},
    {"storage", "execution"},
    {"fid"},
    {"kinds"},
    {"errors"},
    {""},  # the package itself: its version and its lazy names
]
ROOMS = [
    # Those of `training`, from the top. What trainers import lies above them all, in the open.
    {"control"},
    {"saves"},
    {"inputs", "tables"},
    {"pipelines"},
    {"run"},
    {"barrier"},
    {"graph"},
]
OF_TRAINING = {
    *("training", "control", "tables", "iterators", "checkpoint", "formats", "messages"),
    *("_native", "storage", "execution", "fid", "kinds", "errors"),
}
"""What trainers may see: nothing of commands, and of what they print."""

TOP_ONLY = {"click": {"cli", "commands", "failures"}, "rich": {"reports"}}
WITHOUT_PLACES = {"care", "checkpoint", "formats", "iterators", "tables"}
"""Layers that know no file system: where bytes are, `storage` alone knows."""

PLACES = {"glob", "io", "os", "pathlib", "posix", "shutil", "stat", "tempfile"}
WAYS_AROUND = {"_io", "builtins", "codecs", "importlib"}
"""By which one can open a file, or import what can; but for these names."""

HARMLESS = {"codecs.BOM_UTF8", "importlib.import_module", "importlib.util.find_spec"}
OF_STORAGE = {"location", "machine", "protocols", "scratch", "staged", "store"}
"""What knows of no file system, and hands none out."""

OF_ATOMIC = {"leftovers", "temporary_path"}


def sources() -> Iterator[tuple[str, str, Path]]:
    """Every module: its layer, its full name, its file."""
    for path in sorted((ROOT / "monolith_cli").rglob("*.py")):
        parts = ("monolith_cli", *path.relative_to(ROOT / "monolith_cli").with_suffix("").parts)
        if parts[1] not in ("native", "commands"):
            yield parts[1] if parts[1] != "__init__" else "", ".".join(parts), path
    for path in sorted((ROOT / "commands").glob("*.py")):
        yield "commands", f"monolith_cli.commands.{path.stem}", path


class Names(NamedTuple):
    """What a module imports, and which plain names it calls, with their lines."""

    imports: list[str]
    calls: list[tuple[str, int]]


@functools.cache
def names_of(path: Path) -> Names:
    """As several tests ask; parsing takes most of their time."""
    found = Names([], [])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            assert node.module is not None
            found.imports.extend(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.calls.append((node.func.id, node.lineno))
    return found


def imports(path: Path) -> list[str]:
    return names_of(path).imports


def tier(layer: str) -> int:
    return next(number for number, layers in enumerate(TIERS) if layer in layers)


MODULES = list(sources())


@pytest.mark.parametrize(
    ("layer", "path"), [(m[0], m[2]) for m in MODULES], ids=[m[1] for m in MODULES]
)
def test_imports_point_downwards(layer: str, path: Path) -> None:
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package in TOP_ONLY:
            assert layer in TOP_ONLY[package], f"{path} imports {package}"
        if package != "monolith_cli" or layer == "":
            continue
        target = rest.partition(".")[0]
        if target in ("__version__", ""):
            continue
        assert target == layer or tier(target) > tier(layer), f"{path} imports {name}"
        assert layer != "training" or target in OF_TRAINING, f"{path} imports {name}"


def test_every_layer_is_known() -> None:
    known = set().union(*TIERS)
    assert {layer for layer, _, _ in MODULES} <= known


def test_tensorflow_below_training_only() -> None:
    for layer, _, path in MODULES:
        for name in imports(path):
            assert layer == "training" or not name.startswith("tensorflow"), path


@pytest.mark.parametrize(
    "path", [m[2] for m in MODULES if m[0] in WITHOUT_PLACES], ids=lambda path: path.stem
)
def test_only_storage_knows_places(path: Path) -> None:
    found = PLACES.intersection(name.partition(".")[0] for name in imports(path))
    assert not found, f"{path} imports {found}: go through monolith_cli.storage"
    for name in imports(path):
        assert name in HARMLESS or name.partition(".")[0] not in WAYS_AROUND, f"{path}: {name}"
        assert is_seen_of_storage(name), f"{path} imports {name}"
    for name, line in names_of(path).calls:
        assert name not in ("open", "__import__"), f"{path}:{line}"


def test_storage_alone_refuses_pipes() -> None:
    """And `errors` alone says what it means that the system refuses to read."""
    for layer, _, path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert layer == "storage" or "O_NONBLOCK" not in text, path
        assert layer == "errors" or "not readable: {error.strerror}" not in text, path


def is_seen_of_storage(name: str) -> bool:
    """Whether layers without places may import that, be it of storage or not."""
    if name == "monolith_cli" or not name.startswith("monolith_cli.storage"):
        return True
    module, _, what = name.removeprefix("monolith_cli.storage.").partition(".")
    if module == "atomic":
        return what in OF_ATOMIC
    # A whole module would hand out what it has imported.
    return module in OF_STORAGE and what not in PLACES and bool(what or module == "machine")


@pytest.mark.parametrize(
    "name",
    ["", ".atomic.os", ".staging.shutil", ".local.LOCAL", ".location", ".location.os", ".atomic"],
)
def test_what_is_not_seen_of_storage(name: str) -> None:
    assert not is_seen_of_storage(f"monolith_cli.storage{name}")


def rooms() -> list[tuple[str, str, Path]]:
    """The modules of `training` that are in a room: that room, their full name, their file."""
    found = [(name.split("."), name, path) for layer, name, path in MODULES if layer == "training"]
    return [(parts[2], name, path) for parts, name, path in found if len(parts) > 3]


@pytest.mark.parametrize(("room", "path"), [(m[0], m[2]) for m in rooms()], ids=lambda value: value)
def test_imports_of_rooms_point_downwards(room: str, path: Path) -> None:
    order = {name: number for number, names in enumerate(ROOMS) for name in names}
    for name in imports(path):
        if not name.startswith("monolith_cli.training."):
            continue
        target = name.split(".")[2]
        assert target in order, f"{path} imports {name}, which is there for trainers"
        assert order[target] > order[room] or target == room, f"{path} imports {name}"


def test_every_room_is_known() -> None:
    assert {room for room, _, _ in rooms()} == set().union(*ROOMS)


def test_the_picture_of_contributing_has_every_layer_in_its_place() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.partition("## The rooms")[2].split("```")[1].splitlines()
    lines = {
        name.rstrip("/").removesuffix(".py"): number
        for number, line in enumerate(picture)
        for name in re.findall(r"\w+(?:/|\.py)(?!\w)", line)
    }
    tiers = [
        {name.replace("_native", "native") for name in names} for names in TIERS if "" not in names
    ]
    assert set(lines) == set().union(*tiers)
    # Training has a column of its own, beside the others.
    drawn = [lines[name] for names in tiers for name in sorted(names) if name != "training"]
    assert drawn == sorted(drawn)
