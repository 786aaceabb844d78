"""A real browser without a window, driven over a pipe: what it shows, runs, asks for and says.

The pipe speaks the DevTools protocol, messages in JSON with a zero byte behind each.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")

NOT_HERE = "there is no Chromium here: apt-get install chromium"
"""Why tests that need one are left out."""

TIMEOUT_SECONDS = 120


class Browser:
    """A page of a browser.

    Attributes
    ----------
    requests
        The URLs that it asked for.
    messages
        What came on its console: texts of calls, exceptions, and of the browser itself.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read = read
        self._write = write
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self._loaded = False
        self.requests: list[str] = []
        self.messages: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        (page,) = [target["targetId"] for target in targets if target["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path: Path) -> None:
        """Show a file, and wait until it has been loaded."""
        self._loaded = False
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._next()

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press a key and let it go."""
        code = {"Enter": 13, "Tab": 9, " ": 32}[key]
        what = {"key": key, "windowsVirtualKeyCode": code, "code": "Space" if key == " " else key}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **what)
        self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def screenshot(self) -> bytes:
        """The corner of the page as a PNG."""
        clip = {"x": 0, "y": 0, "width": 400, "height": 300, "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", clip=clip)["data"])

    def names(self) -> list[tuple[str, str]]:
        """What a screen reader is told: role and name of all that it does not pass over."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def _next(self) -> Any:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._read], [], [], max(0, left))
            assert ready, "the browser does not answer"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(raw)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: Any) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.consoleAPICalled":
            self.messages.append(str(params["args"]))
        elif event == "Runtime.exceptionThrown":
            self.messages.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])


def _pipe() -> tuple[int, int]:
    """A pipe whose numbers are above those that the browser wants for its own, 3 and 4."""
    low = os.pipe()
    high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 50) for each in low]
    for each in low:
        os.close(each)
    return high[0], high[1]


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with an empty page; it ends with the block."""
    assert CHROMIUM is not None, NOT_HERE
    theirs_read, ours_write = _pipe()
    ours_read, theirs_write = _pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = f'exec "$@" 3<&{theirs_read} 4>&{theirs_write} {theirs_read}<&- {theirs_write}>&-'
        options = [
            *("--headless", "--disable-gpu", "--remote-debugging-pipe", "--window-size=1000,800"),
            *("--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]
        process = subprocess.Popen(
            ["bash", "-c", command, "bash", CHROMIUM, *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs_read, theirs_write),
        )
        os.close(theirs_read)
        os.close(theirs_write)
        try:
            yield Browser(ours_read, ours_write)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(ours_read)
            os.close(ours_write)
