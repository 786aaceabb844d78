"""A URL where nothing can be found by it is refused before anything is done, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import call
from memory_store import SCHEME, MemoryStore

from monolith_cli.control.action_file import ask_by_file, save_by_file
from monolith_cli.errors import UsageError
from monolith_cli.samples.sample import write_sample
from monolith_cli.storage import store as stores

ON_LOCAL_PATHS = [
    "sample {}",
    "job status {}",
    "job save {}",
    "job save --via file --timeout 1s {}",
    "job stop --via file --timeout 1s {}",
    "job status --address localhost:1 {}",
    "job status --address localhost:1 --tls-ca {}",
    "job log {}",
    "barrier place {}",
    "barrier remove {}",
    "barrier status {}",
    "barrier wait --blocked {}",
    "barrier hold {} -- true",
    "table get --fids-from {} model",
]
ON_ANY_STORE = [
    "ckpt-info {}",
    "ckpt show {}",
    "table ls {}",
    "table dump {}",
    "table get {} 5",
    "iterator ls {}",
    "iterator show {}",
    "iterator show --input-dir {} model",
    "iterator rollback --step 5 {}",
]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_variables: None) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    return tmp_path


@pytest.mark.parametrize("url", ["s3://b/x", "file:///tmp/x", "HTTP://b"])
@pytest.mark.parametrize("line", ON_LOCAL_PATHS + ON_ANY_STORE)
def test_a_url_that_no_store_is_known_for(somewhere: Path, line: str, url: str) -> None:
    done = call(*line.format(url).split())
    assert (done.code, done.out) == (2, "")
    assert f"{url}: no store is known for {url.partition(':')[0].lower()}://" in done.err
    assert [path.name for path in somewhere.iterdir()] == ["model"]


@pytest.mark.parametrize("line", ON_LOCAL_PATHS)
def test_a_url_where_only_a_path_will_do(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setitem(stores._stores, SCHEME, MemoryStore())
    url = f"{SCHEME}://b/x"
    done = call(*line.format(url).split())
    assert (done.code, done.out) == (2, "")
    assert f"{url}: a {SCHEME}:// URL, where only a path will do; give a path; './" in done.err
    assert [path.name for path in somewhere.iterdir()] == ["model"]


def test_the_library_refuses_them_too(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stores._stores, SCHEME, MemoryStore())
    for url in ("s3://b/x", f"{SCHEME}://b/new"):
        with pytest.raises(UsageError):
            write_sample(url)
        with pytest.raises(UsageError):
            ask_by_file(url, "STOP", 0)
        with pytest.raises(UsageError):
            save_by_file(url, 0)
    assert [path.name for path in somewhere.iterdir()] == ["model"]


def test_a_path_that_looks_like_one(somewhere: Path) -> None:
    done = call("sample", "./s3://b/x", "--entries", 10)
    assert done.code == 0, done.err
    assert (somewhere / "s3:" / "b" / "x" / "checkpoint").is_file()
