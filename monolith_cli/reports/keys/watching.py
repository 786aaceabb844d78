"""Of what shows whole directories in forms of its own: `ckpt metrics`, `ckpt report`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import OBJECT, ONE, Key, Output
from monolith_cli.reports.keys.errors import ERROR

FAILED = {"error": Key(OBJECT, "What has gone wrong.", keys=ERROR)}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt metrics": (
        Output(
            "Standard output is for Prometheus. With --json an error, if there is one, is an object"
            " on standard error with these keys:",
            ONE,
            FAILED,
            on_stderr=True,
        ),
    ),
    "ckpt report": (
        Output(
            "The page is HTML. With --json an error, if there is one, is an object on standard"
            " error with these keys:",
            ONE,
            FAILED,
            on_stderr=True,
        ),
    ),
}
