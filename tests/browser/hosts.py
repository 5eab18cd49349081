"""The other hosts of notebooks: Notebook 7, Voila and marimo, each a real server, with the page as a reader has it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import numpy as np
from playwright.sync_api import Browser, Error, Page

from .lab import READY, ROOT

_MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
{cell}
    return
"""
_OPEN = ("--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True")


class Host:
    """A server with one notebook, and the browser's page of it.

    Parameters
    ----------
    name
        ``"notebook"``, ``"voila"`` or ``"marimo"``.
    folder
        Where it keeps everything.
    cell
        The notebook's code.
    """

    def __init__(self, name: str, folder: Path, browser: Browser, cell: str) -> None:
        self.name = name
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / "page.ipynb")
        (folder / "page.py").write_text(_MARIMO.format(cell=textwrap.indent(cell, "    ")))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "JUPYTER_CONFIG_DIR": str(folder / ".config"),
            "JUPYTER_DATA_DIR": str(folder / ".data"),
            "IPYTHONDIR": str(folder / ".ipython"),
        }
        command = {
            "notebook": ["--no-browser", f"--port={port}", "--allow-root", *_OPEN, f"--ServerApp.root_dir={folder}"],
            "voila": ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", str(folder / "page.ipynb")],
            "marimo": ["-y", "run", "page.py", "--headless", "--no-token", f"--port={port}"],
        }[name]
        if name == "notebook":
            command.append("--JupyterNotebookApp.expose_app_in_browser=True")
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", name, *command],
            env=os.environ | own,
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_up(port)
        self.page: Page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.complaints: list[str] = []
        self.page.on("pageerror", self._complain)
        # Voila answers when the notebook has run.
        path = "notebooks/page.ipynb" if name == "notebook" else ""
        self.page.goto(f"http://127.0.0.1:{port}/{path}", timeout=120_000)
        if name == "notebook":
            self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=120_000)
            self.page.wait_for_function(READY)
            self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def _complain(self, error: Error) -> None:
        if "/static/notebook/" not in (error.stack or ""):  # the host's own faults are not ours
            self.complaints.append(f"{error} {error.stack}")

    def _wait_until_up(self, port: int) -> None:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.2)
        raise RuntimeError(f"{self.name} did not start: {Path(self._log.name).read_text()[-2000:]}")

    def pixels(self, view: int) -> np.ndarray:
        """The RGBA pixels of a view of the first map frame, as `Sheet.pixels`."""
        # marimo has it in a shadow tree, which locators look into.
        values = (
            self.page.locator(".nbv-frame .nbv-canvas > canvas")
            .nth(view)
            .evaluate("(e) => Array.from(e.getContext('2d').getImageData(0, 0, e.width, e.height).data)")
        )
        return np.array(values, np.int16).reshape(224, 224, 4)

    def caption(self) -> str:
        return self.page.locator(".nbv-caption").first.inner_text()

    def close(self) -> None:
        self.page.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()
