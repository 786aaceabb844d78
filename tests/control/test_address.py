"""Addresses as text, and where a token is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monolith_cli.control.address import (
    Address,
    Token,
    find_token,
    look_for_token,
    parse_address,
    read_address,
)
from monolith_cli.errors import NotReadableError, PathNotFoundError, UnreachableError, UsageError

TOKEN = "MONOLITH_CONTROLLER_TOKEN"
TOKEN_FILE = "MONOLITH_CONTROLLER_TOKEN_FILE"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.delenv(TOKEN_FILE, raising=False)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("job-0.train.svc:65535\n", "job-0.train.svc", 65535),
        ("[::1]:2222", "::1", 2222),
        ("[fe80::1%eth0]:2222", "fe80::1%eth0", 2222),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert address == Address(host, port)
    assert str(address) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "a b:80", "h:8\u0660", "h:-1"],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("box", False),
    ],
)
def test_loopback(host: str, is_loopback: bool) -> None:
    assert Address(host, 1).is_loopback == is_loopback


def test_an_address_knows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "controller_server_addr.txt"
    with pytest.raises(UnreachableError):
        read_address(tmp_path)
    path.write_text("box:80")
    assert read_address(tmp_path) == Address("box", 80, str(path))
    with pytest.raises(PathNotFoundError):
        read_address(path)


def test_where_a_token_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may be another job's; so the directory's own token comes first."""
    assert look_for_token(None) is None
    assert look_for_token(tmp_path) is None
    path, secret = tmp_path / "controller_token", tmp_path / "secret"
    monkeypatch.setenv(TOKEN_FILE, str(secret))
    with pytest.raises(PathNotFoundError):
        look_for_token(tmp_path)
    secret.write_text("of-the-file\n")
    assert look_for_token(tmp_path) == Token("of-the-file", str(secret))
    monkeypatch.setenv(TOKEN, " of-the-environment ")
    assert look_for_token(tmp_path) == Token("of-the-environment", TOKEN)
    path.write_text("of-the-directory\n")
    assert look_for_token(tmp_path) == Token("of-the-directory", str(path))
    assert find_token(None) == "of-the-environment"
    monkeypatch.setenv(TOKEN, "not one")
    assert find_token(tmp_path) == "of-the-directory"
    with pytest.raises(UsageError, match=f"{TOKEN}: not a token"):
        look_for_token(None)


def test_a_token_that_cannot_be_read_is_no_error_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "controller_token"
    path.write_bytes(b"\x00\xff" * 5000)
    token = look_for_token(tmp_path)
    assert token == Token(None, str(path), "not a token: it has spaces or other bytes")
    monkeypatch.setenv(TOKEN, "of-the-environment")
    assert look_for_token(tmp_path) == Token("of-the-environment", TOKEN)
    monkeypatch.delenv(TOKEN)
    path.write_bytes(b"")
    assert look_for_token(tmp_path) is None


def test_pipes_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "controller_server_addr.txt")
    with pytest.raises(NotReadableError, match="not readable: not a regular file"):
        read_address(tmp_path)
    path = tmp_path / "controller_token"
    os.mkfifo(path)
    assert look_for_token(tmp_path) == Token(None, str(path), "not readable: not a regular file")
    monkeypatch.setenv(TOKEN_FILE, str(path))
    with pytest.raises(NotReadableError, match="not a regular file"):
        look_for_token(None)
