"""A browser for tests: Chromium without a window, spoken to through a pipe (DevTools protocol)."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",  # the test's own authority
    "--hide-scrollbars",
)


def chromium() -> str:
    """Where a browser is; the test is skipped aloud where there is none."""
    path = os.environ.get("WARDROUND_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip(
            "NO BROWSER: what pages do in one is untested here; install chromium, or set "
            "WARDROUND_CHROMIUM"
        )
    return path


class Tab:
    """One page of the browser."""

    def __init__(self, sending: int, receiving: int) -> None:
        self._sending = os.fdopen(sending, "wb", buffering=0)
        self._receiving = os.fdopen(receiving, "rb")
        self._last = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        """What the browser said was wrong: refused by policy, not found, thrown."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and what came of it."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._sending.write(json.dumps(command).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._last:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def size(self, width: int, height: int = 900, *, scheme: str = "light") -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def sign_in(self, url: str, token: str) -> None:
        """Hold a session's cookie."""
        self.call(
            "Network.setCookie",
            name="__Host-wardround-session", value=token, url=url, path="/",
            secure=True, httpOnly=True, sameSite="Strict",
        )  # fmt: skip

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        frame = self.call("Page.navigate", url=url)
        assert not frame.get("errorText"), frame
        while self.run("document.readyState") != "complete":
            pass

    def run(self, script: str) -> Any:
        """What a script comes to."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save how the page looks."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(b64decode(shot["data"]))

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._receiving.read(1)) != b"\0":
            assert byte, "the browser is gone"
            content += byte
        message: dict[str, Any] = json.loads(content)
        entry = message.get("params", {}).get("entry", {})
        if message.get("method") == "Log.entryAdded" and entry.get("level") in {"error", "warning"}:
            self.complaints.append(f"{entry['text']} ({entry.get('url', '')})")
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]))
        return message


@contextmanager
def open_browser(folder: Path) -> Iterator[Tab]:
    """A browser with a profile of its own in `folder`, ended afterwards."""
    path = chromium()
    to_browser, ours_out = os.pipe()
    ours_in, from_browser = os.pipe()

    # Chromium reads commands from descriptor 3 and writes to 4; the shell puts ours there.
    script = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["bash", "-c", script, path, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Tab(ours_out, ours_in)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
