"""Rectifiers written out by hand obey the rules as those of torch do; what is none does not, and is named."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from tests.conftest import relative_error
from tests.toys import Tiny


class Swish(torch.autograd.Function):
    """SiLU that keeps its input alone, as EfficientNet-PyTorch has it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return g * (s * (1 + x * (1 - s)))


class Step(torch.autograd.Function):
    """The sign, with a straight-through estimator for a slope."""

    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)

    @staticmethod
    def backward(ctx, g):
        return g


class Blur(torch.autograd.Function):
    """No function of each number alone: every number is mixed with its neighbour."""

    @staticmethod
    def forward(ctx, x):
        return x.relu() + x.relu().roll(1, -1)

    @staticmethod
    def backward(ctx, g):
        return g + g.roll(-1, -1)


class ByHand(torch.autograd.Function):
    """Any function, with a rule written out: what the package finds in the graph, done in the forward pass."""

    @staticmethod
    def forward(ctx, x, f, rule):
        ctx.f, ctx.rule = f, rule
        ctx.save_for_backward(x)
        return f(x)

    @staticmethod
    def backward(ctx, g):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(ctx.f(x).sum(), x)
        return (g.relu() if ctx.rule == "deconvnet" else g.relu() * slope), None, None


def zeroed(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0
    return x


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))


RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "x * sigmoid(x)": lambda x: x * torch.sigmoid(x),
    "sigmoid(x) * x": lambda x: torch.sigmoid(x) * x,
    "x * sigmoid(1.7 x)": lambda x: x * torch.sigmoid(1.702 * x),
    "x.mul_(sigmoid(x))": lambda x: x.clone().mul_(torch.sigmoid(x)),
    "x / (1 + exp(-x))": lambda x: x / (1 + torch.exp(-x)),
    "torch.maximum(x, 0)": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "torch.maximum(0, x)": lambda x: torch.maximum(torch.zeros(()).to(x), x),
    "torch.fmax": lambda x: torch.fmax(x, torch.zeros_like(x)),
    "torch.where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "torch.where, scalar": lambda x: torch.where(x > 0, x, 0.0),
    "torch.where, leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
    "torch.where, ELU": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "x[x < 0] = 0": zeroed,
    "x * (x > 0)": lambda x: x * (x > 0),
    "x * (x > 0).float()": lambda x: x * (x > 0).to(x),
    "x * heaviside": lambda x: x * torch.heaviside(x.detach(), torch.zeros(()).to(x)),
    "(x + |x|) / 2": lambda x: (x + x.abs()) / 2,
    "0.5 * (|x| + x)": lambda x: 0.5 * (x.abs() + x),
    "x * (sign + 1) / 2": lambda x: x * (torch.sign(x) + 1) / 2,
    "hardsigmoid(x) * x": lambda x: F.hardsigmoid(x) * x,
    "x * relu6(x + 3) / 6": lambda x: x * F.relu6(x + 3) / 6,
    "GELU by erf": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "GELU by erf, halved last": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) * 0.5,
    "GELU by tanh": tanh_gelu,
    "x * tanh(softplus(x))": lambda x: x * torch.tanh(F.softplus(x)),
    "log1p(exp(x))": lambda x: torch.log1p(torch.exp(8 * x)) / 8,
    "logaddexp(x, 0)": lambda x: torch.logaddexp(8 * x, torch.zeros_like(x)) / 8,
    "autograd.Function": Swish.apply,
}


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_rectifier_written_out_by_hand_is_governed(name: str, rule: str) -> None:
    f = RECTIFIERS[name]
    module = Tiny(f).double().eval()
    x = 2 * torch.randn(2, 3, 15, 17, dtype=torch.double)
    trace = nv.Network(module, size=(15, 17)).trace(x)
    found, governed = trace.gradient_and_rectifiers(1, rule=rule)
    own = x.clone().requires_grad_()
    module.activation = lambda y: ByHand.apply(y, f, rule)
    (expected,) = torch.autograd.grad(module(own)[:, 1].sum(), own)
    assert relative_error(found, expected) < 1e-9
    assert governed == 2
    assert governed.unruled == ()
    module.activation = f
    (plain,) = torch.autograd.grad(module(own)[:, 1].sum(), own)
    assert relative_error(found, plain) > 0.01
    assert relative_error(trace.gradient(1), plain) < 1e-9, "the rules leave the graph as it was"


OTHERS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "tanh": (torch.tanh, ("Tanh", "Tanh")),
    "sigmoid": (torch.sigmoid, ("Sigmoid", "Sigmoid")),
    "hardsigmoid": (F.hardsigmoid, ("Hardsigmoid", "Hardsigmoid")),
    "softsign": (F.softsign, ("Div", "Div")),
    "x * |x|": (lambda x: x * x.abs(), ("Mul", "Mul")),
    "x * tanh(x)": (lambda x: x * torch.tanh(x), ("Mul", "Mul")),
    "x * (1 + x)": (lambda x: x * (1 + x), ("Mul", "Mul")),
    "where beyond 1": (lambda x: torch.where(x > 1, x, 0.0), ()),
    "clamp(min=-1)": (lambda x: x.clamp(min=-1), ("Clamp", "Clamp")),
    "minimum with 1": (lambda x: torch.minimum(x, torch.ones_like(x)), ("Minimum", "Minimum")),
    "straight-through sign": (Step.apply, ()),
    "a fixed mask": (lambda x: x * (torch.arange(x.numel()).reshape(x.shape) % 3 > 0), ()),
    "a mask filled in": (lambda x: x.masked_fill(torch.arange(x.numel()).reshape(x.shape) % 3 > 0, 0), ()),
    "twice": (lambda x: torch.where(x > 0, 2 * x, 2 * x), ()),
    "a custom function that mixes": (Blur.apply, ()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_rectifier_is_not_governed_but_named_if_it_is_an_activation(name: str) -> None:
    f, named = OTHERS[name]
    trace = nv.Network(Tiny(f).eval(), size=15).trace(3 * torch.randn(1, 3, 15, 15))
    found, governed = trace.gradient_and_rectifiers(0, rule="guided")
    assert governed == 0
    assert tuple(n for n in governed.unruled) == named
    assert torch.equal(found, trace.gradient(0))


class Gated(nn.Module):
    """Gates that look at more than the number they let through."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.conv, self.beside = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.squeeze, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        gate = {
            "squeeze": lambda: torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True))),
            "GLU": lambda: torch.sigmoid(self.beside(x)),
            "detached": lambda: torch.sigmoid(4 * self.beside(x)).detach(),
            "self-attention": lambda: torch.sigmoid(self.squeeze(y)),
            "residual": lambda: 1 + torch.sigmoid(self.squeeze(y)),
        }[self.gate]()
        return self.fc((y * gate).relu().mean((2, 3)))


@pytest.mark.parametrize("gate", ["squeeze", "GLU", "detached", "self-attention", "residual"])
def test_gates_that_look_at_more_than_one_number_are_left_alone(gate: str) -> None:
    trace = nv.Network(Gated(gate).eval(), size=15).trace(torch.randn(1, 3, 15, 15))
    _, governed = trace.gradient_and_rectifiers(0, rule="guided")
    assert governed == 1, "the ReLU"
    assert governed.unruled == ()


class Learned(nn.Module):
    """A swish and a parametric ReLU, each with a number of its own for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 4)
        self.beta, self.slope = nn.Parameter(torch.linspace(0.5, 2, 6)), nn.Parameter(torch.linspace(0.05, 0.4, 6))

    def swish(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x * F.softplus(self.beta).view(1, -1, 1, 1))

    def prelu(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope[:, None, None] * x)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.prelu(self.conv2(self.swish(self.conv1(x)))).mean((2, 3)))


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_learned_rectifiers_are_governed(rule: str) -> None:
    module = Learned().double().eval()
    x = 2 * torch.randn(2, 3, 15, 17, dtype=torch.double)
    found, governed = nv.Network(module, size=(15, 17)).trace(x).gradient_and_rectifiers(1, rule=rule)
    own = x.clone().requires_grad_()
    y = ByHand.apply(module.conv1(own), module.swish, rule)
    y = ByHand.apply(module.conv2(y), module.prelu, rule)
    (expected,) = torch.autograd.grad(module.fc(y.mean((2, 3)))[:, 1].sum(), own)
    assert governed == 2
    assert relative_error(found, expected) < 1e-9


def test_the_rule_holds_from_a_layer_on_and_where_the_graph_begins_there() -> None:
    f = RECTIFIERS["torch.where"]
    module = Tiny(f).eval()
    network, x = nv.Network(module, size=15), torch.randn(1, 3, 15, 15)
    result = nv.attribute(network, x, method="guided_backprop", target=2, layer="conv1")
    maps = module.conv1(x).detach().requires_grad_()
    y = ByHand.apply(module.conv2(ByHand.apply(maps, f, "guided")), f, "guided")
    (expected,) = torch.autograd.grad(module.fc(y.mean((2, 3)))[0, 2], maps)
    assert relative_error(result.values, expected) < 1e-5
    assert result.rectifiers == 2


def test_a_map_names_what_was_not_ruled() -> None:
    class Mixed(Tiny):
        def forward(self, x):
            return self.fc(torch.tanh(self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))

    result = nv.attribute(nv.Network(Mixed().eval(), size=15), torch.randn(1, 3, 15, 15), method="guided_backprop")
    assert result.rectifiers == 1
    assert result.unruled == {"Tanh": 1}
    assert "not ruled: Tanh" in repr(result)
    plain = nv.attribute(nv.Network(Mixed().eval(), size=15), torch.randn(1, 3, 15, 15), method="saliency")
    assert plain.unruled == {}


def test_a_rectifier_whose_input_never_changes_sign_is_named_not_guessed() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), Apply(lambda x: torch.where(x > 0, x, 0.0)), nn.ReLU())
    module = nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    _, governed = nv.Network(module, size=15).trace(torch.rand(1, 3, 15, 15)).gradient_and_rectifiers(0, rule="guided")
    assert governed == 1
    assert governed.unruled == ("Sigmoid", "Where")


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def test_the_network_and_the_random_state_are_left_as_they_were() -> None:
    module = Tiny(RECTIFIERS["x * sigmoid(x)"]).eval()
    trace = nv.Network(module, size=15).trace(torch.randn(1, 3, 15, 15))
    before = torch.get_rng_state()
    trace.gradient(0, rule="guided")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("size", [1e-2, 1e3])
@pytest.mark.parametrize(
    "name", ["x * sigmoid(x)", "torch.where", "GELU by tanh", "(x + |x|) / 2", "autograd.Function"]
)
def test_a_rectifier_is_recognised_however_small_or_large_the_numbers_are(name: str, size: float) -> None:
    module = Tiny(RECTIFIERS[name]).eval()
    x = size * torch.randn(1, 3, 15, 15)
    with torch.no_grad():
        module.conv1.bias.zero_()
        module.conv2.bias.zero_()
    _, governed = nv.Network(module, size=15).trace(x).gradient_and_rectifiers(1, rule="guided")
    assert governed == 2
    assert governed.unruled == ()
