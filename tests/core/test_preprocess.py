"""Preprocessings as Caffe has them, and the way back from any of them to a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

import nbcnnviz as nv
from nbcnnviz.core.preprocess import Unprocess, applied
from tests import toys

MEAN = (104.0, 117.0, 123.0)


def transformed(picture: Image.Image, mean: np.ndarray, raw_scale: float, input_scale: float) -> np.ndarray:
    """Caffe's io.Transformer.preprocess, as its documentation lists the steps, on a picture of the right size."""
    data = np.asarray(picture, np.float64) / 255  # as skimage loads it
    data = data.transpose(2, 0, 1)[[2, 1, 0]]
    return (data * raw_scale - mean) * input_scale


@pytest.mark.parametrize(
    "given",
    [
        {"mean": MEAN},
        {"mean": np.random.default_rng(0).uniform(80, 140, (3, 30, 40))},
        {"mean": 0.5, "raw_scale": 1.0, "input_scale": 2.0},
        {},
    ],
    ids=["mean pixel", "mean image", "one number", "raw"],
)
def test_caffes_preprocessing_is_one_line_and_comes_back(given) -> None:
    picture = nv.load_image("coffee").resize((40, 30))
    preprocess = nv.Preprocess.caffe((30, 40), **given)
    mean = np.asarray(given.get("mean", 0.0), np.float64)
    mean = mean.reshape(-1, 1, 1) if mean.ndim == 1 else mean
    expected = transformed(picture, mean, given.get("raw_scale", 255.0), given.get("input_scale", 1.0))
    np.testing.assert_allclose(preprocess(picture).numpy(), expected, atol=1e-3)
    network = nv.Network(toys.classic(), preprocess)
    assert network.input_shape == (3, 30, 40)
    shown = network.trace(picture).pictures[0]
    assert np.abs(np.asarray(shown, int) - np.asarray(picture, int)).max() <= 1


def test_a_mean_image_larger_than_the_input_is_cut_in_its_middle() -> None:
    mean = torch.arange(3 * 10 * 12.0).reshape(3, 10, 12)
    black = nv.Preprocess.caffe((6, 8), mean)(Image.new("RGB", (8, 6)))
    assert torch.equal(black, -mean[:, 2:8, 2:10])
    squashed = nv.Preprocess.caffe(8, squash=True)(nv.load_image("coffee"))
    expected = np.asarray(nv.load_image("coffee").resize((8, 8), Image.Resampling.BILINEAR), np.float32)[..., ::-1]
    np.testing.assert_allclose(squashed.numpy(), expected.transpose(2, 0, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mean": (1, 2)}, r"shape \(2, 1, 1\) fits no picture"),
        ({"mean": np.zeros((3, 4, 4))}, "4 x 4, is smaller than the input, 8 x 8"),
        ({"channel_swap": (0, 0, 1)}, "channel swap"),
        ({"raw_scale": 0.0}, "scale of 0"),
    ],
)
def test_a_description_that_makes_no_sense_is_a_sentence(given, told: str) -> None:
    with pytest.raises(nv.ImageError, match=told):
        nv.Preprocess.caffe(8, **given)


@pytest.mark.parametrize("each_channel", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_z_score_is_one_line_and_shown_in_its_colours(channels: int, each_channel: bool) -> None:
    picture = nv.load_image("coffee").resize((40, 30))
    preprocess = nv.Preprocess.standardized((30, 40), channels, each_channel=each_channel)
    x = preprocess(picture).double()
    pixels = np.asarray(picture if channels == 3 else picture.convert("L"), np.float64).reshape(30, 40, channels)
    axes = (0, 1) if each_channel else None
    expected = (pixels - pixels.mean(axes)) / pixels.std(axes)
    np.testing.assert_allclose(x.numpy(), expected.transpose(2, 0, 1), atol=1e-4)
    shown = np.asarray(nv.Network(toys.classic(channels), preprocess).trace(picture).pictures[0], int)
    low, high = pixels.min(axes), pixels.max(axes)
    stretched = (pixels - low) / (high - low) * 255
    assert np.abs(shown - stretched).max() <= 1
    assert preprocess(Image.new("RGB", (50, 50), "gray")).abs().max() == 0


def zscore(picture: Image.Image) -> Tensor:
    """A user's own, which is 0 / 0 for a picture of one colour; blue first."""
    x = v2.functional.to_dtype(v2.functional.to_image(picture.resize((32, 32))), torch.float32, scale=True).flip(0)
    return (x - x.mean()) / x.std()


def minmax(picture: Image.Image) -> Tensor:
    x = v2.functional.to_dtype(v2.functional.to_image(picture.resize((32, 32))), torch.float32, scale=True)
    return (x - x.min()) / (x.max() - x.min() + 1e-6)


def gamma(picture: Image.Image) -> Tensor:
    x = v2.functional.to_dtype(v2.functional.to_image(picture.resize((32, 32))), torch.float32, scale=True)
    return x.pow(2.2) * 2 - 1


@pytest.mark.parametrize("preprocess", [zscore, minmax, gamma])
def test_a_preprocess_that_is_not_affine_is_shown_in_the_right_order_of_colours(preprocess) -> None:
    network = nv.Network(toys.classic(), preprocess)
    picture = Image.new("RGB", (32, 32), "black")
    picture.paste((255, 0, 0), (0, 0, 16, 32))
    trace = network.trace(picture)
    shown = np.asarray(trace.pictures[0], int)
    assert (shown[:, 4, 0] > shown[:, 4, 2] + 100).all(), "red is red"
    assert len(network.unprocess.black) == 0, "what is not affine has no inverse"
    for method in ("saliency", "gradient"):
        result = nv.attribute(trace, method=method, target=1)
        assert result.overlay().size == (32, 32)
    assert nv.attribute(trace, method="gradient", target=1).picture().size == (32, 32)
    *_, frame = nv.class_model(network, 1, steps=2)
    assert frame.step == 2


def test_a_preprocess_that_is_affine_is_inverted_exactly() -> None:
    for preprocess in (nv.Preprocess((32, 32)), nv.Preprocess.caffe(32, MEAN)):
        assert len(Unprocess(preprocess).black) == 3
    assert Unprocess(nv.Preprocess((32, 32))).order == [0, 1, 2]
    assert Unprocess(nv.Preprocess.caffe(32, MEAN)).order == [2, 1, 0]
    mixed = Unprocess(lambda p: torch.einsum("ij,jhw->ihw", torch.rand(3, 3) + torch.eye(3), minmax(p)))
    assert mixed.order is None


def test_a_preprocess_that_fails_is_a_sentence() -> None:
    def failing(picture: Image.Image) -> Tensor:
        if picture.size == (5, 5):
            raise RuntimeError("too small\nat all")
        return minmax(picture)

    network = nv.Network(toys.classic(), failing)
    with pytest.raises(nv.ImageError, match=r"preprocess failed on a picture of 5 x 5: too small$"):
        network.trace(Image.new("RGB", (5, 5)))
    with pytest.raises(nv.ImageError, match="NaN or infinite"):
        nv.Network(toys.classic(), lambda picture: torch.full((3, 8, 8), torch.nan))
    with pytest.raises(nv.ImageError, match="returned a int"):
        applied(lambda picture: 3, Image.new("RGB", (5, 5)))
