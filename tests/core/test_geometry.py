"""Where in a picture a preprocess looks, against what the preprocess itself makes of a photograph."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from torch import Tensor
from torchvision.models import ResNet50_Weights
from torchvision.transforms.v2 import functional as F

import nbcnnviz as nv
from nbcnnviz.core.geometry import find_geometry
from nbcnnviz.core.preprocess import Preprocess, Unprocess

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def as_tensor(picture: Image.Image) -> Tensor:
    return F.to_dtype(F.to_image(picture), torch.float32, scale=True).as_subclass(Tensor)


def letterboxed(picture: Image.Image) -> Tensor:
    return F.normalize(as_tensor(ImageOps.pad(picture, (96, 96), color=(124, 116, 104))), MEAN, STD)


def blue_first(picture: Image.Image) -> Tensor:
    pixels = as_tensor(F.center_crop(F.resize(picture, [70, 70]), [63, 61]))[[2, 1, 0]]
    return 255 * pixels - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)


PREPROCESSES = {
    "own": Preprocess((48, 64)),
    "grey": Preprocess((48, 64), (0.5,), (0.5,)),
    "torchvision": ResNet50_Weights.DEFAULT.transforms(),
    "timm, bicubic": create_transform(64, crop_pct=0.875, interpolation="bicubic"),
    "timm, lanczos": create_transform(64, crop_pct=1.0, interpolation="lanczos"),
    "squashed": create_transform(64, crop_pct=1.0, crop_mode="squash", interpolation="bicubic"),
    "blue first": blue_first,
}


@pytest.mark.parametrize("size", [(400, 600), (301, 200), (64, 64), (33, 90)])
@pytest.mark.parametrize("preprocess", PREPROCESSES.values(), ids=PREPROCESSES)
def test_the_geometry_is_that_of_the_preprocess(preprocess: Callable, size: tuple[int, int]) -> None:
    unprocess = Unprocess(preprocess)
    found = find_geometry(preprocess, unprocess, size)
    picture = nv.load_image("coffee").convert("L").resize(size[::-1]).convert("RGB")
    expected = unprocess(preprocess(picture)[None])[0, 0]
    given = torch.from_numpy(np.array(picture)).float()[..., 0] / 255
    off = (found(given) - expected).abs() * 255
    # Pillow rounds to 8 bits twice, and cuts off what bicubic filters throw beyond black and white.
    assert float(off.mean()) < 0.5
    assert float(off.quantile(0.99)) < 3


@pytest.mark.parametrize("preprocess", PREPROCESSES.values(), ids=PREPROCESSES)
def test_a_picture_scaled_as_the_preprocess_does_it_goes_through_pixel_by_pixel(preprocess: Callable) -> None:
    unprocess, picture = Unprocess(preprocess), nv.load_image("coffee")
    found = find_geometry(preprocess, unprocess, (400, 600))
    scaled = picture.resize(found.scaled[::-1], found.resampling)
    seen, once = ((unprocess(preprocess(p)[None])[0] * 255).round() for p in (scaled, picture))
    # Cropping before scaling rounds otherwise.
    assert float((seen - once).abs().max()) <= 1
    top, left = found.corner
    cut = np.array(scaled)[top : top + seen.shape[1], left : left + seen.shape[2]]
    if preprocess is not PREPROCESSES["grey"]:
        assert np.array_equal(seen.permute(1, 2, 0).numpy(), cut)


def test_a_picture_on_a_ground_is_found_on_it() -> None:
    unprocess = Unprocess(letterboxed)
    found = find_geometry(letterboxed, unprocess, (400, 600))
    assert found.scaled == (64, 96)
    assert found.corner == (-16, 0)
    assert float(found.rows[:15].abs().sum()) == 0


def test_what_leads_back_is_the_transpose_of_what_leads_there() -> None:
    preprocess = PREPROCESSES["timm, bicubic"]
    found = find_geometry(preprocess, Unprocess(preprocess), (50, 70))
    picture = torch.randn(1, 3, 50, 70, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    assert torch.allclose(found.adjoint(gradient), torch.autograd.grad(found(picture), picture, gradient)[0])


def random_crop(picture: Image.Image) -> Tensor:
    return torch.rand(3, 32, 32)


def blurred(picture: Image.Image) -> Tensor:
    return F.gaussian_blur(as_tensor(F.resize(picture, [64, 64])), 21)


def flipped(picture: Image.Image) -> Tensor:
    return as_tensor(F.resize(picture, [64, 64])).flip(2)


@pytest.mark.parametrize("preprocess", [random_crop, blurred, flipped])
def test_a_preprocess_that_does_something_else_is_refused(preprocess: Callable) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="something else with a picture of 40 x 60 than scaling"):
        find_geometry(preprocess, Unprocess(Preprocess((64, 64))), (40, 60))
