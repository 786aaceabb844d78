"""`monolith ckpt metrics`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import call
from prometheus_client.parser import text_string_to_metric_families

from monolith_cli.samples.sample import write_sample


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("metrics") / "model"
    write_sample(model, entries=100, steps=2)
    return model


def up(text: str) -> dict[str, float]:
    return {
        sample.labels["model_dir"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "monolith_up"
    }


def test_it_ends_with_0_whatever_there_is_to_see(model: Path, tmp_path: Path) -> None:
    done = call("ckpt", "metrics", model)
    assert (done.code, done.err) == (0, "")
    assert up(done.out) == {str(model): 1}
    assert f'monolith_checkpoint_step{{model_dir="{model}"}} 2000\n' in done.out
    write_sample(tmp_path, entries=100, steps=2)
    for path in tmp_path.glob("*.assets/*user*"):
        path.unlink()
    done = call("ckpt", "metrics", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert f'monolith_steps{{model_dir="{tmp_path}",state="incomplete"}} 2\n' in done.out
    assert "complete_step" not in done.out


def test_one_that_cannot_be_looked_at_does_not_hide_the_others(model: Path, tmp_path: Path) -> None:
    done = call("ckpt", "metrics", tmp_path / "gone", model, model)
    assert done.code == 3
    assert up(done.out) == {str(tmp_path / "gone"): 0, str(model): 1}
    assert done.err.startswith(f"Error: {tmp_path}/gone: no such directory")
    (tmp_path / "checkpoint").write_text("nonsense: {")
    done = call("ckpt", "metrics", "--json", tmp_path, tmp_path / "gone")
    assert done.code == done.error["code"] == 4
    assert up(done.out) == {str(tmp_path): 0, str(tmp_path / "gone"): 0}


def test_a_file_is_written_whole(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "monolith.prom"
    file.write_text("old")
    done = call("ckpt", "metrics", "-o", file, model, tmp_path / "gone")
    assert (done.code, done.out) == (3, "")
    assert up(file.read_text()) == {str(model): 1, str(tmp_path / "gone"): 0}
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert call("ckpt", "metrics", "-o", tmp_path / "no" / "where", model).code == 3


def test_no_directory_is_wrong_usage() -> None:
    assert call("ckpt", "metrics").code == 2
