"""The Features panel as a reader has it: tiles, places, menus and pages are clicked, and the pixels are looked at."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore(layer="blocks.3", panels=["explain", "features", "predictions"])
ex.panel = "features"
panel = ex.panels["features"]
ex
"""

POOLED = """
import nbcnnviz as nv
ex = nv.explore(nv.load_network("squeezenet1_1", weights=None), layer="features.12", panels=["features"])
panel = ex.panels["features"]
ex
"""


def opened(open_sheet, cell, **options):
    sheet = open_sheet(cell, **options)
    sheet.page.wait_for_selector(".nbv-tile", timeout=120_000)
    sheet.hide_sidebar()
    rest(sheet)
    return sheet


@pytest.fixture(scope="module")
def sheet(open_sheet):
    return opened(open_sheet, CELL)


@pytest.fixture(scope="module")
def pooled(open_sheet):
    return opened(open_sheet, POOLED, height=1600)


def rest(sheet):
    sheet.settle()
    sheet.at_rest()


def drawn(canvas):
    """The pixels of a canvas as everybody sees it, (height, width, 4)."""
    url = canvas.evaluate("(canvas) => canvas.toDataURL('image/png')")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.asarray(picture.convert("RGBA"), np.int16)


def tiles(sheet):
    return drawn(sheet.page.locator(".nbv-grid canvas").first)


def frame(sheet, label):
    return sheet.page.locator(f".nbv-frame[aria-label='{label}']")


def view(sheet, label, at=1):
    """The pixels of a map's view: 0 over the picture, 1 alone."""
    return drawn(frame(sheet, label).locator(".nbv-canvas").nth(at).locator(":scope > canvas").first)


def marked(sheet, label, at=1):
    """Where something is drawn over a view, (height, width)."""
    return drawn(frame(sheet, label).locator(".nbv-canvas").nth(at).locator(".nbv-marks canvas"))[..., 3] > 0


LARGE, UNIT = "One feature map", "What made the unit fire"


def click_place(sheet, row, column, rows, columns, at=1):
    surface = frame(sheet, LARGE).locator(".nbv-canvas").nth(at)
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    surface.click(position={"x": (column + 0.5) * box["width"] / columns, "y": (row + 0.5) * box["height"] / rows})
    rest(sheet)


def differ(before, after):
    return before.shape != after.shape or np.abs(before - after).max() > 8


def menu(sheet, name):
    return sheet.page.locator(f".widget-dropdown:has(label:text-is('{name}')) select")


def test_the_grid_shows_the_maps_in_their_order(sheet):
    assert sheet.page.locator(".nbv-tile").count() == 80
    labels = sheet.page.locator(".nbv-tile .nbv-label").all_inner_texts()
    assert [int(label) for label in labels] == sheet.kernel("panel.tiles.indices")
    assert "80 maps of 14 x 14, by strongest activation" in sheet.page.locator(".nbv-heading").first.inner_text()
    assert tiles(sheet)[..., :3].std() > 20


def test_a_click_on_a_tile_selects_the_filter_and_the_other_panels_follow(sheet):
    before, grid = view(sheet, LARGE), tiles(sheet)
    marked = sheet.page.locator(".nbv-class[aria-selected=true]")
    assert marked.count() == 1, "one row is the class explained"
    sheet.page.locator(".nbv-tile").nth(4).click()
    rest(sheet)
    chosen = sheet.kernel("panel.tiles.indices[4]")
    assert sheet.kernel("ex.selection.filter") == chosen
    assert sheet.page.locator(".nbv-tile[aria-selected=true]").inner_text() == str(chosen)
    assert differ(before, view(sheet, LARGE))
    assert (tiles(sheet) == grid).all(), "the grid stays as it is"
    assert marked.count() == 0, "no class is explained"
    sheet.run("ex.panel = 'explain'")
    rest(sheet)
    assert f"channel {chosen} of blocks.3" in frame(sheet, "Explanation").locator(".nbv-caption").inner_text()
    sheet.run("ex.panel = 'features'")
    rest(sheet)


def test_a_click_on_a_place_selects_the_unit_and_shows_what_made_it_fire(sheet):
    assert not frame(sheet, UNIT).is_visible()
    click_place(sheet, 6, 9, 14, 14)
    assert sheet.kernel("ex.selection.unit") == [6, 9]
    assert frame(sheet, UNIT).is_visible()
    assert "row 6, column 9" in frame(sheet, UNIT).locator(".nbv-caption").inner_text()
    assert view(sheet, UNIT)[..., :3].std() > 1
    # The rectangle is drawn where the unit looks, on the picture and on the map.
    top, left, bottom, right = sheet.kernel(
        "list(__import__('nbcnnviz.inside').inside.receptive_field(ex.session.trace, 'blocks.3', 6, 9))"
    )
    for at in (0, 1):
        marks = marked(sheet, UNIT, at)
        rows, columns = marks.any(1).nonzero()[0], marks.any(0).nonzero()[0]
        np.testing.assert_allclose(
            [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], [top, left, bottom, right], atol=3
        )
        assert not marks[top + 5 : bottom - 5, left + 5 : right - 5].any()
        assert marked(sheet, LARGE, at)[6 * 16 + 1, 9 * 16 : 10 * 16].any(), "the unit's own place"
    click_place(sheet, 2, 3, 14, 14, at=0)
    assert sheet.kernel("ex.selection.unit") == [2, 3]


def test_the_menu_chooses_how_the_unit_is_carried_back(sheet):
    seen = [view(sheet, UNIT)]
    for how in ("Guided backprop", "Deconvnet", "Zeiler projection"):
        menu(sheet, "Map").select_option(label=how)
        rest(sheet)
        assert how in frame(sheet, UNIT).locator(".nbv-caption").inner_text()
        seen.append(view(sheet, UNIT))
    assert differ(seen[0], seen[1])
    assert differ(seen[1], seen[2])
    assert sheet.page.get_by_label("No max-pool below").is_disabled()
    before = view(sheet, UNIT)
    sheet.page.get_by_label("Signed", exact=True).click()
    rest(sheet)
    assert differ(before, view(sheet, UNIT))


def test_the_explain_panel_explains_the_unit_and_the_whole_filter_comes_back(sheet):
    sheet.run("ex.panel = 'explain'")
    rest(sheet)
    assert ", 2, 3) of blocks.3" in frame(sheet, "Explanation").locator(".nbv-caption").inner_text()
    sheet.run("ex.panel = 'features'")
    rest(sheet)
    sheet.page.get_by_role("button", name="Whole filter").click()
    rest(sheet)
    assert sheet.kernel("ex.selection.unit is None")
    assert sheet.kernel("ex.selection.filter is not None")
    assert not frame(sheet, UNIT).is_visible()


def test_another_order_sorts_the_tiles(sheet):
    before = tiles(sheet)
    menu(sheet, "Order").select_option(label="Gradient x activation")
    rest(sheet)
    assert differ(before, tiles(sheet))
    assert "by gradient x activation for" in sheet.page.locator(".nbv-heading").first.inner_text()
    assert sheet.page.locator(".nbv-label").first.inner_text() == str(sheet.kernel("panel.tiles.indices[0]"))
    menu(sheet, "Order").select_option(label="Index")
    rest(sheet)
    assert sheet.page.locator(".nbv-label").first.inner_text() == "0"


def test_one_scale_for_all_changes_the_tiles_and_shows_its_bar(sheet):
    before = tiles(sheet)
    bar = sheet.page.locator(".nbv-tileframe .nbv-colourbar")
    assert not bar.is_visible()
    sheet.page.get_by_label("One scale for all").click()
    rest(sheet)
    assert differ(before, tiles(sheet))
    assert bar.is_visible()


def test_a_class_instead_of_the_filter_leaves_none_chosen(sheet):
    sheet.classes.nth(1).click()
    rest(sheet)
    assert sheet.kernel("ex.selection.filter is None")
    assert sheet.page.locator(".nbv-tile[aria-selected=true]").count() == 0


def test_a_tile_is_chosen_by_keys(sheet):
    sheet.page.locator(".nbv-tiles").first.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
        sheet.page.keyboard.press(key)
    rest(sheet)
    assert sheet.kernel("ex.selection.filter") == 2


def test_another_layer_and_another_picture_change_the_grid(sheet):
    before = tiles(sheet)
    sheet.choose_layer("blocks.1")
    rest(sheet)
    assert differ(before, tiles(sheet))
    assert sheet.page.locator(".nbv-tile").count() == 24
    assert sheet.kernel("ex.selection.filter") is None, "a number means another filter at another layer"
    before = tiles(sheet)
    sheet.choose_picture("coffee")
    rest(sheet)
    assert differ(before, tiles(sheet))
    assert not sheet.error()


def test_pages_are_turned_without_delay(pooled):
    label = pooled.page.locator(".widget-label:text-matches('^Page')")
    assert label.inner_text() == "Page 1 of 6"
    order = pooled.kernel("panel.result.page.order.filters.tolist()")
    pooled.page.locator(".fa-chevron-right").click()
    rest(pooled)
    assert label.inner_text() == "Page 2 of 6"
    assert pooled.page.locator(".nbv-label").first.inner_text() == str(order[96])
    pooled.page.locator(".noUi-handle:visible").last.focus()
    for _ in range(9):
        pooled.page.keyboard.press("ArrowRight")
    rest(pooled)
    assert label.inner_text() == "Page 6 of 6"
    assert pooled.page.locator(".nbv-tile").count() == 512 - 5 * 96
    # A filter selected elsewhere turns up its page.
    pooled.run(f"ex.selection.filter = {order[100]}")
    rest(pooled)
    assert label.inner_text() == "Page 2 of 6"
    assert pooled.page.locator(".nbv-tile[aria-selected=true]").inner_text() == str(order[100])
    assert pooled.kernel("panel.pager.value") == 2


def test_the_switches_of_max_pools_are_drawn_as_dots(pooled):
    pooled.page.get_by_role("button", name="Strongest unit").click()
    menu(pooled, "Map").select_option(label="Zeiler projection")
    rest(pooled)
    without = marked(pooled, UNIT).sum()
    pooled.page.get_by_label("Max-pool switches").click()
    rest(pooled)
    assert marked(pooled, UNIT).sum() > without + 100
    assert view(pooled, UNIT)[..., :3].std() > 1


def test_after_a_reload_everything_is_there_again(pooled):
    before = tiles(pooled), view(pooled, LARGE), view(pooled, UNIT)
    pooled.save()
    pooled.page.reload()
    pooled.page.wait_for_selector(".nbv-tile", timeout=90_000)
    pooled.hide_sidebar()
    rest(pooled)
    pooled.until(
        lambda: view(pooled, LARGE).shape == before[1].shape and np.abs(view(pooled, LARGE) - before[1]).max() <= 2
    )
    assert np.abs(view(pooled, LARGE) - before[1]).max() <= 2
    assert np.abs(view(pooled, UNIT) - before[2]).max() <= 2
    assert tiles(pooled).any()
    pooled.page.locator(".nbv-tile").nth(1).click()
    rest(pooled)
    assert pooled.kernel("ex.selection.filter == panel.tiles.indices[1]")


def test_it_looks_right_at_any_width_in_light_and_dark(sheet, pooled, artifacts):
    sheet.run("panel._strongest.click()")
    pooled.run("panel._strongest.click()")
    for name, one in (("features", sheet), ("features-zeiler", pooled)):
        rest(one)
        for width, height in ((1600, 1500), (900, 2400), (700, 2600)):
            one.page.set_viewport_size({"width": width, "height": height})
            for dark in (False, True):
                one.theme(dark)
                one.at_rest()
                one.page.screenshot(path=artifacts / f"{name}-{width}-{'dark' if dark else 'light'}.png")
            # Nothing sticks out to the right, and no tile is cut off.
            out = one.page.evaluate(
                """() => {
                    const edge = document.querySelector('.jp-OutputArea-output').getBoundingClientRect().right;
                    return [...document.querySelectorAll('.nbv, .nbv-tile, .widget-button, .widget-dropdown')]
                        .filter((e) => e.offsetParent && e.getBoundingClientRect().right > edge + 1)
                        .map((e) => e.className);
                }"""
            )
            assert out == [], f"{width} px"
        one.theme(False)
