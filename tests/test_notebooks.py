"""Every notebook runs from top to bottom in a fresh kernel; it is kept with the outputs of the cells as they are."""

from __future__ import annotations

import ast
import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

import nbcnnviz as nv
from tests.lessons import (
    LANGUAGE,
    NOTEBOOKS,
    PATHS,
    WIDGET,
    ThisInterpreter,
    execute,
    exercises,
    fingerprint,
    solutions,
    translations,
)

every_notebook = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
MOST_BYTES = 1_000_000


def test_there_are_notebooks() -> None:
    assert [path.stem[:2] for path in PATHS] == [f"{number:02d}" for number in range(len(PATHS))]
    assert len(PATHS) >= 4


@every_notebook
def test_a_notebook_is_readable_without_a_kernel(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < MOST_BYTES
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if WIDGET in output.get("data", {})], (
        "a widget without a kernel is an error"
    )
    assert any(kind.startswith("image/") for output in outputs for kind in output.get("data", {}))
    assert "widgets" not in notebook.metadata


@every_notebook
def test_a_notebooks_outputs_are_those_of_its_cells(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.nbcnnviz.sources == fingerprint(notebook), "stale: run make notebooks-write"


@every_notebook
def test_a_notebook_says_what_one_will_be_able_to_do_and_has_something_to_do_at_once(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first, second, *_ = notebook.cells
    assert first.cell_type == "markdown"
    assert "you can" in first.source
    assert "**Do this first:**" in first.source
    assert second.cell_type == "code"


@every_notebook
@pytest.mark.timeout(600)
def test_a_notebook_runs_and_each_exercise_fails_on_the_stub_and_passes_on_the_solution(path: Path) -> None:
    """The stub, the solution and the stub again in one run: no later cell may need what was solved."""
    notebook = nbformat.read(path, as_version=4)
    solved = solutions(path.stem)
    asked = {cell.id: cell for cell in exercises(notebook)}
    assert asked, "there is at least one exercise"
    assert solved.keys() == asked.keys()
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.id in asked:
            cells += [nbformat.v4.new_code_cell(solved[cell.id]), nbformat.v4.new_code_cell(cell.source)]
    notebook.cells = cells
    execute(notebook, path.parent)  # raises at the first cell that does
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr" and "Traceback" in output.text]
    for at, cell in enumerate(notebook.cells):
        if cell.id in asked:
            stub, solution, again = (_said(each) for each in notebook.cells[at : at + 3])
            assert stub.startswith("Not yet ("), stub
            assert len(stub.split()) > 8, "a sentence that helps"
            assert solution.startswith("Right ("), solution
            assert again == stub


def _said(cell: nbformat.NotebookNode) -> str:
    return "".join(output["data"]["text/plain"] for output in cell.outputs if "data" in output)


@every_notebook
def test_what_is_handed_in_is_every_exercise_and_every_question(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    [call] = ast.parse(notebook.cells[-1].source).body
    assert ast.unparse(call.value.func) == "teaching.hand_in"
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.value.keywords}
    code = "\n".join(cell.source for cell in exercises(notebook))
    assert given["exercises"] == re.findall(r'teaching\.check\("([^"]+)"', code)
    [asked] = [cell.source for cell in notebook.cells if "### Questions" in cell.source]
    questions = re.findall(r"^\d+\. ", asked.partition("<details>")[0], re.M)
    assert given["answers"] == [""] * len(questions), "one field for each question, empty"
    assert notebook.cells[0].source.startswith(f"# {call.value.args[0].value[3:]}\n")


@every_notebook
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert target.startswith("http") or (NOTEBOOKS / target).is_file(), target


@pytest.mark.parametrize("path", translations(), ids=[f"{path.parent.name}/{path.stem}" for path in translations()])
def test_a_translation_has_the_code_and_outputs_of_the_english_notebook_which_is_executed(path: Path) -> None:
    """It need not be executed itself, then. What is out of date, ``make notebooks-write`` mends, but for the text."""
    notebook, english = (nbformat.read(at, as_version=4) for at in (path, NOTEBOOKS / path.name))
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    assert notebook.metadata.nbcnnviz.sources == fingerprint(notebook)
    cells = [cell for cell in notebook.cells if cell.id != LANGUAGE]
    assert [(cell.id, cell.cell_type) for cell in cells] == [(cell.id, cell.cell_type) for cell in english.cells]
    for cell, original in zip(cells, english.cells, strict=True):
        if cell.cell_type == "code":
            assert cell.source == original.source, cell.id
            kept = [{**output, "execution_count": None} for output in cell.outputs]
            assert kept == [{**output, "execution_count": None} for output in original.outputs], cell.id
            continue
        assert cell.source != original.source
        formulas = r"\$\$(.+?)\$\$"
        assert len(re.findall(formulas, cell.source, re.S)) == len(re.findall(formulas, original.source, re.S)), cell.id
        assert cell.source.count("\n#") == original.source.count("\n#"), f"{cell.id}: headings"
        assert cell.source.count("\n| ") == original.source.count("\n| "), f"{cell.id}: rows of tables"
        assert len(re.findall(r"^\d+\. ", cell.source, re.M)) == len(re.findall(r"^\d+\. ", original.source, re.M)), (
            cell.id
        )
        for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
            assert target.startswith("http") or (path.parent / target).is_file(), target


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
