"""`monolith ckpt diff`."""

from __future__ import annotations

from pathlib import Path

import dump_support as ds
import numpy as np
import pytest
from cli_support import call

from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

RECORDS = ds.random_entries(1, 30, slots=(5,))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    ds.write_model_dir(model, 20, singles={"t": RECORDS[:20]})
    ds.write_model_dir(model, 10, singles={"t": RECORDS})
    for step, entries in ((20, 20), (10, 30)):
        values = np.array([3.0, 4.0], np.float32) * (step / 20)
        write_tensor_bundle(model / f"model.ckpt-{step}", {"w": values})
        write_ckpt_info(model / f"ckpt.info-{step}", CkptInfo({5: entries}, {}))
    ds.write_checkpoint_state(model, [20, 10])
    return model


def test_what_is_told(model: Path) -> None:
    done = call("ckpt", "diff", model)
    assert done.code == 0
    assert f"{model}, step 20 → step 10\n20 entries before, 30 after\n" in done.out
    assert "   5              20     30  +50.0%" in done.out
    assert "w               2        2.5  0.5\n" in done.out
    document = call("ckpt", "diff", "--json", model).document
    assert document["differs"]
    assert document["slots"] == [{"slot": 5, "entries_a": 20, "entries_b": 30}]
    assert document["dense"][0]["relative"] == 0.5
    assert "compared" not in document


def test_exit_codes(model: Path) -> None:
    assert call("ckpt", "diff", model, "latest", "--exit-code").code == 0
    done = call("ckpt", "diff", model, "--exit-code")
    assert done.code == 1
    assert "Error: different: 1 table, 1 dense variable, 0 inputs" in done.err
    for condition, code in (
        ("change(slot[*].entries) gt 20%", 1),
        ("change(slot[*].entries) gt 60%", 0),
        ("change(entries) gt 5", 1),
        ("table[t].bytes gt 1", 1),
        ("nan gt 0", 3),
        ("added gt 0", 3),
    ):
        assert call("ckpt", "diff", model, "--fail-if", condition).code == code, condition
    assert call("ckpt", "diff", model, "--entries", "--fail-if", "added gt 9").code == 1
    assert call("ckpt", "diff", model, 10, 20, "--with", model).code == 2


def test_entries(model: Path) -> None:
    done = call("ckpt", "diff", "--entries", model)
    assert "10 entries added, 0 removed, 0 changed, 0 touched, 20 the same" in done.out
    compared = call("ckpt", "diff", "--entries", "--json", model).document["compared"]
    assert (compared["added"], compared["same"]) == (10, 20)
    same = call("ckpt", "diff", "--entries", model, "--with", f"{model}@10")
    assert same.out.endswith("the same\n")


def test_damage(model: Path) -> None:
    path = ds.shard_path(model / "model.ckpt-20.assets", "t", 1, 2)
    path.unlink()
    done = call("ckpt", "diff", model)
    assert done.code == 4
    assert str(path) in done.err
    assert "20 entries before, 30 after" in done.out  # the rest is compared
    write_tensor_bundle(model / "model.ckpt-20", {"w": np.zeros(2, np.float32)})
    data = model / "model.ckpt-20.data-00000-of-00001"
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    assert call("ckpt", "diff", model).code == 4
