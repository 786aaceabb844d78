from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import pytest

from monolith_cli import messages

ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str) -> str:
    """What a fresh interpreter prints; it fails the test when it does not end well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_entry_dump_bytes() -> None:
    entry = messages.EntryDump(id=-2, num=[1.0, -2.0], last_update_ts_sec=300)
    entry.opt.dump.add().adagrad.norm.append(0.5)
    assert entry.SerializeToString() == bytes.fromhex(
        "09 feffffffffffffff"  # 1 id, sfixed64
        "15 0000803f 15 000000c0"  # 2 num, not packed
        "1a 09 0a 07 0a 05 0d 0000003f"  # 3 opt . 1 dump . 1 adagrad . 1 norm
        "20 ac02"  # 4 last_update_ts_sec, varint
    )


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("adagrad", {"norm": [1]}, "0a 05 0d 0000803f"),
        ("sgd", {}, "12 00"),
        ("ftrl", {"zero": [1], "norm": [1]}, "1a 0a 0d 0000803f 15 0000803f"),
        (
            "dynamic_wd_adagrad",
            {"norm": [1], "last_update_step": 9},
            "22 07 0d 0000803f 10 09",
        ),
        ("adadelta", {"accum": [1], "accum_update": [1]}, "32 0a 0d 0000803f 15 0000803f"),
        (
            "adam",
            {"m": [1], "v": [1], "beta1_power": 1, "beta2_power": 1},
            "3a 14 0d 0000803f 15 0000803f 1d 0000803f 25 0000803f",
        ),
        (
            "amsgrad",
            {"m": [1], "v": [1], "vhat": [1], "beta1_power": 1, "beta2_power": 1},
            "42 19 0d 0000803f 15 0000803f 1d 0000803f 25 0000803f 2d 0000803f",
        ),
        ("momentum", {"n": [1]}, "4a 05 0d 0000803f"),
        ("rmsprop", {"n": [1]}, "5a 05 0d 0000803f"),
        ("rmspropv2", {"n": [1]}, "62 05 0d 0000803f"),
        ("group_ftrl", {"zero": [1], "norm": [1]}, "6a 0a 0d 0000803f 15 0000803f"),
        ("batch_softmax", {"global_step": 300}, "72 03 08 ac02"),
        ("group_adagrad", {"grad_square_sum": 1}, "7a 05 0d 0000803f"),
    ],
)
def test_optimizer_dump_bytes(kind: str, values: dict[str, Any], expected: str) -> None:
    single = messages.SingleOptimizerDump(**{kind: values})
    assert single.SerializeToString() == bytes.fromhex(expected)
    assert single.WhichOneof("type") == kind


def test_table_of_contents_and_hash_filter_bytes() -> None:
    meta = messages.MultiHashTableMetadata(table_name="t", num_entries=300)
    assert meta.SerializeToString() == b"\n\x01t\x10\xac\x02"
    cells = messages.HashFilterSplitDataDump(offset=1, data=[2, 300])
    assert cells.SerializeToString() == b"\x08\x01\x10\x02\x10\xac\x02"
    header = messages.HashFilterSplitMetaDump(
        failure_count=1, total_size=2, num_elements=3, fill_rate=1.5
    )
    header.sliding_hash_filter_meta.split_num = 4
    header.sliding_hash_filter_meta.failure_count = 5
    assert header.SerializeToString() == bytes.fromhex(
        "08 01 10 02 18 03 21 000000000000f83f 2a 04 08 04 38 05"
    )


def test_defaults_of_configurations() -> None:
    config = messages.EmbeddingHashTableConfig()
    assert config.initial_capacity == 1
    assert config.entry_type == messages.EmbeddingHashTableConfig.PACKED == 1
    assert config.feature_evict_every_n_hours == 240
    assert config.skip_zero_embedding is False
    assert config.slot_expire_time_config.default_expire_time == 36500
    assert config.entry_config.entry_type == 1
    assert not config.HasField("cuckoo")


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        (
            "OptimizerConfig",
            {
                "adagrad": 1,
                "sgd": 2,
                "ftrl": 3,
                "dynamic_wd_adagrad": 5,
                "adadelta": 6,
                "adam": 7,
                "amsgrad": 8,
                "momentum": 9,
                "moving_average": 10,
                "rmsprop": 11,
                "rmspropv2": 12,
                "dc": 13,
                "group_ftrl": 14,
                "batch_softmax": 15,
                "group_adagrad": 16,
            },
        ),
        ("InitializerConfig", {"zeros": 1, "random_uniform": 2, "ones": 3, "constants": 15}),
        ("FloatCompressorConfig", {"fp32": 1, "fp16": 2, "fixed_r8": 3, "one_bit": 4}),
    ],
)
def test_numbers_of_configurations(name: str, numbers: dict[str, int]) -> None:
    fields = getattr(messages, name).DESCRIPTOR.fields
    assert {field.name: field.number for field in fields} == numbers
    for field in fields:
        assert field.message_type.fields_by_name["dim_size"].number == 1


def test_unknown_fields_of_configurations_survive() -> None:
    # optimizer 1 adagrad: 1 dim_size, and 2, a learning rate that is not declared here.
    stored = bytes.fromhex("0a 07 08 10 15 0ad7233c")
    config = messages.OptimizerConfig.FromString(stored)
    assert config.adagrad.dim_size == 16
    assert config.SerializeToString() == stored


def test_text_messages() -> None:
    from google.protobuf import text_format

    info = text_format.Parse("slot_counts { key: 0 value: 1 }", messages.CkptInfo())
    assert dict(info.slot_counts) == {0: 1}
    action = text_format.Parse("action: TRIGGER_SAVE", messages.ControllerHooksProto())
    assert action.action == messages.ControllerHooksProto.TRIGGER_SAVE == 1
    assert messages.ControllerHooksProto.STOP == 2
    state = text_format.Parse(
        'exempt_model_checkpoint_paths: "a" last_checkpoint_save_timestamp: 5 '
        "builtin_hash_table_type: MULTI_CUCKOO_HASH_MAP",
        messages.MonolithCheckpointState(),
    )
    assert state.builtin_hash_table_type == 2
    worker = text_format.Parse("global_step: 7", messages.WorkerCkptInfo())
    assert worker.global_step == 7


def test_checkpoint_file_of_tensorflow_parses() -> None:
    from google.protobuf import text_format

    state = text_format.Parse(
        'model_checkpoint_path: "model.ckpt-2"\n'
        'all_model_checkpoint_paths: "model.ckpt-1"\n'
        'all_model_checkpoint_paths: "model.ckpt-2"\n'
        "all_model_checkpoint_timestamps: 1.5\n"
        "last_preserved_timestamp: 2.5\n",
        messages.CheckpointState(),
    )
    assert list(state.all_model_checkpoint_paths) == ["model.ckpt-1", "model.ckpt-2"]
    assert state.last_preserved_timestamp == 2.5


def test_by_full_name() -> None:
    assert messages.get_message("monolith.hash_table.EntryDump") is messages.EntryDump
    segment = messages.get_message("monolith.hash_table.EntryConfig.Segment")
    assert segment.DESCRIPTOR.fields_by_name["dim_size"].number == 7
    with pytest.raises(KeyError):
        messages.get_message("monolith.hash_table.NoSuchMessage")


def test_names() -> None:
    full = messages.names()
    assert full == sorted(set(full))
    assert {name.rpartition(".")[0] for name in full} == {
        "monolith",
        "monolith.delta",
        "monolith.hash_table",
        "monolith.hash_table.EntryConfig",
        "monolith.hash_table.FloatCompressorConfig",
        "monolith.hash_table.SlotExpireTimeConfig",
        "monolith.hooks",
        "monolith.native_training",
        "tensorflow",
    }
    short = [name for name in dir(messages) if name[0].isupper()]
    assert len(short) == len(set(short))
    assert "EntryDump" in short
    assert "Segment" not in short


@pytest.mark.parametrize("name", ["NoSuchMessage", "Segment", "entry_dump", "__wrapped__"])
def test_what_is_no_message(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(messages, name)


def test_the_same_class_in_every_thread() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from monolith_cli import messages
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(lambda _: messages.EntryDump, range(64)))))
"""
    assert run_python(code) == "1\n"


def test_importing_the_module_does_not_import_protobuf() -> None:
    code = """
import sys
from monolith_cli import messages
print("google.protobuf" in sys.modules)
messages.EntryDump
print("google.protobuf" in sys.modules)
"""
    assert run_python(code) == "False\nTrue\n"


USE = """
from monolith_cli import messages
entry = messages.EntryDump(id=5)
assert messages.EntryDump.FromString(entry.SerializeToString()).id == 5
assert messages.CheckpointState(model_checkpoint_path="p").SerializeToString() == b"\\n\\1p"
"""
TENSORFLOW = """
from tensorflow.python.training.checkpoint_state_pb2 import CheckpointState
assert CheckpointState(model_checkpoint_path="p").SerializeToString() == b"\\n\\1p"
"""
OTHER_FILE = """
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(
    name="trainer/embedding_hash_table.proto", package="monolith.hash_table")
file.message_type.add(name="EntryDump").field.add(
    name="id", number=1, type=16, label=1)
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
assert descriptor_pool.Default().FindMessageTypeByName("monolith.hash_table.EntryDump")
"""


@pytest.mark.parametrize("parts", [(USE, TENSORFLOW, USE), (TENSORFLOW, USE)], ids=["us", "tf"])
def test_no_clash_with_tensorflow(parts: tuple[str, ...]) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    if parts[0] is USE:
        assert run_python("".join(parts)) == ""
    else:  # as in the process that is forked
        assert forked.run("".join(parts)) == (0, "", "")


@pytest.mark.parametrize(
    "parts", [(USE, OTHER_FILE, USE), (OTHER_FILE, USE)], ids=["us", "trainer"]
)
def test_no_clash_with_a_trainers_own_messages(parts: tuple[str, ...]) -> None:
    assert run_python("".join(parts)) == ""


def generate() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.compiler():
        pytest.skip("neither grpcio-tools nor protoc is installed")
    return module


def test_checked_in_descriptors_are_current() -> None:
    assert generate().main(["--check"]) == 0


def test_stale_descriptors_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = generate()
    descriptors = module.compile_protos()
    descriptors.file[0].message_type[0].field[0].number += 100
    stale = tmp_path / "messages.binpb"
    stale.write_bytes(descriptors.SerializeToString())
    monkeypatch.setattr(module, "TARGET", stale)
    assert module.main(["--check"]) == 1
    assert f"{stale} is stale" in capsys.readouterr().err
    assert module.main([]) == 0
    assert module.main(["--check"]) == 0


def test_comparison_ignores_what_compilers_add() -> None:
    module = generate()
    plain = module.compile_protos()
    verbose = type(plain).FromString(plain.SerializeToString())
    for file in verbose.file:
        file.source_code_info.location.add(path=[4, 0], span=[1, 2, 3])
        for message in file.message_type:
            for field in message.field:
                field.json_name = "x"
    assert module.same(plain, verbose)
    assert module.same(plain, type(plain)(file=reversed(verbose.file)))
