"""Random damage to a whole step: what a repair leaves is judged whole, or nothing is left."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import dump_support as ds
import pytest
from repair_support import bytes_of
from step_support import save_steps

from monolith_cli.care.findings import ERROR
from monolith_cli.care.fsck.check import check
from monolith_cli.care.repair.step import repair_step
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import MonolithError
from monolith_cli.tables.ckpt_info_file import settle_ckpt_info
from monolith_cli.tables.counts import count_checkpoint

ROUNDS = int(os.environ.get("REPAIR_ROUNDS", "25"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "model"
    multis = {"M": {"t": 300, "u": 40, "v": 0}, "N": {"w": 9}}
    save_steps(directory, 3, multis=multis, entries=60, inputs=(0, 1), manifest=True)
    ds.write_hash_filter(directory / "model.ckpt-3.assets", splits=2, total_size=12_000)
    checkpoint = open_model_dir(directory).checkpoint()
    settle_ckpt_info(checkpoint.ckpt_info_path, count_checkpoint(checkpoint))
    return directory


def damage(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    match rng.randrange(6):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(b"")
        case 2 if data:
            at = rng.randrange(8 * len(data))
            changed = bytearray(data)
            changed[at // 8] ^= 1 << at % 8
            path.write_bytes(changed)
        case _ if data:
            path.write_bytes(ds.mutated(data, rng))


def test_random_damage(whole: Path, tmp_path: Path) -> None:
    made = refused = 0
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        model = shutil.copytree(whole, tmp_path / f"{seed}" / "model")
        if rng.random() < 0.5:
            (model / "ckpt.manifest-3").unlink()
        files = sorted(path for path in model.rglob("*") if path.is_file())
        # The dense variables have their turn, but not in each round.
        files = [path for path in files if path.name != "checkpoint"]
        tables = [path for path in files if path.parent != model]
        for path in rng.sample(files if rng.random() < 0.3 else tables, rng.choice([1, 1, 2, 4])):
            damage(path, rng)
        before = bytes_of(model)
        target = model.parent / "repaired"
        try:
            done = repair_step(model, target, jobs=1)
        except MonolithError:
            refused += 1
            assert [path.name for path in model.parent.iterdir()] == ["model"], seed
        else:
            made += 1
            errors = [each for each in check(target).findings if each.severity == ERROR]
            assert not errors, (seed, errors)
            if done.is_whole:
                damaged = [each for each in check(model).findings if each.severity == ERROR]
                assert len(damaged) <= 2 * len(done.bits) + 2, (seed, damaged)
        assert bytes_of(model) == before
        shutil.rmtree(model.parent)
    assert made > ROUNDS // 2
    assert refused or ROUNDS < 100
