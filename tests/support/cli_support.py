"""Ways to run `monolith` in tests: in this process, which is fast, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from monolith_cli.cli import run

MONOLITH = Path(sys.executable).parent / "monolith"


class Done(NamedTuple):
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its JSON output."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The object that ends stderr under `--json`."""
        return json.loads(self.err.splitlines()[-1])["error"]


def call(*args: object) -> Done:
    """Run a command line in this process; stdout and stderr are pipes to it."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(arg) for arg in args])
    texts = []
    for stream in (out, err):
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))
    return Done(code, *texts)


def failed(done: Done, code: int) -> str:
    """The one line on stderr of a run that failed, and printed nothing else."""
    assert done.code == code, done
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("Error: ")
    return lines[0]


def environment(**changes: str) -> dict[str, str]:
    """The environment, without what would change our defaults."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MONOLITH_")}
    return kept | changes


def monolith(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return subprocess.run(
        [MONOLITH, *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**env),
    )
