"""The Dataset panel as a reader has it: a scan fills it while other things are explained; it is stopped, goes on; a patch is clicked."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore(layer="blocks.3.2", filter=17)
ex.panel = "dataset"
panel = ex.panels["dataset"]
ex
"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, width=1366, height=768)
    sheet.page.get_by_role("button", name="Scan").wait_for(timeout=120_000)
    sheet.hide_sidebar()
    sheet.page.set_viewport_size({"width": 900, "height": 640})
    sheet.settle()
    return sheet


def press(sheet, name: str) -> None:
    sheet.page.locator(f".nbcnnviz button:has-text('{name}'):visible").first.click()


def seen(sheet) -> int:
    return sheet.kernel("panel.run.result.seen if panel.run and panel.run.result else 0")


def shot(sheet, artifacts, name: str) -> None:
    sheet.page.locator(".nbcnnviz").first.scroll_into_view_if_needed()
    sheet.page.evaluate("document.querySelector('.nbcnnviz').scrollIntoView({block: 'start'})")
    sheet.at_rest()
    sheet.page.screenshot(path=artifacts / f"dataset-{name}.png")


def test_before_a_scan_it_says_what_will_be_there(sheet, artifacts):
    assert sheet.page.get_by_text("nine patches that fire the chosen filter most").is_visible()
    shot(sheet, artifacts, "empty-900")


def test_a_scan_fills_while_another_class_is_explained_and_goes_on_after_a_stop(sheet, artifacts):
    press(sheet, "Scan")
    sheet.page.wait_for_selector(".nbv-tile:visible", timeout=60_000)
    first = seen(sheet)
    shot(sheet, artifacts, "running-900")
    sheet.run("ex.panel = 'explain'; ex.selection.target = 285")
    sheet.settle()
    assert "Egyptian cat" in sheet.page.locator(".nbv-frame .nbv-caption:visible").first.inner_text()
    sheet.until(lambda: seen(sheet) > first, 60)
    assert sheet.kernel("panel.run.task.going")
    sheet.run("ex.panel = 'dataset'; ex.selection.filter = 17")
    sheet.settle()
    sheet.page.locator(".nbv-status button:has-text('Stop'):enabled").last.click()
    sheet.until(lambda: not sheet.kernel("panel.run.task.live"), 60)
    stopped = sheet.kernel("(panel.run.result.whole or panel.run.result).seen")
    assert 0 < stopped < 600
    press(sheet, "Go on")
    sheet.until(lambda: seen(sheet) > stopped, 60)
    assert sheet.kernel("panel.run.task.made") < 3, "what was there was not scanned again"


def test_a_click_on_a_patch_opens_its_picture_with_the_unit_selected(sheet, artifacts):
    sheet.run("panel.pictures.value = 'samples'")
    press(sheet, "Scan")
    sheet.until(lambda: sheet.kernel("panel.run.task.state") == "done", 120)
    sheet.settle()
    sheet.until(lambda: sheet.page.locator(".nbv-tile:visible").count() == 9)
    for name, width, height in (("900", 900, 640), ("1366", 1366, 768)):
        sheet.page.set_viewport_size({"width": width, "height": height})
        for dark in (True, False):
            sheet.theme(dark)
            shot(sheet, artifacts, f"{name}-{'dark' if dark else 'light'}")
    patch = sheet.kernel("list(panel.result.seen[1].patch[2:5])")
    sheet.page.locator(".nbv-tile:visible").nth(1).click()
    sheet.settle()
    sheet.until(lambda: sheet.kernel("ex.selection.source") == patch[0])
    assert sheet.kernel("[ex.selection.layer, ex.selection.filter, list(ex.selection.unit)]") == [
        "blocks.3.2",
        17,
        patch[1:],
    ]


def test_the_card_is_shown_and_downloaded(sheet, artifacts):
    sheet.run("import nbcnnviz.explorer.panels.dataset.extras as extras; extras.STEPS = 8")
    press(sheet, "Unit card")
    sheet.page.locator(".card h1").wait_for(timeout=120_000)
    assert sheet.page.locator(".card img").count() > 20
    assert sheet.page.locator(".card").evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    sheet.page.locator(".card h1").scroll_into_view_if_needed()
    sheet.page.screenshot(path=artifacts / "dataset-card.png")
    with sheet.page.expect_download() as download:
        press(sheet, "Save card")
    assert download.value.suggested_filename == "filter 17 of blocks.3.2.html"
