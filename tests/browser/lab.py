"""A real JupyterLab, driven in a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
_NAMES = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for name in _NAMES if name and (found := shutil.which(name))), None)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    # A camera that shows a moving picture, and asks nobody.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


SLOW = """
import time
import torch
from nbcnnviz.attribution.method import method
from nbcnnviz.attribution.result import Attribution

@method("Slow noise", family="gradients", cost="1000 frames")
def slow(trace, target, layer):
    "A thousand frames of 20 ms."
    for step in range(1000):
        time.sleep(0.02)
        values = torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(step))
        yield Attribution(values, "slow", target, layer, trace, step=step + 1, steps=1000)
"""
"""Code of a notebook that enters a method of explaining which takes twenty seconds, a frame every 20 ms."""


class Lab:
    """A JupyterLab server on a free port of this machine, its notebooks in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            JUPYTER_CONFIG_DIR=str(folder / ".config"),
            JUPYTER_DATA_DIR=str(folder / ".data"),
            IPYTHONDIR=str(folder / ".ipython"),
        )
        settings = folder / ".data" / "lab" / "settings"
        settings.mkdir(parents=True, exist_ok=True)
        quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
        (settings / "overrides.json").write_text(json.dumps(quiet))
        self.log = (folder / "server.log").open("w")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self.port}"),
                *("--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password="),
                *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
                *(f"--LabApp.app_settings_dir={settings}", f"--ServerApp.root_dir={folder}"),
                *("--ServerApp.disable_check_xsrf=True",),
            ],
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _wait_until_up(self) -> None:
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/api", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"JupyterLab did not start: {(self.folder / 'server.log').read_text()[-2000:]}")

    def notebook(self, *cells: str, kernel: str = "python3") -> str:
        """Write a notebook of code cells for a kernel; its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
        name = f"{uuid.uuid4().hex}.ipynb"
        nbformat.write(notebook, self.folder / name)
        return name

    def add_kernel(self, name: str, folder: Path) -> None:
        """Offer a kernel whose packages in ``folder`` come before those of this environment."""
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])},
        }
        place = self.folder / ".data" / "kernels" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "kernel.json").write_text(json.dumps(spec))

    def shut_kernels(self) -> None:
        with urllib.request.urlopen(f"{self.url}/api/sessions") as answer:
            for session in json.load(answer):
                request = urllib.request.Request(f"{self.url}/api/sessions/{session['id']}", method="DELETE")
                urllib.request.urlopen(request).close()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


def until(page: Page, condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        page.wait_for_timeout(50)


def nothing_happens_for(page: Page, milliseconds: int) -> None:
    """Let time pass in which what is looked at afterwards must not change."""
    page.wait_for_timeout(milliseconds)


def pause_of_a_hand(page: Page, milliseconds: int) -> None:
    """Let the time pass that a hand takes between two movements or two keys."""
    page.wait_for_timeout(milliseconds)


# Whether the kernel of the notebook in front has someone who answers what its widgets send.
READY = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session;
    return session?.kernel?.status === 'idle' && 'jupyter.widget' in (session.kernel._targetRegistry ?? {});
}"""

# What code prints in the kernel of the notebook in front.
KERNEL = """async (code) => {
    const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false});
    let text = '';
    future.onIOPub = (m) => {
        if (m.header.msg_type === 'stream') text += m.content.text;
        if (m.header.msg_type === 'error') text += m.content.ename + ': ' + m.content.evalue;
    };
    await future.done;
    return text;
}"""


def value_in(printed: Callable[[str], str], expression: str) -> Any:
    """The value, as JSON has it, of a Python expression, where ``printed`` says what code prints in a kernel."""
    text = printed(f"import json as _j; print('\\x02' + _j.dumps({expression}) + '\\x03')")
    assert "\x02" in text, text
    return json.loads(text.split("\x02")[1].split("\x03")[0])


# Resolves once canvases and charts have been the same for three looks in a row; where a run keeps drawing, after 50.
AT_REST = """async () => {
    const state = () => [
        ...[...document.querySelectorAll('canvas')].map((canvas) => canvas.width * canvas.height && canvas.toDataURL()),
        ...[...document.querySelectorAll('.bqplot')].map((chart) => chart.innerHTML),
    ].join();
    let [before, same] = [state(), 0];
    for (let look = 0; look < 50 && same < 3; look++) {
        await new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), 40));
        const now = state();
        same = now === before ? same + 1 : 0;
        before = now;
    }
}"""


class Sheet:
    """A notebook open in the browser, and what a user can do to the explorer in it.

    The notebook is made of ``cells``, or is a file of the server's folder, by its name.
    """

    def __init__(
        self,
        browser: Browser,
        lab: Lab,
        *cells: str,
        notebook: str = "",
        kernel: str = "python3",
        width: int = 1600,
        height: int = 1000,
        tour: bool = False,
        views: str = "",
    ) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": height})
        # As if the reader had closed the tour and chosen the views before; about:blank keeps nothing.
        kept = {} if tour else {"nbcnnviz-tour": "closed"}
        for name, value in (kept | ({"nbcnnviz-views": views} if views else {})).items():
            self.page.add_init_script(f"try {{ localStorage.setItem('{name}', '{value}') }} catch {{}}")
        self.complaints: list[str] = []
        self.sent = 0
        self.page.on(
            "console", lambda m: self.complaints.append(f"{m.text} ({m.location})") if m.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("websocket", lambda socket: socket.on("framesent", self._count))
        self.page.goto(f"{lab.url}/lab/tree/{notebook or lab.notebook(*cells, kernel=kernel)}?reset")
        idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
        self.page.wait_for_selector(idle, state="attached", timeout=120_000)  # a narrow toolbar hides it
        self.page.wait_for_function(READY)  # an idle kernel is ready for widgets a little later
        self.command("notebook:run-all-cells")

    def _count(self, _: object) -> None:
        self.sent += 1

    def command(self, name: str, **arguments: object) -> None:
        self.page.evaluate("([n, a]) => window.jupyterapp.commands.execute(n, a)", [name, arguments])

    def theme(self, dark: bool) -> None:
        self.command("apputils:change-theme", theme=f"JupyterLab {'Dark' if dark else 'Light'}")
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(not dark).lower()}'")
        self.at_rest()

    def hide_sidebar(self) -> None:
        if self.page.locator("#jp-left-stack").is_visible():
            self.command("application:toggle-left-area")
            self.page.locator("#jp-left-stack").wait_for(state="hidden")

    def kernel(self, expression: str) -> object:
        """The value, as JSON has it, of a Python expression in the notebook's kernel."""
        return value_in(lambda code: self.page.evaluate(KERNEL, code), expression)

    def run(self, code: str) -> None:
        """Run statements in the kernel."""
        self.kernel(f"exec({code!r}, globals())")

    # What the explorer shows.

    def wait_for_map(self, timeout: float = 120_000) -> None:
        self.page.wait_for_function("document.querySelectorAll('.nbv-canvas > canvas').length >= 3", timeout=timeout)
        self.page.wait_for_function("document.querySelector('.nbv-caption').textContent !== ''", timeout=timeout)
        self.settle()

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until a condition holds."""
        until(self.page, condition, seconds)

    def steady(self, look: Callable[[], object], times: int = 4) -> object:
        """What is looked at, once it was the same so many times in a row."""
        seen: list[object] = []

        def is_steady() -> bool:
            seen.append(look())
            return len(seen) >= times and all(one == seen[-1] for one in seen[-times:])

        self.until(is_steady)
        return seen[-1]

    def save(self) -> None:
        """Save the notebook."""
        self.command("docmanager:save")
        self.page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")

    def at_rest(self) -> None:
        """Wait until no canvas and no chart changes any more."""
        self.page.evaluate(AT_REST)

    def settle(self) -> None:
        """Wait until the explorer is idle and what it sent is painted."""
        if self.kernel("'ex' in globals()"):
            self.kernel("ex.wait(120) and None")
        self.at_rest()

    def pixels(self, view: int, frame: int = 0) -> list[int]:
        """The RGBA bytes of a view: 0 the picture, 1 the overlay, 2 the map."""
        return self.page.evaluate(
            """([frame, view]) => {
                const box = document.querySelectorAll('.nbv-frame')[frame].querySelectorAll('.nbv-canvas')[view];
                const canvas = box.querySelector(':scope > canvas');
                const context = canvas.getContext('2d');
                return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
            }""",
            [frame, view],
        )

    def caption(self, frame: int = 0) -> str:
        return self.page.locator(".nbv-caption").nth(frame).inner_text()

    def error(self, frame: int = 0) -> str:
        return self.page.locator(".nbv-error").nth(frame).text_content() or ""

    def control(self, label: str):
        """The input of the ipywidgets control with this label; and of the strip of layers."""
        if label == "Depth":
            return self.page.locator(".nbv-bars").first
        box = self.page.locator(f":is(.nbv-question, .nbv-question *):has(> .widget-label:text-is('{label}'))")
        return box.locator("select, input, .noUi-handle").first

    def choose_layer(self, name: str) -> None:
        """Find a layer by its path and click it."""
        search = self.page.locator(".nbv-depth input[type=search]").first
        search.fill(name)
        self.page.locator(f".nbv-layer[title^='{name},'], .nbv-layer[title='{name}']").first.click()
        search.fill("")

    def choose_picture(self, name: str) -> None:
        """Click a picture's thumbnail."""
        self.page.locator(f".nbv-strip [data-name='{name}']").first.click()

    def choose_network(self, name: str) -> None:
        """Choose a network in the menu, also one of those behind "more"."""
        menu = self.control("Network")
        labels = "(e) => [...e.options].map((o) => o.label.replaceAll('\u00a0', ' '))"
        if not any(label.split(" (")[0] == name for label in menu.evaluate(labels)):
            menu.select_option(label="more networks ...")
            self.until(lambda: len(menu.evaluate(labels)) > 10)
        label = next(label for label in menu.evaluate(labels) if label.split(" (")[0] == name)
        menu.select_option(label=label)

    @property
    def class_search(self):
        """The field that finds a class."""
        return self.page.locator(".nbv-classes input[type=search]").first

    @property
    def classes(self):
        """The rows of the list of classes."""
        return self.page.locator(".nbv-classlist [role=option]")

    def close(self) -> None:
        self.page.close()
