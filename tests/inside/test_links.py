"""Which filters a filter reads from and writes to: against convolutions worked out place by place, and sums that must come out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.inside import reads, strongest, writes


def block() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU6(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    module = block()
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 2)
            layer.bias.data.normal_()
    return nv.Network(module.eval(), size=12)


@pytest.fixture(scope="module")
def trace(net) -> nv.Trace:
    return net.trace(torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1)))


def window(x: Tensor, row: int, column: int, stride: int) -> Tensor:
    """What a 3 x 3 kernel with padding 1 sees, (C, 3, 3)."""
    padded = F.pad(x, (1, 1, 1, 1))
    return padded[:, row * stride : row * stride + 3, column * stride : column * stride + 3]


@pytest.mark.parametrize("layer", ["4", "5", "6"])
def test_what_is_read_is_what_each_input_brings_to_the_strongest_unit(net, trace, layer) -> None:
    for channel in range(6):
        links = reads(trace, layer, channel)
        assert (links.layer, links.through, links.channels.tolist()) == ("3", "4", [0, 1, 2, 3])
        weight = net.module[4].weight[channel].detach()
        assert torch.allclose(links.norms, weight.pow(2).sum((1, 2)).sqrt())
        place = strongest(trace, layer, channel)
        brought = (weight * window(trace["3"][0].detach(), place.row, place.column, 2)).sum((1, 2))
        norm = net.module[5]
        scale = (
            1.0
            if layer == "4"
            else float(norm.weight[channel].detach() / (norm.running_var[channel] + norm.eps).sqrt())
        )
        passes = 1.0 if layer != "6" or 0 < place.value < 6 else 0.0
        assert torch.allclose(links.contributions, brought * scale * passes, atol=1e-5)
        if layer == "4":  # without a bias, that is all there is
            assert float(links.contributions.sum()) == pytest.approx(place.value, abs=1e-5)


def test_what_is_written_sums_over_all_filters_to_what_the_weights_make(net, trace) -> None:
    together = torch.stack([writes(trace, "3", k).contributions for k in range(4)]).sum(0)
    assert torch.allclose(together, trace["4"][0].detach().amax((1, 2)), atol=1e-5)
    links = writes(trace, "2", 1)  # through the pool
    assert links.layer == links.through == "4"
    assert torch.allclose(links.norms, net.module[4].weight[:, 1].detach().flatten(1).norm(dim=1))


def test_the_last_maps_write_to_the_classes(net, trace) -> None:
    together = torch.stack([writes(trace, "6", k).contributions for k in range(6)]).sum(0)
    assert torch.allclose(together + net.module[9].bias, trace.scores[0], atol=1e-5)
    best = writes(trace, "6", 2).strongest("contribution", 3)
    expected = (net.module[9].weight[:, 2] * trace["6"][0, 2].mean()).detach()
    assert [link.channel for link in best] == expected.abs().argsort(descending=True)[:3].tolist()
    assert [link.contribution for link in best] == pytest.approx([float(expected[link.channel]) for link in best])


def test_a_flattened_map_has_a_weight_for_each_place() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5, bias=False))
    net = nv.Network(module.eval(), size=6)
    trace = net.trace(torch.randn(1, 3, 6, 6))
    together = torch.stack([writes(trace, "1", k).contributions for k in range(4)]).sum(0)
    assert torch.allclose(together, trace.scores[0], atol=1e-5)
    with pytest.raises(nv.MethodNotApplicableError, match="No convolution or linear"):
        writes(trace, "3", 0)


def test_the_picture_has_channels_to_read_too(net, trace) -> None:
    links = reads(trace, "2", 1)
    assert (links.layer, links.through, links.channels.tolist()) == ("input", "0", [0, 1, 2])
    assert len(reads(trace, "9", 3).channels) == 6


def test_groups_see_their_own_channels_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 3),
    )  # fmt: skip
    trace = nv.Network(module.eval(), size=6).trace(torch.randn(1, 3, 6, 6))
    links = reads(trace, "2", 7)
    assert links.channels.tolist() == [4, 5]
    place = strongest(trace, "2", 7)
    assert float(links.contributions.sum() + module[2].bias[7]) == pytest.approx(place.value, abs=1e-5)
    assert writes(trace, "1", 5).channels.tolist() == [6, 7, 8]
    group = [writes(trace, "1", k).contributions for k in (4, 5)]
    assert torch.allclose(sum(group) + module[2].bias[6:9], trace["2"][0, 6:9].amax((1, 2)), atol=1e-5)


class Residual(nn.Module):
    """Two ways to the sum, a gate of the same channels, and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1)
        self.gated, self.summed, self.joined = nn.Identity(), nn.Identity(), nn.Identity()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x).relu()
        b = self.second(a)
        b = self.gated(b * self.gate(b.mean((2, 3), keepdim=True)).sigmoid())
        c = self.summed(a + b)
        return self.fc(self.last(self.joined(torch.cat([a, c], 1))).mean((2, 3)))


def test_a_gate_is_not_what_makes_a_filter_and_a_concatenation_is_no_filter_of_its_own() -> None:
    torch.manual_seed(0)
    trace = nv.Network(Residual().eval(), size=6).trace(torch.randn(1, 3, 6, 6))
    assert reads(trace, "summed", 0).through == "second"
    assert reads(trace, "gated", 0).through == "second"
    assert reads(trace, "last", 0).layer == "joined"
    assert writes(trace, "second", 0).through == "gate"
    with pytest.raises(nv.MethodNotApplicableError, match="No one convolution"):
        reads(trace, "joined", 0)
    with pytest.raises(nv.MethodNotApplicableError, match="No convolution or linear"):
        writes(trace, "summed", 0)
