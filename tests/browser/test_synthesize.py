"""The Synthesize panel as a user has it: runs are started, steered, turned back, and taken home."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from .lab import nothing_happens_for

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
from nbcnnviz.session import Selection, Session
from nbcnnviz.explorer.panels.synthesize import SynthesizePanel
selection = Selection(nv.load_network(), "coffee", layer="blocks.2")
session = Session(selection)
panel = SynthesizePanel(selection, lambda act: act(), session.ask)
panel.use(session.tasks)
session.view, session.views = panel, [panel]
panel.widget
"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, height=1300)
    sheet.page.wait_for_selector(".nbv-empty", timeout=120_000)
    sheet.page.wait_for_selector(".nbv-line", timeout=120_000)
    sheet.hide_sidebar()
    return sheet


def button(sheet, name: str):
    return sheet.page.locator(f"button:visible:text-is('{name}')").first


def field(sheet, label: str):
    box = sheet.page.locator(f".nbcnnviz div:has(> .widget-label:text-is('{label}')):visible")
    return box.locator("select, input, .noUi-handle").first


def said(sheet, words: str) -> None:
    """Wait until the status says so."""
    sheet.page.wait_for_function(
        "words => document.querySelector('.nbv-text').textContent.startsWith(words)", arg=words, timeout=60_000
    )
    sheet.at_rest()


def fill(sheet, label: str, value: object) -> None:
    found = field(sheet, label)
    found.fill(str(value))
    found.press("Enter")
    sheet.until(lambda: sheet.kernel(_VALUE.format(label=label)) == str(value))


# What the control under a label is set to, in the kernel.
_VALUE = (
    "next(str(c.value) for c in [*panel._setup.controls.values(), panel._setup.several] if c.description == {label!r})"
)


def pixels(sheet, at: int = 0) -> np.ndarray:
    values = sheet.page.evaluate(
        """(at) => {
            const canvas = document.querySelectorAll('.nbv-pictures .nbv-canvas > canvas')[at];
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, Array.from(data)];
        }""",
        at,
    )
    return np.array(values[2], np.int16).reshape(values[0], values[1], 4)[..., :3]


def kept(sheet, at: int) -> np.ndarray:
    return np.array(sheet.kernel(f"panel.run.buffer[{at}].array.tolist()"), np.int16)


def end(sheet) -> None:
    sheet.run("panel.stop(); panel.wait(60)")
    said(sheet, "Ended")


def run_to_end(sheet, name: str = "Start") -> None:
    before = sheet.kernel("id(panel.run)")
    button(sheet, name).click()
    sheet.until(lambda: sheet.kernel("id(panel.run)") != before)
    sheet.kernel("panel.wait(120) and None")
    said(sheet, "Done")
    assert not sheet.error()


def test_a_run_is_started_seen_to_grow_paused_stepped_and_resumed(sheet):
    fill(sheet, "Steps", 500)
    button(sheet, "Start").click()
    said(sheet, "Step 3")
    first = pixels(sheet)
    sheet.until(lambda: np.abs(pixels(sheet) - first).max() > 8)
    assert sheet.page.locator(".nbv-text").first.inner_text().endswith("left")
    assert field(sheet, "Recipe").is_disabled()
    button(sheet, "Pause").click()
    said(sheet, "Paused at step")
    step = sheet.kernel("panel.run.newest.step")
    nothing_happens_for(sheet.page, 300)
    assert sheet.kernel("panel.run.newest.step") == step
    button(sheet, "Step").click()
    said(sheet, f"Paused at step {step + 1}")
    assert np.abs(pixels(sheet) - kept(sheet, -1)).mean() < 12  # JPEG
    button(sheet, "Resume").click()
    said(sheet, "Step ")
    assert sheet.kernel("panel.run.newest.step") > step + 1
    end(sheet)


def test_stop_and_escape_end_a_run(sheet):
    assert sheet.page.locator("button:visible:text-is('Stop')").count() == 1
    for act in (
        lambda: button(sheet, "Stop").click(),
        lambda: (button(sheet, "Step").focus(), sheet.page.keyboard.press("Escape")),
    ):
        button(sheet, "Start").click()
        said(sheet, "Step 1")
        act()
        said(sheet, "Ended at step")
        assert sheet.kernel("panel.run.task.state") == "stopped"


def test_the_learning_rate_is_moved_by_keys_while_it_runs(sheet):
    button(sheet, "Start").click()
    said(sheet, "Step 3")
    before = sheet.kernel("panel.run.specification.controls.learning_rate")
    sheet.page.locator(".jp-Collapse-header, .lm-Collapse-header, .jupyter-widget-Collapse-header").first.click()
    field(sheet, "Learning rate").focus()
    for _ in range(3):
        sheet.page.keyboard.press("ArrowRight")
    sheet.until(lambda: "learning_rate" in str(sheet.kernel("panel.run.newest.frame.provenance.changes")))
    assert sheet.kernel("panel.run.specification.controls.learning_rate") > before
    assert sheet.kernel("panel.run.task.state") == "running"
    end(sheet)


def test_an_earlier_frame_is_looked_at_and_gone_on_from(sheet):
    fill(sheet, "Steps", 12)
    run_to_end(sheet)
    assert "Done: 12 steps" in sheet.page.locator(".nbv-text").first.inner_text()
    handle = field(sheet, "Frame")
    handle.focus()
    for _ in range(5):
        sheet.page.keyboard.press("ArrowLeft")
    sheet.page.wait_for_function("document.querySelector('.nbv-heading').textContent.startsWith('Step 7:')")
    sheet.at_rest()
    assert np.abs(pixels(sheet) - kept(sheet, 7)).mean() < 12
    run_to_end(sheet, "Go on from here")
    assert sheet.kernel("panel.run.buffer.steps") == list(range(20))


def test_the_lower_chart_is_turned_over(sheet):
    lines = ".bqplot .curve path.line"
    assert sheet.page.locator(lines).count() >= 2
    sheet.page.get_by_role("button", name="Gradient").click()
    sheet.until(
        lambda: sheet.kernel("list(panel._screen.curves._other.y[0]) == [float(g) for g in panel.run.record.gradients]")
    )
    sheet.page.get_by_role("button", name="Probability").click()


def test_a_gallery_is_chosen_from(sheet):
    sheet.run("selection.filter = 1; panel._follow()")
    fill(sheet, "Gallery", "0, 4-6")
    fill(sheet, "Steps", 6)
    run_to_end(sheet)
    titles = sheet.page.locator(".nbv-pictures .nbv-title").all_inner_texts()
    assert [title.split(":")[0] for title in titles] == ["filter 0", "filter 4", "filter 5", "filter 6"]
    sheet.page.locator(".nbv-pictures .nbv-picture").nth(2).click()
    sheet.until(lambda: sheet.kernel("selection.filter") == 5)
    fill(sheet, "Gallery", "0, 999")
    button(sheet, "Start").click()
    sheet.page.wait_for_function("document.querySelector('.nbv-error').textContent.includes('there is no 999')")
    fill(sheet, "Gallery", "")


def test_a_picture_is_turned_into_a_goldfish(sheet):
    field(sheet, "Recipe").select_option(label="Fooling image")
    found = field(sheet, "Turn into")
    found.fill("goldfish (1)")
    found.press("Enter")
    sheet.until(lambda: sheet.kernel("panel._setup.values.get('to')") == 1)
    run_to_end(sheet)
    assert "goldfish" in sheet.page.locator(".nbv-text").first.inner_text()
    titles = sheet.page.locator(".nbv-pictures .nbv-title").all_inner_texts()
    assert titles[0].startswith("Before: espresso")
    assert titles[1].startswith("After: goldfish")
    before, after, change = (pixels(sheet, at) for at in range(3))
    assert 0 < np.abs(before - after).mean() < 5
    assert 1 < change.std() < 80
    assert sheet.page.locator(".nbcnnviz table").inner_text().count("%") == 8


@pytest.mark.parametrize("ending", ["PNG", "GIF", "WebP", "Array", "Code"])
def test_files_are_downloaded(sheet, ending):
    offered = field(sheet, "Format")
    offered.select_option(value=next(o for o in offered.locator("option").all_inner_texts() if ending in o))
    with sheet.page.expect_download(timeout=30_000) as download:
        button(sheet, "Save").click()
    path = download.value.path()
    content = path.read_bytes()
    assert download.value.suggested_filename == f"fool.{_SUFFIX[ending]}"
    if ending == "PNG":
        assert (np.asarray(Image.open(io.BytesIO(content))) == kept(sheet, -1)).all()
    elif ending in ("GIF", "WebP"):
        assert Image.open(io.BytesIO(content)).n_frames > 3
    elif ending == "Array":
        assert np.load(io.BytesIO(content))["frames"].shape[1:] == kept(sheet, -1).shape
    else:
        assert b"fool(net, image, to='goldfish')" in content


_SUFFIX = {"PNG": "png", "GIF": "gif", "WebP": "webp", "Array": "npz", "Code": "py"}


def test_the_page_comes_back_after_a_reload(sheet):
    before = pixels(sheet, 1)
    sheet.save()
    sheet.page.reload()
    sheet.page.wait_for_selector(".nbv-pictures .nbv-canvas > canvas", timeout=90_000)
    sheet.until(lambda: pixels(sheet, 1).shape == before.shape and np.abs(pixels(sheet, 1) - before).max() <= 2)
    run_to_end(sheet)


@pytest.mark.parametrize("width", [700, 900, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_screenshots(sheet, artifacts, width, dark):
    if width == 700 and not dark:
        sheet.run(
            "selection.target = 'daisy'; panel._setup.recipe.value = 'class_model'; panel._setup.controls['steps'].value = 60; "
            "panel._follow(); panel.start(); panel.wait(120)"
        )
    sheet.page.set_viewport_size({"width": width, "height": 1300})
    sheet.hide_sidebar()
    sheet.theme(dark)
    sheet.page.screenshot(path=artifacts / f"synthesize-{width}-{'dark' if dark else 'light'}.png")
    outer = sheet.page.locator(".jp-OutputArea-output .nbcnnviz").bounding_box()
    for part in (".nbv-pictures", ".bqplot", ".nbv-status", ".jupyter-button"):
        for box in (found.bounding_box() for found in sheet.page.locator(f".nbcnnviz {part}:visible").all()):
            assert box["x"] + box["width"] <= outer["x"] + outer["width"] + 1
    picture = sheet.page.locator(".nbv-pictures .nbv-canvas").first.bounding_box()
    assert picture["width"] > 200
    assert abs(picture["width"] - picture["height"]) < 2
    chart = sheet.page.locator(".bqplot").first.bounding_box()
    assert chart["width"] > 250
    beside = chart["x"] > picture["x"] + picture["width"]
    assert beside == (width >= 900)


@pytest.fixture(scope="module")
def explorer(open_sheet):
    sheet = open_sheet("import nbcnnviz as nv\nex = nv.explore()\nex", height=1300)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def turn(sheet, title: str) -> None:
    sheet.page.locator(f".lm-TabBar-tabLabel:text-is('{title}')").click()


def in_tab(sheet, name: str):
    """A button of the panel that is turned up; the explorer's own status line is above."""
    return sheet.page.locator(f".jupyter-widget-tab button:visible:text-is('{name}')")


def test_a_run_is_paused_and_stopped_while_classes_are_explained_in_another_tab(explorer):
    sheet, asked = explorer, [281, 285, 1, 2]
    turn(sheet, "Synthesize")
    sheet.page.wait_for_selector(".nbv-empty:visible")
    sheet.until(lambda: sheet.kernel("'synthesize' in ex.panels"))
    sheet.run("panel = ex.panels['synthesize']; panel._setup.controls['steps'].value = 5000")
    in_tab(sheet, "Start").click()
    sheet.until(lambda: sheet.kernel("panel.run is not None and panel.run.task.made > 3"))
    turn(sheet, "Explain")
    made = sheet.kernel("panel.run.task.made")
    for index in asked:
        sheet.run(f"ex.selection.target = {index}; ex.wait(60)")
        assert sheet.kernel("[ex.result.target.index, panel.run.task.state]") == [index, "running"]
    sheet.until(lambda: sheet.kernel("panel.run.task.made") > made + 3)
    turn(sheet, "Synthesize")
    in_tab(sheet, "Pause").click()
    sheet.until(lambda: sheet.kernel("panel.run.task.state") == "paused")
    turn(sheet, "Explain")
    made = sheet.kernel("panel.run.task.made")
    sheet.run("ex.selection.target = 3; ex.wait(60)")
    assert sheet.kernel("[ex.result.target.index, panel.run.task.state, panel.run.task.made]") == [3, "paused", made]
    turn(sheet, "Synthesize")
    in_tab(sheet, "Resume").click()
    sheet.until(lambda: sheet.kernel("panel.run.task.made") > made + 3)
    sheet.run("ex.selection.target = 4")
    in_tab(sheet, "Stop").click()
    sheet.until(lambda: sheet.kernel("panel.run.task.state") == "stopped")
    sheet.run("ex.wait(60)")
    assert sheet.kernel("[ex.panel, ex.selection.target]") == ["synthesize", 4]
