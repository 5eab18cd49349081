"""The Compare panel as a reader has it: tiles are clicked, a box is dragged, a slider is moved; and pictures of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore(target="tabby")
ex.panel = "compare"
panel = ex.panels["compare"]
ex
"""
SIZES = ((900, 640), (1366, 768))


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, width=1366, height=768)
    sheet.page.wait_for_selector(".nbv-compare .nbv-tile", timeout=120_000)
    sheet.hide_sidebar()
    rest(sheet)
    return sheet


def rest(sheet):
    sheet.settle()
    sheet.at_rest()


def shoot(sheet, artifacts, name):
    """Screenshots in light and dark, at both sizes, with the panel's upper edge in view."""
    for dark in (False, True):
        sheet.theme(dark)
        for width, height in SIZES:
            sheet.page.set_viewport_size({"width": width, "height": height})
            sheet.page.locator(".nbcnnviz").first.evaluate("(explorer) => explorer.scrollIntoView()")
            rest(sheet)
            theme = "dark" if dark else "light"
            sheet.page.screenshot(path=artifacts / f"compare-{name}-{width}-{theme}.png")
    sheet.theme(False)


def view(sheet, name):
    sheet.page.locator(f".nbv-compare .widget-toggle-buttons button:text-is('{name}')").click()
    rest(sheet)


def test_a_click_on_a_tile_selects_its_method(sheet, artifacts):
    labels = sheet.page.locator(".nbv-compare .nbv-tile .nbv-label").all_inner_texts()
    assert {"Grad-CAM", "Saliency", "Guided backprop"} <= set(labels)
    sheet.page.locator(".nbv-compare .nbv-tile", has_text="Layer-CAM").click()
    rest(sheet)
    assert sheet.kernel("ex.selection.method") == "layer_cam"
    assert sheet.page.locator(".nbv-compare .nbv-tile[aria-selected=true] .nbv-label").inner_text() == "Layer-CAM"
    badges = sheet.page.locator(".nbv-compare .nbv-badge:visible").all_inner_texts()
    assert len(badges) == len(labels) - 1
    assert all(-1 <= float(badge) <= 1 for badge in badges)
    shoot(sheet, artifacts, "methods")


def test_the_classes_and_the_pairs(sheet, artifacts):
    view(sheet, "classes")
    assert sheet.page.locator(".nbv-compare .nbv-tile").count() == 9
    shoot(sheet, artifacts, "classes")
    view(sheet, "Agreement")
    assert sheet.page.locator("[aria-label='Rank correlations'] td").count() == 1 + 81
    shoot(sheet, artifacts, "agreement")


def test_a_box_is_dragged_and_the_map_judged(sheet, artifacts):
    view(sheet, "Scores")
    stage = sheet.page.locator(".nbv-marking .nbv-stage")
    stage.scroll_into_view_if_needed()
    frame = stage.bounding_box()
    sheet.page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.25 * frame["height"])
    sheet.page.mouse.down()
    sheet.page.mouse.move(frame["x"] + 0.75 * frame["width"], frame["y"] + 0.75 * frame["height"], steps=4)
    sheet.page.mouse.up()
    sheet.until(lambda: sheet.kernel("panel.marked.box is not None"))
    assert sheet.kernel("panel.marked.box") == pytest.approx([56, 56, 168, 168], abs=2)
    sheet.page.locator(".nbv-compare button:has-text('Judge')").click()
    rest(sheet)
    rows = sheet.page.locator("[aria-label='Scores'] tbody tr")
    assert rows.locator("th").all_inner_texts() == ["Pointing game ↑", "Share inside ↑", "Insertion ↑", "Deletion ↓"]
    shoot(sheet, artifacts, "scores")


def test_what_is_saved_has_every_picture_and_the_box_that_was_dragged(sheet, tmp_path):
    with sheet.page.expect_download() as download:
        sheet.page.get_by_label("Save as", exact=True).select_option(label="PNG")
    download.value.save_as(tmp_path / "saved.png")
    saved = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB")).astype(int)
    amber = np.abs(saved - (255, 176, 0)).max(2) < 8
    rows, columns = (np.flatnonzero(amber.sum(axis) > 200) for axis in (1, 0))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.05), "a square, as it was dragged"
    assert np.ptp(rows) == pytest.approx(336, rel=0.05), "half of the picture, which is saved 336 wide, twice as fine"


def test_what_if_shows_both_at_once(sheet, artifacts):
    view(sheet, "What if")
    bars = sheet.page.locator(".nbv-compare .bqplot .bar")
    view(sheet, "hide it")
    sheet.until(lambda: bars.count() >= 10)
    assert sheet.kernel("panel.result.what_if.change").startswith("the part (")
    shoot(sheet, artifacts, "what-if")
