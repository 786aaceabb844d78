"""`checkpoint` and `monolith_checkpoint`, against TensorFlow and protobuf."""

from __future__ import annotations

from pathlib import Path

import pytest
import tf_support
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import messages
from monolith_cli.errors import PathNotFoundError, StateFileError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    MonolithCheckpointState,
    format_checkpoint_state,
    format_monolith_checkpoint_state,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)

STATE = CheckpointState(
    "model.ckpt-20", ("/old/model.ckpt-10", "model.ckpt-20"), (1622716114.25, 1622716120.0), 0.5
)
TEXT = """\
model_checkpoint_path: "model.ckpt-20"
all_model_checkpoint_paths: "/old/model.ckpt-10"
all_model_checkpoint_paths: "model.ckpt-20"
all_model_checkpoint_timestamps: 1622716114.25
all_model_checkpoint_timestamps: 1622716120.0
last_preserved_timestamp: 0.5
"""


def test_the_text(tmp_path: Path) -> None:
    assert format_checkpoint_state(STATE) == TEXT
    path = tmp_path / "checkpoint"
    path.write_text(TEXT)
    assert read_checkpoint_state(str(path)) == STATE


def test_nothing_is_an_empty_state(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_text(format_checkpoint_state(CheckpointState()))
    assert path.read_text() == ""
    assert read_checkpoint_state(str(path)) == CheckpointState()


def test_what_tensorflow_wrote(tmp_path: Path) -> None:
    tf_support.save_checkpoint(tmp_path, 10)
    prefix = tf_support.save_checkpoint(tmp_path, 20)
    state = read_checkpoint_state(str(tmp_path / "checkpoint"))
    assert state.model_checkpoint_path == prefix
    theirs = tf_support.tensorflow().train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_timestamps) == list(
        theirs.all_model_checkpoint_timestamps
    )
    assert state.last_preserved_timestamp == theirs.last_preserved_timestamp


def test_tensorflow_reads_what_we_write(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(TEXT)
    theirs = tf_support.tensorflow().train.get_checkpoint_state(str(tmp_path))
    assert theirs.model_checkpoint_path == str(tmp_path / "model.ckpt-20")
    assert list(theirs.all_model_checkpoint_paths) == [
        "/old/model.ckpt-10",
        str(tmp_path / "model.ckpt-20"),
    ]
    assert list(theirs.all_model_checkpoint_timestamps) == [1622716114.25, 1622716120.0]


@given(
    st.text(),
    st.lists(st.text()),
    st.lists(st.floats(allow_nan=False)),
    st.floats(allow_nan=False).filter(lambda value: value != 0),
)
def test_protobuf_reads_what_we_write(
    latest: str, paths: list[str], timestamps: list[float], preserved: float
) -> None:
    state = CheckpointState(latest, tuple(paths), tuple(timestamps), preserved)
    theirs = text_format.Parse(format_checkpoint_state(state), messages.CheckpointState())
    assert theirs == messages.CheckpointState(
        model_checkpoint_path=latest,
        all_model_checkpoint_paths=paths,
        all_model_checkpoint_timestamps=timestamps,
        last_preserved_timestamp=preserved,
    )


def test_paths_that_are_no_utf8_survive(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b'model_checkpoint_path: "/caf\xe9/model.ckpt-1"')
    state = read_checkpoint_state(str(path))
    assert state.model_checkpoint_path == "/caf\udce9/model.ckpt-1"
    assert format_checkpoint_state(state) == 'model_checkpoint_path: "/caf\\351/model.ckpt-1"\n'


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_text('shiny { new: "thing" }\n' + TEXT)
    assert read_checkpoint_state(str(path)) == STATE


def test_a_malformed_file_says_where(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_text('model_checkpoint_path: "model.ckpt-1"\nall_model_checkpoint_paths: 5\n')
    with pytest.raises(StateFileError) as caught:
        read_checkpoint_state(str(path))
    assert str(caught.value) == f"{path}: all_model_checkpoint_paths is not a string, at byte 38"
    with pytest.raises(PathNotFoundError):
        read_checkpoint_state(str(tmp_path / "absent"))


MONOLITH_STATE = MonolithCheckpointState(("model.ckpt-10",), 1622716120, "MULTI_CUCKOO_HASH_MAP")
MONOLITH_TEXT = """\
exempt_model_checkpoint_paths: "model.ckpt-10"
last_checkpoint_save_timestamp: 1622716120
builtin_hash_table_type: MULTI_CUCKOO_HASH_MAP
"""


def test_the_text_of_monolith_checkpoint(tmp_path: Path) -> None:
    assert format_monolith_checkpoint_state(MONOLITH_STATE) == MONOLITH_TEXT
    path = tmp_path / "monolith_checkpoint"
    path.write_text(MONOLITH_TEXT)
    assert read_monolith_checkpoint_state(str(path)) == MONOLITH_STATE
    theirs = messages.MonolithCheckpointState(
        exempt_model_checkpoint_paths=["model.ckpt-10"],
        last_checkpoint_save_timestamp=1622716120,
        builtin_hash_table_type=2,
    )
    assert text_format.MessageToString(theirs) == MONOLITH_TEXT


def test_an_empty_monolith_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "monolith_checkpoint"
    path.write_text("")
    assert read_monolith_checkpoint_state(str(path)) == MonolithCheckpointState()


def test_the_table_type_may_be_a_number_but_must_be_known(tmp_path: Path) -> None:
    path = tmp_path / "monolith_checkpoint"
    path.write_text("builtin_hash_table_type: 1")
    assert read_monolith_checkpoint_state(str(path)).builtin_hash_table_type == "CUCKOO_HASH_MAP"
    for value in ("3", "-1", "SWISS_TABLE", '"CUCKOO_HASH_MAP"'):
        path.write_text(f"builtin_hash_table_type: {value}")
        with pytest.raises(StateFileError, match="has no known value, at byte 0"):
            read_monolith_checkpoint_state(str(path))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"C:\runs\m\model.ckpt-200", r"C:\runs\m\model.ckpt-200"),
        (rb"D:\base\new-200", r"D:\base\new-200"),
        (rb"C:\200\model.ckpt-200", r"C:\200\model.ckpt-200"),
        (rb"\\server\share\model.ckpt-200", r"\server\share\model.ckpt-200"),
        (rb"..\model.ckpt-200", r"..\model.ckpt-200"),
        (rb"C:\\runs\\model.ckpt-200", r"C:\runs\model.ckpt-200"),
        (rb"C:\\runs\model.ckpt-200", r"C:\runs\model.ckpt-200"),
        # What TensorFlow escapes stays what it was.
        (rb"/a\nb/model.ckpt-200", "/a\nb/model.ckpt-200"),
        (rb"/m\303\244/model.ckpt-200", "/mä/model.ckpt-200"),
    ],
)
def test_paths_written_by_hand_on_windows(tmp_path: Path, written: bytes, meant: str) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b'model_checkpoint_path: "' + written + b'"\r\n')
    assert read_checkpoint_state(str(path)).model_checkpoint_path == meant


def test_a_byte_order_mark_is_read_past(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_checkpoint_state(str(path)) == STATE
    path.write_bytes(b"\xef\xbb\xbfmodel_checkpoint_path 1")
    with pytest.raises(StateFileError, match="no ':' before a value, at byte 25"):
        read_checkpoint_state(str(path))
