"""Feature maps and their orders against the trace's own tensors."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.inside import feature_maps, ranking, strongest
from tests import toys
from tests.conftest import relative_error
from tests.counting import operations


class Counted(toys.Tiny):
    """Knows how often it ran."""

    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).runs += 1
        return super().forward(x)


@pytest.fixture
def trace() -> nv.Trace:
    return nv.Network(toys.classic(), size=12).trace(torch.randn(2, 3, 12, 12))


def test_maps_are_what_the_layer_returned(trace: nv.Trace) -> None:
    for picture in (0, 1, -1):
        maps = feature_maps(trace, "4", picture)
        assert torch.equal(maps.values, trace["4"][picture].detach())
        assert len(maps) == 8
        assert maps.finite
        assert not maps.values.requires_grad
    assert feature_maps(trace, "8").values.shape == (5, 1, 1)
    assert feature_maps(trace, "6").values.shape == (8, 1, 1)


def test_every_order_is_the_one_it_says(trace: nv.Trace) -> None:
    maps, gradient = trace["4"][1].detach(), trace.gradient(3, "4")[1]
    judged = {
        "index": torch.arange(8.0),
        "activation": torch.stack([m.max() for m in maps]),
        "mean": torch.stack([m.mean() for m in maps]),
        "contribution": torch.stack([(m * g).sum() for m, g in zip(maps, gradient, strict=True)]),
    }
    for by, values in judged.items():
        found = ranking(trace, "4", by, target=3, picture=1)
        order = sorted(range(8), key=lambda i: -values[i].item()) if by != "index" else list(range(8))
        assert found.filters.tolist() == order, by
        assert relative_error(found.values.float(), values[order]) < 1e-5
        if by != "index":
            assert ranking(trace, "4", by, target=3, picture=1, descending=False).filters.tolist() == order[::-1]
    assert ranking(trace, "4", "contribution", picture=1).values.tolist() == pytest.approx(
        ranking(trace, "4", "contribution", target=int(trace.scores[1].argmax()), picture=1).values.tolist()
    )


def test_contributions_to_a_linear_score_add_up_to_it() -> None:
    # The score is linear in the layer: the sum of gradient x activation is the score, less its bias.
    module = toys.classic()
    trace = nv.Network(module, size=12).trace(torch.randn(1, 3, 12, 12))
    total = ranking(trace, "5", "contribution", target=2).values.sum()
    assert (total + module[8].bias[2]).item() == pytest.approx(float(trace.scores[0, 2]), rel=1e-5)


def test_no_order_needs_a_forward_pass() -> None:
    trace = nv.Network(Counted().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    runs = Counted.runs
    for by in ("index", "activation", "mean", "contribution"):
        for layer in ("conv1", "conv2", "fc"):
            ranking(trace, layer, by)
            feature_maps(trace, layer)
    assert Counted.runs == runs


def test_the_strongest_unit_is_the_maximum(trace: nv.Trace) -> None:
    for channel in (0, 7, -1):
        found = strongest(trace, "2", channel % 6, 1)
        maps = trace["2"][1, channel % 6].detach()
        assert maps[found.row, found.column] == maps.max() == found.value
    assert strongest(trace, "8", 2).row == 0
    assert strongest(trace, "8", 2).value == float(trace.scores[0, 2])


def test_channels_last_maps_are_put_in_order() -> None:
    net = nv.Network(torchvision.models.convnext_tiny(weights=None).eval(), size=64)
    trace = net.trace(torch.randn(1, 3, 64, 64))
    layer = next(name for name in net.layers if net.is_channels_last(name))
    assert torch.equal(feature_maps(trace, layer).values, trace[layer][0].detach().permute(2, 0, 1))
    gradient = trace.gradient(3, layer)[0]
    judged = (gradient * trace[layer][0].detach()).sum((0, 1))
    assert ranking(trace, layer, "contribution", target=3).filters.tolist() == judged.argsort(descending=True).tolist()


class Broken(toys.Tiny):
    """NaN and infinities in two filters, as of a network gone wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = self.out(torch.cat([y[:, :4], (y[:, 4:5].abs() + 1) / 0, y[:, 5:] * math.nan], 1))
        return self.fc(self.conv2(self.activation(y)).mean((2, 3)))


def test_nan_and_infinity_are_counted_and_come_first() -> None:
    trace = nv.Network(Broken().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    maps = feature_maps(trace, "out")
    assert not maps.finite
    assert maps.nan.tolist() == [0, 0, 0, 0, 0, 49]
    assert maps.infinite.tolist() == [0, 0, 0, 0, 49, 0]
    found = ranking(trace, "out", "activation")
    assert found.filters[:2].tolist() == [5, 4]
    assert torch.isnan(found.values[0])
    assert found.values[1] == math.inf
    assert strongest(trace, "out", 4).value == math.inf
    assert feature_maps(trace, "conv1").finite


def test_values_that_overflow_a_sum_are_not_taken_for_infinite() -> None:
    module = toys.Tiny().eval()
    with torch.no_grad():
        module.conv1.weight.zero_()
        module.conv1.bias.fill_(3e38)
    maps = feature_maps(nv.Network(module, size=9).trace(torch.randn(1, 3, 9, 9)), "conv1")
    assert maps.finite
    assert not maps.nan.any()


def test_what_has_no_maps_is_a_clear_sentence(trace: nv.Trace) -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pairs, self.fc = nn.Conv2d(3, 6, 4, stride=4), nn.Identity(), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.conv(x).flatten(2)
            return self.fc(self.pairs(tokens @ tokens.transpose(1, 2)).mean(1))

    pairs = nv.Network(Pairs().eval(), size=8).trace(torch.randn(1, 3, 8, 8))
    for ask in (feature_maps, ranking):
        with pytest.raises(nv.MethodNotApplicableError, match=r"returns shape \(1, 6, 6\), not maps .* such as 'conv'"):
            ask(pairs, "pairs")
        with pytest.raises(nv.UnknownLayerError, match="'44'"):
            ask(trace, "44")
    with pytest.raises(nv.FilterRangeError, match="has 2 pictures, 0 to 1: there is no 2"):
        feature_maps(trace, "4", 2)
    with pytest.raises(nv.UnknownOptionError, match="index, activation, mean, contribution"):
        ranking(trace, "4", "beauty")
    with pytest.raises(nv.GradientError, match="does not depend on '5'"):
        ranking(trace, "5", "contribution", target=nv.Channel("2", 1))


def test_a_layer_of_integers_is_a_clear_sentence() -> None:
    class Places(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(1)

    class Counting(toys.Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.spare = Places(), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv1(x)
            return self.fc(self.conv2(y * self.places(y)[:, None]).mean((2, 3)))

    trace = nv.Network(Counting().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    for name in ("places", "spare"):
        with pytest.raises(
            nv.UnknownLayerError, match=f"'{name}'.*does not call it, or gets no tensor of real numbers"
        ):
            feature_maps(trace, name)


@pytest.mark.parametrize("by", ["activation", "mean", "contribution"])
def test_wide_layers_are_put_in_order_by_no_more_operations_than_narrow_ones(by: str) -> None:
    counts = {}
    for channels in (10, 2048, 10_000):
        module = nn.Sequential(
            nn.Conv2d(3, channels, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)
        )
        trace = nv.Network(module.eval(), size=7).trace(torch.randn(1, 3, 7, 7))
        found = ranking(trace, "1", by, target=1)
        assert sorted(found.filters.tolist()) == list(range(channels))
        counts[channels] = operations(lambda: ranking(trace, "1", by, target=1))  # noqa: B023
    assert counts[10_000] == counts[2048] == counts[10]
