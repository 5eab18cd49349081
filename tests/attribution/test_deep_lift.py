"""DeepLIFT: Captum where Captum is right, the rule by hand, completeness elsewhere, and what is refused."""

from __future__ import annotations

import sys

import pytest
import torch
from captum.attr import DeepLift, LayerDeepLift
from torch import Tensor, nn
from torch.nn import functional as F

import nbcnnviz as nv
from tests import toys
from tests.untouched import photograph

X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
BASE = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(2)) / 4


class Plain(nn.Module):
    """Each `nn.ReLU` is called once, windows of the max-pooling do not overlap, and no two of these follow one another.

    What Captum is right for: where one does, its hooks on the tensor between the two run in the wrong order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.one = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()
        self.pool, self.deeper, self.two = nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
        self.fc, self.three, self.last = nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.norm(self.pool(self.conv(x))))
        x = self.two(self.deeper(x)).mean((2, 3))
        return self.last(self.three(self.fc(x)))


class Functional(Plain):
    """The same, where no activation and no pooling is a module."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(F.max_pool2d(self.conv(x), 2)))
        x = self.deeper(x).clamp(min=0).mean((2, 3))
        return self.last(F.relu(self.fc(x)))


class Reusing(Plain):
    """The same, with one module for all rectifiers."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.norm(self.pool(self.conv(x))))
        x = self.one(self.deeper(x)).mean((2, 3))
        return self.last(self.one(self.fc(x)))


class InPlace(Plain):
    """The same, where rectifiers write over what they are given."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.pool(self.conv(x))).relu_()
        x = F.relu(self.deeper(x), inplace=True).mean((2, 3))
        return self.last(torch.relu_(self.fc(x)))


class Gated(nn.Module):
    """A product of two activations, for which there is no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.conv(x).relu() * torch.sigmoid(4 * self.gate(x))).mean((2, 3)))


class Pools(nn.Module):
    """Max-poolings whose windows overlap, with a margin, a step between them, holes, and a cut-off last row."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 6, 3), nn.MaxPool2d(**options), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(x)).square().mean((2, 3)))


def plain() -> Plain:
    torch.manual_seed(0)
    module = Plain().eval()
    module.norm.running_mean.uniform_(-0.2, 0.2)
    return module


def lift(module: nn.Module, **options) -> nv.Attribution:
    given = {"method": "deep_lift", "target": 3, "baseline": BASE} | options
    return nv.attribute(nv.Network(module, size=24), X, **given)


@pytest.mark.filterwarnings("ignore:Setting forward")
def test_it_is_captums_where_captum_is_right() -> None:
    expected = DeepLift(plain()).attribute(X, BASE.expand_as(X), target=3)
    assert torch.allclose(lift(plain()).values, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Setting forward")
@pytest.mark.parametrize("layer", ["conv", "norm", "pool", "deeper"])
def test_at_a_layer_it_is_captums(layer) -> None:
    module = plain()
    expected = LayerDeepLift(module, getattr(module, layer)).attribute(X, BASE.expand_as(X), target=3)
    assert torch.allclose(lift(plain(), layer=layer).values, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [Functional, Reusing, InPlace])
def test_however_a_rectifier_is_called_the_map_is_the_same(kind) -> None:
    module = plain()
    other = kind().eval()
    other.load_state_dict(module.state_dict())
    assert torch.allclose(lift(other).values, lift(module).values, rtol=1e-4, atol=1e-7)


class Next(Plain):
    """The same layers, with the max-pooling next to a rectifier."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.one(self.norm(self.conv(x))))
        x = self.two(self.deeper(x)).mean((2, 3))
        return self.last(self.three(self.fc(x)))


@pytest.mark.filterwarnings("ignore:Setting forward")
@pytest.mark.parametrize("kind", [Functional, Next])
def test_captum_itself_is_wrong_where_the_map_here_is_complete(kind) -> None:
    """Why it is not given the network: once it is right, much of this could go."""
    other = kind().eval()
    other.load_state_dict(plain().state_dict())
    assert float(lift(other).completeness.max()) < 1e-5
    found = DeepLift(other).attribute(X, BASE.expand_as(X), target=3)
    change = other(X)[:, 3] - other(BASE)[:, 3]
    assert bool(((found.flatten(1).sum(1) - change).abs() > 0.05 * change.abs()).any())


@pytest.mark.parametrize(
    "activation", [nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.Hardswish(), nn.PReLU(6), nn.Tanh(), nn.Softplus(), nn.Mish()]
)
def test_the_rule_is_the_slope_between_two_numbers_for_any_function_of_one(activation) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 1), activation, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    ).eval()
    result = lift(module)
    with torch.no_grad():
        x, base = module[0](X), module[0](BASE)
        slope = (activation(x) - activation(base)) / (x - base)
        shares = torch.einsum("nkhw,k,kc->nchw", slope, module[-1].weight[3], module[0].weight[:, :, 0, 0]) / 24**2
    assert torch.allclose(result.values, shares * (X - BASE), rtol=1e-3, atol=1e-6)
    assert float(result.completeness.max()) < 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (2, 3), "stride": (1, 2)},
        {"kernel_size": 3, "stride": 4, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3, "dilation": 2},
        {"kernel_size": 2, "stride": 5},
    ],
)
def test_max_pooling_loses_nothing_where_windows_overlap(options) -> None:
    torch.manual_seed(0)
    module = Pools(**options)
    result = lift(module)
    with torch.no_grad():
        change = module(X)[:, 3] - module(BASE)[:, 3]
    assert torch.allclose(result.values.flatten(1).sum(1), change, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", [toys.classic, toys.Branching, toys.Reused])
def test_it_is_complete_on_other_networks(make) -> None:
    torch.manual_seed(0)
    module = make().eval()
    result = lift(module, target=1)
    with torch.no_grad():
        change = (module(X) - module(BASE))[:, 1]
    assert torch.allclose(result.values.flatten(1).sum(1), change, rtol=1e-3, atol=1e-5)
    assert float(result.completeness.max()) < 1e-4


def test_a_network_that_multiplies_activations_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(nv.CompletenessError, match="no rule for"):
        lift(Gated())


@pytest.mark.parametrize("make", [plain, Gated])
def test_the_network_is_left_as_it_was_and_its_modules_are_never_hooked(make) -> None:
    module = make()
    seen = []
    for part in module.modules():
        part.register_forward_hook(lambda m, *_: seen.append(m))
    before = photograph(module)
    network = nv.Network(module, size=24)
    try:
        nv.attribute(network, X, method="deep_lift", target=3, baseline=BASE)
    except nv.CompletenessError:
        assert make is Gated
    assert photograph(module) == before
    assert seen


def test_targets_of_all_kinds_are_lifted() -> None:
    network = nv.Network(plain(), size=24)
    ask = lambda target: nv.attribute(network, X, method="deep_lift", target=target, baseline=BASE).values  # noqa: E731
    assert torch.allclose(ask(nv.ClassScore(1) - nv.ClassScore(2)), ask(1) - ask(2), atol=1e-6)
    both = ask([1, 2])
    assert torch.allclose(both, torch.stack([ask(1)[0], ask(2)[1]]), atol=1e-6)
    channel = ask(nv.Channel("deeper", 4)).flatten(1).sum(1)
    trace, start = network.trace(X), network.trace(BASE)
    assert torch.allclose(channel, (trace["deeper"][:, 4] - start["deeper"][:, 4]).mean((1, 2)), atol=1e-5)


def test_without_captum_the_extra_is_named(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    for method in ("deep_lift", "kernel_shap"):
        with pytest.raises(nv.PackageMissingError, match=r"nbcnnviz\[captum\]"):
            nv.attribute(nv.Network(plain(), size=24), X, method=method, target=3, baseline=BASE)
