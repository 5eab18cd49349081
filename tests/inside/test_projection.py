"""The projection of a unit against one by hand: transposed convolutions, scattered switches, no autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.inside import project, receptive_fields, strongest
from tests import toys
from tests.conftest import relative_error


def alexnet() -> nn.Sequential:
    return torchvision.models.alexnet(weights=None).features


def vgg16() -> nn.Sequential:
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])


def classifier(features: nn.Sequential) -> nn.Module:
    """A network of these maps, whose linear layers would be no use here."""
    for conv in features:
        if isinstance(conv, nn.Conv2d):  # so that the maps do not fade with depth
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    channels = next(m for m in reversed(features) if isinstance(m, nn.Conv2d)).out_channels
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)).eval()


@torch.no_grad()
def by_hand(features: nn.Sequential, x: Tensor, last: int, channel: int) -> tuple[Tensor, tuple[int, int], float]:
    """Zeiler & Fergus 2014, section 2.1: the projection (C, H, W), the place of the strongest activation, its value."""
    sizes, switches = [], {}
    for i, layer in enumerate(features[: last + 1]):
        sizes.append(x.shape)
        if isinstance(layer, nn.MaxPool2d):
            x, switches[i] = F.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, return_indices=True)
        else:
            x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
    value = x[0, channel].max()
    place = (x[0, channel] == value).nonzero().tolist()[0]  # pools that overlap return their maximum more than once
    down = torch.zeros_like(x)
    down[0, channel, place[0], place[1]] = value
    for i, layer in reversed(list(enumerate(features[: last + 1]))):
        if isinstance(layer, nn.MaxPool2d):
            planes = torch.zeros(*sizes[i][:2], sizes[i][2] * sizes[i][3])
            down = planes.scatter_add(2, switches[i].flatten(2), down.flatten(2)).view(sizes[i])
        elif isinstance(layer, nn.ReLU):
            down = down.relu()
        else:
            down = _up(down, layer, sizes[i])
    return down[0], (place[0], place[1]), float(value)


def _up(down: Tensor, conv: nn.Conv2d, size: torch.Size) -> Tensor:
    reach = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(down.shape[2:], conv.stride, conv.padding, conv.kernel_size)]  # noqa: B905
    rest = [n - r for n, r in zip(size[2:], reach, strict=True)]
    return F.conv_transpose2d(down, conv.weight, None, conv.stride, conv.padding, rest)


@pytest.mark.parametrize(
    ("make", "last"),
    [
        *((alexnet, last) for last in (0, 1, 2, 4, 5, 10, 11, 12)),
        *((vgg16, last) for last in (2, 9, 16, 28, 29, 30)),
    ],
    ids=lambda what: what.__name__ if callable(what) else str(what),
)
def test_a_projection_is_what_transposed_filters_and_switches_give(
    make: Callable[[], nn.Sequential], last: int
) -> None:
    features = make()
    x = torch.randn(1, 3, 120, 152)
    trace = nv.Network(classifier(features), size=(120, 152)).trace(x)
    firing = trace[f"0.{last}"][0].flatten(1).amax(1).gt(0).nonzero().flatten().tolist()
    for channel in (firing[0], firing[-1]):
        expected, place, value = by_hand(features, x, last, channel)
        found = project(trace, f"0.{last}", channel)
        assert (found.unit.row, found.unit.column) == place
        assert found.unit.value == pytest.approx(value, rel=1e-5)
        assert relative_error(found.values, expected) < 1e-5
        outside = found.values.clone()
        outside[:, *found.box.slices] = 0
        assert not outside.any()
        assert found.rectifiers == sum(isinstance(m, nn.ReLU) for m in features[: last + 1])


@pytest.mark.parametrize("make", [alexnet, vgg16])
def test_switches_are_where_the_maxima_came_from(make: Callable[[], nn.Sequential]) -> None:
    features = make()
    x = torch.randn(2, 3, 120, 152)
    trace = nv.Network(classifier(features), size=(120, 152)).trace(x)
    last = len(features) - 1
    firing = int(trace[f"0.{last}"][1].flatten(1).amax(1).argmax())
    found = project(trace, f"0.{last}", firing, picture=1)
    pools = [f"0.{i}" for i, m in enumerate(features) if isinstance(m, nn.MaxPool2d)]
    assert [switches.layer for switches in found.switches] == pools
    for switches in found.switches:
        pool = features[int(switches.layer[2:])]
        below = trace[f"0.{int(switches.layer[2:]) - 1}"][1].detach()
        above = trace[switches.layer][1].detach()
        assert switches.size == below.shape[1:]
        assert 0 < len(switches) <= above.numel()
        assert (switches.strengths.abs().diff() <= 0).all()
        assert switches.strengths.all()
        values = below[switches.channels, switches.rows, switches.columns]
        _, indices = F.max_pool2d(below[None], pool.kernel_size, pool.stride, return_indices=True)
        flat = switches.rows * below.shape[2] + switches.columns
        for channel, index, value in list(zip(switches.channels, flat, values, strict=True))[:50]:
            assert (indices[0, channel] == index).any()
            assert (above[channel] == value).any()
        # In pixels of the picture: within the unit's field, at the middle of what the place sees.
        top, left, bottom, right = found.box
        rows, columns = switches.pixels.unbind(1)
        assert rows.min() >= top - 0.5
        assert columns.min() >= left - 0.5
        assert rows.max() <= bottom
        assert columns.max() <= right
        fields = receptive_fields(trace, f"0.{int(switches.layer[2:]) - 1}")
        a = fields.box(int(switches.rows[0]), int(switches.columns[0]), clip=False)
        middle = ((a.top + a.bottom - 1) / 2, (a.left + a.right - 1) / 2)
        expected = [min(max(m, 0), n - 1) for m, n in zip(middle, (120, 152), strict=True)]
        assert switches.pixels[0].tolist() == pytest.approx(expected)


def test_the_switches_and_strengths_rebuild_what_is_below_the_pool() -> None:
    module = toys.classic()
    x = torch.randn(1, 3, 12, 12)
    trace = nv.Network(module, size=12).trace(x)
    (switches,) = project(trace, "4", 2).switches
    unpooled = torch.zeros(6, *switches.size)
    unpooled.index_put_((switches.channels, switches.rows, switches.columns), switches.strengths, accumulate=True)
    conv, norm = module[0], module[1]
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(-1, 1, 1)
    expected = F.conv_transpose2d((unpooled.relu() * scale)[None], conv.weight, padding=1)[0]
    assert relative_error(project(trace, "4", 2).values, expected) < 1e-5


def test_the_seed_is_the_activation_and_not_one() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    unit = strongest(trace, "5", 3)
    one = trace.gradient(nv.Unit("5", 3, unit.row, unit.column), rule="deconvnet")[0]
    assert relative_error(project(trace, "5", 3).values, unit.value * one) < 1e-5
    assert not torch.allclose(project(trace, "5", 3).values, one)


def test_another_unit_picture_and_rule_can_be_asked_for() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(3, 3, 12, 12))
    for rule in ("gradient", "guided", "deconvnet"):
        found = project(trace, "4", 3, picture=2, place=(1, -2), rule=rule)
        value = float(trace["4"][2, 3, 1, 4])
        assert (found.unit.row, found.unit.column, found.unit.value) == (1, 4, pytest.approx(value))
        expected = trace.gradient(lambda t, v=value: v * t["4"][2, 3, 1, 4], rule=rule)
        assert relative_error(found.values, expected[2]) < 1e-5
        assert found.box == (0, 5, 7, 12)
        assert (found.rule, found.picture) == (rule, 2)


def test_a_functional_pool_has_switches_without_a_name() -> None:
    class Functional(toys.Tiny):
        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            return self.fc(F.relu(self.conv2(x)).mean((2, 3)))

    trace = nv.Network(Functional().eval(), size=13).trace(torch.randn(1, 3, 13, 13))
    (switches,) = project(trace, "conv2", 1).switches
    assert switches.layer is None
    assert switches.size == (11, 11)


def test_a_filter_that_does_not_fire_has_an_empty_projection() -> None:
    module = toys.classic()
    with torch.no_grad():
        module[4].bias[3] = -100
    found = project(nv.Network(module, size=12).trace(torch.randn(1, 3, 12, 12)), "5", 3)
    assert found.unit.value == 0
    assert not found.values.any()
    assert [len(switches) for switches in found.switches] == [0]


def test_a_vector_and_channels_last_are_projected_too() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    assert project(trace, "8", 2).values.abs().sum() > 0
    assert project(trace, "8", 2).unit.value == pytest.approx(float(trace.scores[0, 2]))
    net = nv.Network(torchvision.models.convnext_tiny(weights=None).eval(), size=64)
    trace = net.trace(torch.randn(1, 3, 64, 64))
    layer = next(name for name in net.layers if net.is_channels_last(name))
    found = project(trace, layer, 5)
    assert found.unit.value == pytest.approx(float(trace[layer][..., 5].max()))
    assert found.values.shape == (3, 64, 64)


def test_what_cannot_be_projected_is_a_clear_sentence() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    with pytest.raises(nv.FilterRangeError, match="has 8 channels, 0 to 7: there is no 8"):
        project(trace, "4", 8)
    with pytest.raises(nv.FilterRangeError, match=r"no unit at \(6, 0\)"):
        project(trace, "4", 0, place=(6, 0))
    with pytest.raises(nv.FilterRangeError, match="has 1 pictures, 0 to 0: there is no 1"):
        project(trace, "4", 0, picture=1)
    with pytest.raises(nv.UnknownOptionError, match="gradient, guided, deconvnet"):
        project(trace, "4", 0, rule="zeiler")
    with pytest.raises(nv.UnknownLayerError, match="'44'"):
        project(trace, "44", 0)
