"""The Weights and the Gradients panel as a user has them: a click in one is seen in the others."""

from __future__ import annotations

import numpy as np
import pytest

import nbcnnviz as nv
from nbcnnviz.render import Scale, coloured
from nbcnnviz.zoo import load_network

pytestmark = pytest.mark.browser

# The bytes of a canvas, as everybody sees it.
READ = """(canvas) => {
    const {width, height} = canvas;
    return [height, width, Array.from(canvas.getContext('2d').getImageData(0, 0, width, height).data)];
}"""

CELL = """
import nbcnnviz as nv
ex = nv.explore(panels=["explain", "weights", "gradients", "predictions"])
ex
"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, height=1600)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def turn(sheet, panel, **selection):
    """Turn a panel up, and select."""
    for name, value in selection.items():
        sheet.run(f"ex.selection.{name} = {value!r}")
    sheet.run(f"ex.panel = {panel!r}")
    rest(sheet)


def rest(sheet):
    sheet.settle()
    sheet.at_rest()
    assert not sheet.error() or "no weights" in sheet.error()


def grid(sheet, at):
    """The pixels of a tile frame that is on screen."""
    height, width, data = sheet.page.locator(".nbv-tileframe:visible").nth(at).locator("canvas").first.evaluate(READ)
    return np.array(data, np.int16).reshape(height, width, 4)


def tile(sheet, frame, at):
    return sheet.page.locator(".nbv-tileframe:visible").nth(frame).locator(".nbv-tile").nth(at)


def charts(sheet):
    """The charts of the panel that is turned up: all but that of the predictions, which is the last."""
    return sheet.page.locator(".jupyter-widget-tab .bqplot:visible")


def column(sheet, chart, at, of):
    """The part of a chart that is clicked and pointed at for a column; bars of values may be below."""
    bars = charts(sheet).nth(chart).locator(".bar")
    return bars.nth(bars.count() - (of + 2) + 1 + at)


def title(sheet, chart):
    return charts(sheet).nth(chart).locator("xpath=../..").inner_text().splitlines()[0]


def explained(sheet):
    """The map in the Explain panel."""
    turn(sheet, "explain")
    return np.array(sheet.pixels(2), np.int16)


def differ(one, other):
    return one.shape != other.shape or np.abs(one - other).max() > 8


# Weights.


def test_the_first_filters_are_drawn_in_the_colours_that_python_gives_them(sheet):
    turn(sheet, "weights", layer="conv_stem")
    weight = load_network().module.conv_stem.weight.detach()
    high = float(weight.abs().max())
    pixels = grid(sheet, 0)
    for at in (0, 7, 31):
        box = tile(sheet, 0, at).bounding_box()
        canvas = sheet.page.locator(".nbv-tileframe:visible").first.locator("canvas").first.bounding_box()
        x, y = box["x"] - canvas["x"], box["y"] - canvas["y"]
        side = box["width"]
        for row in range(3):
            for col in range(3):
                shown = pixels[int(y + (row + 0.5) * side / 3), int(x + (col + 0.5) * side / 3), :3]
                true = (weight[at, :, row, col] / high + 1) * 127.5
                assert np.abs(shown - true.numpy()).max() <= 1


def test_a_click_on_a_filter_changes_what_the_explain_panel_shows(sheet):
    sheet.run("ex.selection.target = None")
    before = explained(sheet)
    turn(sheet, "weights", layer="conv_stem")
    kernels = grid(sheet, 2)
    tile(sheet, 0, 7).click()
    rest(sheet)
    assert sheet.kernel("ex.selection.filter") == 7
    assert tile(sheet, 1, 7).get_attribute("aria-selected") == "true"  # the gradient beside it
    assert differ(grid(sheet, 2), kernels)
    assert differ(explained(sheet), before)
    assert "channel 7 of conv_stem" in sheet.caption()
    sheet.run("ex.selection.filter = None")


def test_filters_and_their_gradients_stand_side_by_side_in_the_same_rows(sheet):
    turn(sheet, "weights", layer="blocks.3.0.conv_pw")
    for at in (0, 11, 63):
        one, other = (tile(sheet, frame, at).bounding_box() for frame in range(2))
        assert other["x"] > one["x"] + one["width"]
        assert one["y"] == pytest.approx(other["y"], abs=1)
    weight = load_network().module.blocks[3][0].conv_pw.weight.detach()
    shown = weight[:64].abs().max()
    box = sheet.page.locator(".nbv-tileframe:visible").first.locator("canvas").first.bounding_box()
    first = tile(sheet, 0, 0).bounding_box()
    pixels = grid(sheet, 0)
    step = first["width"] / 7  # 40 inputs of one weight each, in rows of seven
    for input_ in (0, 8, 39):
        row, col = divmod(input_, 7)
        x, y = first["x"] - box["x"] + (col + 0.5) * step, first["y"] - box["y"] + (row + 0.5) * step
        true = coloured(weight[0, input_], Scale(-float(shown), float(shown)), "RdBu_r")[0, 0]
        assert np.abs(pixels[int(y), int(x), :3] - true).max() <= 8  # a step of the colour table


def test_pages_are_turned_and_filters_sorted(sheet):
    turn(sheet, "weights", layer="blocks.3.0.conv_pw")
    before = grid(sheet, 0)
    sheet.page.locator("button[title='Filters: the next page']:visible").click()
    rest(sheet)
    assert tile(sheet, 0, 0).inner_text() == "64"
    assert differ(grid(sheet, 0), before)
    sheet.page.get_by_role("button", name="norm", exact=True).locator("visible=true").first.click()
    rest(sheet)
    norms = load_network().module.blocks[3][0].conv_pw.weight.detach().flatten(1).norm(dim=1)
    assert tile(sheet, 0, 0).inner_text().partition(":")[0] == str(int(norms.argmax()))
    sheet.page.get_by_role("button", name="index", exact=True).locator("visible=true").first.click()
    rest(sheet)


def test_a_layer_without_weights_leads_to_one_that_has_some(sheet):
    turn(sheet, "weights", layer="blocks.3")
    assert "has no weights of its own" in sheet.error()
    sheet.page.get_by_role("button", name="go to blocks.3.0.conv_pw").click()
    rest(sheet)
    assert sheet.kernel("ex.selection.layer") == "blocks.3.0.conv_pw"
    assert not sheet.error()
    assert sheet.page.locator(".nbv-tileframe:visible").count() == 4


def test_a_bar_of_a_normalisation_selects_the_filter(sheet):
    turn(sheet, "weights", layer="bn2", filter=None)
    assert charts(sheet).count() == 4
    column(sheet, 2, 40, 96).click(force=True)
    rest(sheet)
    assert sheet.kernel("ex.selection.filter") == 40
    assert title(sheet, 0) == "bn2.weight"
    sheet.run("ex.selection.filter = None")


def test_a_row_of_the_matrix_is_chosen_by_its_bar(sheet):
    turn(sheet, "weights", layer="classifier", target=3, filter=None)
    assert charts(sheet).count() == 4
    assert "(3)" in title(sheet, 2)  # the class's own row
    canvas = grid(sheet, 0)
    assert canvas.shape[1] >= 256
    assert canvas[..., :3].std() > 20
    column(sheet, 0, 17, 96).click(force=True)
    rest(sheet)
    assert sheet.kernel("ex.selection.filter") == 17
    assert "(17)" in title(sheet, 2)
    sheet.run("ex.selection.target = None; ex.selection.filter = None; ex.selection.layer = 'bn2'")


def test_ticks_have_the_labels_of_what_is_shown_after_every_change(sheet):
    """bqplot draws ticks a moment after it is told of them, and could do so with the labels of before."""
    for layer in ("bn2", "classifier", "bn1", "bn2"):
        turn(sheet, "weights", layer=layer, filter=None)
        matrix = layer == "classifier"
        shown = ["first 0 True", "first 1 True", *(f"second {i} {not matrix}" for i in range(2))]
        assert charts(sheet).count() == 4
        for at, name in enumerate(shown):
            chart = f"ex.panels['weights']._charts[{name!r}]"
            assert title(sheet, at) == sheet.kernel(f"{chart}.plot.title")
            told = sheet.kernel(f"[*{chart}._bottom.tick_labels.values(), *{chart}._side.tick_labels.values()]")
            assert charts(sheet).nth(at).locator(".tick text").all_text_contents() == told, (layer, at)


# Gradients.


def said(sheet, what):
    """The line of text that begins so."""
    return sheet.page.locator(f".widget-html-content:visible div:has(> b:text-is('{what}'))").inner_text()


def test_a_click_on_a_column_selects_the_layer_for_every_panel(sheet):
    before = explained(sheet)
    turn(sheet, "gradients")
    spread = title(sheet, 3)
    layers = sheet.kernel("ex.panels['gradients'].result.depth.layers")
    wanted = layers.index("blocks.4.1.conv_pw")
    column(sheet, 0, wanted, len(layers)).click(force=True)
    rest(sheet)
    assert sheet.kernel("ex.selection.layer") == "blocks.4.1.conv_pw"
    assert title(sheet, 3) != spread  # the histogram of another number of values
    assert "blocks.4.1.conv_pw" in said(sheet, "Selected:")
    tint = float(column(sheet, 1, wanted, len(layers)).evaluate("e => getComputedStyle(e).opacity"))
    assert tint == pytest.approx(0.28)
    turn(sheet, "weights")
    assert sheet.kernel("ex.panels['weights'].result.layer") == "blocks.4.1.conv_pw"
    assert tile(sheet, 0, 0).is_visible()
    assert differ(explained(sheet), before)
    assert "blocks.4.1.conv_pw" in sheet.caption()


def test_the_layer_that_is_pointed_at_is_named_beside_the_title_and_nothing_covers_the_curve(sheet):
    turn(sheet, "gradients")
    layers = sheet.kernel("ex.panels['gradients'].result.depth.layers")
    box = column(sheet, 1, 30, len(layers)).bounding_box()
    sheet.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    sheet.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    named = f"31 of {len(layers)}, {layers[30]}"
    sheet.page.wait_for_selector(f".nbv-one-line:has-text('{named}')")
    tooltip = sheet.page.locator(".mark_tooltip:visible, .bqplot_tooltip_div:visible, .tooltip_div:visible")
    assert not [text for text in tooltip.all_inner_texts() if text.strip()]
    sheet.page.mouse.move(5, 5)


def test_points_are_where_their_logarithms_are(sheet):
    turn(sheet, "gradients")
    values = np.array(sheet.kernel("ex.panels['gradients']._depths[1].plot.values.tolist()"))
    low, high = sheet.kernel("[(r.low, r.high) for r in [ex.panels['gradients']._depths[1].plot.ruler]][0]")
    dots = (
        charts(sheet)
        .nth(1)
        .locator(".dot, .dot_grp path")
        .evaluate_all(
            "dots => dots.map(d => { const b = d.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })"
        )
    )
    dots = np.array(sorted(dot for dot in dots if dot[0] > 0))  # those of marks that are hidden have no place
    assert len(dots) == len(values)
    places = (np.log10(values) - np.log10(low)) / (np.log10(high) - np.log10(low))
    assert np.corrcoef(places, -dots[:, 1])[0, 1] > 0.999
    assert np.allclose(np.diff(dots[:, 0]), np.diff(dots[:, 0]).mean(), atol=1)


def test_counts_over_all_samples_run_and_a_dead_filter_can_be_gone_to(sheet):
    turn(sheet, "gradients", filter=None)
    sheet.page.get_by_role("button", name="Count over all samples").click()
    rest(sheet)
    said = sheet.page.locator("text=filters are zero at every place of all").inner_text()
    assert f"all {len(nv.samples())} pictures" in said
    lists = sheet.page.locator(".widget-select:visible select")
    lists.nth(0).select_option(index=5)
    rest(sheet)
    layer = sheet.kernel("list(x for x, d in ex.panels['gradients'].result.dead.filters.items() if d)[5]")
    assert sheet.kernel("ex.selection.layer") == layer
    lists.nth(1).select_option(index=0)
    rest(sheet)
    assert sheet.kernel("ex.selection.filter") == sheet.kernel(
        f"ex.panels['gradients'].result.dead.filters[{layer!r}][0]"
    )
    sheet.run("ex.selection.filter = None; ex.selection.layer = 'blocks.3'")


def test_norms_counts_and_learning_rate_change_the_charts(sheet):
    turn(sheet, "gradients", layer="blocks.3.0.conv_pw")
    ticks = charts(sheet).nth(1).locator(".tick text").all_text_contents()
    sheet.page.get_by_role("button", name="L2 norm", exact=True).locator("visible=true").click()
    rest(sheet)
    assert "L2 norm" in title(sheet, 1)
    assert charts(sheet).nth(1).locator(".tick text").all_text_contents() != ticks
    field = sheet.page.locator(".widget-text:visible input[type=number]")
    field.fill("0.5")
    field.press("Enter")
    rest(sheet)
    assert "learning rate 0.5" in title(sheet, 2)
    heights = charts(sheet).nth(3).locator(".bar").evaluate_all("b => b.map(e => e.getBoundingClientRect().height)")
    sheet.page.get_by_role("button", name="linear").locator("visible=true").click()
    rest(sheet)
    linear = charts(sheet).nth(3).locator(".bar").evaluate_all("b => b.map(e => e.getBoundingClientRect().height)")
    assert sum(linear) < sum(heights)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [700, 900, 1600])
def test_screenshots(sheet, artifacts, width, dark):
    sheet.page.set_viewport_size({"width": width, "height": 1600})
    sheet.theme(dark)
    looks = (
        ("weights", "conv_stem"),
        ("weights", "blocks.3.0.conv_pw"),
        ("weights", "classifier"),
        ("weights", "bn2"),
        ("gradients", "blocks.3.0.conv_pw"),
    )
    for panel, layer in looks:
        turn(sheet, panel, layer=layer)
        sheet.at_rest()
        style = f"{width}-{'dark' if dark else 'light'}"
        sheet.page.screenshot(path=artifacts / f"{panel}-{layer.replace('.', '-')}-{style}.png")
        right = sheet.page.locator(".jupyter-widget-tab").bounding_box()
        edge = right["x"] + right["width"]
        assert edge <= width
        for part in (*charts(sheet).all(), *sheet.page.locator(".nbv-tileframe:visible").all()):
            box = part.bounding_box()
            assert box["width"] > 200
            inside = part.evaluate("e => e.parentElement.getBoundingClientRect().right")
            assert min(box["x"] + box["width"], inside) <= edge + 1
