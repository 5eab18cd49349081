"""Clicks on the picture of the Explain panel choose what the network found there; signed maps are shown in colour."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from .lab import ROOT
from .test_access import AXE, EXPLORER

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
from tests.toys import Boxes, Brightness
segmenter = nv.Network(Brightness(), size=(96, 128), scores="segmentation", classes=["dark", "bright", "never"])

class Larger(Boxes):
    corners = tuple(tuple(4 * c for c in box) for box in Boxes.corners)

detector = nv.Network(Larger(), size=(96, 128), classes=["background", "cat", "dog"])
ex = nv.explore(segmenter, "coffee", method="saliency", panels=["explain", "predictions"])
ex
"""
TOPMOST = "button.nbv-box"


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def set_(sheet, **traits) -> None:
    for name, value in traits.items():
        sheet.run(f"ex.selection.{name} = {value}")
        sheet.settle()
    sheet.at_rest()


def click(sheet, view: int, x: float, y: float) -> None:
    """Click a pixel of the picture, of 128 x 96, in a view."""
    canvas = sheet.page.locator(".nbv-canvas").nth(view)
    box = canvas.bounding_box()
    canvas.click(position={"x": (x + 0.5) / 128 * box["width"], "y": (y + 0.5) / 96 * box["height"]})
    sheet.steady(lambda: sheet.kernel("repr(ex.selection.target)"))
    sheet.settle()
    sheet.at_rest()


def array(sheet, view: int) -> np.ndarray:
    return np.array(sheet.pixels(view), np.uint8).reshape(96, 128, 4)[..., :3]


def in_kernel(sheet, expression: str) -> np.ndarray:
    return np.array(json.loads(str(sheet.kernel(f"_j.dumps(({expression}).tolist())"))))


def shoot(sheet, artifacts, name: str) -> None:
    for dark in (True, False):
        sheet.theme(dark)
        sheet.page.locator(".nbcnnviz").first.screenshot(path=artifacts / f"{name}-{'dark' if dark else 'light'}.png")


@pytest.mark.parametrize("view", [0, 1])
def test_a_click_chooses_the_class_predicted_there(sheet, artifacts, view: int) -> None:
    set_(sheet, network="segmenter", method="'saliency'", target="None")
    labels = in_kernel(sheet, "ex.result.trace.labels[0]")
    for label in (0, 1):
        # A place around which all is of that class.
        inside = [np.roll(labels == label, (dy, dx), (0, 1)) for dy in range(-3, 4) for dx in range(-3, 4)]
        y, x = np.argwhere(np.all(inside, 0))[0]
        click(sheet, view, x, y)
        assert sheet.kernel("repr(ex.selection.target)") == f"nv.RegionScore({label}, mask='predicted')"
        assert f"{['dark', 'bright'][label]} ({label}) where it is predicted" in sheet.caption()
    assert sheet.page.locator(".nbv-view figcaption").first.inner_text() == "Picture: click what to explain"
    if view == 0:
        shoot(sheet, artifacts, "segmentation")


def test_the_borders_of_what_is_predicted_are_drawn_on_the_picture(sheet) -> None:
    set_(sheet, network="segmenter", method="'saliency'", target="None")
    labels = in_kernel(sheet, "ex.result.trace.labels[0]")
    apart = labels[:, 1:] != labels[:, :-1]
    shown = array(sheet, 0)
    assert apart.any()
    assert np.isin(shown[:, :-1][apart], (0, 255)).all()
    near = np.zeros_like(labels, bool)
    for axis in (0, 1):
        differ = np.diff(labels, axis=axis) != 0
        at = np.argwhere(differ)
        near[tuple(at.T)] = True
        near[tuple((at + np.array([axis == 0, axis == 1])).T)] = True
    plain = in_kernel(sheet, "__import__('numpy').asarray(ex.result.trace.pictures[0]).astype(int)")
    assert np.abs(shown.astype(int) - plain)[~near].mean() < 8  # it travels as a photograph


def test_a_click_within_a_box_explains_it(sheet, artifacts) -> None:
    set_(sheet, network="detector", method="'saliency'", target="None")
    assert sheet.page.locator(TOPMOST).count() == 3
    for (x, y), index in {(12, 12): 0, (100, 20): 1, (66, 48): 2}.items():
        click(sheet, 0, x, y)
        assert sheet.kernel("repr(ex.selection.target)") == f"nv.BoxScore({index})"
        pressed = [b.get_attribute("aria-pressed") for b in sheet.page.locator(TOPMOST).all()]
        assert pressed == [str(at == index).lower() for at in range(3)]
    shoot(sheet, artifacts, "detection")
    click(sheet, 0, 2, 94)  # beside all of them
    assert sheet.kernel("repr(ex.selection.target)") == "nv.BoxScore(2)"
    corners = sheet.kernel("ex.frame.boxes[2]")
    canvas, drawn = (sheet.page.locator(s).nth(at).bounding_box() for s, at in ((".nbv-canvas", 0), (TOPMOST, 2)))
    left = (drawn["x"] - canvas["x"]) / canvas["width"] * 128
    bottom = (drawn["y"] + drawn["height"] - canvas["y"]) / canvas["height"] * 96
    assert (left, bottom) == (pytest.approx(corners[0], abs=0.5), pytest.approx(corners[3], abs=0.5))


def test_the_boxes_are_in_the_picture_that_is_saved(sheet, tmp_path) -> None:
    set_(sheet, network="detector", method="'saliency'", target="nv.BoxScore(2)")
    boxes = sheet.kernel("ex.frame.boxes")
    sheet.page.locator(".nbv-views").first.focus()
    with sheet.page.expect_download() as download:
        sheet.page.keyboard.press("p")
    download.value.save_as(tmp_path / "saved.png")
    saved = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"), np.int16)
    # The picture is the first, 336 wide at twice the resolution, below caption and title.
    picture = saved[2 * 60 : 2 * 60 + 504, 2 * 16 : 2 * 16 + 672]
    for at, colour in ((0, (255, 255, 255)), (1, (255, 255, 255)), (2, (255, 176, 0))):
        left, top, right, bottom = (round(5.25 * edge) for edge in boxes[at])
        x, y = min(right, 671), (top + 2 * bottom) // 3  # below the name
        assert np.abs(picture[y, x - 2 : x + 2] - colour).max(1).min() <= 10, at
        assert (picture[y, max(left, 2) - 2 : left + 2] != picture[y, left + 8]).any()


def test_a_box_is_chosen_by_keys(sheet) -> None:
    set_(sheet, network="detector", method="'saliency'", target="None")
    sheet.page.locator(TOPMOST).nth(1).focus()
    sheet.page.keyboard.press("Enter")
    sheet.until(lambda: sheet.kernel("repr(ex.selection.target)") == "nv.BoxScore(1)")


@pytest.mark.parametrize("network", ["segmenter", "detector"])
def test_axe_finds_nothing(sheet, network: str) -> None:
    axe = ROOT / "js" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed: run npm ci in js/")
    set_(sheet, network=network, method="'saliency'", target="None")
    sheet.page.evaluate(axe.read_text())
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    assert sheet.page.evaluate(AXE, [EXPLORER, rules]) == []


def test_a_signed_map_of_every_pixel_is_shown_in_colour(sheet, artifacts) -> None:
    set_(sheet, network="segmenter", target="1", method="'gradient'")
    sheet.run("import torch; torch.manual_seed(0); toy = nv.Network(torch.nn.Sequential("
              "torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, stride=2), torch.nn.ReLU(), "
              "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4)), size=(96, 128))")  # fmt: skip
    set_(sheet, network="toy", method="'gradient'")
    assert (array(sheet, 2) == in_kernel(sheet, "__import__('numpy').asarray(ex.result.picture()).astype(int)")).all()
    title = sheet.page.locator(".nbv-view figcaption").nth(2)
    assert title.inner_text() == "Map in colour; grey is zero"
    shoot(sheet, artifacts, "in-colour")
    set_(sheet, method="'saliency'")
    assert title.inner_text() == "Map"
    assert len(np.unique(array(sheet, 2).reshape(-1, 3), axis=0)) <= 256  # the colours of a scale
