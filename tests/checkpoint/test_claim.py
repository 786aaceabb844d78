"""Who holds a directory, and whether that chief lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from monolith_cli.checkpoint import claim as claims
from monolith_cli.checkpoint.claim import (
    Claim,
    check_journal,
    is_gone,
    raise_counter,
    read_claim,
    read_claim_bytes,
    wait_for_sign_of_life,
    write_claim,
)
from monolith_cli.errors import AlreadyExistsError, DirectoryInUseError, StateFileError
from monolith_cli.storage import machine
from monolith_cli.storage.local import LOCAL

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")


def write(directory: Path) -> Claim:
    claim = Claim.of_this_process()
    write_claim(str(directory), claim, overwrite=True)
    return claim


def test_what_is_written(tmp_path: Path) -> None:
    assert read_claim(str(tmp_path)) is None
    claim = write(tmp_path)
    said = json.loads((tmp_path / "chief_claim").read_text())
    assert sorted(said) == [
        "boot_id",
        "counter",
        "host",
        "id",
        "pid",
        "pid_namespace",
        "process_started",
        "started",
    ]
    assert (said["pid"], said["counter"]) == (os.getpid(), 0)
    assert abs(said["started"] - time.time()) < 60
    assert len(said["id"]) == 32
    assert read_claim(str(tmp_path)) == claim
    with pytest.raises(AlreadyExistsError):
        write_claim(str(tmp_path), claim, overwrite=False)
    assert Claim.of_this_process().id != claim.id


def test_the_counter_is_raised_in_place(tmp_path: Path) -> None:
    claim = write(tmp_path)
    before = (tmp_path / "chief_claim").stat()
    for counter in (1, 10_000_000):
        claim = claim._replace(counter=counter)
        assert raise_counter(str(tmp_path), claim, LOCAL.overwrite_in_place)
        assert read_claim(str(tmp_path)) == claim
    after = (tmp_path / "chief_claim").stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


def test_the_counter_of_another_is_left_alone(tmp_path: Path) -> None:
    claim = write(tmp_path)
    other = write(tmp_path)
    assert not raise_counter(str(tmp_path), claim._replace(counter=5), LOCAL.overwrite_in_place)
    assert read_claim(str(tmp_path)) == other
    (tmp_path / "chief_claim").unlink()
    assert not raise_counter(str(tmp_path), claim, LOCAL.overwrite_in_place)
    assert not (tmp_path / "chief_claim").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", '{"id": "a"}', '{"id": "a", "host": "b", "pid": "c"}']
)
def test_a_malformed_claim(tmp_path: Path, text: str) -> None:
    (tmp_path / "chief_claim").write_text(text)
    with pytest.raises(StateFileError, match="chief_claim: not a chief's claim"):
        read_claim(str(tmp_path))
    assert not raise_counter(str(tmp_path), Claim.of_this_process(), LOCAL.overwrite_in_place)


# --- a process that has ended -------------------------------------------------------------------


@linux
def test_a_process_that_lives_or_has_ended(tmp_path: Path) -> None:
    assert not is_gone(Claim.of_this_process())
    command = "from monolith_cli.checkpoint.claim import Claim; import sys\n"
    command += "print(Claim.of_this_process().as_bytes().decode(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        claim = Claim(**json.loads(process.stdout.readline()))
        assert claim.pid == process.pid
        assert not is_gone(claim)
        process.stdin.close()
        deadline = time.monotonic() + 20
        while not is_gone(claim):  # though nobody has waited for it: it is a zombie
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert os.path.exists(f"/proc/{claim.pid}")
    assert is_gone(claim)


@linux
def test_a_number_that_another_process_has_by_now() -> None:
    claim = Claim.of_this_process()
    assert claim.process_started is not None
    assert is_gone(claim._replace(process_started=claim.process_started - 1))


@linux
@pytest.mark.parametrize(
    "changed",
    [
        {"boot_id": "00000000-0000-0000-0000-000000000000"},
        {"pid_namespace": "pid:[1]"},
        {"boot_id": None},
        {"pid_namespace": None},
        {"process_started": None},
    ],
)
def test_elsewhere_nothing_is_known(changed: dict[str, str | None]) -> None:
    """Another host, another container: the same number there is another process."""
    claim = Claim.of_this_process()._replace(pid=2**22 + 1)  # above all that there are
    assert is_gone(claim)
    assert not is_gone(claim._replace(**changed))  # type: ignore[arg-type]  # of some fields


def test_a_process_that_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user, where /proc shows one's own only."""
    claim = Claim.of_this_process()
    monkeypatch.setattr(machine, "process", lambda pid: None)
    assert not is_gone(claim)


# --- signs of life --------------------------------------------------------------------------------


def seen(directory: Path) -> bytes:
    data = read_claim_bytes(str(directory))
    assert data is not None
    return data


def test_a_counter_that_stands_still(tmp_path: Path) -> None:
    write(tmp_path)
    begin = time.monotonic()
    assert wait_for_sign_of_life(str(tmp_path), seen(tmp_path), 0.7) == seen(tmp_path)
    assert 0.7 <= time.monotonic() - begin < 5
    assert claims.CLAIM_SECONDS == 30


def test_a_counter_that_moves(tmp_path: Path) -> None:
    claim = write(tmp_path)
    data = seen(tmp_path)
    timer = threading.Timer(
        0.3, raise_counter, (str(tmp_path), claim._replace(counter=1), LOCAL.overwrite_in_place)
    )
    timer.start()
    with pytest.raises(DirectoryInUseError) as caught:
        wait_for_sign_of_life(str(tmp_path), data, 20)
    timer.join()
    assert caught.value.kind == "another_chief"
    assert str(caught.value).startswith(
        f"{tmp_path}: another chief saves here: process {os.getpid()} on {claim.host}, since 2"
    )


def test_a_claim_that_goes_or_changes_hands(tmp_path: Path) -> None:
    write(tmp_path)
    data = seen(tmp_path)
    write(tmp_path)
    with pytest.raises(DirectoryInUseError):
        wait_for_sign_of_life(str(tmp_path), data, 20)
    data = seen(tmp_path)
    (tmp_path / "chief_claim").unlink()
    assert wait_for_sign_of_life(str(tmp_path), data, 20) is None


# --- a command that was cut off -------------------------------------------------------------------


LONG = f"monolith ckpt prune --yes {'/long' * 500}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (f'{{"command": "{LONG}"}}', f"run it again, which finishes it: {LONG}"),
        (f'{{"command": "{LONG * 2}"}}', "run that command again, which finishes it"),
        ('{"command": "x", "by": {"pid": []}}', "run it again, which finishes it: x"),
        (
            '{"command": "monolith ckpt prune model --keep-last 5 --yes"}',
            "run it again, which finishes it: monolith ckpt prune model --keep-last 5 --yes",
        ),
        (
            '{"command": ["monolith", "ckpt", "rollback", "my model", "--step", "7"]}',
            "run it again, which finishes it: monolith ckpt rollback 'my model' --step 7",
        ),
        ("", "run that command again, which finishes it"),
        ('{"command": 7}', "run that command again, which finishes it"),
    ],
)
def test_a_journal(tmp_path: Path, text: str, hint: str) -> None:
    check_journal(str(tmp_path))
    path = tmp_path / ".monolith-journal.json"
    path.write_text(text)
    with pytest.raises(DirectoryInUseError) as caught:
        check_journal(str(tmp_path))
    assert caught.value.kind == "unfinished_command"
    assert str(caught.value) == (
        f"{path}: a command that moves or removes steps was cut off here; {hint}"
    )
