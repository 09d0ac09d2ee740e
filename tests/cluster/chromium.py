"""A real browser without a window: Debian's Chromium, run by an ordinary user, led through a pipe.

Source: the Chrome DevTools Protocol with `--remote-debugging-pipe`: JSON on descriptors 3 and 4, ended by zero bytes.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .bed import BED, SYSTEM_PATH
from .desk import USER, ids, until

PROGRAM = "/usr/bin/chromium"
SIZE = (1280, 1000)
PATIENCE_S = 60
FREE_FD = 10
"From here on no descriptor is 3 or 4."
SCREENSHOTS = BED / "screenshots"
READ = """
(function read(node) {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (['SCRIPT', 'STYLE'].includes(node.nodeName) || (node.checkVisibility && !node.checkVisibility())) return '';
    return [...(node.shadowRoot ? [node.shadowRoot] : []), ...node.childNodes].map(read).join(' ');
})(document)
"""
"What a person reads on the page, also in the elements that its components make."


class Chromium:
    """A browser of alice's with a profile of its own; a context manager, which ends it and removes the profile."""

    def __init__(self) -> None:
        self._profile = Path(tempfile.mkdtemp(prefix="tfs-chromium-", dir="/tmp"))
        os.chown(self._profile, *ids())
        self._read, theirs_out = _pipe()
        theirs_in, self._write = _pipe()
        entry = pwd.getpwnam(USER)
        options = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={self._profile}", "--no-first-run"]
        options += [
            "--disable-gpu",
            "--no-proxy-server",
            "--disable-dev-shm-usage",
            "--window-size={},{}".format(*SIZE),
        ]
        self._log = (self._profile / "log").open("wb")
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", PROGRAM, *options],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            env={"HOME": str(self._profile), "USER": USER, "LANG": "C.UTF-8", "PATH": SYSTEM_PATH},
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._last = b"", 0

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(AssertionError, OSError):
            self.call("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        os.close(self._read)
        os.close(self._write)
        self._log.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, page: str = "", **parameters: object) -> dict[str, Any]:
        """What a method of the protocol answers; what else is told meanwhile is passed over."""
        self._last += 1
        asked: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        os.write(self._write, json.dumps({**asked, **({"sessionId": page} if page else {})}).encode() + b"\0")
        while True:
            told = json.loads(self._next())
            if told.get("id") == self._last:
                assert "error" not in told, (method, told["error"])
                return dict(told["result"])

    def open(self, url: str, *, knows_nothing: bool = False) -> Page:
        """A new page, which begins to load; ``knows_nothing``: without the cookies of the others."""
        apart = self.call("Target.createBrowserContext") if knows_nothing else {}
        target = self.call("Target.createTarget", url="about:blank", **apart)["targetId"]
        page = Page(self, str(self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]))
        page.goes_to(url)
        return page

    def _next(self) -> bytes:
        while b"\0" not in self._buffer:
            chunk = os.read(self._read, 2**20)
            assert chunk, f"the browser has ended: {(self._profile / 'log').read_text()[-2000:]}"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return message


class Page:
    """One page of a browser's."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """What a method of the protocol answers for this page."""
        return self._browser.call(method, self._session, **parameters)

    def goes_to(self, url: str) -> None:
        """Type this into the address bar."""
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page; null where the page changes meanwhile."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """What a person reads on the page."""
        return " ".join(str(self.evaluate(READ)).split())

    def waits(self, script: str) -> Any:
        """The value of the expression once it is true."""
        found: list[Any] = []

        def is_true() -> bool:
            found[:] = [self.evaluate(script)]
            return bool(found[0])

        self._until(is_true, script)
        return found[0]

    def shows(self, text: str) -> None:
        """Wait until a person reads this on the page."""
        self._until(lambda: text in self.text(), repr(text))

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        try:
            until(happened, PATIENCE_S)
        except AssertionError:
            self.screenshot("failed")
            raise AssertionError(
                f"not on the page: {what}; in {SCREENSHOTS}/failed.png: {self.text()[-2000:]}"
            ) from None

    def clicks(self, selector: str) -> None:
        """Click the middle of the first element that is seen of a CSS selector, once there is one."""
        found = (
            "(() => { for (const each of document.querySelectorAll(SELECTOR)) {"
            "const {x, y, width, height} = each.getBoundingClientRect();"
            "if (width && height) return [x + width / 2, y + height / 2]; } return null; })()"
        )
        x, y = self.waits(found.replace("SELECTOR", json.dumps(selector)))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def types(self, text: str) -> None:
        """Put a text where the cursor is."""
        self.call("Input.insertText", text=text)

    def presses(self, key: str, code: int, *, ctrl: bool = False, shift: bool = False) -> None:
        """Press and let go a key, by its name and its number, with Ctrl or Shift."""
        held: dict[str, object] = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 * ctrl + 8 * shift}
        text = {"text": "\r"} if key == "Enter" and not ctrl else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **held, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **held)

    def screenshot(self, name: str) -> None:
        """Keep what is seen as NAME.png in the bed's folder, in the place of an older one."""
        SCREENSHOTS.mkdir(exist_ok=True)
        data = base64.b64decode(self.call("Page.captureScreenshot")["data"])
        (SCREENSHOTS / f"{name}.png").write_bytes(data)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FREE_FD) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
