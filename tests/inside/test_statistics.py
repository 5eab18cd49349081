"""Norms over depth, histograms and dead filters, against the slow and obvious way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.inside import DeadFilters, depth, histogram, histograms
from nbcnnviz.inside.dead import rectified
from tests import toys
from tests.counting import operations
from tests.untouched import photograph


@pytest.fixture(scope="module")
def resnet() -> nv.Trace:
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None).eval()
    return nv.Network(module, size=64).trace(torch.randn(2, 3, 64, 64))


def test_norms_are_those_of_the_traces_own_tensors(resnet: nv.Trace) -> None:
    found = depth(resnet, 7, learning_rate=0.1)
    modules = dict(resnet.network.module.named_modules())
    assert found.not_finite == {}
    assert [found.layers.count(name) for name in ("conv1", "layer1.0.relu:0", "layer1.0.relu:1", "fc")] == [1, 1, 1, 1]
    assert "layer1" not in found.layers
    assert "layer1.0" not in found.layers
    for i, layer in enumerate(found.layers):
        assert found.activation[i] == pytest.approx(float(resnet[layer].detach().norm()), rel=1e-5)
        assert found.gradient[i] == pytest.approx(float(resnet.gradient(7, layer).norm()), rel=1e-5)
        assert found.sizes[i] == resnet[layer].numel()
        weight = getattr(modules[layer.partition(":")[0]], "weight", None)
        if weight is None:
            assert np.isnan([found.weight[i], found.weight_gradient[i], found.ratio[i]]).all()
            continue
        gradient = float(resnet.gradient(7, f"{layer}.weight").norm())
        assert found.weight[i] == pytest.approx(float(weight.detach().norm()), rel=1e-5)
        assert found.weight_gradient[i] == pytest.approx(gradient, rel=1e-5)
        assert found.ratio[i] == pytest.approx(0.1 * gradient / float(weight.detach().norm()), rel=1e-5)


def test_the_ratio_is_what_a_step_of_gradient_descent_changes() -> None:
    module = toys.classic()
    x = torch.randn(4, 3, 12, 12)
    trace = nv.Network(module, size=12).trace(x)
    labels = torch.tensor([0, 1, 2, 3])
    found = depth(trace, lambda t: F.cross_entropy(t.scores, labels), learning_rate=0.05)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    F.cross_entropy(module(x), labels).backward()
    torch.optim.SGD(module.parameters(), lr=0.05).step()
    for i, layer in enumerate(found.layers):
        name = f"{layer}.weight"
        if name in before:
            change = (dict(module.named_parameters())[name].detach() - before[name]).norm() / before[name].norm()
            assert found.ratio[i] == pytest.approx(float(change), rel=1e-3), name


def test_what_the_target_does_not_depend_on_has_no_gradient() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    found = depth(trace, nv.Channel("4", 2))
    known = np.array([int(layer) <= 4 for layer in found.layers])
    assert np.isfinite(found.gradient[known]).all()
    assert np.isnan(found.gradient[~known]).all()
    assert np.isfinite(found.activation).all()
    linear = found.layers.index("8")
    assert found.weight[linear] > 0
    assert np.isnan(found.ratio[linear])


def test_one_backward_pass_answers_for_everything(resnet: nv.Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: passes.append(1) or grad(*args, **kwargs))
    before = photograph(resnet.network.module)
    depth(resnet, 3)
    assert len(passes) == 1
    histograms(resnet, "layer2.0.conv1", 3)
    assert len(passes) == 2
    assert photograph(resnet.network.module) == before


class Broken(toys.Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = self.out(torch.cat([y[:, :4], (y[:, 4:5].abs() + 1) / 0, y[:, 5:] * math.nan], 1))
        return self.fc(self.conv2(self.activation(y)).mean((2, 3)))


def test_nan_and_infinity_are_counted() -> None:
    trace = nv.Network(Broken().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    found = depth(trace, 1)
    assert found.not_finite["out"] == 2 * 49
    assert found.not_finite["fc"] == 4
    assert not found.not_finite.keys() & {"conv1", "conv1.weight", "fc.weight"}
    assert "gradient of fc.weight" in found.not_finite
    own = histograms(trace, "out", 1)["activations"]
    assert (own.nan, own.infinite, int(own.counts.sum()), own.total) == (49, 49, 4 * 49, 6 * 49)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_histogram_is_numpys(symmetric: bool, dtype: torch.dtype) -> None:
    values = (torch.randn(37, 53) - 0.7).to(dtype)
    found = histogram(values, 20, symmetric=symmetric)
    high = float(values.float().abs().max())
    range_ = (-high, high) if symmetric else None
    counts, edges = np.histogram(values.double().numpy(), 20, range_)
    assert found.edges == pytest.approx(edges, rel=1e-6)
    assert np.abs(found.counts - counts).sum() <= 4  # a value at an edge may round either way
    assert found.total == values.numel()
    assert found.counts.sum() == values.numel()


def test_histograms_of_one_value_of_none_and_of_nothing_finite() -> None:
    same = histogram(torch.full((7,), 3.0), 4)
    assert same.counts.sum() == 7
    assert (same.edges[0], same.edges[-1]) == (2.5, 3.5)
    assert histogram(torch.tensor([]), 4).total == 0
    broken = histogram(torch.tensor([math.nan, math.inf, -math.inf]), 4)
    assert (broken.nan, broken.infinite, broken.counts.sum(), broken.total) == (1, 2, 0, 3)
    assert histogram(torch.tensor([3e38, 3e38, -1.0]), 4).counts.sum() == 3  # their sum overflows, they do not
    with pytest.raises(nv.UnknownOptionError, match="one bin or more"):
        histogram(torch.zeros(3), 0)


def test_histograms_of_a_layer_are_of_its_own_tensors(resnet: nv.Trace) -> None:
    found = histograms(resnet, "layer2.0.conv1", 3, bins=11)
    own = {
        "activations": resnet["layer2.0.conv1"],
        "gradients": resnet.gradient(3, "layer2.0.conv1"),
        "weights": resnet.parameters["layer2.0.conv1.weight"],
        "weight gradients": resnet.gradient(3, "layer2.0.conv1.weight"),
    }
    assert found.keys() == own.keys()
    for what, tensor in own.items():
        assert found[what].total == tensor.numel()
        assert found[what].edges[[0, -1]].tolist() == pytest.approx([float(tensor.min()), float(tensor.max())])
    assert histograms(resnet, "layer1.0.relu:0", 3).keys() == {"activations", "gradients"}
    with pytest.raises(nv.UnknownLayerError):
        histograms(resnet, "layer9", 3)
    with pytest.raises(nv.GradientError, match="does not depend on"):
        histograms(resnet, "layer3", nv.Channel("layer1", 0))


def killed(module: nn.Module, conv: str, filters: list[int]) -> nn.Module:
    with torch.no_grad():
        module.get_submodule(conv).bias[filters] = -100
    return module.eval()


@pytest.mark.parametrize("activation", [F.relu, torch.relu, F.relu6, lambda x: x.clamp(min=0), nn.ReLU(inplace=True)])
def test_dead_filters_are_found_however_the_rectifier_is_called(activation) -> None:
    module = killed(toys.Tiny(activation), "conv1", [1, 4])
    found = DeadFilters()
    found.add(nv.Network(module, size=9).trace(torch.randn(2, 3, 9, 9)))
    (first, *_) = found.filters.values()
    assert first == (1, 4)
    assert next(iter(found.counts.values())) == (2, 6)
    assert found.pictures == 2


def test_a_filter_that_fires_once_is_alive() -> None:
    module = killed(toys.classic(), "4", [2, 5])
    network = nv.Network(module, size=12)
    dark, found = torch.zeros(1, 3, 12, 12), DeadFilters()
    assert (found.filters, found.counts, found.pictures) == ({}, {}, 0)
    with torch.no_grad():
        module[0].bias.fill_(-0.01)
        module[0].bias[3] = 1
    found.add(network.trace(dark))
    assert found.filters["2"] == (0, 1, 2, 4, 5)
    found.add(network.trace(torch.randn(3, 3, 12, 12)))
    assert found.filters == {"2": (), "5": (2, 5)}
    assert found.counts == {"2": (0, 6), "5": (2, 8)}
    assert found.pictures == 4
    with pytest.raises(nv.MethodNotApplicableError, match="one network"):
        found.add(nv.Network(toys.classic(), size=12).trace(dark))


def test_only_what_a_rectifier_cuts_at_zero_can_be_dead(resnet: nv.Trace) -> None:
    names = rectified(resnet)
    assert names == [name for name in resnet.layers if "relu" in name]
    for activation in (F.silu, F.gelu, F.leaky_relu, F.hardtanh, torch.sigmoid):
        assert rectified(nv.Network(toys.Tiny(activation).eval(), size=9).trace(torch.randn(1, 3, 9, 9))) == []


def test_a_filter_of_nan_is_not_dead() -> None:
    module = toys.Tiny().eval()
    with torch.no_grad():
        module.conv1.bias[2] = math.nan
    found = DeadFilters()
    found.add(nv.Network(module, size=9).trace(torch.randn(1, 3, 9, 9)))
    assert 2 not in found.filters["conv1"]


def test_ten_thousand_channels_take_no_more_operations_than_ten() -> None:
    counts = {}
    for channels in (10, 10_000):
        module = nn.Sequential(
            nn.Conv2d(3, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, 5),
        )
        trace = nv.Network(module.eval(), size=8).trace(torch.randn(1, 3, 8, 8))
        found = DeadFilters()
        acts = (lambda: depth(trace, 1), lambda: histograms(trace, "1", 1), lambda: found.add(trace))  # noqa: B023
        counts[channels] = [operations(act) for act in acts]
        assert len(found.filters) == 1
    assert counts[10_000] == counts[10]
