"""As much of WebDriver BiDi as the tests need, spoken to Firefox itself: no driver between (W3C, WebDriver BiDi)."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import websocket

# The code points of keys (WebDriver, 17.4.2).
KEYS = {
    "Alt": "\ue00a", "Enter": "\ue007", "Tab": "\ue004", "Escape": "\ue00c", " ": " ", "Home": "\ue011", "End": "\ue010",
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015",
}  # fmt: skip

# A window that is not in front has the focus too; nothing is asked of the reader, or of other machines.
PREFERENCES = {
    "focusmanager.testmode": "true", "app.update.disabledForTesting": "true", "app.normandy.enabled": "false",
    "browser.shell.checkDefaultBrowser": "false", "datareporting.policy.dataSubmissionEnabled": "false",
    "toolkit.telemetry.enabled": "false", "browser.safebrowsing.update.enabled": "false",
    "network.captive-portal-service.enabled": "false", "network.connectivity-service.enabled": "false",
    "extensions.update.enabled": "false", "dom.disable_open_during_load": "false",
}  # fmt: skip


class Session:
    """A Firefox without a window, with a profile of its own, and a page in it."""

    def __init__(self, firefox: str, width: int, height: int) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        preferences = "".join(f'user_pref("{name}", {value});\n' for name, value in PREFERENCES.items())
        (Path(self.profile.name) / "user.js").write_text(preferences)
        self.log = (Path(self.profile.name) / "log").open("w+")
        command = [firefox, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", self.profile.name]
        self.process = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=self.log)
        self.sent = 0
        address = self._address()
        self.socket = websocket.create_connection(f"{address}/session", timeout=120, suppress_origin=True)
        self.ask("session.new", capabilities={})
        self.page = self.ask("browsingContext.getTree")["contexts"][0]["context"]
        self.ask("browsingContext.activate", context=self.page)
        self.ask("browsingContext.setViewport", context=self.page, viewport={"width": width, "height": height})

    def _address(self) -> str:
        """Where Firefox says that it listens."""
        for _ in range(300):
            said = Path(self.log.name).read_text()
            if found := re.search(r"BiDi listening on (ws://\S+)", said):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.process.kill()
        raise RuntimeError(f"Firefox did not start: {said[-2000:]}")

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and wait for its answer; events are passed over."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.sent:
                break
        if answer["type"] == "error":
            raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
        return answer["result"]

    def go(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self.ask("browsingContext.navigate", context=self.page, url=url, wait="complete")

    def evaluate(self, expression: str) -> str:
        """The string that an expression promises."""
        answer = self.ask(
            "script.evaluate",
            expression=expression,
            target={"context": self.page},
            awaitPromise=True,
            userActivation=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"]["value"]

    def _act(self, kind: str, *actions: dict[str, object]) -> None:
        source = {"type": kind, "id": kind, "actions": list(actions)}
        self.ask("input.performActions", context=self.page, actions=[source])

    def click(self, x: int, y: int) -> None:
        """Click at a place of the page, in its pixels."""
        down, up = ({"type": f"pointer{way}", "button": 0} for way in ("Down", "Up"))
        self._act("pointer", {"type": "pointerMove", "x": x, "y": y}, down, up)

    def key(self, key: str, alt: bool = False) -> None:
        """Press a key, by its name in KeyboardEvent.key."""
        held = [KEYS["Alt"]] * alt
        down = [{"type": "keyDown", "value": value} for value in (*held, KEYS.get(key, key))]
        up = [{"type": "keyUp", "value": value} for value in (KEYS.get(key, key), *held)]
        self._act("key", *down, *up)

    def screenshot(self) -> bytes:
        """The page as it is seen, as PNG."""
        return base64.b64decode(self.ask("browsingContext.captureScreenshot", context=self.page)["data"])

    def close(self) -> None:
        """End Firefox."""
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()
        self.profile.cleanup()
