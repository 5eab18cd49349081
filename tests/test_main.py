"""The command line: a real JupyterLab opens on a notebook that runs, and what is missing is said in a sentence."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbcnnviz.__main__ import lab_command, main, write_notebook

ROOT = Path(__file__).parents[1]


def test_the_command_is_an_entry_point_of_the_package() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"nbcnnviz": "nbcnnviz.__main__:main"}


def test_the_notebook_written_is_valid_and_a_second_demo_leaves_it_alone(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "new")
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert "nv.explore()" in notebook.cells[1].source
    path.write_text("mine")
    assert write_notebook(tmp_path / "new").read_text() == "mine"


def test_a_folder_that_cannot_be_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--folder", str(tmp_path / "file" / "folder")]) == 1
    assert "--folder" in capsys.readouterr().err


def test_without_jupyterlab_a_sentence_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jupyterlab" else real(name))
    assert main(["demo", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "Demos need jupyterlab: pip install 'nbcnnviz[demo]'.\n"


def test_a_browser_is_opened_unless_it_is_not_wanted(tmp_path: Path) -> None:
    path = write_notebook(tmp_path)
    assert "--no-browser" not in lab_command(path, 1, browser=True)
    assert "--no-browser" in lab_command(path, 1, browser=False)


def fetched(address: str, patience: int = 150) -> Any:
    """What a server answers that is starting."""
    for _ in range(patience):
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


def test_the_demo_serves_its_notebook(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nbcnnviz", "demo", "--no-browser", "--port=18765", f"--folder={tmp_path}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_TOKEN": "token"}
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                lines.append(line)
                if found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab", line):
                    break
            assert found, "".join(lines)
            address = f"http://127.0.0.1:{found[1]}/api/contents/explorer.ipynb?token=token"
            content = fetched(address)["content"]
            assert "nv.explore()" in str(content["cells"][1]["source"])
        finally:
            os.killpg(server.pid, signal.SIGKILL)
