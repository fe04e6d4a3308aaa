"""A headless Chromium for tests, spoken to through chromedriver in the plain W3C protocol."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,900",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of a reference
# No proxy stands between a test and its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing() -> str | None:
    """Why there is no browser here; None where there is one."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    absent = [
        name
        for name, actual in (("chromium", chromium), ("chromedriver", shutil.which("chromedriver")))
        if not actual
    ]
    return f"not installed: {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Browser:
    """A session; ``url`` is its address at the driver."""

    url: str

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return _request(method, f"{self.url}/{path}", body)

    def open(self, address: str) -> None:
        """Go to an address and forget what was logged before."""
        self._call("POST", "url", {"url": "about:blank"})
        self.console()
        self.requests()
        self._call("POST", "url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a function body returns in the page."""
        return self._call("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        """The first element that a CSS selector finds."""
        actual = self._call("POST", "element", {"using": "css selector", "value": selector})
        return actual[_ELEMENT]

    def text(self, selector: str) -> str:
        """Text of the first element that a CSS selector finds, as soon as there is one.

        Some events (`toggle` of `<details>`) are dispatched after the click has returned, so what
        their handlers draw is waited for.
        """
        deadline = time.monotonic() + 30
        script = "return document.querySelector(arguments[0])?.textContent ?? null"
        while (text := self.run(script, selector)) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the page has no {selector} after 30 seconds")
            time.sleep(0.02)
        return text

    def click(self, selector: str) -> None:
        """A real click in the middle of an element."""
        self._call("POST", f"element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Keys into an element; WebDriver's private code points are named keys."""
        self._call("POST", f"element/{self.find(selector)}/value", {"text": text})

    def hover(self, selector: str) -> None:
        """Move the pointer onto an element."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        origin = {_ELEMENT: self.find(selector)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}}
        self._call("POST", "actions", {"actions": [mouse | {"actions": [move]}]})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def dark(self, on: bool) -> None:
        """Prefer dark colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def width(self, pixels: int, height: int = 900) -> None:
        """Size of the view."""
        size = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the view, or of the whole page."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def console(self) -> list[str]:
        """Warnings and errors since the last call."""
        return [entry["message"] for entry in self._call("POST", "se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that pages asked for since the last call."""
        entries = self._call("POST", "se/log", {"type": "performance"})
        events = (json.loads(entry["message"])["message"] for entry in entries)
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with a fresh profile, and end it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        root = f"http://127.0.0.1:{_port(driver)}/session"
        options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "WARNING", "performance": "ALL"},
        }
        session = _request("POST", root, {"capabilities": {"alwaysMatch": wanted}})
        url = f"{root}/{session['sessionId']}"
        try:
            yield Browser(url)
        finally:
            _request("DELETE", url)
    finally:
        driver.terminate()
        driver.wait(timeout=10)
        assert driver.stdout is not None
        driver.stdout.close()


def _port(driver: "subprocess.Popen[str]") -> int:
    assert driver.stdout is not None
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rsplit(" ", 1)[1])
    raise RuntimeError("chromedriver did not start")


def _request(method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
    encoded = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, encoded, {"Content-Type": "application/json"})
    request.method = method
    try:
        with _OPENER.open(request, timeout=60) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"{method} {url}: {error.read().decode()}") from None
