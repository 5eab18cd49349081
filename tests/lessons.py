"""The notebooks, executed and kept with their pictures: ``python -m tests.lessons [name ...]``, or ``make notebooks-write``.

A notebook is readable without a kernel then. Its metadata holds a hash of its cells, by which a test says when the outputs
are older than the cells.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
SOLUTIONS = NOTEBOOKS / "solutions"

WIDGET = "application/vnd.jupyter.widget-view+json"
LANGUAGE = "language"
"""The id of the cell by which a translated notebook has the explorer in its language."""
LARGE = 40_000
"""Bytes above which a picture is kept as JPEG, where that is less than half."""


class ThisInterpreter(AsyncKernelManager):
    """A kernel of the interpreter that runs the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )


class Client(NotebookClient):
    """Executes notebooks; what a slider's function puts out lands in the cell, where it can be read without a kernel.

    Otherwise it is sent back to the kernel as the state of a widget, and now and then a cell waits for that for good.
    """

    def on_comm_open_jupyter_widget(self, msg: dict[str, Any]) -> None:
        """No output widget is kept here."""


def execute(notebook: NotebookNode, folder: Path = NOTEBOOKS) -> NotebookNode:
    """The notebook run in a fresh kernel, with whatever its cells put out; raises at the first cell that does."""
    Client(
        notebook,
        timeout=300,
        kernel_manager_class=ThisInterpreter,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return notebook


def fingerprint(notebook: NotebookNode) -> str:
    """A hash of what the cells are, whatever they put out."""
    cells = [f"{cell.cell_type} {cell.id}\n{cell.source}" for cell in notebook.cells]
    return hashlib.sha256("\n\0\n".join(cells).encode()).hexdigest()[:16]


def exercises(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """The cells that ask for something to be filled in."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and re.search(r"^(nv\.)?teaching\.check\(", cell.source, re.M):
            yield cell


def solutions(name: str) -> dict[str, str]:
    """The solved cells of a notebook by the cell's id, from its companion file."""
    path = SOLUTIONS / f"{name}.py"
    if not path.exists():
        return {}
    parts = re.split(r"^# %% (\S+)\n", path.read_text(encoding="utf-8"), flags=re.M)
    return {parts[i]: parts[i + 1].strip() for i in range(1, len(parts), 2)}


def keep(notebook: NotebookNode) -> NotebookNode:
    """Leave of the outputs what can be read without a kernel, and note which cells they are of."""
    notebook.metadata.pop("widgets", None)
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.outputs = _joined([kept for output in cell.outputs for kept in _kept(output)])
        cell.execution_count = count
        cell.metadata.pop("execution", None)
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = count
            output.get("metadata", {}).pop("transient", None)
    notebook.metadata.pop("language_info", None)
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["nbcnnviz"] = {"sources": fingerprint(notebook)}
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Lines printed one after the other as one output."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1]["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def _kept(output: NotebookNode) -> list[NotebookNode]:
    """An output as it is kept: no widget, of which there is a picture beside it."""
    data = output.get("data", {})
    if WIDGET in data:
        del data[WIDGET]
        if not any(kind.startswith("image/") for kind in data):
            return []
    if output.get("name") == "stderr":
        return []
    if "image/png" in data:
        png = base64.b64decode(data["image/png"])
        data.pop("image/jpeg", None)  # Pillow gives both
        if len(png) > LARGE:
            file = io.BytesIO()
            Image.open(io.BytesIO(png)).convert("RGB").save(file, "JPEG", quality=88)
            if len(file.getvalue()) < len(png) / 2:
                del data["image/png"]
                data["image/jpeg"] = base64.b64encode(file.getvalue()).decode()
    data.pop("text/html", None) if "image/png" in data or "image/jpeg" in data else None
    return [output]


def translations() -> list[Path]:
    """The notebooks in other languages, each in a folder of its language under the English one's name."""
    return sorted(NOTEBOOKS.glob("??/*.ipynb"))


def follow_english(translation: NotebookNode, english: NotebookNode) -> NotebookNode:
    """A translation with the English notebook's code and outputs; its text, and a cell that sets the language, are its own."""
    own = {cell.id: cell for cell in translation.cells}
    cells = [own[cell.id] if cell.cell_type == "markdown" else cell for cell in english.cells]
    if LANGUAGE in own:
        cells.insert(1, own[LANGUAGE])
    translation.cells = cells
    return keep(translation)


def main() -> None:
    """Execute and write the notebooks named, or all that are stale; ``--all`` for all. Translations follow, unexecuted."""
    names = sys.argv[1:]
    for path in PATHS:
        notebook = nbformat.read(path, as_version=4)
        stale = notebook.metadata.get("nbcnnviz", {}).get("sources") != fingerprint(notebook)
        if not (path.stem in names or names == ["--all"] or (not names and stale)):
            continue
        start = time.perf_counter()
        nbformat.write(keep(execute(notebook)), path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e3:.0f} kB")
    for path in translations():
        english = nbformat.read(NOTEBOOKS / path.name, as_version=4)
        nbformat.write(follow_english(nbformat.read(path, as_version=4), english), path)


if __name__ == "__main__":
    main()
