"""Which axis holds the channels, where a shape alone does not tell."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import nbcnnviz as nv
from nbcnnviz.core.errors import nearest
from nbcnnviz.core.layers import has_channels_last


class Permuted(nn.Module):
    """A block that works with its channels last and returns them first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm, self.wide, self.act = nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU()
        self.narrow, self.relu, self.fc = nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, 2)

    def forward(self, x):
        y = self.conv(x).permute(0, 2, 3, 1)
        y = self.narrow(self.act(self.wide(self.norm(y)))).permute(0, 3, 1, 2)
        return self.fc(self.relu(y).mean((2, 3)))


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (12, 5)])
@pytest.mark.parametrize("channels", [4, 5, 7, 12])
def test_channels_are_last_within_such_a_block_and_first_around_it(channels: int, size: tuple[int, int]) -> None:
    network = nv.Network(Permuted(channels).eval(), size=size)
    last = [name for name, layer in network.layers.items() if layer.channels_last]
    assert last == ["norm", "wide", "act", "narrow"]
    assert network.last_maps == "relu"
    assert {name: layer.filters for name, layer in network.layers.items()} == {
        **{"conv": channels, "norm": channels, "wide": 2 * channels, "act": 2 * channels},
        **{"narrow": channels, "relu": channels, "fc": 2},
    }
    trace = network.trace(torch.randn(1, 3, *size))
    assert trace.maps("relu").shape == (1, channels, *size)
    assert torch.equal(trace.maps("act"), trace["act"].permute(0, 3, 1, 2))
    assert torch.equal(trace.map_gradient(0, "act"), trace.gradient(0, "act").permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(12, 6), (9, 11), (8, 8)])
def test_convolutions_of_any_stride_and_what_follows_them_have_channels_first(size: tuple[int, int]) -> None:
    for channels in range(3, 13):
        module = nn.Sequential(
            nn.Conv2d(3, channels, (3, 5), stride=(2, 1), padding=(1, 2)),
            nn.ReLU(),
            nn.Sequential(nn.Dropout(), nn.GroupNorm(1, channels)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        network = nv.Network(module, size=size)
        assert not [name for name, layer in network.layers.items() if layer.channels_last]
        assert all(layer.filters == channels for layer in network.layers.values())


@pytest.mark.parametrize(
    ("kind", "shape", "last"),
    [
        ("Permute", (56, 56, 96), True),
        ("ConvNeXtBlock", (96, 56, 56), False),
        ("LayerNorm", (64, 64, 64), True),
        ("Block", (64, 64, 64), False),
        ("LayerNorm2d", (64, 64, 64), False),
        ("Linear", (1, 1, 96), True),
        ("Squeeze", (96, 1, 1), False),
        ("Linear", (96,), False),
        ("Attention", (49, 96), False),
        ("LayerNorm", (96, 56, 56), False),
    ],
)
def test_shape_and_class_tell_where_channels_are(kind: str, shape: tuple[int, ...], last: bool) -> None:
    assert has_channels_last(kind, shape, (224, 224), None) is last


def test_a_network_with_its_channels_last_throughout_is_understood() -> None:
    network = nv.Network(torchvision.models.swin_t(weights=None), size=64)
    layer = network.layers["features.1.0"]
    assert layer.channels_last
    assert layer.filters == 96
    assert network.last_maps == "permute"
    assert network.layers["permute"].shape == (768, 2, 2)
    unit = nv.Unit("features.1.0", 95, 15, 15)
    assert nv.attribute(network, torch.randn(1, 3, 64, 64), method="gradient", target=unit).values.abs().max() > 0


def test_the_nearest_names_are_those_that_contain_it_then_those_alike() -> None:
    names = ["layer1", "layer1.0.relu", "layer2", "conv1", "fc"]
    assert nearest("relu", names) == ["layer1.0.relu"]
    assert nearest("layer", names)[:2] == ["layer1", "layer2"]
    assert nearest("Conv2", names)[0] == "conv1"
    assert nearest("zzz", names) == []
    assert nearest("", names) == []
    assert len(nearest("layer", [f"layer{i}" for i in range(20)])) == 3
