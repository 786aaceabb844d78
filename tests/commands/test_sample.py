"""`monolith sample`."""

from __future__ import annotations

from pathlib import Path

from cli_support import call


def test_a_line(tmp_path: Path) -> None:
    done = call("sample", tmp_path / "m", "--entries", 100, "--tables", 2, "--shards", 1)
    assert done.code == 0
    assert done.out.startswith(f"{tmp_path}/m, step 1000: 100 entries in 2 tables, ")
    assert done.err == ""
    assert (tmp_path / "m" / "model.ckpt-1000.assets").is_dir()


def test_document(tmp_path: Path) -> None:
    done = call(
        "sample",
        "--json",
        tmp_path / "m",
        *["--entries", "100", "--tables", "2", "--shards", "3", "--multi"],
    )
    document = done.document
    assert list(document) == ["model_dir", "step", "entries", "tables", "shards", "bytes"]
    assert (document["entries"], document["shards"]) == (100, 3)
    assert sum(table["entries"] for table in document["tables"]) == 100
    assets = tmp_path / "m" / "model.ckpt-1000.assets"
    assert document["bytes"] == sum(file.stat().st_size for file in assets.iterdir())


def test_what_is_there_stays_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = call("sample", tmp_path, "--entries", 10)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"Error: {tmp_path}: is not empty; name another directory, or --force writes into it\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert call("sample", tmp_path, "--entries", 10, "--force").code == 0
    assert (tmp_path / "precious").exists()


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        args = ["--entries", 50, "--tables", 1, "--seed", seed]
        assert call("sample", tmp_path / name, *args).code == 0
    contents = [
        [path.read_bytes() for path in sorted((tmp_path / name).glob("*.assets/*"))]
        for name in "abc"
    ]
    assert contents[0] == contents[1] != contents[2]


def test_refused(tmp_path: Path) -> None:
    assert call("sample", tmp_path / "m", "--tables", 0).code == 2
    assert call("sample", tmp_path / "m", "--entries", -1).code == 2
    assert call("sample").code == 2
    (tmp_path / "file").touch()
    done = call("sample", tmp_path / "file", "--json")
    assert done.code == done.error["code"] == 1
    assert done.error["message"] == (
        f"{tmp_path}/file: is not a directory; move it away, or name another path"
    )
    assert call("sample", tmp_path / "file", "--force", "--json").error == done.error


def test_several_steps(tmp_path: Path) -> None:
    sizes = ["--steps", 3, "--entries", 200, "--seed", 4]
    done = call("sample", tmp_path / "text", "--drift", "--flip-bit", *sizes)
    first, nan, flipped = done.out.splitlines()
    assert first.startswith(f"{tmp_path}/text, steps 1000 to 3000: ")
    assert " in the latest in 4 tables, " in first
    assert nan.startswith("NaN in 3 entries: ")
    assert flipped.startswith("bit ")
    assert flipped.endswith(
        " flipped: model.ckpt-3000.assets/MonolithHashTable_user-00000-of-00001"
    )
    same = call("sample", tmp_path / "json", "--drift", "--flip-bit", *sizes, "--json").document
    assert same["steps"] == [1000, 2000, 3000]
    assert nan == f"NaN in 3 entries: {', '.join(same['nan_fids'])}"
    offset, bit = same["flipped"]["offset"], same["flipped"]["bit"]
    assert flipped.startswith(f"bit {bit} of byte {offset:,} flipped: {same['flipped']['file']}")
    assert call("ckpt-info", "--check", tmp_path / "json", "--step", 2000).code == 0
    assert call("ckpt-info", "--dry-run", tmp_path / "json").code == 4
    none = call("sample", tmp_path / "none", "--drift", "--nan", 0, "--json").document
    assert (none["steps"], none["nan_fids"], none["flipped"]) == ([1000], [], None)
