"""What a result says of itself: pictures in colour, values that are no numbers, activations that were not ruled."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.render import colour_picture, heatmap, overlay
from tests import toys


class Rooted(nn.Module):
    """A standard deviation at the end, whose slope is infinite where a pruned filter's is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.conv(x).var((2, 3)).sqrt())


@pytest.fixture
def broken() -> nv.Attribution:
    module = Rooted().eval()
    with torch.no_grad():
        module.conv.weight[0] = 0
    return nv.attribute(nv.Network(module, size=32), torch.rand(1, 3, 32, 32), method="saliency", target=1)


def test_a_map_of_nan_says_how_many_values_are_no_numbers(broken: nv.Attribution, tmp_path: Path) -> None:
    told = "1024 of 1024 values are NaN or infinite"
    assert broken.not_finite == 1024
    assert broken.remarks == (told,)
    assert told in repr(broken)
    with pytest.warns(RuntimeWarning, match="1024 of 1024 values of saliency are NaN or infinite"):
        drawn = broken.overlay()
    assert drawn.tobytes() != broken.trace.pictures[0].tobytes()
    with pytest.warns(RuntimeWarning, match="1024 of 1024"):
        assert np.isnan(broken.heatmap).all()
    for name in ("map.png", "map.npy"):
        with pytest.warns(RuntimeWarning, match="1024 of 1024"):
            broken.save(tmp_path / name)
    assert told in Image.open(tmp_path / "map.png").text["Comment"]
    with pytest.warns(RuntimeWarning):
        assert told in Image.open(io.BytesIO(broken._repr_png_())).text["Comment"]


def test_a_map_of_numbers_warns_of_nothing(tmp_path: Path) -> None:
    result = nv.attribute(nv.Network(toys.classic(), size=16), "coffee", method="saliency", target=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.overlay()
        result.save(tmp_path / "map.png")
        result.save(tmp_path / "map.npy")
        assert np.isfinite(result.heatmap).all()
    assert result.remarks == ()
    assert Image.open(tmp_path / "map.png").text == {}


def test_only_what_is_no_number_is_hatched() -> None:
    picture = Image.new("RGB", (12, 12), (10, 20, 30))
    values = torch.zeros(1, 12, 12)
    values[0, :6] = torch.nan
    found = np.asarray(overlay(picture, values))
    assert set(np.unique(found[:6])) == {0, 255}, "black and white"
    assert (found[6:] == (10, 20, 30)).all()
    coarse = torch.zeros(1, 3, 3)
    coarse[0, 0, 0] = torch.inf
    found = np.asarray(overlay(picture, coarse))
    assert set(np.unique(found[:4, :4])) == {0, 255}
    assert (found[4:, 4:] == (10, 20, 30)).all()


def test_the_numbers_beside_a_nan_keep_their_place_in_the_heat_map() -> None:
    values = torch.tensor([[[[1.0, -2.0], [torch.nan, 0.5]]]])
    found = heatmap(values, (2, 2))[0]
    assert found[0].tolist() == [0.5, -1.0]
    assert found[1, 1] == 0.25
    assert found[1, 0].isnan()


def test_a_colour_picture_scales_each_channel_about_grey() -> None:
    values = torch.tensor([[[4.0, -4.0, 0.0]], [[1.0, -0.5, 0.0]], [[0.0, 0.0, 0.0]]])
    found = np.asarray(colour_picture(values)).astype(int)
    expected = 127.5 + 127.5 * (values / torch.tensor([4.0, 1.0, 1.0]).view(3, 1, 1)).numpy()
    assert np.abs(found - expected.transpose(1, 2, 0)).max() <= 0.5
    assert found[0, 2].tolist() == [128, 128, 128]
    grey = np.asarray(colour_picture(values[:1]))
    assert grey.shape == (1, 3, 3)
    assert (grey[..., 0] == grey[..., 2]).all()
    values[1, 0, 0] = torch.nan
    hatched = np.asarray(colour_picture(values))
    assert hatched[0, 0].tolist() in ([0, 0, 0], [255, 255, 255])


def bgr(picture: Image.Image) -> torch.Tensor:
    """Blue first."""
    return torch.from_numpy(np.array(picture.resize((24, 16)), np.float32)).permute(2, 0, 1).flip(0) - 100


def test_the_picture_of_a_gradient_is_in_the_colours_of_the_picture_explained() -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    module.append(nn.Linear(1, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1))  # looks at the input's last channel: red
        module[4].weight.fill_(1.0)
    result = nv.attribute(nv.Network(module, bgr), Image.new("RGB", (24, 16), "white"), method="gradient", target=0)
    red, green, blue = np.asarray(result.picture()).reshape(-1, 3).T
    assert red.min() == 255
    assert (green == 128).all()
    assert (blue == 128).all()


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "deconvnet"])
def test_gradients_with_a_sign_show_themselves_in_colour(method: str, tmp_path: Path) -> None:
    network = nv.Network(toys.classic(), size=(16, 24))
    result = nv.attribute(network, ["coffee", "chelsea"], method=method, target=2)
    assert result.view == "picture"
    shown = Image.open(io.BytesIO(result._repr_png_())).convert("RGB")
    assert shown.tobytes() == result.picture().tobytes()
    assert result.picture(1).tobytes() == colour_picture(result.values[1]).tobytes()
    result.save(tmp_path / "own.png", 1, view="picture")
    assert Image.open(tmp_path / "own.png").convert("RGB").tobytes() == result.picture(1).tobytes()
    assert np.asarray(result.picture()).std() > 20, "there is something to see"


def test_other_maps_show_themselves_over_the_picture() -> None:
    network = nv.Network(toys.classic(), size=(16, 24))
    for question in ({"method": "saliency"}, {"method": "grad_cam"}, {"method": "gradient", "layer": "4"}):
        result = nv.attribute(network, "coffee", target=2, **question)
        assert result.view == "overlay"
        assert Image.open(io.BytesIO(result._repr_png_())).convert("RGB").tobytes() == result.overlay().tobytes()
    with pytest.raises(nv.MethodNotApplicableError, match=r"map of 8 channels is no picture.*overlay\(\)"):
        nv.attribute(network, "coffee", method="gradient", layer="4").picture()


def test_a_map_of_zeros_says_so() -> None:
    class Rounded(torch.nn.Sequential):
        """Steps have no slope."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward((x * 255).round() / 255)

    net = nv.Network(Rounded(*toys.classic()), size=12)
    x = torch.randn(1, 3, 12, 12)
    assert nv.attribute(net, x, method="saliency", target=1).remarks == ("zero everywhere",)
    assert nv.attribute(net, x, method="rise", target=1, masks=8).remarks == ()
