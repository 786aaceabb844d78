"""States and fingerprints that nobody writes: whole as files, and without sense."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from iterator_support import Parts, write_parts

from monolith_cli.iterators.inputs import read_input
from monolith_cli.iterators.workers import WorkerState
from monolith_cli.reports.iterators import InputReport
from monolith_cli.reports.lines import report_lines

ODD = [0, 1, -1, 2, 7, 10**12, 2**31, 2**63 - 1, -(2**63)]

PARTS: Parts = {
    "Prefetch": {"buffer_size": 1},
    "Prefetch::0": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"a", b"b"]},
    "Prefetch::MapAndBatch": {
        "batch_results_size": 2,
        "batch_results_0_num_elements": 3,
        "batch_results_1_num_elements": 1,
        "batch_results_1_end_of_input": b"",
    },
    "Prefetch::MapAndBatch::FiniteRepeat": {"i": 1, "input_impl_empty": 0},
    "Prefetch::MapAndBatch::FiniteRepeat[1]::Shard": {"next_index": 3},
    "Prefetch::MapAndBatch::FiniteRepeat[1]::Shard::FiniteSkip": {"i": 2},
    "Prefetch::MapAndBatch::FiniteRepeat[1]::Shard::FiniteSkip::Shuffle": {
        "epoch": 1,
        "slices_size": 1,
        "slices_end_0": 9,
    },
    "Prefetch::MapAndBatch::FiniteRepeat[1]::Shard::FiniteSkip::Shuffle::FlatMap": {
        "element_index": 2,
        "exhausted": 0,
        "inputs[0]": b"/data/part-1",
    },
    "Prefetch::MapAndBatch::FiniteRepeat[1]::Shard::FiniteSkip::Shuffle::FlatMap[1]::TFRecord": {
        "current_file_index": 0,
        "offset": 19,
    },
}


def node(op: str, **parameters: Any) -> dict[str, Any]:
    return {"op": op, "parameters": parameters}


def odd_parts(choose: random.Random) -> Parts:
    parts = {name: dict(values) for name, values in PARTS.items()}
    for _ in range(choose.randint(1, 4)):
        name = choose.choice([*parts])
        if len(parts) > 1 and choose.random() < 0.3:
            del parts[name]
        elif parts[name]:
            key = choose.choice([*parts[name]])
            parts[name][key] = choose.choice([*ODD, b"", b"\xff"])
    return parts


def odd_fingerprint(choose: random.Random) -> Any:
    def number() -> Any:
        return choose.choice([*ODD, None, "3", [1], True, 10**30])

    nodes = [
        node("TensorSliceDataset", components=[{"files": True}]),
        node("FlatMapDataset", f={"nodes": [node("TFRecordDataset", compression_type=number())]}),
        node("ShuffleDataset", buffer_size=number()),
        node("SkipDataset", count=number()),
        node("ShardDataset", num_shards=number(), index=number()),
        node("TakeDataset", count=number()),
        node("RepeatDataset", count=number()),
        node("BatchDatasetV2", batch_size=number(), drop_remainder=number()),
        node("RangeDataset", start=number(), stop=number(), step=number()),
    ]
    chosen = [each for each in nodes if choose.random() < 0.8]
    if choose.random() < 0.2:
        chosen.append({"op": "ZipDataset", "parameters": {}, "inputs": [number()]})
    files = [{"path": f"/data/part-{i}", "bytes": None} for i in range(3)]
    said = {"version": 1, "digest": number(), "files": choose.choice([files, [], None, [None]])}
    whole = {"It:0": said | {"nodes": choose.choice([chosen, [], number(), [{"op": 3}]])}}
    return choose.choice([whole, whole, {"It:0": number()}, number(), None])


@pytest.mark.parametrize("seed", range(10))
def test_nothing_fails_and_no_count_is_negative(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(40):
        parts, fingerprint = odd_parts(choose), odd_fingerprint(choose)
        write_parts(tmp_path / "state", It=parts)
        iterators = read_input(str(tmp_path / "state"), fingerprint)
        state = WorkerState(1, 20, str(tmp_path / "state"))
        report = InputReport(state, iterators)
        assert [*report_lines(report.sections())]
        document = json.loads(json.dumps(report.document()))
        for reader in document["iterators"][0]["readers"]:
            counts = [reader["read"], *reader["consumed"].values()]
            counts += [value for held in reader["buffered"] for value in held.values()]
            assert all(count >= 0 for count in counts if isinstance(count, int)), (parts, reader)


@pytest.mark.parametrize(
    "parts",
    [
        {"FlatMap": {"exhausted": 1}},
        {"Concatenate": {"i": 7}, "Concatenate[0]::Range": {"next": 1}},
        {"Zip": {"input_impls_empty": 1}},
        {"DirectedInterleave": {"data_input_impl_empty[0]": 1}},
        {"FlatMap": {"inputs[0]": 5}, "FlatMap[0]::FlatMap[0]::FlatMap": {"exhausted": 1}},
        {"GroupByWindow[4]::BatchV2::Window": {"i": 3}, "GroupByWindow::Range": {"next": 4}},
        {"TFRecord": {"offset": 5}},
        {"TFRecord": {}},
    ],
)
def test_what_is_left_of_a_pipeline(tmp_path: Path, parts: Parts) -> None:
    write_parts(tmp_path / "state", It=parts)
    (iterator,) = read_input(str(tmp_path / "state"))
    assert all(place.consumed.records in (None, 0) for place in iterator.places)
