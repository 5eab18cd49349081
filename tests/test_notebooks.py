"""Every notebook runs from top to bottom in a fresh kernel, and is kept without outputs."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

import nbcnnviz as nv

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


class ThisInterpreter(AsyncKernelManager):
    """A kernel of the interpreter that runs the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )


def test_there_are_notebooks() -> None:
    assert PATHS


@every_notebook
def test_a_notebook_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@every_notebook
@pytest.mark.timeout(600)
def test_a_notebook_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_manager_class=ThisInterpreter,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()  # raises at the first cell that does
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr" and "Traceback" in output.text]


def test_a_page_made_of_a_notebook_holds_the_picture_of_the_explorer() -> None:
    """Also where the state of the widgets is kept, of which a page makes nothing without its server of scripts."""
    cell = nbformat.v4.new_code_cell("import nbcnnviz as nv\nnv.explore('efficientnet_lite0', 'chelsea')")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=300, kernel_manager_class=ThisInterpreter).execute()
    assert "application/vnd.jupyter.widget-state+json" in notebook.metadata["widgets"]
    expected = nv.attribute(nv.load_network(), "chelsea").overlay(opacity=0.7)
    for state in (True, False):
        if not state:
            del notebook.metadata["widgets"]
        page, _ = HTMLExporter().from_notebook_node(notebook)
        found = re.findall(r'<img[^>]*src="data:image/png;base64,([^"]+)"', page)
        assert len(found) == 1, "the picture is there once"
        shown = Image.open(io.BytesIO(base64.b64decode(found[0])))
        np.testing.assert_array_equal(shown.crop((232, 0, 456, 224)), expected)
        assert "Grad-CAM of tiger cat (282)" in page
