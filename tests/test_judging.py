"""The script of docs/ci.md that judges the newest checkpoint, and the rules of docs/judging.md."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from cli_support import MONOLITH, environment

from monolith_cli.reports.metrics import METRICS
from monolith_cli.samples.sample import write_sample

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "scripts" / "judge_newest.sh"


def judge(model: Path) -> tuple[int, list[str]]:
    """The exit code, and the lines that name what is wrong."""
    done = subprocess.run(
        ["bash", SCRIPT, model],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(PATH=f"{MONOLITH.parent}:{os.environ['PATH']}"),
    )
    assert done.stderr == ""
    start = f"{model}: "
    lines = [line for line in done.stdout.splitlines() if re.search(r"\(exit code \d+\)$", line)]
    return done.returncode, [line.removeprefix(start) for line in lines]


def break_nothing(model: Path) -> None:
    pass


def remove_a_shard(model: Path) -> None:
    next(model.glob("model.ckpt-2000.assets/*_item-00001*")).unlink()


def remove_an_input(model: Path) -> None:
    for path in model.glob("input_worker_2.ckpt-2000.*"):
        path.unlink()


WHOLE = "not whole, or an input lags"


@pytest.mark.skipif(which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (break_nothing, []),
        (remove_a_shard, [f"{WHOLE} (exit code 4)", "NaN in the tables (exit code 4)"]),
        (remove_an_input, [f"{WHOLE} (exit code 1)"]),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, damage: Callable[[Path], None], expected: list[str]
) -> None:
    model = tmp_path / "model"
    write_sample(model, entries=500, steps=2, shards=2)
    damage(model)
    assert judge(model) == (int(bool(expected)), expected)


@pytest.mark.skipif(which("bash") is None, reason="there is no bash here")
def test_growth_and_nan_are_named(tmp_path: Path) -> None:
    write_sample(tmp_path / "model", steps=3, drift=True)
    grown = "a slot has grown by more than 20 % (exit code 1)"
    assert judge(tmp_path / "model") == (1, [grown, "NaN in the tables (exit code 1)"])


def test_the_script_is_the_one_that_the_page_shows() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert f"```bash\n{SCRIPT.read_text(encoding='utf-8')}```\n" in page


def test_rules_are_about_metrics_that_there_are() -> None:
    page = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    expressions = re.findall(r"^ +expr: (.*)$", page, re.MULTILINE)
    assert len(expressions) > 4
    names = {name for each in expressions for name in re.findall(r"monolith_\w+", each)}
    assert names <= {"monolith_up", *(metric.name for metric in METRICS)}
