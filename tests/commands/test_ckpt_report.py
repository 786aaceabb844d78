"""`monolith ckpt report`, and what a browser makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from cli_support import call

from monolith_cli.samples.sample import write_sample


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("report") / "model"
    write_sample(model, entries=1000, steps=3, drift=True)
    return model


@pytest.fixture(scope="module")
def page(model: Path) -> Path:
    path = model.parent / "report.html"
    done = call("ckpt", "report", model, "-o", path)
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "")
    return path


def test_all_sections_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for title in (
        "Where to start from",
        "Steps",
        "Growth",
        "Tables and variables, step 3000",
        "What is in the tables",
        "Inputs",
        "Findings",
    ):
        assert text.count(f">{title}</h2>") == 1, title
    assert "step 3000 is complete" in text
    assert "MonolithHashTable_user" in text
    assert "dynamic_wd_adagrad" in text
    assert "could not be looked at" not in text


def test_without_stats_no_table_is_read(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    for path in copy.glob("*.assets/*"):
        data = bytearray(path.read_bytes())
        data[20] ^= 1  # of the same size, and damaged
        path.write_bytes(data)
    done = call("ckpt", "report", copy, "-o", "-", "--no-stats")
    assert (done.code, done.err) == (0, "")
    assert "What is in the tables" not in done.out
    done = call("ckpt", "report", copy, "-o", "-")
    assert done.code == 0
    assert "What is in the tables" in done.out
    assert "could not be looked at</h2>" in done.out
    assert "its tables are damaged, in 4 places" in done.out
    assert done.err.startswith("Warning: ")


def test_what_is_there_stays_unless_forced(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.html"
    path.write_text("mine")
    done = call("ckpt", "report", "--no-stats", model, "-o", path)
    assert done.code == 1
    assert "--force" in done.err
    assert path.read_text() == "mine"
    assert call("ckpt", "report", "--no-stats", model, "-o", path, "--force").code == 0
    assert path.read_text().startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["mine.html"]


def test_a_directory_in_pieces(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "a & <b>")
    next(copy.glob("model.ckpt-3000.assets/*user*")).unlink()
    (copy / "ckpt.info-2000").write_text("nonsense {")
    (copy / "input_worker_1.ckpt-3000.index").unlink()
    done = call("ckpt", "report", copy, "-o", "-")
    assert done.code == 0
    assert "step 2000 is the newest that is complete" in done.out
    assert ">incomplete<" in done.out
    assert "table_gone" in done.out
    assert "<b>" not in done.out
    assert "ckpt.info-2000" in done.err
    for path in copy.glob("*.index"):
        path.unlink()
    done = call("ckpt", "report", copy, "-o", "-")
    assert done.code == 0
    assert "no step is complete" in done.out


def test_steps_that_nothing_lists(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    (copy / "checkpoint").unlink()
    done = call("ckpt", "report", copy, "-o", "-", "--no-stats")
    assert done.code == 0
    assert "no step is complete" in done.out
    assert "step 3000 is whole, but the file checkpoint does not list it" in done.out


def test_a_damaged_checkpoint_file(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    (copy / "checkpoint").write_text("x")
    done = call("ckpt", "report", copy, "-o", tmp_path / "page.html")
    assert (done.code, done.out) == (4, f"{tmp_path}/page.html\n")
    assert done.err.startswith(f"Error: {copy}/checkpoint: ")
    assert len(done.err.splitlines()) == 1
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "the file checkpoint is damaged" in page
    assert "step 3000 is whole; nobody knows whether it was committed" in page
    assert "latest step" not in page
    assert "MonolithHashTable_user" in page
    assert "What is in the tables</h2>" in page


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    done = call("ckpt", "report", tmp_path / "gone", "-o", tmp_path / "page.html")
    assert (done.code, done.out) == (3, "")
    assert [*tmp_path.iterdir()] == []
    done = call("ckpt", "report", tmp_path / "gone", "--json")
    assert done.error["kind"] == "not_found"


def test_an_assets_directory(model: Path) -> None:
    done = call("ckpt", "report", model / "model.ckpt-2000.assets", "-o", "-")
    assert done.code == 0
    assert ">Growth</h2>" not in done.out
    assert ">Inputs</h2>" not in done.out
    assert "MonolithHashTable_user" in done.out


@pytest.fixture(scope="module")
def shown(page: Path) -> Iterator[browser.Browser]:
    if browser.CHROMIUM is None:
        pytest.skip(browser.NOT_HERE)
    with browser.browser() as found:
        found.open(page)
        yield found


def test_in_a_browser(shown: browser.Browser) -> None:
    asked = [url for url in shown.requests if not url.startswith("data:")]
    assert asked == [shown.value("location.href")]
    assert shown.messages == []
    names = shown.names()
    for title in ("Where to start from", "Steps", "Growth", "Inputs", "Findings"):
        assert ("heading", title) in names
        assert ("link", title) in names
    unnamed = {role for role, name in names if not name}
    assert not unnamed & {"button", "link", "heading", "table", "region", "image", "img"}
    assert len(shown.screenshot()) > 5000
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert shown.value(wide) is False


def test_every_table_sorts(shown: browser.Browser) -> None:
    script = """[...document.querySelectorAll('th button')].every(button => {
        const head = button.closest('th'), body = button.closest('table').tBodies[0];
        const number = [...head.parentElement.cells].indexOf(head), rows = body.rows.length;
        const keys = () => [...body.rows].map(row => row.cells[number].dataset.value)
            .filter(key => key && !isNaN(key)).map(Number);
        button.click();
        const up = keys().every((key, i, all) => !i || all[i - 1] <= key);
        button.click();
        const down = keys().every((key, i, all) => !i || all[i - 1] >= key);
        return up && down && body.rows.length === rows;
    })"""
    assert shown.value("document.querySelectorAll('th button').length") > 30
    assert shown.value(script) is True
