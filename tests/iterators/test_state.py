"""The nodes of a state, from the names and values of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from iterator_support import write_parts

from monolith_cli.errors import CorruptionError
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.state import (
    Node,
    base_op,
    iterator_name,
    read_parts,
    read_states,
    state_entries,
)

SHUFFLED = {
    "Prefetch": {"buffer_size": 2},
    "Prefetch::0": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"a", b"b", b"c"]},
    "Prefetch::1": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"d", b"e"]},
    "Prefetch::BatchV2": {"input_impl_empty": 0},
    "Prefetch::BatchV2::Shuffle": {"epoch": 1, "slices_size": 1, "slices_end_0": 9},
    "Prefetch::BatchV2::Shuffle:buffer": {"num_elements": 3},
    "Prefetch::BatchV2::Shuffle:buffer::0": {"num_components": 1, "component[0]": b"f"},
    "Prefetch::BatchV2::Shuffle:buffer::1": {"num_components": 0},
    "Prefetch::BatchV2::Shuffle:buffer::2": {"num_components": 1, "component[0]": b"gg"},
    "Prefetch::BatchV2::Shuffle::FlatMap": {"element_index": 2, "inputs[0]": b"/data/part-1"},
    "Prefetch::BatchV2::Shuffle::FlatMap::TensorSlice": {":index": 2},
    "Prefetch::BatchV2::Shuffle::FlatMap[1]::TFRecord": {"offset": 284},
}


def state_of(tmp_path: Path, parts: dict[str, dict[str, int | bytes | list[bytes]]]) -> Node:
    write_parts(tmp_path / "state", IteratorV2=parts)
    (state,) = read_states(tmp_path / "state")
    assert state.name == "IteratorV2:0"
    assert state.parts == len(parts)
    return state.root


def test_nodes(tmp_path: Path) -> None:
    nodes = {node.path: node for node in state_of(tmp_path, SHUFFLED).walk()}
    shuffle = "Prefetch::BatchV2::Shuffle"
    assert list(nodes) == [
        "",
        "Prefetch",
        "Prefetch::BatchV2",
        shuffle,
        f"{shuffle}::FlatMap",
        f"{shuffle}::FlatMap::TensorSlice",
        f"{shuffle}::FlatMap[1]::TFRecord",
    ]
    assert [node.base for node in nodes.values()][2:4] == ["Batch", "Shuffle"]
    assert nodes[f"{shuffle}::FlatMap"].values == {"element_index": 2, "inputs[0]": b"/data/part-1"}
    assert nodes[f"{shuffle}::FlatMap::TensorSlice"].number("index") == 2
    assert nodes[shuffle].number("nothing", "slices_end_0") == 9
    flat_map = nodes[f"{shuffle}::FlatMap"]
    assert [number for number, _ in flat_map.inputs] == [None, 1]
    assert flat_map.input(1) is nodes[f"{shuffle}::FlatMap[1]::TFRecord"]


def test_elements_in_buffers(tmp_path: Path) -> None:
    nodes = {node.op: node for node in state_of(tmp_path, SHUFFLED).walk()}
    assert nodes["Prefetch"].elements == {3: 1, 2: 1}
    assert nodes["Shuffle"].elements == {None: 2}  # records, and a place that is free
    assert nodes["Prefetch"].size_bytes == 8 + 2 * 16 + 3 + 2
    assert nodes["Shuffle"].size_bytes == 3 * 8 + 8 + 3 * 8 + 1 + 2


def test_results_of_a_parallel_map(tmp_path: Path) -> None:
    result = "ParallelMapV2_invocation_results"
    root = state_of(
        tmp_path,
        {
            "ParallelMapV2": {"invocation_results_size": 3},
            "ParallelMapV2::Range": {"next": 5},
            f"{result}[0]": {"_code": 0, "size": 1, "[0]": 4, "end_of_input": 0},
            f"{result}[1]": {"_code": 3, "size": 0, "end_of_input": 0},
            f"{result}[2]": {"_code": 0, "size": 0, "end_of_input": 1},
        },
    )
    (node,) = (node for node in root.walk() if node.op == "ParallelMapV2")
    assert node.elements == {None: 2}  # the second one is an error that is still to be raised
    assert [inner.op for _, inner in node.inputs] == ["Range"]


def test_elements_of_several_components(tmp_path: Path) -> None:
    element = {"status.code": 0, "buffer.size": 2, "buffer[0]": [b"a", b"b"]}
    parts = {
        "Prefetch::0": element | {"buffer[1]": [b"c", b"d"]},
        "Prefetch::1": element | {"buffer[1]": [b"c", b"d", b"e"]},
        "Prefetch::2": element | {"buffer[1]": b"c"},
    }
    (_, node) = state_of(tmp_path, parts).inputs[0]
    assert node.elements == {2: 1, None: 2}


def test_nodes_that_save_nothing_are_there(tmp_path: Path) -> None:
    root = state_of(tmp_path, {"BatchV2::Map::IgnoreErrors::Range": {"next": 5}})
    assert [node.op for node in root.walk()] == ["", "BatchV2", "Map", "IgnoreErrors", "Range"]


def test_a_cache_is_one_node(tmp_path: Path) -> None:
    root = state_of(
        tmp_path,
        {
            "MemoryCache": {"cache_completed": b"", "num_elements": 6},
            "MemoryCacheImpl": {"index": 3},
        },
    )
    assert root.inputs[0][1].values == {"cache_completed": b"", "num_elements": 6, "index": 3}


def test_unknown_nodes_and_names(tmp_path: Path) -> None:
    root = state_of(
        tmp_path,
        {
            "FancyV7": {"gears": 3, "long": b"x" * 5000},
            "FancyV7::wheel_0": {"turns": 12},
            "FancyV7::wheel_0::spokes": {"count": 7},
            "FancyV7[2]::Other": {"a": 1},
            "lower::case": {"b": 2},
            "": {"c": 3},
        },
    )
    fancy = root.inputs[0][1]
    assert fancy.base == "Fancy"
    assert fancy.values == {"gears": 3, "wheel_0 | turns": 12, "wheel_0::spokes | count": 7}
    assert fancy.size_bytes == 5000 + 3 * 8
    assert [(number, node.op) for number, node in fancy.inputs] == [(2, "Other")]
    assert root.values == {"lower::case | b": 2, "c": 3}
    assert base_op("ParallelMapV2") == "ParallelMap"


def test_several_iterators(tmp_path: Path) -> None:
    write_parts(tmp_path / "state", A={"Range": {"next": 1}}, B={"Range": {"next": 2}})
    states = read_states(tmp_path / "state")
    assert [(s.name, s.root.inputs[0][1].number("next")) for s in states] == [
        ("A:0", 1),
        ("B:0", 2),
    ]
    bundle = TensorBundle(tmp_path / "state")
    entries = state_entries(bundle)
    assert [iterator_name(entry) for entry in entries] == ["A:0", "B:0"]
    of_object = entries[0]._replace(name="it/.ATTRIBUTES/ITERATOR_STATE")
    assert iterator_name(of_object) == "it"
    (part,) = read_parts(bundle, entries[0])
    assert (part.name, part.get("next")) == ("Iterator::Root::Range", 1)


def test_damage(tmp_path: Path) -> None:
    write_parts(tmp_path / "state", IteratorV2=SHUFFLED)
    data = tmp_path / "state.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    for place in range(0, len(content), 7):
        content[place] ^= 0x10
        data.write_bytes(content)
        with pytest.raises(CorruptionError):
            read_states(tmp_path / "state")
        content[place] ^= 0x10
    data.write_bytes(content[:-1])
    with pytest.raises(CorruptionError, match="cut off"):
        read_states(tmp_path / "state")


def test_names_of_too_many_nodes(tmp_path: Path) -> None:
    write_parts(tmp_path / "state", IteratorV2={"::".join(["Map"] * 20_000): {"i": 1}})
    with pytest.raises(CorruptionError, match="20002 nodes above one another"):
        read_states(tmp_path / "state")
    many = "::".join(["Map"] * 190)
    assert len(list(state_of(tmp_path, {many: {"i": 1}}).walk())) == 191
