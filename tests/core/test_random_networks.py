"""Networks that Hypothesis makes up: what is computed for them is what autograd and the rules, written out, compute."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import nbcnnviz as nv
from tests import reference
from tests.untouched import photograph

C, SIZE, CLASSES = 4, 6, 3

EXAMPLES = settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


class Scaled(torch.autograd.Function):
    """A function of the user's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid() + x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return g * (s + x * s * (1 - s) + 1)


def add_to(x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


# Rectifiers that the rules govern, as modules and as functions, in place too.
RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu(x, inplace=True),
    "relu_": lambda x: x.relu_(),
    "relu_ ignored": lambda x: (x.relu_(), x)[1],
    "relu of a view": lambda x: x.flatten(2).relu_().view_as(x),
    "leaky": lambda x: F.leaky_relu(x, 0.1, inplace=True),
    "relu6": F.relu6,
    "clamp": lambda x: x.clamp(min=0),
    "elu": F.elu,
    "silu": F.silu,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
}

# What is none: on the way down, its own derivative.
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "times": lambda x: x * 1.5,
    "times in place": lambda x: x.mul_(0.5),
    "half in place": lambda x: (x[:, :2].mul_(2), x)[1],
    "sum of views": lambda x: x.flatten(2).flip(2).view_as(x) + x.roll(1, 1),
    "transposed": lambda x: x.mT.contiguous(),
    "pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "max pool": lambda x: F.max_pool2d(x, 3, 1, 1),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
}
OWN = {"custom": Scaled.apply}

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(C, C, 3, padding=1),
    "depthwise": lambda: nn.Conv2d(C, C, 3, padding=1, groups=C, bias=False),
    "batch norm": lambda: nn.BatchNorm2d(C),
    "group norm": lambda: nn.GroupNorm(2, C),
    "relu module": nn.ReLU,
    "relu module in place": lambda: nn.ReLU(inplace=True),
    "prelu": lambda: nn.PReLU(C),
    "dropout module": lambda: nn.Dropout(0.5),
    "identity": nn.Identity,
    "block": lambda: nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C), nn.ReLU(inplace=True)),
}

# How a layer is held and called; in every way it is a submodule too.
HOLDS = ("plain", "list", "dict", "partial", "closure", "method", "own forward", "compiled")
JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "add in place": add_to,
    "multiply": torch.mul,
    "concatenate": lambda x, y: torch.cat([x[:, : C // 2], y[:, C // 2 :]], 1),
}


class Random(nn.Module):
    """Runs a list of steps on a list of values, each of the same shape; the last value makes the scores.

    A step is (what, name, how it is held, which of the last values, a second of them).
    """

    def __init__(self, steps: list[tuple[str, str, str, int, int]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.steps = steps
        self.stem = nn.Conv2d(3, C, 1)
        self.made = nn.ModuleDict()
        self.held: dict[str, Any] = {}
        for kind, name, hold, _, _ in steps:
            key = name.replace(" ", "_")
            if kind == "layer" and key not in self.made:
                module = self.made[key] = LAYERS[name]()
                self.held[key] = self._held(module, hold)
        self.fc = nn.Linear(C, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)

    def _held(self, module: nn.Module, hold: str) -> Any:
        if hold == "own forward":
            module.forward = types.MethodType(lambda m, x: type(m).forward(m, x), module)
        if hold == "compiled":
            return torch.compile(module, backend="eager")
        return {
            "list": [module],
            "dict": {"it": module},
            "partial": functools.partial(lambda m, x: m(x), module),
            "closure": lambda x: module(x),
            "method": module.forward,
        }.get(hold, module)

    def forward(self, x: Tensor) -> Tensor:
        values = [self.stem(x)]
        for kind, name, _, first, second in self.steps:
            one, two = values[-1 - first % len(values)], values[-1 - second % len(values)]
            if kind == "layer":
                held = self.held[name.replace(" ", "_")]
                call = held[0] if isinstance(held, list) else held["it"] if isinstance(held, dict) else held
                values.append(call(one))
            elif kind == "join":
                values.append(JOINS[name](one, two))
            else:
                values.append({**RECTIFIERS, **OTHERS, **OWN}[name](one))
        return self.fc(values[-1].mean((2, 3)))


def steps(functions: dict[str, Any]) -> st.SearchStrategy:
    reach = st.integers(0, 2)
    layer = st.tuples(st.just("layer"), st.sampled_from(sorted(LAYERS)), st.sampled_from(HOLDS[:-1]), reach, reach)
    function = st.tuples(st.just("function"), st.sampled_from(sorted(functions)), st.just(""), reach, reach)
    join = st.tuples(st.just("join"), st.sampled_from(sorted(JOINS)), st.just(""), reach, reach)
    return st.lists(st.one_of(layer, function, join), min_size=1, max_size=7)


def own(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]] | None:
    """Scores and gradients by plain autograd; None where autograd itself refuses what was made up."""
    x = x.clone().requires_grad_()
    names, parameters = zip(*module.named_parameters(), strict=True)
    try:
        scores = module(x.clone())
        grads = torch.autograd.grad(scores[:, 1].sum(), [x, *parameters], allow_unused=True)
    except RuntimeError:
        return None
    return scores.detach(), grads[0], {n: g for n, g in zip(names, grads[1:], strict=True) if g is not None}


@EXAMPLES
@given(made=steps({**RECTIFIERS, **OTHERS, **OWN}), seed=st.integers(0, 99), training=st.booleans())
def test_scores_and_gradients_are_the_modules_own(made: list, seed: int, training: bool) -> None:
    module = Random(made, seed).double().train(training)
    x = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64)
    before = photograph(module)
    network = nv.Network(module, size=SIZE)
    trace = network.trace(x)
    again = network.tracer()
    assert torch.equal(again(x).scores, again(x).scores)
    expected = own(module.eval(), x)
    if expected is None:
        # What autograd saved was overwritten. Here it may not have been, since its memory is kept as the layer's output.
        with suppress(nv.GradientError):
            trace.gradient(1)
    else:
        scores, gradient, parameters = expected
        torch.testing.assert_close(trace.scores.detach(), scores)
        torch.testing.assert_close(again(x).scores.detach(), scores)
        torch.testing.assert_close(trace.gradient(1), gradient)
        found = trace.gradient(1, nv.ALL_PARAMETERS)
        assert found.keys() == parameters.keys()
        for name, value in parameters.items():
            torch.testing.assert_close(found[name], value)
    assert photograph(module.train(training)) == before


@settings(EXAMPLES, max_examples=200)
@given(
    made=steps(RECTIFIERS | {"tanh": torch.tanh}),
    seed=st.integers(0, 99),
    rule=st.sampled_from(["guided", "deconvnet"]),
)
def test_rules_are_those_written_out(made: list, seed: int, rule: str) -> None:
    module = Random(made, seed).double().eval()
    x = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64)
    if own(module, x) is None:
        return
    expected, _ = reference.gradient(module, x, 1, rule)
    torch.testing.assert_close(nv.Network(module, size=SIZE).trace(x).gradient(1, rule=rule), expected)


def test_a_layer_compiled_within_is_looked_through() -> None:
    names = ("conv", "batch norm", "relu module", "block")
    compiled, plain = (
        Random([("layer", name, hold, 0, 0) for name in names], 0).eval() for hold in ("compiled", "plain")
    )
    x = torch.randn(2, 3, SIZE, SIZE)
    trace, expected = nv.Network(compiled, size=SIZE).trace(x), own(plain, x)
    assert expected is not None
    torch.testing.assert_close(trace.scores.detach(), expected[0])
    torch.testing.assert_close(trace.gradient(1), expected[1])
    assert trace.gradient(1, nv.ALL_PARAMETERS).keys() == expected[2].keys()
