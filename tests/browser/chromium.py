"""Chromium without a window, told what to do over two pipes (the DevTools protocol)."""

import base64
import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    "--remote-debugging-pipe",
)
Event = dict[str, Any]


class Chromium:
    """A browser with one page.

    Args:
        program: chromium or chrome.
    """

    def __init__(self, program: str) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process, self.commands, self.answers = _started(program, self.profile.name)
        self.rest, self.sent, self.session = b"", 0, ""
        self.events: list[Event] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.commands)
        os.close(self.answers)
        self.process.terminate()
        self.process.wait(20)
        self.profile.cleanup()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method and return its result; what happens meanwhile is kept in `events`."""
        self.sent += 1
        message: dict[str, Any] = {"id": self.sent, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        found = self._until(lambda event: event.get("id") == self.sent)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']['message']}")
        return dict(found["result"])

    def _until(self, wanted: Callable[[Event], bool]) -> Event:
        while True:
            while b"\0" not in self.rest:
                got = os.read(self.answers, 1 << 20)
                if not got:
                    raise RuntimeError("Chromium ended; is it installed and can it start?")
                self.rest += got
            line, _, self.rest = self.rest.partition(b"\0")
            event = json.loads(line)
            self.events.append(event)
            if wanted(event):
                return dict(event)

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a page at a width in pixels, until it and its pictures are loaded."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="screen", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self._until(lambda event: event.get("method") == "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    def screenshot(self, out: Path) -> None:
        """Write the whole page as a picture."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        out.write_bytes(base64.b64decode(found["data"]))


def _started(program: str, profile: str) -> tuple["subprocess.Popen[bytes]", int, int]:
    """Start a browser, which reads commands as file 3 and writes answers as file 4."""
    reads, commands = os.pipe()
    answers, writes = os.pipe()
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes)]
    command = [program, *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "chromium", *command],
        pass_fds=theirs,
        stderr=subprocess.DEVNULL,
    )
    for end in (reads, writes, *theirs):
        os.close(end)
    return process, commands, answers
