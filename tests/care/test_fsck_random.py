"""Random damage of a whole directory: each is named in its file, if anything can show it.

`FSCK_DAMAGES=1000` tries more of them than by default.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import judge_support as js
import pytest

from monolith_cli.care.fsck import DAMAGED

DAMAGES = int(os.environ.get("FSCK_DAMAGES", "60"))
TEXTS = ("checkpoint", "monolith_checkpoint", "ckpt.")

Damaged = tuple[str, bool]
"""The file, and whether that must be seen."""


@pytest.fixture(scope="module", params=[True, False], ids=["manifests", "no manifests"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sound")
    return js.write_judged(directory, manifests=request.param)


def files_of(directory: Path) -> list[str]:
    """All but meta graphs, which count for nothing."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    names = [os.path.relpath(path, directory) for path in paths]
    return [name for name in names if not name.endswith(".meta")]


def is_text(name: str) -> bool:
    return name.startswith(TEXTS)


def flip(directory: Path, name: str, rng: random.Random) -> bool:
    path = directory / name
    size = path.stat().st_size
    if not size:
        return False
    js.flip(path, rng.randrange(size), rng.randrange(8))
    # Texts have no checksums: a digit, or a name, may have become another one.
    return not is_text(name)


def empty(directory: Path, name: str, rng: random.Random) -> bool:
    """An empty shard of a single table is one without entries, as far as the format goes."""
    had = (directory / name).stat().st_size
    js.cut(directory / name, 0)
    is_single = "MonolithHashTable" in name
    if name.startswith(("ckpt.info", "monolith_checkpoint")):  # which may say nothing, by right
        return False
    return bool(had) and (not is_single or has_manifest(directory))


def delete(directory: Path, name: str, rng: random.Random) -> bool:
    (directory / name).unlink()
    # Counts, and what names the rest, may be left out by right.
    return not is_text(name) or name == "checkpoint"


def cut(directory: Path, name: str, rng: random.Random) -> bool:
    """Anywhere; of a single table that may be where a record ends."""
    path = directory / name
    size = path.stat().st_size
    if size < 2:
        return False
    js.cut(path, rng.randrange(1, size))
    return not is_text(name)


def swap(directory: Path, name: str, rng: random.Random) -> bool:
    """A file of another step in its place; a sound one, so only the manifest can show it."""
    for step in js.STEPS:
        other = name.replace("-200", f"-{step}")
        if other != name and (directory / other).is_file():
            data = (directory / other).read_bytes()
            seen = len(data) != (directory / name).stat().st_size and has_manifest(directory)
            (directory / name).write_bytes(data)
            js.make_old(directory)
            return seen and ("/" in name or ".data-" in name)
    return False


def has_manifest(directory: Path) -> bool:
    return (directory / "ckpt.manifest-200").exists()


HOW: list[Callable[[Path, str, random.Random], bool]] = [flip, flip, flip, empty, delete, cut, swap]


def neighbours(name: str) -> set[str]:
    """Files at which damage of this one may be seen as well, or instead."""
    base = name.removesuffix(".index").partition(".data-")[0]
    found = {name, f"{base}.index", f"{base}.data-00000-of-00001"}
    if name.startswith("input_worker"):
        found.add(f"checkpoint_{name.partition('.')[0]}")
    if "Multi" in name:
        number = name[-14:]
        assets = name.partition("/")[0]
        found |= {f"{assets}/{js.MULTI}{number}", f"{assets}/{js.MULTI}.meta{number}"}
        found.add(name.partition("/")[0].replace("model.ckpt", "ckpt.info").removesuffix(".assets"))
    return found


def test_random_damage_is_named_in_its_file(sound: Path, tmp_path: Path) -> None:
    rng = random.Random(11)
    names = [name for name in files_of(sound) if "-200" in name or "checkpoint" in name]
    for number in range(DAMAGES):
        directory = js.copied(sound, tmp_path / str(number))
        name, how = rng.choice(names), rng.choice(HOW)
        must = how(directory, name, rng)
        judgement = js.judged(directory)
        told = js.told(judgement, directory)
        where = f"{number}: {how.__name__} of {name}: {told}"
        assert not judgement.unread, where
        files = {file for _, file in told}
        if name.startswith(("checkpoint", "ckpt.manifest")):
            assert told or not must, where
        else:
            assert files <= neighbours(name), where
            assert name in files or not must or bool(files & neighbours(name)), where
            assert files or not must, where
        if must and not name.startswith(("input_worker", "ckpt.info")):
            assert judgement.verdict == DAMAGED, where
        shutil.rmtree(directory)
