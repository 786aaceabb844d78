"""Metrics, read by the Prometheus client's own parser."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from monolith_cli.care.fsck.check import CheckOptions, check
from monolith_cli.care.measures import Measures, measure
from monolith_cli.reports.metrics import METRICS, exposition
from monolith_cli.samples.sample import write_sample

NOW = 1_750_000_060.5


def parsed(*found: tuple[str, Measures | None], now: float = NOW) -> dict[tuple[str, ...], float]:
    """Values by the metric's name and its labels' values; every family once, with a help."""
    text = "".join(f"{line}\n" for line in exposition(found, now))
    families = [*text_string_to_metric_families(text)]
    assert len({family.name for family in families}) == len(families)
    assert all(family.type == "gauge" and family.documentation for family in families)
    values = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in values
            values[key] = sample.value
    assert len(values) == len([line for line in text.splitlines() if not line.startswith("#")])
    return values


def test_all_that_is_known(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, entries=300, steps=3, drift=True)
    found = parsed(("m", measure(tmp_path)))
    entries = {table.name: table.entries for table in sample.tables}
    assert found.pop(("monolith_checkpoint_bytes", "m", "tables")) > 20_000
    assert found.pop(("monolith_checkpoint_bytes", "m", "dense")) > 1000
    assert found == {
        ("monolith_up", "m"): 1,
        ("monolith_checkpoint_step", "m"): 3000,
        ("monolith_checkpoint_complete_step", "m"): 3000,
        ("monolith_checkpoint_commit_time_seconds", "m"): 1_750_000_000,
        ("monolith_checkpoint_age_seconds", "m"): 60.5,
        ("monolith_steps", "m", "complete"): 3,
        ("monolith_steps", "m", "incomplete"): 0,
        ("monolith_steps", "m", "unlisted"): 0,
        ("monolith_steps", "m", "uncommitted"): 0,
        ("monolith_checkpoint_entries", "m"): sum(entries.values()),
        **{("monolith_checkpoint_table_entries", "m", t): n for t, n in entries.items()},
        ("monolith_checkpoint_workers", "m"): 3,
        ("monolith_checkpoint_workers_with_input", "m"): 3,
        ("monolith_findings", "m", "error"): 0,
        ("monolith_findings", "m", "warning"): 0,
        ("monolith_findings", "m", "note"): 0,
        ("monolith_leftover_bytes", "m"): 0,
    }


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=10)
    names = {name for name, *_ in parsed(("m", measure(tmp_path)))}
    assert "monolith_checkpoint_step" in names
    assert "monolith_checkpoint_entries" not in names
    assert "monolith_checkpoint_table_entries" not in names


def test_a_step_that_is_not_whole(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=300, steps=2)
    next(tmp_path.glob("model.ckpt-2000.assets/*user*")).unlink()
    found = parsed(("m", measure(tmp_path)))
    assert found["monolith_checkpoint_step", "m"] == 2000
    assert found["monolith_checkpoint_complete_step", "m"] == 1000
    assert found["monolith_steps", "m", "incomplete"] == 1
    assert found["monolith_findings", "m", "error"] == 1
    assert not {name for name, *_ in found} & {
        "monolith_full_check_step",
        "monolith_full_check_age_seconds",
    }


def test_a_full_check_that_was_recorded(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=300, steps=2)
    check(tmp_path, 1000, CheckOptions(record=True))
    at = json.loads((tmp_path / "ckpt.checked-1000").read_text())["at"]
    found = parsed(("m", measure(tmp_path)), now=at + 7)
    assert found["monolith_full_check_step", "m"] == 1000
    assert found["monolith_full_check_age_seconds", "m"] == 7
    next(tmp_path.glob("model.ckpt-1000.assets/*user*")).touch()  # not what was read
    assert ("monolith_full_check_step", "m") not in parsed(("m", measure(tmp_path)))


def test_several_directories_and_odd_names(tmp_path: Path) -> None:
    names = ["a", 'b"\\\n{}', "c\udcff用"]
    write_sample(tmp_path / "model", entries=10)
    measures = measure(tmp_path / "model")
    found = parsed(*((name, measures) for name in names), ("gone", None))
    for name in ["a", 'b"\\\n{}', "c\ufffd用"]:
        assert found["monolith_up", name] == 1
        assert found["monolith_checkpoint_step", name] == 1000
    assert [key for key in found if "gone" in key] == [("monolith_up", "gone")]
    assert found["monolith_up", "gone"] == 0


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"monolith(_[a-z]+)+", metric.name)
        assert metric.help.endswith(".")
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
