"""`monolith ckpt pin` and `unpin`: what they say; the library's tests have the cases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_support import Done, call, failed
from rollback_support import list_rolled, write_rolled
from step_support import time_of

pytestmark = pytest.mark.usefixtures("no_variables")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_rolled(tmp_path / "model", 1, 2, 3)


def test_pin_and_unpin(model: Path) -> None:
    assert call("ckpt", "pin", model, 2) == Done(0, "step 2 is pinned\n", "")
    assert call("ckpt", "pin", model, 2) == Done(0, "step 2 is pinned, as before\n", "")
    rows = call("ckpt", "ls", "--json", model).document["steps"]
    assert [row["step"] for row in rows if row["pinned"]] == [2]
    assert call("ckpt", "unpin", model, 2) == Done(0, "step 2 is not pinned\n", "")
    done = call("ckpt", "unpin", model, 2)
    assert done == Done(0, "step 2 is not pinned, as before\n", "")


def test_an_unlisted_step(model: Path) -> None:
    list_rolled(model, 1, 3)
    os.utime(model / "model.ckpt-3.index")
    text = failed(call("ckpt", "pin", model, 2), 5)
    assert text.endswith("or say with --quiet-for 0 that it has ended")
    os.utime(model / "model.ckpt-3.index", (time_of(3), time_of(3)))
    assert call("ckpt", "pin", model, 2) == Done(
        0,
        "step 2 is pinned\n\n'checkpoint' lists it now, as training wants it of steps that are"
        " pinned\n",
        "",
    )


def test_json(model: Path) -> None:
    assert call("ckpt", "pin", "--json", model, 2).document == {
        "model_dir": str(model),
        "step": 2,
        "pinned": True,
        "listed": False,
        "files": ["monolith_checkpoint"],
    }


def test_what_cannot_be_pinned(model: Path) -> None:
    assert "no step 7; the steps are 1, 2, 3" in failed(call("ckpt", "pin", model, 7), 3)
    assert failed(call("ckpt", "pin", model, "latest"), 2)
    (model / "monolith_checkpoint").unlink()
    assert failed(call("ckpt", "pin", model, 2), 3) == (
        f"Error: {model}/monolith_checkpoint: no such file; only savers of the training system that"
        " write this file heed pins"
    )
