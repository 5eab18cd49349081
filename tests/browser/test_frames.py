"""The widgets of the front end by themselves, in a real JupyterLab: what they show, what they hear, what they send."""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from nbcnnviz.explorer.front import MapFrame, PictureFrame, TileFrame
from nbcnnviz.render import Scale, coloured, lookup_table
from nbcnnviz.render.encoding import encoded
from nbcnnviz.render.tiles import Tile

from .lab import ROOT, nothing_happens_for, pause_of_a_hand, until

pytestmark = pytest.mark.browser

CELL = """
import numpy as np, torch, ipywidgets as w
from PIL import Image
import nbcnnviz as nv
from nbcnnviz.explorer.front import MapFrame, PictureFrame, StatusLine, TileFrame
from nbcnnviz.render.tiles import Tile
from nbcnnviz.render import Scale

heard = []
def listen(widget, *events):
    for event in events:
        widget.on(event, heard.append)
    return widget

torch.manual_seed(0)
picture = nv.load_image("chelsea").resize((224, 224))
maps = listen(MapFrame(caption="Grad-CAM of tabby"), "pixel")
maps.show_picture(picture)
values = torch.arange(28.0).reshape(4, 7)
maps.show_map(values, Scale.of(values), "inferno")

status = listen(StatusLine(), "stop")

tiles = listen(TileFrame(label="Filters"), "choose")
grid = torch.randn(40, 14, 14).clamp(-3, 3)
grid[3, 0, 0] = torch.nan
def show(grid, per_tile=False, first=100):
    scales = [Scale.of(g) for g in grid] if per_tile else [Scale.of(grid)]
    broken = [int((~g.isfinite()).sum()) for g in grid]
    names = [Tile(first + i, f"{first + i}", f"filter {first + i}", b) for i, b in enumerate(broken)]
    tiles.show(grid, scales, names, "RdBu_r", f"{len(grid)} filters of layer3")
show(grid)
tiles.chosen = 105

row = listen(PictureFrame(choosable=True, width=112), "choose")
row.show([picture, picture.rotate(90), picture.resize((32, 32))], ["first", "second", "third"], "Three pictures")

box = w.VBox([maps, status, tiles, row, w.Button(description="outside")])
box.add_class("nbcnnviz")
box
"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, views="picture,overlay,map")
    sheet.page.wait_for_selector(".nbv-pictures canvas", timeout=120_000)
    sheet.hide_sidebar()
    sheet.at_rest()
    return sheet


@pytest.fixture(autouse=True)
def _nothing_heard(request):
    if "sheet" in request.fixturenames:
        request.getfixturevalue("sheet").run("heard.clear()")


def heard(sheet):
    """What the widgets told the kernel in this test, once no more comes."""
    return sheet.steady(lambda: sheet.kernel("heard"))


def drawn(sheet, selector, at=0):
    """The pixels of a canvas, (height, width, 4)."""
    return canvas_of(sheet.page, selector, at)


def canvas_of(page, selector, at=0):
    url = page.locator(selector).nth(at).evaluate("(canvas) => canvas.toDataURL('image/png')")
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"), np.int16)


def rest(sheet):
    """Wait until everything is painted."""
    sheet.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    sheet.at_rest()


def tile(sheet, at):
    return sheet.page.locator(".nbv-tile").nth(at)


def layout(sheet):
    """Where each tile is on its canvas: left, top, width, height, in pixels of the canvas."""
    return sheet.page.evaluate(
        """() => {
            const canvas = document.querySelector('.nbv-grid canvas').getBoundingClientRect();
            const ratio = document.querySelector('.nbv-grid canvas').width / canvas.width;
            const height = parseFloat(getComputedStyle(document.querySelector('.nbv-tiles')).getPropertyValue('--nbv-tile'));
            return [...document.querySelectorAll('.nbv-tile')].map((tile) => {
                const box = tile.getBoundingClientRect();
                return [box.left - canvas.left, box.top - canvas.top, box.width, height].map((v) => Math.round(v * ratio));
            });
        }"""
    )


# Maps.


def test_a_click_on_a_map_tells_its_own_row_and_column(sheet):
    for view, x, y in ((1, 0.55, 0.55), (2, 0.01, 0.99), (2, 0.99, 0.01)):
        surface = sheet.page.locator(".nbv-frame .nbv-canvas").nth(view)
        box = surface.bounding_box()
        surface.click(position={"x": x * box["width"], "y": y * box["height"]})
    assert heard(sheet) == [
        {"type": "pixel", "row": 2, "column": 3},
        {"type": "pixel", "row": 3, "column": 0},
        {"type": "pixel", "row": 0, "column": 6},
    ]


def test_a_click_on_the_picture_or_where_no_map_is_says_nothing(sheet):
    sheet.page.locator(".nbv-frame .nbv-canvas").nth(0).click()
    sheet.run("maps.show_picture(picture)")
    rest(sheet)
    sheet.page.locator(".nbv-frame .nbv-canvas").nth(2).click()
    assert heard(sheet) == []
    sheet.run("maps.show_map(values, Scale.of(values), 'inferno')")
    rest(sheet)


def pixels_of_maps(sheet):
    """The picture, the overlay and the map, as they are painted."""
    return [drawn(sheet, ".nbv-frame .nbv-canvas > canvas", view)[..., :3] for view in range(3)]


@pytest.fixture
def plain(sheet):
    """Maps as they are at first, and again afterwards."""
    first = "maps.set_trait('{}', {!r})"
    traits = {"opacity": 0.7, "threshold": 0.0, "contours": False, "compare": "overlay", "split": 0.5}
    traits["colours"] = "inferno"
    yield
    sheet.run("; ".join(first.format(*item) for item in traits.items()))
    sheet.page.locator(".nbv-share").click()
    sheet.page.mouse.move(0, 0)
    rest(sheet)


def view(sheet, at):
    """A view of the map, in sight."""
    box = sheet.page.locator(".nbv-frame .nbv-canvas").nth(at)
    box.scroll_into_view_if_needed()
    return box


def test_a_drag_paints_with_the_display_and_tells_the_kernel_at_its_end(sheet, plain):
    page = sheet.page
    for label in ("Opacity", "Threshold"):
        slider = page.locator(f".nbv-controls label:has-text('{label}') input")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        before = pixels_of_maps(sheet)[1]
        page.evaluate(
            """() => {
                const put = CanvasRenderingContext2D.prototype.putImageData;
                window.paints = new Set(); window.frames_ = 0; window.dragging = true;
                CanvasRenderingContext2D.prototype.putImageData = function (...all) {
                    window.paints.add(window.frames_); return put.apply(this, all);
                };
                window.restore = () => { CanvasRenderingContext2D.prototype.putImageData = put; window.dragging = false; };
                const count = () => { window.frames_++; if (window.dragging) requestAnimationFrame(count); };
                count();
            }"""
        )
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 5, y)
        page.mouse.down()
        pause_of_a_hand(page, 100)
        sent, frames, paints = sheet.sent, page.evaluate("frames_"), page.evaluate("paints.size")
        for step in range(60):
            page.mouse.move(box["x"] + 5 + step * (box["width"] - 10) / 60, y)
            pause_of_a_hand(page, 10)
        assert sheet.sent == sent, "nothing until the mouse is let go"
        frames, paints = page.evaluate("frames_") - frames, page.evaluate("paints.size") - paints
        print(f"{label}: {paints} paintings in {frames} frames of the display")
        assert paints > 0.6 * min(frames, 60)
        page.mouse.up()
        page.evaluate("restore()")
        rest(sheet)
        assert sheet.kernel(f"maps.{label.lower()}") > 0.9
        assert np.abs(pixels_of_maps(sheet)[1] - before).max() > 8


def test_contour_lines_are_drawn_on_the_overlay_and_the_map_alone(sheet, plain):
    before = pixels_of_maps(sheet)
    sheet.page.get_by_label("Contours").check()
    rest(sheet)
    differences = [np.abs(b - a).max(2) > 8 for a, b in zip(before, pixels_of_maps(sheet), strict=True)]
    assert not differences[0].any()
    for changed in differences[1:]:
        assert 0.01 < changed.mean() < 0.2
    # The map rises from top to bottom: each of the three lines runs once over the whole width.
    assert differences[2].any(0).all()
    assert sheet.kernel("maps.contours")


def test_python_exports_the_very_pixels_that_are_seen(sheet, plain):
    """Signed and unsigned, coarse and fine, with every setting: within 2 of 255."""
    sheet.run(
        "import io, numpy as np\n"
        "from nbcnnviz.render import default_for, overlay\n"
        "def fine(signed):\n"
        "    y, x = torch.meshgrid(torch.arange(90.), torch.arange(70.), indexing='ij')\n"
        "    wave = torch.sin(x / 9) * torch.cos(y / 13)\n"
        "    return wave if signed else wave.abs()\n"
    )
    sheet.run("was = maps.colours")
    for map_ in ("values", "values - 5", "fine(False)", "fine(True)"):
        sheet.run(
            f"map_ = ({map_}).float(); maps.show_map(map_, Scale.to_show(map_), default_for(bool((map_ < 0).any())))"
        )
        for look in (
            {"contours": True},
            {"opacity": 0.3, "threshold": 0.4},
            {"contours": True, "threshold": 0.2, "split": 0.37, "opacity": 1.0},
        ):
            look = {"opacity": 0.7, "threshold": 0.0, "contours": False, **look}
            sheet.run(f"maps.set_trait('compare', {'split' if 'split' in look else 'overlay'!r})")
            sheet.run(f"look = {look}\nfor name, value in look.items(): setattr(maps, name, value)")
            rest(sheet)
            shown = pixels_of_maps(sheet)[1]
            sheet.run("made = overlay(Image.open(io.BytesIO(maps.picture)), map_[None], colours=maps.colours, **look)")
            made = np.array(sheet.kernel("np.asarray(made).tolist()"), np.int16)
            assert np.abs(shown - made).max() <= 2, (map_, look)
    sheet.run("maps.show_map(values, Scale.of(values), was)")


def test_a_split_shows_the_picture_on_its_left_and_moves_by_mouse_and_keys(sheet, plain):
    picture, overlay, _ = pixels_of_maps(sheet)
    sheet.page.get_by_label("Compare").select_option("split")
    rest(sheet)

    def expect_split(at):
        _, shown, _ = pixels_of_maps(sheet)
        column = round(at * 224)
        assert (shown[:, :column] == picture[:, :column]).all()
        assert (shown[:, column:] == overlay[:, column:]).all()

    expect_split(0.5)
    divider = sheet.page.get_by_role("slider", name="picture ends")
    stage = view(sheet, 1).bounding_box()
    y = stage["y"] + 20
    sheet.page.mouse.move(stage["x"] + stage["width"] / 2, y)
    sheet.page.mouse.down()
    sent = sheet.sent
    for step in range(10):
        sheet.page.mouse.move(stage["x"] + stage["width"] * (0.5 - 0.025 * (step + 1)), y)
    rest(sheet)
    assert sheet.sent == sent
    sheet.page.mouse.up()
    rest(sheet)
    assert sheet.kernel("maps.split") == pytest.approx(0.25, abs=0.01)
    expect_split(sheet.kernel("maps.split"))
    divider.focus()
    sheet.page.keyboard.press("Home")
    rest(sheet)
    expect_split(0)
    assert heard(sheet) == []


def test_blinking_shows_picture_and_overlay_in_turns_but_not_to_who_wants_less_motion(sheet, plain):
    picture, overlay, _ = pixels_of_maps(sheet)
    count = """() => new Promise((resolve) => {
        const canvas = document.querySelectorAll('.nbv-frame .nbv-canvas > canvas')[1];
        const seen = new Set();
        const look = setInterval(() => seen.add(canvas.toDataURL()), 50);
        setTimeout(() => { clearInterval(look); resolve(seen.size); }, 1700);
    })"""
    try:
        for motion, states in (("no-preference", 2), ("reduce", 1)):
            sheet.page.emulate_media(reduced_motion=motion)
            sheet.run("maps.compare = 'overlay'; maps.compare = 'blink'")
            rest(sheet)
            assert sheet.page.evaluate(count) == states, motion
        sheet.page.get_by_role("button", name="Flip").click()
        rest(sheet)
        assert (pixels_of_maps(sheet)[1] == picture).all()
        sheet.page.keyboard.press("b")
        rest(sheet)
        assert (pixels_of_maps(sheet)[1] == overlay).all()
    finally:
        sheet.page.emulate_media(reduced_motion="no-preference")


def scales(sheet):
    return sheet.page.eval_on_selector_all(
        ".nbv-frame .nbv-canvas > canvas",
        "(all) => all.map((e) => new DOMMatrix(getComputedStyle(e).transform)).map((m) => [m.a, m.e, m.f])",
    )


def test_the_wheel_zooms_with_ctrl_in_all_views_and_scrolls_the_page_without(sheet, plain):
    box = view(sheet, 2).bounding_box()
    sheet.page.mouse.move(box["x"] + box["width"] * 0.93, box["y"] + box["height"] * 0.9)
    sheet.page.mouse.wheel(0, -10)
    rest(sheet)
    assert [scale for scale, *_ in scales(sheet)] == [1, 1, 1]
    box = view(sheet, 2).bounding_box()
    sheet.page.mouse.move(box["x"] + box["width"] * 0.93, box["y"] + box["height"] * 0.9)
    sent = sheet.sent
    sheet.page.keyboard.down("Control")
    sheet.page.mouse.wheel(0, -300)
    sheet.page.keyboard.up("Control")
    rest(sheet)
    zoomed = scales(sheet)
    assert zoomed[0][0] > 2
    assert zoomed[0] == zoomed[1] == zoomed[2]
    assert "row 3" not in sheet.page.locator(".nbv-frame .nbv-readout").inner_text()
    assert sheet.sent == sent
    # What was under the cursor still is: the last row and column of the map.
    sheet.page.mouse.down()
    sheet.page.mouse.up()
    assert heard(sheet) == [{"type": "pixel", "row": 3, "column": 6}]


def test_a_drag_pans_all_views_and_chooses_nothing_and_a_double_click_shows_all(sheet, plain):
    sheet.page.get_by_role("button", name="Zoom in").click()
    sheet.page.get_by_role("button", name="Zoom in").click()
    before = scales(sheet)
    box = view(sheet, 1).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    sheet.page.mouse.move(x, y)
    sheet.page.mouse.down()
    sheet.page.mouse.move(x + 30, y + 10)
    sheet.page.mouse.move(x + 40, y + 20)
    sheet.page.mouse.up()
    rest(sheet)
    after = scales(sheet)
    for (scale, left, top), (scale_after, left_after, top_after) in zip(before, after, strict=True):
        assert scale == scale_after == pytest.approx(2.25)
        assert left_after - left == pytest.approx(40, abs=1)
        assert top_after - top == pytest.approx(20, abs=1)
    assert heard(sheet) == []
    sheet.page.mouse.dblclick(x, y)
    rest(sheet)
    assert [scale for scale, *_ in scales(sheet)] == [1, 1, 1]


def test_the_map_is_read_and_a_place_chosen_by_keys(sheet, plain):
    page = sheet.page
    page.locator(".nbv-views").focus()
    page.keyboard.press("ArrowDown")  # shows where one is: the middle
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    readout = page.locator(".nbv-frame .nbv-readout")
    place, _, value = readout.inner_text().rpartition(" ")
    assert place == "x 48  y 28  value"
    assert float(value) == pytest.approx(1, abs=27 / 255)  # it travels as a byte
    assert readout.get_attribute("aria-live") == "polite"
    cell = page.locator(".nbv-cell").nth(2).bounding_box()
    box = view(sheet, 2).bounding_box()
    assert cell["x"] - box["x"] == pytest.approx(box["width"] / 7, abs=1)
    assert cell["height"] == pytest.approx(box["height"] / 4, abs=1)
    page.keyboard.press("Enter")
    assert heard(sheet) == [{"type": "pixel", "row": 0, "column": 1}]


def test_keys_change_the_settings_and_are_saved_when_they_rest(sheet, plain):
    sheet.page.locator(".nbv-views").focus()
    for key in ("O", "O", "t", "c", "l"):
        sheet.page.keyboard.press(key)
    settings = "[maps.opacity, maps.threshold, maps.colours, maps.contours]"
    sheet.until(lambda: sheet.kernel(settings) == [0.5, 0.05, "viridis", True])


def test_the_keys_are_listed_and_escape_closes_the_list_alone(sheet):
    page = sheet.page
    sheet.run("status.tell('at work', 1, 4)")
    page.locator(".nbv-views").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    dialog.wait_for()
    text = dialog.inner_text()
    for said in ("opacity", "threshold", "colours", "contour", "compare", "flip", "zoom", "full screen", "save"):
        assert said in text
    page.keyboard.press("o")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.className").startswith("nbv-views")
    assert heard(sheet) == []
    assert sheet.kernel("maps.opacity") == 0.7
    sheet.run("status.finish()")


def test_tab_goes_through_the_frame_and_on(sheet):
    page = sheet.page
    page.get_by_role("button", name="Zoom out").focus()
    stops = []
    for _ in range(12):
        stops.append(
            page.evaluate(
                "(document.activeElement.getAttribute('aria-label') || document.activeElement.closest('label')?.innerText "
                "|| document.activeElement.innerText).trim()"
            )
        )
        page.keyboard.press("Tab")
    assert stops[3:5] == ["Full screen", "Keys"]
    assert stops[5] == "Grad-CAM of tabby"
    assert [stop.split()[0] for stop in stops[6:11]] == ["Colours", "Opacity", "Threshold", "Compare", "Contours"]
    assert stops[11] == "Full screen", "the next frame's"


def test_what_is_shown_is_saved_as_png_and_svg(sheet, tmp_path):
    page = sheet.page
    for selector, key, title in (
        (".nbv-views", "p", "Grad-CAM-of-tabby.png"),
        (".nbv-tiles", "P", "40-filters-of-layer3.svg"),
    ):
        page.locator(selector).first.focus()
        with page.expect_download() as download:
            page.keyboard.press(key)
        assert download.value.suggested_filename == title
        download.value.save_as(tmp_path / title)
    saved = np.asarray(Image.open(tmp_path / "Grad-CAM-of-tabby.png").convert("RGB"), np.int16)
    _, _, shown = pixels_of_maps(sheet)
    # The map is the last of three, 336 wide at twice the resolution, below caption and title.
    left, top = 2 * (16 + 2 * (336 + 12)), 2 * (16 + 24 + 20)
    map_ = Image.fromarray(saved[top : top + 672, left : left + 672].astype(np.uint8)).resize((224, 224), Image.BOX)
    assert np.abs(np.asarray(map_, np.int16) - shown)[2:-2, 2:-2].max() <= 10
    svg = xml.etree.ElementTree.parse(tmp_path / "40-filters-of-layer3.svg").getroot()
    texts = ["".join(node.itertext()) for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "40 filters of layer3"
    assert set(texts) >= {str(i) for i in range(100, 140)}
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}image"))) == 2  # the tiles and the colour bar


def test_a_frame_fills_the_screen_and_comes_back(sheet):
    page = sheet.page
    before = view(sheet, 0).bounding_box()
    for selector in (".nbv-views", ".nbv-tiles"):
        page.locator(selector).first.focus()
        page.keyboard.press("f")
        page.wait_for_function("document.fullscreenElement !== null")
        rest(sheet)
        assert page.evaluate(f"document.fullscreenElement.contains(document.querySelector('{selector}'))")
        page.keyboard.press("f")
        page.wait_for_function("document.fullscreenElement === null")
        rest(sheet)
    assert view(sheet, 0).bounding_box()["width"] == before["width"]


# Status.


def test_escape_anywhere_in_the_explorer_stops_what_runs_and_only_that(sheet):
    button = sheet.page.get_by_role("button", name="outside")
    for running, expected in ((False, []), (True, [{"type": "stop"}])):
        sheet.run("status.tell('at work', 1, 4)" if running else "status.finish()")
        rest(sheet)
        button.focus()
        sheet.page.keyboard.press("Escape")
        assert heard(sheet) == expected
    sheet.page.locator(".jp-Cell-inputArea .cm-content").first.focus()
    sheet.page.keyboard.press("Escape")
    assert heard(sheet) == [{"type": "stop"}]
    sheet.run("status.finish()")


def test_an_error_is_said_as_an_alert(sheet):
    sheet.run("status.error = 'no <b>such</b> layer'")
    alert = sheet.page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text() == "no <b>such</b> layer"
    sheet.run("status.error = ''")
    alert.wait_for(state="hidden")


# Tiles.


def test_each_tile_is_drawn_under_its_option_in_the_colours_of_python(sheet):
    canvas = drawn(sheet, ".nbv-grid canvas")
    grid = np.array(sheet.kernel("grid.nan_to_num(0).tolist()"), np.float32)
    scale = Scale(*sheet.kernel("[tiles.lows[0], tiles.highs[0]]"))
    for at, (x, y, width, height) in enumerate(layout(sheet)):
        expected = coloured(torch.tensor(grid[at]), scale, "RdBu_r")
        rows = ((np.arange(height) + 0.5) * 14 / height).astype(int)
        columns = ((np.arange(width) + 0.5) * 14 / width).astype(int)
        shown = canvas[y : y + height, x : x + width, :3]
        assert (shown == expected[rows][:, columns]).all(), at


def test_as_many_tiles_a_row_as_there_is_room_and_all_of_them_on_the_canvas(sheet):
    try:
        for width in (700, 1600):
            sheet.page.set_viewport_size({"width": width, "height": 1000})
            rest(sheet)
            places = layout(sheet)
            columns = sum(top == places[0][1] for _, top, *_ in places)
            room = sheet.page.locator(".nbv-scroll").evaluate("(e) => e.clientWidth")
            step = places[1][0] - places[0][0]
            assert columns == (room - 8 + 8) // step
            canvas = drawn(sheet, ".nbv-grid canvas")
            x, y, w, h = places[-1]
            assert x + w <= canvas.shape[1]
            assert y + h <= canvas.shape[0]
            assert canvas[y : y + h, x : x + w, 3].min() == 255
    finally:
        sheet.page.set_viewport_size({"width": 1600, "height": 1000})
        rest(sheet)


def test_a_click_on_a_tile_chooses_what_it_stands_for(sheet):
    tile(sheet, 7).click()
    assert heard(sheet) == [{"type": "choose", "index": 107}]


def test_the_chosen_tile_follows_the_kernel(sheet):
    for chosen, expected in ((110, ["110"]), (-1, [])):
        sheet.run(f"tiles.chosen = {chosen}")
        rest(sheet)
        assert sheet.page.locator(".nbv-tile[aria-selected=true]").all_inner_texts() == expected


def test_a_chosen_tile_comes_into_sight_while_the_page_stays(sheet):
    sheet.page.set_viewport_size({"width": 700, "height": 1000})  # all forty have no room
    try:
        sheet.page.get_by_role("button", name="outside").focus()
        rest(sheet)
        top = sheet.page.locator(".nbv-scroll").bounding_box()["y"]
        for chosen in (139, 100):
            sheet.run(f"tiles.chosen = {chosen}")
            rest(sheet)
            inner, outer = tile(sheet, chosen - 100).bounding_box(), sheet.page.locator(".nbv-scroll").bounding_box()
            assert outer["y"] <= inner["y"]
            assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
            assert outer["y"] == top
    finally:
        sheet.page.set_viewport_size({"width": 1600, "height": 1000})
        rest(sheet)


def test_keys_walk_over_the_tiles_and_choose_one(sheet):
    sheet.run("tiles.chosen = 100")
    rest(sheet)
    places = layout(sheet)
    columns = sum(top == places[0][1] for _, top, *_ in places)
    grid = sheet.page.locator(".nbv-tiles")
    grid.focus()
    last = 39
    for key, to in (
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowLeft", columns),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", last),
        ("ArrowRight", last),
        ("Home", 0),
        ("PageDown", last - (last % columns)),
        ("PageUp", 0),
    ):
        sheet.page.keyboard.press(key)
        at = grid.evaluate("(e) => [...e.children].findIndex((o) => o.id === e.getAttribute('aria-activedescendant'))")
        assert at == to, key
    sheet.page.keyboard.press("ArrowRight")
    sheet.page.keyboard.press("Enter")
    sheet.page.keyboard.press("ArrowRight")
    sheet.page.keyboard.press("Space")
    assert heard(sheet) == [{"type": "choose", "index": 101}, {"type": "choose", "index": 102}]


def test_tiles_are_one_tab_stop_and_jupyterlab_takes_none_of_their_keys(sheet):
    cells = "window.jupyterapp.shell.currentWidget.content.widgets.length"
    before = sheet.page.evaluate(cells)
    sheet.page.locator(".nbv-tiles").focus()
    for key in "abmyxd":  # cells above and below, Markdown, code, cut, delete
        sheet.page.keyboard.press(key)
    assert sheet.page.evaluate(cells) == before
    sheet.page.keyboard.press("Tab")
    assert sheet.page.evaluate("document.activeElement.closest('.nbv-tiles') === null")
    sheet.page.keyboard.press("Shift+Tab")
    assert sheet.page.evaluate("document.activeElement.className") == "nbv-tiles"


def test_the_value_under_the_cursor_is_told_with_its_tile(sheet):
    width = tile(sheet, 2).bounding_box()["width"]
    tile(sheet, 2).hover(position={"x": 0.5 * width / 14, "y": 2.5 * width / 14})
    rest(sheet)
    text = sheet.page.locator(".nbv-tileframe .nbv-readout").inner_text()
    assert text.startswith("filter 102   row 2  column 0  value ")
    assert float(text.split()[-1]) == pytest.approx(sheet.kernel("float(grid[2, 2, 0])"), abs=0.03)


def test_a_tile_with_broken_values_says_so(sheet):
    assert tile(sheet, 3).get_attribute("title") == "filter 103: 1 value is NaN or infinite"
    assert sheet.page.locator(".nbv-broken").count() == 1


def test_tiles_on_scales_of_their_own_have_no_colour_bar_but_values(sheet):
    sheet.run(
        "show(grid[:5].nan_to_num(0) * torch.tensor([1., 10, 100, 1000, 0]).view(5, 1, 1), per_tile=True, first=0)"
    )
    rest(sheet)
    assert sheet.page.locator(".nbv-tile").count() == 5
    assert not sheet.page.locator(".nbv-tileframe .nbv-colourbar").is_visible()
    assert "scale of its own" in sheet.page.locator(".nbv-own").inner_text()
    tile(sheet, 2).hover(position={"x": 2, "y": 2})
    rest(sheet)
    text = sheet.page.locator(".nbv-tileframe .nbv-readout").inner_text()
    assert float(text.split()[-1]) == pytest.approx(sheet.kernel("100 * float(grid[2, 0, 0])"), abs=3)
    sheet.run("show(grid)")
    rest(sheet)
    assert sheet.page.locator(".nbv-tileframe .nbv-colourbar").is_visible()


def test_colour_tiles_show_their_own_colours_and_read_three_values(sheet):
    sheet.run(
        "pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 3, 3), np.uint8)\n"
        "tiles.show_colour(pixels, Scale(-1, 1), [Tile(i, str(i)) for i in range(6)], 'kernels')"
    )
    rest(sheet)
    canvas = drawn(sheet, ".nbv-grid canvas")
    pixels = np.array(sheet.kernel("pixels.tolist()"))
    for at, (x, y, width, height) in enumerate(layout(sheet)):
        middle = canvas[y + height // 2, x + width // 2, :3]
        assert (middle == pixels[at, 1, 1]).all()
    assert not sheet.page.locator(".nbv-tileframe select").is_visible()
    tile(sheet, 4).hover(position={"x": 32, "y": 32})
    rest(sheet)
    read = sheet.page.locator(".nbv-tileframe .nbv-readout").inner_text().split("value ")[1].split()
    assert [float(v) for v in read] == pytest.approx((pixels[4, 1, 1] / 127.5 - 1).tolist(), abs=0.01)
    sheet.run("show(grid)")
    rest(sheet)


def test_two_views_of_one_grid_agree_on_its_columns(sheet):
    sheet.run("from IPython.display import display\nnarrow = w.Box([tiles], layout=w.Layout(width='400px'))")
    sheet.run("box.children = (*box.children, narrow)")
    sheet.page.wait_for_function("document.querySelectorAll('.nbv-tileframe canvas').length > 3")
    rest(sheet)
    columns = sheet.page.eval_on_selector_all(".nbv-tiles", "(all) => all.map((e) => e.style.gridTemplateColumns)")
    assert len(columns) == 2
    assert columns[0] == columns[1] == "repeat(5, 70px)"
    sheet.run("box.children = box.children[:-1]")
    rest(sheet)
    assert sheet.page.locator(".nbv-tiles").first.evaluate("(e) => e.style.gridTemplateColumns") != columns[0]


# Pictures.


def photographs(sheet, count):
    sheet.run(
        "def plain(colour, size=64):\n    return Image.new('RGB', (size, size), colour)\n"
        "colours = ['red', 'lime', 'blue', 'white', 'black']\n"
        f"row.show([plain(c) for c in colours[:{count}]], colours[:{count}], 'plain')"
    )
    rest(sheet)


@pytest.mark.parametrize("count", [1, 4, 2, 0, 3])
def test_as_many_pictures_are_shown_as_there_are(sheet, count):
    photographs(sheet, count)
    assert sheet.page.locator(".nbv-picture").count() == count
    expected = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    for at in range(count):
        assert np.abs(drawn(sheet, ".nbv-picture canvas", at)[32, 32, :3] - expected[at]).max() < 6
    if count == 1:
        assert sheet.page.locator(".nbv-picture").bounding_box()["width"] == pytest.approx(448, abs=1)


def test_a_picture_is_chosen_by_click_and_by_keys(sheet):
    photographs(sheet, 3)
    sheet.page.locator(".nbv-picture").nth(1).click()
    sheet.page.keyboard.press("ArrowRight")
    sheet.page.keyboard.press("Enter")
    assert heard(sheet) == [{"type": "choose", "at": 1}, {"type": "choose", "at": 2}]
    sheet.run("row.chosen = 2")
    rest(sheet)
    assert sheet.page.locator(".nbv-picture[aria-selected=true]").inner_text() == "blue"


def test_pictures_that_cannot_be_chosen_are_images_with_names(sheet):
    sheet.run("row.choosable = False")
    photographs(sheet, 2)
    assert sheet.page.get_by_role("img", name="lime").count() == 1
    assert sheet.page.locator(".nbv-pictures [role=option]").count() == 0
    sheet.page.locator(".nbv-picture").nth(0).click()
    assert heard(sheet) == []
    sheet.run("row.choosable = True")


def test_live_pictures_end_on_the_newest(sheet):
    sheet.run(
        "import time\n"
        "for step in range(120):\n"
        "    row.show([plain((2 * step, 0, 255 - 2 * step), 224)], [f'step {step}'])\n"
        "    time.sleep(0.005)"
    )
    rest(sheet)
    assert sheet.page.locator(".nbv-title").inner_text() == "step 119"
    assert np.abs(drawn(sheet, ".nbv-picture canvas")[100, 100, :3] - [238, 0, 17]).max() < 8


def test_a_broken_picture_leaves_the_others_and_what_comes_next(sheet):
    photographs(sheet, 2)
    sheet.run("row.pictures = [b'no picture', row.pictures[0]]")
    rest(sheet)
    assert np.abs(drawn(sheet, ".nbv-picture canvas", 1)[32, 32, :3] - [255, 0, 0]).max() < 6
    photographs(sheet, 3)
    assert np.abs(drawn(sheet, ".nbv-picture canvas", 2)[32, 32, :3] - [0, 0, 255]).max() < 6


# All of them.


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("split", [False, True], ids=["overlay", "split"])
def test_axe_finds_nothing(sheet, dark, split):
    axe = ROOT / "js" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed: run npm ci in js/")
    photographs(sheet, 3)
    sheet.theme(dark)
    sheet.run(f"maps.compare = {'split' if split else 'overlay'!r}; status.tell('at work', 1, 2); status.error = 'no'")
    rest(sheet)
    try:
        sheet.page.evaluate(axe.read_text())
        found = sheet.page.evaluate(
            """async () => {
                const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
                const all = await axe.run('.nbv', {runOnly: rules});
                return all.violations.map((v) => [v.id, v.help, v.nodes.map((n) => n.html + n.failureSummary)]);
            }"""
        )
    finally:
        sheet.run("maps.compare = 'overlay'; status.finish(); status.error = ''")
        sheet.theme(False)
    assert found == []


def test_the_chosen_tile_can_be_seen_in_forced_colours(sheet, artifacts):
    sheet.run("tiles.chosen = 105")
    try:
        sheet.page.emulate_media(forced_colors="active")
        rest(sheet)
        border = tile(sheet, 5).evaluate("(e) => getComputedStyle(e, '::before').border")
        assert border.startswith("3px solid")
        sheet.page.screenshot(path=artifacts / "frames-forced-colours.png")
    finally:
        sheet.page.emulate_media(forced_colors="none")


@pytest.mark.parametrize("width", [700, 900, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_frames_fit_the_page(sheet, artifacts, width, dark):
    photographs(sheet, 3)
    sheet.theme(dark)
    sheet.page.set_viewport_size({"width": width, "height": 1700})
    try:
        sheet.hide_sidebar()
        rest(sheet)
        sheet.page.screenshot(path=artifacts / f"frames-{width}-{'dark' if dark else 'light'}.png")
        for part in sheet.page.locator(".nbv-frame, .nbv-tileframe, .nbv-pictures, .nbv-tools, .nbv-controls").all():
            box = part.bounding_box()
            assert box["x"] + box["width"] <= width
            assert part.evaluate("(e) => e.scrollWidth <= e.clientWidth + 1")
    finally:
        sheet.page.set_viewport_size({"width": 1600, "height": 1000})
        sheet.theme(False)


def heap(page):
    """Bytes of the JavaScript heap in use, after garbage was collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used


def test_the_heap_stays_flat_over_live_pictures(sheet):
    page = sheet.page
    page.evaluate(
        """() => {
            const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
            window.urls = 0;
            URL.createObjectURL = (...all) => { window.urls++; return make.apply(URL, all); };
            URL.revokeObjectURL = (...all) => { window.urls--; return revoke.apply(URL, all); };
        }"""
    )
    live = (
        "lots = [plain((i, 90, 200), 128) for i in range(50)]\n"
        "for step in range({}):\n"
        "    row.show([lots[step % 50]], ['live']); time.sleep(0.004)"
    )
    sheet.run("import time")
    sheet.run(live.format(200))
    rest(sheet)
    before = heap(page)
    sheet.run(live.format(2000))
    rest(sheet)
    grown = (heap(page) - before) / 1e6
    print(f"2000 messages of a picture: the heap grew by {grown:.2f} MB, {page.evaluate('urls')} blob URLs are left")
    assert grown < 3
    assert page.evaluate("urls") == 0


def test_all_is_drawn_again_after_a_reload(sheet):
    photographs(sheet, 2)
    canvases = [(".nbv-frame .nbv-canvas > canvas", 1), (".nbv-grid canvas", 0), (".nbv-picture canvas", 1)]
    before = [drawn(sheet, *canvas) for canvas in canvases]
    sheet.save()
    sheet.page.reload()
    sheet.page.wait_for_selector(".nbv-pictures canvas", timeout=90_000)
    sheet.hide_sidebar()
    rest(sheet)
    for canvas, pixels in zip(canvases, before, strict=True):
        after = drawn(sheet, *canvas)
        assert after.shape == pixels.shape
        assert np.abs(after - pixels).max() <= 2


def test_what_was_drawn_stays_and_says_so_when_its_kernel_is_gone(sheet):
    before = pixels_of_maps(sheet)
    sheet.page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()")
    sheet.page.wait_for_selector(".nbv .jupyter-widgets-disconnected", timeout=30_000)
    rest(sheet)
    assert all((a == b).all() for a, b in zip(before, pixels_of_maps(sheet), strict=True))
    said = sheet.page.locator(".nbv-caption").evaluate("(e) => getComputedStyle(e, '::after').content")
    assert "kernel is gone" in said
    page = sheet.page
    page.get_by_label("Contours").check()  # what the browser can do by itself goes on
    rest(sheet)
    assert (pixels_of_maps(sheet)[2] != before[2]).any()


# Without JupyterLab and ipycanvas: the bundle alone, on an empty page, with a model that never finds a canvas.

BARE = """
<!doctype html><body><div id="here" style="width: 620px"></div><script type="module">
    const url = URL.createObjectURL(new Blob([BUNDLE], {type: "text/javascript"}));
    const {default: {render}} = await import(url);
    URL.revokeObjectURL(url);
    window.show = async (traits) => {
        const listeners = new Map();
        const model = {
            get: (name) => traits[name],
            set(name, value) { traits[name] = value; for (const act of listeners.get('change:' + name) ?? []) act(); },
            on: (name, act) => listeners.set(name, [...(listeners.get(name) ?? []), act]),
            off: (name, act) => listeners.set(name, (listeners.get(name) ?? []).filter((a) => a !== act)),
            send: (content) => window.sent.push(content), save_changes() {},
            widget_manager: {get_model: () => Promise.reject(new Error('no ipycanvas'))},
        };
        window.sent = [];
        const el = document.createElement('div');
        document.getElementById('here').replaceChildren(el);
        window.model = model;
        window.end = await render({model, el});
    };
    window.bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    window.ready = true;
</script>
"""


@pytest.fixture(scope="module")
def bare(browser):
    page = browser.new_page()
    static = ROOT / "nbcnnviz" / "static"
    page.set_content(BARE.replace("BUNDLE", json.dumps((static / "frame.js").read_text()).replace("</", "<\\/")))
    page.add_style_tag(path=static / "frame.css")
    page.wait_for_function("window.ready")
    yield page
    page.close()


def traits_of(widget):
    """A widget's traits as JavaScript, bytes as data views."""

    def written(value):
        if isinstance(value, bytes):
            return f"bytes('{base64.b64encode(value).decode()}')"
        if isinstance(value, list):
            return f"[{','.join(map(written, value))}]"
        return json.dumps(value)

    hidden = {"canvases", "marks", "layout", "tabbable", "tooltip", "comm"}
    traits = {name: getattr(widget, name) for name in widget.keys if name not in hidden and not name.startswith("_")}
    return f"{{canvases: ['a', 'b', 'c'], marks: null, {','.join(f'{k}: {written(v)}' for k, v in traits.items())}}}"


def test_without_ipycanvas_a_map_is_painted_all_the_same(bare):
    frame = MapFrame(caption="bare")
    picture = Image.new("RGB", (64, 48), (40, 120, 200))
    frame.show_picture(picture)
    values = torch.arange(12.0).reshape(3, 4)
    frame.show_map(values, Scale.of(values), "viridis")
    bare.evaluate(f"show({traits_of(frame)})")
    until(bare, lambda: (canvas_of(bare, ".nbv-canvas > canvas", 2)[..., 3] > 0).all())
    assert np.abs(canvas_of(bare, ".nbv-canvas > canvas", 0)[..., :3] - [40, 120, 200]).max() <= 6
    map_ = canvas_of(bare, ".nbv-canvas > canvas", 2)[..., :3]
    table = lookup_table("viridis").astype(np.int16)
    assert (map_[0, 0] == table[0]).all()
    assert (map_[-1, -1] == table[255]).all()
    bare.locator(".nbv-canvas").nth(1).click(position={"x": 5, "y": 5})
    assert bare.evaluate("sent") == [{"type": "pixel", "row": 0, "column": 0}]


def test_without_ipycanvas_tiles_are_painted_all_the_same(bare):
    frame = TileFrame()
    maps = torch.stack([torch.full((4, 4), float(i)) for i in range(11)])
    frame.show(maps, [Scale.of(maps)], [Tile(i, str(i)) for i in range(11)], "viridis")
    bare.evaluate(f"show({traits_of(frame)})")
    until(bare, lambda: (canvas_of(bare, ".nbv-grid canvas")[..., 3] > 0).any())
    canvas = canvas_of(bare, ".nbv-grid canvas")[..., :3]
    table = lookup_table("viridis").astype(np.int16)
    columns = 8  # of 64 + 8 pixels in 612
    for i in range(11):
        x, y = (i % columns) * 72 + 32, (i // columns) * (64 + 18 + 8) + 32
        assert (canvas[y, x] == table[round(25.5 * i)]).all()


def test_without_ipycanvas_thousands_of_pictures_are_shown_and_none_is_kept(bare):
    frame = PictureFrame()
    frame.show([Image.new("RGB", (224, 224), (200, 30, 40))], ["live"])
    bare.evaluate(f"show({traits_of(frame)})")
    lots = [encoded(Image.effect_noise((224, 224), 20 + i).convert("RGB")) for i in range(10)]
    lots = ",".join(f"bytes('{base64.b64encode(one).decode()}')" for one in lots)
    live = """async (n) => {
        let painted = 0;
        const draw = CanvasRenderingContext2D.prototype.drawImage;
        CanvasRenderingContext2D.prototype.drawImage = function (...all) { painted++; return draw.apply(this, all); };
        const began = performance.now();
        for (let i = 0; i < n; i++) {
            model.set('pictures', [lots[i % 10]]);
            if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve));
        }
        CanvasRenderingContext2D.prototype.drawImage = draw;
        return [painted, performance.now() - began];
    }"""
    bare.evaluate(f"() => {{ window.lots = [{lots}]; }}")
    bare.evaluate(live, 300)
    before = heap(bare)
    painted, took = bare.evaluate(live, 5000)
    grown = (heap(bare) - before) / 1e6
    print(f"5000 messages in {took / 1000:.1f} s, {painted} painted: the heap grew by {grown:.2f} MB")
    assert painted > 200
    assert grown < 1
    assert bare.locator(".nbv-picture canvas").count() == 1


def test_a_view_that_ends_stops_listening(bare):
    frame = MapFrame(compare="blink")
    frame.show_picture(Image.new("RGB", (8, 8)))
    bare.evaluate(f"show({traits_of(frame)})")
    bare.evaluate("end()")
    bare.evaluate("model.set('opacity', 0.1)")
    nothing_happens_for(bare, 900)
