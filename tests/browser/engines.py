"""Three engines behind one small interface: Chromium, Firefox and WebKit, each as it is installed on this machine.

Playwright drives Chromium; Firefox is driven over WebDriver BiDi, which it speaks by itself (W3C; see bidi.py); WebKit by
selenium, through the driver and the MiniBrowser that WebKitGTK ships, on a virtual screen.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser

from .bidi import KEYS, Session
from .lab import KERNEL, READY, Lab, value_in

WIDTH, HEIGHT = 1366, 768

# What a page complains of, from when it is opened; the same in every engine.
COMPLAINTS = """
window.nbvComplaints = [];
const complain = (what) => window.nbvComplaints.push(String(what?.stack ?? what?.message ?? what).slice(0, 400));
window.addEventListener('error', (event) => complain(event.error ?? event.message));
window.addEventListener('unhandledrejection', (event) => complain(event.reason));
const said = console.error;
console.error = (...words) => { complain(words.map(String).join(' ')); said(...words); };
"""

# The middle of the first element of a selector that is to be seen, or a place in it; brought into view first.
PLACE = """
const shown = (e) => e.checkVisibility({opacityProperty: true, visibilityProperty: true});
const element = [...document.querySelectorAll(a[0])].find(shown);
if (!element) return null;
element.scrollIntoView({block: 'nearest', inline: 'nearest'});
await new Promise((resolve) => requestAnimationFrame(resolve));
const {left, top, width, height} = element.getBoundingClientRect();
return [Math.round(left + a[1] * width), Math.round(top + a[2] * height)];
"""

# JupyterLab goes by the events of the focus, which a window that nobody sees may not have.
FOCUSED = "document.querySelector('.jp-Notebook')?.dispatchEvent(new FocusEvent('focus'));"


class Engine:
    """A page in a browser. What is engine's own: `_run`, `_go`, `_click_at`, `_key`, `_shot`, `close`."""

    name = ""

    # What the engines do each in its way.

    def _go(self, url: str) -> None:
        raise NotImplementedError

    def _run(self, expression: str) -> str:
        """The string that a JavaScript expression promises."""
        raise NotImplementedError

    def _click_at(self, x: int, y: int) -> None:
        raise NotImplementedError

    def _key(self, key: str, alt: bool) -> None:
        raise NotImplementedError

    def _shot(self) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """End the browser."""
        raise NotImplementedError

    # What a test asks for.

    def open(self, lab: Lab, *cells: str) -> None:
        """Open a notebook of these cells in JupyterLab and run them."""
        self._go(f"{lab.url}/lab/tree/{lab.notebook(*cells)}?reset")
        self.evaluate(f"localStorage.setItem('nbcnnviz-tour', 'closed'); {COMPLAINTS}")
        self.until(lambda: self.evaluate("return document.querySelector('.jp-CodeCell .cm-content') !== null"), 120)
        self.until(lambda: self.evaluate(f"{FOCUSED} return ({READY})()"), 120)
        self.evaluate("await window.jupyterapp.commands.execute('application:toggle-left-area')")
        self.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def evaluate(self, body: str, *arguments: object) -> Any:
        """What the body of an asynchronous JavaScript function, with its arguments in ``a``, returns."""
        values = json.dumps(arguments)
        return json.loads(self._run(f"(async (a) => {{ {body} }})({values}).then((v) => JSON.stringify(v ?? null))"))

    def click(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Click the first element of a selector that is to be seen, in its middle or at a share of its size."""
        place = self.evaluate(PLACE, selector, across, down)
        assert place is not None, f"no {selector} to be seen"
        self._click_at(*place)

    def focus(self, selector: str) -> None:
        """Give an element the focus."""
        self.evaluate("document.querySelector(a[0]).focus()", selector)

    def press(self, *keys: str) -> None:
        """Press keys, one after another: a character, a name as in KeyboardEvent.key, Alt with one of them."""
        for key in keys:
            alt = key.startswith("Alt+")
            self._key(key.removeprefix("Alt+"), alt)

    def choose(self, selector: str, label: str) -> None:
        """Choose an option of a menu by its label; a menu's popup is the system's, which no engine lets be driven."""
        found = self.evaluate(
            "const e = document.querySelector(a[0]); const o = [...e.options].find((one) => one.label.trim() === a[1]);"
            "if (!o) return [...e.options].map((one) => one.label); e.value = o.value;"
            "for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {bubbles: true}));",
            selector,
            label,
        )
        assert found is None, found

    def screenshot(self, path: Path) -> Image.Image:
        """What is on the screen, kept in a file too."""
        shot = Image.open(io.BytesIO(self._shot())).convert("RGB")
        shot.save(path)
        return shot

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it never came; the page says {self.complaints}"
            time.sleep(0.1)

    @property
    def complaints(self) -> list[str]:
        """What went wrong in the page."""
        return self.evaluate("return window.nbvComplaints ?? []")

    def kernel(self, expression: str) -> Any:
        """The value, as JSON has it, of a Python expression in the notebook's kernel."""
        return value_in(lambda code: self.evaluate(f"return await ({KERNEL})(a[0])", code), expression)

    def run(self, code: str) -> None:
        """Run statements in the kernel."""
        self.kernel(f"exec({code!r}, globals())")


class Chromium(Engine):
    """Chromium, by playwright."""

    name = "Chromium"

    def __init__(self, browser: Browser) -> None:
        self.page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})

    def _go(self, url: str) -> None:
        self.page.goto(url)

    def _run(self, expression: str) -> str:
        return self.page.evaluate(expression)

    def _click_at(self, x: int, y: int) -> None:
        self.page.mouse.click(x, y)

    def _key(self, key: str, alt: bool) -> None:
        self.page.keyboard.press(f"Alt+{key}" if alt else key)

    def _shot(self) -> bytes:
        return self.page.screenshot()

    def close(self) -> None:
        self.page.close()


class Firefox(Engine):
    """Firefox, over WebDriver BiDi."""

    name = "Firefox"

    def __init__(self) -> None:
        self.session = Session(FIREFOX or "firefox", WIDTH, HEIGHT)

    def _go(self, url: str) -> None:
        self.session.go(url)

    def _run(self, expression: str) -> str:
        return self.session.evaluate(expression)

    def _click_at(self, x: int, y: int) -> None:
        self.session.click(x, y)

    def _key(self, key: str, alt: bool) -> None:
        self.session.key(key, alt)

    def _shot(self) -> bytes:
        return self.session.screenshot()

    def close(self) -> None:
        self.session.close()


class WebKit(Engine):
    """WebKitGTK's MiniBrowser, by selenium, on a screen that nobody sees."""

    name = "WebKit"

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.webkitgtk.service import Service

        # Xvfb writes the number of a screen that is free.
        there, here = os.pipe()
        size = f"{WIDTH}x{HEIGHT + 100}x24"
        command = ["Xvfb", "-displayfd", str(here), "-screen", "0", size, "-nolisten", "tcp"]
        self.screen = subprocess.Popen(command, pass_fds=[here], stderr=subprocess.DEVNULL)
        os.close(here)
        with os.fdopen(there) as told:
            display = f":{told.readline().strip()}"
        self.folder = tempfile.TemporaryDirectory()
        environment = {
            **os.environ, "DISPLAY": display, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1",
            # No graphics card, no name space of its own: neither is there in a container.
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1", "WEBKIT_DISABLE_DMABUF_RENDERER": "1", "LIBGL_ALWAYS_SOFTWARE": "1",
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1", "WEBKIT_FORCE_SANDBOX": "0",
            "XDG_RUNTIME_DIR": self.folder.name, "HOME": self.folder.name,
        }  # fmt: skip
        options = webdriver.WebKitGTKOptions()
        options.binary_location = str(MINIBROWSER)
        options.add_argument("--automation")
        try:
            service = Service(executable_path=WEBKIT_DRIVER, env=environment)
            self.driver = webdriver.WebKitGTK(options=options, service=service)
        except BaseException:
            self.screen.terminate()
            raise
        self.driver.set_script_timeout(120)
        self.driver.set_window_rect(0, 0, WIDTH, HEIGHT + 50)

    def _go(self, url: str) -> None:
        self.driver.get(url)

    def _run(self, expression: str) -> str:
        script = (
            "const done = arguments[0];" + expression + ".then((v) => done([v]), (e) => done(String(e.stack ?? e)));"
        )
        answer = self.driver.execute_async_script(script)
        assert isinstance(answer, list), answer
        return answer[0]

    def _click_at(self, x: int, y: int) -> None:
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(x, y).click()
        actions.perform()

    def _key(self, key: str, alt: bool) -> None:
        from selenium.webdriver import ActionChains

        actions, named = ActionChains(self.driver), KEYS.get(key, key)
        if alt:
            actions.key_down(KEYS["Alt"]).send_keys(named).key_up(KEYS["Alt"])
        else:
            actions.send_keys(named)
        actions.perform()

    def _shot(self) -> bytes:
        return self.driver.get_screenshot_as_png()

    def close(self) -> None:
        try:
            self.driver.quit()
        finally:
            self.screen.terminate()
            self.screen.wait(20)
            self.folder.cleanup()


FIREFOX = shutil.which(os.environ.get("FIREFOX", "")) or shutil.which("firefox-esr") or shutil.which("firefox")
WEBKIT_DRIVER = shutil.which("WebKitWebDriver")
MINIBROWSER = next(iter(sorted(Path("/usr").glob("lib*/**/webkit2gtk-*/MiniBrowser"))), None) if WEBKIT_DRIVER else None

MISSING = {
    "chromium": "",
    "firefox": "" if FIREFOX else "Firefox is not installed here (Debian: firefox-esr).",
    "webkit": ""
    if WEBKIT_DRIVER and MINIBROWSER and shutil.which("Xvfb")
    else "WebKit is not installed here (Debian: webkit2gtk-driver and xvfb).",
}
"""Of each engine, why it cannot be driven on this machine; "" where it can."""


def start(engine: str, browser: Browser) -> Engine:
    """Start an engine by its name; Chromium is there already."""
    if engine == "chromium":
        return Chromium(browser)
    return Firefox() if engine == "firefox" else WebKit()
