"""Canvases and views, beside the same arithmetic in numpy and scipy."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import nn
from torchvision.transforms.v2 import functional as F

import nbcnnviz as nv
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.parameterization import Colours, Fourier, Pixels
from nbcnnviz.synthesis.transforms import View
from tests.toys import classic


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def net() -> nv.Network:
    return nv.Network(classic(), size=(30, 41))


def fourier_in_numpy(spectrum: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels of a spectrum (C, H, W // 2 + 1), wave by wave: no Fourier transform is called."""
    rows, columns = np.arange(height), np.arange(width)
    waves = np.zeros((len(spectrum), height, width))
    for u in range(height):
        for v in range(width // 2 + 1):
            fy, fx = (u if u <= (height - 1) // 2 else u - height) / height, v / width
            scale = 1 / max(np.hypot(fy, fx), 1 / max(height, width))
            wave = np.exp(2j * np.pi * (u * rows[:, None] / height + v * columns[None, :] / width))
            mirrored = 1 if v == 0 or 2 * v == width else 2  # a real picture has the conjugate wave as well
            waves += mirrored * (spectrum[:, u, v, None, None] * wave).real * scale
    waves /= np.sqrt(height * width) * 4
    colours = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    colours /= np.sqrt((colours**2).sum(0)).max()
    return 1 / (1 + np.exp(-np.einsum("rc,chw->rhw", colours, waves)))


@pytest.mark.parametrize("size", [(12, 16), (11, 13), (12, 13)])
def test_the_fourier_parameterization_is_the_sum_of_its_waves(net: nv.Network, size: tuple[int, int]) -> None:
    colours = Colours(net)
    parameterization = Fourier(torch.zeros(1, 3, *size), colours)
    parameterization.randomize(generator(), alike=True, sd=0.3)
    spectrum = torch.view_as_complex(parameterization.parameters[0]).numpy()[0].astype(complex)
    # Of a wave without a mirror image only the real part shows.
    found = colours.to_pixels(parameterization.picture())[0].numpy()
    np.testing.assert_allclose(found, fourier_in_numpy(spectrum, *size), atol=2e-6)


def test_the_fourier_parameterization_starts_with_little_contrast_and_the_colours_of_photographs(
    net: nv.Network,
) -> None:
    parameterization = Fourier(torch.zeros(8, 3, 96, 96), Colours(net))
    parameterization.randomize(generator(), alike=False)
    drawn = parameterization.parameters[0]
    assert drawn.std() == pytest.approx(0.01, rel=0.02)
    pixels = Colours(net).to_pixels(parameterization.picture())
    waves = torch.logit(pixels.double()).movedim(1, 0).flatten(1)
    # The covariance of RGB is M M^T times the variance of one decorrelated colour.
    matrix = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64)
    expected = matrix @ matrix.T
    found = waves @ waves.T
    assert torch.allclose(found / found.trace(), expected / expected.trace(), atol=0.03)
    # Parseval: each wave's power is (sd scale / 4)^2 of both its parts, mirrored ones twice.
    f = np.maximum(np.hypot(np.fft.fftfreq(96)[:, None], np.fft.rfftfreq(96)[None]), 1 / 96)
    mirrored = np.where(np.isin(np.arange(49), (0, 48)), 1, 2)
    variance = (2 * (0.01 / f / 4) ** 2 * mirrored).sum() / 96**2 * float(expected.trace() / (0.26**2 + 2 * 0.27**2))
    assert float(waves.square().mean() * 3) == pytest.approx(variance, rel=0.25)


@pytest.mark.parametrize("kind", [Fourier, Pixels])
def test_a_parameterization_shows_the_picture_it_was_set_to(net: nv.Network, kind: type) -> None:
    picture = Colours(net).to_input(0.05 + 0.9 * torch.rand(2, 3, 30, 41, generator=generator()))
    parameterization = kind(torch.zeros_like(picture), Colours(net))
    parameterization.set(picture)
    assert torch.allclose(parameterization.picture(), picture, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_parameterization_of_any_number_of_channels_has_the_units_of_the_input(channels: int) -> None:
    net = nv.Network(classic(channels), size=16)
    colours = Colours(net)
    pixels = torch.rand(1, channels, 16, 16)
    assert torch.allclose(colours.to_pixels(colours.to_input(pixels)), pixels, atol=1e-6)
    parameterization = Fourier(colours.to_input(pixels.clamp(0.1, 0.9)), colours)
    assert parameterization.picture().shape == (1, channels, 16, 16)
    if channels == 3:
        image = Image.fromarray((pixels[0].permute(1, 2, 0) * 255).round().byte().numpy())
        assert torch.allclose(colours.to_input((pixels * 255).round() / 255)[0], net.preprocess(image), atol=1e-5)


def test_colours_follow_a_preprocess_that_puts_blue_first() -> None:
    def blue_first(image: Image.Image) -> torch.Tensor:
        pixels = F.to_dtype(F.to_image(image), torch.float32, scale=True)[[2, 1, 0]]
        return 255 * pixels - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)

    net = nv.Network(classic(), preprocess=blue_first)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8))
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    assert torch.allclose(Colours(net).to_input(pixels)[0], blue_first(image), atol=1e-3)


def view_in_scipy(image: np.ndarray, view: View, grey: float) -> np.ndarray:
    """The four steps one after the other, on a wide pad: crop off centre, magnify and turn, crop off centre, fit."""
    margin, (height, width) = 30, image.shape
    padded = np.pad(image, margin, constant_values=grey)
    (down, right), (down_after, right_after) = view.shift, view.shift_after
    cut = 10  # crop: the same margin off both sides, shifted
    window = padded[cut + down : padded.shape[0] - cut + down, cut + right : padded.shape[1] - cut + right]
    middle = (np.array(window.shape) - 1) / 2
    cos, sin = np.cos(np.deg2rad(view.angle)) / view.scale, np.sin(np.deg2rad(view.angle)) / view.scale
    matrix = np.array([[cos, sin], [-sin, cos]])
    turned = ndimage.affine_transform(window, matrix, middle - matrix @ middle, order=1, cval=grey)
    top, left = (window.shape[0] - height) // 2 + down_after, (window.shape[1] - width) // 2 + right_after
    return turned[top : top + height, left : left + width]


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View((3, -4)),
        View((0, 0), 1.0, 0.0, (-2, 1)),
        View((2, 2), 1.1),
        View((0, 0), 0.9, 10.0),
        View((3, -4), 1.07, -8.0, (-1, 2)),
    ],
)
def test_a_view_is_pad_jitter_scale_rotate_jitter(view: View) -> None:
    picture = torch.rand(2, 3, 33, 48, dtype=torch.float64, generator=generator())
    grey = torch.tensor([0.5, 0.4, -0.3], dtype=torch.float64).view(3, 1, 1)
    found = view.of(picture, grey)
    for n in range(2):
        for c in range(3):
            # Sign: a view turned anticlockwise.
            expected = view_in_scipy(picture[n, c].numpy(), view, float(grey[c]))
            np.testing.assert_allclose(found[n, c].numpy(), expected, atol=1e-5)


def test_a_shifted_view_shows_grey_beyond_the_border_and_never_black() -> None:
    white, grey = torch.ones(1, 1, 8, 8), torch.full((1, 1, 1), 0.5)
    view = View((3, -2)).of(white, grey)[0, 0]
    assert (view[5:] == 0.5).all()
    assert (view[:, :2] == 0.5).all()
    assert (view[:5, 2:] == 1).all()


def test_views_are_drawn_over_the_whole_range_and_no_further() -> None:
    g, controls = generator(), Controls()
    views = [View.draw(controls, g) for _ in range(2000)]
    assert {v.shift[0] for v in views} == set(range(-4, 5)) == {v.shift[1] for v in views}
    assert {v.shift_after[0] for v in views} == set(range(-2, 3))
    assert 0.9 <= min(v.scale for v in views) < 0.901
    assert 1.099 < max(v.scale for v in views) <= 1.1
    assert -10 <= min(v.angle for v in views) < -9.9


def test_views_are_drawn_from_their_own_generator() -> None:
    before = torch.get_rng_state()
    first, second = ([View.draw(Controls(), g) for _ in range(5)] for g in (generator(3), generator(3)))
    assert first == second
    assert torch.equal(before, torch.get_rng_state())


def test_the_gradient_reaches_the_picture_through_a_view() -> None:
    picture = torch.rand(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    view, grey = View((1, 0), 1.05, 5.0), torch.zeros(1, 1, 1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: view.of(x, grey), picture)


def test_a_network_of_another_colour_count_can_be_shown() -> None:
    net = nv.Network(nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12)
    from nbcnnviz.synthesis import synthesize

    *_, frame = synthesize(net, nv.Channel("0", 1), steps=2)
    assert frame.input.shape == (1, 5, 12, 12)
    assert frame.image.size == (12, 12)
