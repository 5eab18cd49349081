"""The size that a module takes is found, and what cannot be taken is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import nbcnnviz as nv
from tests import toys


def volumes() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nv.Network(volumes()),
        lambda: nv.Network(volumes(), size=16),
        lambda: nv.Network(volumes(), size=(16, 16, 16)),
        lambda: nv.Network(volumes(), lambda picture: torch.rand(1, 16, 16, 16)),
        lambda: nv.Network(volumes(), lambda picture: torch.rand(1, 16, 16)),
        lambda: nv.Network(torchvision.models.video.mc3_18(weights=None), size=32),
    ],
)
def test_volumes_and_clips_are_refused_with_a_sentence(make) -> None:
    with pytest.raises(
        nv.NetworkError, match=r"volumes or clips.*Conv3d layer.*5-D inputs are not supported"
    ) as raised:
        make()
    assert "Give the network its size" not in str(raised.value)


def test_a_batch_of_five_axes_is_refused_with_a_sentence() -> None:
    network = nv.Network(toys.classic(), size=12)
    with pytest.raises(nv.ImageError, match=r"no picture.*five axes.*volume or a clip"):
        network.trace(torch.zeros(2, 3, 4, 12, 12))


def test_a_network_that_makes_volumes_of_its_pictures_itself_is_taken() -> None:
    module = nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv3d(1, 2, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 3)
    )
    assert nv.Network(module, lambda picture: torch.rand(4, 9, 9)).input_shape == (4, 9, 9)


@pytest.mark.parametrize("size", [(16, 16, 16), (16,), "large", (0, 4), -3, 1.5, (None, 3), True, 10**9])
def test_a_size_that_is_none_is_refused(size) -> None:
    assert nv.Network(toys.classic(), size=np.int64(12)).input_shape == (3, 12, 12)
    with pytest.raises(nv.NetworkError, match=r"one number or \(height, width\)"):
        nv.Network(toys.classic(), size=size)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(
            *[step for _ in range(5) for step in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))]
        ),
        nn.Sequential(*list(torchvision.models.resnet18(weights=None).children())[:-2]),
        torchvision.models.mobilenet_v3_small(weights=None).features,
    ],
    ids=["pooled", "resnet18", "mobilenet_v3_small"],
)
def test_a_feature_extractor_is_no_classifier_at_whatever_size_its_maps_are_one_place(module: nn.Module) -> None:
    with pytest.raises(
        nv.NetworkError, match=r"shape \(1, \d+, 7, 7\).*a classifier of pictures returns scores"
    ) as raised:
        nv.Network(module)
    assert "size" not in str(raised.value)


def test_a_feature_extractor_is_taken_at_that_size_by_who_asks_for_it() -> None:
    module = torchvision.models.mobilenet_v3_small(weights=None).features
    assert len(nv.Network(module, size=32).classes) == 576


@pytest.mark.parametrize(
    "last", [nn.Conv2d(4, 5, 8), nn.Sequential(nn.Conv2d(4, 9, 8, padding="valid"), nn.ReLU(), nn.Conv2d(9, 5, 1))]
)
def test_a_fully_connected_layer_written_as_a_convolution_ends_a_classifier(last: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), last)
    assert nv.Network(module).input_shape == (3, 32, 32)


def test_a_size_is_advised_only_where_one_would_help() -> None:
    advice = r"Give the network its size"
    with pytest.raises(nv.NetworkError, match=advice):
        nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 3)))
    with pytest.raises(nv.NetworkError, match=advice):
        nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3600, 3)), size=31)

    class Broken(nn.Module):
        def forward(self, x):
            return self.no_such_layer(x)

    class FourChannels(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(6, 5, 3)

        def forward(self, x):
            return self.second(self.first(x)).mean((2, 3))

    for module in (Broken(), FourChannels()):
        for size in (None, 32):
            with pytest.raises(nv.NetworkError) as raised:
                nv.Network(module, size=size)
            assert "Give the network its size" not in str(raised.value)
