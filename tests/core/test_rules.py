"""Every rectifier of every kind of network obeys the rule, and the plain pass is the network's own, bit for bit."""

from __future__ import annotations

import warnings

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import GuidedBackprop

import nbcnnviz as nv
from nbcnnviz.core.rules import ruling
from tests.conftest import relative_error
from tests.reference import gradient as reference_gradient
from tests.toys import Branching, Reused, Tiny

FAMILIES = {
    "alexnet": 64,
    "vgg11": 32,
    "vgg16": 32,
    "resnet18": 64,
    "resnet50": 64,
    "densenet121": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "squeezenet1_1": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "shufflenet_v2_x1_0": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "timm:regnetx_002": 64,
    "timm:repvgg_a0": 64,
    "timm:convnextv2_atto": 64,
    "timm:efficientvit_b0": 64,
}
CLASS = 3


def build(name: str) -> nn.Module:
    """A network with random weights, quickly, none of its branches asleep."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("timm:"):
            module = timm.create_model(name.removeprefix("timm:"))
        else:
            quick = {"init_weights": False} if name.startswith(("googlenet", "inception", "vgg")) else {}
            module = torchvision.models.get_model(name, weights=None, **quick)
    with torch.no_grad():
        for parameter_name, parameter in module.named_parameters():
            if parameter_name.endswith(("layer_scale", "gamma")):  # 1e-6 at the start: the block would not count
                parameter.fill_(0.5)
    return module.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_rules_govern_every_rectifier_of_the_network(name: str) -> None:
    module, size = build(name), FAMILIES[name]
    x = torch.randn(1, 3, size, size)
    trace = nv.Network(module, size=size).trace(x)

    own_input = x.clone().requires_grad_()
    own_scores = module(own_input)
    (own_gradient,) = torch.autograd.grad(own_scores[0, CLASS], own_input)
    assert torch.equal(trace.scores, own_scores)
    assert torch.equal(trace.gradient(CLASS), own_gradient)

    for method, rule in (("guided_backprop", "guided"), ("deconvnet", "deconvnet")):
        result = nv.attribute(trace, method=method, target=CLASS)
        expected, met = reference_gradient(module, x, CLASS, rule)
        assert relative_error(result.values, expected) < 1e-5
        assert result.rectifiers == met > 0
        assert relative_error(result.values, own_gradient) > 0.01, "the rule makes a difference"

    assert torch.equal(trace.gradient(CLASS), own_gradient), "the rules leave the graph as it was"


ACTIVATIONS = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": torch.Tensor.relu,
    "Tensor.relu_": torch.Tensor.relu_,
    "Tensor.clamp(min=0)": lambda x: x.clamp(min=0),
    "Tensor.clamp(0)": lambda x: x.clamp(0),
    "Tensor.clamp_(min=0)": lambda x: x.clamp_(min=0),
    "Tensor.clamp(0, 6)": lambda x: x.clamp(0, 6),
    "Tensor.clip(min=0)": lambda x: x.clip(min=0),
    "torch.clamp(min=0.0)": lambda x: torch.clamp(x, min=0.0),
    "torch.clamp_min": lambda x: torch.clamp_min(x, 0),
    "Tensor.clamp_min_": lambda x: x.clamp_min_(0),
    "F.threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "nn.Threshold in place": nn.Threshold(0.0, 0.0, inplace=True),
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "nn.ReLU6": nn.ReLU6(),
    "F.relu6 in place": lambda x: F.relu6(x, inplace=True),
    "nn.Hardtanh": nn.Hardtanh(0, 1),
    "nn.LeakyReLU": nn.LeakyReLU(0.2),
    "nn.LeakyReLU in place": nn.LeakyReLU(0.2, inplace=True),
    "nn.PReLU": nn.PReLU(init=0.3),
    "nn.RReLU": nn.RReLU(),
    "nn.ELU": nn.ELU(0.7),
    "nn.ELU in place": nn.ELU(inplace=True),
    "nn.CELU": nn.CELU(0.7),
    "nn.SELU": nn.SELU(),
    "nn.SiLU": nn.SiLU(),
    "nn.SiLU in place": nn.SiLU(inplace=True),
    "nn.GELU": nn.GELU(),
    "nn.GELU tanh": nn.GELU("tanh"),
    "nn.Mish": nn.Mish(),
    "nn.Softplus": nn.Softplus(),
    "nn.Hardswish": nn.Hardswish(),
    "nn.Hardswish in place": nn.Hardswish(inplace=True),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_every_way_to_rectify_is_governed(name: str, rule: str) -> None:
    module = Tiny(ACTIVATIONS[name]).double().eval()
    x = 2 * torch.randn(2, 3, 9, 11, dtype=torch.double)
    trace = nv.Network(module, size=(9, 11)).trace(x)
    found, governed = trace.gradient_and_rectifiers(1, rule=rule)
    expected, met = reference_gradient(module, x, 1, rule)
    assert relative_error(found, expected) < 1e-7  # torch rounds some slopes to single precision
    assert governed == met == 2
    assert relative_error(found, trace.gradient(1)) > 0.01


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
@pytest.mark.parametrize(
    ("in_place", "beside"),
    [
        (lambda x: x.view(len(x), -1).relu_(), lambda x: x.relu()),
        (lambda x: F.relu(x.view(len(x), -1), inplace=True), lambda x: x.relu()),
        (lambda x: nn.ReLU(inplace=True)(x.flatten(2)), lambda x: x.relu()),
        (lambda x: x.view(len(x), -1).clamp_(min=0), lambda x: x.relu()),
        (lambda x: F.leaky_relu_(x.permute(0, 2, 3, 1), 0.1), lambda x: F.leaky_relu(x, 0.1)),
        (lambda x: F.relu6(x[:], inplace=True), lambda x: F.relu6(x)),
        (lambda x: nn.Threshold(0.0, 0.0, inplace=True)(x[:]), lambda x: x.relu()),
        (lambda x: F.hardtanh_(min_val=0.0, max_val=1.0, input=x[:]), lambda x: F.hardtanh(x, 0.0, 1.0)),
        (lambda x: x[:, :2].relu_(), lambda x: torch.cat([x[:, :2].relu(), x[:, 2:]], 1)),
        (lambda x: F.elu_(x[:, 1::2]), lambda x: torch.stack([x[:, ::2], F.elu(x[:, 1::2])], 2).flatten(1, 2)),
    ],
    ids=[
        "view",
        "F on view",
        "module on flatten",
        "clamp_",
        "permute",
        "relu6",
        "threshold",
        "keywords",
        "slice",
        "strided slice",
    ],
)
def test_a_rectifier_written_over_a_view_is_governed(in_place, beside, rule: str) -> None:
    class OverView(Tiny):
        def forward(self, x):
            x = self.conv1(x)
            in_place(x)
            return self.fc(self.conv2(x).relu().mean((2, 3)))

    class Beside(OverView):
        def forward(self, x):
            return self.fc(self.conv2(beside(self.conv1(x))).relu().mean((2, 3)))

    written, plain = OverView().eval(), Beside().eval()
    plain.load_state_dict(written.state_dict())
    x = torch.randn(1, 3, 9, 9)
    trace = nv.Network(written, size=9).trace(x)
    assert relative_error(trace.scores, written(x)) < 1e-6  # torch's exp has one last bit more over a gap in memory
    found, governed = trace.gradient_and_rectifiers(2, rule=rule)
    expected, met = reference_gradient(plain, x, 2, rule)
    assert relative_error(found, expected) < 1e-6
    assert governed == (0 if rule == "gradient" else met)


@pytest.mark.parametrize("make", [Branching, Reused])
@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_branching_and_reused_rectifiers_are_governed_at_each_call(make, rule: str) -> None:
    module = make().eval()
    x = torch.randn(1, 3, 9, 9)
    found, governed = nv.Network(module, size=9).trace(x).gradient_and_rectifiers(0, rule=rule)
    expected, met = reference_gradient(module, x, 0, rule)
    assert relative_error(found, expected) < 1e-6
    assert governed == met


def test_guided_backprop_through_a_branching_rectifier_equals_zennit() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Linear(6, 4)

        def forward(self, x):
            y = self.conv(x)
            return self.fc((self.relu(y) - 0.5 * y).mean((2, 3)))

    module, x = Branch().eval(), torch.randn(1, 3, 9, 9)
    with Gradient(model=module, composite=GuidedBackprop()) as attributor:
        _, expected = attributor(x.clone(), torch.eye(4)[[2]])
    found = nv.Network(module, size=9).trace(x).gradient(2, rule="guided")
    assert relative_error(found, expected) < 1e-6
    assert relative_error(found, nv.Network(module, size=9).trace(x).gradient(2)) > 0.01


@pytest.mark.parametrize(
    "function",
    [
        torch.tanh,
        torch.sigmoid,
        lambda x: x.clamp(min=-1),
        lambda x: x.clamp(max=3),
        lambda x: F.threshold(x, 1.0, 0.0),
    ],
    ids=["tanh", "sigmoid", "clamp(min=-1)", "clamp(max=3)", "threshold at 1"],
)
def test_what_does_not_cut_at_zero_is_no_rectifier(function) -> None:
    module = Tiny(function).eval()
    trace = nv.Network(module, size=9).trace(torch.randn(1, 3, 9, 9))
    found, governed = trace.gradient_and_rectifiers(0, rule="guided")
    assert governed == 0
    assert torch.equal(found, trace.gradient(0))


def test_deconvnet_sums_where_pooling_windows_overlap() -> None:
    # A 3 x 3 window every 2 pixels, as AlexNet pools: the middle of a 5 x 5 picture is in all four windows.
    module = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1)
    )
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    trace = nv.Network(module, size=5).trace(x)
    found = trace.gradient(0, rule="deconvnet")
    expected = torch.zeros(1, 1, 5, 5)
    expected[0, 0, 2, 2] = 4 * (1 / 4)
    assert torch.equal(found, expected)
    switches = F.max_pool2d(x, 3, 2, return_indices=True)[1]
    overwritten = F.max_unpool2d(torch.full((1, 1, 2, 2), 0.25), switches, 3, 2)
    assert overwritten[0, 0, 2, 2] == 0.25, "what unpooling by overwriting would give"


def test_an_unknown_rule_is_named_with_the_nearest() -> None:
    trace = nv.Network(Tiny(), size=9).trace(torch.randn(1, 3, 9, 9))
    with pytest.raises(nv.UnknownOptionError, match="guided"):
        trace.gradient(0, rule="guidde")
    with pytest.raises(nv.UnknownOptionError), ruling("deconv", [trace.scores]):
        pass
