"""The script of docs/ci.md that judges the newest checkpoint, and the rules of docs/judging.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from cli_support import MONOLITH, call, environment

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


PROMTOOL = which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool here: Debian has it in the package prometheus"
)
BAD = {
    "NoCheckpointForFourHours": {"monolith_checkpoint_age_seconds": 20_000},
    "CheckpointDamaged": {'monolith_findings{severity="error"}': 1},
    "CheckpointNotComplete": {'monolith_steps{state="incomplete"}': 1},
    "InputNotSaved": {
        "monolith_checkpoint_workers": 3,
        "monolith_checkpoint_workers_with_input": 2,
    },
    "ModelDirectoryNotSeen": {"monolith_up": 0},
}
GOOD = {
    "monolith_checkpoint_age_seconds": 60,
    'monolith_findings{severity="error"}': 0,
    'monolith_findings{severity="note"}': 5,
    'monolith_steps{state="complete"}': 5,
    'monolith_steps{state="incomplete"}': 0,
    "monolith_checkpoint_workers": 3,
    "monolith_checkpoint_workers_with_input": 3,
    "monolith_up": 1,
}


def promtool(*words: object, given: str | None = None) -> str:
    """What it says; it must find nothing wrong."""
    done = subprocess.run(
        [str(PROMTOOL), *map(str, words)], check=False, capture_output=True, text=True, input=given
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_promtool
def test_each_rule_fires_for_what_it_is_about_alone(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    (rules,) = re.findall(r"^```yaml\n(groups:\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "rules.yaml").write_text(rules)
    assert f"{len(BAD)} rules found" in promtool("check", "rules", tmp_path / "rules.yaml")
    tests = []
    for values, firing in [(GOOD, ""), *((GOOD | bad, alert) for alert, bad in BAD.items())]:
        series = [{"series": each, "values": f"{value}x5"} for each, value in values.items()]
        # What is told of an alert are the labels of what it is about.
        told = [
            {"exp_labels": dict(re.findall(r'(\w+)="(\w+)"', next(iter(BAD[alert]))))}
            if alert == firing
            else None
            for alert in BAD
        ]
        expected = [
            {"eval_time": "2m", "alertname": alert, "exp_alerts": [each] if each else []}
            for alert, each in zip(BAD, told, strict=True)
        ]
        tests.append({"interval": "1m", "input_series": series, "alert_rule_test": expected})
    (tmp_path / "tests.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "tests": tests}))
    promtool("test", "rules", tmp_path / "tests.yaml")


@needs_promtool
def test_promtool_reads_the_metrics(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_sample(model, entries=300, steps=2)
    done = call("ckpt", "metrics", model, tmp_path / "gone")
    assert promtool("check", "metrics", given=done.out) == ""


def test_rules_are_about_metrics_that_there_are() -> None:
    page = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    expressions = re.findall(r"^ +expr: (.*)$", page, re.MULTILINE)
    assert len(expressions) > 4
    names = {name for each in expressions for name in re.findall(r"monolith_\w+", each)}
    assert names <= {"monolith_up", *(metric.name for metric in METRICS)}
