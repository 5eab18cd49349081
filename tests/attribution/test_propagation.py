"""Excitation backprop against TorchRay and by hand, LRP against zennit, and what both must conserve."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchray.attribution.excitation_backprop import contrastive_excitation_backprop, excitation_backprop
from torchvision.models import get_model
from zennit.attribution import Gradient
from zennit.composites import EpsilonAlpha2Beta1, EpsilonGammaBox, EpsilonPlus, EpsilonPlusFlat, LayerMapComposite
from zennit.rules import AlphaBeta, Epsilon, Gamma, Norm, Pass, ZPlus
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Activation, AvgPool, BatchNorm, Linear

import nbcnnviz as nv
from tests import toys
from tests.conftest import relative_error
from tests.untouched import photograph

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torchray")

SIZE, CLASS = 64, 7
METHODS = ("excitation_backprop", "contrastive_excitation_backprop", "lrp")


def small(name: str) -> nn.Module:
    """A torchvision network with random weights, of which VGG's classifier is not the size that it usually is."""
    torch.manual_seed(0)
    quick = {} if name.startswith(("resnet", "squeeze")) else {"init_weights": name == "googlenet"}
    module = get_model(name, weights=None, **quick)
    if name.startswith("vgg"):
        module.avgpool = nn.AdaptiveAvgPool2d(2)
        module.classifier = nn.Sequential(nn.Linear(2048, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    return module


def lively(name: str) -> nn.Module:
    """A torchvision network in double precision, whose offsets and batch normalisations are none of zero and one."""
    module = small(name).double().eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                # Zennit leaves the epsilon of a normalisation that it has folded, which then scales twice.
                part.eps = 1e-12
                part.weight.uniform_(-1, 1.5), part.bias.normal_(0, 0.2)
                part.running_mean.normal_(0, 0.1), part.running_var.uniform_(0.5, 2)
            elif getattr(part, "bias", None) is not None:
                part.bias.normal_(0, 0.1)
    return module


@pytest.fixture(scope="module", params=["vgg11", "squeezenet1_1"])
def rectified(request) -> tuple[nn.Module, nv.Trace]:
    """Networks without sums or batch normalisation: there TorchRay is right."""
    module = lively(request.param)
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    return twin, nv.Network(module, size=SIZE).trace(torch.randn(2, 3, SIZE, SIZE).double())


@pytest.mark.parametrize("layer", ["features.5", "features.8"])
def test_excitation_backprop_equals_torchray(rectified, layer: str) -> None:
    twin, trace = rectified
    expected = excitation_backprop(twin, trace.input.detach().clone(), torch.tensor([CLASS] * 2), saliency_layer=layer)
    found = nv.attribute(trace, method="excitation_backprop", target=CLASS, layer=layer)
    assert relative_error(found.values, expected) < 1e-9
    torch.testing.assert_close(found.values.sum((1, 2, 3)), torch.ones(2).double())


def test_contrastive_excitation_backprop_equals_torchray(rectified) -> None:
    twin, trace = rectified
    x, labels = trace.input.detach().clone(), torch.tensor([CLASS] * 2)
    expected = contrastive_excitation_backprop(twin, x, labels, "features.5", "features.10")
    found = nv.attribute(trace, method="contrastive_excitation_backprop", target=CLASS, layer="features.5")
    assert relative_error(found.values, expected) < 1e-9


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "googlenet"])
@pytest.mark.parametrize("layer", ["input", "maps"])
def test_excitation_keeps_a_mass_of_one(name: str, layer: str) -> None:
    network = nv.Network(small(name), size=SIZE)
    trace = network.trace(torch.randn(2, 3, SIZE, SIZE))
    at = "input" if layer == "input" else {"resnet18": "layer2", "vgg11_bn": "features.11"}.get(name, "inception4a")
    found = nv.attribute(trace, method="excitation_backprop", target=CLASS, layer=at)
    torch.testing.assert_close(found.values.sum((1, 2, 3)), torch.ones(2), rtol=1e-4, atol=1e-4)
    assert found.values.min() > -1e-6
    if layer == "input":
        assert found.completeness is not None
        assert found.completeness.max() < 1e-4


class Residual(nn.Module):
    """Two layers of one place, the second beside its input; without offsets, and positive where nothing else is said."""

    def __init__(self, channels: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 1, bias=False)
        self.fc = nn.Linear(channels, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.first(x))
        return self.fc(F.relu(a + self.second(a)).mean((2, 3)))


def test_excitation_at_a_sum_is_shared_by_what_is_positive() -> None:
    module, x = Residual().double(), torch.rand(1, 3, 4, 3).double()
    first, second, fc = (w.detach().flatten(1).numpy() for w in module.parameters())
    a = (first @ x[0].flatten(1).numpy()).clip(0)  # channels by places
    b = second @ a
    y = (a + b).clip(0)
    mean = y.mean(1)
    p = fc[1].clip(0) * mean / (fc[1].clip(0) * mean).sum()
    p = p[:, None] * y / y.sum(1, keepdims=True).clip(1e-300)
    share = p / (a.clip(0) + b.clip(0) + (y == 0))
    through = share * b.clip(0) / (second.clip(0) @ a).clip(1e-300)
    p = share * a + a * (second.clip(0).T @ through)
    p = x[0].flatten(1).numpy() * (first.clip(0).T @ (p / (first.clip(0) @ x[0].flatten(1).numpy()).clip(1e-300)))
    found = nv.attribute(nv.Network(module, size=(4, 3)), x, method="excitation_backprop", target=1)
    assert relative_error(found.values, torch.from_numpy(p.sum(0)).view(1, 1, 4, 3)) < 1e-9
    assert abs(p.sum() - 1) < 1e-9


def test_units_that_only_their_bias_excites_lose_their_mass_and_it_is_told() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 16, 2, bias=False))
    with torch.no_grad():
        (
            module[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)),
            module[0].bias.copy_(torch.tensor([0.0, 3.0])),
        )
        module[3].weight.fill_(1.0)
    found = nv.attribute(nv.Network(module, size=4), torch.ones(1, 1, 4, 4), method="excitation_backprop", target=0)
    # Each place has a unit of 1 that the picture excites and one of 2 that its bias does.
    torch.testing.assert_close(found.values, torch.full((1, 1, 4, 4), 1 / 3 / 16))
    torch.testing.assert_close(found.completeness, torch.tensor([2 / 3]).double())


COMPOSITES = {
    "epsilon_gamma_box": lambda low, high, canon: EpsilonGammaBox(low=low, high=high, canonizers=canon),
    "epsilon_plus": lambda low, high, canon: EpsilonPlus(canonizers=canon),
    "epsilon_plus_flat": lambda low, high, canon: EpsilonPlusFlat(canonizers=canon),
    "epsilon_alpha_beta": lambda low, high, canon: EpsilonAlpha2Beta1(canonizers=canon),
    "epsilon": lambda low, high, canon: _everywhere(Epsilon(1e-6), canon),
    "gamma": lambda low, high, canon: _everywhere(Gamma(0.25), canon),
    "z_plus": lambda low, high, canon: _everywhere(ZPlus(), canon),
    "alpha_beta": lambda low, high, canon: _everywhere(AlphaBeta(2, 1), canon),
}


def _everywhere(rule, canon):
    from zennit.layer import Sum

    rest = [(Activation, Pass()), (Sum, Norm()), (AvgPool, Norm()), (BatchNorm, Pass())]
    return LayerMapComposite([*rest, (Linear, rule)], canonizers=canon)


@pytest.fixture(scope="module", params=["vgg11", "vgg11_bn", "resnet18"])
def canonised(request):
    module = lively(request.param)
    trace = nv.Network(module, size=SIZE).trace(torch.randn(1, 3, SIZE, SIZE).double())
    return module, trace, ResNetCanonizer if request.param == "resnet18" else VGGCanonizer


@pytest.mark.parametrize("rule", COMPOSITES)
def test_lrp_equals_zennit(canonised, rule: str) -> None:
    module, trace, canonizer = canonised
    x = trace.input.detach().clone()
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1).double() for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    black, white = (0 - mean) / deviation, (1 - mean) / deviation
    low = torch.minimum(black, x.amin((2, 3), keepdim=True)).expand_as(x)
    high = torch.maximum(white, x.amax((2, 3), keepdim=True)).expand_as(x)

    def of_class(output: Tensor) -> Tensor:
        return F.one_hot(torch.tensor([CLASS]), output.shape[1]) * output

    with Gradient(copy.deepcopy(module), COMPOSITES[rule](low, high, [canonizer()])) as zennit:
        _, expected = zennit(x.requires_grad_(), of_class)
    found = nv.attribute(trace, method="lrp", target=CLASS, rule=rule)
    assert relative_error(found.values, expected) < 1e-6
    score = trace.scores[:, CLASS].detach()
    torch.testing.assert_close(found.completeness, (score - expected.sum((1, 2, 3))).abs(), rtol=1e-4, atol=1e-8)


def without_biases() -> nn.Module:
    module = toys.classic()
    for part in module:
        if getattr(part, "bias", None) is not None and not isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.bias)
    return module.double()


@pytest.mark.parametrize("make", [without_biases, lambda: Residual().double()])
@pytest.mark.parametrize("rule", ["epsilon_gamma_box", "epsilon_plus_flat", "epsilon", "gamma", "z_plus"])
def test_relevance_adds_up_to_the_score_without_biases(make, rule: str) -> None:
    module = make()
    if isinstance(module, Residual) and "plus" in rule:  # z+ loses what a unit has to which nothing adds
        module.second.weight.data.abs_()
    trace = nv.Network(module, size=12).trace(torch.rand(2, 3, 12, 12).double())
    target = int(list(module.parameters())[-2 if isinstance(module, nn.Sequential) else -1].sum(1).argmax())
    found = nv.attribute(trace, method="lrp", target=target, rule=rule)
    score = trace.scores[:, target].detach()
    torch.testing.assert_close(found.values.sum((1, 2, 3)), score, rtol=2e-3, atol=1e-5)
    assert found.completeness.max() < 2e-3 * score.abs().max() + 1e-5


def test_epsilon_of_zero_is_input_times_gradient_on_a_network_of_rectifiers_without_biases() -> None:
    # Shrikumar et al. 2016, section 3; Ancona et al. 2018, proposition 1.
    trace = nv.Network(Residual().double(), size=6).trace(torch.randn(2, 3, 6, 6).double())
    expected = nv.attribute(trace, method="input_x_gradient", target=2).values
    assert (
        relative_error(nv.attribute(trace, method="lrp", target=2, rule="epsilon", epsilon=0).values, expected) < 1e-3
    )


class Written(nn.Module):
    """`toys.classic` in functions, in place."""

    def __init__(self, module: nn.Sequential) -> None:
        super().__init__()
        self.conv1, self.norm, _, _, self.conv2, _, _, _, self.fc = module

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.norm(self.conv1(x)).relu_(), 2)
        x = torch.clamp(F.conv2d(x, self.conv2.weight, self.conv2.bias, padding=1), min=0)
        return F.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), self.fc.weight) + self.fc.bias


@pytest.mark.parametrize("method", METHODS)
def test_functions_are_as_good_as_modules(method: str) -> None:
    module, x = toys.classic(), torch.randn(2, 3, 12, 10)
    expected = nv.attribute(nv.Network(module, size=(12, 10)), x, method=method, target=1)
    found = nv.attribute(nv.Network(Written(module), size=(12, 10)), x, method=method, target=1)
    # A bias that is added after a layer is none of its own: LRP's rules give it no share.
    with torch.no_grad():
        module[-1].bias.zero_()
    if method == "lrp":
        expected = nv.attribute(nv.Network(module, size=(12, 10)), x, method=method, target=1)
        found = nv.attribute(nv.Network(Written(module), size=(12, 10)), x, method=method, target=1)
    assert relative_error(found.values, expected.values) < 1e-4


class Gated(nn.Module):
    """Squeeze and excitation, and an activation written out."""

    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        self.conv, self.squeeze, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()
        x = x * (gate if self.gated else gate.detach())
        return self.fc((x * x.sigmoid()).mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_a_gate_lets_relevance_pass_to_what_it_gates(method: str) -> None:
    module, x = Gated(), torch.randn(1, 3, 12, 12)
    constant = Gated(gated=False)
    constant.load_state_dict(module.state_dict())
    found = nv.attribute(nv.Network(module, size=12), x, method=method, target=1).values
    assert relative_error(found, nv.attribute(nv.Network(constant, size=12), x, method=method, target=1).values) < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto"])
def test_what_has_no_rule_is_refused_by_name(method: str, name: str) -> None:
    size = 64
    module = timm.create_model(name, **({"img_size": size} if name.startswith("vit") else {}))
    network = nv.Network(module, size=size)
    with pytest.raises(
        nv.MethodNotApplicableError, match=r"has no rule for .* NativeLayerNorm \(\d+ times\).*'grad_cam'"
    ):
        nv.attribute(network, torch.randn(1, 3, size, size), method=method, target=1)


class Buffered(nn.Module):
    """`toys.classic` whose offsets are no parameters."""

    def __init__(self, module: nn.Sequential) -> None:
        super().__init__()
        self.conv1, self.norm, _, _, self.conv2, _, _, _, self.fc = module
        for name in ("norm", "conv2", "fc"):
            self.register_buffer(f"offset_{name}", getattr(self, name).bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.norm.running_mean, self.norm.running_var
        x = F.batch_norm(self.conv1(x), mean, variance, self.norm.weight, self.offset_norm, eps=self.norm.eps)
        x = F.relu(F.conv2d(F.max_pool2d(F.relu(x), 2), self.conv2.weight, self.offset_conv2, padding=1))
        return F.linear(x.mean((2, 3)), self.fc.weight, self.offset_fc)


def test_offsets_that_are_no_parameters_have_their_share() -> None:
    module, x = toys.classic(), torch.randn(2, 3, 12, 12)
    nn.init.normal_(module[1].bias)
    for rule in ("epsilon", "z_plus"):
        one, other = (
            nv.attribute(nv.Network(made, size=12), x, method="lrp", target=1, rule=rule).values
            for made in (module, Buffered(module))
        )
        assert relative_error(other, one) < 1e-4


class Overwriting(nn.Module):
    """Rectifies in place what is a view, and writes into a part; with ``adds``, adds there."""

    def __init__(self, adds: bool = False) -> None:
        super().__init__()
        self.conv, self.other, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 3, 3), nn.Linear(6, 4)
        self.adds = adds
        for weight in (self.conv.weight, self.other.weight):
            weight.data.abs_()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.adds:
            y[:, :3] += self.other(x)
        else:
            y[:, :3] = self.other(x)
        z = y.mean((2, 3)).flatten(1)
        return self.fc(F.relu(z, inplace=True))


class Joined(Overwriting):
    """The same, with nothing written over."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(torch.cat([self.other(x), self.conv(x)[:, 3:]], 1).mean((2, 3))))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_put_into_a_part_of_a_tensor_is_followed_and_what_is_added_there_refused(method: str) -> None:
    module, x = Overwriting(), torch.rand(2, 3, 8, 8)
    joined, adding = Joined(), Overwriting(adds=True)
    joined.load_state_dict(module.state_dict())
    expected = nv.attribute(nv.Network(joined, size=8), x, method=method, target=1).values
    found = nv.attribute(nv.Network(module, size=8), x, method=method, target=1).values
    assert relative_error(found, expected) < 1e-4
    with pytest.raises(nv.MethodNotApplicableError, match="CopySlices"):
        nv.attribute(nv.Network(adding, size=8), x, method=method, target=1)


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc((x * (x + 1)).mean((2, 3)))


def test_a_product_of_which_neither_is_a_gate_is_refused() -> None:
    network = nv.Network(Squared(), size=12)
    for method in METHODS:
        with pytest.raises(nv.MethodNotApplicableError, match="Mul"):
            nv.attribute(network, torch.randn(1, 3, 12, 12), method=method, target=1)
    # What lies below the layer asked about does not matter.
    assert nv.attribute(network, torch.rand(1, 3, 12, 12), method="lrp", target=nv.Channel("conv", 2)).values.any()


def test_a_network_that_gives_other_scores_by_now_is_refused() -> None:
    module = toys.classic()
    trace = nv.Network(module, size=12).trace(torch.randn(1, 3, 12, 12))
    module[-1].bias.data += 5
    for method in METHODS:
        with pytest.raises(nv.MethodNotApplicableError, match="other scores now than when it was traced"):
            nv.attribute(trace, method=method, target=1)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_pictures_give_and_the_network_stays(method: str) -> None:
    module = toys.classic().train()
    network = nv.Network(module, size=(12, 10))
    x = torch.randn(3, 3, 12, 10)
    before = photograph(module)
    for layer in ("input", "3"):
        together = nv.attribute(network, x, method=method, target=nv.ClassScore((1, 4, 2)), layer=layer).values
        for i, index in enumerate((1, 4, 2)):
            alone = nv.attribute(network, x[[i]], method=method, target=index, layer=layer).values
            torch.testing.assert_close(together[[i]], alone, rtol=1e-4, atol=1e-7)
    assert photograph(module) == before


@pytest.mark.parametrize(
    "target", [nv.Channel("4", 3), nv.Unit("5", 2, 1, 4), nv.ClassScore(1) - 0.5 * nv.ClassScore(2)]
)
def test_other_targets_begin_with_their_own_gradient(target) -> None:
    trace = nv.Network(without_biases(), size=12).trace(torch.rand(1, 3, 12, 12).double())
    found = nv.attribute(trace, method="lrp", target=target, rule="epsilon", layer="3")
    torch.testing.assert_close(found.values.sum(), target(trace)[0].detach(), rtol=1e-3, atol=1e-6)


class Scaled(nn.Module):
    """A linear layer whose product is scaled as it is added."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.fc.bias, x.flatten(1), self.fc.weight.T, alpha=2.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_product_that_is_scaled_as_it_is_added_is_refused(method: str) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="Addmm"):
        nv.attribute(nv.Network(Scaled(), size=4), torch.rand(1, 3, 4, 4), method=method, target=1)
