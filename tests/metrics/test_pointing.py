"""The pointing game and its mosaics, on maps whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.attribution import Attribution
from nbcnnviz.core.targets import as_target
from nbcnnviz.metrics import grid_pointing, mosaic, object_mask, pointing
from tests import toys


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=40)


@pytest.fixture(scope="module")
def trace(net: nv.Network) -> nv.Trace:
    return net.trace(torch.randn(1, 3, 40, 40))


def peak(trace: nv.Trace, *places: tuple[int, int, float]) -> Attribution:
    values = torch.zeros(1, 1, *trace.size)
    for y, x, value in places:
        values[0, 0, y, x] = value
    return Attribution(values, as_target(0, trace), "input", trace)


@pytest.mark.parametrize(
    ("place", "hit"), [((12, 20), 1), ((24, 20), 1), ((25, 20), 0), ((10, 9), 0), ((14, 15), 1), ((23, 34), 0)]
)
def test_a_hit_is_within_the_tolerance(trace, place, hit) -> None:
    # The box's pixels are rows 10 to 19, columns 15 to 24; five pixels more count.
    score = pointing(peak(trace, (*place, 1.0)), (15, 10, 25, 20), tolerance=5)
    assert score.value == hit
    assert score.details["place"] == place


@pytest.mark.parametrize(("method", "hit"), [("gradient", 1), ("guided_backprop", 1), ("input_x_gradient", 0)])
def test_of_a_signed_gradient_the_largest_magnitude_over_channels_points(trace, method, hit) -> None:
    values = torch.zeros(1, 3, *trace.size)
    values[0, :, 12, 20] = torch.tensor([2.0, -5.0, 3.0])  # on the object; it adds up to nothing
    values[0, 0, 35, 5] = 1.0
    score = pointing(
        Attribution(values, as_target(0, trace), "input", trace, method=method), (15, 10, 25, 20), tolerance=2
    )
    assert score.value == hit


def test_chance_is_the_share_of_what_counts(trace) -> None:
    assert pointing(peak(trace, (0, 0, 1)), (0, 0, 20, 10), tolerance=0).chance == pytest.approx(200 / 1600)
    wide = pointing(peak(trace, (0, 0, 1)), (0, 0, 20, 10), tolerance=3).chance
    # three rows below, three columns beside, and a quarter of a disc of radius 3: 1 + 2 + 3 and the corner's own rule
    corner = sum((dy * dy + dx * dx) <= 9 for dy in range(1, 4) for dx in range(1, 4))
    assert wide == pytest.approx((200 + 3 * 20 + 3 * 10 + corner) / 1600)


def test_the_share_inside_counts_positive_values_alone(trace) -> None:
    score = pointing(peak(trace, (12, 20, 3.0), (0, 0, 1.0), (13, 20, -5.0)), (15, 10, 25, 20))
    assert score.details["inside"] == pytest.approx(0.75)


def test_a_mask_and_several_boxes_serve_as_well(trace) -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[10:20, 15:25] = True
    for where in (mask, mask.numpy(), [(15, 10, 25, 15), (15, 15, 25, 20)]):
        assert pointing(peak(trace, (12, 20, 1.0)), where, tolerance=0).value == 1
        assert pointing(peak(trace, (9, 20, 1.0)), where, tolerance=0).value == 0


def test_a_flat_map_points_at_nothing(trace) -> None:
    assert pointing(peak(trace), (0, 0, 40, 40)).value == 0


def test_a_blur_first_lets_the_many_outweigh_the_one(trace) -> None:
    crowd = [(12 + i, 18 + j, 1.0) for i in range(5) for j in range(5)]
    result = peak(trace, *crowd, (35, 2, 1.5))
    assert pointing(result, (15, 10, 25, 20), tolerance=0).value == 0
    smoothed = pointing(result, (15, 10, 25, 20), tolerance=0, smooth=0.05)
    assert smoothed.value == 1
    assert smoothed.details["place"] == (14, 20), "the middle of the crowd"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torchray")
def test_a_blur_takes_what_is_outside_for_what_is_at_the_edge(trace) -> None:
    """As TorchRay: a gradient that is strong along an edge points there, more than under a mirrored continuation."""
    from torchray.utils import imsmooth

    values = torch.rand(64, 1, *trace.size, generator=torch.Generator().manual_seed(0))
    for one in values[:, None]:
        place = pointing(Attribution(one, as_target(0, trace), "input", trace), (0, 0, 9, 9), smooth=0.05).details[
            "place"
        ]
        smoothed = imsmooth(one, sigma=0.05 * max(trace.size), padding_mode="replicate")
        assert place == divmod(int(smoothed.argmax()), trace.size[1])


def test_an_object_outside_is_refused(trace) -> None:
    with pytest.raises(nv.ImageError, match="outside"):
        pointing(peak(trace, (0, 0, 1)), (50, 50, 60, 60))
    with pytest.raises(nv.ImageError, match="box"):
        pointing(peak(trace, (0, 0, 1)), (1, 2, 3))


def test_a_mosaic_holds_its_pictures_where_it_says(net) -> None:
    pictures = [torch.randn(1, 3, 40, 40) for _ in range(4)]
    tiles = mosaic(net, pictures)
    assert tiles.input.shape == (1, 3, 80, 80)
    for picture, (left, top, right, bottom) in zip(pictures, tiles.boxes, strict=True):
        assert torch.equal(tiles.input[..., top:bottom, left:right], picture)
    with torch.no_grad():
        assert tiles.classes == tuple(net.module(torch.cat(pictures)).argmax(1).tolist())
    with pytest.raises(nv.ImageError, match="rows"):
        mosaic(net, pictures[:3])


def test_grid_pointing_is_the_share_in_the_right_cell(net) -> None:
    tiles = mosaic(net, [torch.randn(1, 3, 40, 40) for _ in range(4)])
    trace = net.trace(tiles.input)
    result = peak(trace, (50, 10, 3.0), (10, 10, 1.0), (10, 70, -4.0))
    score = grid_pointing(result, tiles, 2)
    assert score.value == pytest.approx(0.75)
    assert score.chance == 0.25
    assert grid_pointing(peak(trace, (0, 0, -1.0)), tiles, 0).value == 0
    with pytest.raises(nv.MethodNotApplicableError, match="mosaic"):
        grid_pointing(peak(net.trace(torch.randn(1, 3, 40, 40)), (0, 0, 1)), tiles, 0)


def squashed(picture) -> torch.Tensor:
    """A preprocess of one's own: the whole picture, out of its proportions, black and white exchanged."""
    pixels = torch.from_numpy(np.asarray(picture.resize((40, 40))).copy()).permute(2, 0, 1) / 255
    return 1 - 2 * pixels


def standardized(picture) -> torch.Tensor:
    x = -squashed(picture)
    return (x - x.mean()) / x.std().clamp_min(1e-6)


@pytest.mark.parametrize("preprocess", [squashed, standardized])
def test_an_object_is_where_the_preprocessing_puts_it(preprocess) -> None:
    net = nv.Network(toys.classic(), preprocess=preprocess)
    picture = Image.new("RGB", (80, 400))
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[10:20, 5:25] = True
    assert torch.equal(object_mask(net, picture, (10, 100, 50, 200)), expected)


def test_a_tolerance_in_pixels_of_the_picture_is_scaled_with_it() -> None:
    net = nv.Network(toys.classic(), preprocess=squashed)
    picture = Image.new("RGB", (80, 400))
    found = object_mask(net, picture, (10, 100, 50, 200), tolerance=20)
    # Twenty pixels are ten of the input across, five of them outside, and two down; the corners are round.
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[10:20, 0:35] = True
    assert torch.equal(found[10:20], expected[10:20])
    rows, columns = found.any(1).nonzero().flatten(), found.any(0).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (8, 21)
    assert (int(columns.min()), int(columns.max())) == (0, 34)
    assert not found[8, 34]
    assert bool(found[8, 15])


def test_an_object_is_scaled_and_cropped_as_the_picture_is(bundled) -> None:
    (cat,) = nv.sample_boxes("chelsea")
    found = object_mask(bundled, "chelsea", cat)
    picture = Image.fromarray(np.full((300, 451, 3), 255, np.uint8))
    picture.paste((0, 0, 0), cat.box)
    by_hand = bundled.batch(picture)[0, 0] < 0
    assert (found == by_hand).float().mean() > 0.99, "the object in black on white, by its first channel"
    assert pointing(nv.attribute(bundled, "chelsea", method="grad_cam", target="tabby"), found).value == 1
    with pytest.raises(nv.ImageError, match="crops the object away"):
        object_mask(bundled, Image.new("RGB", (800, 300)), (0, 0, 40, 40))
