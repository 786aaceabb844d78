"""What small files say of steps."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from step_support import save_step

from monolith_cli.care.figures import StepFigures, counted_steps, figures_of
from monolith_cli.care.survey import survey
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.samples.sample import Sample, write_sample


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sample]:
    model = tmp_path_factory.mktemp("figures") / "model"
    return model, write_sample(model, entries=300, steps=3, drift=True)


@pytest.fixture
def model(written: tuple[Path, Sample], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "model"))


def figures(model: Path, step: int = 3000) -> StepFigures:
    found = survey(model)
    (wanted,) = [each for each in found.steps if each.step == step]
    return figures_of(found, wanted)


def by_table(sample: Sample) -> dict[str, int]:
    return {table.name: table.entries for table in sample.tables}


def test_a_step_of_single_tables(written: tuple[Path, Sample]) -> None:
    model, sample = written
    expected = by_table(sample)
    assert figures(model) == StepFigures(sum(expected.values()), expected, 3, 3)


def test_without_a_manifest_ckpt_info_tells_the_sum(model: Path) -> None:
    entries, _, *rest = figures(model)
    (model / "ckpt.manifest-3000").unlink()
    assert figures(model) == (entries, {}, *rest)
    (model / "ckpt.info-3000").write_bytes(b"")  # not counted
    assert figures(model) == (None, {}, *rest)


def test_multi_tables_by_their_names(tmp_path: Path) -> None:
    expected = by_table(write_sample(tmp_path, entries=300, steps=1, multi=True))
    assert figures(tmp_path, 1000) == StepFigures(300, expected, 3, 3)
    (tmp_path / "ckpt.info-1000").unlink()
    assert figures(tmp_path, 1000)[:2] == (300, {"MonolithMultiHashTable": 300})


def test_an_input_that_was_not_saved(model: Path) -> None:
    (model / "input_worker_1.ckpt-3000.index").unlink()
    assert figures(model)[2:] == (3, 2)
    assert figures(model, 2000)[2:] == (3, 3)
    (model / "ckpt.inputs-3000").unlink()
    assert figures(model)[2:] == (None, None)


@pytest.mark.parametrize("name", ["ckpt.info-3000", "ckpt.manifest-3000", "ckpt.inputs-3000"])
def test_what_cannot_be_read_is_not_known(model: Path, name: str) -> None:
    whole = figures(model)
    (model / name).write_text("{ nonsense")
    found = figures(model)
    assert found.entries == whole.entries
    if name == "ckpt.inputs-3000":
        assert found[2:] == (None, None)
    else:
        assert found[2:] == whole[2:]


def test_counts_outlive_their_steps(model: Path) -> None:
    for path in [*model.glob("model.ckpt-1000*"), *model.glob("*-1000")]:
        if path.name != "ckpt.info-1000":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    state = (model / "checkpoint").read_text().splitlines()
    del state[4], state[1]
    (model / "checkpoint").write_text("\n".join(state))
    write_ckpt_info(model / "ckpt.info-7", CkptInfo({}, {}))
    (model / "ckpt.info-8").write_text("nonsense")
    write_ckpt_info(model / "ckpt.info-99000", CkptInfo({1: 5}, {}))
    os.utime(model / "ckpt.info-99000", (1, 1))  # of a run before
    counted = counted_steps(survey(model))
    assert [each.step for each in counted] == [99000, 1000, 2000, 3000]
    assert counted[0].entries == 5
    assert counted[-1].time == 1_750_000_000
    assert counted[-1].entries == figures(model).entries


def test_a_step_without_anything(tmp_path: Path) -> None:
    save_step(tmp_path, 5)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-5"\n')
    assert figures(tmp_path, 5) == StepFigures(None, {}, None, None)
    manifest = {"version": 1, "step": 5, "run_id": "", "index": {"bytes": 1, "crc32c": "0" * 8}}
    manifest |= {"files": [], "tables": [{"name": "t", "kind": "single", "entries": None}]}
    (tmp_path / "ckpt.manifest-5").write_text(json.dumps(manifest))
    assert figures(tmp_path, 5)[:2] == (None, {})
