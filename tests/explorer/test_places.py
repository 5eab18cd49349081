"""A click on the picture chooses what the network found there: a class where it is predicted, a box."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.inside.places import Places
from tests.explorer.conftest import PATIENCE
from tests.toys import Boxes, Brightness

SIZE = (24, 32)


@pytest.fixture(scope="module")
def segmenter() -> nv.Network:
    return nv.Network(Brightness(), size=SIZE, scores="segmentation", classes=["dark", "bright", "never"])


@pytest.fixture(scope="module")
def detector() -> nv.Network:
    return nv.Network(Boxes(), size=SIZE, classes=["background", "cat", "dog"])


def halves() -> Image.Image:
    """Dark on the left, bright on the right."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:, 12:] = 255
    return Image.fromarray(pixels)


def click(ex, **message) -> None:
    ex.frame._handle_custom_msg(message, [])
    ex.wait(PATIENCE)


def picture(encoded: bytes) -> np.ndarray:
    shown = Image.open(io.BytesIO(encoded))
    assert shown.format == "PNG"
    return np.asarray(shown)


@pytest.mark.parametrize(("x", "y", "label"), [(0, 0, 0), (11, 23, 0), (12, 0, 1), (31, 23, 1)])
def test_a_click_chooses_the_class_predicted_there(explore, segmenter, x: int, y: int, label: int) -> None:
    ex = explore(segmenter, halves(), method="saliency", panels=["explain", "predictions"])
    click(ex, type="place", x=x, y=y)
    target = nv.RegionScore(label, mask="predicted")
    assert ex.selection.target == target
    assert ex.error is None
    assert ex.frame.caption == f"Saliency of {segmenter.classes[label]} ({label}) where it is predicted"
    assert torch.equal(ex.result.values, nv.attribute(segmenter, halves(), method="saliency", target=target).values)
    # Of brightness, nothing outside a region has to do with the score within.
    assert torch.equal(ex.result.values[0, 0] > 0, torch.from_numpy(picture(ex.frame.regions) == label))
    assert f"nv.RegionScore({label}, mask='predicted')" in ex.code()
    assert ex._sides.predictions.widget.chosen == label


def test_the_regions_drawn_are_the_classes_predicted(explore, segmenter) -> None:
    ex = explore(segmenter, halves(), method="saliency")
    levels = picture(ex.frame.regions)
    assert levels.shape == SIZE
    assert np.array_equal(levels, np.repeat([[0] * 12 + [1] * 20], SIZE[0], 0))
    assert ex.frame.region_names == ["dark", "bright"]
    assert ex.frame.pickable


def test_the_list_of_classes_shows_those_present(explore, segmenter) -> None:
    ex = explore(segmenter, halves(), method="saliency", panels=["explain", "predictions"])
    assert [row["name"] for row in ex._sides.predictions.widget.rows] == ["bright", "dark"]
    click(ex, type="place", x=0, y=0)
    assert ex._sides.predictions.widget.chosen == 0


def test_where_no_class_is_predicted_a_click_says_so(explore) -> None:
    one = nv.Network(Brightness(classes=1), size=SIZE, scores="segmentation", classes=["bright"])
    ex = explore(one, halves(), method="saliency")
    click(ex, type="place", x=20, y=3)
    assert ex.selection.target == nv.RegionScore(0, mask="predicted")
    click(ex, type="place", x=2, y=3)
    assert "predicts no class at row 3, column 2" in str(ex.error)
    assert ex.selection.target == nv.RegionScore(0, mask="predicted")
    assert ex.frame.region_names == ["no class", "bright"]


@pytest.mark.parametrize(
    ("x", "y", "index"),
    [(3, 3, 0), (20, 4, 1), (16, 12, 2), (0, 23, None)],
    ids=["one box", "another", "the smallest of three", "none"],
)
def test_a_click_within_a_box_explains_it(explore, detector, x: int, y: int, index: int | None) -> None:
    ex = explore(detector, halves(), method="saliency", panels=["explain", "predictions"])
    click(ex, type="place", x=x, y=y)
    assert ex.error is None
    if index is None:
        assert ex.selection.target is None
        assert ex.frame.box == -1
        return
    assert ex.selection.target == nv.BoxScore(index)
    assert ex.frame.box == index
    assert ex._sides.predictions.widget.chosen == detector.trace(halves()).boxes()[index].label
    expected = nv.attribute(detector, halves(), method="saliency", target=nv.BoxScore(index))
    assert torch.equal(ex.result.values, expected.values)


def test_boxes_are_drawn_and_chosen_by_their_place_in_the_list(explore, detector) -> None:
    ex = explore(detector, halves(), method="saliency")
    found = detector.trace(halves()).boxes()
    assert ex.frame.boxes == [pytest.approx(box.corners) for box in found]
    assert ex.frame.box_names == [f"{box.name} {box.score:.0%}".replace("%", " %") for box in found]
    click(ex, type="box", at=2)
    assert ex.selection.target == nv.BoxScore(2)
    assert ex.frame.box == 2
    ex.selection.target = None
    assert ex.wait(PATIENCE).frame.box == -1


@pytest.mark.parametrize(
    "message",
    [
        {"type": "place"}, {"type": "place", "x": "3", "y": 3}, {"type": "place", "x": -1, "y": 3},
        {"type": "place", "x": 32, "y": 3}, {"type": "place", "x": float("nan"), "y": 3}, {"type": "box"},
        {"type": "box", "at": 9}, {"type": "box", "at": -1}, {"type": "box", "at": "1"},
    ],
)  # fmt: skip
def test_what_names_no_place_is_ignored(explore, detector, message: dict) -> None:
    ex = explore(detector, halves(), method="saliency")
    click(ex, **message)
    assert ex.selection.target is None
    assert ex.error is None


def test_another_network_takes_boxes_and_regions_away(explore, segmenter, detector, toy) -> None:
    ex = explore(detector, halves(), method="saliency")
    ex.selection.network = segmenter
    frame = ex.wait(PATIENCE).frame
    assert frame.boxes == []
    assert frame.regions
    ex.selection.network = toy
    frame = ex.wait(PATIENCE).frame
    assert (frame.regions, frame.region_names, frame.boxes, frame.pickable) == (b"", [], [], False)
    click(ex, type="place", x=3, y=3)
    assert ex.selection.target is None


def test_the_boxes_drawn_are_the_surest() -> None:
    class Many(Boxes):
        def found(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            scores = torch.linspace(0.05, 0.95, 100).to(x)
            corners = torch.tensor([[0.0, 0, 5, 5]]).repeat(100, 1)
            return corners, torch.ones(100, dtype=torch.long), scores

    places = Places.of(nv.Network(Many(), size=SIZE, classes=["background", "cat", "dog"]).trace(halves()))
    assert [box.index for box in places.boxes] == list(range(99, 75, -1))

    class Unsure(Many):
        def found(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            corners, labels, scores = super().found(x)
            return corners, labels, scores / 4

    places = Places.of(nv.Network(Unsure(), size=SIZE, classes=["background", "cat", "dog"]).trace(halves()))
    assert [box.index for box in places.boxes] == [99, 98, 97, 96, 95]


def test_maps_smaller_than_the_picture_are_met_at_the_pixel_clicked() -> None:
    class Coarse(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, :, ::4, ::4]

    places = Places.of(nv.Network(Coarse(Brightness()), size=SIZE, scores="segmentation").trace(halves()))
    assert places.labels is not None
    grey, _ = places.regions(["dark", "bright", "never"])
    levels = np.asarray(grey)
    assert levels.shape == SIZE
    for x, y in ((0, 0), (11, 5), (12, 5), (31, 23)):
        assert places.at(x, y) == nv.RegionScore(int(levels[y, x]), mask="predicted")
