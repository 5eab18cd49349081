"""The notebooks in a real JupyterLab: run from top to bottom, every widget is shown, nothing is wrong on the console.

Two of them stand for all here; `make notebooks-browser` runs every one, which takes some ten minutes.
"""

from __future__ import annotations

import os
import shutil

import nbformat
import pytest

from tests.lessons import PATHS

from .lab import Sheet

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# The explorer with every panel and the form; a control of ipywidgets' own and an explorer of two panels.
FOR_ALL = ("00_explorer", "05_cam_and_grad_cam")
CHOSEN = [path for path in PATHS if path.stem in FOR_ALL or os.environ.get("NOTEBOOKS") == "all"]

# Of each cell with widgets: how many it has put out, and what is seen of them once they are scrolled to. JupyterLab makes
# an output when it comes into sight.
SEEN = """async () => {
    const content = window.jupyterapp.shell.currentWidget.content;
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const seen = [];
    for (const [at, cell] of content.widgets.entries()) {
        if (cell.model.type !== 'code') continue;
        const outputs = [...Array(cell.model.outputs.length).keys()].map((i) => cell.model.outputs.get(i));
        const widgets = outputs.filter((o) => 'application/vnd.jupyter.widget-view+json' in o.data).length;
        const wrong = outputs.filter((o) => o.type === 'error' || 'application/vnd.jupyter.stderr' in o.data);
        await content.scrollToItem(at, 'start');
        let views = [];
        for (let look = 0; look < 100; look++) {
            await wait(100);
            views = [...cell.node.querySelectorAll('.jp-OutputArea-output > .jupyter-widgets')]
                .filter((view) => !view.parentElement.closest('.jupyter-widgets'));
            if (views.length >= widgets && views.every((view) => view.offsetHeight > 20)) break;
        }
        seen.push({
            id: cell.model.id, count: cell.model.executionCount, widgets, wrong: wrong.map((o) => JSON.stringify(o.data)),
            views: views.map((v) => [v.offsetWidth, v.offsetHeight]), text: cell.outputArea.node.innerText.slice(0, 2000),
        });
    }
    return seen;
}"""


@pytest.mark.parametrize("path", CHOSEN, ids=[path.stem for path in CHOSEN])
def test_a_notebook_shows_every_widget_and_no_error(path, lab, browser, artifacts) -> None:
    shutil.copy(path, lab.folder / path.name)
    sheet = Sheet(browser, lab, notebook=path.name, width=1300, height=1000)  # returns when all cells were run
    try:
        seen = sheet.page.evaluate(SEEN)
        sheet.page.screenshot(path=artifacts / f"notebook-{path.stem[:2]}.png")
        code = [cell.id for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [cell["id"] for cell in seen] == code
        assert [cell["count"] for cell in seen] == [*range(1, len(code) + 1)], (
            "all were run, in order, from a new kernel"
        )
        for cell in seen:
            assert cell["wrong"] == [], cell["id"]
            assert len(cell["views"]) == cell["widgets"], cell
            assert all(width > 200 and height > 20 for width, height in cell["views"]), cell
            assert "Error displaying widget" not in cell["text"]
            assert "Loading widget" not in cell["text"]
        least = 1 if path.stem.startswith("02") else 2  # the form, and what the lesson shows: in 02 numbers alone
        assert sum(cell["widgets"] for cell in seen) >= least
        assert sheet.complaints == []
    finally:
        sheet.close()
        lab.shut_kernels()
