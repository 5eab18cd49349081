"""What stands beside the panels: the layer map, pictures that come in, undo and what is taken away."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

import nbcnnviz as nv

from .lab import nothing_happens_for

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore()
ex
"""

GIVE = """([name, encoded, kind]) => {
    const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type: 'image/png'}));
    const at = document.querySelector('.nbcnnviz .nbv-frame');
    const init = {bubbles: true, cancelable: true};
    const event = kind === 'paste'
        ? new ClipboardEvent('paste', {...init, clipboardData: data})
        : new DragEvent(kind, {...init, dataTransfer: data});
    at.dispatchEvent(event);
    return event.defaultPrevented;
}"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def pixels(sheet, view=0):
    return np.array(sheet.pixels(view), np.int16)


def encoded(name: str) -> str:
    file = io.BytesIO()
    Image.fromarray(np.asarray(nv.load_image(name))).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def layer(sheet, name: str):
    return sheet.page.locator(f".nbv-layer[title^='{name},'], .nbv-layer[title='{name}']")


def test_a_click_on_the_layer_map_chooses_the_layer(sheet):
    before = pixels(sheet, 2)
    layer(sheet, "blocks.3").click()
    sheet.settle()
    assert sheet.kernel("ex.selection.layer") == "blocks.3"
    assert "blocks.3" in sheet.caption()
    assert (pixels(sheet, 2) != before).any()
    assert layer(sheet, "blocks.3").get_attribute("aria-selected") == "true"


def test_arrow_keys_walk_the_layer_map_and_enter_chooses(sheet):
    tree = sheet.page.locator(".nbv-layers")
    tree.focus()
    cells = sheet.page.locator(".jp-Cell.jp-mod-selected").count()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        sheet.page.keyboard.press(key)
    sheet.settle()
    assert sheet.kernel("ex.selection.layer") == "blocks.3.0"
    assert sheet.page.locator(".jp-Cell.jp-mod-selected").count() == cells, "the notebook took no key"
    sheet.page.keyboard.press("Tab")
    assert not tree.evaluate("e => e.contains(document.activeElement)")


def test_a_search_finds_a_layer_that_is_hidden(sheet):
    search = sheet.page.locator(".nbv-depth input[type=search]")
    search.fill("blocks.5.2.conv_dw")
    layer(sheet, "blocks.5.2.conv_dw").click()
    sheet.settle()
    assert sheet.kernel("ex.selection.layer") == "blocks.5.2.conv_dw"
    search.fill("")
    assert layer(sheet, "blocks.5.2.conv_dw").is_visible(), "where it is, is open"


def test_the_layer_map_follows_the_strip(sheet):
    sheet.run("ex.selection.layer = 'blocks.0'")
    sheet.settle()
    while sheet.kernel("ex.selection.layer") != "blocks.1":
        sheet.control("Depth").press("ArrowRight")
        sheet.settle()
    sheet.settle()
    assert layer(sheet, "blocks.1").get_attribute("aria-selected") == "true"


def test_a_thumbnail_chooses_a_sample(sheet):
    before = pixels(sheet)
    sheet.page.locator(".nbv-strip [title=coffee]").click()
    sheet.settle()
    assert sheet.kernel("ex.selection.source") == "coffee"
    assert (pixels(sheet) != before).any()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted_anywhere_on_the_explorer(sheet, kind):
    sheet.page.locator(".nbv-strip [title=chelsea]").click()
    sheet.settle()
    name = {"drop": "rocket", "paste": "camera"}[kind]
    assert sheet.page.evaluate(GIVE, [f"{name}.png", encoded(name), kind])
    sheet.until(lambda: sheet.kernel("ex.selection.source") == f"{name}.png")
    sheet.settle()
    expected = nv.load_network().trace(name).pictures[0]
    assert np.abs(pixels(sheet).reshape(224, 224, 4)[..., :3] - np.asarray(expected, np.int16)).mean() < 4


def test_what_is_dropped_and_is_no_picture_gets_a_sentence(sheet):
    before = pixels(sheet)
    sheet.page.evaluate(GIVE, ["notes.png", base64.b64encode(b"dear diary").decode(), "drop"])
    sheet.page.wait_for_function("!document.querySelector('.nbv-error').hidden")
    assert "notes.png" in sheet.error() or "picture" in sheet.error()
    assert (pixels(sheet) == before).all()


def test_a_box_drawn_on_the_picture_crops_it(sheet):
    sheet.page.locator(".nbv-strip [title=chelsea]").click()
    sheet.settle()
    whole = pixels(sheet)
    sheet.page.get_by_role("button", name="The picture as it was given").click()
    box = sheet.steady(lambda: sheet.page.locator(".nbv-original").bounding_box())
    mouse = sheet.page.mouse
    mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.75)
    mouse.up()
    sheet.until(lambda: sheet.kernel("ex.selection.crop is not None"))
    sheet.settle()
    assert sheet.kernel("list(ex.selection.crop)") == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.02)
    assert (pixels(sheet) != whole).any()
    sheet.page.get_by_role("button", name="Whole picture").click()
    sheet.until(lambda: sheet.kernel("ex.selection.crop is None"))
    sheet.settle()
    assert (pixels(sheet) == whole).all()


def test_undo_and_redo_by_button_and_key(sheet):
    sheet.run("ex.selection.target = 281")
    sheet.settle()
    sheet.run("ex.selection.target = 282")
    sheet.settle()
    sheet.page.get_by_role("button", name="Undo").click()
    sheet.until(lambda: sheet.kernel("ex.selection.target") == 281)
    sheet.page.keyboard.press("Alt+Shift+Z")
    sheet.until(lambda: sheet.kernel("ex.selection.target") == 282)


def test_the_code_is_copied(sheet):
    sheet.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sheet.page.get_by_role("button", name="Copy code").click()
    sheet.page.wait_for_function("document.querySelector('.nbv-toolbar .nbv-message').textContent === 'Code copied'")
    assert sheet.page.evaluate("navigator.clipboard.readText()") == sheet.kernel("ex.code()")


@pytest.mark.parametrize("format_", ["PNG", "NPZ", "HTML"])
def test_what_is_shown_is_saved(sheet, tmp_path, format_):
    with sheet.page.expect_download() as download:
        sheet.page.get_by_label("Save as", exact=True).select_option(label=format_)
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    if format_ == "PNG":  # as the frame's own key saves it: with its caption, its titles and its scale
        assert path.name.startswith("Grad-CAM")
        assert Image.open(path).width > 1300
        return
    assert path.name == f"explain.{format_.lower()}"
    if format_ == "NPZ":
        assert np.load(path)["values"].shape[0] == 1
    else:
        assert "nv.attribute(" in path.read_text()


def test_the_camera_is_explained_frame_by_frame_until_it_is_stopped(sheet):
    camera = sheet.page.get_by_role("button", name="Camera")
    camera.click()
    sheet.page.wait_for_function(
        "[...document.querySelectorAll('.nbv-intake .nbv-message')].some(e => e.textContent.includes('frames a second'))",
        timeout=30_000,
    )
    first = pixels(sheet)
    sheet.until(lambda: (pixels(sheet) != first).any())
    assert sheet.kernel("ex.selection.source") == "your camera"
    strip = sheet.page.locator(".nbv-strip [aria-selected=true]")
    assert strip.get_attribute("data-name") == "your camera", "not the sample that is called camera"
    assert "camera" not in sheet.kernel("ex.code()")
    camera.click()
    sheet.settle()
    last = sheet.steady(lambda: sheet.kernel("id(ex.selection.image)"))
    nothing_happens_for(sheet.page, 500)
    assert sheet.kernel("id(ex.selection.image)") == last
    sheet.page.get_by_role("button", name="Undo").click()
    sheet.until(lambda: sheet.kernel("ex.selection.source") != "your camera")
    sheet.choose_picture("your camera")
    sheet.settle()
    assert sheet.kernel("ex.selection.source") == "your camera", "the last frame can be chosen again"
