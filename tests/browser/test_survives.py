"""What a notebook goes through: two pages, hidden tabs, kernels that end, files that are opened again."""

from __future__ import annotations

import time

import numpy as np
import pytest
from nbconvert import HTMLExporter

from .lab import Lab, Sheet, nothing_happens_for

pytestmark = pytest.mark.browser

CELL = """
import threading, time
import nbcnnviz as nv
ex = nv.explore()
ex
"""

SAVES_STATE = "@jupyter-widgets/jupyterlab-manager:saveWidgetState"


class Page(Sheet):
    """A notebook that is there already, in a browser that knows of nothing."""

    def __init__(self, browser, lab: Lab, name: str, kernel: bool = True) -> None:
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", self._complain)
        self.page.goto(f"{lab.url}/lab/tree/{name}?reset" if kernel else f"{lab.url}/lab?reset")
        if not kernel:
            self.page.wait_for_selector(".jp-Launcher", timeout=60_000)
            none = {"shouldStart": False, "canStart": True, "autoStartDefault": False}
            arguments = {"path": name, "factory": "Notebook", "kernelPreference": none}
            self.page.evaluate("a => void window.jupyterapp.commands.execute('docmanager:open', a)", arguments)

    def _complain(self, error) -> None:
        if "/jupyterlab-manager/" not in (error.stack or ""):  # ipywidgets' own, where no kernel is
            self.complaints.append(f"{error} {error.stack}")

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    sheet.at_rest()
    return sheet


@pytest.fixture
def again(browser, lab, sheet):
    """Save the notebook, and open it in another browser."""
    opened: list[Page] = []

    def open_(copy: str = "", kernel: bool = True) -> Page:
        """The notebook itself, with its kernel; or a copy of it, with one that has run nothing, or none at all."""
        save(sheet)
        name = f"{copy}{name_of(sheet)}"
        (lab.folder / name).write_bytes((lab.folder / name_of(sheet)).read_bytes())
        opened.append(Page(browser, lab, name, kernel))
        return opened[-1]

    yield open_
    complaints = [complaint for page in opened for complaint in page.complaints]
    for page in opened:
        page.close()
    assert not complaints


def name_of(sheet) -> str:
    return sheet.page.evaluate("window.jupyterapp.shell.currentWidget.context.path")


def save(sheet) -> None:
    sheet.page.evaluate("window.jupyterapp.shell.currentWidget.context.save()")


def pixels(sheet, view: int = 2) -> np.ndarray:
    """Some of the bytes of a view of the Explain panel, as it is painted."""
    values = sheet.page.evaluate(
        """(view) => {
            const canvas = document.querySelectorAll('.nbv-frame .nbv-canvas > canvas')[view];
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.width, canvas.height, ...data.filter((_, i) => i % 41 === 0)];
        }""",
        view,
    )
    return np.array(values, np.int16)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() <= 2)


def until(condition, seconds: float = 20) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def start_run(sheet) -> None:
    """Start a long synthesis; `sent` has an entry for each picture of it that is sent."""
    sheet.run("ex.panel = 'synthesize'; panel = ex.panels['synthesize']; panel._setup.controls['steps'].value = 5000")
    sheet.run("sent = []; panel._screen.pictures.unobserve_all('pictures')")
    sheet.run(
        "panel._screen.pictures.observe(lambda change: sent.append(panel.run.task.made), 'pictures'); panel.start()"
    )
    until(lambda: sheet.kernel("panel.run.task.made") > 2)


def end_run(sheet) -> None:
    sheet.run("panel.stop(); panel.wait(60); ex.panel = 'explain'")
    sheet.settle()


# Two pages. (A page that is loaded anew: see test_explorer, test_frames and test_synthesize.)


def test_a_second_page_sees_the_same_and_what_one_changes_the_other_shows(sheet, again):
    other = again()
    other.wait_for_map()
    until(lambda: all(same(pixels(other, view), pixels(sheet, view)) for view in range(3)))
    assert other.caption() == sheet.caption()
    before = pixels(sheet)
    other.control("Method").select_option(label="Saliency")
    sheet.settle()
    until(lambda: not same(pixels(sheet), before))
    until(lambda: same(pixels(other), pixels(sheet)))
    assert sheet.caption() == other.caption()
    assert sheet.caption().startswith("Saliency")
    overlay = pixels(other, 1)
    sheet.page.locator(".nbv-frame .nbv-views").first.focus()
    sheet.page.keyboard.press("O")
    until(lambda: not same(pixels(other, 1), overlay))
    until(lambda: same(pixels(other, 1), pixels(sheet, 1)))
    sheet.run("ex.selection.method = 'grad_cam'")
    sheet.settle()


def test_a_page_closed_in_the_middle_of_a_run_disturbs_neither_the_run_nor_the_other(sheet, again):
    other = again()
    other.wait_for_map()
    start_run(sheet)
    other.page.wait_for_function("document.querySelector('.nbv-pictures canvas')")
    until(lambda: sheet.kernel("len(panel._status._views)") == 2)
    other.close()
    other.complaints.clear()
    heading = sheet.page.locator(".nbv-heading").first
    before, made = heading.inner_text(), sheet.kernel("panel.run.task.made")
    until(lambda: heading.inner_text() != before and sheet.kernel("panel.run.task.made") > made + 2)
    assert sheet.kernel("panel.run.task.state") == "running"
    assert sheet.error() == ""
    end_run(sheet)


# Nobody looks.

HIDE = """(hidden) => {
    Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.mark.parametrize("how", ["another page is in front", "another tab of the explorer"])
def test_what_nobody_sees_goes_on_and_sends_no_picture(sheet, how):
    start_run(sheet)
    until(lambda: sheet.kernel("len(sent)") > 1)
    if how == "another page is in front":
        sheet.page.evaluate(HIDE, True)
    else:
        sheet.run("ex.panel = 'explain'")
    until(lambda: not sheet.kernel("panel._status.visible"))
    sent, made = sheet.kernel("[len(sent), panel.run.task.made]")
    until(lambda: sheet.kernel("panel.run.task.made") > made + 10)
    assert sheet.kernel("len(sent)") <= sent + 1, "one may have been on its way"
    sent = sheet.kernel("len(sent)")
    nothing_happens_for(sheet.page, 1000)
    assert sheet.kernel("len(sent)") == sent
    sheet.run("panel.pause(); panel.wait(30)")
    newest = sheet.kernel("panel.run.newest.step")
    if how == "another page is in front":
        sheet.page.evaluate(HIDE, False)
    else:
        sheet.run("ex.panel = 'synthesize'")
    until(lambda: f"Step {newest}:" in sheet.page.locator(".nbv-heading").first.inner_text())
    assert sheet.kernel("len(sent)") == sent + 1
    end_run(sheet)


# The kernel ends.


@pytest.mark.parametrize("kernel", [True, False], ids=["another kernel", "no kernel"])
def test_a_picture_is_left_in_a_notebook_that_is_opened_without_its_kernel(sheet, again, artifacts, kernel):
    """JupyterLab itself shows no more than an error where the widget was."""
    still = ".nbv-snapshot img"
    assert not sheet.page.locator(still).is_visible(), "while it lives"
    other = again("left-", kernel)
    other.page.wait_for_selector(still, timeout=60_000)
    nothing_happens_for(other.page, 500)
    other.page.screenshot(path=artifacts / f"survives-{'another' if kernel else 'no'}-kernel.png")
    assert other.page.locator(".nbcnnviz").count() == 0
    assert other.page.locator(still).bounding_box()["width"] > 400
    assert other.page.locator(still).evaluate("e => e.naturalWidth") == 2 * 224 + 8
    said = other.page.locator(".nbv-snapshot figcaption").inner_text()
    assert said.startswith("Grad-CAM of tiger cat (282)")
    assert "efficientnet_lite0, chelsea" in said


def test_with_the_state_of_widgets_saved_all_is_there_without_the_kernel(sheet, again, artifacts):
    sheet.run("ex.selection.layer = 'blocks.3'; ex.wait(60); ex.panels['explain'].widget.opacity = 0.4")
    sheet.settle()
    sheet.command(SAVES_STATE)
    sheet.at_rest()
    before = [pixels(sheet, view) for view in range(3)]
    other = again("state-")
    sheet.command(SAVES_STATE)
    other.page.wait_for_function("document.querySelectorAll('.nbv-canvas > canvas').length >= 3", timeout=60_000)
    until(lambda: all(same(pixels(other, view), before[view]) for view in range(3)))
    other.page.screenshot(path=artifacts / "survives-saved-state.png")
    assert other.page.locator(".nbv-depth-path").first.inner_text() == "blocks.3"
    assert other.page.locator(".nbv-controls label:has-text('Opacity') input").first.input_value() == "0.4"
    assert other.caption() == sheet.caption()
    assert not other.page.locator(".nbv-snapshot img").is_visible()
    other.page.get_by_label("Contours").first.check()  # what the browser can do by itself goes on
    until(lambda: not same(pixels(other), before[2]))


def test_a_page_made_of_the_notebook_shows_the_picture_offline(sheet, browser, lab, tmp_path, artifacts):
    save(sheet)
    html, _ = HTMLExporter().from_filename(lab.folder / name_of(sheet))
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    page = browser.new_context(offline=True).new_page()
    page.goto((tmp_path / "page.html").as_uri(), wait_until="commit")
    picture = page.locator("img[alt^='Grad-CAM of tiger cat']")
    picture.wait_for()
    assert picture.evaluate("e => e.complete && e.naturalWidth") == 2 * 224 + 8
    assert picture.bounding_box()["width"] > 400
    page.screenshot(path=artifacts / "survives-page.png")
    page.context.close()


def test_a_restarted_kernel_leaves_the_picture_marked_and_the_cells_bring_the_explorer_back(sheet, artifacts):
    before = [pixels(sheet, view) for view in range(3)]
    sheet.page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()")
    sheet.page.wait_for_selector(".nbv .jupyter-widgets-disconnected:visible", timeout=30_000)
    nothing_happens_for(sheet.page, 1000)
    sheet.page.screenshot(path=artifacts / "survives-restarted.png")
    assert all(same(pixels(sheet, view), before[view]) for view in range(3))
    said = sheet.page.locator(".nbv-caption").first.evaluate("(e) => getComputedStyle(e, '::after').content")
    assert "kernel is gone" in said
    words = sheet.page.locator(".jp-OutputArea-output > .nbcnnviz")
    assert "run its cell" in words.evaluate("(e) => getComputedStyle(e, '::before').content")
    sheet.page.locator(".nbv-layer[title^='blocks.1,']").first.click()  # nobody answers, and nothing breaks
    sheet.page.get_by_role("button", name="Undo").first.click(force=True)
    nothing_happens_for(sheet.page, 300)
    assert sheet.page.locator(".jp-Dialog").count() == 0
    assert "Traceback" not in sheet.page.locator(".jp-OutputArea").first.inner_text()
    sheet.command("notebook:run-all-cells")
    sheet.page.wait_for_selector(".nbv .jupyter-widgets-disconnected", state="detached", timeout=60_000)
    sheet.wait_for_map()
    sheet.control("Method").select_option(label="Saliency")
    sheet.settle()
    assert sheet.caption().startswith("Saliency")
    assert sheet.kernel("ex.result.method") == "saliency"


def test_a_page_closed_while_a_job_runs_leaves_an_explorer_that_closes(sheet, again):
    other = again()
    other.wait_for_map()
    start_run(sheet)
    sheet.page.goto("about:blank")
    made = other.kernel("panel.run.task.made")
    until(lambda: other.kernel("panel.run.task.made") > made + 2)
    names = "[t.name for t in threading.enumerate() if t.name == 'nbcnnviz' or isinstance(t, threading.Timer)]"
    assert other.kernel(names)
    other.run("ex.close()")
    assert other.kernel(names) == []
    assert other.kernel("ex.comm is None")
