"""The explorer as a user has it: every control is used, and the pixels are looked at."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import nbcnnviz as nv

from .lab import pause_of_a_hand

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore()
ex
"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def pixels(sheet, view, frame=0):
    return np.array(sheet.pixels(view, frame), np.int16)


def expect_change(sheet, act, view=2):
    before = pixels(sheet, view)
    act()
    sheet.settle()
    assert not sheet.error()
    after = pixels(sheet, view)
    assert before.shape != after.shape or np.abs(before - after).max() > 8


def upload(sheet, path):
    with sheet.page.expect_file_chooser() as chooser:
        sheet.page.locator(".nbv-upload").click()
    chooser.value.set_files(path)


def test_the_first_map_shows_the_picture_the_overlay_and_the_map(sheet):
    picture, overlay, map_ = (pixels(sheet, view).reshape(224, 224, 4)[..., :3] for view in range(3))
    seen = np.asarray(nv.load_network().trace("chelsea").pictures[0], np.int16)
    assert np.abs(picture - seen).mean() < 4  # the photograph travels compressed
    assert np.abs(overlay - picture).mean() > 3
    assert map_.std() > 20
    assert "cat" in sheet.caption()


def test_the_map_has_the_colours_that_python_gives_it(sheet):
    trace = nv.load_network().trace("chelsea")
    result = nv.attribute(trace, method="grad_cam")
    from nbcnnviz.render import Scale, coloured, to_bytes, upscaled

    values = result.values[0, 0]
    places = upscaled(
        nv.attribute(trace).values.new_tensor(to_bytes(values, Scale.to_show(values)))[None, None], (224, 224)
    )
    expected = coloured(places[0, 0], Scale(0, 255)).astype(np.int16)
    shown = pixels(sheet, 2).reshape(224, 224, 4)[..., :3]
    assert np.abs(shown - expected).max() <= 8  # a step of the colour table, where rounding falls otherwise
    assert np.abs(shown - expected).mean() < 0.2


def test_the_object_is_outlined_where_its_view_is_shown(sheet):
    button = sheet.page.locator(".nbv-menu button[data-view=object]")
    button.click()
    sheet.until(
        lambda: sheet.page.locator(".nbv-view[data-view=object] figcaption").inner_text().startswith("Object: its")
    )
    mask = nv.segment(nv.attribute(nv.load_network(), "chelsea", method="grad_cam"))
    drawn, plain = (np.asarray(mask.overlay(box=box), np.int16) for box in (True, False))
    lines = (drawn != np.asarray(mask.picture)).any(2)
    shown = pixels(sheet, 3).reshape(224, 224, 4)[..., :3]
    assert (shown[lines] == drawn[lines]).all(), "the outline and the box as Python draws them"
    assert (drawn != plain).any()
    assert np.abs(shown - drawn).mean() < 4  # the photograph travels compressed
    assert sheet.kernel("ex.code().splitlines()[-1]") == "mask = nv.segment(result)"
    for algorithm in ("grabcut", "random_walker"):
        sheet.page.locator(".nbv-frame .nbv-views").first.focus()
        sheet.page.keyboard.press("g")
        sheet.until(lambda algorithm=algorithm: sheet.kernel("ex.frame.cut_by") == algorithm)
    button.click()
    sheet.until(lambda: sheet.kernel("ex.frame.outlining") is False)


def test_the_standard_error_stands_in_the_maps_place_where_the_method_samples(sheet):
    face = sheet.page.get_by_role("button", name="Standard error in place of the map")
    before = sheet.kernel("ex.selection.method")
    assert face.is_hidden()
    sheet.run("ex.selection.method, ex.selection.options = 'smooth_grad', {'samples': 3}; ex.wait(60)")
    face.wait_for()
    assert not sheet.caption().startswith("Standard error")
    face.click()
    sheet.until(lambda: sheet.caption().startswith("Standard error of SmoothGrad"))
    sheet.run("from nbcnnviz.render import Scale, flat")
    assert sheet.kernel("ex.frame.high") == sheet.kernel("Scale.to_show(flat(ex.result.error)[0]).high")
    sheet.page.locator(".nbv-frame .nbv-views").first.focus()
    sheet.page.keyboard.press("e")
    sheet.until(lambda: not sheet.caption().startswith("Standard error"))
    sheet.run(f"ex.selection.method = {before!r}; ex.wait(60)")
    face.wait_for(state="hidden")


def test_a_click_on_a_bar_explains_that_class(sheet):
    second = sheet.kernel("ex.result.trace.top(2)[1][0]")
    expect_change(sheet, lambda: sheet.classes.nth(1).click())
    assert sheet.kernel("ex.selection.target") == second
    assert f"({second})" in sheet.caption()


ONE_PASS = [name for name, known in nv.methods().items() if known.passes is None]


@pytest.mark.parametrize("method", [name for name in ONE_PASS if name not in ("grad_cam", "cam")])
def test_every_method_draws_its_own_map(sheet, method):
    title = nv.methods()[method].title
    expect_change(sheet, lambda: sheet.control("Method").select_option(label=title))
    assert sheet.kernel("ex.result.method") == method
    assert sheet.caption().startswith(title)


def test_cam_and_grad_cam_differ_by_a_factor_that_the_colour_bar_shows(sheet):
    sheet.control("Method").select_option(label="CAM")
    sheet.settle()
    cam = float(sheet.page.locator(".nbv-ticks span").last.inner_text())
    sheet.control("Method").select_option(label="Grad-CAM")
    sheet.settle()
    grad_cam = float(sheet.page.locator(".nbv-ticks span").last.inner_text())
    assert cam == pytest.approx(49 * grad_cam, rel=0.02)  # 7 x 7 places


def test_a_class_is_found_by_typing_its_name(sheet):
    field = sheet.class_search

    def choose():
        field.fill("lynx")
        sheet.until(lambda: sheet.page.locator(".nbv-tally").first.inner_text() == "1 found")
        field.press("Enter")

    expect_change(sheet, choose)
    assert sheet.kernel("ex.selection.target") == 287
    assert field.input_value() == "lynx"


def test_a_class_is_found_by_its_number_and_by_part_of_its_name(sheet):
    field, names = sheet.class_search, sheet.page.locator(".nbv-classlist .nbv-name")
    field.fill("282")
    sheet.until(lambda: names.all_inner_texts() == ["tiger cat"])
    field.fill("cat")
    sheet.until(lambda: "polecat" in names.all_inner_texts())
    assert names.all_inner_texts()[:2] == ["tiger cat", "Egyptian cat"], "whole words first, the likelier one before"


def test_a_text_that_no_class_has_is_left_as_it_was_typed_and_said_to_find_nothing(sheet):
    field = sheet.class_search
    field.fill("tabbi")
    field.press("Enter")
    sheet.until(lambda: "No class has" in sheet.page.locator(".nbv-tally").first.inner_text())
    sheet.settle()
    assert not sheet.error()
    assert field.input_value() == "tabbi"
    assert sheet.kernel("ex.selection.target") == 287
    field.fill("")
    expect_change(sheet, lambda: sheet.classes.nth(2).click())


def test_the_search_and_the_strip_of_layers_choose_the_layer(sheet):
    expect_change(sheet, lambda: sheet.choose_layer("blocks.3"))
    assert sheet.kernel("list(ex.result.values.shape)") == [1, 1, 14, 14]
    sheet.control("Depth").focus()
    expect_change(sheet, lambda: [sheet.page.keyboard.press("ArrowLeft") for _ in range(3)])
    assert sheet.kernel("ex.selection.layer == ex.result.layer != 'blocks.3'")


def test_a_filter_is_explained_and_chosen_in_its_field(sheet):
    field = sheet.page.get_by_label("Filter of this layer").first

    def choose(number):
        field.fill(number)
        field.press("Enter")

    expect_change(sheet, lambda: choose("0"))
    assert sheet.kernel("ex.selection.filter") == 0
    field.focus()
    expect_change(sheet, lambda: [sheet.page.keyboard.press("ArrowUp") for _ in range(4)])
    assert sheet.kernel("ex.selection.filter") == 4
    assert "channel 4" in sheet.caption()
    expect_change(sheet, lambda: choose(""))
    assert sheet.kernel("ex.selection.filter is None")


def test_another_sample_changes_picture_map_and_predictions(sheet):
    bars = sheet.classes.all_inner_texts()
    expect_change(sheet, lambda: sheet.choose_picture("coffee"), view=0)
    sheet.run("ex.selection.target = None")
    sheet.settle()
    assert "espresso" in sheet.caption()
    assert sheet.classes.all_inner_texts() != bars


def test_an_uploaded_picture_is_explained(sheet, tmp_path):
    Image.fromarray(np.asarray(nv.load_image("camera"))).save(tmp_path / "holiday.png")

    def choose() -> None:
        upload(sheet, tmp_path / "holiday.png")
        sheet.until(lambda: sheet.kernel("ex.selection.source") == "holiday.png")

    expect_change(sheet, choose, view=0)
    assert "tripod" in sheet.caption()
    chosen = sheet.page.locator(".nbv-strip [aria-selected=true]")
    assert chosen.get_attribute("data-name") == "holiday.png"


def test_a_broken_upload_gets_a_sentence_and_the_explorer_goes_on(sheet, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    before = pixels(sheet, 0)
    upload(sheet, tmp_path / "broken.jpg")
    sheet.page.wait_for_function("!document.querySelector('.nbv-error').hidden")
    assert "Traceback" not in sheet.error()
    assert (pixels(sheet, 0) == before).all()
    expect_change(sheet, lambda: sheet.choose_picture("rocket"), view=0)


def test_a_network_whose_weights_are_out_of_reach_gets_a_sentence(sheet):
    sheet.run(
        "import nbcnnviz.zoo.weights as w; w.urllib.request.urlopen = lambda *a, **k: (_ for _ in ()).throw(OSError('offline'))"
    )
    sheet.run("import torch, tempfile; torch.hub.set_dir(tempfile.mkdtemp())")
    sheet.choose_network("resnet18")
    sheet.page.wait_for_function("!document.querySelector('.nbv-error').hidden")
    assert "could not be downloaded" in sheet.error()
    assert "efficientnet_lite0" in sheet.error()
    sheet.until(lambda: sheet.control("Network").input_value() == "efficientnet_lite0 (bundled)")


def test_opacity_threshold_and_colours_change_pixels_without_a_message(sheet):
    page = sheet.page
    expect_change(sheet, lambda: sheet.choose_picture("chelsea"), view=0)
    for label, value in (("Opacity", "0.2"), ("Threshold", "0.6")):
        before = pixels(sheet, 1)
        sent = sheet.sent
        slider = page.locator(f".nbv-controls label:has-text('{label}') input")
        for step in np.linspace(float(slider.input_value()), float(value), 12):
            slider.evaluate(
                "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", f"{step:.2f}"
            )
            pause_of_a_hand(page, 20)
        assert sheet.sent == sent
        assert np.abs(pixels(sheet, 1) - before).max() > 8
    before = pixels(sheet, 2)
    page.locator(".nbv-scale select").first.select_option("viridis")
    sheet.until(lambda: np.abs(pixels(sheet, 2) - before).max() > 8)


def test_the_value_under_the_cursor_is_told(sheet):
    box = sheet.page.locator(".nbv-canvas").nth(2).bounding_box()
    sheet.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    sheet.until(lambda: "value" in sheet.page.locator(".nbv-readout").inner_text())


def test_a_fast_drag_over_layers_ends_on_the_last_with_no_queue_behind(sheet):
    handle = sheet.control("Depth")
    handle.focus()
    sheet.page.keyboard.press("Home")
    sheet.settle()
    for _ in range(50):
        sheet.page.keyboard.press("ArrowRight")
        pause_of_a_hand(sheet.page, 38)
    sheet.settle()
    last = sheet.kernel("ex.selection.layer")
    mapped = "[ex._sides.map.names[r] for r in ex._sides.map.order if ex._sides.map.sides[r]]"
    assert last == sheet.kernel(f"{mapped}[50]")
    assert sheet.kernel("ex.result.layer") == last
    assert last in sheet.caption()


def test_a_map_is_pinned_compared_with_another_and_let_go(sheet, artifacts):
    page = sheet.page
    sheet.run("ex.selection.image = 'chelsea'; ex.selection.layer = 'blocks.4'; ex.selection.target = 281")
    sheet.settle()
    first, caption = pixels(sheet, 1), sheet.caption()
    page.get_by_role("button", name="Keep this map").click()
    page.wait_for_function("document.querySelector('.nbv-view[data-view=pinned]:not([hidden])')")
    shown = page.locator(".nbv-view:not([hidden])")
    kinds = [view.get_attribute("data-view") for view in shown.all()]
    assert kinds == ["overlay", "pinned"], "in the map's place: all keep their size"
    sheet.run("ex.selection.target = 8")
    sheet.settle()
    assert page.locator(".nbv-view[data-view=pinned]").first.inner_text() == f"Pinned: {caption}"
    assert np.abs(pixels(sheet, 4) - first).max() <= 2
    overlay = pixels(sheet, 1).reshape(224, 224, 4)
    page.get_by_label("Compare").select_option("split")
    sheet.until(lambda: (pixels(sheet, 1) != overlay.ravel()).any())
    sheet.at_rest()
    both = pixels(sheet, 1).reshape(224, 224, 4)
    assert np.abs(both[:, :112] - first.reshape(224, 224, 4)[:, :112]).max() <= 2
    assert (both[:, 112:] == overlay[:, 112:]).all()
    said = sheet.kernel("ex.panels['explain'].pinned.likeness(ex.result.values[0])")
    assert page.locator(".nbv-likeness").inner_text() == f"Rank correlation with the pinned map: {said:.2f}"
    page.screenshot(path=artifacts / "pinned.png")
    page.get_by_label("Against").select_option("picture")
    sheet.until(lambda: (pixels(sheet, 1) != both.ravel()).any())
    sheet.at_rest()
    bare = pixels(sheet, 1).reshape(224, 224, 4)
    assert (bare[:, :112] == pixels(sheet, 0).reshape(224, 224, 4)[:, :112]).all()
    page.get_by_label("Compare").select_option("overlay")
    page.get_by_role("button", name="Let the pinned map go").click()
    page.wait_for_function("document.querySelector('.nbv-view[data-view=map]:not([hidden])')")
    assert not sheet.error()


def test_what_is_zoomed_in_one_panel_is_zoomed_in_the_others(sheet):
    page = sheet.page
    looks = "[...document.querySelectorAll('.nbv-views')].map((e) => e.style.getPropertyValue('--nbv-zoom'))"
    page.get_by_role("button", name="Zoom in").first.click()
    sheet.run("ex.panel = 'features'; ex.selection.filter = 3; ex.wait(60)")
    page.wait_for_function("document.querySelectorAll('.nbv-views').length >= 2")
    sheet.settle()
    sheet.until(lambda: len(set(page.evaluate(looks))) == 1)  # a frame that was just made takes over what others show
    assert page.evaluate(looks)[0].endswith("scale(1.5)")
    page.locator(".nbv-share:visible").click()
    assert set(page.evaluate(looks)) == {"none"}
    sheet.run("ex.panel = 'explain'; ex.selection.filter = None; ex.wait(60)")
    sheet.settle()


def test_the_page_comes_back_after_a_reload(sheet):
    before = [pixels(sheet, view) for view in range(3)]
    sheet.save()
    sheet.page.reload()
    sheet.page.wait_for_selector(".nbv-frame", timeout=90_000)
    sheet.wait_for_map()
    for view in range(3):
        sheet.until(lambda view=view: np.abs(pixels(sheet, view) - before[view]).max() <= 2)


@pytest.mark.parametrize("width", [900, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_screenshots(sheet, artifacts, width, dark):
    sheet.run("ex.selection.image = 'chelsea'; ex.selection.layer = 'blocks.4'; ex.selection.method = 'grad_cam'")
    sheet.page.set_viewport_size({"width": width, "height": 1000})
    sheet.hide_sidebar()
    sheet.theme(dark)
    sheet.settle()
    sheet.page.screenshot(path=artifacts / f"explorer-{width}-{'dark' if dark else 'light'}.png")
    frame = sheet.page.locator(".nbv-frame").first.bounding_box()
    assert frame["x"] + frame["width"] <= width
    for canvas in sheet.page.locator(".nbv-canvas:visible").all():
        box = canvas.bounding_box()
        assert box["width"] > 120
        assert abs(box["width"] - box["height"]) < 2
