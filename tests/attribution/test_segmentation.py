"""From saliency to segmentation, on pictures whose objects are known to the pixel."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution import segmentation
from nbcnnviz.core.targets import as_target
from nbcnnviz.metrics import object_mask
from tests import toys

SIZE = 64
WAYS = ("random_walker", "grabcut")


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=SIZE)


def disc(centre: tuple[int, int] = (36, 24), radius: int = 14) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def blob(mask: np.ndarray) -> Image.Image:
    """A red thing on a blue ground, with a little noise in both."""
    pixels = np.where(mask[..., None], (200, 60, 40), (40, 70, 180)) + np.random.default_rng(0).normal(
        0, 4, (SIZE, SIZE, 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def bump(centre: tuple[int, int] = (34, 27), sigma: float = 7) -> torch.Tensor:
    """A smooth map that is strongest somewhere on the disc, and knows nothing of its edge."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return torch.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2.0 * sigma**2))[None, None]


def map_of(net: nv.Network, picture: Image.Image, values: torch.Tensor, method: str = "grad_cam") -> nv.Attribution:
    trace = net.trace(picture)
    return nv.Attribution(values, as_target(0, trace), "input", trace, method=method)


@pytest.mark.parametrize("how", WAYS)
def test_the_colours_of_the_picture_give_the_object_its_edge(net, how) -> None:
    found = nv.segment(map_of(net, blob(disc()), bump()), how=how)
    assert found.mask.dtype == bool
    assert found.mask.shape == (SIZE, SIZE)
    assert found.iou(disc()) > 0.99
    assert found.box == (10, 22, 39, 51)
    assert found.area == pytest.approx(disc().mean(), rel=0.01)
    assert (bump() > bump().quantile(0.95)).sum() < 0.5 * disc().sum(), "the map alone knows a part of it"


@pytest.mark.parametrize("how", WAYS)
def test_a_large_picture_is_segmented_at_a_bounded_size_and_the_mask_is_of_its_own(monkeypatch, how) -> None:
    given = []

    def seen(pixels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        given.append((pixels.shape, seeds.shape))
        return way(pixels, seeds)

    way = segmentation._WAYS[how]
    monkeypatch.setitem(segmentation._WAYS, how, seen)
    monkeypatch.setattr(segmentation, "_LONGEST", 64)
    large = nv.Network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), size=(3 * SIZE, 4 * SIZE))
    y, x = np.mgrid[: 3 * SIZE, : 4 * SIZE]
    thing = (y - 100) ** 2 + (x - 90) ** 2 <= 56**2
    pixels = np.where(thing[..., None], (200, 60, 40), (40, 70, 180)).astype(np.uint8)
    sharp = torch.from_numpy(np.exp(-((y - 96) ** 2 + (x - 98) ** 2) / (2.0 * 30**2))).float()[None, None]
    coarse = nn.functional.adaptive_avg_pool2d(sharp, (12, 16))
    for values, options in ((sharp, {}), (sharp, {"smooth": 3}), (coarse, {})):
        found = nv.segment(map_of(large, Image.fromarray(pixels), values), how=how, **options)
        assert found.mask.shape == thing.shape == found.picture.size[::-1]
        assert found.iou(thing) > 0.9
        assert np.abs(np.subtract(found.box, (34, 44, 147, 157))).max() <= 4, "to a pixel of the size segmented at"
    assert given == [((48, 64, 3), (48, 64))] * 3


def test_its_outline_runs_between_the_object_and_the_ground(net) -> None:
    found = nv.segment(map_of(net, blob(disc()), bump()))
    (line,) = found.outline
    assert (line[0] == line[-1]).all(), "closed"
    far = np.hypot(line[:, 0] - 24, line[:, 1] - 36)
    assert ((far > 12.5) & (far < 15.5)).all()


def test_the_largest_part_alone_is_kept_unless_told(net) -> None:
    both = disc() | disc((10, 54), 5)
    values = bump() + bump((10, 54), 3)
    result = map_of(net, blob(both), values)
    assert nv.segment(result).iou(disc()) > 0.97
    assert nv.segment(result, largest=False).iou(both) > 0.97


def test_a_gradient_counts_by_its_magnitude_and_its_strongest_channel(net) -> None:
    signed = torch.cat([-bump(), 0.9 * bump(), torch.zeros_like(bump())], 1)
    assert nv.segment(map_of(net, blob(disc()), signed, "gradient")).iou(disc()) > 0.99
    assert nv.segment(map_of(net, blob(disc()), signed, "input_x_gradient")).iou(disc()) < 0.1


def test_a_coarse_map_is_scaled_up_and_a_spotted_one_smoothed(net) -> None:
    coarse = torch.nn.functional.avg_pool2d(bump(), 8)
    assert nv.segment(map_of(net, blob(disc()), coarse)).iou(disc()) > 0.98
    spots = bump() * (torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.2)
    result = map_of(net, blob(disc()), spots)
    assert nv.segment(result, smooth=3).iou(disc()) > 0.98
    assert nv.segment(result, smooth=3).iou(disc()) > nv.segment(result).iou(disc())


def test_an_overlap_is_of_pixels_with_a_mask_and_of_boxes_with_a_box(net) -> None:
    found = nv.segment(map_of(net, blob(disc()), bump()))
    assert found.iou(found.mask) == found.iou(found.box) == 1
    assert found.iou((10, 22, 39, 80)) == pytest.approx(29 / 58)
    assert found.iou((0, 0, 5, 5)) == 0
    with pytest.raises(nv.ImageError, match=r"box .* or a mask of 64 x 64, not with shape"):
        found.iou((1, 2, 3))


def test_it_is_shown_and_saved(net, tmp_path) -> None:
    found = nv.segment(map_of(net, blob(disc()), bump()))
    shown = np.asarray(found.overlay(box=False)).astype(int)
    edge = (shown == 255).all(-1)
    assert edge.any()
    assert (edge <= found.mask).all(), "the white line lies on the object"
    away = ~disc(radius=17)
    assert (shown[away] == np.asarray(found.picture)[away]).all()
    assert found._repr_png_()[:4] == b"\x89PNG"
    found.save(tmp_path / "mask.png")
    assert ((np.asarray(Image.open(tmp_path / "mask.png")) == 255) == found.mask).all()
    found.save(tmp_path / "mask.npy")
    assert (np.load(tmp_path / "mask.npy") == found.mask).all()
    found.save(tmp_path / "shown.png", view="overlay")
    assert (np.asarray(Image.open(tmp_path / "shown.png")) == np.asarray(found.overlay())).all()


@pytest.mark.parametrize(("target", "index"), [("espresso", 1), ("Egyptian cat", 0)])
def test_of_two_objects_the_one_explained_is_cut_out(bundled, target, index) -> None:
    where = [object_mask(bundled, "cat_above_cup", thing) for thing in nv.sample_boxes("cat_above_cup")]
    found = nv.segment(nv.attribute(bundled, "cat_above_cup", target=target))
    assert found.iou(where[index]) > 0.7
    assert found.iou(where[1 - index]) < 0.1


def test_the_mask_lies_on_the_cat(bundled) -> None:
    cat = object_mask(bundled, "chelsea", nv.sample_boxes("chelsea")[0]).numpy()
    for method, options in (("grad_cam", {}), ("saliency", {})):
        found = nv.segment(nv.attribute(bundled, "chelsea", method=method, target="tiger cat", **options))
        assert (found.mask & cat).sum() > 0.9 * found.mask.sum()
        assert found.area > 0.05


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (torch.zeros(1, 1, 8, 8), "0 everywhere, and tells no object"),
        (torch.full((1, 1, 8, 8), 2.5), r"2\.5 everywhere"),
        (torch.full((1, 1, 8, 8), float("nan")), "NaN"),
    ],
)
def test_a_map_that_tells_nothing_is_refused(net, values, told) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match=told):
        nv.segment(map_of(net, blob(disc()), values))


def test_what_cannot_be_segmented_is_a_sentence(net) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="one colour everywhere"):
        nv.segment(map_of(net, Image.new("RGB", (SIZE, SIZE), "red"), bump()))
    result = map_of(net, blob(disc()), bump())
    with pytest.raises(nv.MethodNotApplicableError, match="of 1 pictures: there is no picture 1"):
        nv.segment(result, picture=1)
    for wrong in ({"foreground": 0.2}, {"background": 0}, {"smooth": -1}, {"how": "magic"}):
        with pytest.raises(nv.OptionValueError):
            nv.segment(result, **wrong)
    with pytest.raises(nv.ArgumentTypeError, match="takes a map"):
        nv.segment(bump())


def test_grabcut_without_opencv_says_what_to_install(net, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        nv.PackageMissingError, match=r"GrabCut need opencv-python-headless: pip install 'nbcnnviz\[grabcut\]'"
    ):
        nv.segment(map_of(net, blob(disc()), bump()), how="grabcut")


def test_a_map_that_is_zero_almost_everywhere_still_has_a_strongest_place(net) -> None:
    values = torch.zeros(1, 1, SIZE, SIZE)
    values[0, 0, 34:38, 22:26] = 1
    assert nv.segment(map_of(net, blob(disc()), values), largest=True).mask[34:38, 22:26].all()
