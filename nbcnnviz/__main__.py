"""The command line: ``nbcnnviz demo`` opens the explorer in JupyterLab, without a clone of the repository."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nbcnnviz.core.errors import NbcnnvizError, PackageMissingError

NAME = "explorer.ipynb"

_TEXT = """# The explorer

Run the next cell (Shift + Enter), then click on a class of the list: the map follows. `?` in a frame lists its keys."""
_CODE = """import nbcnnviz as nv

ex = nv.explore()  # or nv.explore(your_module, "your_picture.jpg")
ex"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="nbcnnviz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="open the explorer in JupyterLab")
    demo.add_argument("--port", type=int, default=8888, help="the port of JupyterLab, or the next free one (8888)")
    demo.add_argument("--folder", type=Path, help=f"where {NAME} is written (a new temporary folder)")
    demo.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    given = parser.parse_args(arguments)
    try:
        path = write_notebook(given.folder or Path(tempfile.mkdtemp(prefix="nbcnnviz-")))
        command = lab_command(path, given.port, browser=not given.no_browser)
    except NbcnnvizError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Opening {path}; Ctrl+C twice ends it.", flush=True)
    # The kernel is that of this environment, whatever others the user has.
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 0


def write_notebook(folder: Path) -> Path:
    """Write the notebook of the explorer into a folder, unless there is one already; its path."""
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps(_notebook(), indent=1), encoding="utf-8")
    except OSError as error:
        raise NbcnnvizError(f"{path} cannot be written ({error.strerror}): choose another --folder.") from error
    return path


def lab_command(path: Path, port: int, *, browser: bool) -> list[str]:
    """What starts JupyterLab on a notebook.

    Raises
    ------
    PackageMissingError
        If JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise PackageMissingError("jupyterlab", "demos", "demo")
    command = [
        *(sys.executable, "-m", "jupyterlab", f"--port={port}", "--ServerApp.port_retries=50"),
        f"--ServerApp.root_dir={path.parent.resolve()}",
        f"--LabApp.default_url=/lab/tree/{path.name}",
        *("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    return command


def _notebook() -> dict[str, object]:
    return {
        "cells": [
            {"cell_type": "markdown", "id": "title", "metadata": {}, "source": _TEXT},
            {
                "cell_type": "code",
                "id": "explore",
                "metadata": {},
                "source": _CODE,
                "execution_count": None,
                "outputs": [],
            },
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


if __name__ == "__main__":
    sys.exit(main())
