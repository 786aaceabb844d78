"""`monolith barrier` over TLS."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli_support import call, failed, monolith
from fake_jobs import OurJob, listening, serving, write_address

pytestmark = pytest.mark.usefixtures("ann")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`server`, `client` and `other`: keys, and certificates that vouch for themselves."""
    made = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        command += ["-keyout", str(made / f"{name}.key"), "-out", str(made / f"{name}.pem")]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed")
    return made


@pytest.fixture(params=[False, True], ids=["tls", "mutual"])
def secure(request: Any, tmp_path: Path, certificates: Path) -> Iterator[tuple[OurJob, bool]]:
    pair = (
        (certificates / "server.key").read_bytes(),
        (certificates / "server.pem").read_bytes(),
    )
    ca = (certificates / "client.pem").read_bytes() if request.param else None
    made = OurJob(tmp_path)
    credentials = grpc.ssl_server_credentials([pair], ca, request.param)
    with serving(made, credentials=credentials):
        yield made, request.param


def test_tls(secure: tuple[OurJob, bool], certificates: Path) -> None:
    job, is_mutual = secure
    ca = ["--tls-ca", str(certificates / "server.pem")]
    mine = ["--tls-cert", str(certificates / "client.pem")]
    mine += ["--tls-key", str(certificates / "client.key")]
    assert call("barrier", "place", job.model_dir, *ca, *mine).code == 0
    done = call("barrier", "status", job.model_dir, *ca)
    if is_mutual:
        assert "give --tls-cert and --tls-key if the job asks for a client cert" in failed(done, 5)
    else:
        assert done.code == 0


def test_tls_goes_wrong_in_one_line(secure: tuple[OurJob, bool], certificates: Path) -> None:
    job, _ = secure
    for args in ([], ["--tls-ca", str(certificates / "other.pem")]):
        done = monolith("barrier", "status", job.model_dir, *args)
        assert done.returncode == 5
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert ("no secure connection" if args else "--tls-ca") in done.stderr
    assert job.calls == []


def test_tls_with_a_job_that_has_none(job: OurJob, certificates: Path) -> None:
    done = monolith("barrier", "status", job.model_dir, "--tls-ca", certificates / "server.pem")
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "no secure connection" in done.stderr


def test_options_of_tls(job: OurJob, tmp_path: Path, certificates: Path) -> None:
    ca = ["--tls-ca", str(certificates / "server.pem")]
    for args in (["--tls-cert", "x"], [*ca, "--tls-key", "x"], ["--tls-cert=x", "--tls-key=x"]):
        assert "belong together" in failed(call("barrier", "status", job.model_dir, *args), 2)
    done = call("barrier", "status", job.model_dir, "--tls-ca", tmp_path / "none")
    assert "not there" in failed(done, 3)
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(os.urandom(200))
    for args in (
        ["--tls-ca", str(garbage)],
        [*ca, "--tls-cert", str(garbage), "--tls-key", str(garbage)],
    ):
        wrong = monolith("barrier", "status", job.model_dir, *args)
        assert wrong.returncode in (3, 5)
        assert wrong.stderr.count("\n") == 1, wrong.stderr
        assert wrong.stderr.startswith("Error: ")


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_text("")
    args = [f"--tls-{each}={pipe if each == name else file}" for each in ("ca", "cert", "key")]
    done = call("barrier", "status", "--address", "127.0.0.1:1", *args)
    assert failed(done, 3) == f"Error: {pipe}: not readable: not a regular file"


def test_a_server_that_speaks_tls_but_is_no_job(tmp_path: Path, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"hello\r\n")

    with listening(handle) as address:
        write_address(tmp_path, address)
        failed(call("barrier", "status", tmp_path), 5)
        ca = certificates / "server.pem"
        failed(call("barrier", "status", tmp_path, "--tls-ca", ca), 5)
