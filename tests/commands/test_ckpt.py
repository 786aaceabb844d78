"""`monolith ckpt show`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bundle_support as bs
import numpy as np
import pytest
import table_support
import tf_support
from bundle_support import Stored, field
from cli_support import MONOLITH, call, environment
from dump_support import put_fixed64, write_model_dir

from monolith_cli.formats.manifest import Manifest, write_manifest
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

ENTRIES = [put_fixed64(1, n) for n in range(10)]
ARRAYS = {
    "dense/kernel": np.zeros((300, 7), np.float32),
    "dense/bias": np.zeros(7, np.float32),
    "global_step": np.array(300),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    write_model_dir(directory, 300, singles={"a": ENTRIES, "b": ENTRIES[:3]}, shards=2)
    write_tensor_bundle(directory / "model.ckpt-300", ARRAYS)
    return directory


def test_everything(model: Path) -> None:
    sizes = [sum(p.stat().st_size for p in model.glob(f"*.assets/{name}-*")) for name in "ab"]
    index = model / "model.ckpt-300.index"
    done = call("ckpt", "show", model)
    assert done == (
        0,
        f"{model}, step 300\n"
        f"2 tables, {sum(sizes)} B; 3 dense variables, 8.2 KiB, values not verified\n"
        "\n"
        "table  kind    entries  shards   size\n"
        f"a      single        -       2  {sizes[0]} B\n"
        f"b      single        -       2   {sizes[1]} B\n"
        "\n"
        "variable      dtype    shape        size\n"
        "dense/bias    float32  [7]          28 B\n"
        "dense/kernel  float32  [300, 7]  8.2 KiB\n"
        "global_step   int64    []            8 B\n"
        "\n"
        "file                                what                size\n"
        f"model.ckpt-300.index                dense variables    {index.stat().st_size} B\n"
        "model.ckpt-300.data-00000-of-00001  dense variables  8.2 KiB\n",
        "",
    )
    assert call("ckpt", "show", "--json", model).document == {
        "model_dir": str(model),
        "step": 300,
        "dense_bytes": 8436,
        "table_bytes": sum(sizes),
        "tables": [
            {"name": name, "kind": "single", "entries": None, "shards": 2, "bytes": size}
            for name, size in zip("ab", sizes, strict=True)
        ],
        "variables": [
            {
                "name": name,
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                "bytes": array.nbytes,
                "slices": 1,
                "sub_graph": None,
            }
            for name, array in sorted(ARRAYS.items())
        ],
        "files": [
            {"path": str(index), "bytes": index.stat().st_size, "what": "dense variables"},
            {
                "path": str(index).replace("index", "data-00000-of-00001"),
                "bytes": 8436,
                "what": "dense variables",
            },
        ],
        "problems": [],
    }


def test_what_tensorflow_has_saved(tmp_path: Path) -> None:
    v1 = tf_support.tensorflow().compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        rows = v1.fixed_size_partitioner(3, 0)
        v1.get_variable("w", (300, 7), partitioner=rows, initializer=v1.zeros_initializer())
        v1.get_variable("half", (4,), "bfloat16", initializer=v1.zeros_initializer())
        v1.get_variable("name", initializer=["a" * 200, "b"])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=12)
    (tmp_path / "ckpt.info-12").write_text("")
    shown = call("ckpt", "show", tmp_path).out
    assert "0 tables, 0 B; 3 dense variables" in shown
    assert "w         float32   [300, 7] in 3 parts  8.2 KiB\n" in shown
    document = call("ckpt", "show", "--json", tmp_path).document
    assert [(v["name"], v["dtype"], v["shape"]) for v in document["variables"]] == [
        ("half", "bfloat16", [4]),
        ("name", "string", [2]),
        ("w", "float32", [300, 7]),
    ]
    assert [variable["slices"] for variable in document["variables"]] == [1, 1, 3]
    assert {Path(file["path"]).name for file in document["files"]} == {
        "model.ckpt-12.index",
        "model.ckpt-12.data-00000-of-00001",
        "model.ckpt-12.meta",
        "ckpt.info-12",
    }


def test_multi_tables_and_filters(tmp_path: Path) -> None:
    write_model_dir(tmp_path, 300, multis={"Multi": {"x": ENTRIES, "y": ENTRIES[:3]}}, shards=2)
    assets = tmp_path / "model.ckpt-300.assets"
    (assets / "hash_filter_0-00000-of-00001").write_bytes(b"1234")
    write_tensor_bundle(tmp_path / "model.ckpt-300", {})
    document = call("ckpt", "show", "--json", tmp_path).document
    assert document["tables"] == [
        {"name": "x", "kind": "multi", "entries": 10, "shards": 2, "bytes": None},
        {"name": "y", "kind": "multi", "entries": 3, "shards": 2, "bytes": None},
        {"name": "hash_filter_0", "kind": "filter", "entries": None, "shards": 1, "bytes": 4},
    ]
    assert document["table_bytes"] == sum(path.stat().st_size for path in assets.iterdir())
    assert document["variables"] == []
    assert "\n2 tables, " in call("ckpt", "show", tmp_path).out


def test_steps(model: Path) -> None:
    write_tensor_bundle(model / "model.ckpt-200", {"old": np.zeros(2)})
    assert call("ckpt", "show", "--step", "200", "--json", model).document["dense_bytes"] == 16
    documents = call("ckpt", "show", "--step", "all", "--json", model).document
    assert [document["step"] for document in documents] == [200, 300]
    shown = call("ckpt", "show", "--step", "all", model).out
    assert shown.startswith(f"{model}, step 200\n")
    assert f"\n\n{model}, step 300\n" in shown
    done = call("ckpt", "show", "--step", "7", model)
    assert (done.code, done.out) == (3, "")
    assert "the steps are 200, 300" in done.err


def test_an_assets_directory(model: Path) -> None:
    document = call("ckpt", "show", "--json", model / "model.ckpt-300.assets").document
    assert [table["name"] for table in document["tables"]] == ["a", "b"]
    assert (document["step"], document["variables"], document["files"]) == (300, [], [])


def write_export(path: Path) -> Path:
    """Two servers and an entry, of two versions."""
    for graph in ("ps_0", "ps_1", "entry"):
        for version in ("100", "200"):
            variables = path / graph / version / "variables"
            variables.mkdir(parents=True)
            write_tensor_bundle(variables / "variables", {f"v{version}": np.zeros(3)})
            if graph != "entry":
                assets = path / graph / version / "assets"
                assets.mkdir()
                (assets / f"table_{graph}-00000-of-00001").write_bytes(b"")
    return path


def test_an_export(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export")
    document = call("ckpt", "show", "--json", export).document
    assert document["step"] is None
    assert [(v["sub_graph"], v["name"]) for v in document["variables"]] == [
        ("entry", "v200"),
        ("ps_0", "v200"),
        ("ps_1", "v200"),
    ]
    assert len(document["files"]) == 6
    assert len(document["tables"]) == 2
    shown = call("ckpt", "show", export).out
    assert "ps_1       v200      float64  [3]    24 B\n" in shown
    assert "entry/200/variables/variables.index" in shown
    # The tables say which version is whole; what has none of them goes with it.
    shutil.rmtree(export / "ps_1" / "200" / "assets")
    document = call("ckpt", "show", "--json", export).document
    assert {variable["name"] for variable in document["variables"]} == {"v100"}
    one = call("ckpt", "show", "--json", export / "ps_0").document
    assert [(v["sub_graph"], v["name"]) for v in one["variables"]] == [(None, "v200")]
    one = call("ckpt", "show", "--json", export / "ps_0" / "100").document
    assert [(v["sub_graph"], v["name"]) for v in one["variables"]] == [(None, "v100")]


def test_an_export_without_tables(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export")
    for assets in export.glob("*/*/assets"):
        shutil.rmtree(assets)
    done = call("ckpt", "show", "--json", export)
    assert [v["sub_graph"] for v in done.document["variables"]] == ["entry", "ps_0", "ps_1"]
    assert "shares those of the checkpoint" in done.err


@table_support.needs_export
def test_the_export_of_monolith() -> None:
    document = call("ckpt", "show", "--json", table_support.EXPORT).document
    assert len(document["tables"]) == 20
    assert [(v["sub_graph"], v["name"]) for v in document["variables"]] == [
        (graph, "global_step") for graph in ("entry", "ps_0", "ps_1", "ps_2")
    ]


# ---- what is broken ------------------------------------------------------------------------------


def test_a_damaged_index(model: Path) -> None:
    path = model / "model.ckpt-300.index"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    done = call("ckpt", "show", model)
    assert done.code == 4
    assert "; dense variables cannot be read\n" in done.out
    assert "a      single" in done.out
    assert done.err == (
        f"Error: {path}: a block's checksum is wrong, at byte 0;"
        " restore it from a copy, or take another step\n"
    )
    done = call("ckpt", "show", "--json", model)
    assert done.code == 4
    assert done.document["dense_bytes"] is None
    assert len(done.document["tables"]) == 2
    (problem,) = done.document["problems"]
    assert problem.startswith(f"{path}: a block's checksum is wrong, at byte 0; restore it")
    assert (done.error["file"], done.error["offset"]) == (str(path), 0)


def test_data_files_that_are_missing_or_short(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt-5"
    number = Stored(3, (2,), bytes(8))
    tensors = {b"a": number, b"b": number._replace(shard=1, offset=0)}
    tensors |= {b"c": number._replace(shard=2, offset=90), b"d": number}
    bs.write_bundle(prefix, tensors, header=field(1, 4))
    data = [Path(f"{prefix}.data-0000{shard}-of-00004") for shard in range(3)]
    Path(f"{prefix}.data-00000-of-00001").rename(data[0])
    data[2].write_bytes(bytes(95))
    done = call("ckpt", "show", "--json", tmp_path)
    assert done.code == 4
    assert [variable["name"] for variable in done.document["variables"]] == ["a", "b", "c", "d"]
    assert [file["bytes"] for file in done.document["files"][1:]] == [32, None, 95, None]
    assert done.document["problems"] == [
        f"{data[1]}: the data file is not there; restore it, or take another step",
        f"{data[2]}: cut off at 95 bytes: c ends at 98, at byte 95; restore it, or take another"
        " step",
    ]
    done = call("ckpt", "show", tmp_path)
    assert "model.ckpt-5.data-00001-of-00004  dense variables  missing\n" in done.out
    assert str(data[2]) in done.err.splitlines()[0]
    assert done.err.splitlines()[1].startswith(f"Error: {data[1]}: ")


def test_tables_that_are_not_whole(model: Path) -> None:
    (model / "model.ckpt-300.assets" / "a-00001-of-00002").unlink()
    done = call("ckpt", "show", "--json", model)
    assert done.code == 4
    assert [table["name"] for table in done.document["tables"]] == ["b"]
    assert done.document["table_bytes"] is None
    assert len(done.document["variables"]) == 3
    assert "a-00001-of-00002" in done.error["file"]
    assert "\n1 table and more; 3 dense variables" in call("ckpt", "show", model).out


def test_names_that_are_no_text(tmp_path: Path) -> None:
    bs.write_bundle(tmp_path / "model.ckpt-5", {b"\xff\x1b[1m\n": Stored(3, (1,), bytes(4))})
    assert "\\xff\\x1b[1m\\n  int32" in call("ckpt", "show", tmp_path).out
    (variable,) = call("ckpt", "show", "--json", tmp_path).document["variables"]
    assert variable["name"] == "�\x1b[1m\n"


def test_nothing_to_show(tmp_path: Path) -> None:
    for path, what in ((tmp_path, "an empty directory"), (tmp_path / "gone", "no such directory")):
        done = call("ckpt", "show", path)
        assert (done.code, done.out) == (3, "")
        assert what in done.err


def test_a_step_that_is_deleted_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.tables import listing

    list_dense = listing.list_dense

    def listed_and_gone(checkpoint: object) -> object:
        for path in model.glob("model.ckpt-300.*-*"):
            path.unlink()
        (model / "model.ckpt-300.index").unlink()
        return list_dense(checkpoint)

    monkeypatch.setattr(listing, "list_dense", listed_and_gone)
    done = call("ckpt", "show", model)
    assert (done.code, done.out) == (3, "")
    assert "gone: deleted since" in done.err


# ---- as a process --------------------------------------------------------------------------------


def test_head_and_jq(tmp_path: Path) -> None:
    arrays = {f"layer_{n}/kernel": np.zeros(n % 9) for n in range(5000)}
    write_tensor_bundle(tmp_path / "model.ckpt-5", arrays)
    line = f"{MONOLITH} ckpt show {tmp_path} | head -3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "141"
    assert "5,000 dense variables" in done.stdout
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    line = f"{MONOLITH} ckpt show --json {tmp_path} | jq '[.variables[].bytes] | add'"
    done = subprocess.run(
        ["bash", "-c", line], check=True, capture_output=True, text=True, env=environment()
    )
    assert int(done.stdout) == sum(array.nbytes for array in arrays.values())


def test_neither_numpy_nor_tensorflow_is_imported(model: Path) -> None:
    code = (
        "import sys; from monolith_cli.cli import run;"
        f" code = run(['ckpt', 'show', '--json', {str(model)!r}]);"
        " heavy = {'numpy', 'tensorflow', 'rich', 'google.protobuf', 'grpc'} & set(sys.modules);"
        " sys.exit(code or str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["step"] == 300


def test_a_part_of_a_variable_that_is_missing(tmp_path: Path) -> None:
    """TensorFlow's own writer has written rows 0 to 6 of ten."""
    tf = tf_support.tensorflow()
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt-1"),
        tensor_names=["w", "w"],
        shape_and_slices=["10 3 0,4:0,3", "10 3 4,3:0,3"],
        tensors=[tf.zeros([4, 3]), tf.zeros([3, 3])],
    )
    done = call("ckpt", "show", "--json", tmp_path)
    assert (done.code, done.error["kind"]) == (4, "missing_slice")
    assert done.error["message"] == (
        f"{tmp_path}/model.ckpt-1.index: w: rows 7 to 9 of [10, 3] are in none of its parts;"
        " restore it, or take another step"
    )
    assert done.document["variables"][0]["slices"] == 2


def test_what_else_is_there_has_a_name(model: Path) -> None:
    """Files of the training system beside a step, which it leaves for its own next start."""
    sync_flags = ["ONLINE", "dump_300", "stop_7", "limit_req_time"]
    for name in ("clear_nn", "restore_ckpt", *sync_flags):
        (model / name).touch()
    pools = ["model.ckpt-300_item_pool_0_0_2", "model.ckpt-300_item_pool_1_0_2"]
    others = {
        "model.ckpt-300_item_pool_1_0_2_tmp": "item pool, temporary",
        "model.ckpt-300_item_pool_0_0_2_old": "item pool, replaced",
        "item_pool_0_2": "item pool of an older form",
        "item_pool_1_0_2": "item pool of an older form",
    }
    for name in (*pools, *others, "model.ckpt-400_item_pool_1_0_2"):
        (model / name).write_bytes(b"123")
    write_manifest(model / "ckpt.manifest-300", Manifest(300, "", 0, "00000000", (), ()))
    done = call("ckpt", "show", "--json", model)
    assert done.code == 0
    assert {Path(file["path"]).name: file["what"] for file in done.document["files"]} == {
        "model.ckpt-300.index": "dense variables",
        "model.ckpt-300.data-00000-of-00001": "dense variables",
        "ckpt.manifest-300": "manifest",
        **dict.fromkeys(pools, "item pool"),
        **others,
        **dict.fromkeys(["clear_nn", "restore_ckpt"], "flag: done already"),
        **dict.fromkeys(
            ["ONLINE", "dump_300", "stop_7", "limit_req_time"], "flag of sync training"
        ),
    }
    assert (
        "Note: worker 1's newest item pool is of step 400: a job that goes on from step 300 loads"
        " none for it\n" in done.err
    )
    assert "model.ckpt-300_item_pool_0_0_2      item pool   " in call("ckpt", "show", model).out
