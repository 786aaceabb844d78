"""`monolith iterator show`: what it prints; the library's tests have the cases."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import tf_support
from cli_support import MONOLITH, call, environment, monolith
from iterator_support import write_job, write_parts, write_states

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    write_step_inputs,
)
from monolith_cli.formats.tfrecord import RecordWriter

pytestmark = pytest.mark.usefixtures("no_variables")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_job(tmp_path / "model", {1: [10, 20], 2: [10], 3: [10, 20]}, 10, 20)


@pytest.fixture
def reading(tmp_path: Path) -> Path:
    """A worker in the second of three files of 5 records, with a shuffle and batches of 3."""
    paths = [str(tmp_path / "data" / f"part-{i}") for i in range(3)]
    (tmp_path / "data").mkdir()
    for path in paths:
        with RecordWriter(path) as writer:
            for _ in range(5):
                writer.write(b"1234")
    model = write_job(tmp_path / "model", {1: [20]}, 20)
    flat_map = "Prefetch::BatchV2::Shuffle::FlatMap"
    shuffle = "Prefetch::BatchV2::Shuffle"
    element = {"num_components": 1, "component[0]": b"1234"}
    write_parts(
        model / "input_worker_1.ckpt-20",
        IteratorV2={
            "Prefetch": {"buffer_size": 1},
            "Prefetch::0": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"1234"] * 3},
            "Prefetch::BatchV2": {"input_impl_empty": 0},
            shuffle: {"epoch": 1, "slices_size": 1, "slices_start_0": 6, "slices_end_0": 8},
            f"{shuffle}:buffer": {"num_elements": 2},
            f"{shuffle}:buffer::0": element,
            f"{shuffle}:buffer::1": element,
            flat_map: {"element_index": 2, "exhausted": 0, "inputs[0]": paths[1].encode()},
            f"{flat_map}::TensorSlice": {":index": 2},
            f"{flat_map}[1]::TFRecord": {"current_file_index": 0, "offset": 60},
        },
    )
    nodes = [
        {"op": "TensorSliceDataset", "parameters": {"components": [{"files": True}]}},
        {
            "op": "FlatMapDataset",
            "parameters": {
                "f": {"nodes": [{"op": "TFRecordDataset", "parameters": {"compression_type": ""}}]}
            },
        },
        {"op": "ShuffleDataset", "parameters": {"buffer_size": 2, "seed": 7}},
        {"op": "BatchDatasetV2", "parameters": {"batch_size": 3, "drop_remainder": False}},
    ]
    fingerprint = {
        "version": 1,
        "digest": "75d0b3a4e1c55f0e",
        "files": [{"path": path, "bytes": 100} for path in paths],
        "nodes": nodes,
    }
    workers = {1: WorkerInput(True, {"IteratorV2:0": fingerprint})}
    write_step_inputs(str(model), StepInputs(20, "run", workers))
    return model


# --- show -----------------------------------------------------------------------------------


def test_show(reading: Path, tmp_path: Path) -> None:
    done = call("iterator", "show", reading)
    assert (done.code, done.err) == (0, "")
    position, nodes, fingerprint = done.out.split("\n\n")[1:]
    assert done.out.startswith("worker 1 at step 20, the model's\n")
    labels = ["reads", "at", "read", "buffered", "consumed", "shuffle"]
    assert [line[2:12].rstrip() for line in position.splitlines()[1:] if line[2] != " "] == labels
    # Wrapped where the directory of this test makes a line too long.
    assert " ".join(" ".join(position.splitlines()[1:]).split()) == (
        f"reads {tmp_path}/data/part-1, file 2 of 3"
        " at byte 60 of 100, after 3 records"
        " read 8 records"
        " buffered 5 records: 2 in Shuffle, 3 in Prefetch"
        " consumed 3 records"
        " shuffle 2 elements in the buffer, of at most 2"
    )
    assert [line.split() for line in nodes.splitlines()][2:5] == [
        ["Prefetch::BatchV2::Shuffle", "64", "B", "2", "epoch=1"],
        ["Prefetch", "36", "B", "1"],
        ["…BatchV2::Shuffle::FlatMap[1]::TFRecord", "16", "B", "-", "offset=60"],
    ]
    assert fingerprint.splitlines() == [
        "  fingerprint 75d0b3a4e1c55f0e",
        "    TensorSliceDataset  components=the files",
        "    FlatMapDataset  f=(TFRecordDataset)",
        "    ShuffleDataset  buffer_size=2 seed=7",
        "    BatchDatasetV2  batch_size=3 drop_remainder=False",
        f"    1  {tmp_path}/data/part-0  100 bytes",
        f"    2  {tmp_path}/data/part-1  100 bytes  <- here",
        f"    3  {tmp_path}/data/part-2  100 bytes",
    ]


def test_show_as_json(reading: Path, tmp_path: Path) -> None:
    document = call("iterator", "show", "--json", reading).document
    (iterator,) = document.pop("iterators")
    assert document == {
        "worker": 1,
        "step": 20,
        "model_step": 20,
        "behind": 0,
        "path": f"{reading}/input_worker_1.ckpt-20",
        "bytes": iterator["bytes"],
        "remarks": [],
    }
    assert iterator["name"] == "IteratorV2:0"
    shuffle = "Prefetch::BatchV2::Shuffle"
    assert iterator["readers"] == [
        {
            "node": f"{shuffle}::FlatMap[1]::TFRecord",
            "unit": "records",
            "file": {
                "path": f"{tmp_path}/data/part-1",
                "number": 2,
                "of": 3,
                "offset": 60,
                "bytes": 100,
                "compression": "",
                "records": 3,
                "why": None,
            },
            "ended": False,
            "epoch": None,
            "read": 8,
            "buffered": [
                {"node": shuffle, "elements": 2, "records": 2, "rows": None},
                {"node": "Prefetch", "elements": 1, "records": 3, "rows": 3},
            ],
            "consumed": {
                "records": 3,
                "skipped": 0,
                "epoch": None,
                "records_in_epoch": None,
                "why": None,
                "hidden_by": None,
                "counted_at": None,
                "elements": None,
            },
        }
    ]
    sizes = [node["bytes"] for node in iterator["nodes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {node["path"]: node["elements"] for node in iterator["nodes"]}[shuffle] == 2
    assert iterator["fingerprint"]["digest"] == "75d0b3a4e1c55f0e"


def test_files_that_have_moved(reading: Path, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "here")
    done = call("iterator", "show", reading)
    text = " ".join(done.out.split())
    assert "after an unknown number of records: the file is not there" in text
    assert "  consumed  3 records\n" in done.out  # the shuffle has counted them
    assert done.err == (
        "Note: the input's files are not where they were; --input-dir says where they are\n"
    )
    done = call("iterator", "show", reading, "--input-dir", tmp_path / "here")
    assert "after 3 records\n" in done.out
    assert done.err == ""
    done = call("iterator", "show", reading, "--input-dir", tmp_path / "nowhere")
    assert done.err == "Note: the input's files are not there\n"


def test_without_a_fingerprint(reading: Path) -> None:
    (reading / "ckpt.inputs-20").unlink()
    done = call("iterator", "show", reading)
    assert "data/part-1\n" in done.out
    assert "  consumed  3 records\n" in done.out
    assert "fingerprint" not in done.out.splitlines()[-1]
    assert done.err.startswith("Note: without a fingerprint, ")


def test_batches_of_an_input_that_has_ended(tmp_path: Path) -> None:
    """Of 40 records four batches of 8 were taken; the last is buffered, and its reader is gone."""
    tf = tf_support.tensorflow()
    paths = [str(tmp_path / f"part-{i}") for i in range(4)]
    for path in paths:
        with RecordWriter(path) as writer:
            for _ in range(10):
                writer.write(b"1234")
    data = tf.data.TFRecordDataset(paths)

    def buffered(dataset: Any, taken: int) -> tuple[str, Any]:
        iterator = iter(dataset)
        for _ in range(taken):
            next(iterator)
        prefix = tmp_path / "state"
        for _ in range(100):  # until what is ahead has been read
            tf.train.Checkpoint(iterator=iterator).write(str(prefix))
            done = call("iterator", "show", "--json", prefix)
            (reader,) = done.document["iterators"][0]["readers"]
            if reader["ended"]:
                break
            time.sleep(0.05)
        text = call("iterator", "show", prefix).out
        return next(line for line in text.splitlines() if "  buffered  " in line), reader

    line, reader = buffered(data.batch(8).prefetch(2), 4)
    assert line == "  buffered  1 element (8 rows) in Prefetch"
    assert reader["ended"]
    (held,) = reader["buffered"]
    assert held == {"node": "Prefetch", "elements": 1, "records": None, "rows": 8}
    line, _ = buffered(data.batch(7).prefetch(4), 3)
    assert line == "  buffered  3 elements (19 rows) in Prefetch"
    line, _ = buffered(data.batch(8).map(tf.strings.length).prefetch(2), 4)
    # Which of the two buffers has it by then is a matter of luck.
    assert line in ("  buffered  1 element in Prefetch", "  buffered  1 element in ParallelMapV2")


def test_show_raw(reading: Path) -> None:
    done = call("iterator", "show", "--raw", reading)
    assert done.out.splitlines()[:6] == [
        "Iterator::Root::Prefetch",
        "  buffer_size  1",
        "Iterator::Root::Prefetch::0",
        "  status.code  0",
        "  buffer.size  1",
        "  buffer[0]  string[3], 12 bytes",
    ]
    document = call("iterator", "show", "--raw", "--json", reading).document
    assert list(document) == ["IteratorV2:0"]
    part = document["IteratorV2:0"][6]
    assert part["name"] == "Iterator::Root::Prefetch::BatchV2::Shuffle:buffer::1"
    assert part["values"][1] == {
        "key": "component[0]",
        "dtype": "string",
        "shape": [],
        "bytes": 4,
        "value": "1234",
    }


def test_an_unknown_node_is_shown_as_it_is(tmp_path: Path) -> None:
    parts = {"FancyV7": {"gears": 3, "colour": b"red\xff\n"}, "FancyV7::Range": {"next": 5}}
    write_parts(tmp_path / "state", It=parts)
    done = call("iterator", "show", tmp_path / "state")
    assert done.code == 0
    assert 'gears=3 colour="red\\xff\\n"' in done.out
    assert "consumed  not known: FancyV7 hides it" in done.out
    (iterator,) = call("iterator", "show", "--json", tmp_path / "state").document["iterators"]
    assert iterator["readers"][0]["consumed"]["hidden_by"] == "FancyV7"


def test_who_and_what_is_not_there(model: Path) -> None:
    done = call("iterator", "show", model / "input_worker_9.ckpt-20")
    assert done.code == 3
    assert "give a model directory, or the path of a state without its suffix" in done.err
    done = call("iterator", "show", "--json", "--worker", "9", model)
    assert json.loads(done.err.splitlines()[-1])["error"]["kind"] == "no_such_worker"


@pytest.mark.parametrize(
    "command", [["ls"], ["show"], ["show", "--raw"], ["peek", "--dataset", "inputs:train"]]
)
def test_a_state_that_is_no_workers_is_named(tmp_path: Path, command: list[str]) -> None:
    """As `tf.train.Checkpoint` and a Saver leave it, with a state file and without."""
    directory = tmp_path / "trained"
    directory.mkdir()
    write_states(directory / "it-3", it=1)
    write_states(directory / "ckpt-5", it=2)
    os.utime(directory / "ckpt-5.index", (1, 1))
    write_parts(directory / "model-7")  # without any iterator
    hint = "; to show the newest of 2, give its path: "
    done = call("iterator", *command, directory)
    assert (done.code, done.out) == (3, "")
    assert done.err.endswith(f"{hint}{directory}/it-3\n")
    (directory / "checkpoint").write_text('model_checkpoint_path: "ckpt-5"\n')
    done = call("iterator", *command, directory)
    assert done.err.endswith(f"{hint}{directory}/ckpt-5\n")
    assert call("iterator", "show", directory / "ckpt-5").code == 0


def test_several_workers_and_iterators(model: Path) -> None:
    done = call("iterator", "show", model)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"Error: {model}: has several inputs, of workers 1, 2, 3; name one worker\n"
    assert call("iterator", "show", "--worker", 7, model).code == 3
    assert call("iterator", "show", "--worker", 1, "--step", 15, model).code == 3
    assert call("iterator", "show", "--worker", -1, model).code == 2
    write_parts(model / "input_worker_1.ckpt-20", A={"Range": {"next": 1}}, B={"Zip": {"a": 1}})
    document = call("iterator", "show", "--worker", 1, "--json", model).document
    assert [each["name"] for each in document["iterators"]] == ["A:0", "B:0"]


def test_a_damaged_state(reading: Path) -> None:
    data = reading / "input_worker_1.ckpt-20.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:99])
    for arguments in ([], ["--raw"], ["--json"], ["--raw", "--json"]):
        done = call("iterator", "show", *arguments, reading)
        assert (done.code, done.out) == (4, ""), arguments
        assert done.err.startswith(f"Error: {data}: cut off at 99 bytes")
    data.unlink()
    assert call("iterator", "show", reading).code == 4


def test_an_input_file_that_is_damaged_is_no_error(reading: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "part-1"
    path.write_bytes(b"\0" * 100)
    done = call("iterator", "show", reading)
    assert done.code == 0
    assert "the file is damaged at byte 0" in done.out


def test_a_state_without_iterators(tmp_path: Path) -> None:
    write_parts(tmp_path / "state")
    done = call("iterator", "show", tmp_path / "state")
    assert done.code == 3
    assert done.err == (
        f"Error: {tmp_path / 'state'}.index: holds no iterator states; give the path of a"
        " worker's state, or take the state of another step\n"
    )


def test_variables(reading: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOLITH_ITERATOR_SHOW_WORKER", "1")
    monkeypatch.setenv("MONOLITH_ITERATOR_SHOW_RAW", "1")
    assert call("iterator", "show", reading).out.startswith("Iterator::Root::Prefetch\n")


# --- as processes ---------------------------------------------------------------------------


def test_a_closed_pipe_is_quiet(reading: Path) -> None:
    line = f"{MONOLITH} iterator show --raw {reading} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], check=True, capture_output=True, text=True, env=environment()
    )
    assert done.stdout.startswith("Iterator::Root::Prefetch\n")
    assert done.stderr == ""


def test_names_fit_a_terminal_without_unicode(reading: Path) -> None:
    done = monolith("iterator", "show", reading, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "...BatchV2::Shuffle::FlatMap[1]::TFRecord" in done.stdout


def test_an_input_that_is_no_file_is_not_waited_for(reading: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "part-0"
    path.unlink()
    os.mkfifo(path)
    done = call("iterator", "show", reading)
    assert done.code == 0
    assert f"the file is not there: {path}" in " ".join(done.out.split())


def in_second_file(directory: Path, content: bytes) -> Path:
    """A state in the second file of an input, with two batches of 8 lines in a buffer."""
    path = directory / "part-1"
    path.write_bytes(content)
    write_parts(
        directory / "state",
        It={
            "Prefetch": {"buffer_size": 2},
            "Prefetch::0": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"1234"] * 8},
            "Prefetch::1": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"1234"] * 8},
            "Prefetch::BatchV2": {"input_impl_empty": 0},
            "Prefetch::BatchV2::FlatMap": {
                "element_index": 2,
                "exhausted": 0,
                "inputs[0]": str(path).encode(),
            },
            "Prefetch::BatchV2::FlatMap[1]::TFRecord": {"current_file_index": 0, "offset": 60},
        },
    )
    return directory / "state"


def records_of(directory: Path, count: int) -> bytes:
    with RecordWriter(directory / "records") as writer:
        for _ in range(count):
            writer.write(b"1234")
    return (directory / "records").read_bytes()


def test_show_a_second_file_without_a_fingerprint(tmp_path: Path) -> None:
    """The buffered batches have their sizes; what is not known is what came before the file."""
    prefix = in_second_file(tmp_path, records_of(tmp_path, 5))
    said = " ".join(call("iterator", "show", prefix).out.split())
    why = "which files were read before this one is not known without a fingerprint"
    assert f"buffered 16 records: 16 in Prefetch consumed not known: {why}" in said
    assert "BatchV2 takes" not in said
    reader = call("iterator", "show", "--json", prefix).document["iterators"][0]["readers"][0]
    assert reader["buffered"] == [{"node": "Prefetch", "elements": 2, "records": 16, "rows": 16}]
    assert reader["consumed"]["why"] == why


def test_show_a_file_that_is_cut(tmp_path: Path) -> None:
    content = records_of(tmp_path, 5)
    prefix = in_second_file(tmp_path, content + content[:7])
    done = call("iterator", "show", prefix)
    assert done.code == 0
    said = " ".join(done.out.split())
    assert (
        f"cut {tmp_path}/part-1: the file is cut inside the header of a record, at byte 100" in said
    )
    (odd,) = call("iterator", "show", "--json", prefix).document["iterators"][0]["odd_ends"]
    assert odd == {
        "path": f"{tmp_path}/part-1",
        "kind": "cut_header",
        "content_bytes": 100,
        "rest_bytes": 7,
        "message": "the file is cut inside the header of a record, at byte 100: TensorFlow takes"
        " that for its end",
    }


def test_show_a_compressed_file(tmp_path: Path) -> None:
    """The offset is one in the content, and what TensorFlow never reads is named."""
    stream = zlib.compress(records_of(tmp_path, 5))
    prefix = in_second_file(tmp_path, stream + stream)
    said = " ".join(call("iterator", "show", prefix).out.split())
    assert "at byte 60 of the content of a ZLIB file, after 3 records" in said
    assert (
        f"unread {tmp_path}/part-1: TensorFlow reads the first ZLIB stream of a file only: the"
        f" {len(stream)} bytes after it are never read"
    ) in said
    document = call("iterator", "show", "--json", prefix).document["iterators"][0]
    assert document["readers"][0]["file"]["compression"] == "ZLIB"
    assert [odd["kind"] for odd in document["odd_ends"]] == ["unread_rest"]


def test_show_says_what_to_do_about_a_damaged_state(model: Path) -> None:
    data = model / "input_worker_1.ckpt-20.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    for options in ([], ["--raw"]):
        done = call("iterator", "show", "--worker", 1, *options, model)
        assert done.code == 4
        assert done.err.endswith("; restore it from a copy, or take another step\n")
    (model / "input_worker_1.ckpt-20.index").write_bytes(b"")
    done = call("iterator", "show", "--worker", 1, model)
    assert (done.code, "restore it from a copy" in done.err) == (4, True)


@pytest.mark.parametrize("name", ["/data/q\ud800", "/data/a\0b"])
@pytest.mark.parametrize("more", [(), ("--json",), ("--input-dir", "data")], ids=" ".join)
def test_a_file_of_a_name_that_none_can_have(
    reading: Path, name: str, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = reading / "ckpt.inputs-20"
    text = path.read_text()
    changed = text.replace(json.dumps(f"{reading.parent}/data/part-2"), json.dumps(name))
    assert changed != text
    path.write_text(changed)
    monkeypatch.chdir(reading.parent)
    assert call("iterator", "show", *more, str(reading)).code == 0
